// Completion scripts, made from the options themselves.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace dislock::cli {

/// What can be completed: the commands with their flags.
struct completable {
  struct flag {
    std::vector<std::string> names{};  ///< with their dashes
    std::string help{};
    bool takes_value = false;
  };
  struct command {
    std::string name, help;
    std::vector<flag> flags{};
    bool takes_command = false;  ///< what stands behind `--` is a command line of its own
  };
  std::vector<flag> shared;
  std::vector<command> commands;
};

[[nodiscard]] completable completable_of(const CLI::App& app);

[[nodiscard]] std::string bash_completion(const completable& what);
[[nodiscard]] std::string zsh_completion(const completable& what);
[[nodiscard]] std::string fish_completion(const completable& what);

}  // namespace dislock::cli
