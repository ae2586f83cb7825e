#include "engines/redis/store_watch.hpp"

#include "base/log.hpp"
#include "engines/redis/asking.hpp"

#include <cstdlib>

namespace dislock::redis {
namespace {

using namespace std::chrono_literals;

constexpr duration check_every = 60s;
constexpr duration told_for = 10min;  // of a clock that was set back, in health
constexpr int most_tries = 3;

std::int64_t seconds(duration d) {
  return d / 1s;
}

}  // namespace

store_watch::store_watch(boost::asio::io_context& io, redis_client& client, const loop& where,
                         const clock& network_time, settings s, capabilities& about)
    : client_(client),
      loop_(where),
      network_time_(network_time),
      settings_(std::move(s)),
      about_(about),
      keeper_(io, client, network_time,
              {settings_.rules, settings_.keys, settings_.what == store_url::kind::cluster, settings_.terms,
               settings_.ahead, settings_.call_timeout, settings_.plant_trusted_moves},
              *this) {}

// --- connections

void store_watch::on_opening(const newcomer& who, const server_facts& facts) {
  const auto why = refuse_store(facts, settings_.terms);
  if (why != refused_) {
    refused_ = why;
    if (!why.empty()) log::error("redis", "this store is not used", {{"reason", why}});
  }
  if (!why.empty()) return who.refuse(why);
  who.accept();
}

void store_watch::on_connected(const server_facts& facts, std::uint64_t connection) {
  const bool changed = !incarnation_.empty() && incarnation_ != facts.incarnation();
  incarnation_ = facts.incarnation();
  keeper_.on_connected(connection, incarnation_);
  if (changed) keeper_.raise([](bool) {});
  if (!skew_) read_skew();
  check();
}

// What is in it already, so that a step which comes later can be told from it.
void store_watch::read_skew() {
  const std::string_view words[] = {"GETRANGE", settings_.keys.front(), "128", "143"};
  client_.call({.key = settings_.keys.front()}, words, by(), [this](const response& got) {
    if (got && got->is == reply::kind::bulk && !skew_)
      skew_ = static_cast<std::int64_t>(number_at_start(got->text));
  });
}

void store_watch::tend() {
  if (stopped_ || !client_.ready()) return;
  keeper_.look();
  if (network_time_.now() - checked_at_ >= check_every) check();
}

void store_watch::stop() {
  stopped_ = true;
  keeper_.stop();
  agree(false);
}

// --- the clock

std::string store_watch::latest() const {
  const auto at = clock_.latest(loop_.now());
  return at ? std::to_string(*at) : std::string();
}

std::optional<std::int64_t> store_watch::latest_store_time() const noexcept {
  return clock_.latest(loop_.now());
}

std::optional<std::int64_t> store_watch::earliest_store_time() const noexcept {
  const auto at = loop_.now();
  return clock_.latest(at) ? std::optional(clock_.earliest(at)) : std::nullopt;
}

clock_guard::finding store_watch::observe(instant sent, std::int64_t shown) {
  const auto received = loop_.now();
  const auto before = clock_.latest(received) ? clock_.earliest(received) : shown;
  const auto found = clock_.observe(sent, received, shown);
  if (found == clock_guard::finding::behind) {
    ++steps_backward_;
    stepped_back_at_ = network_time_.now();
    log::error("redis", "the clock of the store was set back: leases end later than their owners were told",
               {{"by_seconds", seconds(duration(before - shown))}});
    tell_step(before, [](std::optional<bool>) {});
  }
  return found;
}

void store_watch::on_answer(instant sent, const time_relation& shown) {
  (void)observe(sent, shown.now);
}

void store_watch::on_store_time(instant sent, std::int64_t shown, std::int64_t skew) {
  // Before the skew is known it could be that of a step which this answer shows.
  (void)observe(sent, shown);
  skew_ = skew;
}

void store_watch::on_clock_ahead(instant sent, std::int64_t shown, std::int64_t skew) {
  on_clock_ahead(sent, shown, skew, [](bool) {});
}

void store_watch::on_clock_ahead(instant sent, std::int64_t shown, std::int64_t skew,
                                 unique_function<void(bool)> again) {
  if (stopped_) return again(false);
  if (!skew_) skew_ = skew;
  // The question may only have been under way for long.
  if (observe(sent, shown) != clock_guard::finding::ahead) return again(true);
  asked_.push_back(std::move(again));
  if (asked_.size() == 1) measure();
}

// By how much our time is behind the clock of a Cluster's server stands in the fence; see lua/step.lua.
void store_watch::measure() {
  static constexpr std::string_view time[] = {"TIME"};
  const std::string_view behind[] = {"GETRANGE", settings_.keys.front(), "160", "175"};
  const command_words both[] = {time, behind};
  client_.call_together(
      {.key = settings_.keys.front()}, both, by(), [this, sent = loop_.now()](const response& got) {
        if (!got || got->items.size() != 2 || got->at(0).items.size() != 2) return agree(false);
        const auto shown = static_cast<std::int64_t>(number_at_start(got->at(0).at(0).text)) * 1'000'000 +
                           static_cast<std::int64_t>(number_at_start(got->at(0).at(1).text)) -
                           static_cast<std::int64_t>(std::strtoll(got->at(1).text.c_str(), nullptr, 10));
        if (observe(sent, shown) != clock_guard::finding::ahead) return agree(true);
        step(sent, loop_.now(), shown, 0);
      });
}

void store_watch::step(instant sent, instant received, std::int64_t shown, int tries) {
  const auto before = clock_.earliest(received);
  const auto known = skew_.value_or(0);
  tell_step(before, [this, sent, received, shown, before, known, tries](std::optional<bool> mine) {
    if (!mine) return agree(false);
    // Somebody else was faster: that may have been the same step.
    const auto left = (shown - before) - (*skew_ - known);
    if (!*mine && std::abs(left) > 2 * clock_guard::slack.count() && tries < most_tries)
      return step(sent, received, shown, tries + 1);
    ++steps_forward_;
    clock_.accept(sent, received, shown);
    log::error(
        "redis",
        "the clock of the store was set forward: nothing is granted until the leases of before are over",
        {{"by_seconds", seconds(duration(shown - before))}, {"told_the_store", *mine}});
    agree(true);
  });
}

// Tells the store, once for all who use it. `done(true)`: it was us; nothing: it is not known.
void store_watch::tell_step(std::int64_t before, unique_function<void(std::optional<bool>)> done) {
  ask q(settings_.rules, "stepped");
  q.put("before", before).put("skew", skew_.value_or(0));
  const auto text = std::move(q).text();
  const std::string_view arguments[] = {text, ""};
  const std::vector<std::string_view> keys(settings_.keys.begin(), settings_.keys.end());
  script_call call;
  call.keys = keys;
  call.arguments = arguments;
  call.stamped = true;
  client_.run({.key = keys.front()}, call, by(),
              [this, sent = loop_.now(), done = std::move(done)](const response& got) mutable {
                const auto s = got ? redis::step::read(*got, sent) : std::nullopt;
                if (!s || s->out().at(1).items.size() < 2) return done(std::nullopt);
                const auto& row = s->out().at(1);
                skew_ = row.at(1).number;
                const bool mine = row.at(0).number == 1;
                if (mine) keeper_.note_closed(row.at(2).number);
                done(mine);
              });
}

void store_watch::agree(bool usable) {
  for (auto& each : std::exchange(asked_, {})) each(usable);
}

// --- what the store is

void store_watch::check() {
  if (checking_ || stopped_) return;
  checking_ = true;
  checked_at_ = network_time_.now();
  static constexpr std::string_view info[] = {"INFO"}, save[] = {"CONFIG", "GET", "save"},
                                    fsync[] = {"CONFIG", "GET", "appendfsync"},
                                    replicas[] = {"CONFIG", "GET", "min-replicas-to-write"};
  const command_words all[] = {info, save, fsync, replicas};
  client_.call_together({.lane = lane_kind::side}, all, by(),
                        [this](const response& got) { on_checked(got); });
}

void store_watch::on_checked(const response& got) {
  checking_ = false;
  if (stopped_ || !got || got->items.size() != 4 || got->at(0).failed()) return;
  store_settings said;
  for (std::size_t i = 1; i < got->items.size(); ++i) {
    const auto& pair = got->at(i);
    if (pair.failed() || pair.items.size() != 2) continue;
    if (!said) said.emplace();
    (*said)[pair.at(0).text] = pair.at(1).text;
  }
  auto found = judge_store(server_facts(got->at(0).text), said, settings_.what, settings_.terms);
  if (!ever_checked_ || found.notes != found_.notes)
    for (const auto& n : found.notes) log::warn("redis", n);
  if (!found.refusal.empty() && found.refusal != found_.refusal)
    log::error("redis", "this store should not be used", {{"reason", found.refusal}});
  ever_checked_ = true;
  found_ = std::move(found);
  grade_again();
}

void store_watch::on_round() {
  grade_again();
}

void store_watch::grade_again() {
  const auto& fence = keeper_.now();
  grade(about_, found_, settings_.what, settings_.terms, fence.last,
        fence.replicas.known > 0 && !fence.blind);
}

void store_watch::describe(engine_health& h) const {
  const auto add = [&h](const std::string& text) {
    if (text.empty()) return;
    if (!h.detail.empty()) h.detail += "; ";
    h.detail += text;
  };
  const auto& fence = keeper_.now();
  const auto latest = clock_.latest(loop_.now());
  const auto left = latest ? duration(fence.closed - (*latest - clock_guard::slack.count())) : duration();
  h.clock_suspect = steps_forward_ > 0 && left > duration::zero();
  h.clock_steps_forward = steps_forward_;
  h.clock_steps_backward = steps_backward_;
  if (!found_.refusal.empty()) add(found_.refusal);
  if (left > duration::zero()) {
    h.degraded = true;
    add("nothing is granted for " + std::to_string(left / 1s + 1) +
        " s, until leases are over that a failover or a step of the clock may have ended too early");
  }
  if (fence.last.degraded) {
    h.degraded = true;
    add(std::to_string(fence.replicas.acked) + " of " + std::to_string(fence.replicas.known) +
        " replicas have the newest watermark: a failover to one of the others may repeat tokens");
  }
  if (!fence.trouble.empty()) {
    h.degraded = true;
    add("the watermark was not raised: " + fence.trouble);
  }
  if (fence.blind) add("CLUSTER NODES is forbidden: whether all replicas have the watermark is not known");
  if (fence.emptied) add("the store was emptied while locks were held");
  if (stepped_back_at_ != instant{} && network_time_.now() - stepped_back_at_ < told_for)
    add("the clock of the store was set back: leases end late");
  for (const auto& n : found_.notes) add(n);
}

}  // namespace dislock::redis
