#include "engines/redis/redis_engine.hpp"

#include "base/log.hpp"
#include "base/secrets.hpp"
#include "core/deadline_queue.hpp"
#include "core/request_memory.hpp"
#include "engines/redis/asking.hpp"
#include "engines/redis/plain.hpp"
#include "engines/redis/scripts.hpp"
#include "engines/redis/store_watch.hpp"
#include "engines/redis/telling.hpp"
#include "engines/redis/wire/client.hpp"

#include <boost/unordered/unordered_flat_map.hpp>
#include <boost/unordered/unordered_flat_set.hpp>

#include <algorithm>
#include <deque>
#include <utility>

namespace dislock {
namespace {

using redis::ask;
using redis::reply;
using redis::step;
using std::chrono::milliseconds;
using std::chrono::seconds;

// How often a replica with waiters says that it is alive, and after what time it is taken for dead.
constexpr duration heartbeat = seconds(1), lapse = seconds(3);
// How often a replica looks for what has ended, while anything is in use, and asks after its waiters. Both
// only repair what was missed: what ends is known in advance, and waiters are woken.
constexpr duration sweeping = seconds(1), polling = seconds(5);
constexpr std::size_t polled_at_once = 500;
// How far the ceiling of tokens is raised at once, and how often.
constexpr duration ceiling_ahead = seconds(2), ceiling_renewal = seconds(1);
// How often a question is asked again because the store's clock was ahead.
constexpr int most_clocks = 5;
// Rounds of a deadlock search in which the graph changed under it.
constexpr int most_searches = 8;
// How often events are written down, and read.
constexpr duration sharing_pause = milliseconds(2);
// As in events.lua; and how many events one entry may have.
constexpr std::size_t entries_a_page = 50, most_shared = 2000;
// How long plain locks are in use before they are listed, and how many at once.
constexpr duration longest_plain = seconds(30);
constexpr duration indexing = milliseconds(100);
constexpr std::size_t indexed_at_once = 256;
// How long somebody tries to settle an acquire.
constexpr duration longest_doubt = std::chrono::hours(25);
// Rounds of raising the ceiling for one acquire.
constexpr int most_raises = 3;

instant last_end(const granted& got) {
  instant out{};
  for (const auto& g : got.leases) out = std::max(out, g.end);
  return out;
}

std::string make_replica_name() {
  system_secrets secrets;
  return secrets.make<lock_id>().to_string().substr(0, 16);
}

class redis_engine final : public engine, private redis::client_listener {
 public:
  redis_engine(loop& where, const clock& time, redis_engine_options options)
      : options_(std::move(options)),
        loop_(where),
        network_time_(time),
        events_(options_.event_log_size),
        me_(make_replica_name()),
        common_(ask::common({options_.side_prefix, options_.canonical_prefix, me_, options_.waiter_grace,
                             options_.request_memory, lapse, ceiling_ahead, options_.failover.quarantine,
                             options_.queue_max, options_.failover.exclusive && !options_.plant_plain_counter,
                             options_.plant_plain_counter})) {
    plain_ = {
        options_.side_prefix,
        options_.canonical_prefix,
        common_ + '}',
        std::to_string(options_.side_prefix.size()),
        options_.request_memory,
        options_.plant_plain_counter ? duration() : std::min(options_.failover.quarantine, longest_plain)};
    about_.engine = "redis";
    about_.grade = guarantee_class::c;
    about_.fifo = about_.shared = about_.semaphore = about_.multi = about_.sessions = about_.lock_delay =
        true;
  }
  ~redis_engine() override {
    stopped_ = true;
    if (watch_) watch_->stop();
    if (client_) client_->stop();
  }

  [[nodiscard]] bool at_rest() const noexcept { return client_->open() == 0; }
  void count_now() {
    index();
    sweep({});
    next_share_ = {};
    share_events();
  }
  [[nodiscard]] std::optional<error> connect(boost::asio::io_context& io) {
    redis::client_settings s;
    s.url = options_.url;
    s.scripts = {std::string(redis::table_script), std::string(redis::events_script)};
    auto made = redis::redis_client::make(io, network_time_, std::move(s), *this);
    if (!made) return made.error();
    client_ = std::move(*made);
    watch_ = std::make_unique<redis::store_watch>(
        *client_, loop_, network_time_,
        redis::store_watch::settings{common_, options_.side_prefix + "fence", options_.url.what,
                                     options_.failover, ceiling_ahead, options_.call_timeout},
        about_);
    return std::nullopt;
  }

  const capabilities& about() const noexcept override { return about_; }
  engine_health health() const override {
    engine_health h;
    h.ready = client_->ready();
    if (!h.ready) h.detail = client_->trouble();
    watch_->describe(h);
    return h;
  }
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
    std::shared_ptr<const redis::script_words> words;
    // The plain case
    lock_id id;
    renewal_token renewal;
    duration ttl{};
  };
  // A decision, or why there is none.
  using outcome = boost::system::result<step, errc>;
  using then = unique_function<void(const outcome&)>;
  // The plain case was one; and when its call was sent.
  using plain_then = unique_function<void(const redis::plain_answer&, instant)>;

  [[nodiscard]] ask question(std::string_view verb) const { return ask(common_, verb); }
  void decide(std::string_view key, std::string&& text, then done);
  void ask_store(std::shared_ptr<const redis::script_words> words, plain_then plain, then done,
                 int clocks = 0);
  [[nodiscard]] std::int64_t store_time() const noexcept;
  void note_time(const redis::time_relation& time);
  // An end is told when a failover would be followed by a pause until then, or could not lose the lease.
  [[nodiscard]] bool is_safe(instant end, const step& told) const noexcept {
    return watch_->fence().covers(told.time().theirs(end), answered_by_);
  }
  void when_safe(instant end, const step& told, unique_function<void(bool)> then) {
    watch_->fence().secure(told.time().theirs(end), answered_by_, std::move(then));
  }
  void absorb(const step& s);
  void tell(const redis::told_waiter& t, const step& by);
  void claim(ticket id, std::uint32_t epoch, granted&& got);
  void collect(ticket id);
  void collect_later(ticket id);
  void resolve(ticket id, std::uint32_t epoch, acquire_answer&& outcome);
  void happened(redis::told_event told, std::int64_t at);
  void share_events();
  void read_events(const reply& rows);

  [[nodiscard]] std::string spell_out(const acquire_request& r);
  void ask_for(std::shared_ptr<const asked> what, int raises, completion<acquire_answer> done);
  void asked_for(const outcome& o, const std::shared_ptr<const asked>& what, int raises,
                 completion<acquire_answer> done);
  [[nodiscard]] granted plain_grant(const asked& what, const redis::plain_answer& got, instant sent);
  void gave_back(const std::string& lock, const std::string& client, const redis::plain_answer& got);
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
  void simple(std::string_view key, ask&& q, completion<answer<T>> done, Read read) {
    decide(key, std::move(q).text(),
           [done = std::move(done), read = std::move(read)](const outcome& o) mutable {
             if (!o) return done(refuse(o.error()));
             if (o->verdict() == "refused") return done(redis::read_refusal(o->out(), o->time()));
             done(read(o->out().at(1), o->time()));
           });
  }

  void on_opening(const redis::newcomer& who, const redis::address&, redis::lane_kind,
                  const redis::server_facts& facts) override {
    watch_->on_opening(who, facts);
  }
  void on_connected(const redis::address&, const redis::server_facts&, std::uint64_t) override;
  void on_lost(const redis::address&, std::string_view) override {}
  void on_subscribed() override;
  void on_message(std::string_view channel, std::string_view text) override;

  const redis_engine_options options_;
  loop& loop_;
  const clock& network_time_;  // by which calls are given up
  event_log events_;
  const std::string me_;
  const std::string common_;
  redis::plain_terms plain_;
  capabilities about_;
  system_secrets secrets_;
  engine_listener* listener_ = nullptr;
  bool stopped_ = false;

  core::deadline_queue deadlines_;
  boost::unordered_flat_map<std::uint64_t, std::unique_ptr<waiting>> waiting_;  // by ticket
  boost::unordered_flat_map<std::string, std::unique_ptr<look>> looks_;
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
  std::uint64_t answered_by_ = 0;    // the connection that brought the answer that is being read
  redis::time_relation relation_{};  // of the newest answer
  std::deque<std::pair<redis::told_event, std::int64_t>> unshared_;  // with the store's time
  std::string last_read_ = "0-0";
  bool sharing_ = false, unread_ = true;
  std::unique_ptr<redis::store_watch> watch_;
  std::unique_ptr<redis::redis_client> client_;  // last: its end answers calls
};

// --- asking the store

// Asks the script one thing. Nothing, if the answer has no place in this world, or none came.
void redis_engine::decide(std::string_view, std::string&& text, then done) {
  auto words = std::make_shared<redis::script_words>();
  words->key({options_.side_prefix, "fence"}).word({text});
  ask_store(std::move(words), {}, std::move(done));
}

// `plain`, if it was decided as the plain case, or else `done`.
void redis_engine::ask_store(std::shared_ptr<const redis::script_words> words, plain_then plain, then done,
                             int clocks) {
  if (stopped_) return done(errc::draining);
  if (const auto latest = watch_->latest_store_time()) shown_at_most_ = std::max(shown_at_most_, *latest);
  const auto latest = watch_->latest();
  auto all = words->all();
  all.arguments.insert(all.arguments.begin() + 1, latest);
  redis::script_call call;
  call.keys = all.keys;
  call.arguments = all.arguments;
  call.stamped = true;
  const redis::target to{.key = all.keys[0]};
  const auto deadline = later(network_time_.now(), options_.call_timeout);
  client_->run(to, call, deadline,
               [this, sent = now(), clocks, words = std::move(words), plain = std::move(plain),
                done = std::move(done)](redis::response got) mutable {
                 if (!got) {
                   const bool may_stand = got.error().what == effect::unknown;
                   return done(may_stand ? errc::outcome_unknown : errc::engine_unavailable);
                 }
                 if (got->failed()) {
                   log::warn("redis", "a decision failed", {{"reason", got->text}});
                   // Of these it is known that nothing was done; a script may fail in its middle.
                   const auto word = got->error_word();
                   const bool refused = word == "OOM" || word == "MISCONF" || word == "NOREPLICAS" ||
                                        word == "NOAUTH" || word == "NOPERM";
                   return done(refused ? errc::engine_unavailable : errc::outcome_unknown);
                 }
                 if (plain)
                   if (const auto answer = redis::read_plain(*got)) return plain(*answer, sent);
                 const auto s = step::read(*got, sent);
                 if (!s) return done(errc::internal_error);
                 if (s->verdict() == "clock") {
                   if (clocks == most_clocks) return done(errc::engine_unavailable);
                   return watch_->on_clock_ahead(
                       sent, s->time().now, s->out().at(1).number,
                       [this, clocks, words = std::move(words), plain = std::move(plain),
                        done = std::move(done)](bool again) mutable {
                         if (!again) return done(errc::engine_unavailable);
                         ask_store(std::move(words), std::move(plain), std::move(done), clocks + 1);
                       });
                 }
                 note_time(s->time());
                 answered_by_ = got->connection;
                 done(*s);
                 absorb(*s);
                 for (auto& e : s->events()) happened(std::move(e), s->time().now);
               });
}

// As far as we know.
std::int64_t redis_engine::store_time() const noexcept {
  return relation_.now == 0 ? 0 : relation_.now + (now() - relation_.sent).count();
}

void redis_engine::note_time(const redis::time_relation& time) {
  watch_->on_answer(time.sent, time);
  relation_ = time;
}

void redis_engine::absorb(const step& s) {
  for (const auto& t : s.waiters()) tell(t, s);
  std::vector<std::string> left;
  next_sweep_ = std::min(next_sweep_, s.soonest());
  for (const auto& l : s.looks()) {
    watch(l.lock, l.at);
    if (s.at_ceiling()) left.emplace_back(l.lock);
  }
  if (!left.empty())
    watch_->fence().raise([this, left = std::move(left)](bool raised) mutable {
      if (raised) return sweep(std::move(left));
      for (const auto& lock : left) watch(lock, later(now(), sweeping));
      wake_later();
    });
  wake_later();
}

// --- events: one stream for all replicas

event event_of(const redis::told_event& told, instant at) {
  event e;
  e.type = told.type;
  e.at = at;
  e.lock = told.lock;
  e.client = told.client;
  e.reason = told.reason;
  e.token = told.token;
  e.mode = told.mode;
  e.took = told.took;
  return e;
}

void redis_engine::happened(redis::told_event told, std::int64_t at) {
  if (listener_) listener_->on_event(event_of(told, now()));
  unshared_.emplace_back(std::move(told), at);
  share_events();
}

// Writes what happened here into the stream, and reads what is new there. What happens meanwhile and within
// a moment goes with the next: else there would be as many of these as there are decisions.
void redis_engine::share_events() {
  if (stopped_ || sharing_ || (unshared_.empty() && !unread_)) return;
  if (now() < next_share_) return wake_later();
  next_share_ = later(now(), sharing_pause);
  sharing_ = true;
  unread_ = false;
  const auto count = std::min(unshared_.size(), most_shared);
  std::string events;
  for (std::size_t i = 0; i < count; ++i) {
    redis::write_event(events, unshared_.front().first, unshared_.front().second);
    unshared_.pop_front();
  }
  const auto kept = std::to_string(options_.event_log_size), number = std::to_string(count);
  const auto channel = options_.side_prefix + "news", stream = options_.side_prefix + "events";
  const std::string_view keys[] = {stream};
  const std::string_view arguments[] = {last_read_, kept, channel, me_, number, events};
  redis::script_call call;
  call.script = 1;
  call.keys = keys;
  call.arguments = arguments;
  client_->run({.key = stream}, call, later(network_time_.now(), options_.call_timeout),
               [this](redis::response got) {
                 sharing_ = false;
                 if (got && got->is == reply::kind::array) {
                   read_events(*got);
                   if (got->items.size() == entries_a_page) unread_ = true;
                 }
                 share_events();
               });
}

void redis_engine::read_events(const reply& entries) {
  for (const auto& entry : entries.items) {
    last_read_ = entry.at(0).text;
    auto id = redis::number_at_start(last_read_);
    redis::read_events(entry, [&](const redis::told_event& told, std::int64_t at) {
      events_.append(event_of(told, relation_.ours(at)), id++);
    });
  }
  events_.publish(events_.appended());
}

void redis_engine::on_subscribed() {
  unread_ = true;
  share_events();
  if (!waiting_.empty()) next_poll_ = now();
  wake_later();
}

// A waiter of this replica has something to collect ("ticket:epoch"), or another replica has written events.
void redis_engine::on_message(std::string_view channel, std::string_view text) {
  if (!channel.ends_with(me_)) {
    unread_ = unread_ || text != me_;
    // Something is in use somewhere: its replica may die, and then it is ours to end.
    next_sweep_ = std::min(next_sweep_, later(now(), sweeping));
    wake_later();
    return share_events();
  }
  const auto id = ticket{redis::number_at_start(text)};
  const auto colon = text.find(':');
  if (colon == std::string_view::npos) return;
  const auto epoch = static_cast<std::uint32_t>(redis::number_at_start(text.substr(colon + 1)));
  if (text.ends_with(":superseded")) return resolve(id, epoch, dislock::refuse(errc::superseded));
  collect(id);
}

// --- acquire

void redis_engine::acquire(const acquire_request& r, completion<acquire_answer> done) {
  // Without a bound nobody could settle it; see `settle`.
  if (!r.id.empty() && !watch_->latest_store_time()) return done(refuse(errc::engine_unavailable));
  auto wanted = std::make_shared<asked>();
  wanted->client = r.client.view();
  for (const auto& w : r.wants) wanted->locks.emplace_back(w.name.view());
  wanted->waits = r.wait > duration::zero();
  if (redis::is_plain(plain_, r)) {
    wanted->id = r.id.empty() ? secrets_.make<lock_id>() : r.id;
    wanted->renewal = secrets_.make<renewal_token>();
    wanted->ttl = r.ttl;
    wanted->words = std::make_shared<redis::script_words>(
        redis::plain_acquire(plain_, r, wanted->id, wanted->renewal, redis::print_of(r)));
  } else {
    auto words = std::make_shared<redis::script_words>();
    words->key({options_.side_prefix, "fence"}).word({spell_out(r)});
    wanted->words = std::move(words);
  }
  ask_for(std::move(wanted), 0, std::move(done));
}

std::string redis_engine::spell_out(const acquire_request& r) {
  std::vector<std::pair<lock_id, renewal_token>> secrets;
  for (std::size_t i = 0; i < r.wants.size(); ++i)
    secrets.emplace_back(r.id.empty() ? secrets_.make<lock_id>() : r.id, secrets_.make<renewal_token>());
  const call_id call{r.multi, r.multi ? lock_name() : r.wants[0].name, r.client, r.request};
  auto q = question("acquire");
  q.put_call(call, redis::print_of(r)).put(r.wants).put_secrets(secrets);
  q.put("ttl", r.ttl).put("wait", r.wait).put("delay", r.lock_delay);
  if (r.multi) q.put("multi", std::int64_t{1});
  if (r.max_hold) q.put("max_hold", *r.max_hold);
  if (r.auto_renew) q.put("auto", std::int64_t{1});
  if (!r.session.empty()) q.put("session", r.session);
  if (!r.reentry.empty()) q.put("reentry", r.reentry);
  if (r.reentry_as_held) q.put("as_held", std::int64_t{1});
  if (!r.metadata.empty()) q.put("metadata", r.metadata);
  return std::move(q).text();
}

void redis_engine::ask_for(std::shared_ptr<const asked> what, int raises, completion<acquire_answer> done) {
  // One of the two answers it.
  auto answer = std::make_shared<completion<acquire_answer>>(std::move(done));
  ask_store(
      what->words,
      [this, what, answer](const redis::plain_answer& got, instant sent) {
        (*answer)(plain_grant(*what, got, sent));
      },
      [this, what, raises, answer](const outcome& o) { asked_for(o, what, raises, std::move(*answer)); });
}

void redis_engine::asked_for(const outcome& o, const std::shared_ptr<const asked>& what, int raises,
                             completion<acquire_answer> done) {
  if (!o) return done(refuse(o.error()));
  if (o->verdict() == "granted") {
    auto got = redis::read_granted(o->out(), o->time());
    note_granted(got, o->time().sent);
    const auto end = last_end(got);
    if (is_safe(end, *o)) return done(std::move(got));
    return when_safe(end, *o, [this, got = std::move(got), done = std::move(done)](bool safe) mutable {
      if (safe) return done(std::move(got));
      if (!got.repeated) undelivered(got);
      done(refuse(errc::outcome_unknown));
    });
  }
  if (o->verdict() == "queued") return queue_up(*o, *what, std::move(done));
  if (o->verdict() == "refused") return done(redis::read_refusal(o->out(), o->time()));
  const bool closed = o->out().at(1).text == "closed";
  if (closed) watch_->fence().note_closed(o->out().at(2).number);
  if (closed || raises >= most_raises) return done(refuse(errc::engine_unavailable));
  watch_->fence().raise([this, what, raises, done = std::move(done)](bool raised) mutable {
    if (raised) return ask_for(what, raises + 1, std::move(done));
    if (!what->waits) return done(refuse(errc::engine_unavailable));
    // It has time: it is queued until the replicas are there again.
    auto patient = std::make_shared<asked>(*what);
    patient->words = std::make_shared<redis::script_words>(what->words->patient());
    ask_for(std::move(patient), most_raises, std::move(done));
  });
}

// --- the plain case

granted redis_engine::plain_grant(const asked& what, const redis::plain_answer& got, instant sent) {
  note_time({sent, got.at});
  grant g;
  g.id = what.id;
  g.renewal = what.renewal;
  g.token = got.token;
  g.end = later(sent, what.ttl);
  const auto& lock = what.locks.front();
  unlisted_.insert(lock);
  next_index_ = std::min(next_index_, later(now(), indexing));
  in_use(g.end);
  redis::told_event e;
  e.type = event_type::acquired;
  e.lock = lock;
  e.client = what.client;
  e.token = got.token;
  e.mode = lock_mode::exclusive;
  happened(std::move(e), got.at);
  wake_later();
  granted all;
  all.leases.push_back(g);
  all.locks.push_back(lock);
  return all;
}

// Has the plain locks listed, or taken off the list, that have come or gone here since the last time.
void redis_engine::index() {
  next_index_ = never;
  auto names = std::exchange(unlist_, {});
  names.insert(names.end(), unlisted_.begin(), unlisted_.end());
  unlisted_.clear();
  for (std::size_t from = 0; from < names.size(); from += indexed_at_once) {
    const auto first = names.begin() + static_cast<std::ptrdiff_t>(from);
    const auto count = std::min(indexed_at_once, names.size() - from);
    std::vector<std::string> some(first, first + static_cast<std::ptrdiff_t>(count));
    auto q = question("index");
    q.put("names", some);
    decide({}, std::move(q).text(), [this, some = std::move(some)](const outcome& o) mutable {
      if (o || stopped_) return;
      unlisted_.insert(some.begin(), some.end());
      next_index_ = std::min(next_index_, later(now(), heartbeat));
    });
  }
}

// What somebody above has to renew, and when something ends.
void redis_engine::note_granted(const granted& got, instant at) {
  for (std::size_t i = 0; i < got.leases.size(); ++i) {
    const auto& g = got.leases[i];
    in_use(g.end);
    if (!g.renewed_until) continue;
    auto_renewed_[g.id.bits[1]] = {got.locks[i], g.id, g.end - at, g.end};
    next_beat_ = std::min(next_beat_, later(now(), heartbeat));
  }
}

void redis_engine::queue_up(const step& s, const asked& what, completion<acquire_answer> done) {
  const auto place = redis::read_queued(s.out(), s.time());
  auto& w = waiting_[static_cast<std::uint64_t>(place.id)];
  const bool again = w != nullptr || place.epoch > 0;
  if (!w) w = std::make_unique<waiting>();
  w->id = place.id;
  w->epoch = place.epoch;
  w->lock = what.locks.front();
  deadlines_.schedule(*w, place.deadline);
  in_use(place.deadline);
  next_poll_ = std::min(next_poll_, later(now(), polling));
  next_beat_ = std::min(next_beat_, later(now(), heartbeat));
  if (again || s.out().at(5).number == 0) return done(place);

  const auto stays = [this, at = s.time().now, what](auto then) {
    for (const auto& lock : what.locks) {
      redis::told_event e;
      e.type = event_type::queued;
      e.lock = lock;
      e.client = what.client;
      happened(std::move(e), at);
    }
    then();
  };
  if (!options_.detect_deadlocks) return stays([&] { done(place); });
  w->announced = false;
  search(place.id, place.epoch, w->lock, 0,
         [this, place, stays, done = std::move(done)](refusal_ptr why) mutable {
           const auto it = waiting_.find(static_cast<std::uint64_t>(place.id));
           if (why) {
             if (it != waiting_.end()) {
               deadlines_.cancel(*it->second);
               waiting_.erase(it);
             }
             return done(std::move(why));
           }
           std::optional<acquire_answer> early;
           if (it != waiting_.end()) {
             it->second->announced = true;
             early.swap(it->second->early);
           }
           stays([&] { done(place); });
           if (early) resolve(place.id, place.epoch, std::move(*early));
         });
}

// Looks for a cycle that the newest wait has closed. The answer to the caller waits for it: a wait that can
// never end is refused at once.
void redis_engine::search(ticket id, std::uint32_t epoch, std::string lock, int rounds,
                          unique_function<void(refusal_ptr)> done) {
  auto q = question("graph");
  q.put("waiter", std::string_view(std::to_string(static_cast<std::uint64_t>(id))));
  decide(lock, std::move(q).text(),
         [this, id, epoch, lock, rounds, done = std::move(done)](const outcome& o) mutable {
           if (!o) return done(nullptr);
           const auto seen = redis::read_graph(o->out());
           if (seen.clients.empty()) return done(nullptr);
           const auto cycle = core::find_deadlock(seen.graph, 0);
           if (!cycle) return done(nullptr);
           std::vector<cycle_step> steps;
           for (const auto& c : *cycle)
             steps.push_back({seen.clients[c.client], seen.locks[c.lock], seen.clients[c.blocker], c.behind});
           auto verdict = question("refuse");
           verdict.put("waiter", std::string_view(std::to_string(static_cast<std::uint64_t>(id))))
               .put("epoch", std::int64_t{epoch})
               .put("graph", std::string_view(seen.digest))
               .put("cycle", steps);
           decide(lock, std::move(verdict).text(),
                  [this, id, epoch, lock, rounds, done = std::move(done)](const outcome& told) mutable {
                    if (!told || told->verdict() != "refused") {
                      if (told && rounds < most_searches)
                        return search(id, epoch, std::move(lock), rounds + 1, std::move(done));
                      return done(nullptr);
                    }
                    auto why = redis::read_refusal(told->out(), told->time());
                    listener_->on_deadlock({now(), why->cycle.front().client, why->lock, why->cycle});
                    done(std::move(why));
                  });
         });
}

// --- what becomes of waiters

void redis_engine::tell(const redis::told_waiter& t, const step& by) {
  const auto& out = *t.outcome;
  if (out.at(0).text != "granted") return resolve(t.id, t.epoch, redis::read_refusal(out, by.time()));
  auto got = redis::read_granted(out, by.time());
  const auto end = last_end(got);
  if (is_safe(end, by)) return claim(t.id, t.epoch, std::move(got));
  when_safe(end, by, [this, id = t.id, epoch = t.epoch, got = std::move(got)](bool safe) mutable {
    if (!safe) return collect_later(id);
    claim(id, epoch, std::move(got));
  });
}

void redis_engine::collect_later(ticket id) {
  const auto it = waiting_.find(static_cast<std::uint64_t>(id));
  if (stopped_ || it == waiting_.end()) return;
  deadlines_.schedule(*it->second, later(now(), heartbeat));
  wake_later();
}

// From now on the grant is not taken back because nobody has it: so before anybody is told.
void redis_engine::claim(ticket id, std::uint32_t epoch, granted&& got) {
  if (stopped_) return;
  std::vector<std::string> words{"DEL"};
  for (const auto& g : got.leases) words.push_back(options_.side_prefix + "sent:" + g.id.to_string());
  const std::vector<std::string_view> views(words.begin(), words.end());
  const auto count = static_cast<std::int64_t>(got.leases.size());
  client_->call({.key = views[1]}, views, later(network_time_.now(), options_.call_timeout),
                [this, id, epoch, count, got = std::move(got)](redis::response deleted) mutable {
                  if (!deleted || deleted->number != count) return collect(id);
                  note_granted(got, now());
                  resolve(id, epoch, std::move(got));
                });
}

// What has become of a waiter: because it is over, or because nobody knows.
void redis_engine::collect(ticket id) {
  const auto it = waiting_.find(static_cast<std::uint64_t>(id));
  if (it == waiting_.end() || it->second->collecting) return;
  auto& w = *it->second;
  w.collecting = true;
  auto q = question("collect");
  q.put("waiter", std::string_view(std::to_string(static_cast<std::uint64_t>(id))))
      .put("epoch", std::int64_t{w.epoch});
  decide(w.lock, std::move(q).text(), [this, id, epoch = w.epoch](const outcome& o) {
    const auto still = waiting_.find(static_cast<std::uint64_t>(id));
    if (still == waiting_.end()) return;
    still->second->collecting = false;
    if (still->second->epoch != epoch) return;
    if (!o) return collect_later(id);
    if (o->verdict() == "granted") {
      auto got = redis::read_granted(o->out(), o->time());
      note_granted(got, o->time().sent);
      const auto end = last_end(got);
      if (is_safe(end, *o)) return resolve(id, epoch, std::move(got));
      return when_safe(end, *o, [this, id, epoch, got = std::move(got)](bool safe) mutable {
        if (!safe) return collect_later(id);
        resolve(id, epoch, std::move(got));
      });
    }
    // Another call speaks for it now, here or at another replica.
    if (o->verdict() == "elsewhere") return resolve(id, epoch, dislock::refuse(errc::superseded));
    if (o->verdict() == "queued")
      return deadlines_.schedule(*still->second, redis::read_queued(o->out(), o->time()).deadline);
    resolve(id, epoch, redis::read_refusal(o->out(), o->time()));
  });
}

void redis_engine::resolve(ticket id, std::uint32_t epoch, acquire_answer&& outcome) {
  const auto it = waiting_.find(static_cast<std::uint64_t>(id));
  if (it == waiting_.end()) {
    if (const auto* got = std::get_if<granted>(&outcome)) undelivered(*got);
    return;
  }
  if (it->second->epoch == epoch) {
    deadlines_.cancel(*it->second);
    if (!it->second->announced) {
      it->second->early.emplace(std::move(outcome));
      return;
    }
    waiting_.erase(it);
  }
  listener_->on_resolved(id, epoch, std::move(outcome));
}

void redis_engine::detach(ticket id, std::uint32_t epoch) {
  const auto it = waiting_.find(static_cast<std::uint64_t>(id));
  if (stopped_ || it == waiting_.end() || it->second->epoch != epoch) return;
  auto q = question("detach");
  q.put("waiter", std::string_view(std::to_string(static_cast<std::uint64_t>(id))))
      .put("epoch", std::int64_t{epoch});
  const auto lock = it->second->lock;
  decide(lock, std::move(q).text(), [this, id, epoch](const outcome& o) {
    // Without a request id that was its end, and the telling of it follows. With one its place is kept for
    // the grace.
    if (!o || o->out().at(1).number == 0) return;
    const auto still = waiting_.find(static_cast<std::uint64_t>(id));
    if (still == waiting_.end() || still->second->epoch != epoch) return;
    if (o->out().at(1).number == 2)
      next_sweep_ = std::min(next_sweep_, o->time().ours(o->out().at(2).number));
    deadlines_.cancel(*still->second);
    waiting_.erase(still);
  });
}

void redis_engine::undelivered(const granted& given) {
  if (stopped_) return;
  for (std::size_t i = 0; i < given.leases.size() && i < given.locks.size(); ++i) {
    auto_renewed_.erase(given.leases[i].id.bits[1]);
    auto q = question("undelivered");
    q.put("name", std::string_view(given.locks[i]))
        .put("id", given.leases[i].id)
        .put("told", std::int64_t{given.leases[i].told});
    decide(given.locks[i], std::move(q).text(), [](const outcome&) {});
  }
}

// --- giving back

// A row for each lease: what became of it, or why nothing did.
template <class T, class Read>
answer<T> read_row(const reply& row, Read read) {
  if (row.at(0).number == 1) return read(row);
  auto why = std::make_shared<refusal>();
  why->code = redis::read_code(row.at(1));
  why->ended = redis::read_end(row.at(2));
  return refusal_ptr(std::move(why));
}

void redis_engine::release(const release_request& r, completion<answer<release_answers>> done) {
  for (const auto& p : r.leases) auto_renewed_.erase(p.id.bits[1]);
  const auto print = redis::print_of("release", r.leases, std::nullopt);
  const auto read = [](const outcome& o) -> answer<release_answers> {
    if (!o) return o.error();
    if (o->verdict() == "refused") return redis::read_refusal(o->out(), o->time());
    release_answers out;
    for (const auto& row : o->out().at(1).items)
      out.push_back(read_row<released>(row, [](const reply& did) {
        return released{did.at(1).number != 0, static_cast<std::uint32_t>(did.at(2).number)};
      }));
    return out;
  };
  // Its memory counts from the store's time, which somebody has to have told us.
  if (relation_.now == 0 || !redis::is_plain(plain_, r)) {
    const call_id call{r.multi, r.multi ? lock_name() : r.leases[0].name, r.client, r.request};
    auto q = question("release");
    q.put_call(call, print).put(r.leases);
    if (r.multi) q.put("multi", std::int64_t{1});
    return decide({}, std::move(q).text(),
                  [read, done = std::move(done)](const outcome& o) mutable { done(read(o)); });
  }
  auto answered = std::make_shared<completion<answer<release_answers>>>(std::move(done));
  ask_store(
      std::make_shared<redis::script_words>(redis::plain_release(plain_, r, print, store_time())),
      [this, lock = std::string(r.leases[0].name.view()), client = std::string(r.client.view()), answered](
          const redis::plain_answer& got, instant) {
        gave_back(lock, client.empty() ? got.client : client, got);
        (*answered)(release_answers{released{true, 0}});
      },
      [read, answered](const outcome& o) { (*answered)(read(o)); });
}

void redis_engine::gave_back(const std::string& lock, const std::string& client,
                             const redis::plain_answer& got) {
  if (unlisted_.erase(lock) == 0) {
    unlist_.push_back(lock);
    next_index_ = std::min(next_index_, later(now(), indexing));
    wake_later();
  }
  redis::told_event e;
  e.type = event_type::released;
  e.lock = lock;
  e.client = client;
  e.token = got.token;
  e.mode = lock_mode::exclusive;
  e.reason = "released";
  e.took = duration(std::max<std::int64_t>(0, store_time() - got.at));
  happened(std::move(e), store_time());
}

void redis_engine::renew(const renew_request& r, completion<answer<renew_answers>> done) {
  auto answered = std::make_shared<completion<answer<renew_answers>>>(std::move(done));
  std::vector<std::uint64_t> kept;
  if (r.by_service)
    for (const auto& p : r.leases) kept.push_back(p.id.bits[1]);
  auto read = [this, kept = std::move(kept), answered](const outcome& o) {
    if (!o) return (*answered)(refuse(o.error()));
    if (o->verdict() == "refused") return (*answered)(redis::read_refusal(o->out(), o->time()));
    renew_answers out;
    instant last{};
    for (const auto& row : o->out().at(1).items) {
      out.push_back(read_row<renewed>(row, [&](const reply& did) {
        return renewed{o->time().ours(did.at(1).number),
                       fencing_token{static_cast<std::uint64_t>(did.at(2).number)}};
      }));
      const auto& one = out.back();
      if (one) last = std::max(last, one->end);
      if (out.size() > kept.size()) continue;
      const auto it = auto_renewed_.find(kept[out.size() - 1]);
      if (it == auto_renewed_.end()) continue;
      if (one) {
        it->second.end = one->end;
      } else {
        auto_renewed_.erase(it);
      }
    }
    if (last > instant{}) in_use(last);
    if (is_safe(last, *o)) return (*answered)(std::move(out));
    when_safe(last, *o, [out = std::move(out), answered](bool safe) mutable {
      if (!safe) return (*answered)(refuse(errc::outcome_unknown));
      (*answered)(std::move(out));
    });
  };
  if (!redis::is_plain(plain_, r)) {
    const call_id call{r.multi, r.multi ? lock_name() : r.leases[0].name, r.client, r.request};
    auto q = question("renew");
    q.put_call(call, redis::print_of("renew", r.leases, r.ttl)).put(r.leases);
    if (r.multi) q.put("multi", std::int64_t{1});
    if (r.ttl) q.put("ttl", *r.ttl);
    if (r.by_service) q.put("by_service", std::int64_t{1});
    return decide({}, std::move(q).text(), std::move(read));
  }
  ask_store(
      std::make_shared<redis::script_words>(redis::plain_renew(plain_, r)),
      [this, answered](const redis::plain_answer& got, instant sent) {
        note_time({sent, got.at});
        const auto end = later(sent, got.ttl);
        in_use(end);
        (*answered)(renew_answers{renewed{end, got.token}});
      },
      std::move(read));
}

void redis_engine::cancel(const call_id& call, completion<answer<cancelled>> done) {
  auto q = question("cancel");
  q.put_call(call, 0);
  simple<cancelled>(call.lock.view(), std::move(q), std::move(done),
                    [](const reply& did, const redis::time_relation&) {
                      return answer<cancelled>(cancelled{did.number != 0});
                    });
}

// Nobody decides an acquire after the latest instant that the store's clock can have shown when it was sent,
// so that it cannot come about any more when nothing of it is there after that. Until then it may be on its
// way.
void redis_engine::settle(lock_name name, lock_id id, completion<answer<cancelled>> done) {
  const auto present = now();
  while (!unsettled_.empty() && unsettled_.front().forget <= present) unsettled_.pop_front();
  auto it = std::ranges::find(unsettled_, id, &doubt::id);
  if (it == unsettled_.end()) {
    unsettled_.push_back({id, shown_at_most_, later(present, longest_doubt)});
    it = std::prev(unsettled_.end());
  }
  auto q = question("settle");
  q.put("name", name.view()).put("id", id).put("bound", it->bound);
  simple<cancelled>(name.view(), std::move(q), std::move(done),
                    [this, id](const reply& row, const redis::time_relation&) {
                      const bool settled = row.at(0).number != 0;
                      if (settled) std::erase_if(unsettled_, [&](const doubt& d) { return d.id == id; });
                      return answer<cancelled>(cancelled{settled});
                    });
}

void redis_engine::force_release(lock_name name, std::optional<fencing_token> token, request_id request,
                                 std::string_view reason, completion<answer<forced>> done) {
  auto q = question("force");
  const auto print = core::fingerprint("force").add(token ? to_number(*token) : 0).value();
  q.put_call({false, name, {}, request}, print).put("name", name.view()).put("reason", reason);
  if (token) q.put("token", static_cast<std::int64_t>(to_number(*token)));
  simple<forced>(name.view(), std::move(q), std::move(done),
                 [](const reply& rows, const redis::time_relation&) {
                   forced out;
                   for (const auto& row : rows.items)
                     out.tokens.push_back(fencing_token{static_cast<std::uint64_t>(row.number)});
                   return answer<forced>(std::move(out));
                 });
}

// --- sessions

void redis_engine::open_session(client_id who, duration ttl, request_id request,
                                completion<answer<session_opened>> done) {
  auto q = question("open_session");
  const std::pair<lock_id, renewal_token> secret{secrets_.make<lock_id>(), {}};
  q.put_call({true, {}, who, request}, core::fingerprint("open").add(ttl).value())
      .put("ttl", ttl)
      .put_secrets({&secret, 1});
  decide({}, std::move(q).text(), [this, done = std::move(done)](const outcome& o) mutable {
    if (!o) return done(refuse(o.error()));
    if (o->verdict() == "refused") return done(redis::read_refusal(o->out(), o->time()));
    const auto& row = o->out().at(1);
    session_opened out;
    out.id = session_id::parse(row.at(0).text).value_or(session_id{});
    out.public_id = static_cast<std::uint64_t>(row.at(1).number);
    out.end = o->time().ours(row.at(2).number);
    out.ttl = duration(row.at(3).number);
    in_use(out.end);
    tell_when_safe(out, *o, std::move(done));
  });
}

void redis_engine::keep_session(session_id id, request_id request, completion<answer<session_kept>> done) {
  auto q = question("keep_session");
  q.put_call({true, {}, {}, request}, core::fingerprint("keep").add(id).value()).put("session", id);
  keep_on(id, std::move(q).text(), {never, 0}, std::move(done));
}

// The keys of the session's leases, piece by piece.
void redis_engine::keep_on(session_id id, std::string text, session_kept so_far,
                           completion<answer<session_kept>> done) {
  decide({}, std::move(text), [this, id, so_far, done = std::move(done)](const outcome& o) mutable {
    if (!o) return done(refuse(o.error()));
    if (o->verdict() == "refused") return done(redis::read_refusal(o->out(), o->time()));
    const auto& row = o->out().at(1);
    if (so_far.end == never) so_far.leases = static_cast<std::size_t>(row.at(1).number);
    so_far.end = std::min(so_far.end, o->time().ours(row.at(0).number));
    in_use(so_far.end);
    if (row.at(2).number < 0) return tell_when_safe(so_far, *o, std::move(done));
    auto next = question("keep_session");
    next.put("session", id).put("from", row.at(2).number);
    keep_on(id, std::move(next).text(), so_far, std::move(done));
  });
}

void redis_engine::close_session(session_id id, request_id request, completion<answer<session_closed>> done) {
  auto q = question("close_session");
  q.put_call({true, {}, {}, request}, core::fingerprint("close").add(id).value()).put("session", id);
  simple<session_closed>(
      {}, std::move(q), std::move(done), [this](const reply& row, const redis::time_relation&) {
        next_sweep_ = now();  // more than one piece of it is taken apart then
        return answer<session_closed>(session_closed{static_cast<std::size_t>(row.at(0).number)});
      });
}

// --- what there is

void redis_engine::status(lock_name name, std::size_t holders, std::size_t waiters,
                          completion<answer<lock_view>> done) {
  auto q = question("status");
  q.put("name", name.view())
      .put("holders", static_cast<std::int64_t>(holders))
      .put("waiters", static_cast<std::int64_t>(waiters));
  simple<lock_view>(name.view(), std::move(q), std::move(done),
                    [](const reply& row, const redis::time_relation& time) {
                      return answer<lock_view>(redis::read_view(row, time));
                    });
}

void redis_engine::validate(lock_name name, fencing_token token, completion<answer<validity>> done) {
  auto q = question("validate");
  q.put("name", name.view()).put("token", static_cast<std::int64_t>(to_number(token)));
  simple<validity>(name.view(), std::move(q), std::move(done),
                   [](const reply& row, const redis::time_relation&) {
                     validity v;
                     v.current = row.at(0).number != 0;
                     if (row.at(1).number > 0)
                       v.latest = fencing_token{static_cast<std::uint64_t>(row.at(1).number)};
                     return answer<validity>(v);
                   });
}

void redis_engine::places(ticket id, completion<answer<std::optional<std::vector<place>>>> done) {
  auto q = question("places");
  q.put("waiter", std::string_view(std::to_string(static_cast<std::uint64_t>(id))));
  const auto it = waiting_.find(static_cast<std::uint64_t>(id));
  const auto key = it == waiting_.end() ? std::string() : it->second->lock;
  simple<std::optional<std::vector<place>>>(
      key, std::move(q), std::move(done), [](const reply& rows, const redis::time_relation& time) {
        using found = std::optional<std::vector<place>>;
        if (rows.items.empty()) return answer<found>(found());
        std::vector<place> out;
        for (const auto& row : rows.items)
          out.push_back({row.at(0).text, static_cast<std::size_t>(row.at(1).number),
                         redis::read_holders(row.at(2), time), static_cast<std::size_t>(row.at(3).number)});
        return answer<found>(found(std::move(out)));
      });
}

void redis_engine::list(const lock_filter& filter, std::uint64_t cursor, std::size_t limit,
                        completion<answer<page<lock_view>>> done) {
  if (cursor >= fencing_token_limit) return done(page<lock_view>());
  index();  // what was granted here is in the list from now on
  auto q = question("list");
  q.put("prefix", filter.prefix)
      .put("client", filter.client)
      .put("cursor", static_cast<std::int64_t>(cursor))
      .put("limit", static_cast<std::int64_t>(limit));
  simple<page<lock_view>>({}, std::move(q), std::move(done),
                          [](const reply& row, const redis::time_relation& time) {
                            page<lock_view> out;
                            if (row.at(0).number > 0) out.next = static_cast<std::uint64_t>(row.at(0).number);
                            for (const auto& view : row.at(1).items)
                              out.items.push_back(redis::read_view(view, time));
                            return answer<page<lock_view>>(std::move(out));
                          });
}

void redis_engine::sessions(std::uint64_t cursor, std::size_t limit,
                            completion<answer<page<session_view>>> done) {
  if (cursor >= fencing_token_limit) return done(page<session_view>());
  auto q = question("sessions");
  q.put("cursor", static_cast<std::int64_t>(cursor)).put("limit", static_cast<std::int64_t>(limit));
  simple<page<session_view>>(
      {}, std::move(q), std::move(done), [](const reply& row, const redis::time_relation& time) {
        page<session_view> out;
        if (row.at(0).number > 0) out.next = static_cast<std::uint64_t>(row.at(0).number);
        for (const auto& s : row.at(1).items)
          out.items.push_back({static_cast<std::uint64_t>(s.at(0).number), s.at(1).text,
                               time.ours(s.at(2).number), duration(s.at(3).number),
                               static_cast<std::size_t>(s.at(4).number)});
        return answer<page<session_view>>(std::move(out));
      });
}

void redis_engine::edges(std::size_t limit, completion<answer<std::vector<wait_edge>>> done) {
  index();
  list_edges(0, limit, {}, std::move(done));
}

void redis_engine::list_edges(std::uint64_t cursor, std::size_t limit, std::vector<wait_edge> found,
                              completion<answer<std::vector<wait_edge>>> done) {
  auto q = question("edges");
  q.put("cursor", static_cast<std::int64_t>(cursor))
      .put("limit", static_cast<std::int64_t>(limit - found.size()));
  decide({}, std::move(q).text(),
         [this, limit, found = std::move(found), done = std::move(done)](const outcome& o) mutable {
           if (!o) return done(refuse(o.error()));
           const auto& row = o->out().at(1);
           for (const auto& e : row.at(1).items)
             found.push_back({e.at(0).text, e.at(1).text, e.at(2).text, e.at(3).number != 0});
           const auto next = row.at(0).number;
           if (next == 0 || found.size() >= limit) return done(std::move(found));
           list_edges(static_cast<std::uint64_t>(next), limit, std::move(found), std::move(done));
         });
}

void redis_engine::for_each_auto_renewed(
    const std::function<void(const lease_proof&, duration, instant)>& visit) {
  for (const auto& [key, l] : auto_renewed_) visit({lock_name(l.lock), l.id, {}}, l.ttl, l.end);
}

// --- time

void redis_engine::start(engine_listener& listener) {
  listener_ = &listener;
  loop_.on_wake([this] { wake(); });
  client_->subscribe({options_.side_prefix + "news", options_.side_prefix + "to:" + me_});
  client_->start();
}

void redis_engine::stop(unique_function<void()> done) {
  stopped_ = true;
  loop_.on_wake(nullptr);
  watch_->stop();
  client_->stop();
  done();
}

void redis_engine::on_connected(const redis::address&, const redis::server_facts& facts,
                                std::uint64_t connection) {
  watch_->on_connected(facts, connection);
  unread_ = true;
  share_events();
  next_sweep_ = now();
  // What was told on the connection before may not have arrived.
  if (!waiting_.empty()) next_poll_ = now();
  wake_later();
}

// Something is in the store until then, at least.
void redis_engine::in_use(instant until) {
  next_sweep_ = std::min({next_sweep_, until, later(now(), sweeping)});
  next_ceiling_ = std::min(next_ceiling_, later(now(), ceiling_renewal));
  granted_lately_ = true;
}

void redis_engine::watch(std::string_view lock, instant at) {
  auto& l = looks_[std::string(lock)];
  if (!l) {
    l = std::make_unique<look>();
    l->lock = lock;
  }
  deadlines_.schedule(*l, at);
}

void redis_engine::wake_later() {
  if (stopped_) return;
  loop_.wake_at(std::min({deadlines_.next(), speaks_for_others() ? next_beat_ : never, next_sweep_,
                          waiting_.empty() ? never : next_poll_, next_ceiling_, next_index_,
                          sharing_ || (unshared_.empty() && !unread_) ? never : next_share_}));
}

void redis_engine::wake() {
  if (stopped_) return;
  const auto at = now();
  std::vector<std::string> names;
  while (auto* t = deadlines_.due(at)) {
    deadlines_.cancel(*t);
    if (t->kind == core::timer_kind::waiter) {
      collect(static_cast<waiting&>(*t).id);
    } else {
      names.push_back(std::move(static_cast<look&>(*t).lock));
      looks_.erase(names.back());
    }
  }
  share_events();
  if (next_index_ <= at) index();
  if (!names.empty() || next_sweep_ <= at) sweep(std::move(names));
  if (speaks_for_others() && next_beat_ <= at) beat();
  if (!waiting_.empty() && next_poll_ <= at) poll();
  if (next_ceiling_ <= at) {
    next_ceiling_ = never;
    if (std::exchange(granted_lately_, false) || !waiting_.empty()) {
      next_ceiling_ = later(at, ceiling_renewal);
      watch_->fence().raise([](bool) {});
    }
  }
  wake_later();
}

// Ends what is over, and looks at `names`, whose waiters something may have come free for.
void redis_engine::sweep(std::vector<std::string> names) {
  next_sweep_ = never;
  watch_->tend();
  auto q = question("sweep");
  if (!names.empty()) q.put("names", names);
  decide({}, std::move(q).text(), [this, names = std::move(names)](const outcome& o) {
    if (!o) {
      next_sweep_ = std::min(next_sweep_, later(now(), sweeping));
      for (const auto& name : names) watch(name, next_sweep_);
      return wake_later();
    }
    const auto& row = o->out().at(1);
    for (const auto& lease : row.at(2).items) {
      const auto id = lock_id::parse(lease.at(1).text).value_or(lock_id{});
      const duration ttl(lease.at(2).number);
      auto_renewed_[id.bits[1]] = {lease.at(0).text, id, ttl, o->time().ours(lease.at(3).number)};
      listener_->on_adopted(lock_name(lease.at(0).text), id, ttl);
    }
    counts_.active_locks = static_cast<std::size_t>(row.at(3).number);
    counts_.leases = static_cast<std::size_t>(std::max<std::int64_t>(0, row.at(4).number));
    counts_.waiters = static_cast<std::size_t>(std::max<std::int64_t>(0, row.at(5).number));
    counts_.sessions = static_cast<std::size_t>(row.at(6).number);
    const bool more = row.at(0).number != 0;
    const bool anything = counts_.active_locks + counts_.waiters + counts_.sessions > 0;
    const auto next = more ? now() : o->time().ours(row.at(1).number);
    next_sweep_ = std::min({next_sweep_, next, later(now(), anything ? sweeping : polling)});
  });
}

void redis_engine::beat() {
  next_beat_ = later(now(), heartbeat);
  decide({}, question("beat").text(), [](const outcome&) {});
}

// Asks after waiters whose outcome should have been told; a slow repair of messages that were lost.
void redis_engine::poll() {
  next_poll_ = later(now(), polling);
  std::vector<std::string> ids;
  const auto ask_after = [&] {
    auto q = question("news");
    q.put("waiters", ids);
    ids.clear();
    decide({}, std::move(q).text(), [this](const outcome& o) {
      if (!o) return;
      for (const auto& id : o->out().at(1).items)
        collect(ticket{static_cast<std::uint64_t>(std::strtoull(id.text.c_str(), nullptr, 10))});
    });
  };
  for (const auto& [number, w] : waiting_) {
    ids.push_back(std::to_string(number));
    if (ids.size() == polled_at_once) ask_after();
  }
  if (!ids.empty()) ask_after();
}

}  // namespace

result<std::unique_ptr<engine>> make_redis_engine(boost::asio::io_context& io, loop& where, const clock& time,
                                                  redis_engine_options options) {
  auto made = std::make_unique<redis_engine>(where, time, std::move(options));
  if (auto wrong = made->connect(io)) return std::move(*wrong);
  return std::unique_ptr<engine>(std::move(made));
}

void count_now(engine& e) {
  static_cast<redis_engine&>(e).count_now();
}

bool is_at_rest(const engine& e) {
  return static_cast<const redis_engine&>(e).at_rest();
}

}  // namespace dislock
