#include "library/remote/messages.hpp"

#include "http/json_writer.hpp"
#include "library/remote/retry.hpp"

#include <boost/json/monotonic_resource.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace dislock::library::remote {
namespace {

namespace json = boost::json;
using http::json_writer;
using std::chrono::milliseconds;

constexpr double longest_seconds = 1e9;

bool plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
         c == '_' || c == '~';
}

void append_encoded(std::string& out, std::string_view value, std::string_view also_plain) {
  constexpr char digits[] = "0123456789ABCDEF";
  for (const char c : value) {
    if (plain(c) || also_plain.find(c) != std::string_view::npos) {
      out += c;
    } else {
      out += '%';
      out += digits[static_cast<unsigned char>(c) >> 4];
      out += digits[static_cast<unsigned char>(c) & 15];
    }
  }
}

milliseconds up(duration d) {
  return std::chrono::ceil<milliseconds>(d);
}

void secret_member(json_writer& w, std::string& out, std::string_view name, const auto& secret) {
  w.key(name).raw("\"");
  secret.append_to(out);
  out += '"';
}

// A body, read. Its parts live in a buffer on the stack as long as they are small.
class document {
 public:
  explicit document(std::string_view body) {
    json::error_code ec;
    json::parse_options strict;
    strict.max_depth = 32;
    root_ = json::parse({body.data(), body.size()}, ec, &memory_, strict);
    if (ec) root_ = nullptr;
  }
  [[nodiscard]] const json::object* object() const noexcept { return root_.if_object(); }

 private:
  unsigned char buffer_[6 * 1024];
  json::monotonic_resource memory_{buffer_, sizeof buffer_};
  json::value root_ = json::value(json::storage_ptr(&memory_));
};

// One object, read field by field; the first that is missing or of the wrong kind spoils all.
class reader {
 public:
  explicit reader(const json::object& o) : object_(o) {}

  [[nodiscard]] bool good() const noexcept { return good_; }
  bool spoil() {
    good_ = false;
    return false;
  }
  [[nodiscard]] const json::value* find(std::string_view name) const {
    const auto* v = object_.if_contains({name.data(), name.size()});
    return v && !v->is_null() ? v : nullptr;
  }
  std::string_view text(std::string_view name, bool required = true) {
    const auto* v = find(name);
    const auto* s = v ? v->if_string() : nullptr;
    if (!s) {
      if (v || required) spoil();
      return {};
    }
    return {s->data(), s->size()};
  }
  std::uint64_t number(std::string_view name, bool required = true, std::uint64_t otherwise = 0) {
    const auto* v = find(name);
    if (!v) {
      if (required) spoil();
      return otherwise;
    }
    if (const auto* i = v->if_int64(); i && *i >= 0) return static_cast<std::uint64_t>(*i);
    if (const auto* u = v->if_uint64()) return *u;
    return spoil();
  }
  template <class Small>
  Small small(std::string_view name, bool required = true, Small otherwise = 0) {
    const auto n = number(name, required, otherwise);
    if (n > std::numeric_limits<Small>::max()) spoil();
    return static_cast<Small>(n);
  }
  duration seconds(std::string_view name, bool required = true) {
    const auto* v = find(name);
    if (!v) {
      if (required) spoil();
      return {};
    }
    const double d = v->is_double() ? v->get_double() : static_cast<double>(number(name));
    if (!std::isfinite(d) || d < 0 || d > longest_seconds) return duration(spoil());
    return std::chrono::round<duration>(std::chrono::duration<double>(d));
  }
  bool truth(std::string_view name, bool required = true) {
    const auto* v = find(name);
    if (!v) return required ? spoil() : false;
    return v->is_bool() ? v->get_bool() : spoil();
  }
  fencing_token token(std::string_view name) {
    const auto n = number(name);
    if (n == 0 || n >= fencing_token_limit) spoil();
    return fencing_token{n};
  }
  template <class Secret>
  Secret secret_of(std::string_view name) {
    const auto s = Secret::parse(text(name));
    if (!s) spoil();
    return s.value_or(Secret{});
  }
  lock_mode mode(std::string_view name, bool required = true) {
    const auto s = text(name, required);
    for (const auto m : {lock_mode::exclusive, lock_mode::shared, lock_mode::semaphore})
      if (s == to_string(m)) return m;
    if (required || !s.empty()) spoil();
    return lock_mode::exclusive;
  }
  wall_time time(std::string_view name, bool required = true) {
    const auto s = text(name, required);
    if (s.empty()) return {};
    // 2026-11-21T02:00:00.000Z, and no other form.
    const auto part = [&](std::size_t at, std::size_t size) {
      int n = 0;
      const auto* from = s.data() + at;
      if (std::from_chars(from, from + size, n).ptr != from + size || n < 0) spoil();
      return n;
    };
    if (s.size() != 24 || s[4] != '-' || s[7] != '-' || s[10] != 'T' || s[13] != ':' || s[16] != ':' ||
        s[19] != '.' || s[23] != 'Z')
      return spoil(), wall_time{};
    const std::chrono::year_month_day day(std::chrono::year(part(0, 4)),
                                          std::chrono::month(static_cast<unsigned>(part(5, 2))),
                                          std::chrono::day(static_cast<unsigned>(part(8, 2))));
    if (!day.ok()) return spoil(), wall_time{};
    return wall_time(std::chrono::sys_days(day)) + std::chrono::hours(part(11, 2)) +
           std::chrono::minutes(part(14, 2)) + std::chrono::seconds(part(17, 2)) + milliseconds(part(20, 3));
  }
  /// Calls `each(reader&)` for the objects of an array.
  template <class Each>
  void objects(std::string_view name, bool required, Each each) {
    const auto* v = find(name);
    const auto* all = v ? v->if_array() : nullptr;
    if (!all) {
      if (v || required) spoil();
      return;
    }
    for (const auto& one : *all) {
      const auto* o = one.if_object();
      if (!o) return void(spoil());
      reader r(*o);
      each(r);
      if (!r.good()) return void(spoil());
    }
  }

 private:
  const json::object& object_;
  bool good_ = true;
};

// Reads one body with `fill(reader&) -> T`.
template <class Fill>
auto read(std::string_view body, Fill fill) -> std::optional<std::invoke_result_t<Fill, reader&>> {
  const document d(body);
  if (!d.object()) return std::nullopt;
  reader r(*d.object());
  auto out = fill(r);
  if (!r.good()) return std::nullopt;
  return out;
}

end_reason read_end_reason(std::string_view s) {
  for (auto i = static_cast<int>(end_reason::released); i <= static_cast<int>(end_reason::undelivered); ++i)
    if (to_string(static_cast<end_reason>(i)) == s) return static_cast<end_reason>(i);
  return end_reason::none;
}

granted_lease read_lease(reader& r, std::string_view lock, const acquire_call& call) {
  granted_lease g;
  g.lock = lock;
  if (r.text("lockName") != lock) r.spoil();
  g.id = r.secret_of<lock_id>("lockId");
  g.renewal = r.secret_of<renewal_token>("renewalToken");
  g.token = r.token("fencingToken");
  g.mode = r.mode("mode");
  g.permits = r.small<std::uint32_t>("permits", false, 1);
  g.ttl = call.ttl;
  return g;
}

std::vector<holder> read_holders(reader& r) {
  std::vector<holder> out;
  r.objects("holders", true, [&](reader& h) {
    auto& one = out.emplace_back();
    one.client = h.text("clientId");
    one.token = h.token("fencingToken");
    one.mode = h.mode("mode");
    one.permits = h.small<std::uint32_t>("permits", false, 1);
    one.hold_count = h.small<std::uint32_t>("holdCount", false, 1);
    one.acquired_at = h.time("acquiredAt");
    one.expires_at = h.time("expiresAt", false);
    one.auto_renew = h.truth("autoRenew", false);
    one.session_bound = h.truth("sessionBound", false);
    if (const auto* m = h.find("metadata"); m && m->is_object()) one.metadata = json::serialize(*m);
  });
  return out;
}

std::vector<cycle_step> read_cycle(reader& r, bool required) {
  std::vector<cycle_step> out;
  r.objects("cycle", required, [&](reader& c) {
    out.push_back({std::string(c.text("clientId")), std::string(c.text("waitsFor")),
                   std::string(c.text("heldBy")), c.truth("waitsBehind", false)});
  });
  return out;
}

lock_state read_lock(reader& r) {
  lock_state s;
  s.name = r.text("lockName");
  s.mode = r.mode("mode", false);
  s.limit = r.small<std::uint32_t>("limit", false);
  s.holders = read_holders(r);
  s.holder_count = r.number("holderCount");
  s.locked = s.holder_count > 0;
  s.queue_length = r.number("queueLength");
  if (r.find("fencingToken")) s.latest_token = r.token("fencingToken");
  if (s.mode == lock_mode::semaphore)
    for (const auto& h : s.holders) s.used += h.permits;
  return s;
}

errc nearest_code(int status) {
  if (status >= 500) return status == 500 ? errc::internal_error : errc::engine_unavailable;
  if (status == 409) return errc::lock_not_acquired;
  return errc::invalid_field;
}

}  // namespace

void append_lock_target(std::string& out, std::string_view lock, std::string_view verb) {
  out += "/locks/";
  if (!lock.empty()) {
    append_encoded(out, lock, ":/@+=,");
    if (!verb.empty()) out += '/';
  }
  out += verb;
}

void append_query_value(std::string& out, std::string_view value) {
  append_encoded(out, value, {});
}

void append_acquire(std::string& out, const acquire_call& call, std::string_view request,
                    duration wait_left) {
  json_writer w(out);
  const auto mode = [&](const lock_request& l) {
    if (l.mode == lock_mode::exclusive) return;
    w.member("mode", to_string(l.mode));
    if (l.mode == lock_mode::semaphore) w.member("limit", l.limit).member("permits", l.permits);
  };
  w.begin_object().member("clientId", call.client).member("timeout", up(call.ttl));
  if (!request.empty()) w.member("requestId", request);
  if (const auto wait = std::max(up(wait_left), milliseconds(0)); wait.count() > 0)
    w.member("waitTimeout", wait);
  if (call.lock_delay > duration::zero()) w.member("lockDelay", up(call.lock_delay));
  if (call.max_hold) w.member("maxHold", up(*call.max_hold));
  if (!call.metadata.empty()) w.key("metadata").raw(call.metadata);
  if (!call.reentry.empty()) secret_member(w, out, "lockId", call.reentry);
  if (call.multi) {
    w.key("locks").begin_array();
    for (const auto& l : call.locks) {
      w.begin_object().member("name", l.name);
      mode(l);
      w.end_object();
    }
    w.end_array();
  } else {
    mode(call.locks[0]);
  }
  w.end_object();
}

void append_release(std::string& out, const lease_key& which, std::string_view request) {
  json_writer w(out);
  w.begin_object();
  if (!which.client.empty()) w.member("clientId", which.client);  // the lock id is enough
  secret_member(w, out, "lockId", which.id);
  if (!request.empty()) w.member("requestId", request);
  w.end_object();
}

void append_renew(std::string& out, const lease_key& which, duration ttl) {
  json_writer w(out);
  w.begin_object();
  if (!which.client.empty()) w.member("clientId", which.client);  // the lock id is enough
  secret_member(w, out, "lockId", which.id);
  w.member("timeout", up(ttl)).end_object();
}

void append_renew(std::string& out, std::span<const lease_key> which, duration ttl) {
  json_writer w(out);
  w.begin_object().member("timeout", up(ttl)).key("locks").begin_array();
  for (const auto& one : which) {
    w.begin_object().member("name", one.lock);
    secret_member(w, out, "lockId", one.id);
    w.end_object();
  }
  w.end_array().end_object();
}

void append_cancel(std::string& out, std::string_view client, std::string_view request) {
  json_writer(out).begin_object().member("clientId", client).member("requestId", request).end_object();
}

void append_validate(std::string& out, fencing_token token) {
  json_writer(out).begin_object().member("fencingToken", to_number(token)).end_object();
}

std::optional<granted_leases> read_granted(std::string_view body, const acquire_call& call, instant sent) {
  return read(body, [&](reader& r) {
    granted_leases out;
    if (!r.truth("acquired")) r.spoil();
    out.waited = r.seconds("waitTime");
    const auto until = believable_until(sent, r.seconds("elapsed"), r.seconds("ttl"));
    if (!call.multi) {
      auto& one = out.leases.emplace_back(read_lease(r, call.locks[0].name, call));
      one.hold_count = r.small<std::uint32_t>("holdCount");
    } else {
      r.objects("locks", true, [&](reader& l) {
        if (out.leases.size() == call.locks.size()) return void(l.spoil());
        out.leases.push_back(read_lease(l, call.locks[out.leases.size()].name, call));
      });
      if (out.leases.size() != call.locks.size()) r.spoil();
    }
    for (auto& l : out.leases) l.valid_until = until;
    return out;
  });
}

bool is_release(std::string_view body) {
  return read(body, [](reader& r) { return r.truth("released"); }).has_value();
}

std::optional<renewed_lease> read_renewed(std::string_view body, instant sent) {
  return read(body, [&](reader& r) {
    if (!r.truth("renewed")) r.spoil();
    return renewed_lease{believable_until(sent, r.seconds("elapsed"), r.seconds("ttl"))};
  });
}

std::optional<std::vector<result<renewed_lease>>> read_renewed(std::string_view body,
                                                               std::span<const lease_key> which,
                                                               instant sent) {
  return read(body, [&](reader& r) {
    std::vector<result<renewed_lease>> out;
    const auto elapsed = r.seconds("elapsed");
    r.objects("locks", true, [&](reader& l) {
      if (out.size() == which.size()) return void(l.spoil());
      const auto& asked = which[out.size()];
      if (l.text("lockName") != asked.lock) l.spoil();
      if (l.truth("renewed")) {
        out.emplace_back(renewed_lease{believable_until(sent, elapsed, l.seconds("ttl"))});
      } else {
        error why;
        why.code = errc_from_string(l.text("code")).value_or(errc::lock_not_held);
        why.lock = asked.lock;
        why.ended = read_end_reason(l.text("ended", false));
        out.emplace_back(std::move(why));
      }
    });
    if (out.size() != which.size()) r.spoil();
    return out;
  });
}

std::optional<error> read_problem(const reply& from) {
  return read(from.body, [&](reader& r) {
    error e;
    const auto code = r.text("code");
    const auto known = errc_from_string(code);
    e.code = known.value_or(nearest_code(from.status));
    e.lock = r.text("lockName", false);
    e.waited = r.seconds("waitTime", false);
    if (r.find("holders")) e.holders = read_holders(r);
    e.holder_count = r.number("holderCount", false, e.holders.size());
    e.queue_length = r.number("queueLength", false);
    e.cycle = read_cycle(r, false);
    e.ended = read_end_reason(r.text("ended", false));
    const auto add = [&](std::string_view what) {
      if (!e.detail.empty() && !what.empty()) e.detail += ": ";
      e.detail += what;
    };
    add(r.text("field", false));
    if (!known) add(code);
    add(r.text("detail", false));
    return e;
  });
}

std::optional<lock_state> read_status(std::string_view body) {
  return read(body, [](reader& r) {
    auto s = read_lock(r);
    s.locked = r.truth("locked");
    s.used = r.small<std::uint32_t>("used", false);
    r.objects("waiters", true, [&](reader& w) {
      auto& one = s.waiters.emplace_back();
      one.client = w.text("clientId");
      one.mode = w.mode("mode");
      one.permits = w.small<std::uint32_t>("permits", false, 1);
      one.position = w.number("position");
      one.since = w.time("waitingSince");
      one.connected = w.truth("connected");
    });
    if (r.find("closedUntil")) s.closed_until = r.time("closedUntil");
    return s;
  });
}

std::optional<lock_page> read_page(std::string_view body) {
  return read(body, [](reader& r) {
    lock_page out;
    r.objects("locks", true, [&](reader& l) { out.locks.push_back(read_lock(l)); });
    out.next = r.text("nextCursor", false);
    return out;
  });
}

std::optional<bool> read_validity(std::string_view body) {
  return read(body, [](reader& r) { return r.truth("current"); });
}

std::optional<std::vector<fencing_token>> read_forced(std::string_view body) {
  return read(body, [](reader& r) {
    std::vector<fencing_token> out;
    const auto* v = r.find("tokens");
    const auto* all = v ? v->if_array() : nullptr;
    if (!all) return r.spoil(), out;
    for (const auto& one : *all) {
      const auto* i = one.if_int64();
      if (!i || *i <= 0) return r.spoil(), out;
      out.push_back(fencing_token{static_cast<std::uint64_t>(*i)});
    }
    return out;
  });
}

std::optional<std::vector<graph_edge>> read_graph(std::string_view body) {
  return read(body, [](reader& r) {
    std::vector<graph_edge> out;
    r.objects("edges", true, [&](reader& e) {
      out.push_back({std::string(e.text("from")), std::string(e.text("to")), std::string(e.text("lockName")),
                     e.text("kind") == "queued_behind"});
    });
    return out;
  });
}

std::optional<std::vector<deadlock_report>> read_deadlocks(std::string_view body) {
  return read(body, [](reader& r) {
    std::vector<deadlock_report> out;
    r.objects("deadlocks", true, [&](reader& d) {
      auto& one = out.emplace_back();
      one.at = d.time("at");
      const auto* victim = d.find("victim");
      if (!victim || !victim->is_object()) return void(d.spoil());
      reader v(victim->get_object());
      one.victim = v.text("clientId");
      one.lock = v.text("lockName");
      if (!v.good()) d.spoil();
      one.cycle = read_cycle(d, true);
    });
    return out;
  });
}

std::optional<engine_info> read_capabilities(std::string_view body) {
  return read(body, [](reader& r) {
    engine_info out;
    out.engine = r.text("engine");
    out.version = r.text("version");
    const auto grade = r.text("class");
    if (grade.size() != 1) r.spoil();
    out.guarantee = grade.empty() ? 'C' : grade[0];
    out.fifo = r.truth("fifo", false);
    out.shared = r.truth("shared", false);
    out.semaphore = r.truth("semaphore", false);
    out.multi = r.truth("multi", false);
    out.sessions = r.truth("sessions", false);
    out.lock_delay = r.truth("lockDelay", false);
    out.durable = r.truth("durable", false);
    out.durable_fence = r.truth("durableFence", false);
    out.failover_safe_exclusion = r.truth("failoverSafeExclusion", false);
    return out;
  });
}

std::optional<std::string> read_health(std::string_view body) {
  return read(body, [](reader& r) {
    std::string why;
    if (r.text("status") != "unavailable") return why;
    if (r.truth("draining", false)) return why = "draining";
    why = "the engine is not ready";
    if (const auto* e = r.find("engine"); e && e->is_object()) {
      reader engine(e->get_object());
      if (const auto detail = engine.text("detail", false); !detail.empty()) why.append(": ").append(detail);
    }
    return why;
  });
}

std::optional<lock_event> read_event(std::string_view data) {
  return read(data, [](reader& r) {
    lock_event e;
    const auto id = r.text("id");
    if (std::from_chars(id.data(), id.data() + id.size(), e.id).ptr != id.data() + id.size()) r.spoil();
    e.at = r.time("at");
    e.type = r.text("type");
    e.lock = r.text("lockName", false);
    e.client = r.text("clientId", false);
    e.reason = r.text("reason", false);
    if (r.find("fencingToken")) e.token = r.token("fencingToken");
    if (r.find("mode")) e.mode = r.mode("mode");
    e.took = r.find("holdTime") ? r.seconds("holdTime") : r.seconds("waitTime", false);
    return e;
  });
}

}  // namespace dislock::library::remote
