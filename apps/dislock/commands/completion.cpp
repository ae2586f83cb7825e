// dislock completion: a script for a shell.
#include "completion.hpp"

#include "commands/commands.hpp"

#include <CLI/CLI.hpp>

#include <memory>

namespace dislock::cli {

action declare_completion(CLI::App& app) {
  const auto shell = std::make_shared<std::string>();
  add_choice(app, "SHELL", *shell, {"bash", "zsh", "fish"}, "bash, zsh or fish")->required();
  return [shell](workbench& at) {
    const auto what = completable_of(at.root);
    at.print.out() << (*shell == "bash"  ? bash_completion(what)
                       : *shell == "zsh" ? zsh_completion(what)
                                         : fish_completion(what));
    return exit_code::ok;
  };
}

}  // namespace dislock::cli
