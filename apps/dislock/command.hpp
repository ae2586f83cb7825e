// What a command is: a name, a line of help, options, and what it does.
#pragma once

#include "dislock/client.hpp"
#include "output.hpp"
#include "settings.hpp"

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace dislock::cli {

/// What a command finds when it runs.
struct workbench {
  const settings& with;
  const environment& env;
  printer& print;
  std::vector<std::string> behind_dashes;  ///< the command line after `--`
  bool has_dashes = false;
  const CLI::App& root;

  /// Connects to `with.address`. The timeouts of `with` go into `options`.
  [[nodiscard]] result<client> connect(client_options options = {}) const;
  /// For commands about all locks: with `redlock://` there is no list of them, and people are told.
  [[nodiscard]] result<client> connect_to_see_all();
};

using action = std::function<exit_code(workbench&)>;

struct command {
  std::string_view name;
  std::string_view help;
  /// Adds the options to `app`. What they are parsed into belongs to the action.
  action (*declare)(CLI::App& app);
  bool takes_command = false;  ///< a command line behind `--`
  std::string_view examples;
};

/// All of them, in the order of `--help`.
[[nodiscard]] std::span<const command> all_commands();

/// An option with a time: `--ttl 30s`. A bad one is a usage error that names the flag.
CLI::Option* add_duration(CLI::App& app, const std::string& names, std::optional<duration>& into,
                          const std::string& help);
/// One of a few words.
CLI::Option* add_choice(CLI::App& app, const std::string& names, std::string& into,
                        const std::vector<std::string>& choices, const std::string& help);

/// Runs the program: `arguments` without its name.
[[nodiscard]] exit_code run_program(const std::vector<std::string>& arguments, const environment& env,
                                    std::ostream& out, std::ostream& err, printer::stream_abilities out_can,
                                    printer::stream_abilities err_can);

}  // namespace dislock::cli
