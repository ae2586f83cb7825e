// What happens in time: what ends, is listed, is asked after, and that somebody lives.
#include "engines/redis/script_engine.hpp"

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace dislock::redis {
namespace {

// How often the ceiling of tokens is raised.
constexpr duration ceiling_renewal = seconds(1);
// How many waiters are asked after at once, and plain locks listed.
constexpr std::size_t polled_at_once = 500, indexed_at_once = 256;

}  // namespace

// Something is in the store until then, at least.
void script_engine::in_use(instant until) {
  next_sweep_ = std::min({next_sweep_, until, later(now(), sweeping)});
  next_ceiling_ = std::min(next_ceiling_, later(now(), ceiling_renewal));
  granted_lately_ = true;
}

void script_engine::watch(std::string_view lock, instant at) {
  auto& l = looks_[std::string(lock)];
  if (!l) {
    l = std::make_unique<look>();
    l->lock = lock;
  }
  deadlines_.schedule(*l, at);
}

void script_engine::wake_later() {
  if (stopped_) return;
  loop_.wake_at(std::min({deadlines_.next(), unknown_.empty() ? never : unknown_.front().second,
                          speaks_for_others() ? next_beat_ : never, next_sweep_,
                          waiting_.empty() ? never : next_poll_, next_ceiling_, next_index_,
                          sharing_ || (unshared_.empty() && !unread_) ? never : next_share_}));
}

void script_engine::wake() {
  if (stopped_) return;
  const auto at = now();
  std::vector<std::string> names;
  while (auto* t = deadlines_.due(at)) {
    deadlines_.cancel(*t);
    if (t->kind == core::timer_kind::waiter) {
      collect(static_cast<waiting&>(*t).id);
    } else {
      names.push_back(std::move(static_cast<look&>(*t).lock));
      looks_.erase(names.back());
    }
  }
  for (; !unknown_.empty() && unknown_.front().second <= at; unknown_.pop_front()) {
    const auto id = static_cast<std::uint64_t>(unknown_.front().first);
    if (waiting_.contains(id)) continue;
    auto q = question("disown");
    q.put("waiter", std::string_view(std::to_string(id)));
    decide(std::move(q).text(), [](const outcome&) {});
  }
  share_events();
  if (next_index_ <= at) index();
  if (!names.empty() || next_sweep_ <= at) sweep(std::move(names));
  if (speaks_for_others() && next_beat_ <= at) beat();
  if (!waiting_.empty() && next_poll_ <= at) poll();
  if (next_ceiling_ <= at) {
    next_ceiling_ = never;
    if (std::exchange(granted_lately_, false) || !waiting_.empty()) {
      next_ceiling_ = later(at, ceiling_renewal);
      watch_->fence().raise([](bool) {});
    }
  }
  wake_later();
}

// Ends what is over, and looks at `names`, whose waiters something may have come free for.
void script_engine::sweep(std::vector<std::string> names) {
  next_sweep_ = never;
  watch_->tend();
  auto q = question("sweep");
  if (!names.empty()) q.put("names", names);
  decide(std::move(q).text(), [this, names = std::move(names)](const outcome& o) {
    if (!o) {
      next_sweep_ = std::min(next_sweep_, later(now(), sweeping));
      for (const auto& name : names) watch(name, next_sweep_);
      return wake_later();
    }
    const auto& row = o->out().at(1);
    for (const auto& lease : row.at(2).items) {
      const auto id = lock_id::parse(lease.at(1).text).value_or(lock_id{});
      const duration ttl(lease.at(2).number);
      auto_renewed_[id.bits[1]] = {lease.at(0).text, id, ttl, o->time().ours(lease.at(3).number)};
      listener_->on_adopted(lock_name(lease.at(0).text), id, ttl);
    }
    counts_.active_locks = static_cast<std::size_t>(row.at(3).number);
    counts_.leases = static_cast<std::size_t>(std::max<std::int64_t>(0, row.at(4).number));
    counts_.waiters = static_cast<std::size_t>(std::max<std::int64_t>(0, row.at(5).number));
    counts_.sessions = static_cast<std::size_t>(row.at(6).number);
    const bool more = row.at(0).number != 0;
    const bool anything = counts_.active_locks + counts_.waiters + counts_.sessions > 0;
    const auto next = more ? now() : o->time().ours(row.at(1).number);
    next_sweep_ = std::min({next_sweep_, next, later(now(), anything ? sweeping : polling)});
  });
}

void script_engine::beat() {
  next_beat_ = later(now(), heartbeat);
  decide(question("beat").text(), [](const outcome&) {});
}

// Asks after waiters whose outcome should have been told; a slow repair of messages that were lost.
void script_engine::poll() {
  next_poll_ = later(now(), polling);
  std::vector<std::string> ids;
  const auto ask_after = [&] {
    auto q = question("news");
    q.put("waiters", ids);
    ids.clear();
    decide(std::move(q).text(), [this](const outcome& o) {
      if (!o) return;
      for (const auto& id : o->out().at(1).items)
        collect(ticket{static_cast<std::uint64_t>(std::strtoull(id.text.c_str(), nullptr, 10))});
    });
  };
  for (const auto& [number, w] : waiting_) {
    ids.push_back(std::to_string(number));
    if (ids.size() == polled_at_once) ask_after();
  }
  if (!ids.empty()) ask_after();
}

// Has the plain locks listed, or taken off the list, that have come or gone here since the last time.
void script_engine::index() {
  next_index_ = never;
  auto names = std::exchange(unlist_, {});
  names.insert(names.end(), unlisted_.begin(), unlisted_.end());
  unlisted_.clear();
  for (std::size_t from = 0; from < names.size(); from += indexed_at_once) {
    const auto first = names.begin() + static_cast<std::ptrdiff_t>(from);
    const auto count = std::min(indexed_at_once, names.size() - from);
    std::vector<std::string> some(first, first + static_cast<std::ptrdiff_t>(count));
    auto q = question("index");
    q.put("names", some);
    decide(std::move(q).text(), [this, some = std::move(some)](const outcome& o) mutable {
      if (o || stopped_) return;
      unlisted_.insert(some.begin(), some.end());
      next_index_ = std::min(next_index_, later(now(), heartbeat));
    });
  }
}

}  // namespace dislock::redis
