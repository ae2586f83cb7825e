// What follows a try that brought no outcome: another one now, another one later, or an error.
#pragma once

#include "dislock/clock.hpp"
#include "dislock/error.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>

namespace dislock::library::remote {

/// The last instant at which this process may believe in a lease of which it was told `elapsed` and `ttl` by
/// a call that began to be sent at `sent` (DESIGN 2.6): 1 % for clocks that run at different rates, 2 ms for
/// what was rounded.
[[nodiscard]] constexpr instant believable_until(instant sent, duration elapsed, duration ttl) noexcept {
  return later(sent, (elapsed + ttl) * 99 / 100 - std::chrono::milliseconds(2));
}

/// How a try ended that brought no outcome.
enum class try_end : std::uint8_t {
  not_sent,   ///< no connection came about
  stale,      ///< a connection that had been idle turned out to be closed; says nothing about the place
  no_answer,  ///< something was sent, and then the connection ended, or time, or rubbish came back
  refused,    ///< the answer: not now, not here (draining, overloaded, engine_unavailable); nothing was done
  doubtful,   ///< the answer: something failed, and nobody knows what was done
};

/// How much a call may try.
struct retry_terms {
  bool mutates = true;           ///< an answer that is lost leaves a doubt
  bool persistent = false;       ///< go on until the limit; else each place is tried once
  instant limit = never;         ///< when to give up as long as nothing can have been done
  instant settle_limit = never;  ///< the same when something may have been done: to learn what
};

/// The tries of one call. Pure: time and chance are passed in.
///
/// Invariant: once `in_doubt()`, always so: a later refusal of a repeated try says nothing about an earlier
/// one that got lost.
class retries {
 public:
  struct step {
    enum class kind : std::uint8_t { at_once, later, give_up } what;
    instant at{};  ///< later: when
  };

  explicit retries(const retry_terms& terms) noexcept : terms_(terms) {}

  /// Something has left, or may have left.
  void sent() noexcept { out_ = terms_.mutates; }
  /// The service has answered, and the call goes on all the same (202): it is known there.
  void answered_unfinished() noexcept {
    doubt_ = doubt_ || out_;
    out_ = false;
    round_ = rounds_ = 0;
  }
  /// `chance` is from [0, 1).
  [[nodiscard]] step after(try_end how, std::optional<duration> retry_after, instant now, std::size_t places,
                           double chance) noexcept;

  /// Whether something may have been done of which nobody told us.
  [[nodiscard]] bool in_doubt() const noexcept { return doubt_ || out_; }
  [[nodiscard]] instant limit() const noexcept { return in_doubt() ? terms_.settle_limit : terms_.limit; }
  [[nodiscard]] bool persistent() const noexcept { return terms_.persistent; }
  /// A try was lost on the way: whatever the service remembers of this call may have gone with it.
  [[nodiscard]] bool was_interrupted() const noexcept { return interrupted_; }
  /// The doubt is settled, and what follows is another request of the same call.
  void start_anew() noexcept { doubt_ = out_ = interrupted_ = false; }

 private:
  retry_terms terms_;
  bool out_ = false;    // the present try has been sent
  bool doubt_ = false;  // an earlier one was, and no answer settled it
  bool interrupted_ = false;
  std::size_t round_ = 0;  // tries since all places had their turn
  unsigned rounds_ = 0;
};

}  // namespace dislock::library::remote
