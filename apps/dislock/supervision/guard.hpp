// The process between `dislock run` and the command: it ends the command in time, whatever happens to
// `dislock run`.
#pragma once

#include "ending.hpp"
#include "signal_inbox.hpp"

#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace dislock::cli {

struct command_to_run {
  std::vector<std::string> arguments{};  ///< the program first; looked for in PATH
  loss_policy on_loss = loss_policy::kill;
  int end_signal = 15;
  boot_clock::duration kill_after{};
  /// In the command, a descriptor that reads end-of-file once the lock is lost.
  std::optional<int> lost_descriptor{};
  /// The command gets the terminal while it runs. Only if this process has it.
  bool foreground = false;
};

/// What the guard has to say.
struct guard_report {
  enum class kind : std::uint32_t {
    started,    ///< `process` runs the command
    no_such,    ///< it could not be run; `status` is the errno
    suspended,  ///< the command was stopped by the signal `status`
    ended,      ///< the command and all that it had started is over; `status` as wait(2) has it
  };
  kind what{};
  std::int32_t status = 0;
  std::int32_t process = 0;
  std::int32_t survivors = 0;  ///< ended: processes that could not be ended (another user's)
  bool because_lost = false;   ///< ended: the lock was lost, or about to be, before the command was over
};

/// A child process that starts the command in a process group of its own and watches over it: it passes
/// signals on, reaps what the command's children leave behind, and knows until when the lease holds. So the
/// command ends in time when `dislock run` is stopped, and when it is killed. If the guard is killed the
/// kernel kills the command.
///
/// Made before the program has threads; it then waits for `start`. Nothing that it left is alive when it
/// reports `ended`: all that descends from the command is gone, also what has left the process group or the
/// session.
///
/// Not thread-safe.
class guard {
 public:
  /// Nothing: the system has no process to spare.
  [[nodiscard]] static std::optional<guard> fork_off(const command_to_run& command,
                                                     const signal_inbox& inbox);
  guard(guard&& other) noexcept
      : process_(std::exchange(other.process_, 0)), channel_(std::exchange(other.channel_, -1)) {}
  guard& operator=(guard&&) = delete;
  /// Ends the guard and what it guards.
  ~guard();

  /// The command may run. `variables` are set last in its environment; one without a value is removed.
  void start(const std::vector<std::pair<std::string, std::optional<std::string>>>& variables,
             boot_time must_stop);
  void holds_until(boot_time must_stop);
  void must_stop();
  void lost();
  void pass_on(int signal);
  /// After `suspended`: the command goes on, with the terminal if this process has it.
  void resume();

  [[nodiscard]] int descriptor() const noexcept { return channel_; }
  /// What it has said; does not wait. `gone()` tells that nothing will come any more.
  [[nodiscard]] std::optional<guard_report> heard();
  [[nodiscard]] bool gone() const noexcept { return gone_; }

 private:
  guard(pid_t process, int channel) noexcept : process_(process), channel_(channel) {}
  void tell(std::uint32_t what, std::int64_t value, std::string_view more = {});

  pid_t process_;
  int channel_;
  bool gone_ = false;
};

/// Ends all that descends from this process, with SIGKILL, and reaps it. What may not be signalled is left.
/// Returns how many are left.
std::size_t kill_descendants();

/// The terminal at standard input, if there is one, belongs to this process's group again.
void take_terminal_back() noexcept;
/// Whether this process's group has the terminal at standard input.
[[nodiscard]] bool has_terminal() noexcept;

}  // namespace dislock::cli
