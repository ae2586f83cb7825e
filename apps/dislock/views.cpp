#include "views.hpp"

#include "wording.hpp"

#include <boost/json/parse.hpp>

#include <array>
#include <charconv>
#include <cstdio>
#include <ctime>

namespace dislock::cli {
namespace {

namespace json = boost::json;

template <class Items>
json::array all_of(const Items& items) {
  json::array out;
  for (const auto& item : items) out.push_back(to_json(item));
  return out;
}

json::value token_or_null(const std::optional<fencing_token>& t) {
  return t ? json::value(to_number(*t)) : json::value(nullptr);
}

column between(std::string title, std::string member, wall_time now, bool ahead) {
  return {std::move(title),
          [member = std::move(member), now, ahead](const json::object& row) -> std::string {
            const auto* value = row.if_contains(member);
            if (!value || !value->is_string()) return "-";
            const auto at = wall_time_from(std::string_view(value->get_string()));
            if (!at) return "-";
            return in_words(std::max(duration::zero(), ahead ? *at - now : now - *at));
          },
          false, true};
}

}  // namespace

std::string number_text(double value) {
  std::array<char, 400> buffer{};
  const auto end =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::fixed).ptr;
  return {buffer.data(), end};
}

void add_metadata(json::object& to, std::string_view metadata) {
  if (metadata.empty()) return;
  boost::system::error_code wrong;
  auto value = json::parse(json::string_view(metadata.data(), metadata.size()), wrong);
  to["metadata"] = wrong ? json::value(json::string(metadata)) : std::move(value);
}

json::object to_json(const holder& h) {
  json::object out{{"clientId", h.client}, {"fencingToken", to_number(h.token)}, {"mode", to_string(h.mode)}};
  if (h.mode == lock_mode::semaphore) out["permits"] = h.permits;
  out["holdCount"] = h.hold_count;
  out["acquiredAt"] = rfc3339(h.acquired_at);
  out["expiresAt"] = rfc3339(h.expires_at);
  out["autoRenew"] = h.auto_renew;
  out["sessionBound"] = h.session_bound;
  add_metadata(out, h.metadata);
  return out;
}

json::object to_json(const queued_client& w) {
  json::object out{{"clientId", w.client}, {"mode", to_string(w.mode)}};
  if (w.mode == lock_mode::semaphore) out["permits"] = w.permits;
  out["position"] = w.position;
  out["waitingSince"] = rfc3339(w.since);
  out["connected"] = w.connected;
  return out;
}

json::object to_json(const lock_state& s) {
  json::object out{{"lockName", s.name}, {"locked", s.locked}};
  const bool idle = !s.locked && s.queue_length == 0;
  out["mode"] = idle ? json::value(nullptr) : json::value(to_string(s.mode));
  if (!idle && s.mode == lock_mode::semaphore) {
    out["limit"] = s.limit;
    out["used"] = s.used;
  }
  out["holders"] = all_of(s.holders);
  out["holderCount"] = s.holder_count;
  out["waiters"] = all_of(s.waiters);
  out["queueLength"] = s.queue_length;
  out["fencingToken"] = token_or_null(s.latest_token);
  if (s.closed_until) out["closedUntil"] = rfc3339(*s.closed_until);
  return out;
}

json::object to_json(const cycle_step& s) {
  return {{"clientId", s.client}, {"lockName", s.lock}, {"blockedBy", s.blocker}, {"behind", s.behind}};
}

json::object to_json(const lock_event& e) {
  json::object out{{"id", e.id}, {"type", e.type}, {"at", rfc3339(e.at)}};
  if (!e.lock.empty()) out["lockName"] = e.lock;
  if (!e.client.empty()) out["clientId"] = e.client;
  if (e.token) out["fencingToken"] = to_number(*e.token);
  if (e.mode) out["mode"] = to_string(*e.mode);
  if (!e.reason.empty()) out["reason"] = e.reason;
  if (e.took > duration::zero()) out["took"] = in_seconds(e.took);
  return out;
}

json::object to_json(const graph_edge& e) {
  return {{"from", e.from}, {"to", e.to}, {"lockName", e.lock}, {"behind", e.behind}};
}

json::object to_json(const deadlock_report& d) {
  return {{"at", rfc3339(d.at)}, {"victim", d.victim}, {"lockName", d.lock}, {"cycle", all_of(d.cycle)}};
}

json::object to_json(const engine_info& i) {
  return {{"engine", i.engine},
          {"class", std::string(1, i.guarantee)},
          {"version", i.version},
          {"fifo", i.fifo},
          {"shared", i.shared},
          {"semaphore", i.semaphore},
          {"multi", i.multi},
          {"sessions", i.sessions},
          {"lockDelay", i.lock_delay},
          {"durable", i.durable},
          {"durableFence", i.durable_fence},
          {"failoverSafeExclusion", i.failover_safe_exclusion}};
}

json::object to_json(const error& e) {
  json::object out{{"code", to_string(e.code)},
                   {"effect", effect_of(e.code) == effect::unknown ? "unknown" : "none"},
                   {"message", e.message()}};
  if (!e.lock.empty()) out["lockName"] = e.lock;
  if (e.waited > duration::zero()) out["waitTime"] = in_seconds(e.waited);
  if (e.holder_count > 0) {
    out["holders"] = all_of(e.holders);
    out["holderCount"] = e.holder_count;
  }
  if (e.queue_length > 0) out["queueLength"] = e.queue_length;
  if (!e.cycle.empty()) out["cycle"] = all_of(e.cycle);
  if (e.ended != end_reason::none) out["ended"] = to_string(e.ended);
  if (!e.detail.empty()) out["detail"] = e.detail;
  return out;
}

std::string in_words(const std::vector<cycle_step>& cycle) {
  std::string out;
  for (const auto& s : cycle) {
    if (!out.empty()) out += "; ";
    out += s.client + " waits for " + s.lock + (s.behind ? ", behind " : ", held by ") + s.blocker;
  }
  return out;
}

column since(std::string title, std::string member, wall_time now) {
  return between(std::move(title), std::move(member), now, false);
}
column until(std::string title, std::string member, wall_time now) {
  return between(std::move(title), std::move(member), now, true);
}

std::optional<wall_time> wall_time_from(std::string_view text) {
  std::tm day{};
  int ms = 0;
  if (std::sscanf(std::string(text).c_str(), "%d-%d-%dT%d:%d:%d.%dZ", &day.tm_year, &day.tm_mon, &day.tm_mday,
                  &day.tm_hour, &day.tm_min, &day.tm_sec, &ms) != 7)
    return std::nullopt;
  day.tm_year -= 1900;
  day.tm_mon -= 1;
  return wall_time(std::chrono::seconds(timegm(&day))) + std::chrono::milliseconds(ms);
}

}  // namespace dislock::cli
