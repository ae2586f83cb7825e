#include "server/service.hpp"

#include "base/log.hpp"
#include "server/no_store.hpp"

#include <utility>

namespace dislock::server {
namespace {

using http::method;

bool is_json(std::string_view content_type) {
  constexpr std::string_view json = "application/json";
  const auto type = content_type.substr(0, content_type.find(';'));
  const auto end = type.find_last_not_of(" \t");
  const auto bare = type.substr(0, end == std::string_view::npos ? 0 : end + 1);
  return bare.size() == json.size() && std::equal(bare.begin(), bare.end(), json.begin(), [](char a, char b) {
           return (a >= 'A' && a <= 'Z' ? static_cast<char>(a - 'A' + 'a') : a) == b;
         });
}

}  // namespace

service::service(const parts& p, const config& settings, std::string_view openapi)
    : engine_(p.engine),
      time_(p.time),
      settings_(settings),
      openapi_(openapi),
      started_(p.time.now()),
      room_(p.engine, p.wait_clock, settings.poll_slice),
      keeper_(p.engine, p.renew_clock, settings.renewal_interval),
      streams_(p.engine, p.event_clock),
      statistics_(p.time.now()) {
  keeper_.on_renewal([this](bool done) { statistics_.on_renewal(done, renewed_by::service); });
}

service::~service() = default;

void service::start() {
  engine_.start(*this);
  keeper_.start();
}

void service::drain() {
  draining_ = true;
  room_.send_all_away(errc::draining);
  streams_.close_all();
}

void service::on_resolved(ticket id, std::uint32_t epoch, acquire_answer&& outcome) {
  room_.resolved(id, epoch, std::move(outcome));
}

http::delivery service::reply(const incoming& x, int status, std::string_view type) {
  statistics_.on_reply(x.what, status, time_.now() - x.started - x.waited);
  return x->reply(status, type, no_store);
}

void service::problem(const incoming& x, const http::problem& p, std::string_view headers) {
  statistics_.on_problem(p.code);
  statistics_.on_reply(x.what, http_status_of(p.code), time_.now() - x.started - x.waited);
  if (!x->is_done()) (void)http::reply_problem(*x, p, headers);
}

void service::refuse(const incoming& x, errc code, std::string_view field, std::string_view detail) {
  std::string members;
  if (!field.empty()) http::json_writer(members).member("field", field);
  problem(x, {code, detail, members}, no_store);
}

void service::refuse(const incoming& x, const bad_request& why) {
  refuse(x, why.code, why.field, why.detail);
}

void service::refuse(const incoming& x, const dislock::refusal& why, const call_facts* facts) {
  std::string headers(no_store);
  if (const auto after = retry_after(why.code))
    headers += "Retry-After: " + std::to_string(after->count()) + "\r\n";
  if (why.code == errc::engine_unavailable || why.code == errc::outcome_unknown) {
    statistics_.on_engine_error(effect_of(why.code));
    log::warn("service", "the engine failed", {log::trace_id(x->trace_id()), {"code", to_string(why.code)}});
  }
  problem(x, {why.code, {}, explain(why, facts)}, headers);
}

void service::engine_answered(const incoming& x, engine_operation what) {
  statistics_.on_engine_call(what, time_.now() - x.started);
}

void service::method_not_allowed(const incoming& x, std::string_view allow) {
  std::string headers(no_store);
  headers.append("Allow: ").append(allow).append("\r\n");
  problem(x, {errc::method_not_allowed, {}, {}}, headers);
}

bool service::parse_body(const incoming& x) {
  if (!is_json(x->get().content_type)) {
    refuse(x, errc::unsupported_media_type, "Content-Type", "Send Content-Type: application/json.");
    return false;
  }
  if (const auto wrong = body_.parse(x->get().body)) {
    wrong->repeated_field.empty()
        ? refuse(x, errc::invalid_json, "body", wrong->detail)
        : refuse(x, errc::invalid_field, wrong->repeated_field.substr(0, 100), wrong->detail);
    return false;
  }
  return true;
}

// A parameter that nobody reads would be a typo without effect.
bool service::no_query(const incoming& x) {
  if (x->get().query.empty()) return true;
  const auto given = http::parse_query(x->get().query);
  if (given && given->empty()) return true;
  refuse(x, errc::invalid_field, given ? given->front().first.substr(0, 100) : "query",
         "There is no such query parameter.");
  return false;
}

// A request may insist on guarantees; it is refused rather than weakened.
bool service::meets(const incoming& x, fields& in) {
  const auto list = in.array("require", 0, capabilities::names.size(), false);
  if (list == 0) return true;
  std::string missing;
  http::json_writer w(missing);
  std::string first_missing;
  std::vector<std::string_view> seen;
  std::size_t place = 0;
  for (auto i = list + 1; i < body_[list].next; i = body_[i].next, ++place) {
    const auto at = "require[" + std::to_string(place) + "]";
    const auto name = body_[i].text;
    const auto known = std::find_if(capabilities::names.begin(), capabilities::names.end(),
                                    [&](const auto& c) { return c.name == name; });
    if (body_[i].kind != json_node::type::string || known == capabilities::names.end())
      in.fail(at,
              "Must be one of fifo, shared, semaphore, multi, sessions, lockDelay, durable, durableFence, "
              "failoverSafeExclusion.");
    else if (std::find(seen.begin(), seen.end(), name) != seen.end())
      in.fail(at, "Is named twice.");
    else if (!(engine_.about().*(known->has))) {
      missing.empty() ? (void)w.key("missing").begin_array() : void();
      w.value(name);
      if (first_missing.empty()) first_missing = at;
    }
    seen.push_back(name);
  }
  if (missing.empty()) return true;
  w.end_array();
  if (const auto wrong = in.finish()) {
    refuse(x, *wrong);
    return false;
  }
  w.member("field", first_missing);
  problem(x,
          {errc::unsupported_by_engine, "The engine does not guarantee what the request requires.", missing},
          no_store);
  return false;
}

void service::handle(http::exchange_ptr exchange) {
  incoming x{std::move(exchange), request_operation::other, time_.now(), {}};
  const auto& request = x->get();
  auto path = request.path;
  if (path.starts_with("/locks/")) return route_lock(std::move(x), path.substr(7));

  const bool get = request.verb == method::get || request.verb == method::head;
  const bool post = request.verb == method::post;
  using handler = void (service::*)(incoming);
  using op = request_operation;
  struct route {
    std::string_view path;
    handler on_get;
    op get_is;
    handler on_post;
    op post_is;
  };
  static constexpr route routes[] = {
      {"/locks", &service::list, op::list_locks, nullptr, op::other},
      {"/sessions", &service::list_sessions, op::list_sessions, &service::open_session, op::open_session},
      {"/sessions/keepalive", nullptr, op::other, &service::keep_session, op::keep_session_alive},
      {"/sessions/close", nullptr, op::other, &service::close_session, op::close_session},
      {"/events", &service::events, op::events, nullptr, op::other},
      {"/graph", &service::graph, op::graph, nullptr, op::other},
      {"/deadlocks", &service::deadlocks, op::deadlocks, nullptr, op::other},
      {"/health", &service::ready, op::health, nullptr, op::other},
      {"/health/ready", &service::ready, op::ready, nullptr, op::other},
      {"/health/live", &service::live, op::live, nullptr, op::other},
      {"/metrics", &service::metrics, op::metrics, nullptr, op::other},
      {"/capabilities", &service::describe, op::capabilities, nullptr, op::other},
      {"/openapi.yaml", &service::openapi, op::openapi, nullptr, op::other},
  };
  for (const auto& r : routes) {
    if (r.path != path) continue;
    const auto call = get ? r.on_get : post ? r.on_post : nullptr;
    if (!call)
      return method_not_allowed(x, r.on_get && r.on_post ? "GET, HEAD, POST"
                                   : r.on_get            ? "GET, HEAD"
                                                         : "POST");
    x.what = get ? r.get_is : r.post_is;
    return (this->*call)(std::move(x));
  }
  refuse(x, errc::not_found, {}, {});
}

// A lock name is everything up to the last segment, which is the verb; DELETE takes all of it.
void service::route_lock(incoming x, std::string_view rest) {
  const auto verb_at = rest.rfind('/');
  const auto verb = verb_at == std::string_view::npos ? rest : rest.substr(verb_at + 1);
  const auto raw = verb_at == std::string_view::npos ? std::string_view{} : rest.substr(0, verb_at);
  const bool named = verb_at != std::string_view::npos;

  using handler = void (service::*)(incoming, std::string_view);
  using op = request_operation;
  struct route {
    std::string_view verb;
    method by;
    handler call;
    op what;
    op multi;  // `other`: there is no multi form
  };
  static constexpr route routes[] = {
      {"acquire", method::post, &service::acquire, op::acquire, op::acquire_multi},
      {"release", method::post, &service::release, op::release, op::release_multi},
      {"renew", method::post, &service::renew, op::renew, op::renew_multi},
      {"cancel", method::post, &service::cancel, op::cancel, op::cancel_multi},
      {"validate", method::post, &service::validate, op::validate, op::other},
      {"status", method::get, &service::status, op::status, op::other},
  };
  const auto with_name = [&](std::string_view encoded, handler call, op what) {
    std::optional<std::string> decoded;
    auto name = encoded;
    if (encoded.find('%') != std::string_view::npos) {
      decoded = http::percent_decode(encoded);
      if (!decoded)
        return refuse(x, errc::invalid_lock_name, "name", "The name is not percent-encoded properly.");
      name = *decoded;
    }
    if (const auto why = why_not_a_lock_name(name)) return refuse(x, errc::invalid_lock_name, "name", *why);
    x.what = what;
    (this->*call)(std::move(x), name);
  };

  const auto by = x->get().verb == method::head ? method::get : x->get().verb;
  if (by == method::del) return with_name(rest, &service::force_release, op::force_release);
  if (named) {
    for (const auto& r : routes) {
      if (r.verb != verb) continue;
      if (r.by == by) return with_name(raw, r.call, r.what);
      return method_not_allowed(x, r.by == method::post ? "POST, DELETE" : "GET, HEAD, DELETE");
    }
    return method_not_allowed(x, "DELETE");
  }
  if (rest == "stats") {
    x.what = op::stats;
    if (by == method::get) return stats(std::move(x));
    return method_not_allowed(x, "GET, HEAD, DELETE");
  }
  for (const auto& r : routes) {
    if (r.verb != rest || r.multi == op::other) continue;
    if (by != method::post) return method_not_allowed(x, "POST, DELETE");
    x.what = r.multi;
    return (this->*r.call)(std::move(x), {});
  }
  method_not_allowed(x, "DELETE");
}

}  // namespace dislock::server
