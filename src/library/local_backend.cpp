#include "library/local_backend.hpp"

#include "core/deadline_queue.hpp"
#include "engines/embedded/embedded_engine.hpp"
#include "engines/memory/memory_engine.hpp"

#include <boost/unordered/unordered_flat_map.hpp>
#include <boost/unordered/unordered_flat_set.hpp>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <deque>
#include <list>
#include <utility>

namespace dislock::library {
namespace {

constexpr std::size_t deadlocks_kept = 100;
constexpr std::size_t holders_in_state = 100;
constexpr std::size_t most_edges = 10'000;
constexpr std::size_t events_a_page = 1'000;
constexpr std::size_t locks_a_page = 1'000;
// Belief ends a little before the lease does (DESIGN 2.6), and earlier still where the clock by which the
// lease ends is not ours.
constexpr duration allowance = std::chrono::milliseconds(2);
constexpr int drift_share = 100;
// How long an acquire that has time rests before it asks a store again that could not be reached.
constexpr duration rest = std::chrono::milliseconds(250);

wall_time as_wall(instant t) noexcept {
  return wall_time(t.time_since_epoch());
}

holder as_holder(const holder_view& v) {
  return {v.client,       v.token,      v.mode,          v.permits, v.hold_count, as_wall(v.acquired_at),
          as_wall(v.end), v.auto_renew, v.session_bound, v.metadata};
}

lock_state as_state(const lock_view& v) {
  lock_state out;
  out.name = v.name;
  out.locked = v.locked;
  out.mode = v.mode;
  out.limit = v.limit;
  out.used = v.used;
  for (const auto& h : v.holders) out.holders.push_back(as_holder(h));
  out.holder_count = v.holder_count;
  for (const auto& w : v.waiters)
    out.waiters.push_back({w.client, w.mode, w.permits, w.position, as_wall(w.since), w.connected});
  out.queue_length = v.queue_length;
  out.latest_token = v.latest;
  if (v.closed_until) out.closed_until = as_wall(*v.closed_until);
  return out;
}

error as_error(const refusal& why, std::string_view lock) {
  error out;
  out.code = why.code;
  out.lock = why.lock.empty() ? std::string(lock) : why.lock;
  out.waited = why.waited;
  for (const auto& h : why.holders) out.holders.push_back(as_holder(h));
  out.holder_count = why.holder_count;
  out.queue_length = why.queue_length;
  out.cycle = why.cycle;
  out.ended = why.ended.value_or(end_reason::none);
  if (why.code == errc::lock_mode_conflict && why.mode) {
    out.detail = "it is in use as " + std::string(to_string(*why.mode));
    if (why.limit > 0) out.detail += " with a limit of " + std::to_string(why.limit);
  }
  return out;
}

error unavailable(std::string_view lock, std::string detail) {
  error out;
  out.code = errc::engine_unavailable;
  out.lock = lock;
  out.detail = std::move(detail);
  return out;
}

std::string in_seconds(duration d) {
  char text[32];
  std::snprintf(text, sizeof text, "%g s", std::chrono::duration<double>(d).count());
  return text;
}

std::string too_long(const capabilities& can, duration ttl) {
  if (ttl <= can.max_ttl) return {};
  return "ttl: at most " + in_seconds(can.max_ttl) + ", as the URL has it";
}

// What a call asks for that the engine does not have, by the name of the field: the engine only says that
// there is something. Empty: none of this.
std::string beyond(const capabilities& can, const acquire_call& c) {
  const std::string name(can.engine);
  if (c.multi && !can.multi) return "locks: " + name + " grants one lock at a time";
  for (const auto& l : c.locks) {
    if (l.mode == lock_mode::shared && !can.shared) return "mode: " + name + " has exclusive locks only";
    if (l.mode == lock_mode::semaphore && !can.semaphore) return "mode: " + name + " has no semaphores";
  }
  if (c.lock_delay > duration::zero() && !can.lock_delay) return "lock_delay: " + name + " has none";
  return too_long(can, c.ttl);
}

// A request id that the library made, as the id of the lease that the call is to get: so the store need not
// remember the one for the sake of the other. Nothing for any other id.
std::optional<lock_id> as_lease_id(std::string_view request) noexcept {
  lock_id out;
  if (request.size() != 15) return std::nullopt;
  std::memcpy(out.bits.data(), request.data(), request.size());
  return out;
}

engine_info as_info(const capabilities& c) {
  engine_info out;
  out.engine = c.engine;
  out.guarantee = static_cast<char>(c.grade);
  out.fifo = c.fifo;
  out.shared = c.shared;
  out.semaphore = c.semaphore;
  out.multi = c.multi;
  out.sessions = c.sessions;
  out.lock_delay = c.lock_delay;
  out.durable = c.durable;
  out.durable_fence = c.durable_fence;
  out.failover_safe_exclusion = c.failover_safe_exclusion;
  return out;
}

// An engine in this process. Where its answers cannot be lost on the way, what nobody waits for any more is
// settled here, at once, and never `outcome_unknown`.
class local_backend final : public backend, private engine_listener {
 public:
  local_backend(std::unique_ptr<backend_home> where, std::unique_ptr<engine> with, const engine_terms& terms)
      : home_(std::move(where)), terms_(terms), engine_(std::move(with)) {
    engine_->events().on_published([this] {
      if (!readers_.empty()) home_->defer([this] { feed(); });
    });
    engine_->start(*this);
  }

  instant now() const noexcept override { return home_->now(); }
  bool remote() const noexcept override { return terms_.has_store; }

  call_number acquire(const acquire_call& call, library::completion<granted_leases> done) override;
  void abandon(call_number which) override;
  void cancel(std::string lock, bool multi, std::string client, std::string request,
              library::completion<void> done) override;
  void release(const lease_key& which, std::string_view request, instant deadline,
               library::completion<void> done) override;
  void renew(std::vector<lease_key> which, std::vector<duration> ttls,
             library::completion<std::vector<result<renewed_lease>>> done) override;
  void inspect(std::string lock, library::completion<lock_state> done) override;
  void list(std::string prefix, std::string client, std::size_t limit,
            library::completion<std::vector<lock_state>> done) override;
  void validate(std::string lock, fencing_token token, library::completion<bool> done) override;
  void force_release(std::string lock, std::optional<fencing_token> token, std::string reason,
                     std::string request, library::completion<std::vector<fencing_token>> done) override;
  void graph(library::completion<std::vector<graph_edge>> done) override;
  void deadlocks(library::completion<std::vector<deadlock_report>> done) override {
    done(std::vector<deadlock_report>(deadlocks_.begin(), deadlocks_.end()));
  }
  void events_after(std::uint64_t id, std::string prefix, duration wait,
                    library::completion<event_page> done) override;
  void about(library::completion<engine_info> done) override { done(as_info(engine_->about())); }
  void ping(library::completion<duration> done) override;
  void stop(unique_function<void()> done) override;

 private:
  // An acquire that is not over: its answer is on the way, it is in the queue, or it rests.
  struct waiting : dislock::core::timed {
    waiting() : dislock::core::timed(dislock::core::timer_kind::waiter) {}
    std::uint32_t index = 0;   // its own place
    std::uint32_t serial = 0;  // rises with each use, so that an old number names nobody
    bool used = false;
    bool queued = false, resting = false;
    instant until{};  // the end of its wait
    ticket id{};
    std::uint32_t epoch = 0;
    instant since{};                     // when it was queued
    const acquire_call* call = nullptr;  // while it is used
    library::completion<granted_leases> done;
  };
  // Somebody who waits for events.
  struct reader {
    std::uint64_t id;
    std::string prefix;
    instant until;
    library::completion<event_page> done;
  };

  // Who waits for the answer to a release: a callable that holds only a place here needs no memory of its
  // own.
  class shelf {
   public:
    std::size_t put(library::completion<void> done) {
      if (free_.empty()) {
        all_.push_back(std::move(done));
        return all_.size() - 1;
      }
      const auto place = free_.back();
      free_.pop_back();
      all_[place] = std::move(done);
      return place;
    }
    library::completion<void> take(std::size_t place) {
      free_.push_back(place);
      return std::move(all_[place]);
    }

   private:
    std::deque<library::completion<void>> all_;
    std::vector<std::size_t> free_;
  };

  // The id by which the call can be settled; else it has to be by its request id.
  [[nodiscard]] std::optional<lock_id> settled_by(const acquire_call& c) const noexcept {
    if (!engine_->settles() || c.multi || !c.reentry.empty()) return std::nullopt;
    return as_lease_id(c.request);
  }
  void doubt(const acquire_call& c) {
    if (engine_->settles() && !settled_by(c)) doubtful_.insert(c.request);
  }
  waiting& take_place();
  void ask(waiting& w);
  void finish(waiting& w, result<granted_leases>&& outcome);
  void decided(waiting& w, std::uint32_t serial, acquire_answer&& a);
  [[nodiscard]] instant believed(instant end, duration ttl) const noexcept;
  [[nodiscard]] result<granted_leases> as_granted(const acquire_call& call, const granted& got) const;
  void give_back(const granted& got);
  [[nodiscard]] error why_not(const refusal& said, std::string_view lock) const;
  template <class T>
  [[nodiscard]] error why(const answer<T>& a, std::string_view lock) const {
    return why_not(a.error(), lock);
  }
  void list_on(std::string prefix, std::string client, std::size_t limit, std::uint64_t cursor,
               std::vector<lock_state> found, library::completion<std::vector<lock_state>> done);
  [[nodiscard]] std::optional<event_page> page_after(std::uint64_t id, std::string_view prefix);
  void feed();
  void end_overdue();
  void arm();

  void on_resolved(ticket id, std::uint32_t epoch, acquire_answer&& outcome) override;
  void on_event(const event&) override {}
  void on_deadlock(const deadlock& d) override {
    deadlocks_.push_back({as_wall(d.at), d.client, d.lock, d.cycle});
    if (deadlocks_.size() > deadlocks_kept) deadlocks_.pop_front();
  }

  const std::unique_ptr<backend_home> home_;
  const engine_terms terms_;
  std::deque<waiting> places_;
  std::vector<std::uint32_t> free_;
  boost::unordered_flat_map<std::uint64_t, std::uint32_t> by_ticket_;
  shelf releases_;
  boost::unordered_flat_set<std::uint64_t> reentered_;  // leases that are held more than once
  boost::unordered_flat_set<std::string> doubtful_;     // request ids that the store was told, of calls whose
                                                        // outcome nobody knows
  std::deque<deadlock_report> deadlocks_;
  std::list<reader> readers_;
  dislock::core::deadline_queue deadlines_;  // of those that queue or rest, where the store may not answer
  bool stopped_ = false;
  std::unique_ptr<engine> engine_;  // last: it may tell us something while it ends
};

local_backend::waiting& local_backend::take_place() {
  if (free_.empty()) {
    free_.push_back(static_cast<std::uint32_t>(places_.size()));
    places_.emplace_back().index = free_.back();
  }
  auto& w = places_[free_.back()];
  free_.pop_back();
  w.used = true;
  ++w.serial;
  return w;
}

call_number local_backend::acquire(const acquire_call& c, library::completion<granted_leases> done) {
  auto& w = take_place();
  const call_number number{std::uint64_t{w.serial} << 32 | w.index};
  w.queued = w.resting = false;
  w.call = &c;
  w.done = std::move(done);
  if (terms_.has_store) w.until = later(now(), c.wait);
  ask(w);
  return number;
}

void local_backend::ask(waiting& w) {
  const auto& c = *w.call;
  acquire_request r;
  r.client = client_id(c.client);
  if (const auto id = settled_by(c)) {
    r.id = *id;
  } else {
    r.request = request_id(c.request);
  }
  if (terms_.has_store && !c.reentry.empty()) reentered_.insert(c.reentry.bits[0]);
  boost::container::small_vector<lock_want, 4> wants;
  for (const auto& l : c.locks) wants.push_back({lock_name(l.name), l.mode, l.limit, l.permits});
  r.wants = {wants.data(), wants.size()};
  r.multi = c.multi;
  r.ttl = c.ttl;
  r.wait = c.wait;
  if (std::exchange(w.resting, false)) r.wait = std::max(duration::zero(), w.until - now());
  r.lock_delay = c.lock_delay;
  r.max_hold = c.max_hold;
  r.reentry = c.reentry;
  r.reentry_as_held = true;
  r.metadata = c.metadata;
  engine_->acquire(r,
                   [this, &w, serial = w.serial](acquire_answer&& a) { decided(w, serial, std::move(a)); });
}

void local_backend::decided(waiting& w, std::uint32_t serial, acquire_answer&& a) {
  const bool here = w.used && w.serial == serial;
  if (const auto* got = std::get_if<granted>(&a)) {
    if (!here) return give_back(*got);
    return finish(w, as_granted(*w.call, *got));
  }
  if (const auto* place = std::get_if<queued>(&a)) {
    if (!here) return engine_->detach(place->id, place->epoch);
    w.queued = true;
    w.since = now();
    w.id = place->id;
    w.epoch = place->epoch;
    by_ticket_[static_cast<std::uint64_t>(place->id)] = w.index;
    if (terms_.has_store) {
      deadlines_.schedule(w, later(w.until, terms_.patience));
      arm();
    }
    return;
  }
  if (!here) return;
  const auto& said = *std::get<refusal_ptr>(a);
  if (terms_.has_store && said.code == errc::engine_unavailable && !stopped_ && now() < w.until) {
    // Nothing was done, and it has time.
    w.resting = true;
    deadlines_.schedule(w, std::min(later(now(), rest), w.until));
    return arm();
  }
  auto why = why_not(said, w.call->locks.front().name);
  if (why.code == errc::unsupported_by_engine) why.detail = beyond(engine_->about(), *w.call);
  finish(w, std::move(why));
}

// What the engine says, and if it cannot reach its store, why.
error local_backend::why_not(const refusal& said, std::string_view lock) const {
  auto out = as_error(said, lock);
  if (terms_.has_store && out.detail.empty() &&
      (out.code == errc::engine_unavailable || out.code == errc::outcome_unknown))
    out.detail = stopped_ ? "the client is closed" : engine_->health().detail;
  return out;
}

// Those of which the store says nothing, and those that have rested.
void local_backend::end_overdue() {
  const auto at = now();
  while (auto* due = deadlines_.due(at)) {
    auto& w = static_cast<waiting&>(*due);
    deadlines_.cancel(w);
    if (w.resting) {
      ask(w);
      continue;
    }
    auto late = unavailable(w.call->locks.front().name, engine_->health().detail);
    late.code = errc::outcome_unknown;
    late.waited = at - w.since;
    finish(w, std::move(late));
  }
}

void local_backend::arm() {
  auto next = deadlines_.next();
  for (const auto& r : readers_) next = std::min(next, r.until);
  if (next != never)
    home_->wake_at(next, [this] {
      end_overdue();
      feed();
      arm();
    });
}

void local_backend::on_resolved(ticket id, std::uint32_t epoch, acquire_answer&& outcome) {
  const auto it = by_ticket_.find(static_cast<std::uint64_t>(id));
  if (it == by_ticket_.end()) {
    // Granted to somebody who left while the decision was on its way.
    if (const auto* got = std::get_if<granted>(&outcome)) give_back(*got);
    return;
  }
  auto& w = places_[it->second];
  if (w.epoch != epoch) return;
  decided(w, w.serial, std::move(outcome));
}

// A renewal may have left an end that lies beyond the ttl.
instant local_backend::believed(instant end, duration ttl) const noexcept {
  if (!terms_.has_store) return end - allowance;
  return end - allowance - std::max(ttl, end - now()) / drift_share;
}

result<granted_leases> local_backend::as_granted(const acquire_call& call, const granted& got) const {
  result<granted_leases> out;
  out->waited = got.waited;
  for (std::size_t i = 0; i < got.leases.size(); ++i) {
    const auto& g = got.leases[i];
    out->leases.push_back({call.locks[i].name, g.id, g.renewal, g.token, g.mode, g.permits, g.hold_count,
                           call.ttl, believed(g.end, call.ttl)});
  }
  return out;
}

void local_backend::give_back(const granted& got) {
  engine_->undelivered(got);
}

void local_backend::finish(waiting& w, result<granted_leases>&& outcome) {
  if (w.queued) by_ticket_.erase(static_cast<std::uint64_t>(w.id));
  deadlines_.cancel(w);
  if (!outcome && outcome.error().code == errc::outcome_unknown) doubt(*w.call);
  auto done = std::move(w.done);
  w.used = false;
  free_.push_back(w.index);
  done(std::move(outcome));
}

void local_backend::abandon(call_number which) {
  const auto number = static_cast<std::uint64_t>(which);
  const auto index = static_cast<std::uint32_t>(number);
  if (index >= places_.size()) return;
  auto& w = places_[index];
  if (!w.used || w.serial != number >> 32) return;
  error why;
  why.code = errc::request_cancelled;
  why.lock = w.call->locks.front().name;
  if (w.queued) why.waited = now() - w.since;
  // From here on nobody waits for it, whatever the engine says: leaving can be the step in which it is
  // granted, because time has passed, and then that lease must not reach a caller.
  if (w.queued) by_ticket_.erase(static_cast<std::uint64_t>(w.id));
  deadlines_.cancel(w);
  auto done = std::move(w.done);
  w.used = false;
  if (terms_.has_store) {
    if (!w.resting) {
      why.code = errc::outcome_unknown;
      doubt(*w.call);
    }
    free_.push_back(w.index);
    return done(std::move(why));
  }
  // A request with an id would keep its place for a while after its caller has gone.
  if (!w.call->request.empty()) {
    const call_id call{w.call->multi, w.call->multi ? lock_name() : lock_name(w.call->locks.front().name),
                       client_id(w.call->client), request_id(w.call->request)};
    engine_->cancel(call, [](answer<cancelled>) {});
  } else if (w.queued) {
    engine_->detach(w.id, w.epoch);
  }
  free_.push_back(w.index);
  done(std::move(why));
}

void local_backend::cancel(std::string lock, bool multi, std::string client, std::string request,
                           library::completion<void> done) {
  if (const auto id = as_lease_id(request); id && engine_->settles() && !doubtful_.contains(request)) {
    engine_->settle(lock_name(lock), *id, [this, done = std::move(done)](answer<cancelled> a) mutable {
      if (!a) return done(why(a, {}));
      if (!a->done) return done(unavailable({}, "it may still be on its way"));
      done({});
    });
    return;
  }
  const call_id call{multi, multi ? lock_name() : lock_name(lock), client_id(client), request_id(request)};
  engine_->cancel(call, [this, request, done = std::move(done)](answer<cancelled> a) mutable {
    if (!a) return done(why(a, {}));
    doubtful_.erase(request);
    done({});
  });
}

void local_backend::release(const lease_key& which, std::string_view request, instant,
                            library::completion<void> done) {
  const lease_proof proof{lock_name(which.lock), which.id, {}};
  release_request r;
  r.client = client_id(which.client);
  // Where a lease is held once, its id alone says which release is meant; and the client's name, that it is
  // one of ours.
  if (!engine_->settles() || which.client.empty() || reentered_.contains(which.id.bits[0]))
    r.request = request_id(request);
  r.leases = {&proof, 1};
  engine_->release(
      r, [this, id = which.id.bits[0], place = releases_.put(std::move(done))](answer<release_answers>&& a) {
        auto told = releases_.take(place);
        if (a && a->front() && a->front()->ended) reentered_.erase(id);
        if (!a) return told(why(a, {}));
        if (const auto& one = a->front(); !one) return told(why(one, {}));
        told({});
      });
}

void local_backend::renew(std::vector<lease_key> which, std::vector<duration> ttls,
                          library::completion<std::vector<result<renewed_lease>>> done) {
  // Each by itself: their ttls may differ, and in this process a call costs nothing.
  struct gathering {
    std::vector<result<renewed_lease>> answers;
    std::size_t open = 0;
    library::completion<std::vector<result<renewed_lease>>> done;
  };
  auto all = std::make_shared<gathering>();
  all->answers.resize(which.size(), renewed_lease{});
  all->open = which.size();
  all->done = std::move(done);
  for (std::size_t i = 0; i < which.size(); ++i) {
    const lease_proof proof{lock_name(which[i].lock), which[i].id, {}};
    renew_request r;
    r.client = client_id(which[i].client);
    r.leases = {&proof, 1};
    r.ttl = ttls[i];
    engine_->renew(r, [this, all, i, ttl = ttls[i]](answer<renew_answers>&& a) {
      if (!a) {
        auto reason = why(a, {});
        if (reason.code == errc::unsupported_by_engine) reason.detail = too_long(engine_->about(), ttl);
        all->answers[i] = std::move(reason);
      } else if (const auto& one = a->front(); !one) {
        all->answers[i] = why(one, {});
      } else {
        all->answers[i] = renewed_lease{believed(one->end, ttl)};
      }
      if (--all->open == 0) all->done(std::move(all->answers));
    });
  }
}

void local_backend::inspect(std::string lock, library::completion<lock_state> done) {
  engine_->status(lock_name(lock), holders_in_state, waiters_shown,
                  [this, done = std::move(done)](answer<lock_view> a) mutable {
                    if (!a) return done(why(a, {}));
                    done(as_state(*a));
                  });
}

void local_backend::list(std::string prefix, std::string client, std::size_t limit,
                         library::completion<std::vector<lock_state>> done) {
  list_on(std::move(prefix), std::move(client), limit, 0, {}, std::move(done));
}

void local_backend::list_on(std::string prefix, std::string client, std::size_t limit, std::uint64_t cursor,
                            std::vector<lock_state> found,
                            library::completion<std::vector<lock_state>> done) {
  if (found.size() >= limit) return done(std::move(found));
  const lock_filter filter{prefix, client};
  const auto page_size = std::min(limit - found.size(), locks_a_page);
  engine_->list(filter, cursor, page_size,
                [this, prefix, client, limit, found = std::move(found),
                 done = std::move(done)](answer<page<lock_view>> a) mutable {
                  if (!a) return done(why(a, {}));
                  for (const auto& one : a->items) found.push_back(as_state(one));
                  if (!a->next) return done(std::move(found));
                  list_on(std::move(prefix), std::move(client), limit, *a->next, std::move(found),
                          std::move(done));
                });
}

void local_backend::validate(std::string lock, fencing_token token, library::completion<bool> done) {
  engine_->validate(lock_name(lock), token, [this, done = std::move(done)](answer<validity> a) mutable {
    if (!a) return done(why(a, {}));
    done(a->current);
  });
}

void local_backend::force_release(std::string lock, std::optional<fencing_token> token, std::string reason,
                                  std::string request, library::completion<std::vector<fencing_token>> done) {
  engine_->force_release(lock_name(lock), token, request_id(request), reason,
                         [this, done = std::move(done)](answer<forced> a) mutable {
                           if (!a) return done(why(a, {}));
                           done(a->tokens);
                         });
}

void local_backend::graph(library::completion<std::vector<graph_edge>> done) {
  engine_->edges(most_edges, [this, done = std::move(done)](answer<std::vector<wait_edge>> a) mutable {
    if (!a) return done(why(a, {}));
    std::vector<graph_edge> out;
    for (const auto& e : *a) out.push_back({e.from, e.to, e.lock, e.behind});
    done(std::move(out));
  });
}

// Nothing: there is none yet.
std::optional<event_page> local_backend::page_after(std::uint64_t id, std::string_view prefix) {
  event_page out;
  out.newest = id;
  const bool reached = engine_->events().after(id, [&](const logged_event& e) {
    out.newest = e.id;
    if (!prefix.empty() && !std::string_view(e.lock).starts_with(prefix)) return true;
    out.events.push_back({e.id, std::string(to_string(e.type)), as_wall(e.at), e.lock, e.client, e.reason,
                          e.token, e.mode, e.took});
    return out.events.size() < events_a_page;
  });
  if (!reached) {
    out.reset = true;
    out.newest = engine_->events().newest();
    return out;
  }
  if (out.events.empty()) return std::nullopt;
  return out;
}

void local_backend::events_after(std::uint64_t id, std::string prefix, duration wait,
                                 library::completion<event_page> done) {
  const auto newest = engine_->events().newest();
  event_page none;
  if (id == 0 && newest > 0) {  // only to learn where to begin
    none.newest = newest;
    return done(std::move(none));
  }
  if (auto page = page_after(id, prefix)) return done(std::move(*page));
  if (wait <= duration::zero()) {
    none.newest = std::max(id, newest);
    return done(std::move(none));
  }
  readers_.push_back({id, std::move(prefix), later(now(), wait), std::move(done)});
  arm();
}

// Answers those who need not wait any more, and knows when to look again.
void local_backend::feed() {
  const auto at = now();
  for (auto it = readers_.begin(); it != readers_.end();) {
    auto page = page_after(it->id, it->prefix);
    if (!page && at < it->until) {
      ++it;
      continue;
    }
    if (!page) {
      page.emplace();
      page->newest = std::max(it->id, engine_->events().newest());
    }
    auto done = std::move(it->done);
    it = readers_.erase(it);
    done(std::move(*page));
  }
}

void local_backend::ping(library::completion<duration> done) {
  if (auto health = engine_->health(); !health.ready) return done(unavailable({}, std::move(health.detail)));
  const auto began = now();
  engine_->status(lock_name("ping"), 0, 0,
                  [this, began, done = std::move(done)](answer<lock_view> a) mutable {
                    if (!a) return done(why(a, {}));
                    done(now() - began);
                  });
}

void local_backend::stop(unique_function<void()> done) {
  stopped_ = true;
  for (auto& w : places_) {
    if (!w.used) continue;
    auto closed = unavailable(w.call->locks.front().name, "the client is closed");
    if (terms_.has_store && !w.resting) closed.code = errc::outcome_unknown;
    finish(w, std::move(closed));
  }
  for (auto& each : std::exchange(readers_, {})) each.done(unavailable({}, "the client is closed"));
  if (terms_.has_store) return engine_->stop(std::move(done));  // which ends what is on the way
  // Grants that are still on the way to those who have left come before this answer, and are given back.
  engine_->status(lock_name("flush"), 0, 0, [this, done = std::move(done)](answer<lock_view>) mutable {
    engine_->stop(std::move(done));
  });
}

error as_error(const embedded::journal_error& why) {
  return unavailable({}, why.message);
}

// On the client's own strand.
class strand_home final : public backend_home {
 public:
  explicit strand_home(thread_strand& on) : strand_(on) {}
  instant now() const noexcept override { return strand_.now(); }
  void defer(unique_function<void()> work) override { strand_.defer(std::move(work)); }
  void wake_at(instant at, unique_function<void()> work) override {
    strand_.wake_at(strand::alarm::slices, at, std::move(work));
  }

 private:
  thread_strand& strand_;
};

}  // namespace

std::unique_ptr<backend> make_local_backend(std::unique_ptr<backend_home> where, std::unique_ptr<engine> with,
                                            const engine_terms& terms) {
  return std::make_unique<local_backend>(std::move(where), std::move(with), terms);
}

std::unique_ptr<backend> open_memory_backend(thread_strand& on) {
  std::unique_ptr<backend> made;
  on.run(
      [&] { made = make_local_backend(std::make_unique<strand_home>(on), make_memory_engine(on, {}), {}); });
  return made;
}

result<std::unique_ptr<backend>> open_embedded_backend(const std::string& path, const client_options& options,
                                                       thread_strand& on, clock& time) {
  embedded_engine_options how;
  how.path = path;
  how.mode = options.async_durability ? embedded::durability::async : embedded::durability::sync;
  result<std::unique_ptr<backend>> made = std::unique_ptr<backend>();
  on.run([&] {
    auto opened = open_embedded_engine(how, on, time);
    if (opened) {
      made = make_local_backend(std::make_unique<strand_home>(on), std::move(*opened), {});
    } else {
      made = as_error(opened.error());
    }
  });
  return made;
}

}  // namespace dislock::library
