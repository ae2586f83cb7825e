// The things a lock table is made of. Owned by `lock_table`, linked intrusively, touched by nobody else.
//
// Invariants:
//  1. A lease is in exactly one lock's list, in the index by id, and in its session's list if it has one.
//  2. A waiter has one queue entry in the queue of each lock that it waits for; all of one arrival.
//  3. A lock without leases, waiters, lock-delay and memos does not exist.
//  4. A client without leases, waiters, sessions and memos does not exist.
//  5. A memo points at its waiter or its live leases, and they point back; when the last has ended the memo
//  is in
//     the line of those to be forgotten, or goes with one that is.
#pragma once

#include "base/text.hpp"
#include "core/deadline_queue.hpp"
#include "core/decision.hpp"

#include <boost/intrusive/list.hpp>
#include <boost/intrusive/slist.hpp>

#include <cstdint>
#include <map>
#include <memory>
#include <variant>
#include <vector>

namespace dislock::core {

namespace bi = boost::intrusive;

struct client;
struct lock;
struct lock_delay;
struct waiter;
struct memo;
struct session;

using client_hook = bi::slist_member_hook<bi::link_mode<bi::normal_link>>;
using normal_hook = bi::list_member_hook<bi::link_mode<bi::normal_link>>;
template <class T, normal_hook T::*Hook>
using linked = bi::list<T, bi::member_hook<T, normal_hook, Hook>, bi::constant_time_size<false>>;

/// What a request asked of the lease that it may get.
struct lease_terms {
  duration ttl{};
  duration lock_delay{};
  std::optional<duration> max_hold;
  core::session* bound = nullptr;
  bool auto_renew = false;
};

struct lease : timed {
  lease() noexcept : timed(timer_kind::lease) {}

  std::uint16_t lock_delay_ms = 0;
  lock_mode mode = lock_mode::exclusive;
  bool auto_renew : 1 = false;
  bool provisional : 1 = false;        // granted to somebody who is not there; `end` is the end of the grace
  bool group : 1 = false;              // one of several of a multi request
  std::uint8_t times_written : 2 = 0;  // its record; 2: more than once
  lock_id id;
  renewal_token renewal;
  fencing_token token{};
  instant acquired_at{};
  instant hold_limit = never;  // no renewal goes beyond
  duration ttl{};
  std::uint32_t moved_ms = 0;  // how far restarts have moved `end` since the last grant or renewal
  std::uint32_t hold_count = 1;
  std::uint32_t permits = 1;
  std::uint32_t told = 0;  // how often its owner was told of it again
  core::lock* on = nullptr;
  core::client* owner = nullptr;
  core::session* bound = nullptr;
  core::memo* remembered = nullptr;  // the newest of a chain: re-entries first, the grant last
  text metadata;
  normal_hook in_lock;

  [[nodiscard]] instant effective_end() const noexcept;
  /// Not over, whether or not anybody has noticed yet.
  [[nodiscard]] bool lives(instant now) const noexcept;
};

struct queue_entry {
  core::waiter* who = nullptr;
  core::lock* on = nullptr;
  lock_mode mode = lock_mode::exclusive;
  std::uint32_t limit = 0;
  std::uint32_t permits = 1;
  normal_hook in_queue;
};

struct waiter : timed {
  waiter() noexcept : timed(timer_kind::waiter) {}

  bool attached = true;
  bool multi = false;
  bool announced = false;  // that it waits
  // Only with `by_turns`. While somebody tries to get the lock for it, its end has to wait.
  enum class turn_state : std::uint8_t { none, trying, resting } turn = turn_state::none;
  std::uint32_t epoch = 0;
  std::uint32_t entry_count = 0;
  ticket arrival{};
  core::client* who = nullptr;
  core::memo* remembered = nullptr;
  std::unique_ptr<queue_entry[]> entries;
  instant since{};
  instant deadline{};
  instant grace_end = never;
  lease_terms terms;
  text metadata;
  normal_hook in_session;
  client_hook of_client;

  [[nodiscard]] std::span<queue_entry> wanted() const noexcept { return {entries.get(), entry_count}; }
};

using client_waits = bi::slist<waiter, bi::member_hook<waiter, client_hook, &waiter::of_client>,
                               bi::constant_time_size<false>>;

/// One flow of control that asks for locks: a node of the wait-for graph.
struct client {
  text id;
  std::uint32_t references = 0;
  std::uint32_t leases = 0;
  client_waits waits;  // nearly always none or one
};

/// Keeps a lock closed until its deadline.
struct lock_delay : timed {
  explicit lock_delay(core::lock& l) noexcept : timed(timer_kind::lock_delay), on(&l) {}

  core::lock* on;
};

struct lock {
  lock_mode mode = lock_mode::exclusive;  // of its leases
  bool ready = false;                     // in the table's list of locks with grants left over
  bool counted = false;                   // as active
  std::uint32_t limit = 0;
  std::uint32_t used = 0;
  std::uint32_t lease_count = 0;
  std::uint32_t queue_length = 0;
  std::uint32_t memos = 0;
  std::uint32_t slot = 0;  // its place in listings
  text name;
  std::unique_ptr<lock_delay> delay;  // null: open
  fencing_token latest{};
  linked<lease, &lease::in_lock> leases;
  linked<queue_entry, &queue_entry::in_queue> queue;

  [[nodiscard]] bool closed(instant now) const noexcept { return delay && delay->at > now; }
  [[nodiscard]] bool active() const noexcept { return lease_count > 0 || queue_length > 0 || delay; }
};

struct session : timed {
  session() noexcept : timed(timer_kind::session) {}

  end_reason ended = end_reason::none;  // set first; its leases and waiters follow in pieces
  std::uint32_t lease_count = 0;
  std::uint32_t moved_ms = 0;
  std::uint64_t public_id = 0;
  session_id id;
  core::client* owner = nullptr;
  instant end{};
  duration ttl{};
  std::map<fencing_token, lease*> leases;
  linked<waiter, &waiter::in_session> waiters;
};

inline instant lease::effective_end() const noexcept {
  return bound == nullptr || provisional ? at : std::min(bound->end, hold_limit);
}

inline bool lease::lives(instant now) const noexcept {
  return effective_end() > now && (bound == nullptr || bound->ended == end_reason::none);
}

/// A lease as a memo remembers it: alive, or how it ended.
struct lease_slot {
  lease_slot() = default;
  // g++ 12 takes a value in braces for one that is too wide for its bits
  lease_slot(core::lease* lives, fencing_token t, end_reason ended) : alive(lives), token(t), how(ended) {}

  core::lease* alive = nullptr;
  fencing_token token : 56 {};
  end_reason how : 8 = end_reason::none;
};

/// A renewal remembers which lease it renewed, or why it did not.
struct renewal_slot {
  fencing_token token{};
  refusal_ptr refused;
};

/// Outcomes that are rarer or larger than those which a memo holds in place.
using settled = std::variant<refusal_ptr, release_answers, std::vector<renewal_slot>, forced, session_opened,
                             session_kept, session_closed>;

struct was_cancelled {};
struct reentered {
  lease_slot slot;
};

/// What one request id came to.
struct memo {
  core::lock* scope = nullptr;  // null: table-wide
  core::client* who = nullptr;
  text request;
  std::uint64_t fingerprint = 0;  // of the body
  std::uint64_t number : 62 = 0;  // names its record
  // The grant of one lock: as long as that lives it is remembered in the lease's record, and named by its
  // token. Afterwards it shares a record with the memo of the release that ended the lease.
  std::uint64_t in_lease : 1 = 0;
  std::uint64_t over : 1 = 0;  // nothing lives that it speaks of: it will be forgotten
  instant when{};              // the first call; once it is over, the time to be forgotten
  std::variant<was_cancelled, waiter*, lease_slot, std::unique_ptr<std::vector<lease_slot>>, reentered,
               released, std::unique_ptr<settled>>
      outcome;
  memo* older = nullptr;  // the next of the same lease; once that is over, the other memo in its record
};

}  // namespace dislock::core
