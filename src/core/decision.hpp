// What a lock table is asked and what it answers, as plain values. No behaviour lives here.
#pragma once

#include "base/ids.hpp"
#include "dislock/clock.hpp"
#include "dislock/errc.hpp"
#include "dislock/types.hpp"

#include <boost/container/small_vector.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace dislock {

/// Lock-delay follows an end that the owner did not ask for and may not know of.
[[nodiscard]] constexpr bool starts_lock_delay(end_reason r) noexcept {
  return r == end_reason::expired || r == end_reason::max_hold || r == end_reason::forced ||
         r == end_reason::session_expired;
}

/// One lock of a request, and what is wanted of it.
struct lock_want {
  lock_name name;
  lock_mode mode = lock_mode::exclusive;
  std::uint32_t limit = 0;    ///< semaphore only: how many permits the lock has
  std::uint32_t permits = 1;  ///< semaphore only: how many of them are wanted; 1 <= permits <= limit
};

/// The scope in which a request id is unique: one lock, or all calls that name several (or no) locks.
/// Together with the client it is the identity of a call.
struct call_id {
  bool table_wide = false;
  lock_name lock;  ///< empty when table-wide
  client_id client;
  request_id request;
};

/// Everything is checked already: names, ranges, no duplicate names, permits within the limit.
struct acquire_request {
  client_id client;
  request_id request;  ///< empty: not remembered, and a waiter lives as long as its caller stays
  std::span<const lock_want> wants;
  bool multi = false;  ///< the request id is table-wide (the multi form), even with one name
  duration ttl{};      ///< ignored for a session's lease
  duration wait{};     ///< zero: answer at once
  duration lock_delay{};
  std::optional<duration> max_hold;
  bool auto_renew = false;
  session_id session;            ///< empty: a lease of its own
  lock_id reentry;               ///< not empty: hold this lease once more
  bool reentry_as_held = false;  ///< in whatever mode it is held; else the want must say the same
  std::string_view metadata;     ///< JSON text, or empty
  lock_id id;  ///< of one lock, with an engine that settles by it; not empty: the lease gets this one
};

/// One lease as its owner is told of it.
struct grant {
  lock_id id;
  renewal_token renewal;
  fencing_token token{};
  lock_mode mode = lock_mode::exclusive;
  bool session_bound = false;
  bool provisional = false;
  std::uint32_t permits = 1;
  std::uint32_t limit = 0;
  std::uint32_t hold_count = 1;
  std::uint32_t told = 0;  ///< which telling of the lease this is; see lock_table::undelivered
  instant end{};
  std::optional<instant> renewed_until;
};

/// What a grant is made of, where it was agreed upon outside of the table.
struct minted {
  lock_id id;
  renewal_token renewal;
  fencing_token token{};
};

struct granted {
  boost::container::small_vector<grant, 1> leases;  ///< in the order of the request's wants
  std::vector<std::string> locks;  ///< their names, from an engine that needs them for `undelivered`
  duration waited{};
  bool repeated = false;  ///< the answer of an earlier call
  bool claimed = false;   ///< repeated, and only now known to have arrived
};

/// Names a waiter of this engine; never reused.
enum class ticket : std::uint64_t {};

struct queued {
  ticket id{};
  std::uint32_t epoch = 0;  ///< which of the calls with this request id; the newest one speaks for the waiter
  instant deadline{};       ///< set by the first call
  bool grace = false;       ///< a request id keeps the place for a while after the caller has gone
};

/// A holder as everybody may see it.
struct holder_view {
  std::string client;
  fencing_token token{};
  lock_mode mode = lock_mode::exclusive;
  std::uint32_t permits = 1;
  std::uint32_t hold_count = 1;
  instant acquired_at{};
  instant end{};
  bool auto_renew = false;
  bool session_bound = false;
  std::string metadata;
};

constexpr std::size_t holders_shown = 10;
constexpr std::size_t waiters_shown = 100;

/// Why a request was refused, with what helps to understand it.
struct refusal {
  errc code{};
  duration waited{};
  std::string lock;  ///< the lock that was in the way
  std::vector<holder_view> holders;
  std::size_t holder_count = 0;
  std::size_t queue_length = 0;
  std::vector<cycle_step> cycle;
  std::optional<end_reason> ended;  ///< lock_not_held: how the lease ended, if that is known
  std::optional<lock_mode> mode;    ///< lock_mode_conflict: what the lock is in use as
  std::uint32_t limit = 0;
};
using refusal_ptr = std::shared_ptr<const refusal>;

[[nodiscard]] inline refusal_ptr refuse(errc code) {
  auto r = std::make_shared<refusal>();
  r->code = code;
  return r;
}

using acquire_answer = std::variant<granted, queued, refusal_ptr>;

/// An answer or the reason why there is none.
template <class T>
class answer {
 public:
  answer() = default;  // an empty one, to be filled
  answer(const T& value) : value_(value) {}
  answer(T&& value) : value_(std::move(value)) {}
  answer(refusal_ptr why) : value_(std::move(why)) {}
  answer(errc code) : value_(refuse(code)) {}

  [[nodiscard]] explicit operator bool() const noexcept { return value_.index() == 0; }
  [[nodiscard]] T& operator*() { return std::get<0>(value_); }
  [[nodiscard]] const T& operator*() const { return std::get<0>(value_); }
  [[nodiscard]] const T* operator->() const { return &std::get<0>(value_); }
  [[nodiscard]] const refusal& error() const { return *std::get<1>(value_); }
  [[nodiscard]] const refusal_ptr& error_ptr() const { return std::get<1>(value_); }

 private:
  std::variant<T, refusal_ptr> value_;
};

struct released {
  bool ended = false;  ///< false: it is still held `hold_count` times
  std::uint32_t hold_count = 0;
};

struct renewed {
  instant end{};
  fencing_token token{};
};

/// A lease of a multi call. `id` or `renewal` proves the right to it (release takes only `id`).
struct lease_proof {
  lock_name name;
  lock_id id;
  renewal_token renewal;
};

struct release_request {
  client_id client;  ///< optional; a wrong one is lock_not_held
  request_id request;
  std::span<const lease_proof> leases;
  bool multi = false;
};

struct renew_request {
  client_id client;
  request_id request;
  std::span<const lease_proof> leases;
  bool multi = false;
  std::optional<duration> ttl;  ///< nothing: as long as it was granted for
  bool by_service =
      false;  ///< not by the owner: proves nothing, and leaves a grant that nobody received alone
};

/// Answers per lock, in the order of the request.
using release_answers = boost::container::small_vector<answer<released>, 1>;
using renew_answers = boost::container::small_vector<answer<renewed>, 1>;

struct cancelled {
  bool done = false;  ///< false: that request had ended already
};

struct forced {
  std::vector<fencing_token> tokens;  ///< of the leases that were ended
};

struct session_view {
  std::uint64_t public_id = 0;
  std::string client;
  instant end{};
  duration ttl{};
  std::size_t leases = 0;
};

struct session_opened {
  session_id id;
  std::uint64_t public_id = 0;
  instant end{};
  duration ttl{};
};

struct session_kept {
  instant end{};
  std::size_t leases = 0;  ///< that live as long as it does
};

struct session_closed {
  std::size_t released = 0;
};

struct waiter_view {
  std::string client;
  lock_mode mode = lock_mode::exclusive;
  std::uint32_t permits = 1;
  std::size_t position = 0;  ///< 1 = next
  instant since{};
  instant deadline{};
  bool connected = true;
};

struct lock_view {
  std::string name;
  bool locked = false;
  lock_mode mode = lock_mode::exclusive;
  std::uint32_t limit = 0;
  std::uint32_t used = 0;  ///< semaphore: permits taken
  std::vector<holder_view> holders;
  std::size_t holder_count = 0;
  std::vector<waiter_view> waiters;
  std::size_t queue_length = 0;
  std::optional<fencing_token> latest;  ///< the last token minted, while the lock is in use
  std::optional<instant> closed_until;  ///< lock-delay
};

/// Where a queued request stands, lock by lock.
struct place {
  std::string lock;
  std::size_t position = 0;  ///< 1 = next
  std::vector<holder_view> holders;
  std::size_t holder_count = 0;
};

struct wait_edge {
  std::string from;
  std::string to;
  std::string lock;
  bool behind = false;
};

struct validity {
  bool current = false;                 ///< a live lease of the lock carries the token
  std::optional<fencing_token> latest;  ///< nothing for an idle lock
};

struct table_counts {
  std::size_t active_locks = 0;  ///< with a holder, a waiter or a lock-delay
  std::size_t leases = 0;
  std::size_t waiters = 0;
  std::size_t sessions = 0;
  std::size_t remembered = 0;  ///< entries of the request memory
};

/// One page of a listing, in no particular order. A page may be short: go on until there is no cursor.
template <class T>
struct page {
  std::vector<T> items;
  std::optional<std::uint64_t> next;
};

struct lock_filter {
  std::string_view prefix;
  std::string_view client;  ///< a holder or waiter with this clientId
};

enum class event_type : std::uint8_t {
  acquired,
  queued,
  refused,
  released,
  expired,
  forced,
  undelivered,
  cancelled,
  deadlock,
  session_opened,
  session_closed,
  session_expired,
};

[[nodiscard]] constexpr std::string_view to_string(event_type t) noexcept {
  constexpr std::string_view names[] = {"acquired", "queued",         "refused",        "released",
                                        "expired",  "forced",         "undelivered",    "cancelled",
                                        "deadlock", "session_opened", "session_closed", "session_expired"};
  return names[static_cast<std::size_t>(t)];
}

/// Something that happened, as everybody may know it. Views are valid during the call that passes it.
struct event {
  event_type type{};
  instant at{};
  std::string_view lock;
  std::string_view client;
  std::optional<fencing_token> token;
  std::optional<lock_mode> mode;
  std::string_view reason;
  duration took{};  ///< acquired, refused: the time waited; an end: the time held
};

/// A wait that was refused because it would have closed a cycle.
struct deadlock {
  instant at{};
  std::string client;  ///< the victim
  std::string lock;    ///< what it wanted
  std::vector<cycle_step> cycle;
};

}  // namespace dislock
