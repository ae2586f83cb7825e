#include "engines/redis/fence_keeper.hpp"

#include "base/log.hpp"
#include "engines/redis/asking.hpp"

#include <algorithm>

namespace dislock::redis {
namespace {

using namespace std::chrono_literals;

// Replicas that are well answer within a millisecond or so. Less than what the ceiling is ahead, so that a
// refresh with a replica that is not well comes in time.
constexpr std::string_view acks_timeout_ms = "400";
constexpr duration look_every = 5s;
// Of one call: what takes longer than the ceiling is ahead has come too late.
constexpr duration longest_call = 1500ms;

}  // namespace

void fence_keeper::raise(unique_function<void(bool)> done) {
  if (stopped_) return done(false);
  waiting_.push_back({0, false, std::move(done)});
  begin();
}

bool fence_keeper::covers(std::int64_t store_end, std::uint64_t connection) const noexcept {
  const auto* known = incarnation_of(connection);
  return known && *known == confirmed_for_ && store_end <= horizon_;
}

void fence_keeper::secure(std::int64_t store_end, std::uint64_t connection,
                          unique_function<void(bool)> done) {
  if (covers(store_end, connection)) return done(true);
  if (stopped_) return done(false);
  waiting_.push_back({connection, false, std::move(done)});
  begin();
}

void fence_keeper::look() {
  if (stopped_ || running_ || network_time_.now() - looked_at_ < look_every) return;
  if (!state_.trouble.empty()) return raise([](bool) {});  // is it still so?
  begin();
}

void fence_keeper::on_connected(std::uint64_t connection, std::string_view incarnation) {
  main_[1] = std::move(main_[0]);
  main_[0] = {connection, std::string(incarnation)};
}

void fence_keeper::stop() {
  stopped_ = true;
  for (auto* list : {&waiting_, &served_})
    for (auto& w : std::exchange(*list, {})) w.done(false);
}

const std::string* fence_keeper::incarnation_of(std::uint64_t connection) const noexcept {
  for (const auto& [number, incarnation] : main_)
    if (number == connection && number != 0) return &incarnation;
  return nullptr;
}

instant fence_keeper::by() const {
  return later(network_time_.now(), std::min(settings_.call_timeout, longest_call));
}

void fence_keeper::begin() {
  if (running_) return;
  running_ = true;
  static constexpr std::string_view server[] = {"INFO", "server"}, replication[] = {"INFO", "replication"};
  const command_words both[] = {server, replication};
  client_.call_together({.lane = lane_kind::side}, both, by(), [this](const response& got) { on_info(got); });
}

void fence_keeper::on_info(const response& got) {
  if (!got || got->items.size() != 2) {
    state_.trouble = got ? "INFO was refused" : got.error().detail;
    served_.swap(waiting_);
    return finish(false);
  }
  looked_at_ = network_time_.now();
  const server_facts said(got->items[0].text + "\r\n" + got->items[1].text);
  connected_replicas_ = said.connected_replicas();
  seen_ = said.incarnation();
  const auto* main = client_.facts();
  if (!said.is_primary() || seen_.empty() || (main && main->incarnation() != seen_)) {
    served_.swap(waiting_);
    renew_connections(said.is_primary() ? "the store has another incarnation" : "not a primary any more");
    return finish(false);
  }
  if (waiting_.empty()) return finish(true);  // nobody asked for more than a look
  raise_over(got->connection);
}

void fence_keeper::raise_over(std::uint64_t connection) {
  served_.swap(waiting_);
  ask q(settings_.rules, "raise");
  q.put("seen", std::string_view(seen_));
  if (horizon_ > 0) q.put("floor_ceiling", ceiling_).put("floor_horizon", horizon_);
  const auto text = std::move(q).text();
  const auto latest = user_.latest_store_time();
  const auto limit = latest ? std::to_string(*latest) : std::string();
  const std::string_view arguments[] = {text, limit};

  state_.replicas.known = std::max<std::int64_t>(client_.known_replicas(), connected_replicas_);
  const bool asked = settings_.terms.acks != acks_policy::none && connected_replicas_ > 0;
  const auto acks = std::to_string(std::min(state_.replicas.known, connected_replicas_));
  const std::string_view wait[] = {"WAIT", acks, acks_timeout_ms};
  script_call call;
  call.arguments = arguments;
  call.stamped = true;
  if (asked) call.then = wait;
  client_.run(
      {.lane = lane_kind::side, .connection = connection}, call, by(),
      [this, sent = user_.now(), connection](const response& got) { on_raised(got, sent, connection); });
}

void fence_keeper::on_raised(const response& got, instant sent, std::uint64_t connection) {
  const auto fail = [this](std::string why) {
    state_.trouble = std::move(why);
    finish(false);
  };
  if (!got) return fail(got.error().detail);
  const bool asked = got->items.size() == 2;  // the script's answer, and the number of acknowledgements
  const reply& told = asked ? got->at(0) : *got;
  const auto s = step::read(told, sent);
  if (!s) return fail(told.failed() ? told.text : "an answer of another form");
  if (s->verdict() == "clock") {
    user_.on_clock_ahead(sent, s->time().now, s->out().at(1).number);
    return fail("the clock of the store was set");
  }
  const auto& row = s->out().at(1);
  if (row.at(0).number != 1) {
    renew_connections("a connection has an older incarnation");
    return finish(false);
  }
  user_.on_store_time(sent, s->time().now, row.at(4).number);
  state_.closed = row.at(3).number;
  if (row.at(5).number != 0) {
    state_.emptied = true;
    log::error("redis", "the store was emptied: who held a lock does not any more");
  }
  state_.replicas.acked = asked ? got->at(1).number : 0;
  const auto judged = judge_acks(settings_.terms.acks, state_.replicas);
  const bool news = judged.confirmed != state_.last.confirmed || judged.degraded != state_.last.degraded;
  if (news && state_.replicas.known > 0)
    log::warn("redis",
              !judged.confirmed ? "no replica has the watermark: grants stop"
              : judged.degraded ? "not all replicas have the watermark"
                                : "all replicas have the watermark",
              {{"known", state_.replicas.known}, {"acknowledged", state_.replicas.acked}});
  state_.last = judged;
  if (!judged.confirmed) return fail("no replica has the watermark");
  confirm_over(connection, row.at(1).number, row.at(2).number);
}

void fence_keeper::confirm_over(std::uint64_t connection, std::int64_t ceiling, std::int64_t horizon) {
  ask q(settings_.rules, "confirm");
  q.put("seen", std::string_view(seen_)).put("ceiling", ceiling).put("horizon", horizon);
  const auto text = std::move(q).text();
  const std::string_view arguments[] = {text, ""};
  script_call call;
  call.arguments = arguments;
  call.stamped = true;
  client_.run({.lane = lane_kind::side, .connection = connection}, call, by(),
              [this, sent = user_.now(), ceiling, horizon](const response& got) {
                const auto s = got ? step::read(*got, sent) : std::nullopt;
                const bool counts = s && s->out().at(1).at(0).number == 1;
                if (counts) {
                  confirmed_for_ = seen_;
                  ceiling_ = ceiling;
                  horizon_ = horizon;
                }
                state_.trouble = counts ? "" : got ? "another incarnation was there" : got.error().detail;
                finish(counts);
              });
}

void fence_keeper::renew_connections(std::string why) {
  log::warn("redis", "connections are made anew", {{"reason", why}});
  state_.trouble = why;
  elsewhere_ = true;
  client_.reconnect(why);
}

void fence_keeper::finish(bool confirmed) {
  running_ = false;
  auto served = std::exchange(served_, {});
  const bool elsewhere = std::exchange(elsewhere_, false);
  if (!confirmed) state_.last.confirmed = false;
  user_.on_round();
  for (auto& w : served) {
    if (elsewhere && w.connection == 0 && !w.again && !stopped_) {
      waiting_.push_back({0, true, std::move(w.done)});
      continue;
    }
    const auto* told_by = w.connection == 0 ? &confirmed_for_ : incarnation_of(w.connection);
    w.done(confirmed && told_by && *told_by == confirmed_for_);
  }
  if (!waiting_.empty() && !stopped_) begin();
}

}  // namespace dislock::redis
