#pragma once

#include "base/ids.hpp"
#include "base/unique_function.hpp"
#include "core/deadline_queue.hpp"
#include "dislock/lease.hpp"
#include "library/lease_life.hpp"

#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <vector>

namespace dislock::library {

class core;

/// What a `lease` shares with the client that renews it.
///
/// `life` and what comes with it belong to the strand; what it says is published in atomics, so that the
/// holder's questions take no lock and are answered by the clock even when nobody of ours has run meanwhile.
struct held_lease final : dislock::core::timed, std::enable_shared_from_this<held_lease> {
  /// What does not change.
  struct facts {
    std::string lock, client, metadata;
    lock_id id;
    fencing_token token{};
    lock_mode mode = lock_mode::exclusive;
    std::uint32_t hold_count = 1;
    duration waited{};
    std::function<void(lease_stage, loss_cause)> on_stage;
  };

  /// `moved`: the clock that somebody moves by hand, or null; then `machine` is copied, because a lease can
  /// be asked after its client has ended.
  held_lease(std::weak_ptr<library::core> its_home, const boottime_clock& machine, const manual_clock* moved,
             facts&& what, const lease_life::terms& terms, instant valid_until)
      : dislock::core::timed(dislock::core::timer_kind::lease),
        is(std::move(what)),
        home(std::move(its_home)),
        own_time(machine),
        time(moved ? static_cast<const clock&>(*moved) : own_time),
        life(terms, valid_until),
        told_valid_until(valid_until),
        believed_until(life.stop_at()) {}

  // --- from any thread
  [[nodiscard]] bool held() noexcept;
  [[nodiscard]] lease_stage stage_now() noexcept;
  [[nodiscard]] loss_cause cause_now() noexcept;
  [[nodiscard]] duration remaining() noexcept;
  [[nodiscard]] std::stop_token lost();
  /// Requested with `lost`.
  void also_stop(const std::stop_source& other);
  /// Outside of the strand: whoever waits for it may do anything.
  void request_stop();

  /// Given back, or let go of. By the one thread that may do that.
  [[nodiscard]] bool is_over() const noexcept { return over.load(std::memory_order_relaxed); }

  // --- the strand's
  /// Shows what `life` has come to. True: the stage is another one than before.
  bool publish() noexcept;

  const facts is;
  const std::weak_ptr<library::core> home;
  const boottime_clock own_time;
  const clock& time;

  lease_life life;
  std::atomic<bool> over{false};               ///< given back, or let go of: nobody looks after it any more
  bool outlived = false;                       ///< the engine renewed it after it was lost here
  unique_function<void(result<void>&&)> then;  ///< whom to tell of the release
  std::string release_request;                 ///< the id of the call that gives it back; may be empty

  end_of_belief told_valid_until;  ///< lost when it passes
  end_of_belief believed_until;    ///< must_stop when it passes
  std::atomic<lease_stage> stage{lease_stage::held};
  std::atomic<loss_cause> cause{loss_cause::none};

  /// The group's source of the group that this is the first lease of.
  std::stop_source group{std::nostopstate};

  std::mutex stops_mutex;  // never together with the strand's
  bool stopped = false;
  std::vector<std::stop_source> stops;
};

}  // namespace dislock::library
