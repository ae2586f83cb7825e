#include "engines/redis/fence_keeper.hpp"

#include "base/log.hpp"
#include "engines/redis/asking.hpp"
#include "engines/redis/wire/retry.hpp"
#include "engines/redis/wire/slots.hpp"

#include <algorithm>
#include <iterator>

namespace dislock::redis {
namespace {

using namespace std::chrono_literals;

// Replicas that are well answer within a millisecond or so. Less than what the ceiling is ahead, so that a
// refresh with a replica that is not well comes in time.
constexpr std::string_view acks_timeout_ms = "400";
constexpr duration look_every = 5s;
// Of one call: what takes longer than the ceiling is ahead has come too late.
constexpr duration longest_call = 1500ms;
// After so many rounds without an answer, which are not just a slot that moves, people are told.
constexpr unsigned worth_telling = 3;
// For how long it is left open whether a slot was moved or lost: who knows nothing of its last server leaves
// it to others to say, and a server that has given it away may hear last that it has.
constexpr duration longest_doubt = 1500ms;

}  // namespace

void fence_keeper::raise(unique_function<void(bool)> done) {
  if (stopped_) return done(false);
  ask_later(std::move(done), 0);
  begin();
}

void fence_keeper::ask_later(unique_function<void(bool)> done, std::uint64_t connection) {
  const auto until = settings_.cluster ? later(network_time_.now(), settings_.call_timeout) : instant{};
  waiting_.push_back({connection, false, until, std::move(done)});
}

bool fence_keeper::covers(std::int64_t store_end, std::uint64_t connection) const noexcept {
  const auto* known = incarnation_of(connection);
  return known && *known == confirmed_for_ && store_end <= horizon_;
}

void fence_keeper::secure(std::int64_t store_end, std::uint64_t connection,
                          unique_function<void(bool)> done) {
  if (covers(store_end, connection)) return done(true);
  if (stopped_) return done(false);
  ask_later(std::move(done), connection);
  begin();
}

void fence_keeper::look() {
  if (stopped_ || running_ || network_time_.now() - looked_at_ < look_every) return;
  if (!state_.trouble.empty()) return raise([](bool) {});  // is it still so?
  begin();
}

void fence_keeper::on_connected(std::uint64_t connection, std::string_view incarnation) {
  main_[1] = std::move(main_[0]);
  main_[0] = {connection, std::string(incarnation), std::nullopt};
}

void fence_keeper::stop() {
  stopped_ = true;
  rest_.silence();
  for (auto* list : {&waiting_, &served_})
    for (auto& w : std::exchange(*list, {})) w.done(false);
}

const std::string* fence_keeper::incarnation_of(std::uint64_t connection) const noexcept {
  for (const auto& m : main_)
    if (m.connection == connection && connection != 0) return &m.incarnation;
  return nullptr;
}

instant fence_keeper::by() const {
  return later(network_time_.now(), std::min(settings_.call_timeout, longest_call));
}

void fence_keeper::begin() {
  if (running_ || stopped_ || rest_.at() != never) return;
  running_ = true;
  static constexpr std::string_view server[] = {"INFO", "server"}, replication[] = {"INFO", "replication"},
                                    nodes[] = {"CLUSTER", "NODES"};
  const command_words all[] = {server, replication, nodes};
  client_.call_together({.lane = lane_kind::side}, std::span(all, settings_.cluster ? 3 : 2), by(),
                        [this](const response& got) { on_info(got); });
}

// Also those that are down. A primary that has failed is one when it comes back, but nobody says whose.
void fence_keeper::count_replicas(const reply& nodes) {
  state_.blind = nodes.failed();
  const auto listed = replicas_of_asked(nodes.text);
  listed_replicas_ = listed;
  known_replicas_ = name_a_lost_primary(nodes.text) ? std::max(known_replicas_, listed) : listed;
}

void fence_keeper::on_info(const response& got) {
  if (!got || got->items.size() != (settings_.cluster ? 3U : 2U)) {
    served_.swap(waiting_);
    if (!got) return lost_touch(got.error());
    state_.trouble = "INFO was refused";
    return finish(false);
  }
  looked_at_ = network_time_.now();
  const server_facts said(got->items[0].text + "\r\n" + got->items[1].text);
  connected_replicas_ = said.connected_replicas();
  if (settings_.cluster) {
    count_replicas(got->items[2]);
  } else {
    known_replicas_ = client_.known_replicas();
  }
  seen_ = said.incarnation();
  said_ = {
      std::chrono::seconds(said.number("uptime_in_seconds")), said.number("second_repl_offset") != -1, {}};
  const auto* main = client_.facts();
  if (settings_.cluster && main && main->run_id() != said.run_id()) {
    // The slot has another server since it was asked.
    if (waiting_.empty()) {
      running_ = false;
      looked_at_ = {};
      return;
    }
    served_.swap(waiting_);
    out_of_touch_ = true;
    return finish(false);
  }
  if (!said.is_primary() || seen_.empty() || (main && main->incarnation() != seen_)) {
    served_.swap(waiting_);
    renew_connections(said.is_primary() ? "the store has another incarnation" : "not a primary any more");
    return finish(false);
  }
  if (waiting_.empty()) return finish(true);  // nobody asked for more than a look
  raise_over(got->connection);
}

// `fate`: what is known of how the slot came from the `former` store.
void fence_keeper::raise_over(std::uint64_t connection, std::string_view fate, std::string_view former) {
  if (fate.empty()) served_.swap(waiting_);
  ask q(settings_.rules, "raise");
  q.put("seen", std::string_view(seen_));
  if (!fate.empty()) {
    q.put(fate, former);
    if (const auto time = user_.earliest_store_time()) q.put("time", *time);
  }
  if (horizon_ > 0) q.put("floor_ceiling", ceiling_).put("floor_horizon", horizon_);
  const auto text = std::move(q).text();
  const auto latest = user_.latest_store_time();
  const auto limit = latest ? std::to_string(*latest) : std::string();
  const std::string_view arguments[] = {text, limit};

  state_.replicas.known = std::max(known_replicas_, connected_replicas_);
  const bool asked = settings_.terms.acks != acks_policy::none && connected_replicas_ > 0;
  const auto acks = std::to_string(std::min(state_.replicas.known, connected_replicas_));
  const std::string_view wait[] = {"WAIT", acks, acks_timeout_ms};
  const std::vector<std::string_view> keys(settings_.keys.begin(), settings_.keys.end());
  script_call call;
  call.keys = keys;
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
  if (!got) return lost_touch(got.error());
  const bool asked = got->items.size() == 2;  // the script's answer, and the number of acknowledgements
  const reply& told = asked ? got->at(0) : *got;
  const auto s = step::read(told, sent);
  if (!s) return fail(told.failed() ? told.text : "an answer of another form");
  if (s->verdict() == "clock") {
    user_.on_clock_ahead(sent, s->time().now, s->out().at(1).number);
    return fail("the clock of the store was set");
  }
  if (s->verdict() == "moved") return judge_move(connection, s->out().at(1).text);
  const auto& row = s->out().at(1);
  if (row.at(0).number != 1) {
    renew_connections("a connection has an older incarnation");
    return finish(false);
  }
  in_doubt_since_.reset();
  if (!moved_from_.empty() && moved_to_ == seen_)
    for (auto& m : main_)
      if (m.incarnation.starts_with(moved_from_))
        m.incarnation = seen_;  // whatever was decided there is here
  moved_from_.clear();
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
  const std::vector<std::string_view> keys(settings_.keys.begin(), settings_.keys.end());
  script_call call;
  call.keys = keys;
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
                if (!got) return lost_touch(got.error());
                state_.trouble = counts ? "" : "another incarnation was there";
                finish(counts);
              });
}

// The record is that of another server. Of one that was promoted, or started again, it is not known what else
// it has not got.
void fence_keeper::judge_move(std::uint64_t connection, std::string former) {
  const auto now = user_.now();
  const auto since = client_.serving_since();
  said_.connected = since ? network_time_.now() - *since : duration();
  // When the former one answered last; or, if we have not heard of it, whoever had the slot before: that is
  // longer ago.
  std::optional<instant> answered_at;
  for (const auto& m : main_)
    if (m.answered_at && m.incarnation != seen_)
      answered_at = std::max(answered_at.value_or(instant{}), *m.answered_at);
  for (const auto& m : main_)
    if (m.answered_at && m.incarnation.starts_with(former)) answered_at = m.answered_at;
  // `doubt`: why it may have been lost; empty: it was moved.
  const auto go_on = [this, connection, former](std::string_view doubt) {
    in_doubt_since_.reset();
    if (!doubt.empty()) {
      log::warn("redis", "the slot has another server: what that may have lost is waited for",
                {{"reason", doubt}});
      moved_from_.clear();
      give_up_decisions();
      return raise_over(connection, "lost", former);
    }
    log::info("redis", "the slot was moved to another server");
    known_replicas_ = listed_replicas_;  // it has its own
    moved_from_ = former;
    moved_to_ = seen_;
    raise_over(connection, "moved_from", former);
  };
  if (settings_.plant_trusted_moves) return go_on({});
  if (!answered_at && may_doubt()) return finish(false);
  if (!answered_at) return go_on("we have not seen the one before");
  if (!is_unbroken(said_, now - *answered_at)) return go_on("it may have been promoted, or started again");
  client_.ask_former(former, this->by(), [this, go_on](departure what) {
    if (stopped_) return;
    if (what == departure::not_heard && may_doubt()) return finish(false);
    go_on(what == departure::given_away  ? ""
          : what == departure::not_heard ? "the one before says that it has it"
                                         : "the one before is not there, or not what it was");
  });
}

// What somebody wants secured was decided before the store lost what it may have lost.
void fence_keeper::give_up_decisions() {
  std::vector<wish> given_up;
  for (auto* list : {&served_, &waiting_}) {
    const auto from =
        std::stable_partition(list->begin(), list->end(), [](const wish& w) { return w.connection == 0; });
    std::move(from, list->end(), std::back_inserter(given_up));
    list->erase(from, list->end());
  }
  for (auto& w : given_up) w.done(false);
}

// Whether to ask again in a moment.
bool fence_keeper::may_doubt() {
  const auto present = network_time_.now();
  if (!in_doubt_since_) in_doubt_since_ = present;
  out_of_touch_ = present - *in_doubt_since_ < longest_doubt;
  return out_of_touch_;
}

// Nobody has said no: where a slot is moving, somebody will answer later.
void fence_keeper::lost_touch(const failure& why) {
  out_of_touch_ =
      settings_.cluster && (why.why == failure::cause::deadline || why.why == failure::cause::lost);
  if (!out_of_touch_ || failures_ >= worth_telling) state_.trouble = why.detail;
  finish(false);
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
  const bool elsewhere = std::exchange(elsewhere_, false), retry = std::exchange(out_of_touch_, false);
  if (!confirmed) state_.last.confirmed = false;
  user_.on_round();
  for (auto& w : served) {
    if (elsewhere && w.connection == 0 && !w.again && !stopped_) {
      waiting_.push_back({0, true, w.until, std::move(w.done)});
      continue;
    }
    if (retry && !stopped_ && network_time_.now() < w.until) {
      waiting_.push_back(std::move(w));
      continue;
    }
    const auto* told_by = w.connection == 0 ? &confirmed_for_ : incarnation_of(w.connection);
    w.done(confirmed && told_by && *told_by == confirmed_for_);
  }
  failures_ = retry ? std::min(failures_ + 1, 4U) : 0;
  if (waiting_.empty() || stopped_) return;
  if (!retry) return begin();
  rest_.set(later(network_time_.now(), rest_after(failures_, 0.5)));
}

}  // namespace dislock::redis
