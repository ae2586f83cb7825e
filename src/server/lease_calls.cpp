// release, renew, cancel, validate, force release.
#include "base/log.hpp"
#include "server/service.hpp"

#include <algorithm>
#include <charconv>

namespace dislock::server {
namespace {

// The leases that a release or renewal names: one by the path, or several in `locks`.
struct proofs {
  std::vector<lease_proof> leases;
  std::optional<bad_request> wrong;
};

void read_proof(fields& in, lease_proof& p, bool renewal_is_enough) {
  p.id = in.secret_of<lock_id>("lockId", !renewal_is_enough);
  if (!renewal_is_enough) return;
  p.renewal = in.secret_of<renewal_token>("renewalToken");
  if (p.id.empty() && p.renewal.empty()) in.fail("lockId", "Either lockId or renewalToken is required.");
  if (!p.id.empty() && !p.renewal.empty()) in.fail("renewalToken", "Send either lockId or renewalToken.");
}

proofs read_proofs(const json_tree& body, fields& in, std::string_view name, bool renewal_is_enough) {
  proofs out;
  if (!name.empty()) {
    out.leases.push_back({lock_name(name), {}, {}});
    read_proof(in, out.leases[0], renewal_is_enough);
    return out;
  }
  const auto list = in.array("locks", 1, 32, true);
  if (list == 0) return out;
  for (auto i = list + 1; i < body[list].next && !out.wrong; i = body[i].next) {
    const auto at = "locks[" + std::to_string(out.leases.size()) + "]";
    if (body[i].kind != json_node::type::object) {
      out.wrong = bad_request{errc::invalid_field, at, "Must be a JSON object."};
      break;
    }
    fields one(body, i, at + ".");
    lease_proof p;
    p.name = lock_name(one.lock_name_of("name"));
    read_proof(one, p, renewal_is_enough);
    if (std::any_of(out.leases.begin(), out.leases.end(), [&](const auto& q) { return q.name == p.name; }))
      one.fail("name", "No lock is named twice.");
    out.wrong = one.finish();
    out.leases.push_back(p);
  }
  return out;
}

call_facts facts_of(instant started, const std::vector<lease_proof>& leases, bool multi) {
  call_facts facts;
  facts.started = started;
  facts.multi = multi;
  for (const auto& p : leases) facts.names.emplace_back(p.name.view());
  return facts;
}

}  // namespace

void service::release(incoming x, std::string_view name) {
  if (!no_query(x) || !parse_body(x)) return;
  fields in(body_, 0);
  release_request r;
  r.multi = name.empty();
  r.client = in.id<client_id>("clientId");
  r.request = in.id<request_id>("requestId");
  const auto named = read_proofs(body_, in, name, false);
  if (named.wrong) return refuse(x, *named.wrong);
  if (const auto wrong = in.finish()) return refuse(x, *wrong);
  r.leases = named.leases;
  engine_.release(r,
                  [x, this, facts = facts_of(x.started, named.leases, r.multi)](answer<release_answers> a) {
                    engine_answered(x, engine_operation::release);
                    if (!a) return refuse(x, a.error(), &facts);
                    if (x->is_done()) return;
                    append_released(x->body(), facts, *a);
                    (void)reply(x);
                  });
}

void service::renew(incoming x, std::string_view name) {
  if (!no_query(x) || !parse_body(x)) return;
  fields in(body_, 0);
  renew_request r;
  r.multi = name.empty();
  r.client = in.id<client_id>("clientId");
  r.request = in.id<request_id>("requestId");
  r.ttl = in.seconds("timeout", engine_.about().min_ttl, settings_.max_timeout);
  const auto named = read_proofs(body_, in, name, true);
  if (named.wrong) return refuse(x, *named.wrong);
  if (const auto wrong = in.finish()) return refuse(x, *wrong);
  r.leases = named.leases;
  engine_.renew(r, [x, this, facts = facts_of(x.started, named.leases, r.multi)](answer<renew_answers> a) {
    engine_answered(x, engine_operation::renew);
    if (a) {
      for (const auto& one : *a) statistics_.on_renewal(static_cast<bool>(one));
    } else {
      statistics_.on_renewal(false);
    }
    if (!a) return refuse(x, a.error(), &facts);
    if (x->is_done()) return;
    append_renewed(x->body(), facts, *a, time_.now());
    (void)reply(x);
  });
}

void service::cancel(incoming x, std::string_view name) {
  if (!no_query(x) || !parse_body(x)) return;
  fields in(body_, 0);
  call_id call{name.empty(), lock_name(name), in.id<client_id>("clientId", true),
               in.id<request_id>("requestId", true)};
  if (const auto wrong = in.finish()) return refuse(x, *wrong);
  engine_.cancel(call, [x, this](answer<cancelled> a) {
    engine_answered(x, engine_operation::cancel);
    if (!a) return refuse(x, a.error(), nullptr);
    if (x->is_done()) return;
    http::json_writer(x->body()).begin_object().member("cancelled", a->done).end_object();
    (void)reply(x);
  });
}

void service::validate(incoming x, std::string_view name) {
  if (!no_query(x) || !parse_body(x)) return;
  fields in(body_, 0);
  const auto token = in.integer("fencingToken", 1, static_cast<std::int64_t>(fencing_token_limit) - 1);
  if (!token) in.fail("fencingToken", "This field is required.");
  if (const auto wrong = in.finish()) return refuse(x, *wrong);
  engine_.validate(lock_name(name), fencing_token{static_cast<std::uint64_t>(*token)},
                   [x, this](answer<validity> a) {
                     engine_answered(x, engine_operation::read);
                     if (!a) return refuse(x, a.error(), nullptr);
                     if (x->is_done()) return;
                     http::json_writer w(x->body());
                     w.begin_object().member("current", a->current).key("latest");
                     a->latest ? w.value(to_number(*a->latest)) : w.null();
                     w.end_object();
                     (void)reply(x);
                   });
}

void service::force_release(incoming x, std::string_view name) {
  const auto query = http::parse_query(x->get().query);
  if (!query) return refuse(x, errc::invalid_field, "query", "The query is not percent-encoded properly.");
  std::optional<fencing_token> token;
  std::string reason;
  std::string request;
  std::vector<std::string_view> seen;
  for (const auto& [key, value] : *query) {
    if (std::find(seen.begin(), seen.end(), key) != seen.end())
      return refuse(x, errc::invalid_field, key, "Is given twice.");
    seen.push_back(key);
    if (key == "fencingToken") {
      std::uint64_t number = 0;
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
      if (error != std::errc{} || end != value.data() + value.size() || number == 0 ||
          number >= fencing_token_limit)
        return refuse(x, errc::invalid_field, "fencingToken",
                      "Must be a whole number from 1 to 9007199254740991.");
      token = fencing_token{number};
    } else if (key == "reason") {
      const bool printable = std::all_of(value.begin(), value.end(), [](char c) {
        return static_cast<unsigned char>(c) >= 0x20 && c != 0x7f;
      });
      if (value.empty() || value.size() > 200 || !printable)
        return refuse(x, errc::invalid_field, "reason", "Must be 1 to 200 printable bytes.");
      reason = value;
    } else if (key == "requestId") {
      if (!is_identifier(value, 128))
        return refuse(x, errc::invalid_field, "requestId",
                      "Must be 1 to 128 of the characters A-Z a-z 0-9 . _ ~ : / @ + = , and -.");
      request = value;
    } else {
      return refuse(x, errc::invalid_field, key.substr(0, 100), "There is no such query parameter.");
    }
  }
  log::info("service", "force release", {log::trace_id(x->trace_id()), {"lock", name}, {"reason", reason}});
  engine_.force_release(lock_name(name), token, request_id(request), reason, [x, this](answer<forced> a) {
    engine_answered(x, engine_operation::force_release);
    if (!a) return refuse(x, a.error(), nullptr);
    if (x->is_done()) return;
    http::json_writer w(x->body());
    w.begin_object().member("released", a->tokens.size()).key("tokens").begin_array();
    for (const auto t : a->tokens) w.value(to_number(t));
    w.end_array().end_object();
    (void)reply(x);
  });
}

}  // namespace dislock::server
