#pragma once

#include "base/secrets.hpp"
#include "core/decision.hpp"
#include "core/entities.hpp"
#include "core/object_pool.hpp"
#include "core/recent_ends.hpp"
#include "core/record.hpp"
#include "core/request_memory.hpp"
#include "core/table_observer.hpp"
#include "dislock/clock.hpp"

#include <boost/unordered/unordered_flat_map.hpp>
#include <boost/unordered/unordered_flat_set.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dislock::core {

struct table_options {
  duration waiter_grace = std::chrono::seconds(5);  ///< how long a place is kept for a caller that has gone
  duration request_memory =
      std::chrono::seconds(30);                ///< how long an outcome is remembered after its lease ended
  std::size_t request_memory_max = 4'000'000;  ///< entries
  std::size_t queue_max = 10'000;              ///< waiters a lock
  std::size_t grants_per_step = 64;            ///< the rest follows with the next `advance`
  bool detect_deadlocks = true;
  /// Grants need somebody else's consent: see `lock_table::admit`. One exclusive lock a request.
  bool by_turns = false;
};

/// Every lock, lease, waiter, session and remembered request of one engine, and the rules by which they
/// change.
///
/// A state machine without I/O and without a clock: each call is one atomic decision at the instant that it
/// is told. What it decides for others than its caller goes to the observer, what must survive a crash to the
/// journal, both while it decides. It never waits.
///
/// Promises, for all sequences of calls with non-decreasing instants:
///  1. A lock has at most one exclusive lease, and then no other; never more permits out than its limit.
///  2. Grants follow arrival: nobody overtakes a waiter of the same lock.
///  3. A lease's token is larger than every token minted before it in this table.
///  4. After each call no waiter waits for a lock that it could have, unless `advance` was told to come back.
///  5. A repeated request id has one effect and one outcome, while it is remembered.
///  6. When nothing is held, awaited, closed or remembered, the table is empty.
///
/// Does not promise that a client still believes in its lease: belief is the client's own arithmetic.
///
/// Thread safety: none; one strand owns it. `now` must never go back.
class lock_table {
 public:
  /// `journal` may be null: then nothing outlives the process.
  lock_table(table_options options, secret_source& secrets, table_observer& observer, table_journal* journal);
  ~lock_table();
  lock_table(const lock_table&) = delete;
  lock_table& operator=(const lock_table&) = delete;

  // --- decisions
  // ---------------------------------------------------------------------------------------------

  /// Granted, queued or refused, at once. Takes up a place again when the request id is already queued.
  [[nodiscard]] acquire_answer acquire(instant now, const acquire_request& request);
  [[nodiscard]] answer<release_answers> release(instant now, const release_request& request);
  [[nodiscard]] answer<renew_answers> renew(instant now, const renew_request& request);
  /// Undoes whatever an acquire with this id did or would still do.
  [[nodiscard]] answer<cancelled> cancel(instant now, const call_id& call);
  /// Ends the lease with `token`, or every lease of the lock. Waiters stay; lock-delay applies.
  [[nodiscard]] answer<forced> force_release(instant now, lock_name name, std::optional<fencing_token> token,
                                             request_id request, std::string_view reason);
  [[nodiscard]] answer<session_opened> open_session(instant now, client_id who, duration ttl,
                                                    request_id request);
  [[nodiscard]] answer<session_kept> keep_session(instant now, session_id id, request_id request);
  [[nodiscard]] answer<session_closed> close_session(instant now, session_id id, request_id request);

  /// The call that spoke for a waiter has ended without an answer. Without a request id the waiter leaves the
  /// queue; with one its place is kept for the grace. Nothing happens if a newer call speaks for it.
  void detach(instant now, ticket id, std::uint32_t epoch);
  /// A grant whose reply could not be written: taken back at once, or, with a request id, kept for the grace.
  /// Nothing happens if its owner has been told of the lease again meanwhile (`told` is that of the grant),
  /// or has shown that he knows of it: then he may rely on it.
  void undelivered(instant now, lock_id id, std::uint32_t told = 0);

  /// Ends what ended at or before `now` and hands locks on, a bounded amount of it. True: there is more to do
  /// at once. To be called at `next_deadline()`, and again while it returns true.
  bool advance(instant now);
  [[nodiscard]] instant next_deadline() const noexcept { return deadlines_.next(); }
  [[nodiscard]] bool has_leftovers() const noexcept { return !ready_.empty() || !ending_sessions_.empty(); }

  // --- grants by turns: the table is the queue, and somebody else has the last word
  // ---------------------------------------------------------------------------------------------
  //
  // Where nothing in the table stands in a request's way it is queued all the same, also when it does not
  // want to wait, and the observer is told that it is its turn. Whoever asks on its behalf ends the attempt
  // with one of these. Until then the waiter's deadline and grace do not end it, and nobody passes it.

  /// It may have the lock. False: it does not want it any more, nobody was told, nothing happened.
  [[nodiscard]] bool admit(instant now, ticket id, const minted& as);
  /// Not now. Its wait ends if it is over; else `try_again` gives it another turn.
  void rest(instant now, ticket id);
  void try_again(instant now, ticket id);
  /// There is no answer, and the wait ends. Not remembered: nothing was decided about the lock.
  void turn_down(instant now, ticket id, refusal_ptr why);

  // --- what there is
  // -----------------------------------------------------------------------------------------

  [[nodiscard]] lock_view status(instant now, lock_name name, std::size_t holders, std::size_t waiters) const;
  [[nodiscard]] validity validate(instant now, lock_name name, fencing_token token) const;
  /// Where a queued request stands; nothing when it no longer waits.
  [[nodiscard]] std::optional<std::vector<place>> places(instant now, ticket id) const;
  /// Active locks from `cursor` (0 = from the start); looks at no more than 10,000 locks a page.
  [[nodiscard]] page<lock_view> list(instant now, const lock_filter& filter, std::uint64_t cursor,
                                     std::size_t limit) const;
  [[nodiscard]] page<session_view> sessions(std::uint64_t cursor, std::size_t limit) const;
  /// Who waits for whom, at most `limit` edges.
  [[nodiscard]] std::vector<wait_edge> edges(std::size_t limit) const;
  [[nodiscard]] table_counts counts() const noexcept;
  [[nodiscard]] std::size_t remembered() const noexcept { return memory_.size(); }
  /// Leases that somebody above the engine renews; `visit(proof, ttl, end)`.
  void for_each_auto_renewed(const std::function<void(const lease_proof&, duration, instant)>& visit) const;

  // --- what outlives the process
  // -----------------------------------------------------------------------------

  /// Writes the table's own record; belongs into every batch that a journal commits.
  void checkpoint(instant now);
  /// Takes one record of a journal. False: it is damaged or of a kind that this version does not know.
  [[nodiscard]] bool load(std::string_view key, std::string_view value);
  /// The latest instant that the loaded records know of; the clock must not start before it.
  [[nodiscard]] instant latest_known() const noexcept;
  /// After the last `load`: moves every end by the time the table was not there (never by more than a full
  /// ttl since the last grant or renewal), gives waiters a grace to come back, and starts. False: the records
  /// contradict each other.
  [[nodiscard]] bool start(instant now);

 private:
  // lock_table.cpp: asking
  acquire_answer repeat(instant now, memo& m, std::uint64_t print);
  acquire_answer reenter(instant now, const acquire_request& request, std::uint64_t print);
  acquire_answer grant_now(instant now, const acquire_request& request, std::span<lock* const> locks,
                           core::session* bound, std::uint64_t print);
  acquire_answer enqueue(instant now, const acquire_request& request, std::span<lock* const> locks,
                         core::session* bound, std::uint64_t print);
  refusal_ptr remember_refusal(instant now, const acquire_request& request, std::uint64_t print,
                               refusal_ptr why);
  bool fits(const lock& l, lock_mode mode, std::uint32_t permits, instant now) const noexcept;
  lease& make_lease(instant now, lock& on, core::client& owner, lock_mode mode, std::uint32_t permits,
                    std::uint32_t limit, const lease_terms& terms, std::string_view metadata,
                    const minted* as = nullptr);
  grant as_grant(const lease& l) const;
  std::shared_ptr<refusal> explain(instant now, const lock& l, errc code) const;

  // lock_table_end.cpp: giving back
  template <class Answer, class Repeat, class Decide>
  answer<Answer> once(instant now, const call_id& call, std::uint64_t print, Repeat repeat_settled,
                      Decide decide);
  lease* find_live(instant now, const lease_proof& proof, client_id who, bool renewal_is_enough) const;
  static refusal_ptr not_held(std::optional<end_reason> how);
  answer<released> release_one(instant now, const lease_proof& proof, client_id who, memo* by = nullptr);
  answer<renewed> renew_one(instant now, const lease_proof& proof, const renew_request& request);
  void claim(instant now, lease& l);
  void end(instant now, lease& l, end_reason how, std::string_view reason = {}, memo* by = nullptr);

  // lock_table_queue.cpp: handing on, and the end of things
  void hand_on(instant now, lock& first);
  bool can_start(const waiter& w, instant now) const noexcept;
  void grant_to(instant now, waiter& w, const minted* as = nullptr);
  void join_queues(waiter& w, std::span<const lock_want> wants, std::span<lock* const> locks);
  void leave_queues(waiter& w, std::vector<lock*>& touched);
  void discard(waiter& w);
  void drop(instant now, waiter& w, refusal_ptr why, event_type type, std::string_view reason);
  void give_up(instant now, waiter& w);
  void schedule(waiter& w);
  void schedule(lease& l, instant end);
  void close_until(lock& l, instant until);
  void open(lock& l);
  void begin(instant now);
  void settle(instant now, lock& l);
  end_reason why_over(const lease& l) const noexcept;
  void end_due(instant now, timed& t);
  void announce(instant now, waiter& w);
  void start_ending(instant now, core::session& s, end_reason how);
  bool end_pieces(instant now, core::session& s);
  std::optional<std::vector<cycle_step>> find_cycle(waiter& newest) const;

  // lock_table_turns.cpp: grants that somebody else has to agree to
  void offer(waiter& w);
  waiter* find_trying(ticket id) const noexcept;

  // lock_table_names.cpp: things that exist as long as somebody refers to them
  lock* find_lock(lock_name name) const noexcept;
  lock& obtain_lock(lock_name name);
  void touch(lock& l);  // counts it, or lets it go
  core::client& obtain_client(client_id id);
  void let_go(core::client& c);
  core::session* find_session(instant now, session_id id) const noexcept;
  memo* find_memo(const call_id& call) const noexcept;
  memo& remember(instant now, const call_id& call, std::uint64_t print);
  memo& remember(instant now, lock* scope, core::client& who, request_id request, std::uint64_t print);
  bool memory_full(request_id request) const noexcept;
  void forget_later(instant now, memo& m);
  void remember_in(memo& m, lease& l);
  void forget(memo& m);
  void discard(memo& m);
  void keep(lease& l);
  void keep(const memo& m);
  void keep(const waiter& w);
  void keep(const core::session& s);
  void keep_delay(const lock& l);
  void erase(record_kind kind, std::uint64_t number);
  fencing_token mint(instant now);
  std::uint64_t next_number() noexcept { return ++last_number_; }

  const table_options options_;
  secret_source& secrets_;
  table_observer& observer_;
  table_journal* journal_;

  struct name_hash {
    using is_transparent = void;
    std::size_t operator()(const lock* l) const noexcept { return (*this)(l->name.view()); }
    std::size_t operator()(std::string_view s) const noexcept { return hash_of(s); }
  };
  struct name_equal {
    using is_transparent = void;
    bool operator()(const lock* a, const lock* b) const noexcept { return a == b; }
    bool operator()(std::string_view s, const lock* l) const noexcept { return s == l->name.view(); }
    bool operator()(const lock* l, std::string_view s) const noexcept { return s == l->name.view(); }
  };
  struct client_hash {
    using is_transparent = void;
    std::size_t operator()(const core::client* c) const noexcept { return (*this)(c->id.view()); }
    std::size_t operator()(std::string_view s) const noexcept { return hash_of(s); }
  };
  struct client_equal {
    using is_transparent = void;
    bool operator()(const core::client* a, const core::client* b) const noexcept { return a == b; }
    bool operator()(std::string_view s, const core::client* c) const noexcept { return s == c->id.view(); }
    bool operator()(const core::client* c, std::string_view s) const noexcept { return s == c->id.view(); }
  };
  struct lease_hash {  // lease ids are random already
    using is_transparent = void;
    std::size_t operator()(const lease* l) const noexcept { return l->id.bits[1]; }
    std::size_t operator()(const lock_id& id) const noexcept { return id.bits[1]; }
  };
  struct lease_equal {
    using is_transparent = void;
    bool operator()(const lease* a, const lease* b) const noexcept { return a == b; }
    bool operator()(const lock_id& id, const lease* l) const noexcept { return id == l->id; }
    bool operator()(const lease* l, const lock_id& id) const noexcept { return id == l->id; }
  };

  boost::unordered_flat_set<lock*, name_hash, name_equal> locks_;
  boost::unordered_flat_set<core::client*, client_hash, client_equal> clients_;
  boost::unordered_flat_set<lease*, lease_hash, lease_equal> leases_;
  boost::unordered_flat_map<std::uint64_t, waiter*> waiters_;          // by arrival
  boost::unordered_flat_map<std::uint64_t, core::session*> sessions_;  // by the first word of the secret
  request_memory memory_;
  recent_ends ends_;
  deadline_queue deadlines_;
  std::vector<lock*> slots_;  // for listings that go on where they stopped
  std::vector<std::uint32_t> free_slots_;
  std::vector<lock*> ready_;  // grants left over from a step
  std::vector<core::session*> ending_sessions_;

  object_pool<lock> lock_pool_;
  object_pool<lease> lease_pool_;
  object_pool<memo> memo_pool_;
  object_pool<core::client> client_pool_;

  std::vector<lock*> work_;      // scratch of hand_on
  std::size_t grants_left_ = 0;  // of the current step
  std::size_t active_locks_ = 0;
  std::uint64_t last_token_ = 0;
  std::uint64_t last_number_ = 0;
  instant kept_from_{}, kept_until_{};  // what the last restart has given more time, see table_record
  std::string record_;                  // scratch
  std::unique_ptr<loaded_records> loaded_;
};

}  // namespace dislock::core
