// What the library needs from the place where locks live, in process or behind a service.
#pragma once

#include "base/ids.hpp"
#include "base/unique_function.hpp"
#include "dislock/client.hpp"

#include <boost/container/small_vector.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dislock::library {

template <class T>
using completion = unique_function<void(result<T>&&)>;

/// A grant as it arrived here.
struct granted_lease {
  std::string lock;
  lock_id id;
  renewal_token renewal;
  fencing_token token{};
  lock_mode mode = lock_mode::exclusive;
  std::uint32_t permits = 1, hold_count = 1;
  duration ttl{};         ///< what it was granted for
  instant valid_until{};  ///< how long this process may believe in it (DESIGN 2.6), on `backend::now`
};

struct granted_leases {
  boost::container::small_vector<granted_lease, 1> leases;  ///< in the order of the call's locks
  duration waited{};
};

/// One logical acquire. Names and ranges are checked already.
struct acquire_call {
  std::string client;
  std::string request;  ///< empty: in process only, where no answer can be lost
  boost::container::small_vector<lock_request, 1> locks;
  bool multi = false;
  duration ttl{};
  duration wait{};
  duration lock_delay{};
  std::optional<duration> max_hold;
  std::string metadata;
  lock_id reentry;  ///< not empty: hold this lease once more, in whatever mode it is held
};

/// Names the lease that is meant, and proves the right to it.
struct lease_key {
  std::string lock;
  std::string client;  ///< may be empty: the id alone proves it
  lock_id id;
};

struct renewed_lease {
  instant valid_until{};
};

/// Names a call that is under way.
enum class call_number : std::uint64_t {};

/// Where locks live, as one client sees it. It carries calls there and back: waiting in the service's queue,
/// polls that keep the place, retries with the same request id and the choice of an endpoint are its
/// business; renewing, belief and settling unknown outcomes are not.
///
/// Every call completes exactly once, by its own deadline, on the client's strand (see `strand.hpp`): before
/// it returns, or later. All members on the strand, but for those that say something else.
class backend {
 public:
  virtual ~backend() = default;
  /// The clock by which leases are believed in. From any thread.
  [[nodiscard]] virtual instant now() const noexcept = 0;
  /// Whether an answer can be lost on the way, so that every mutating call needs a request id.
  [[nodiscard]] virtual bool remote() const noexcept = 0;

  /// Completes when it is decided; `lock_not_acquired` when `wait` is over. A grant may come with less than
  /// its ttl left; the caller gives back what is over. `call` stays where it is until then.
  virtual call_number acquire(const acquire_call& call, completion<granted_leases> done) = 0;
  /// The caller does not wait for this acquire any more: it completes now, with `request_cancelled`, and its
  /// place in the queue is given up. If it may have been granted the error is `outcome_unknown`, and the
  /// caller settles it with `cancel`. Does nothing for a call that is over.
  virtual void abandon(call_number which) = 0;
  /// Settles an acquire of `client` and `request`: no lease of it is left, and none will come. One attempt.
  virtual void cancel(std::string lock, bool multi, std::string client, std::string request,
                      completion<void> done) = 0;

  /// One attempt, or several with the same request id, by `deadline`.
  virtual void release(const lease_key& which, std::string_view request, instant deadline,
                       completion<void> done) = 0;
  /// Renews up to 32 leases in one go; answers per lease, in order. One attempt. The same lock may come twice
  /// (readers, re-entry), and the ttls may differ.
  virtual void renew(std::vector<lease_key> which, std::vector<duration> ttls,
                     completion<std::vector<result<renewed_lease>>> done) = 0;

  virtual void inspect(std::string lock, completion<lock_state> done) = 0;
  virtual void list(std::string prefix, std::string client, std::size_t limit,
                    completion<std::vector<lock_state>> done) = 0;
  virtual void validate(std::string lock, fencing_token token, completion<bool> done) = 0;
  virtual void force_release(std::string lock, std::optional<fencing_token> token, std::string reason,
                             std::string request, completion<std::vector<fencing_token>> done) = 0;
  virtual void graph(completion<std::vector<graph_edge>> done) = 0;
  virtual void deadlocks(completion<std::vector<deadlock_report>> done) = 0;
  virtual void events_after(std::uint64_t id, std::string prefix, duration wait,
                            completion<event_page> done) = 0;
  virtual void about(completion<engine_info> done) = 0;
  virtual void ping(completion<duration> done) = 0;

  /// Whether this thread is one of the backend's own, on which somebody was told something and now wants to
  /// wait: it has to do that thread's work meanwhile, one thing with each `help`. `ring` makes it return.
  /// From any thread.
  [[nodiscard]] virtual bool on_own_thread() const noexcept { return false; }
  virtual void help() {}
  virtual void ring() {}

  /// Completes everything that is open (`engine_unavailable` or `outcome_unknown`), makes durable what was
  /// decided, and calls `done`. No call follows.
  virtual void stop(unique_function<void()> done) = 0;
};

}  // namespace dislock::library
