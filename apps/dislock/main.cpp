// The command line of dislock.
#include "command.hpp"
#include "terminal.hpp"

#include <iostream>
#include <unistd.h>

int main(int argc, char** argv) {
  using namespace dislock::cli;
  std::ios::sync_with_stdio(false);
  const auto env = environment_of(environ);
  return static_cast<int>(run_program(std::vector<std::string>(argv + 1, argv + argc), env, std::cout,
                                      std::cerr, abilities_of(STDOUT_FILENO, env),
                                      abilities_of(STDERR_FILENO, env)));
}
