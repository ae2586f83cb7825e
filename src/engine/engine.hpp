#pragma once

#include "base/unique_function.hpp"
#include "core/decision.hpp"
#include "engine/capabilities.hpp"
#include "engine/event_log.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace dislock {

template <class T>
using completion = unique_function<void(T&&)>;

/// Told of what an engine decided for requests that it had queued, and of everything that happens.
class engine_listener {
 public:
  virtual ~engine_listener() = default;
  /// A queued request was granted or refused, durably. Comes after the answer that said `queued`.
  virtual void on_resolved(ticket id, std::uint32_t epoch, acquire_answer&& outcome) = 0;
  /// As it is decided, which may be before it is durable: for counting, not for acting.
  virtual void on_event(const event& e) = 0;
  virtual void on_deadlock(const deadlock& d) = 0;
  /// From now on this replica has to renew that lease (autoRenew): the one that did has died. The views are
  /// valid during the call.
  virtual void on_adopted(lock_name name, const lock_id& id, duration ttl) {
    (void)name, (void)id, (void)ttl;
  }
};

struct engine_health {
  bool ready = true;
  std::string detail;          ///< why not, or what it cannot promise now; for operators, without secrets
  bool degraded = false;       ///< it works, with less than `capabilities` would have it
  bool clock_suspect = false;  ///< nothing is granted because its clock was set
  std::uint64_t clock_steps_forward = 0;   ///< of its clock against ours, seen by this process
  std::uint64_t clock_steps_backward = 0;  ///< likewise
};

/// Where locks live. An engine stores and decides; it never sleeps, never waits for a lock and never retries
/// behind the caller's back. Waiting, renewing and settling unknown outcomes live above all engines.
///
/// Every call completes exactly once, on the engine's strand: before the call returns or later. The answer
/// says what is durable by the engine's own guarantees; `errc::outcome_unknown` is the only answer after
/// which the decision may or may not stand. Requests are views that need to live only until the call returns.
///
/// Thread safety: one strand, that of the io_context that it was made for.
class engine {
 public:
  virtual ~engine() = default;

  [[nodiscard]] virtual const capabilities& about() const noexcept = 0;
  [[nodiscard]] virtual engine_health health() const = 0;
  /// The engine's time, which the instants in its answers are on.
  [[nodiscard]] virtual instant now() const noexcept = 0;
  /// New work should be refused for a moment, so that renewals and releases get through.
  [[nodiscard]] virtual bool overloaded() const noexcept = 0;
  [[nodiscard]] virtual event_log& events() noexcept = 0;

  /// Starts to end what ends by itself and to tell `listener`, which must outlive the engine. Once, first.
  virtual void start(engine_listener& listener) = 0;
  /// Takes no further calls, makes durable what was decided, then calls `done`.
  virtual void stop(unique_function<void()> done) = 0;

  virtual void acquire(const acquire_request& request, completion<acquire_answer> done) = 0;
  virtual void release(const release_request& request, completion<answer<release_answers>> done) = 0;
  virtual void renew(const renew_request& request, completion<answer<renew_answers>> done) = 0;
  virtual void cancel(const call_id& call, completion<answer<cancelled>> done) = 0;
  virtual void force_release(lock_name name, std::optional<fencing_token> token, request_id request,
                             std::string_view reason, completion<answer<forced>> done) = 0;
  virtual void open_session(client_id who, duration ttl, request_id request,
                            completion<answer<session_opened>> done) = 0;
  virtual void keep_session(session_id id, request_id request, completion<answer<session_kept>> done) = 0;
  virtual void close_session(session_id id, request_id request, completion<answer<session_closed>> done) = 0;

  /// Whether an acquire without a request id can be settled by the lock id that it asked for.
  [[nodiscard]] virtual bool settles() const noexcept { return false; }
  /// Ends what an acquire that asked for this id has come to, its waiter or its lease. `done` is false as
  /// long as the acquire may still be on its way: ask again a little later. REQUIRES: `settles()`; the
  /// acquire is over, and nobody knows how it ended.
  virtual void settle(lock_name name, lock_id id, completion<answer<cancelled>> done) {
    (void)name, (void)id;
    done(errc::unsupported_by_engine);
  }

  /// The call that spoke for a queued request has ended without an answer (see lock_table::detach).
  virtual void detach(ticket id, std::uint32_t epoch) = 0;
  /// A grant whose reply could not be written (see lock_table::undelivered).
  virtual void undelivered(const granted& given) = 0;

  virtual void status(lock_name name, std::size_t holders, std::size_t waiters,
                      completion<answer<lock_view>> done) = 0;
  virtual void validate(lock_name name, fencing_token token, completion<answer<validity>> done) = 0;
  virtual void places(ticket id, completion<answer<std::optional<std::vector<place>>>> done) = 0;
  virtual void list(const lock_filter& filter, std::uint64_t cursor, std::size_t limit,
                    completion<answer<page<lock_view>>> done) = 0;
  virtual void sessions(std::uint64_t cursor, std::size_t limit,
                        completion<answer<page<session_view>>> done) = 0;
  virtual void edges(std::size_t limit, completion<answer<std::vector<wait_edge>>> done) = 0;
  [[nodiscard]] virtual table_counts counts() const = 0;
  /// The leases that have to be renewed from above (autoRenew), with their ttl and end.
  virtual void for_each_auto_renewed(
      const std::function<void(const lease_proof&, duration, instant)>& visit) = 0;
};

}  // namespace dislock
