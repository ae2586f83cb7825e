// When a lease is renewed, and how far it is on its way out: arithmetic, told the time.
#pragma once

#include "dislock/clock.hpp"
#include "dislock/options.hpp"

#include <atomic>

namespace dislock::library {

/// An end that can be moved, until somebody has seen it pass: then it has passed for good, so that nobody who
/// was told "over" is told "not over" by a renewal that arrives a moment later.
///
/// Thread safety: all members from any thread; `move_to` from one at a time.
class end_of_belief {
 public:
  explicit end_of_belief(instant at) noexcept : us_(microseconds_since_1970(at)) {}

  [[nodiscard]] bool passed(instant now) noexcept {
    auto seen = us_.load(std::memory_order_relaxed);
    while (seen > 0) {
      if (microseconds_since_1970(now) < seen) return false;
      if (us_.compare_exchange_weak(seen, -seen, std::memory_order_relaxed)) return true;
    }
    return true;
  }
  /// False, and nothing changes: it has passed.
  bool move_to(instant at) noexcept {
    auto seen = us_.load(std::memory_order_relaxed);
    while (seen > 0)
      if (us_.compare_exchange_weak(seen, microseconds_since_1970(at), std::memory_order_relaxed))
        return true;
    return false;
  }
  /// From now on it has passed, whatever the clock says.
  void pass() noexcept { (void)passed(never); }
  [[nodiscard]] instant at() const noexcept {
    const auto seen = us_.load(std::memory_order_relaxed);
    return from_microseconds(seen > 0 ? seen : -seen);
  }

 private:
  std::atomic<std::int64_t> us_;  // since 1970; negative: passed
};

/// The stages of one lease, and its renewals.
///
/// held -> expiring: a renewal has failed or hangs, and less than half of the ttl is left; a success takes it
/// back.
/// -> must_stop: `margin` before the end. From then on it never goes back, though renewing goes on, so that
/// nobody else gets the lock while the holder winds down. -> lost: the end has come, or the engine says so.
///
/// Thread safety: none. `now` never goes back.
class lease_life {
 public:
  struct terms {
    duration ttl{};
    duration every{};   ///< between renewals; zero: nobody renews
    duration margin{};  ///< between must_stop and the end
    std::optional<duration> max_hold;
  };
  /// What follows from the time.
  struct outlook {
    bool renew = false;       ///< now; `sent` is expected next
    instant look_at = never;  ///< when to look again at the latest
  };

  lease_life(const terms& t, instant valid_until) noexcept;

  outlook look(instant now) noexcept;
  void sent(instant now) noexcept;
  void renewed(instant now, instant valid_until) noexcept;
  void renewal_failed(instant now) noexcept;
  /// The engine, or whoever ends the client, says that it is over.
  void end(loss_cause why) noexcept;
  /// The holder has to end its work although the lease could go on.
  void stop(loss_cause why) noexcept;
  void given_back() noexcept { stage_ = lease_stage::released; }

  [[nodiscard]] lease_stage stage() const noexcept { return stage_; }
  [[nodiscard]] loss_cause cause() const noexcept { return cause_; }
  [[nodiscard]] instant valid_until() const noexcept { return valid_until_; }
  /// When the margin begins.
  [[nodiscard]] instant stop_at() const noexcept;
  [[nodiscard]] instant granted_at() const noexcept { return granted_at_; }
  [[nodiscard]] duration ttl() const noexcept { return terms_.ttl; }
  [[nodiscard]] bool renews() const noexcept { return terms_.every > duration::zero(); }

 private:
  [[nodiscard]] duration retry_pause() const noexcept;
  [[nodiscard]] bool at_max_hold() const noexcept;

  terms terms_;
  instant granted_at_;  // or earlier
  instant valid_until_;
  instant hold_until_;
  instant renew_at_ = never;       // never: a renewal is under way
  instant troubled_from_ = never;  // a renewal failed then, or hangs from then on
  lease_stage stage_ = lease_stage::held;
  loss_cause cause_ = loss_cause::none;
};

}  // namespace dislock::library
