// dislock run NAME -- CMD: a command under a lock.
#include "commands/commands.hpp"
#include "lock_flags.hpp"
#include "supervision/locked_run.hpp"

#include <CLI/CLI.hpp>

#include <memory>

namespace dislock::cli {

action declare_run(CLI::App& app) {
  struct wanted {
    std::string name;
    lock_flags lock;
    command_flags command;
    std::optional<int> conflict_code;
  };
  const auto w = std::make_shared<wanted>();
  app.add_option("NAME", w->name, "The lock")->required();
  declare_lock_flags(app, w->lock);
  declare_command_flags(app, w->command);
  app.add_option_function<int>(
         "-E,--conflict-exit-code", [w](int v) { w->conflict_code = v; },
         "Instead of 124, when the lock was not acquired")
      ->type_name("CODE")
      ->group("The command");
  return [w](workbench& at) {
    const auto wish = wish_of(w->lock);
    if (!wish.wrong.empty()) return at.print.usage(wish.wrong);
    if (w->conflict_code && (*w->conflict_code < 0 || *w->conflict_code > 255))
      return at.print.usage("--conflict-exit-code must be from 0 to 255.");
    if (!at.has_dashes) return at.print.usage("run: the command is missing; write it behind --.");
    locked_run what{.lock = w->name, .how = wish.options};
    if (w->conflict_code) what.conflict_code = *w->conflict_code;
    return run_under_lock(at, w->command, std::move(what));
  };
}

}  // namespace dislock::cli
