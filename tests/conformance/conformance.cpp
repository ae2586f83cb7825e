#include "conformance.hpp"

#include <algorithm>

namespace dislock::testing_engines {

wish on(std::string_view lock, wish w) {
  w.lock = lock;
  return w;
}
wish shared(wish w) {
  w.mode = lock_mode::shared;
  return w;
}
wish permits(std::uint32_t count, std::uint32_t limit, wish w) {
  w.mode = lock_mode::semaphore;
  w.permits = count;
  w.limit = limit;
  return w;
}
wish waiting(duration wait, wish w) {
  w.wait = wait;
  return w;
}

std::optional<errc> code(const acquire_answer& a) {
  const auto* refused = std::get_if<refusal_ptr>(&a);
  return refused ? std::optional((*refused)->code) : std::nullopt;
}

acquire_request request_of(std::string_view request, std::string_view client, const wish& w,
                           std::span<const lock_want> wants, bool multi) {
  acquire_request r;
  r.client = client_id(client);
  r.request = request_id(request);
  r.wants = wants;
  r.multi = multi;
  r.ttl = w.ttl;
  r.wait = w.wait;
  r.lock_delay = w.lock_delay;
  r.max_hold = w.max_hold;
  r.auto_renew = w.auto_renew;
  r.session = w.session;
  r.reentry = w.reentry;
  r.metadata = w.metadata;
  return r;
}

void Conformance::begin(const host_settings& settings) {
  host_.reset();
  told_ = {};
  host_ = GetParam().make(settings, time_, told_);
}

Conformance::pending<acquire_answer> Conformance::ask(std::string_view request, std::string_view client,
                                                      const wish& w) {
  auto [box, done] = promise<acquire_answer>();
  const lock_want want{lock_name(w.lock), w.mode, w.limit, w.permits};
  host_->engine().acquire(request_of(request, client, w, {&want, 1}, false), std::move(done));
  return box;
}

acquire_answer Conformance::acquire(std::string_view request, std::string_view client, const wish& w) {
  return await(ask(request, client, w));
}

acquire_answer Conformance::acquire_all(std::string_view request, std::string_view client,
                                        const std::vector<wish>& wishes, duration wait) {
  std::vector<lock_want> wants;
  for (const auto& w : wishes) wants.push_back({lock_name(w.lock), w.mode, w.limit, w.permits});
  auto [box, done] = promise<acquire_answer>();
  host_->engine().acquire(request_of(request, client, waiting(wait, wishes.at(0)), wants, true),
                          std::move(done));
  return await(box);
}

grant Conformance::hold(std::string_view client, const wish& w, std::string_view request) {
  return lease_of(acquire(request, client, w));
}

queued Conformance::wait_for(std::string_view request, std::string_view client, wish w) {
  if (w.wait == 0s) w.wait = 60s;
  return std::get<queued>(acquire(request, client, w));
}

queued Conformance::wait_for_all(std::string_view request, std::string_view client,
                                 const std::vector<wish>& wishes, duration wait) {
  return std::get<queued>(acquire_all(request, client, wishes, wait));
}

answer<released> Conformance::release(const lock_id& id, std::string_view lock, std::string_view request,
                                      std::string_view client) {
  const lease_proof proof{lock_name(lock), id, {}};
  auto [box, done] = promise<answer<release_answers>>();
  host_->engine().release({client_id(client), request_id(request), {&proof, 1}, false}, std::move(done));
  const auto all = await(box);
  return all ? all->at(0) : answer<released>(all.error_ptr());
}

answer<release_answers> Conformance::release_all(const std::vector<lease_proof>& leases,
                                                 std::string_view request, std::string_view client) {
  auto [box, done] = promise<answer<release_answers>>();
  host_->engine().release({client_id(client), request_id(request), leases, true}, std::move(done));
  return await(box);
}

answer<renewed> Conformance::renew(const lease_proof& proof, std::optional<duration> ttl,
                                   std::string_view request, std::string_view client) {
  auto [box, done] = promise<answer<renew_answers>>();
  host_->engine().renew({client_id(client), request_id(request), {&proof, 1}, false, ttl}, std::move(done));
  const auto all = await(box);
  return all ? all->at(0) : answer<renewed>(all.error_ptr());
}

answer<renew_answers> Conformance::renew_all(const std::vector<lease_proof>& leases,
                                             std::optional<duration> ttl, std::string_view request) {
  auto [box, done] = promise<answer<renew_answers>>();
  host_->engine().renew({{}, request_id(request), leases, true, ttl}, std::move(done));
  return await(box);
}

answer<cancelled> Conformance::cancel(std::string_view request, std::string_view client,
                                      std::string_view lock) {
  auto [box, done] = promise<answer<cancelled>>();
  host_->engine().cancel({false, lock_name(lock), client_id(client), request_id(request)}, std::move(done));
  return await(box);
}

answer<cancelled> Conformance::cancel_multi(std::string_view request, std::string_view client) {
  auto [box, done] = promise<answer<cancelled>>();
  host_->engine().cancel({true, {}, client_id(client), request_id(request)}, std::move(done));
  return await(box);
}

answer<forced> Conformance::force(std::string_view lock, std::optional<fencing_token> token,
                                  std::string_view request) {
  auto [box, done] = promise<answer<forced>>();
  host_->engine().force_release(lock_name(lock), token, request_id(request), "a test", std::move(done));
  return await(box);
}

answer<session_opened> Conformance::open(std::string_view client, duration ttl, std::string_view request) {
  auto [box, done] = promise<answer<session_opened>>();
  host_->engine().open_session(client_id(client), ttl, request_id(request), std::move(done));
  return await(box);
}

answer<session_kept> Conformance::keep(session_id id, std::string_view request) {
  auto [box, done] = promise<answer<session_kept>>();
  host_->engine().keep_session(id, request_id(request), std::move(done));
  return await(box);
}

answer<session_closed> Conformance::close(session_id id, std::string_view request) {
  auto [box, done] = promise<answer<session_closed>>();
  host_->engine().close_session(id, request_id(request), std::move(done));
  return await(box);
}

void Conformance::detach(const queued& q) {
  host_->engine().detach(q.id, q.epoch);
  host_->settle();
}

void Conformance::undelivered(const grant& given, std::string_view lock) {
  granted all;
  all.leases.push_back(given);
  all.locks.emplace_back(lock);
  host_->engine().undelivered(all);
  host_->settle();
}

lock_view Conformance::status(std::string_view lock) {
  auto [box, done] = promise<answer<lock_view>>();
  host_->engine().status(lock_name(lock), 1'000, 20'000, std::move(done));
  return *await(box);
}

std::vector<std::string> Conformance::holders(std::string_view lock) {
  std::vector<std::string> out;
  for (const auto& h : status(lock).holders) out.push_back(h.client);
  return out;
}

std::vector<std::string> Conformance::waiters(std::string_view lock) {
  std::vector<std::string> out;
  for (const auto& w : status(lock).waiters) out.push_back(w.client);
  return out;
}

validity Conformance::validate(fencing_token token, std::string_view lock) {
  auto [box, done] = promise<answer<validity>>();
  host_->engine().validate(lock_name(lock), token, std::move(done));
  return *await(box);
}

std::optional<std::vector<place>> Conformance::places(const queued& q) {
  auto [box, done] = promise<answer<std::optional<std::vector<place>>>>();
  host_->engine().places(q.id, std::move(done));
  return *await(box);
}

page<lock_view> Conformance::list(const lock_filter& filter, std::uint64_t cursor, std::size_t limit) {
  auto [box, done] = promise<answer<page<lock_view>>>();
  host_->engine().list(filter, cursor, limit, std::move(done));
  return *await(box);
}

std::vector<std::string> Conformance::listed(const lock_filter& filter, std::size_t page_size) {
  std::vector<std::string> out;
  std::uint64_t cursor = 0;
  for (;;) {
    const auto found = list(filter, cursor, page_size);
    EXPECT_LE(found.items.size(), page_size);
    for (const auto& v : found.items) out.push_back(v.name);
    if (!found.next) return out;
    cursor = *found.next;
  }
}

page<session_view> Conformance::sessions(std::uint64_t cursor, std::size_t limit) {
  auto [box, done] = promise<answer<page<session_view>>>();
  host_->engine().sessions(cursor, limit, std::move(done));
  return *await(box);
}

std::vector<wait_edge> Conformance::edges(std::size_t limit) {
  auto [box, done] = promise<answer<std::vector<wait_edge>>>();
  host_->engine().edges(limit, std::move(done));
  return *await(box);
}

std::vector<logged_event> Conformance::events_after(std::uint64_t id) {
  host_->settle();
  std::vector<logged_event> out;
  const bool reached = host_->engine().events().after(id, [&](const logged_event& e) {
    out.push_back(e);
    return true;
  });
  EXPECT_TRUE(reached) << "the log reaches back to " << id;
  return out;
}

table_counts Conformance::counts() {
  host_->settle();
  return host_->engine().counts();
}

bool Conformance::is_empty() {
  const auto c = counts();
  return c.active_locks + c.leases + c.waiters + c.sessions + c.remembered == 0;
}

std::optional<acquire_answer> Conformance::told(const queued& q) {
  host_->settle();
  std::optional<acquire_answer> found;
  for (const auto& r : told_.resolved) {
    if (r.id != q.id || r.epoch != q.epoch) continue;
    EXPECT_FALSE(found) << "a waiter is told once";
    found = r.outcome;
  }
  return found;
}

grant Conformance::granted_to(const queued& q) {
  const auto outcome = told(q);
  if (!outcome || !is_granted(*outcome)) throw std::logic_error("the waiter was not granted");
  return lease_of(*outcome);
}

std::optional<errc> Conformance::refused_with(const queued& q) {
  const auto outcome = told(q);
  return outcome ? code(*outcome) : std::nullopt;
}

bool Conformance::restarts() {
  const bool yes = host_->outlives_its_process();
  // Who promises durability must have something to restart from.
  if (!yes) {
    EXPECT_FALSE(host_->engine().about().durable);
  }
  return yes;
}

void Conformance::restart(engine_host::ending how, duration clock_moves) {
  host_->restart(how, clock_moves);
}

bool Conformance::can(bool capabilities::*what) {
  if (host_->engine().about().*what) return true;
  std::optional<errc> refused;
  if (what == &capabilities::shared) {
    refused = code(acquire({}, "prober", shared(on("probe"))));
  } else if (what == &capabilities::semaphore) {
    refused = code(acquire({}, "prober", permits(1, 2, on("probe"))));
  } else if (what == &capabilities::multi) {
    refused = code(acquire_all({}, "prober", {on("probe"), on("probe2")}));
  } else if (what == &capabilities::sessions) {
    refused = code(open("prober"));
  } else if (what == &capabilities::lock_delay) {
    wish delayed = on("probe");
    delayed.lock_delay = 1s;
    refused = code(acquire({}, "prober", delayed));
  } else {
    ADD_FAILURE() << "no probe for this ability";
  }
  EXPECT_EQ(refused, errc::unsupported_by_engine) << "what an engine cannot do it refuses in words";
  EXPECT_FALSE(status("probe").locked);
  return false;
}

}  // namespace dislock::testing_engines
