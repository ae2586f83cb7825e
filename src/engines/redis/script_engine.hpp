// Private to the engine: its state, and how its parts know each other.
#pragma once

#include "base/secrets.hpp"
#include "core/deadline_queue.hpp"
#include "engines/redis/asking.hpp"
#include "engines/redis/plain.hpp"
#include "engines/redis/redis_engine.hpp"
#include "engines/redis/store_watch.hpp"
#include "engines/redis/telling.hpp"
#include "engines/redis/wire/client.hpp"
#include "engines/redis/wire/key_prefixes.hpp"

#include <boost/unordered/unordered_flat_map.hpp>
#include <boost/unordered/unordered_flat_set.hpp>

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace dislock::redis {

using std::chrono::milliseconds;
using std::chrono::seconds;

// How often a replica with waiters says that it is alive.
constexpr duration heartbeat = seconds(1);
// How often a replica looks for what has ended, while anything is in use, and asks after its waiters. Both
// only repair what was missed: what ends is known in advance, and waiters are woken.
constexpr duration sweeping = seconds(1), polling = seconds(5);
// How long plain locks are in use before they are listed.
constexpr duration indexing = milliseconds(100);

[[nodiscard]] inline instant last_end(const granted& got) {
  instant out{};
  for (const auto& g : got.leases) out = std::max(out, g.end);
  return out;
}

// How often a question was asked again, because of the clock or because the slot had moved.
struct detours {
  int clocks = 0, moves = 0;
};

/// The engine: what it was asked becomes a question to the script in the store, and the script's answer what
/// is told to callers, waiters and readers of events. The truth is in the store; here is only who waits for
/// what, and when to look again. One strand.
class script_engine final : public engine, private client_listener {
 public:
  script_engine(loop& where, const clock& time, redis_engine_options options, key_prefixes prefixes);
  ~script_engine() override;

  [[nodiscard]] bool at_rest() const noexcept { return client_->open() == 0 && !last_ && gathered_.empty(); }
  void count_now();
  [[nodiscard]] std::optional<error> connect(boost::asio::io_context& io);

  const capabilities& about() const noexcept override { return about_; }
  engine_health health() const override;
  instant now() const noexcept override { return loop_.now(); }
  bool overloaded() const noexcept override { return client_->open() > 20'000; }
  event_log& events() noexcept override { return events_; }

  void start(engine_listener& listener) override;
  void stop(unique_function<void()> done) override;

  void acquire(const acquire_request& request, completion<acquire_answer> done) override;
  void release(const release_request& request, completion<answer<release_answers>> done) override;
  void renew(const renew_request& request, completion<answer<renew_answers>> done) override;
  void cancel(const call_id& call, completion<answer<cancelled>> done) override;
  void force_release(lock_name name, std::optional<fencing_token> token, request_id request,
                     std::string_view reason, completion<answer<forced>> done) override;
  void open_session(client_id who, duration ttl, request_id request,
                    completion<answer<session_opened>> done) override;
  void keep_session(session_id id, request_id request, completion<answer<session_kept>> done) override;
  void close_session(session_id id, request_id request, completion<answer<session_closed>> done) override;
  bool settles() const noexcept override { return true; }
  void settle(lock_name name, lock_id id, completion<answer<cancelled>> done) override;
  void detach(ticket id, std::uint32_t epoch) override;
  void undelivered(const granted& given) override;

  void status(lock_name name, std::size_t holders, std::size_t waiters,
              completion<answer<lock_view>> done) override;
  void validate(lock_name name, fencing_token token, completion<answer<validity>> done) override;
  void places(ticket id, completion<answer<std::optional<std::vector<place>>>> done) override;
  void list(const lock_filter& filter, std::uint64_t cursor, std::size_t limit,
            completion<answer<page<lock_view>>> done) override;
  void sessions(std::uint64_t cursor, std::size_t limit,
                completion<answer<page<session_view>>> done) override;
  void edges(std::size_t limit, completion<answer<std::vector<wait_edge>>> done) override;
  table_counts counts() const override { return counts_; }
  void for_each_auto_renewed(
      const std::function<void(const lease_proof&, duration, instant)>& visit) override;

 private:
  // A waiter that this replica speaks for.
  struct waiting : core::timed {
    waiting() : core::timed(core::timer_kind::waiter) {}
    ticket id{};
    std::uint32_t epoch = 0;
    std::string lock;                     // the first one
    bool collecting = false;              // its outcome is being asked for
    bool announced = true;                // its caller knows that it is queued
    std::optional<acquire_answer> early;  // what was decided before that
  };
  struct look : core::timed {
    look() : core::timed(core::timer_kind::lock_delay) {}
    std::string lock;
  };
  // An acquire, as often as it has to be asked.
  struct asked {
    std::string client;
    std::vector<std::string> locks;
    bool waits = false;
    std::shared_ptr<const script_words> words;
    // The plain case
    lock_id id;
    renewal_token renewal;
    duration ttl{};
  };
  // A decision, or why there is none.
  using outcome = boost::system::result<step, errc>;
  using then = unique_function<void(const outcome&)>;
  // An answer of which only those have been told whose turn it is, and the reply that it refers to.
  struct unfinished {
    reply said;
    step read;
    std::uint64_t answered_by;
    then done;
  };
  // The plain case was one; and when its call was sent.
  using plain_then = unique_function<void(const plain_answer&, instant)>;

  // A plain call, which may be asked together with others of its kind.
  struct gathered {
    std::string lock;
    lock_id id;  // of an acquire: which it is to have
    std::shared_ptr<const script_words> words;
    plain_then plain;
    then otherwise;
  };
  enum class plain_kind : std::uint8_t { acquire, release };

  [[nodiscard]] house_rules house() const;
  [[nodiscard]] ask question(std::string_view verb) const { return ask(common_, verb); }
  void decide(std::string&& text, then done);
  void run_script(const script_words& words, bool at_once, completion<response> done);
  [[nodiscard]] static std::optional<errc> why_not(const response& got);
  void gather(plain_kind kind, gathered&& one);
  void ask_gathered();
  void ask_alone(gathered&& one, bool at_once = false);
  void ask_next(gathered&& one, bool at_once);
  [[nodiscard]] bool waits_behind(gathered& one);
  void ask_behind(const std::vector<gathered>& before);
  void end_gathered();
  void note_plain(const lock_id& id);
  [[nodiscard]] bool take_plain(const lock_id& id);
  void ask_store(std::shared_ptr<const script_words> words, plain_then plain, then done, bool at_once = false,
                 detours so_far = {});
  [[nodiscard]] std::shared_ptr<script_words> words_of(std::string_view question) const;
  [[nodiscard]] std::int64_t store_time() const noexcept;
  void note_time(const time_relation& time);
  // An end is told when a failover would be followed by a pause until then, or could not lose the lease.
  [[nodiscard]] bool is_safe(instant end, const step& told) const noexcept {
    return watch_->fence().covers(told.time().theirs(end), answered_by_);
  }
  void when_safe(instant end, const step& told, unique_function<void(bool)> then) {
    watch_->fence().secure(told.time().theirs(end), answered_by_, std::move(then));
  }
  void finish_last();
  void conclude(const step& s);
  void tell_all(const step& s);
  void absorb(const step& s);
  void tell(const told_waiter& t, const step& by);
  void claim(ticket id, std::uint32_t epoch, granted&& got);
  void collect(ticket id);
  void collect_later(ticket id);
  void disown_later(ticket id);
  void resolve(ticket id, std::uint32_t epoch, acquire_answer&& outcome);
  void happened(told_event told, std::int64_t at);
  void share_events();
  void read_events(const reply& rows);

  [[nodiscard]] std::string spell_out(const acquire_request& r);
  void ask_for(std::shared_ptr<const asked> what, int raises, completion<acquire_answer> done);
  void asked_for(const outcome& o, const std::shared_ptr<const asked>& what, int raises,
                 completion<acquire_answer> done);
  [[nodiscard]] granted plain_grant(const asked& what, const plain_answer& got, instant sent);
  void gave_back(const std::string& lock, const std::string& client, const plain_answer& got);
  void index();
  void note_granted(const granted& got, instant at);
  void queue_up(const step& s, const asked& what, completion<acquire_answer> done);
  void search(ticket id, std::uint32_t epoch, std::string lock, int rounds,
              unique_function<void(refusal_ptr)> done);
  void keep_on(session_id id, std::string text, session_kept so_far, completion<answer<session_kept>> done);
  void in_use(instant until);
  void watch(std::string_view lock, instant at);
  void wake();
  void wake_later();
  [[nodiscard]] bool speaks_for_others() const noexcept {
    return !waiting_.empty() || !auto_renewed_.empty();
  }
  void sweep(std::vector<std::string> names);
  void beat();
  void poll();
  void list_edges(std::uint64_t cursor, std::size_t limit, std::vector<wait_edge> found,
                  completion<answer<std::vector<wait_edge>>> done);

  template <class T>
  void tell_when_safe(const T& told, const step& by, completion<answer<T>> done) {
    if (is_safe(told.end, by)) return done(told);
    when_safe(told.end, by, [told, done = std::move(done)](bool safe) mutable {
      if (!safe) return done(refuse(errc::outcome_unknown));
      done(told);
    });
  }

  // A call that asks once and reads the rows of `done`.
  template <class T, class Read>
  void simple(ask&& q, completion<answer<T>> done, Read read) {
    decide(std::move(q).text(), [done = std::move(done), read = std::move(read)](const outcome& o) mutable {
      if (!o) return done(refuse(o.error()));
      if (o->verdict() == "refused") return done(read_refusal(o->out(), o->time()));
      done(read(o->out().at(1), o->time()));
    });
  }

  void on_opening(const newcomer& who, const address&, lane_kind, const server_facts& facts) override {
    watch_->on_opening(who, facts);
  }
  void on_connected(const address&, const server_facts&, std::uint64_t) override;
  void on_lost(const address&, std::string_view) override {}
  void on_subscribed() override;
  void on_message(std::string_view channel, std::string_view text) override;

  const redis_engine_options options_;
  const key_prefixes prefixes_;
  loop& loop_;
  const clock& network_time_;  // by which calls are given up
  event_log events_;
  const std::string me_;
  const std::string common_;
  std::vector<std::string> keys_;  // of every question
  plain_terms plain_;
  capabilities about_;
  system_secrets secrets_;
  engine_listener* listener_ = nullptr;
  bool stopped_ = false;

  core::deadline_queue deadlines_;
  boost::unordered_flat_map<std::uint64_t, std::unique_ptr<waiting>> waiting_;  // by ticket
  boost::unordered_flat_map<std::string, std::unique_ptr<look>> looks_;
  std::deque<std::pair<ticket, instant>> unknown_;  // something was granted to them; when to give it on
  // A lease with autoRenew that was granted through this replica.
  struct auto_renewed {
    std::string lock;
    lock_id id;
    duration ttl{};
    instant end{};
  };
  boost::unordered_flat_map<std::uint64_t, auto_renewed> auto_renewed_;  // by half of the id
  // An acquire that is being settled: when the store can have decided it at the latest.
  struct doubt {
    lock_id id;
    std::int64_t bound;
    instant forget;
  };
  std::deque<doubt> unsettled_;
  std::int64_t shown_at_most_ = 0;  // the store's clock, by all that was asked until now
  table_counts counts_;
  boost::unordered_flat_set<std::string> unlisted_;  // plain locks that were granted here a moment ago
  std::vector<std::string> unlist_;                  // and those given back that are listed
  instant next_beat_ = never, next_sweep_ = never, next_poll_ = never, next_ceiling_ = never,
          next_index_ = never, next_share_{};
  bool granted_lately_ = false;
  std::uint64_t answered_by_ = 0;  // the connection that brought the answer that is being read
  std::optional<unfinished> last_;
  std::vector<gathered> gathered_;
  plain_kind gathering_{};
  bool gathering_ends_ = false;
  // By the locks of what is being asked together: who wants one of them after that.
  boost::unordered_flat_map<std::string, std::vector<gathered>> behind_;
  boost::unordered_flat_set<std::uint64_t> plain_leases_, older_plain_leases_;  // by half of the id
  instant plain_leases_turn_{};
  std::deque<std::pair<lock_id, instant>> settled_;  // or being settled; until nothing asks for them any more
  time_relation relation_{};                         // of the newest answer
  std::deque<std::pair<told_event, std::int64_t>> unshared_;  // with the store's time
  std::string last_read_ = "0-0";
  bool sharing_ = false, unread_ = true;
  std::unique_ptr<store_watch> watch_;
  std::unique_ptr<redis_client> client_;  // last: its end answers calls
};

}  // namespace dislock::redis
