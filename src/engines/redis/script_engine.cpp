// How it begins and ends, and how the store is asked.
#include "engines/redis/script_engine.hpp"

#include "base/log.hpp"
#include "engines/redis/scripts.hpp"

#include <algorithm>
#include <utility>

namespace dislock {
namespace redis {
namespace {

// After what time without a heartbeat a replica is taken for dead.
constexpr duration lapse = seconds(3);
// How far the ceiling of tokens is raised at once.
constexpr duration ceiling_ahead = seconds(2);
// The longest ttl of a plain lock.
constexpr duration longest_plain = seconds(30);
// How often a question is asked again because the store's clock was ahead, and because its slot has moved.
constexpr int most_clocks = 5, most_moves = 3;

std::string make_replica_name() {
  system_secrets secrets;
  return secrets.make<lock_id>().to_string().substr(0, 16);
}

}  // namespace

script_engine::script_engine(loop& where, const clock& time, redis_engine_options options,
                             key_prefixes prefixes)
    : options_(std::move(options)),
      prefixes_(std::move(prefixes)),
      loop_(where),
      network_time_(time),
      events_(options_.event_log_size),
      me_(make_replica_name()),
      common_(ask::common(house())),
      keys_{prefixes_.own + "fence"} {
  if (options_.url.what == store_url::kind::cluster) keys_.push_back(prefixes_.own + "nothing");
  plain_ = {prefixes_.own,
            prefixes_.canonical,
            house_words(house()),
            options_.request_memory,
            options_.plant_plain_counter ? duration() : std::min(options_.failover.quarantine, longest_plain),
            options_.failover.quarantine + ceiling_ahead,
            keys_.size() > 1 ? keys_.back() : std::string()};
  about_.engine = "redis";
  about_.grade = guarantee_class::c;
  about_.fifo = about_.shared = about_.semaphore = about_.multi = about_.sessions = about_.lock_delay = true;
}

house_rules script_engine::house() const {
  return {prefixes_.own,
          prefixes_.canonical,
          me_,
          options_.waiter_grace,
          options_.request_memory,
          lapse,
          ceiling_ahead,
          options_.failover.quarantine,
          options_.queue_max,
          options_.callers_are_here,
          options_.failover.exclusive && !options_.plant_plain_counter,
          options_.url.what == store_url::kind::cluster,
          options_.plant_plain_counter};
}

script_engine::~script_engine() {
  finish_last();
  stopped_ = true;
  end_gathered();
  if (watch_) watch_->stop();
  if (client_) client_->stop();
}

void script_engine::count_now() {
  index();
  sweep({});
  next_share_ = {};
  share_events();
}
std::optional<error> script_engine::connect(boost::asio::io_context& io) {
  client_settings s;
  s.url = options_.url;
  if (options_.url.what == store_url::kind::cluster) s.home_key = keys_.front();
  s.scripts = {std::string(table_script), std::string(events_script)};
  auto made = redis_client::make(io, network_time_, std::move(s), *this);
  if (!made) return made.error();
  client_ = std::move(*made);
  watch_ = std::make_unique<store_watch>(
      io, *client_, loop_, network_time_,
      store_watch::settings{common_, keys_, options_.url.what, options_.failover, ceiling_ahead,
                            options_.call_timeout, options_.plant_trusted_moves},
      about_);
  return std::nullopt;
}

engine_health script_engine::health() const {
  engine_health h;
  h.ready = client_->ready();
  if (!h.ready) h.detail = client_->trouble();
  watch_->describe(h);
  return h;
}

void script_engine::start(engine_listener& listener) {
  listener_ = &listener;
  loop_.on_wake([this] { wake(); });
  client_->subscribe({prefixes_.own + "news", prefixes_.own + "to:" + me_});
  client_->start();
}

void script_engine::stop(unique_function<void()> done) {
  finish_last();
  stopped_ = true;
  end_gathered();
  loop_.on_wake(nullptr);
  watch_->stop();
  client_->stop();
  done();
}

void script_engine::on_connected(const address&, const server_facts& facts, std::uint64_t connection) {
  watch_->on_connected(facts, connection);
  unread_ = true;
  share_events();
  next_sweep_ = now();
  // What was told on the connection before may not have arrived.
  if (!waiting_.empty()) next_poll_ = now();
  wake_later();
}

// --- asking the store

// Asks the script one thing. Nothing, if the answer has no place in this world, or none came.
void script_engine::decide(std::string&& text, then done) {
  ask_store(words_of(text), {}, std::move(done));
}

std::shared_ptr<script_words> script_engine::words_of(std::string_view question) const {
  auto words = std::make_shared<script_words>();
  for (const auto& key : keys_) words->key({key});
  words->word({question});
  return words;
}

void script_engine::run_script(const script_words& words, bool at_once, completion<response> done) {
  ask_gathered();  // what was asked before goes before
  if (const auto latest = watch_->latest_store_time()) shown_at_most_ = std::max(shown_at_most_, *latest);
  const auto latest = watch_->latest();
  auto all = words.all();
  all.arguments.insert(all.arguments.begin() + 1, latest);
  script_call call;
  call.keys = all.keys;
  call.arguments = all.arguments;
  call.stamped = true;
  client_->run({.key = all.keys[0], .at_once = at_once}, call,
               later(network_time_.now(), options_.call_timeout), std::move(done));
}

std::optional<errc> script_engine::why_not(const response& got) {
  if (!got) return got.error().what == effect::unknown ? errc::outcome_unknown : errc::engine_unavailable;
  if (!got->failed()) return std::nullopt;
  log::warn("redis", "a decision failed", {{"reason", got->text}});
  // Of these it is known that nothing was done; a script may fail in its middle.
  const auto word = got->error_word();
  const bool refused =
      word == "OOM" || word == "MISCONF" || word == "NOREPLICAS" || word == "NOAUTH" || word == "NOPERM";
  return refused ? errc::engine_unavailable : errc::outcome_unknown;
}

// `plain`, if it was decided as the plain case, or else `done`.
void script_engine::ask_store(std::shared_ptr<const script_words> words, plain_then plain, then done,
                              bool at_once, detours so_far) {
  if (stopped_) return done(errc::draining);
  const auto& asked = *words;
  run_script(
      asked, at_once,
      [this, sent = now(), so_far, words = std::move(words), plain = std::move(plain),
       done = std::move(done)](response got) mutable {
        if (const auto why = why_not(got)) return done(*why);
        finish_last();
        if (plain)
          if (const auto answer = read_plain(*got)) {
            watch_->fence().on_answered(got->connection, sent);
            return plain(*answer, sent);
          }
        auto said = unfolded(std::move(*got));
        const auto s = step::read(said, sent);
        if (!s) return done(errc::internal_error);
        if (s->verdict() == "moved") {
          if (so_far.moves++ == most_moves) return done(errc::engine_unavailable);
          return watch_->fence().raise([this, so_far, words = std::move(words), plain = std::move(plain),
                                        done = std::move(done)](bool) mutable {
            ask_store(std::move(words), std::move(plain), std::move(done), false, so_far);
          });
        }
        if (s->verdict() == "clock") {
          if (so_far.clocks++ == most_clocks) return done(errc::engine_unavailable);
          return watch_->on_clock_ahead(sent, s->time().now, s->out().at(1).number,
                                        [this, so_far, words = std::move(words), plain = std::move(plain),
                                         done = std::move(done)](bool again) mutable {
                                          if (!again) return done(errc::engine_unavailable);
                                          ask_store(std::move(words), std::move(plain), std::move(done),
                                                    false, so_far);
                                        });
        }
        watch_->fence().on_answered(got->connection, sent);
        note_time(s->time());
        answered_by_ = got->connection;
        // Whose turn it is now comes first: everybody else waits for him, and what he asks is on its way
        // while the rest is done. But who asked for a lock is told of his place before he can be told of its
        // grant.
        if (s->verdict() != "done") {
          done(*s);
          tell_all(*s);
          return conclude(*s);
        }
        tell_all(*s);
        last_.emplace(unfinished{std::move(said), *s, got->connection, std::move(done)});
        if (stopped_ || s->waiters().empty()) return finish_last();
        loop_.defer([this] { finish_last(); });
      });
}

void script_engine::finish_last() {
  if (!last_) return;
  auto one = std::exchange(last_, std::nullopt);
  answered_by_ = one->answered_by;
  one->done(one->read);
  conclude(one->read);
}

void script_engine::conclude(const step& s) {
  absorb(s);
  for (auto& e : s.events()) happened(std::move(e), s.time().now);
}

// As far as we know.
std::int64_t script_engine::store_time() const noexcept {
  return relation_.now == 0 ? 0 : relation_.now + (now() - relation_.sent).count();
}

void script_engine::note_time(const time_relation& time) {
  watch_->on_answer(time.sent, time);
  relation_ = time;
}

void script_engine::tell_all(const step& s) {
  for (const auto& t : s.waiters()) tell(t, s);
}

void script_engine::absorb(const step& s) {
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

}  // namespace redis

result<std::unique_ptr<engine>> make_redis_engine(boost::asio::io_context& io, loop& where, const clock& time,
                                                  redis_engine_options options) {
  auto prefixes = redis::key_prefixes::of(options.url);
  if (!prefixes) return prefixes.error();
  auto made = std::make_unique<redis::script_engine>(where, time, std::move(options), std::move(*prefixes));
  if (auto wrong = made->connect(io)) return std::move(*wrong);
  return std::unique_ptr<engine>(std::move(made));
}

void count_now(engine& e) {
  static_cast<redis::script_engine&>(e).count_now();
}

bool is_at_rest(const engine& e) {
  return static_cast<const redis::script_engine&>(e).at_rest();
}

}  // namespace dislock
