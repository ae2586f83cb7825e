// Running a command under a lock: what `run` and `elect` have in common.
#pragma once

#include "command.hpp"
#include "supervision/guard.hpp"

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace dislock::cli {

/// The flags that say how the command is treated.
struct command_flags {
  std::optional<duration> ttl, kill_after, max_hold;
  std::string signal = "TERM";
  std::string on_loss = "kill";
  std::optional<int> lost_descriptor;
  bool through_shell = false;
};
void declare_command_flags(CLI::App& app, command_flags& into);

/// What the times mean together, or the sentence that says why they cannot be.
struct run_times {
  duration ttl{};
  duration kill_after{};  ///< between the signal and SIGKILL
  duration
      stop_margin{};   ///< before the lease can end: `kill_after` and what the system needs to end a process
  duration renewal{};  ///< often enough that it happens before the margin begins
  std::string wrong;
};
[[nodiscard]] run_times times_of(const command_flags& flags);

/// What has to be locked, and for whom.
struct locked_run {
  std::string lock{};
  acquire_options how{};
  int conflict_code = static_cast<int>(exit_code::run_not_acquired);
  /// Variables for the command besides those that every command gets.
  std::vector<std::pair<std::string, std::optional<std::string>>> variables{};
  /// After the lock was acquired, before the command starts.
  std::function<void(const lease&)> acquired{};
};

/// Waits for the lock, runs the command behind `--` under it, gives it back. The command's own exit code, or
/// one of `exit_code::run_*`.
[[nodiscard]] exit_code run_under_lock(workbench& at, const command_flags& flags, locked_run what);

}  // namespace dislock::cli
