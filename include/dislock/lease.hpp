#pragma once

#include "dislock/error.hpp"
#include "dislock/options.hpp"

#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>

namespace dislock {

namespace library {
struct held_lease;
class core;
}  // namespace library

/// What it takes to go on with a lease elsewhere: in another process, or later in this one. `lock_id` is a
/// secret: whoever has it owns the lease, so it belongs into no argument list, log or URL.
struct lease_ticket {
  std::string lock{};
  std::string client_id{};
  std::string lock_id{};
  fencing_token token{};
  duration ttl{};  ///< what it was granted for
};

/// A lock that this process held when the object was made, and may since have lost.
///
/// Having a `lease` is not proof of holding the lock: a pause longer than the remaining validity ends the
/// ownership while the object lives on. Before an act that must not happen twice ask `held()`, which looks at
/// the clock; and pass `fencing_token()` to the resource, which refuses old ones. `lost()` is requested
/// before anybody else can have the lock, as long as this process runs.
///
/// Thread safety: const members from any thread; the rest, and destruction, from one at a time.
/// Invariant: `fencing_token()` never changes.
class DISLOCK_API lease {
 public:
  /// Holds nothing.
  lease() noexcept;
  lease(lease&&) noexcept;
  lease& operator=(lease&&) noexcept;
  /// Gives the lock back in the background. Never throws, never waits. To see the result, call `release()`.
  ~lease();

  [[nodiscard]] std::string_view lock() const noexcept;
  [[nodiscard]] std::string_view client_id() const noexcept;
  [[nodiscard]] dislock::fencing_token fencing_token() const noexcept;
  [[nodiscard]] lock_mode mode() const noexcept;
  [[nodiscard]] std::string_view metadata() const noexcept;
  [[nodiscard]] std::uint32_t hold_count() const noexcept;
  /// How long the acquire waited.
  [[nodiscard]] duration waited() const noexcept;

  /// This process may still believe that it holds the lock. Looks at the clock, asks nobody, costs some 30
  /// ns; false from `must_stop` on, also when nobody could tell us because the process was stopped.
  [[nodiscard]] bool held() const noexcept;
  /// How long it may believe so without a further renewal, less the stop margin; zero when `held()` is false.
  [[nodiscard]] duration remaining() const noexcept;
  /// The last instant at which this process may believe that it holds the lock. Counted from before the
  /// request was sent, less 1 % for clocks that run at different rates, and 2 ms.
  [[nodiscard]] instant valid_until() const noexcept;
  [[nodiscard]] lease_stage stage() const noexcept;
  [[nodiscard]] loss_cause why_lost() const noexcept;
  /// Requested when the work under this lock has to end, which is before anybody else can have it.
  [[nodiscard]] std::stop_token lost() const;

  /// Asks the engine whether the lease lives. Unlike `held()` it costs a call, and may be out of date when it
  /// is back.
  [[nodiscard]] result<bool> is_held();
  /// Extends the lease to at least `ttl` (nothing: the one it was granted with) from now. After an error the
  /// old `valid_until()` still stands; `lock_not_held`: ownership has passed on.
  [[nodiscard]] result<void> renew(std::optional<duration> ttl = {});
  /// Gives the lock back, once; of a lease that is held more than once, one hold. A second call does nothing
  /// and succeeds. `lock_not_held`: it was lost before; `outcome_unknown`: nobody answered, and it is being
  /// settled in the background.
  result<void> release();
  /// Lets go of the lease without giving it back: nobody here renews it any more, so it ends with its ttl,
  /// unless whoever gets the ticket renews or releases it (`client::renew`, `client::release`). Holds nothing
  /// afterwards.
  [[nodiscard]] lease_ticket detach() &&;

  [[nodiscard]] explicit operator bool() const noexcept { return state_ != nullptr; }

 private:
  friend class library::core;
  explicit lease(std::shared_ptr<library::held_lease> state) noexcept;
  std::shared_ptr<library::held_lease> state_;
};

}  // namespace dislock
