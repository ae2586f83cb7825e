// Grants that somebody else has to agree to: whose turn it is, and what came of it.
#include "core/lock_table.hpp"

namespace dislock::core {

// To the head of a lock that nothing in the table closes, once.
void lock_table::offer(waiter& w) {
  if (w.turn != waiter::turn_state::none) return;
  w.turn = waiter::turn_state::trying;
  deadlines_.cancel(w);
  observer_.on_turn({w.arrival, lock_name(w.wanted().front().on->name.view()), client_id(w.who->id.view()),
                     w.terms.ttl, w.metadata.view()});
}

waiter* lock_table::find_trying(ticket id) const noexcept {
  const auto it = waiters_.find(static_cast<std::uint64_t>(id));
  return it == waiters_.end() || it->second->turn != waiter::turn_state::trying ? nullptr : it->second;
}

bool lock_table::admit(instant now, ticket id, const minted& as) {
  begin(now);
  auto* w = find_trying(id);
  if (!w) return false;
  auto& on = *w->wanted().front().on;
  if (!can_start(*w, now)) {  // its grace is over
    w->turn = waiter::turn_state::none;
    schedule(*w);
    return false;
  }
  grant_to(now, *w, &as);
  touch(on);
  return true;
}

void lock_table::rest(instant now, ticket id) {
  begin(now);
  auto* w = find_trying(id);
  if (!w) return;
  w->turn = waiter::turn_state::resting;
  schedule(*w);
  if (w->at <= now) return give_up(now, *w);
  if (!w->announced) announce(now, *w);
}

void lock_table::try_again(instant now, ticket id) {
  begin(now);
  const auto it = waiters_.find(static_cast<std::uint64_t>(id));
  if (it == waiters_.end() || it->second->turn != waiter::turn_state::resting) return;
  it->second->turn = waiter::turn_state::none;
  hand_on(now, *it->second->wanted().front().on);
}

void lock_table::turn_down(instant now, ticket id, refusal_ptr why) {
  begin(now);
  auto* w = find_trying(id);
  if (!w) return;
  auto* m = std::exchange(w->remembered, nullptr);
  const auto reason = to_string(why->code);
  drop(now, *w, std::move(why), event_type::refused, reason);
  if (m) discard(*m);
}

}  // namespace dislock::core
