// What this replica has done: counted as it happens, for /locks/stats, /deadlocks and /metrics.
#pragma once

#include "core/decision.hpp"
#include "dislock/clock.hpp"
#include "dislock/errc.hpp"
#include "http/json_writer.hpp"
#include "server/histogram.hpp"
#include "server/metric_catalogue.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace dislock::server {

struct contended_lock {
  std::string lock;
  std::uint64_t waits = 0;
  duration total{};
};

/// The locks that made their callers wait longest, in fixed memory: a Space-Saving sketch, weighted by time
/// (Metwally, Agrawal, El Abbadi 2005).
///
/// A name that is not among the `capacity` followed ones takes the place of the one with the smallest weight
/// and starts from that weight, so that a lock with more than 1/`capacity` of all waiting is always among
/// them. What is reported is the part of the weight that was counted for the name itself: never more than was
/// waited, and less only by what came before the name was followed.
///
/// Cost: a hash of the name and a short chain; a change of weight up to 8 steps in a heap. No allocation.
/// Invariant: each followed name is once in `heap_`, at its entry's `heap_at`, and once in the chain of its
/// hash.
class contended_locks {
 public:
  static constexpr std::size_t capacity = 256;

  contended_locks();

  /// A request began to wait. Follows a new lock only while there is room: it has cost nobody time yet.
  void on_queued(std::string_view lock) noexcept;
  /// A wait came to its end.
  void on_waited(std::string_view lock, duration took) noexcept;

  /// The largest first. Locks that nobody has finished waiting for come last, by their number of waits.
  [[nodiscard]] std::vector<contended_lock> top(std::size_t most) const;

 private:
  using index = std::uint16_t;
  static constexpr index none = capacity;
  static constexpr std::size_t longest_name = 255;
  static constexpr std::size_t chains = 512;

  struct entry {
    std::int64_t inherited = 0;  // the part of its weight that other names brought in
    std::uint64_t waits = 0;
    std::size_t hash = 0;
    index next = none;  // in the chain
    index heap_at = 0;
    std::uint8_t length = 0;
    std::array<char, longest_name> name;

    [[nodiscard]] std::string_view lock() const noexcept { return {name.data(), length}; }
  };

  struct heap_node {
    std::int64_t weight = std::numeric_limits<std::int64_t>::max();  // microseconds
    index at = none;
  };

  index find(std::string_view lock, std::size_t hash) const noexcept;
  void name(index at, std::string_view lock, std::size_t hash) noexcept;
  void unlink(index at) noexcept;
  index add(std::string_view lock, std::size_t hash) noexcept;
  void sink(heap_node node, std::size_t where) noexcept;
  void place(heap_node node, std::size_t where) noexcept;

  std::vector<entry> entries_;                  // never moves: reserved for `capacity`
  std::array<heap_node, capacity + 1> heap_{};  // the smallest weight on top
  std::array<index, chains> first_of_{};        // by hash
};

/// Everything that this replica counts, since it began to.
///
/// Thread: everything here is called on the one io thread; there is neither lock nor atomic. `on_event`,
/// `on_reply` and `on_engine_call` cost 5 to 30 ns, an event that changes which contended locks are followed
/// about 100 ns; nothing is allocated. A deadlock is rare and is copied. Reading is for people and scrapers:
/// some 10 us.
///
/// Time is that of the engine (`event::at`, `engine::now()`): the same for all calls.
class statistics {
 public:
  static constexpr std::size_t deadlocks_kept = 100;
  static constexpr std::size_t contended_shown = 10;

  /// Plain sums since the beginning, by the place of the enumerator.
  struct counters {
    std::array<std::uint64_t, 3> acquired{};  ///< by lock_mode; re-entries included
    std::array<std::uint64_t, 9> ended{};     ///< leases, by end_reason
    std::array<std::uint64_t, 12> events{};   ///< by event_type
    std::array<std::uint64_t, renewed_by_count> renewed{};
    std::array<std::uint64_t, renewed_by_count> not_renewed{};
    /// By operation; then 2xx (and 1xx, 3xx), 4xx, 5xx.
    std::array<std::array<std::uint64_t, 3>, request_operation_count> replies{};
    /// By errc.
    std::array<std::uint64_t, about(metric::dislock_problems_total).labels[0].values.size()> problems{};
    std::array<std::uint64_t, 2> engine_errors{};  ///< by effect
    std::uint64_t deadlocks = 0;
  };

  struct rates {
    double acquired = 0;
    double released = 0;  ///< all ends of leases
    double refused = 0;
  };

  using queue_length_of = std::function<std::size_t(std::string_view lock)>;

  explicit statistics(instant since);
  statistics(const statistics&) = delete;
  statistics& operator=(const statistics&) = delete;

  // --- what happens

  /// All of engine_listener::on_event.
  void on_event(const event& e) noexcept;
  void on_deadlock(const deadlock& d);
  /// A granted, not repeated acquire that named a lease of its own: no event tells of it.
  void on_reentry(lock_mode mode, instant at) noexcept;
  /// Whether the lease lived on. A session's keepalive renews all its leases at once.
  void on_renewal(bool done, renewed_by by = renewed_by::client, std::uint64_t leases = 1) noexcept;
  /// A request got its reply. `took`: from its last byte to the reply's first, without the wait for a lock.
  void on_reply(request_operation what, int status, duration took) noexcept;
  /// The reply was a problem.
  void on_problem(errc code) noexcept;
  /// The engine completed a call, whatever it said.
  void on_engine_call(engine_operation what, duration took) noexcept;
  /// The engine failed (it did not merely refuse).
  void on_engine_error(effect what) noexcept;

  // --- what has happened

  [[nodiscard]] const counters& counted() const noexcept { return counted_; }
  /// From a request to its grant; zero where nobody had to wait.
  [[nodiscard]] const histogram& waits_for_grants() const noexcept { return granted_; }
  /// The same, and from a request to its refusal.
  [[nodiscard]] histogram waits() const;
  [[nodiscard]] const histogram& holds() const noexcept { return holds_; }
  [[nodiscard]] const histogram& request_times(request_operation what) const noexcept;
  [[nodiscard]] const histogram& engine_times(engine_operation what) const noexcept;
  /// Per second, over the last minute or the time since the beginning, but at least a second.
  [[nodiscard]] rates rates_at(instant now) const noexcept;
  /// For who needs their queue lengths before the text is written.
  [[nodiscard]] std::vector<contended_lock> most_contended() const { return contended_.top(contended_shown); }
  [[nodiscard]] instant since() const noexcept { return since_; }

  /// The schema `Stats` of api/openapi.yaml. `queue_length` is asked for up to `contended_shown` locks.
  void write_stats(http::json_writer& json, instant now, const table_counts& counts,
                   std::size_t request_memory_max, const queue_length_of& queue_length) const;
  /// The schema `Deadlocks`, newest first.
  void write_deadlocks(http::json_writer& json) const;

 private:
  static constexpr std::int64_t window = 60;  // seconds of the rates

  // A slot of the ring belongs to the second that last counted in it: a clock that jumps leaves no slot
  // behind that would count for ever.
  struct second {
    std::int64_t number = -1;
    std::uint32_t acquired = 0;
    std::uint32_t released = 0;
    std::uint32_t refused = 0;
  };

  second& second_of(instant at) noexcept;

  const instant since_;
  counters counted_;
  std::array<second, 64> seconds_{};  // a power of two above `window`
  histogram granted_, refused_, holds_;
  std::vector<histogram> request_times_, engine_times_;
  contended_locks contended_;
  std::deque<deadlock> deadlocks_;  // newest first
};

}  // namespace dislock::server
