// acquire, single and multi: from the body to the lease, however long that takes.
#include "server/service.hpp"

#include <algorithm>
#include <array>

namespace dislock::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::array<std::string_view, 3> mode_names{"exclusive", "shared", "semaphore"};
constexpr std::int64_t most_permits = 1'000'000;
constexpr duration longest_hold = std::chrono::hours(24 * 30);

// mode, limit and permits, which both forms have.
void read_mode(fields& in, lock_want& want) {
  want.mode = static_cast<lock_mode>(in.choice("mode", mode_names, 0));
  const auto limit = in.integer("limit", 1, most_permits);
  const auto permits = in.integer("permits", 1, most_permits);
  if (want.mode == lock_mode::semaphore) {
    if (!limit) return in.fail("limit", "A semaphore needs its limit.");
    want.limit = static_cast<std::uint32_t>(*limit);
    want.permits = static_cast<std::uint32_t>(permits.value_or(1));
    if (want.permits > want.limit) in.fail("permits", "There are never more permits than the limit.");
    return;
  }
  if (limit) in.fail("limit", "Only a semaphore has a limit.");
  if (permits) in.fail("permits", "Only a semaphore has permits.");
}

}  // namespace

// The fields that both forms have.
static void read_terms(fields& in, acquire_request& r, const config& settings, const capabilities& engine,
                       std::string& metadata) {
  r.client = in.id<client_id>("clientId", true);
  r.request = in.id<request_id>("requestId");
  r.session = in.secret_of<session_id>("sessionId");
  const auto ttl = in.seconds("timeout", engine.min_ttl, settings.max_timeout);
  if (ttl && !r.session.empty())
    in.fail("timeout", "The lease of a session ends with it and has no timeout of its own.");
  r.ttl = ttl.value_or(settings.default_timeout);
  r.wait = in.seconds("waitTimeout", duration::zero(), seconds(600)).value_or(duration::zero());
  r.lock_delay = in.seconds("lockDelay", duration::zero(), seconds(60)).value_or(duration::zero());
  r.max_hold = in.seconds("maxHold", milliseconds(100), longest_hold);
  r.auto_renew = in.flag("autoRenew");
  if (r.auto_renew && !r.max_hold) r.max_hold = settings.max_timeout;
  r.metadata = in.object_text("metadata", metadata, 4096);
}

void service::acquire(incoming x, std::string_view name) {
  if (name.empty()) return acquire_multi(std::move(x));
  if (!no_query(x) || !parse_body(x)) return;
  fields in(body_, 0);
  acquire_request r;
  read_terms(in, r, settings_, engine_.about(), metadata_);
  lock_want want{lock_name(name)};
  r.reentry = in.secret_of<lock_id>("lockId");
  if (!r.reentry.empty() && !in.has("mode") && !in.has("limit") && !in.has("permits")) {
    r.reentry_as_held = true;
    if (r.request.empty())
      in.fail("requestId", "Re-entry needs a requestId: a lost answer must not count twice.");
  } else {
    read_mode(in, want);
    if (!r.reentry.empty() && r.request.empty())
      in.fail("requestId", "Re-entry needs a requestId: a lost answer must not count twice.");
  }
  if (!meets(x, in)) return;
  if (const auto wrong = in.finish()) return refuse(x, *wrong);
  r.wants = {&want, 1};

  auto c = std::make_unique<call>();
  c->facts.started = x.started;
  c->facts.names.emplace_back(name);
  ask(std::move(x), r, std::move(c));
}

void service::acquire_multi(incoming x) {
  if (!no_query(x) || !parse_body(x)) return;
  fields in(body_, 0);
  acquire_request r;
  r.multi = true;
  read_terms(in, r, settings_, engine_.about(), metadata_);
  auto c = std::make_unique<call>();
  c->facts.started = x.started;
  c->facts.multi = true;
  std::vector<lock_want> wants;
  if (const auto list = in.array("locks", 1, 32, true)) {
    for (auto i = list + 1; i < body_[list].next; i = body_[i].next) {
      const auto at = "locks[" + std::to_string(wants.size()) + "]";
      if (body_[i].kind != json_node::type::object)
        return refuse(x, errc::invalid_field, at, "Must be a JSON object.");
      fields one(body_, i, at + ".");
      auto& want = wants.emplace_back();
      want.name = lock_name(one.lock_name_of("name"));
      read_mode(one, want);
      if (const auto wrong = one.finish()) return refuse(x, *wrong);
      if (std::any_of(wants.begin(), wants.end() - 1, [&](const auto& w) { return w.name == want.name; }))
        return refuse(x, errc::invalid_field, at + ".name", "No lock is named twice.");
      c->facts.names.emplace_back(want.name.view());
    }
  }
  if (!meets(x, in)) return;
  if (const auto wrong = in.finish()) return refuse(x, *wrong);
  r.wants = wants;
  ask(std::move(x), r, std::move(c));
}

void service::ask(incoming x, acquire_request& r, call_ptr c) {
  if (draining_) return refuse(x, *dislock::refuse(errc::draining), nullptr);
  // New work is shed first, so that those who hold locks can keep and release them.
  if (engine_.overloaded()) return refuse(x, *dislock::refuse(errc::overloaded), nullptr);
  c->x = std::move(x);
  c->facts.client = r.client.view();
  c->facts.request = r.request.view();
  c->facts.auto_renew = r.auto_renew;
  c->facts.ttl = r.ttl;
  engine_.acquire(
      r, [this, c = std::move(c)](acquire_answer a) mutable { decided(std::move(c), std::move(a)); });
}

void service::decided(call_ptr c, acquire_answer&& a) {
  engine_answered(c->x, engine_operation::acquire);
  if (const auto* got = std::get_if<granted>(&a)) return deliver(*c, *got);
  if (const auto* why = std::get_if<refusal_ptr>(&a)) return refuse(c->x, **why, &c->facts);

  const auto place = std::get<queued>(a);
  if (c->x->is_done()) return engine_.detach(place.id, place.epoch);  // gone before it was in the queue
  if (draining_) {
    engine_.detach(place.id, place.epoch);
    return refuse(c->x, *dislock::refuse(errc::draining), &c->facts);
  }
  auto x = c->x.exchange;
  room_.wait(place,
             [this, c = std::move(c)](wait_room::outcome o) mutable { waited(std::move(c), std::move(o)); });
  x->on_undelivered([this, place] { room_.leave(place.id, place.epoch); });
}

void service::waited(call_ptr c, wait_room::outcome&& o) {
  c->x.waited = time_.now() - c->x.started;
  if (const auto* got = std::get_if<granted>(&o)) return deliver(*c, *got);
  if (const auto* why = std::get_if<refusal_ptr>(&o)) return refuse(c->x, **why, &c->facts);
  append_queued(c->x->body(), c->facts, std::get<still_queued>(o).places);
  (void)reply(c->x, 202);
}

// A grant goes only to a client that is there. What was granted to nobody goes back; but not the lease of a
// repeated call, whose first answer may have arrived.
void service::deliver(call& c, const granted& got) {
  const auto& x = c.x;
  const auto give_back = [this, got] {
    if (!got.repeated || got.claimed) engine_.undelivered(got);
  };
  if (x->is_done() || x->peer_gone()) {
    give_back();
    if (x->is_done()) return;
    // It may have closed only its sending side, and still read.
    dislock::refusal why;
    why.code = c.facts.request.empty() ? errc::lock_not_held : errc::outcome_unknown;
    if (c.facts.request.empty()) why.ended = end_reason::undelivered;
    return refuse(x, why, &c.facts);
  }
  for (const auto& lease : got.leases)
    if (!got.repeated && lease.hold_count > 1) statistics_.on_reentry(lease.mode, time_.now());
  if (c.facts.auto_renew)
    for (std::size_t i = 0; i < got.leases.size(); ++i)
      keeper_.adopt(lock_name(c.facts.names[i]), got.leases[i].id, c.facts.ttl);
  append_acquired(x->body(), c.facts, got, time_.now());
  switch (reply(x)) {
    case http::delivery::accepted:
      return;
    case http::delivery::undeliverable:
      return give_back();
    case http::delivery::queued:
      return x->on_undelivered(give_back);
  }
}

}  // namespace dislock::server
