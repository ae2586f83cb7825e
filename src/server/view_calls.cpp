// What there is: status, lists, statistics, health, capabilities, events.
#include "core/lock_table.hpp"
#include "server/metrics.hpp"
#include "server/no_store.hpp"
#include "server/service.hpp"
#include "server/version.hpp"

#include <algorithm>
#include <charconv>

namespace dislock::server {
namespace {

constexpr std::size_t holders_in_status = 100;
constexpr std::size_t edges_shown = 10'000;

std::optional<std::uint64_t> number(std::string_view s) {
  std::uint64_t n = 0;
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), n);
  if (error != std::errc{} || end != s.data() + s.size() || s.empty()) return std::nullopt;
  return n;
}

// The parameters that the listings share; what a call does not know is an error, and so is one given twice.
struct list_query {
  std::string prefix, client;
  std::uint64_t cursor = 0;
  std::size_t limit = 100;
  std::optional<bad_request> wrong;
};

list_query read_query(std::string_view raw, std::string_view known) {
  list_query q;
  const auto given = http::parse_query(raw);
  if (!given) {
    q.wrong = {errc::invalid_field, "query", "The query is not percent-encoded properly."};
    return q;
  }
  std::vector<std::string_view> seen;
  for (const auto& [key, value] : *given) {
    const auto wrong = [&](std::string detail) {
      q.wrong = {errc::invalid_field, key.substr(0, 100), std::move(detail)};
    };
    if (key.empty() || (" " + std::string(known) + " ").find(" " + key + " ") == std::string::npos) {
      wrong("There is no such query parameter.");
      if (key.empty()) q.wrong->field = "query";
    } else if (std::find(seen.begin(), seen.end(), key) != seen.end()) {
      wrong("Is given twice.");
    } else if (key == "prefix") {
      if (!is_identifier(value, 255)) wrong("Must be 1 to 255 of the characters of a lock name.");
      q.prefix = value;
    } else if (key == "clientId") {
      if (!is_identifier(value, 128))
        wrong("Must be 1 to 128 of the characters A-Z a-z 0-9 . _ ~ : / @ + = , and -.");
      q.client = value;
    } else if (key == "limit") {
      const auto n = number(value);
      if (!n || *n < 1 || *n > 1000) wrong("Must be a whole number from 1 to 1000.");
      q.limit = n.value_or(100);
    } else if (key == "cursor") {
      const auto n = number(value);
      if (!n) wrong("Must be the nextCursor of the page before.");
      q.cursor = n.value_or(0);
    }
    if (q.wrong) return q;
    seen.push_back(key);
  }
  return q;
}

}  // namespace

void service::status(incoming x, std::string_view name) {
  if (!no_query(x)) return;
  engine_.status(lock_name(name), holders_in_status, waiters_shown, [x, this](answer<lock_view> a) {
    engine_answered(x, engine_operation::read);
    if (!a) return refuse(x, a.error(), nullptr);
    if (x->is_done()) return;
    append_status(x->body(), *a);
    (void)reply(x);
  });
}

void service::list(incoming x) {
  const auto q = read_query(x->get().query, "prefix clientId limit cursor");
  if (q.wrong) return refuse(x, *q.wrong);
  engine_.list({q.prefix, q.client}, q.cursor, q.limit, [x, this](answer<page<lock_view>> a) {
    engine_answered(x, engine_operation::read);
    if (!a) return refuse(x, a.error(), nullptr);
    if (x->is_done()) return;
    append_lock_page(x->body(), *a);
    (void)reply(x);
  });
}

void service::list_sessions(incoming x) {
  const auto q = read_query(x->get().query, "limit cursor");
  if (q.wrong) return refuse(x, *q.wrong);
  engine_.sessions(q.cursor, q.limit, [x, this](answer<page<session_view>> a) {
    engine_answered(x, engine_operation::read);
    if (!a) return refuse(x, a.error(), nullptr);
    if (x->is_done()) return;
    append_session_page(x->body(), *a, time_.now());
    (void)reply(x);
  });
}

void service::graph(incoming x) {
  if (!no_query(x)) return;
  engine_.edges(edges_shown + 1, [x, this](answer<std::vector<wait_edge>> a) {
    engine_answered(x, engine_operation::read);
    if (!a) return refuse(x, a.error(), nullptr);
    if (x->is_done()) return;
    auto shown = *a;
    const bool truncated = shown.size() > edges_shown;
    if (truncated) shown.resize(edges_shown);
    append_graph(x->body(), shown, truncated);
    (void)reply(x);
  });
}

void service::ready(incoming x) {
  if (no_query(x)) health(x, true);
}

void service::live(incoming x) {
  if (no_query(x)) health(x, false);
}

void service::health(const incoming& x, bool must_be_ready) {
  const auto engine = engine_.health();
  const bool ready = engine.ready && !draining_;
  http::json_writer w(x->body());
  w.begin_object().member("status", !ready                                    ? "unavailable"
                                    : engine_.overloaded() || engine.degraded ? "degraded"
                                                                              : "ok");
  w.key("engine").begin_object().member("name", engine_.about().engine).member("ready", engine.ready);
  if (!engine.detail.empty()) w.member("detail", engine.detail);
  w.end_object()
      .member("draining", draining_)
      .member("version", version)
      .member("uptime", to_ms(time_.now() - started_));
  w.end_object();
  (void)reply(x, must_be_ready && !ready ? 503 : 200);
}

void service::describe(incoming x) {
  if (!no_query(x)) return;
  const auto& about = engine_.about();
  const char grade = static_cast<char>(about.grade);
  http::json_writer w(x->body());
  w.begin_object()
      .member("engine", about.engine)
      .member("version", version)
      .member("class", std::string_view(&grade, 1));
  for (const auto& c : capabilities::names) w.member(c.name, about.*(c.has));
  w.member("minTimeout", to_ms(about.min_ttl)).member("maxTimeout", settings_.max_timeout);
  w.member("defaultTimeout", settings_.default_timeout)
      .member("timeoutResolution", to_ms(about.ttl_resolution));
  w.member("maxWaitTimeout", 600).member("maxLockDelay", 60).member("maxMetadataBytes", 4096);
  w.member("maxLocksPerRequest", 32).member("maxQueueLength", core::table_options{}.queue_max);
  w.member("requestMemory", settings_.request_memory).member("waiterGrace", settings_.waiter_grace);
  w.member("pollSlice", settings_.poll_slice)
      .member("deadlockDetection", settings_.deadlock_detection)
      .end_object();
  (void)reply(x);
}

void service::stats(incoming x) {
  if (!no_query(x)) return;
  const auto contended = statistics_.most_contended();
  // Their queues, one after the other; the last answer writes the reply.
  struct gathering {
    incoming x;
    std::vector<std::pair<std::string, std::size_t>> queues;
    std::size_t open = 1;
  };
  auto all = std::make_shared<gathering>();
  all->x = x;
  const auto answered = [this, all] {
    if (--all->open > 0 || all->x->is_done()) return;
    const auto queue_of = [&](std::string_view name) -> std::size_t {
      for (const auto& [lock, length] : all->queues)
        if (lock == name) return length;
      return 0;
    };
    http::json_writer w(all->x->body());
    statistics_.write_stats(w, time_.now(), engine_.counts(), settings_.request_memory_max, queue_of);
    (void)reply(all->x);
  };
  for (const auto& one : contended) {
    ++all->open;
    engine_.status(lock_name(one.lock), 0, 0, [all, answered](answer<lock_view> a) {
      if (a) all->queues.emplace_back(a->name, a->queue_length);
      answered();
    });
  }
  answered();
}

void service::deadlocks(incoming x) {
  if (!no_query(x)) return;
  http::json_writer w(x->body());
  statistics_.write_deadlocks(w);
  (void)reply(x);
}

void service::metrics(incoming x) {
  if (!no_query(x)) return;
  static const http::statistics none;
  const auto counts = engine_.counts();
  const auto process = process_.read();
  const auto engine = engine_.health();
  x->body() = render_metrics({.here = statistics_,
                              .counts = counts,
                              .http = http_ ? http_->stats() : none,
                              .process = process,
                              .request_memory_max = settings_.request_memory_max,
                              .engine = engine_.about().engine,
                              .version = version,
                              .engine_ready = engine.ready,
                              .engine_degraded = engine.degraded,
                              .draining = draining_,
                              .clock_suspect = engine.clock_suspect,
                              .clock_steps_forward = engine.clock_steps_forward,
                              .clock_steps_backward = engine.clock_steps_backward});
  (void)reply(x, 200, metrics_content_type);
}

void service::events(incoming x) {
  const auto q = read_query(x->get().query, "prefix");
  if (q.wrong) return refuse(x, *q.wrong);
  if (draining_) return refuse(x, *dislock::refuse(errc::draining), nullptr);
  event_streams::start from;
  from.prefix = q.prefix;
  if (const auto id = x->get().last_event_id; !id.empty()) {
    from.last_seen = number(id);
    from.unknown = !from.last_seen;
  }
  statistics_.on_reply(x.what, 200, time_.now() - x.started);
  streams_.open(*x, std::move(from));
}

void service::openapi(incoming x) {
  if (!no_query(x)) return;
  x->body() = openapi_;
  (void)reply(x, 200, http::content_type::yaml);
}

}  // namespace dislock::server
