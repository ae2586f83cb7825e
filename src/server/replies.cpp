#include "server/replies.hpp"

#include <algorithm>

namespace dislock::server {
namespace {

using http::json_writer;

void secret_member(json_writer& w, std::string_view name, const auto& secret, std::string& out) {
  w.key(name).raw("\"");
  secret.append_to(out);
  out += '"';
}

void append_holder(json_writer& w, const holder_view& h) {
  w.begin_object()
      .member("clientId", h.client)
      .member("fencingToken", to_number(h.token))
      .member("mode", to_string(h.mode));
  if (h.mode == lock_mode::semaphore) w.member("permits", h.permits);
  w.key("acquiredAt").time(to_epoch(h.acquired_at)).key("expiresAt").time(to_epoch(h.end));
  w.member("holdCount", h.hold_count);
  if (!h.metadata.empty()) w.key("metadata").raw(h.metadata);
  w.member("autoRenew", h.auto_renew)
      .member("principal", "")
      .member("sessionBound", h.session_bound)
      .end_object();
}

void append_holders(json_writer& w, const std::vector<holder_view>& holders, std::size_t count) {
  w.key("holders").begin_array();
  for (const auto& h : holders) append_holder(w, h);
  w.end_array().member("holderCount", count);
}

void token_or_null(json_writer& w, std::string_view name, const std::optional<fencing_token>& t) {
  w.key(name);
  t ? w.value(to_number(*t)) : w.null();
}

void append_lease(json_writer& w, std::string& out, std::string_view name, const grant& g) {
  w.member("lockName", name);
  secret_member(w, "lockId", g.id, out);
  secret_member(w, "renewalToken", g.renewal, out);
  w.member("fencingToken", to_number(g.token)).member("mode", to_string(g.mode));
  if (g.mode == lock_mode::semaphore) w.member("permits", g.permits).member("limit", g.limit);
}

// Why a waiter waits still; `ahead` tells whether others stand in front of it.
std::string_view blocked_by(const lock_view& v, const waiter_view& waiting) {
  if (waiting.position > 1) return "queued_behind";
  if (v.closed_until) return "lock_delay";
  return v.limit > 0 ? "permits"
         : v.locked  ? "held"
                     : "queued_behind";  // free: a multi request that lacks another lock
}

}  // namespace

void append_acquired(std::string& out, const call_facts& call, const granted& got, instant now) {
  auto end = got.leases[0].end;
  for (const auto& g : got.leases) end = std::min(end, g.end);
  const auto& first = got.leases[0];
  json_writer w(out);
  w.begin_object().member("acquired", true);
  if (!call.multi) append_lease(w, out, call.names[0], first);
  w.member("clientId", call.client);
  w.key("expiresAt").time(to_epoch(end)).member("ttl", to_ms(end - now));
  w.member("elapsed", to_ms(now - call.started)).member("waitTime", to_ms(got.waited));
  if (!call.multi) w.member("holdCount", first.hold_count);
  if (first.renewed_until) w.key("renewedUntil").time(to_epoch(*first.renewed_until));
  if (first.session_bound) w.member("sessionBound", true);
  if (call.multi) {
    w.key("locks").begin_array();
    for (std::size_t i = 0; i < got.leases.size(); ++i) {
      w.begin_object();
      append_lease(w, out, call.names[i], got.leases[i]);
      w.end_object();
    }
    w.end_array();
  }
  w.end_object();
}

void append_queued(std::string& out, const call_facts& call, const std::vector<place>& places) {
  json_writer w(out);
  w.begin_object().member("acquired", false).member("requestId", call.request).member("retryAfter", 0);
  const auto one = [&](const place& p) {
    w.member("lockName", p.lock).member("queuePosition", p.position);
    append_holders(w, p.holders, p.holder_count);
  };
  if (call.multi) {
    w.key("locks").begin_array();
    for (const auto& p : places) {
      w.begin_object();
      one(p);
      w.end_object();
    }
    w.end_array();
  } else {
    one(places.at(0));
  }
  w.end_object();
}

void append_released(std::string& out, const call_facts& call, const release_answers& all) {
  json_writer w(out);
  if (!call.multi) {
    w.begin_object().member("released", all[0]->ended).member("holdCount", all[0]->hold_count).end_object();
    return;
  }
  const bool whole = std::all_of(all.begin(), all.end(), [](const auto& a) { return a && a->ended; });
  w.begin_object().member("released", whole).key("locks").begin_array();
  for (std::size_t i = 0; i < all.size(); ++i) {
    w.begin_object().member("lockName", call.names[i]).member("released", all[i] && all[i]->ended);
    if (all[i]) {
      w.member("holdCount", all[i]->hold_count);
    } else {
      w.member("code", to_string(all[i].error().code));
      if (all[i].error().ended) w.member("ended", to_string(*all[i].error().ended));
    }
    w.end_object();
  }
  w.end_array().end_object();
}

void append_renewed(std::string& out, const call_facts& call, const renew_answers& all, instant now) {
  json_writer w(out);
  const auto one = [&](const renewed& r) {
    w.key("expiresAt")
        .time(to_epoch(r.end))
        .member("ttl", to_ms(r.end - now))
        .member("fencingToken", to_number(r.token));
  };
  w.begin_object();
  if (!call.multi) {
    w.member("renewed", true).member("elapsed", to_ms(now - call.started));
    one(*all[0]);
    w.end_object();
    return;
  }
  bool whole = true;
  auto smallest = never;
  for (const auto& a : all) {
    whole = whole && a;
    if (a) smallest = std::min(smallest, a->end);
  }
  w.member("renewed", whole).member("elapsed", to_ms(now - call.started));
  if (smallest != never) w.key("expiresAt").time(to_epoch(smallest)).member("ttl", to_ms(smallest - now));
  w.key("locks").begin_array();
  for (std::size_t i = 0; i < all.size(); ++i) {
    w.begin_object().member("lockName", call.names[i]).member("renewed", static_cast<bool>(all[i]));
    if (all[i]) {
      one(*all[i]);
    } else {
      w.member("code", to_string(all[i].error().code));
      if (all[i].error().ended) w.member("ended", to_string(*all[i].error().ended));
    }
    w.end_object();
  }
  w.end_array().end_object();
}

void append_status(std::string& out, const lock_view& v) {
  json_writer w(out);
  w.begin_object().member("lockName", v.name).member("locked", v.locked).key("mode");
  const bool idle = !v.locked && v.queue_length == 0;
  idle ? w.null() : w.value(to_string(v.mode));
  if (!idle && v.mode == lock_mode::semaphore) w.member("limit", v.limit).member("used", v.used);
  append_holders(w, v.holders, v.holder_count);
  w.key("waiters").begin_array();
  for (const auto& x : v.waiters) {
    w.begin_object().member("clientId", x.client).member("mode", to_string(x.mode));
    if (x.mode == lock_mode::semaphore) w.member("permits", x.permits);
    w.member("position", x.position)
        .key("waitingSince")
        .time(to_epoch(x.since))
        .key("deadline")
        .time(to_epoch(x.deadline));
    w.member("connected", x.connected).member("blockedBy", blocked_by(v, x)).end_object();
  }
  w.end_array().member("waiterCount", v.queue_length).member("queueLength", v.queue_length);
  token_or_null(w, "fencingToken", v.latest);
  if (v.closed_until) w.key("closedUntil").time(to_epoch(*v.closed_until));
  w.end_object();
}

void append_summary(json_writer& w, const lock_view& v) {
  w.begin_object().member("lockName", v.name).member("mode", to_string(v.mode));
  if (v.mode == lock_mode::semaphore) w.member("limit", v.limit);
  w.member("queueLength", v.queue_length);
  token_or_null(w, "fencingToken", v.latest);
  append_holders(w, v.holders, v.holder_count);
  w.end_object();
}

void append_lock_page(std::string& out, const page<lock_view>& p) {
  json_writer w(out);
  w.begin_object().key("locks").begin_array();
  for (const auto& v : p.items) append_summary(w, v);
  w.end_array();
  if (p.next) w.member("nextCursor", std::to_string(*p.next));
  w.end_object();
}

void append_session_page(std::string& out, const page<session_view>& p, instant now) {
  json_writer w(out);
  w.begin_object().key("sessions").begin_array();
  for (const auto& s : p.items) {
    w.begin_object().member("publicId", std::to_string(s.public_id)).member("clientId", s.client);
    w.key("expiresAt")
        .time(to_epoch(s.end))
        .member("ttl", to_ms(s.end - now))
        .member("leases", s.leases)
        .end_object();
  }
  w.end_array();
  if (p.next) w.member("nextCursor", std::to_string(*p.next));
  w.end_object();
}

void append_graph(std::string& out, const std::vector<wait_edge>& edges, bool truncated) {
  json_writer w(out);
  w.begin_object().key("edges").begin_array();
  for (const auto& e : edges)
    w.begin_object()
        .member("from", e.from)
        .member("to", e.to)
        .member("lockName", e.lock)
        .member("kind", e.behind ? "queued_behind" : "held")
        .end_object();
  w.end_array().member("truncated", truncated).end_object();
}

void append_cycle(json_writer& w, const std::vector<cycle_step>& cycle) {
  w.begin_array();
  for (const auto& step : cycle)
    w.begin_object()
        .member("clientId", step.client)
        .member("waitsFor", step.lock)
        .member("heldBy", step.blocker)
        .member("waitsBehind", step.behind)
        .end_object();
  w.end_array();
}

std::string explain(const dislock::refusal& why, const call_facts* call) {
  std::string out;
  json_writer w(out);
  const auto lock = !why.lock.empty()              ? why.lock
                    : call && !call->names.empty() ? call->names[0]
                                                   : std::string();
  if (!lock.empty()) w.member("lockName", lock);
  switch (why.code) {
    case errc::lock_not_acquired:
      w.member("acquired", false).member("waitTime", to_ms(why.waited));
      append_holders(w, why.holders, why.holder_count);
      w.member("queueLength", why.queue_length);
      break;
    case errc::deadlock_detected:
      w.key("cycle");
      append_cycle(w, why.cycle);
      w.member("advice",
               "Release a lock of the cycle, or take all locks that you need in one multi request, then try "
               "again. If the "
               "cycle names your own client, hold the lock once more by naming its lockId, or give each "
               "independent flow "
               "of control its own clientId.");
      break;
    case errc::lock_mode_conflict:
      w.member("mode", to_string(why.mode.value_or(lock_mode::exclusive)));
      if (why.limit > 0) w.member("limit", why.limit);
      break;
    case errc::lock_not_held:
    case errc::session_not_found:
      if (why.ended) w.member("ended", to_string(*why.ended));
      break;
    case errc::queue_full:
      w.member("queueLength", why.queue_length);
      break;
    case errc::request_id_reused:
      w.member("field", "requestId");
      break;
    default:
      break;
  }
  if (const auto after = retry_after(why.code)) w.member("retryAfter", after->count());
  return out;
}

std::optional<std::chrono::seconds> retry_after(errc code) noexcept {
  switch (code) {
    case errc::queue_full:
    case errc::request_memory_full:
    case errc::overloaded:
    case errc::draining:
      return std::chrono::seconds(1);
    case errc::engine_unavailable:
    case errc::outcome_unknown:
      return std::chrono::seconds(5);
    default:
      return std::nullopt;
  }
}

}  // namespace dislock::server
