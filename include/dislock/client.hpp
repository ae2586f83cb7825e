// The door: connect to where locks live, and ask for them.
#pragma once

#include "dislock/error.hpp"
#include "dislock/lease.hpp"
#include "dislock/options.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace dislock {

class async_client;

/// What an engine and the way to it promise.
struct engine_info {
  std::string engine;    ///< memory, embedded, redis, ...
  char guarantee = 'A';  ///< the class of docs/guarantees.md
  std::string version;   ///< of the service; empty in process
  bool fifo = false, shared = false, semaphore = false, multi = false, sessions = false, lock_delay = false;
  bool durable = false, durable_fence = false, failover_safe_exclusion = false;
};

/// Something that happened to a lock.
struct lock_event {
  std::uint64_t id = 0;  ///< rises for ever; pass it to `events_after` to go on
  std::string type;      ///< acquired, queued, refused, released, expired, forced, deadlock, ...
  wall_time at{};
  std::string lock, client, reason;
  std::optional<fencing_token> token;
  std::optional<lock_mode> mode;
  duration took{};  ///< acquired, refused: waited; an end: held
};

/// Events after some id. `reset`: the log no longer reaches back to it, and something was missed.
struct event_page {
  std::vector<lock_event> events;
  bool reset = false;
  std::uint64_t newest = 0;  ///< where to go on
};

/// `from` waits for `lock`, which `to` holds or (`behind`) waits for in front of it.
struct graph_edge {
  std::string from, to, lock;
  bool behind = false;
};

/// A wait that was refused because it would have closed a cycle.
struct deadlock_report {
  wall_time at{};
  std::string victim, lock;
  std::vector<cycle_step> cycle;
};

/// Several leases that were granted together, in the order of the request.
///
/// Thread safety: as `lease`.
class DISLOCK_API lease_group {
 public:
  lease_group() noexcept = default;
  explicit lease_group(std::vector<lease> leases) noexcept : leases_(std::move(leases)) {}
  [[nodiscard]] std::span<lease> leases() noexcept { return leases_; }
  [[nodiscard]] std::span<const lease> leases() const noexcept { return leases_; }
  [[nodiscard]] lease& operator[](std::size_t i) noexcept { return leases_[i]; }
  [[nodiscard]] const lease& operator[](std::size_t i) const noexcept { return leases_[i]; }
  [[nodiscard]] std::size_t size() const noexcept { return leases_.size(); }
  /// All of them are still held, as far as this process can know.
  [[nodiscard]] bool held() const noexcept;
  /// Requested as soon as one of them has to be given up.
  [[nodiscard]] std::stop_token lost() const;
  /// Gives all back. The first error, after all have been tried.
  result<void> release();

 private:
  std::vector<lease> leases_;
};

/// A connection to an engine: `memory:`, `embedded:/path`, `redis://host:port[/db]` and its like (`rediss:`,
/// `redis+sentinel:`, `redis+cluster:`), `redlock://a,b,c`, or `http://host:port[,host:port...]`.
///
/// Blocking calls; `async()` has the same ones for coroutines. One loop renews all leases of a client, so it
/// has to live as long as they do; leases that outlive it are given back when it ends, and lost.
///
/// Thread safety: all members from any thread. Copies share one connection.
class DISLOCK_API client {
 public:
  /// Opens the engine or finds the service's first endpoint that answers. `invalid_field`: the URL or an
  /// option; `engine_unavailable`: nobody is there, or another process has the store.
  [[nodiscard]] static result<client> connect(std::string_view url, client_options options = {});

  client(const client&) noexcept;
  client& operator=(const client&) noexcept;
  client(client&&) noexcept;
  client& operator=(client&&) noexcept;
  ~client();

  /// Waits for the lock, at most `options.wait`, in the order of arrival. Errors: `lock_not_acquired` (with
  /// holders and the time waited), `deadlock_detected` (with the cycle), `request_cancelled` (the stop
  /// token), `lock_mode_conflict`, `queue_full`, `engine_unavailable`, `outcome_unknown`, `invalid_*`.
  /// Whatever the error, no lock is left behind: what may have been granted is given back in the background.
  [[nodiscard]] result<lease> acquire(std::string_view lock, acquire_options options = {});
  /// One attempt. Nothing: somebody else has it, or waits for it.
  [[nodiscard]] result<std::optional<lease>> try_acquire(std::string_view lock, acquire_options options = {});
  /// All or nothing, at most 32, whatever the order of the names: cannot deadlock with another group.
  [[nodiscard]] result<lease_group> acquire_all(std::span<const lock_request> locks,
                                                acquire_options options = {});
  [[nodiscard]] result<lease_group> acquire_all(std::initializer_list<std::string_view> locks,
                                                acquire_options options = {});

  /// Runs `work(lease&)` under the lock and gives it back when that returns or throws. The result is what
  /// `work` returns; or the error of the acquire, in which case `work` did not run; or `lock_not_held`, if
  /// the lock was lost by the time that it returned. `options.stop` ends the wait; while `work` runs it
  /// requests `lost()`.
  template <class Work>
  auto with_lock(std::string_view lock, acquire_options options, Work&& work)
      -> result<std::invoke_result_t<Work, lease&>> {
    auto stop = options.stop;
    auto held = acquire(lock, std::move(options));
    if (!held) return held.error();
    return run_under(std::move(*held), std::move(stop), std::forward<Work>(work));
  }
  template <class Work>
    requires std::is_invocable_v<Work, lease&>
  auto with_lock(std::string_view lock, Work&& work) {
    return with_lock(lock, acquire_options{}, std::forward<Work>(work));
  }
  /// As `with_lock`, but only if the lock is free. False: somebody else has it, and `work` did not run.
  template <class Work>
  result<bool> try_with_lock(std::string_view lock, acquire_options options, Work&& work) {
    auto stop = options.stop;
    auto held = try_acquire(lock, std::move(options));
    if (!held) return held.error();
    if (!*held) return false;
    auto done = run_under(std::move(**held), std::move(stop),
                          [&work](lease& mine) { std::forward<Work>(work)(mine); });
    if (!done) return done.error();
    return true;
  }
  template <class Work>
    requires std::is_invocable_v<Work, lease&>
  result<bool> try_with_lock(std::string_view lock, Work&& work) {
    return try_with_lock(lock, acquire_options{}, std::forward<Work>(work));
  }

  /// Extends a lease that was detached, here or in another process: `lock_not_held` if it is over. From the
  /// return on its holder may believe in it for that long.
  [[nodiscard]] result<duration> renew(const lease_ticket& ticket, std::optional<duration> ttl = {});
  /// Gives back a lease that was detached. Only `lock` and `lock_id` of the ticket are looked at.
  result<void> release(const lease_ticket& ticket);

  [[nodiscard]] result<bool> is_locked(std::string_view lock);
  /// Holders and waiters: at most 100 of each, and how many there are.
  [[nodiscard]] result<lock_state> inspect(std::string_view lock);
  /// Locks that are in use, in no order. `prefix`, `client`: only those.
  [[nodiscard]] result<std::vector<lock_state>> list(std::string_view prefix = {},
                                                     std::string_view client_id = {},
                                                     std::size_t limit = 1'000);
  /// Whether a live lease of the lock carries this token.
  [[nodiscard]] result<bool> validate(std::string_view lock, fencing_token token);
  /// Ends the lease with this token, or all of the lock. The tokens of those that ended. Lock-delay applies.
  /// A holder learns of it with its next renewal; what it writes until then is for the fencing token to
  /// refuse.
  [[nodiscard]] result<std::vector<fencing_token>> force_release(std::string_view lock,
                                                                 std::optional<fencing_token> token,
                                                                 std::string_view reason);
  [[nodiscard]] result<std::vector<graph_edge>> graph();
  [[nodiscard]] result<std::vector<deadlock_report>> deadlocks();
  /// Events with this prefix after `id` (0: the newest only, to learn where to begin). Waits at most `wait`
  /// for one.
  [[nodiscard]] result<event_page> events_after(std::uint64_t id, std::string_view prefix = {},
                                                duration wait = {});
  [[nodiscard]] result<engine_info> about();
  /// A round trip: the engine can decide. `took`: how long that was.
  [[nodiscard]] result<duration> ping();

  /// The same client for coroutines.
  [[nodiscard]] async_client async() const noexcept;
  /// Moves the `manual_clock` of `client_options::time`, and does what is due by then, in order.
  void advance(duration by);
  /// Gives all leases back and settles what is unknown, for at most `patience`; then every call is refused.
  /// The destructor of the last copy does it with 1 s.
  result<void> close(duration patience = std::chrono::seconds(5));

 private:
  friend class async_client;
  friend class library::core;
  explicit client(std::shared_ptr<library::core> with) noexcept;
  static result<void> finish(lease& held);
  static void wind_down(const lease& held) noexcept;

  template <class Work>
  static auto run_under(lease held, std::stop_token stop, Work&& work)
      -> result<std::invoke_result_t<Work, lease&>> {
    const std::stop_callback on_stop(std::move(stop), [&held] { wind_down(held); });
    if constexpr (std::is_void_v<std::invoke_result_t<Work, lease&>>) {
      std::forward<Work>(work)(held);
      return finish(held);
    } else {
      auto out = std::forward<Work>(work)(held);
      if (auto given_back = finish(held); !given_back) return given_back.error();
      return out;
    }
  }

  std::shared_ptr<library::core> core_;
};

}  // namespace dislock
