// When a command that runs under a lock is told to end, and when it is ended.
#pragma once

#include "boot_time.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>

namespace dislock::cli {

/// What happens to the command when its lock is lost.
enum class loss_policy : std::uint8_t {
  kill,    ///< a signal, then SIGKILL before anybody else can have the lock
  signal,  ///< the signal only
  ignore,  ///< nothing
};

/// Decides about one command. Pure: time is passed in, and what it says has to be done by somebody else.
///
/// Invariants: 1. `terminate` is said once, `kill` as often as it is asked for. 2. With `loss_policy::kill`,
/// `kill` is due at most `kill_after` behind the instant that the lease holds until, whatever happens and
/// however late anybody asks. 3. What has been lost stays lost.
class ending {
 public:
  enum class act : std::uint8_t { none, terminate, kill };

  ending(loss_policy policy, boot_clock::duration kill_after) noexcept
      : policy_(policy), kill_after_(kill_after) {}

  /// The work may go on until then; a renewal moves it. Nothing is due before the first call.
  void holds_until(boot_time must_stop) noexcept {
    if (!lost_) must_stop_ = must_stop;
  }
  /// The lease is on its way out: the work has to stop now.
  void must_stop(boot_time now) noexcept { must_stop_ = std::min(must_stop_, now); }
  /// Somebody else may have the lock already: no time for manners.
  void lost(boot_time now) noexcept {
    must_stop(now);
    too_late_ = true;
  }
  /// Nobody watches over the lease any more. As `must_stop`, whatever the policy is.
  void unwatched(boot_time now) noexcept {
    policy_ = loss_policy::kill;
    must_stop(now);
  }
  /// The command is over. What it left running is ended the same way, whatever the policy is.
  void command_ended(boot_time now) noexcept {
    if (over_) return;
    look_at(now);
    over_ = true;
    because_lost_ = lost_;
  }

  /// What has to be done now.
  [[nodiscard]] act due(boot_time now) noexcept {
    look_at(now);
    if (!over_ && (!lost_ || policy_ == loss_policy::ignore)) return act::none;
    const bool kills = over_ || policy_ == loss_policy::kill;
    if (kills && (too_late_ || now >= kill_at())) return act::kill;
    if (told_at_) return act::none;
    told_at_ = now;
    return act::terminate;
  }

  /// When `due` has to be asked again, if nothing happens before.
  [[nodiscard]] boot_time next() const noexcept {
    if (!over_ && !lost_) return must_stop_;
    return over_ || policy_ == loss_policy::kill ? kill_at() : boot_time::max();
  }

  /// The lease was over, or about to be, before the command was.
  [[nodiscard]] bool because_lost() const noexcept { return over_ ? because_lost_ : lost_; }

 private:
  void look_at(boot_time now) noexcept { lost_ = lost_ || now >= must_stop_; }
  [[nodiscard]] boot_time kill_at() const noexcept {
    constexpr auto never = boot_time::max();
    const auto by_lease = must_stop_ == never ? never : must_stop_ + kill_after_;
    return told_at_ ? std::min(by_lease, *told_at_ + kill_after_) : by_lease;
  }

  loss_policy policy_;
  boot_clock::duration kill_after_;
  boot_time must_stop_ = boot_time::max();
  std::optional<boot_time> told_at_;
  bool lost_ = false, too_late_ = false, over_ = false, because_lost_ = false;
};

}  // namespace dislock::cli
