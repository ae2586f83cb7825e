// What there is, as everybody may see it.
#include "core/lock_table.hpp"

#include <algorithm>

namespace dislock::core {
namespace {

constexpr std::size_t looked_at_per_page = 10'000;

holder_view view_of(const lease& l) {
  holder_view v;
  v.client = l.owner->id.view();
  v.token = l.token;
  v.mode = l.mode;
  v.permits = l.permits;
  v.hold_count = l.hold_count;
  v.acquired_at = l.acquired_at;
  v.end = l.effective_end();
  v.auto_renew = l.auto_renew;
  v.session_bound = l.bound != nullptr;
  v.metadata = l.metadata.view();
  return v;
}

lock_view view_of(const lock& l, instant now, std::size_t holders, std::size_t waiters) {
  lock_view v;
  v.name = l.name.view();
  if (!l.active()) return v;
  v.limit = l.limit;
  v.queue_length = l.queue_length;
  if (to_number(l.latest) > 0) v.latest = l.latest;
  if (l.closed(now)) v.closed_until = l.delay->at;
  for (const auto& each : l.leases) {
    if (!each.lives(now)) continue;
    ++v.holder_count;
    v.used += each.permits;
    if (v.holders.size() < holders) v.holders.push_back(view_of(each));
  }
  v.locked = v.holder_count > 0;
  v.mode = l.limit > 0          ? lock_mode::semaphore
           : l.lease_count > 0  ? l.mode
           : l.queue_length > 0 ? l.queue.front().mode
                                : l.mode;
  if (l.limit == 0) v.used = 0;
  for (const auto& e : l.queue) {
    if (v.waiters.size() >= waiters) break;
    const auto& w = *e.who;
    v.waiters.push_back({std::string(w.who->id.view()), e.mode, e.permits, v.waiters.size() + 1, w.since,
                         w.deadline, w.attached});
  }
  return v;
}

}  // namespace

lock_view lock_table::status(instant now, lock_name name, std::size_t holders, std::size_t waiters) const {
  if (const auto* l = find_lock(name)) return view_of(*l, now, holders, waiters);
  lock_view idle;
  idle.name = name.view();
  return idle;
}

validity lock_table::validate(instant now, lock_name name, fencing_token token) const {
  validity v;
  const auto* l = find_lock(name);
  if (!l || !l->active()) return v;
  if (to_number(l->latest) > 0) v.latest = l->latest;
  v.current = std::any_of(l->leases.begin(), l->leases.end(),
                          [&](const lease& each) { return each.token == token && each.lives(now); });
  return v;
}

std::optional<std::vector<place>> lock_table::places(instant now, ticket id) const {
  const auto it = waiters_.find(static_cast<std::uint64_t>(id));
  if (it == waiters_.end()) return std::nullopt;
  std::vector<place> out;
  for (const auto& e : it->second->wanted()) {
    auto v = view_of(*e.on, now, holders_shown, 0);
    place p;
    p.lock = std::move(v.name);
    p.holders = std::move(v.holders);
    p.holder_count = v.holder_count;
    p.position = 1;
    for (const auto& other : e.on->queue) {
      if (&other == &e) break;
      ++p.position;
    }
    out.push_back(std::move(p));
  }
  return out;
}

page<lock_view> lock_table::list(instant now, const lock_filter& filter, std::uint64_t cursor,
                                 std::size_t limit) const {
  page<lock_view> out;
  const auto wanted = [&](const lock& l) {
    if (!l.active() || !l.name.view().starts_with(filter.prefix)) return false;
    if (filter.client.empty()) return true;
    const auto is_client = [&](const core::client* c) { return c->id.view() == filter.client; };
    return std::any_of(l.leases.begin(), l.leases.end(),
                       [&](const lease& x) { return is_client(x.owner); }) ||
           std::any_of(l.queue.begin(), l.queue.end(),
                       [&](const queue_entry& e) { return is_client(e.who->who); });
  };
  const auto stop =
      std::min<std::uint64_t>(slots_.size(), cursor > slots_.size() ? 0 : cursor + looked_at_per_page);
  auto at = cursor;
  for (; at < stop && out.items.size() < limit; ++at)
    if (const auto* l = slots_[at]; l && wanted(*l)) out.items.push_back(view_of(*l, now, holders_shown, 0));
  if (at < slots_.size()) out.next = at;
  return out;
}

page<session_view> lock_table::sessions(std::uint64_t cursor, std::size_t limit) const {
  std::vector<const core::session*> after;
  for (const auto& [key, s] : sessions_)
    if (s->public_id > cursor) after.push_back(s);
  std::sort(after.begin(), after.end(),
            [](const auto* a, const auto* b) { return a->public_id < b->public_id; });
  page<session_view> out;
  for (const auto* s : after) {
    if (out.items.size() == limit) {
      out.next = out.items.back().public_id;
      break;
    }
    out.items.push_back({s->public_id, std::string(s->owner->id.view()), s->end, s->ttl, s->lease_count});
  }
  return out;
}

std::vector<wait_edge> lock_table::edges(std::size_t limit) const {
  std::vector<wait_edge> out;
  for (const auto& [arrival, w] : waiters_) {
    for (const auto& e : w->wanted()) {
      const auto add = [&](const core::client& to, bool behind) {
        if (out.size() < limit)
          out.push_back({std::string(w->who->id.view()), std::string(to.id.view()),
                         std::string(e.on->name.view()), behind});
      };
      for (const auto& held : e.on->leases) add(*held.owner, false);
      if (const auto it = e.on->queue.iterator_to(e); it != e.on->queue.begin())
        add(*std::prev(it)->who->who, true);
    }
    if (out.size() >= limit) break;
  }
  return out;
}

void lock_table::for_each_auto_renewed(
    const std::function<void(const lease_proof&, duration, instant)>& visit) const {
  for (const auto* l : leases_)
    if (l->auto_renew && !l->provisional)
      visit({lock_name(l->on->name.view()), l->id, {}}, l->ttl, l->effective_end());
}

}  // namespace dislock::core
