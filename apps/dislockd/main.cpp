// dislockd: the lock service.
#include "server/config.hpp"
#include "server/daemon.hpp"
#include "server/version.hpp"

#include <cstdio>
#include <fstream>
#include <sstream>
#include <unistd.h>

namespace {

namespace server = dislock::server;

server::environment read_environment() {
  server::environment out;
  for (char** entry = environ; *entry; ++entry) {
    const std::string_view both(*entry);
    if (const auto equals = both.find('='); equals != std::string_view::npos)
      out.emplace(both.substr(0, equals), both.substr(equals + 1));
  }
  return out;
}

std::optional<std::string> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return std::nullopt;
  std::ostringstream text;
  text << in.rdbuf();
  return std::move(text).str();
}

}  // namespace

int main(int argc, char** argv) {
  const auto parsed = server::parse(std::vector<std::string>(argv + 1, argv + argc), read_environment(),
                                    read_file, server::version);
  if (const auto* text = std::get_if<server::printout>(&parsed)) {
    std::fputs(text->text.c_str(), stdout);
    return 0;
  }
  if (const auto* wrong = std::get_if<server::refusal>(&parsed)) {
    for (const auto& sentence : wrong->problems) std::fprintf(stderr, "dislockd: %s\n", sentence.c_str());
    return 2;
  }
  return server::run_daemon(std::get<server::config>(parsed));
}
