// Acquire: the plain case, a place in the queue, and the search for a deadlock.
#include "engines/redis/script_engine.hpp"

#include <algorithm>
#include <utility>

namespace dislock::redis {
namespace {

// Rounds of a deadlock search in which the graph changed under it.
constexpr int most_searches = 8;
// Rounds of raising the ceiling for one acquire.
constexpr int most_raises = 3;

}  // namespace

void script_engine::acquire(const acquire_request& r, completion<acquire_answer> done) {
  // Without a bound nobody could settle it; see `settle`.
  if (!r.id.empty() && !watch_->latest_store_time()) return done(refuse(errc::engine_unavailable));
  for (const auto& w : r.wants)
    if (prefixes_.reserve(w.name.view())) return done(refuse(errc::invalid_lock_name));
  auto wanted = std::make_shared<asked>();
  wanted->client = r.client.view();
  for (const auto& w : r.wants) wanted->locks.emplace_back(w.name.view());
  wanted->waits = r.wait > duration::zero();
  if (is_plain(plain_, r)) {
    wanted->id = r.id.empty() ? secrets_.make<lock_id>() : r.id;
    wanted->renewal = secrets_.make<renewal_token>();
    wanted->ttl = r.ttl;
    wanted->words =
        std::make_shared<script_words>(plain_acquire(plain_, r, wanted->id, wanted->renewal, print_of(r)));
  } else {
    wanted->words = words_of(spell_out(r));
  }
  ask_for(std::move(wanted), 0, std::move(done));
}

std::string script_engine::spell_out(const acquire_request& r) {
  std::vector<std::pair<lock_id, renewal_token>> secrets;
  for (std::size_t i = 0; i < r.wants.size(); ++i)
    secrets.emplace_back(r.id.empty() ? secrets_.make<lock_id>() : r.id, secrets_.make<renewal_token>());
  const call_id call{r.multi, r.multi ? lock_name() : r.wants[0].name, r.client, r.request};
  auto q = question("acquire");
  q.put_call(call, print_of(r)).put(r.wants).put_secrets(secrets);
  q.put("ttl", r.ttl).put("wait", r.wait).put("delay", r.lock_delay);
  if (r.multi) q.put("multi", std::int64_t{1});
  if (r.max_hold) q.put("max_hold", *r.max_hold);
  if (r.auto_renew) q.put("auto", std::int64_t{1});
  if (!r.session.empty()) q.put("session", r.session);
  if (!r.reentry.empty()) q.put("reentry", r.reentry);
  if (r.reentry_as_held) q.put("as_held", std::int64_t{1});
  if (!r.metadata.empty()) q.put("metadata", r.metadata);
  return std::move(q).text();
}

void script_engine::ask_for(std::shared_ptr<const asked> what, int raises, completion<acquire_answer> done) {
  // One of the two answers it.
  auto answer = std::make_shared<completion<acquire_answer>>(std::move(done));
  gathered one{
      what->locks.front(), what->id, what->words,
      [this, what, answer](const plain_answer& got, instant sent) {
        (*answer)(plain_grant(*what, got, sent));
      },
      [this, what, raises, answer](const outcome& o) { asked_for(o, what, raises, std::move(*answer)); }};
  if (raises > 0) return ask_alone(std::move(one));
  // Where others wait for the lock, it is not plain.
  if (what->renewal.empty() || looks_.contains(one.lock)) return ask_next(std::move(one), false);
  gather(plain_kind::acquire, std::move(one));
}

void script_engine::asked_for(const outcome& o, const std::shared_ptr<const asked>& what, int raises,
                              completion<acquire_answer> done) {
  if (!o) return done(refuse(o.error()));
  if (o->verdict() == "granted") {
    auto got = read_granted(o->out(), o->time());
    note_granted(got, o->time().sent);
    const auto end = last_end(got);
    if (is_safe(end, *o)) return done(std::move(got));
    return when_safe(end, *o, [this, got = std::move(got), done = std::move(done)](bool safe) mutable {
      if (safe) return done(std::move(got));
      if (!got.repeated) undelivered(got);
      done(refuse(errc::outcome_unknown));
    });
  }
  if (o->verdict() == "queued") return queue_up(*o, *what, std::move(done));
  if (o->verdict() == "refused") return done(read_refusal(o->out(), o->time()));
  const bool closed = o->out().at(1).text == "closed";
  if (closed) watch_->fence().note_closed(o->out().at(2).number);
  if (closed || raises >= most_raises) return done(refuse(errc::engine_unavailable));
  watch_->fence().raise([this, what, raises, done = std::move(done)](bool raised) mutable {
    if (raised) return ask_for(what, raises + 1, std::move(done));
    if (!what->waits) return done(refuse(errc::engine_unavailable));
    // It has time: it is queued until the replicas are there again.
    auto patient = std::make_shared<asked>(*what);
    patient->words = std::make_shared<script_words>(what->words->patient());
    ask_for(std::move(patient), most_raises, std::move(done));
  });
}

// --- the plain case

granted script_engine::plain_grant(const asked& what, const plain_answer& got, instant sent) {
  note_time({sent, got.at});
  grant g;
  g.id = what.id;
  g.renewal = what.renewal;
  g.token = got.token;
  g.end = later(sent, what.ttl);
  const auto& lock = what.locks.front();
  note_plain(g.id);
  unlisted_.insert(lock);
  next_index_ = std::min(next_index_, later(now(), indexing));
  in_use(g.end);
  told_event e;
  e.type = event_type::acquired;
  e.lock = lock;
  e.client = what.client;
  e.token = got.token;
  e.mode = lock_mode::exclusive;
  happened(std::move(e), got.at);
  wake_later();
  granted all;
  all.leases.push_back(g);
  all.locks.push_back(lock);
  return all;
}

// What somebody above has to renew, and when something ends.
void script_engine::note_granted(const granted& got, instant at) {
  for (std::size_t i = 0; i < got.leases.size(); ++i) {
    const auto& g = got.leases[i];
    in_use(g.end);
    if (!g.renewed_until) continue;
    auto_renewed_[g.id.bits[1]] = {got.locks[i], g.id, g.end - at, g.end};
    next_beat_ = std::min(next_beat_, later(now(), heartbeat));
  }
}

void script_engine::queue_up(const step& s, const asked& what, completion<acquire_answer> done) {
  const auto place = read_queued(s.out(), s.time());
  auto& w = waiting_[static_cast<std::uint64_t>(place.id)];
  const bool again = w != nullptr || place.epoch > 0;
  if (!w) w = std::make_unique<waiting>();
  w->id = place.id;
  w->epoch = place.epoch;
  w->lock = what.locks.front();
  deadlines_.schedule(*w, place.deadline);
  in_use(place.deadline);
  next_poll_ = std::min(next_poll_, later(now(), polling));
  next_beat_ = std::min(next_beat_, later(now(), heartbeat));
  if (again || s.out().at(5).number == 0) return done(place);

  const auto stays = [this, at = s.time().now, what](auto then) {
    for (const auto& lock : what.locks) {
      told_event e;
      e.type = event_type::queued;
      e.lock = lock;
      e.client = what.client;
      happened(std::move(e), at);
    }
    then();
  };
  if (!options_.detect_deadlocks) return stays([&] { done(place); });
  w->announced = false;
  search(place.id, place.epoch, w->lock, 0,
         [this, place, stays, done = std::move(done)](refusal_ptr why) mutable {
           const auto it = waiting_.find(static_cast<std::uint64_t>(place.id));
           if (why) {
             if (it != waiting_.end()) {
               deadlines_.cancel(*it->second);
               waiting_.erase(it);
             }
             return done(std::move(why));
           }
           std::optional<acquire_answer> early;
           if (it != waiting_.end()) {
             it->second->announced = true;
             early.swap(it->second->early);
           }
           stays([&] { done(place); });
           if (early) resolve(place.id, place.epoch, std::move(*early));
         });
}

// Looks for a cycle that the newest wait has closed. The answer to the caller waits for it: a wait that can
// never end is refused at once.
void script_engine::search(ticket id, std::uint32_t epoch, std::string lock, int rounds,
                           unique_function<void(refusal_ptr)> done) {
  auto q = question("graph");
  q.put("waiter", std::string_view(std::to_string(static_cast<std::uint64_t>(id))));
  decide(std::move(q).text(),
         [this, id, epoch, lock, rounds, done = std::move(done)](const outcome& o) mutable {
           if (!o) return done(nullptr);
           const auto seen = read_graph(o->out());
           if (seen.clients.empty()) return done(nullptr);
           const auto cycle = core::find_deadlock(seen.graph, 0);
           if (!cycle) return done(nullptr);
           std::vector<cycle_step> steps;
           for (const auto& c : *cycle)
             steps.push_back({seen.clients[c.client], seen.locks[c.lock], seen.clients[c.blocker], c.behind});
           auto verdict = question("refuse");
           verdict.put("waiter", std::string_view(std::to_string(static_cast<std::uint64_t>(id))))
               .put("epoch", std::int64_t{epoch})
               .put("graph", std::string_view(seen.digest))
               .put("cycle", steps);
           decide(std::move(verdict).text(),
                  [this, id, epoch, lock, rounds, done = std::move(done)](const outcome& told) mutable {
                    if (!told || told->verdict() != "refused") {
                      if (told && rounds < most_searches)
                        return search(id, epoch, std::move(lock), rounds + 1, std::move(done));
                      return done(nullptr);
                    }
                    auto why = read_refusal(told->out(), told->time());
                    listener_->on_deadlock({now(), why->cycle.front().client, why->lock, why->cycle});
                    done(std::move(why));
                  });
         });
}

}  // namespace dislock::redis
