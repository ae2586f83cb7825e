// What becomes of those who wait.
#include "engines/redis/script_engine.hpp"

#include <utility>

namespace dislock::redis {

void script_engine::tell(const told_waiter& t, const step& by) {
  if (!waiting_.contains(static_cast<std::uint64_t>(t.id))) return disown_later(t.id);
  const auto& out = *t.outcome;
  if (out.at(0).text != "granted") return resolve(t.id, t.epoch, read_refusal(out, by.time()));
  auto got = read_granted(out, by.time());
  const auto end = last_end(got);
  if (is_safe(end, by)) return claim(t.id, t.epoch, std::move(got));
  when_safe(end, by, [this, id = t.id, epoch = t.epoch, got = std::move(got)](bool safe) mutable {
    if (!safe) return collect_later(id);
    claim(id, epoch, std::move(got));
  });
}

// The answer that it waits may have been lost: then nobody will ever take what it is granted. Later than any
// answer that is still under way.
void script_engine::disown_later(ticket id) {
  unknown_.emplace_back(id, later(now(), options_.call_timeout));
  wake_later();
}

void script_engine::collect_later(ticket id) {
  const auto it = waiting_.find(static_cast<std::uint64_t>(id));
  if (stopped_ || it == waiting_.end()) return;
  deadlines_.schedule(*it->second, later(now(), heartbeat));
  wake_later();
}

// From now on the grant is not taken back because nobody has it: so before anybody is told.
void script_engine::claim(ticket id, std::uint32_t epoch, granted&& got) {
  if (stopped_) return;
  if (options_.callers_are_here) {
    note_granted(got, now());
    return resolve(id, epoch, std::move(got));
  }
  std::vector<std::string> words{"DEL"};
  for (const auto& g : got.leases) words.push_back(prefixes_.own + "sent:" + g.id.to_string());
  const std::vector<std::string_view> views(words.begin(), words.end());
  const auto count = static_cast<std::int64_t>(got.leases.size());
  client_->call({.key = views[1], .at_once = true}, views, later(network_time_.now(), options_.call_timeout),
                [this, id, epoch, count, got = std::move(got)](response deleted) mutable {
                  if (!deleted || deleted->number != count) return collect(id);
                  note_granted(got, now());
                  resolve(id, epoch, std::move(got));
                });
}

// What has become of a waiter: because it is over, or because nobody knows.
void script_engine::collect(ticket id) {
  const auto it = waiting_.find(static_cast<std::uint64_t>(id));
  if (it == waiting_.end() || it->second->collecting) return;
  auto& w = *it->second;
  w.collecting = true;
  auto q = question("collect");
  q.put("waiter", std::string_view(std::to_string(static_cast<std::uint64_t>(id))))
      .put("epoch", std::int64_t{w.epoch});
  decide(std::move(q).text(), [this, id, epoch = w.epoch](const outcome& o) {
    const auto still = waiting_.find(static_cast<std::uint64_t>(id));
    if (still == waiting_.end()) return;
    still->second->collecting = false;
    if (still->second->epoch != epoch) return;
    if (!o) return collect_later(id);
    if (o->verdict() == "granted") {
      auto got = read_granted(o->out(), o->time());
      note_granted(got, o->time().sent);
      const auto end = last_end(got);
      if (is_safe(end, *o)) return resolve(id, epoch, std::move(got));
      return when_safe(end, *o, [this, id, epoch, got = std::move(got)](bool safe) mutable {
        if (!safe) return collect_later(id);
        resolve(id, epoch, std::move(got));
      });
    }
    // Another call speaks for it now, here or at another replica.
    if (o->verdict() == "elsewhere") return resolve(id, epoch, dislock::refuse(errc::superseded));
    if (o->verdict() == "queued")
      return deadlines_.schedule(*still->second, read_queued(o->out(), o->time()).deadline);
    resolve(id, epoch, read_refusal(o->out(), o->time()));
  });
}

void script_engine::resolve(ticket id, std::uint32_t epoch, acquire_answer&& outcome) {
  const auto it = waiting_.find(static_cast<std::uint64_t>(id));
  // It may have been asked for twice, by a message and by the poll, and be told already: so this is no grant
  // that nobody has. Who has detached has it in the store, and is granted nothing that would be told here.
  if (it == waiting_.end()) return;
  if (it->second->epoch == epoch) {
    deadlines_.cancel(*it->second);
    if (!it->second->announced) {
      it->second->early.emplace(std::move(outcome));
      return;
    }
    waiting_.erase(it);
  }
  listener_->on_resolved(id, epoch, std::move(outcome));
}

void script_engine::detach(ticket id, std::uint32_t epoch) {
  const auto it = waiting_.find(static_cast<std::uint64_t>(id));
  if (stopped_ || it == waiting_.end() || it->second->epoch != epoch) return;
  auto q = question("detach");
  q.put("waiter", std::string_view(std::to_string(static_cast<std::uint64_t>(id))))
      .put("epoch", std::int64_t{epoch});
  const auto lock = it->second->lock;
  decide(std::move(q).text(), [this, id, epoch](const outcome& o) {
    // Without a request id that was its end, and the telling of it follows. With one its place is kept for
    // the grace.
    if (!o || o->out().at(1).number == 0) return;
    const auto still = waiting_.find(static_cast<std::uint64_t>(id));
    if (still == waiting_.end() || still->second->epoch != epoch) return;
    if (o->out().at(1).number == 2)
      next_sweep_ = std::min(next_sweep_, o->time().ours(o->out().at(2).number));
    deadlines_.cancel(*still->second);
    waiting_.erase(still);
  });
}

void script_engine::undelivered(const granted& given) {
  if (stopped_) return;
  for (std::size_t i = 0; i < given.leases.size() && i < given.locks.size(); ++i) {
    auto_renewed_.erase(given.leases[i].id.bits[1]);
    auto q = question("undelivered");
    q.put("name", std::string_view(given.locks[i]))
        .put("id", given.leases[i].id)
        .put("told", std::int64_t{given.leases[i].told});
    decide(std::move(q).text(), [](const outcome&) {});
  }
}

}  // namespace dislock::redis
