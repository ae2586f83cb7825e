// Giving back: release, renew, cancel, force, and grants that nobody received.
#include "core/lock_table.hpp"
#include "core/once.hpp"

#include <algorithm>

namespace dislock::core {
namespace {

call_id call_of(bool multi, std::span<const lease_proof> leases, client_id who, request_id request) {
  return {multi, multi ? lock_name() : leases[0].name, who, request};
}

std::uint64_t print_of(request_id request, std::string_view verb, std::span<const lease_proof> leases,
                       std::optional<duration> ttl) {
  if (request.empty()) return 0;
  fingerprint f(verb);
  for (const auto& p : leases) f.add(p.name.view()).add(p.id).add(p.renewal);
  return f.add(ttl.value_or(duration(-1))).value();
}

event about(event_type type, instant now, const lease& l) {
  event e;
  e.type = type;
  e.at = now;
  e.lock = l.on->name.view();
  e.client = l.owner->id.view();
  e.token = l.token;
  e.mode = l.mode;
  return e;
}

event_type type_of(end_reason how) {
  switch (how) {
    case end_reason::expired:
    case end_reason::max_hold:
    case end_reason::session_expired:
      return event_type::expired;
    case end_reason::forced:
      return event_type::forced;
    case end_reason::undelivered:
      return event_type::undelivered;
    default:
      return event_type::released;
  }
}

}  // namespace

lease* lock_table::find_live(instant now, const lease_proof& proof, client_id who,
                             bool renewal_is_enough) const {
  lease* found = nullptr;
  if (!proof.id.empty()) {
    if (const auto it = leases_.find(proof.id); it != leases_.end()) found = *it;
  } else if (renewal_is_enough && !proof.renewal.empty()) {
    if (auto* l = find_lock(proof.name))
      for (auto& each : l->leases)
        if (each.renewal == proof.renewal) found = &each;
  }
  if (!found || found->on->name.view() != proof.name.view()) return nullptr;
  if (!who.empty() && found->owner->id.view() != who.view()) return nullptr;
  return found->lives(now) ? found : nullptr;
}

// Whoever shows the secret of a provisional lease has received the grant.
void lock_table::claim(instant now, lease& l) {
  if (!l.provisional) return;
  l.provisional = false;
  l.moved_ms = 0;
  schedule(l, later(now, l.ttl));
  keep(l);
}

refusal_ptr lock_table::not_held(std::optional<end_reason> how) {
  auto why = std::make_shared<refusal>();
  why->code = errc::lock_not_held;
  why->ended = how;
  return why;
}

answer<released> lock_table::release_one(instant now, const lease_proof& proof, client_id who, memo* by) {
  auto* l = find_live(now, proof, who, false);
  if (!l) return not_held(ends_.find(proof.id, proof.renewal));
  if (l->hold_count > 1) {
    claim(now, *l);
    --l->hold_count;
    keep(*l);
    return released{false, l->hold_count};
  }
  auto& on = *l->on;
  const released last{true, 0};
  if (by) by->outcome = last;
  end(now, *l, end_reason::released, {}, by);
  hand_on(now, on);
  touch(on);
  return last;
}

answer<release_answers> lock_table::release(instant now, const release_request& r) {
  begin(now);
  const auto again = [](memo& m) -> answer<release_answers> {
    if (const auto* one = std::get_if<released>(&m.outcome)) return release_answers{answer<released>(*one)};
    if (const auto* all = settled_as<release_answers>(m)) return *all;
    return errc::request_id_reused;
  };
  const auto decide = [&](remembered_as note) -> answer<release_answers> {
    answer<release_answers> out;
    auto& all = *out;
    for (const auto& p : r.leases) all.push_back(release_one(now, p, r.client, r.multi ? nullptr : note.m));
    if (r.multi) {
      note(std::make_unique<settled>(all));
    } else if (all[0]) {
      note(*all[0]);
    } else {
      out = all[0].error_ptr();
    }
    return out;
  };
  return once<release_answers>(now, call_of(r.multi, r.leases, r.client, r.request),
                               print_of(r.request, "release", r.leases, std::nullopt), again, decide);
}

answer<renewed> lock_table::renew_one(instant now, const lease_proof& proof, const renew_request& r) {
  auto* l = find_live(now, proof, r.client, true);
  if (!l) return not_held(ends_.find(proof.id, proof.renewal));
  if (r.by_service && l->provisional) return errc::lock_not_held;
  if (!r.by_service) {
    ++l->told;
    claim(now, *l);
  }
  if (!l->bound) {
    if (r.ttl) l->ttl = *r.ttl;
    if (const auto end = later(now, l->ttl); end >= l->at) {
      schedule(*l, end);
      l->moved_ms = 0;
    }
    keep(*l);
  }
  return renewed{l->effective_end(), l->token};
}

answer<renew_answers> lock_table::renew(instant now, const renew_request& r) {
  begin(now);
  // A repeat tells the end as it is now; which lease it was, the memo knows.
  const auto again = [&](memo& m) -> answer<renew_answers> {
    const auto* remembered = settled_as<std::vector<renewal_slot>>(m);
    if (!remembered || remembered->size() != r.leases.size()) return errc::request_id_reused;
    const auto& slots = *remembered;
    renew_answers out;
    for (std::size_t i = 0; i < slots.size(); ++i) {
      if (slots[i].refused) {
        out.push_back(slots[i].refused);
        continue;
      }
      const auto* l = find_live(now, r.leases[i], r.client, true);
      l && l->token == slots[i].token ? out.push_back(renewed{l->effective_end(), l->token})
                                      : out.push_back(errc::lock_not_held);
    }
    if (!r.multi && !out[0]) return out[0].error_ptr();
    return out;
  };
  const auto decide = [&](auto note) -> answer<renew_answers> {
    renew_answers out;
    std::vector<renewal_slot> slots;
    for (const auto& p : r.leases) {
      auto one = renew_one(now, p, r);
      if (!r.request.empty())
        one ? slots.push_back({one->token, nullptr}) : slots.push_back({{}, one.error_ptr()});
      out.push_back(std::move(one));
    }
    if (!r.multi && !out[0]) return out[0].error_ptr();
    note(std::make_unique<settled>(std::move(slots)));
    return out;
  };
  return once<renew_answers>(now, call_of(r.multi, r.leases, r.client, r.request),
                             print_of(r.request, "renew", r.leases, r.ttl), again, decide);
}

answer<cancelled> lock_table::cancel(instant now, const call_id& call) {
  begin(now);
  auto* m = find_memo(call);
  if (!m) {
    if (memory_full(call.request)) return errc::request_memory_full;
    auto& unseen = remember(now, call, 0);
    forget_later(now, unseen);
    keep(unseen);
    return cancelled{true};
  }
  if (std::holds_alternative<was_cancelled>(m->outcome)) return cancelled{true};
  if (auto* const* waiting = std::get_if<waiter*>(&m->outcome)) {
    auto& w = **waiting;
    m->outcome = was_cancelled{};
    w.remembered = nullptr;
    erase(record_kind::waiter, static_cast<std::uint64_t>(w.arrival));
    forget_later(now, *m);
    keep(*m);
    drop(now, w, refuse(errc::request_cancelled), event_type::cancelled, "cancelled");
    return cancelled{true};
  }
  if (auto* again = std::get_if<reentered>(&m->outcome)) {
    auto* l = again->slot.alive;
    if (!l || !l->lives(now)) return cancelled{false};
    // One hold is given back; the memo leaves the lease's chain, because it is settled now.
    auto** link = &l->remembered;
    while (*link != m) link = &(*link)->older;
    *link = m->older;
    m->older = nullptr;
    m->outcome = was_cancelled{};
    erase(record_kind::memo, m->number);
    forget_later(now, *m);
    keep(*m);
    (void)release_one(now, {lock_name(l->on->name.view()), l->id, {}}, {});
    return cancelled{true};
  }

  std::vector<lease*> alive;
  if (auto* one = std::get_if<lease_slot>(&m->outcome)) {
    if (one->alive) alive.push_back(one->alive);
  } else if (auto* many = std::get_if<std::unique_ptr<std::vector<lease_slot>>>(&m->outcome)) {
    for (const auto& s : **many)
      if (s.alive) alive.push_back(s.alive);
  } else {
    return cancelled{false};  // refused, or another kind of call
  }
  bool any = false;
  for (auto* l : alive) {
    auto& on = *l->on;
    const bool lived = l->lives(now);
    any = any || lived;
    end(now, *l, lived ? end_reason::cancelled : why_over(*l));
    hand_on(now, on);
    touch(on);
  }
  if (!any) return cancelled{false};
  // The last end has put the memo in line to be forgotten; what it says from now on is that it was cancelled.
  m->outcome = was_cancelled{};
  keep(*m);
  return cancelled{true};
}

answer<forced> lock_table::force_release(instant now, lock_name name, std::optional<fencing_token> token,
                                         request_id request, std::string_view reason) {
  begin(now);
  const auto print = fingerprint("force").add(token ? to_number(*token) : 0).value();
  const auto again = [](memo& m) -> answer<forced> {
    if (const auto* done = settled_as<forced>(m)) return *done;
    return errc::request_id_reused;
  };
  const auto decide = [&](auto note) -> answer<forced> {
    forced out;
    if (auto* l = find_lock(name)) {
      for (auto it = l->leases.begin(); it != l->leases.end();) {
        auto& each = *it++;
        if (token && each.token != *token) continue;
        if (!each.lives(now)) continue;
        out.tokens.push_back(each.token);
        end(now, each, end_reason::forced, reason);
      }
      hand_on(now, *l);
      touch(*l);
    }
    note(std::make_unique<settled>(out));
    return out;
  };
  return once<forced>(now, {false, name, {}, request}, print, again, decide);
}

void lock_table::undelivered(instant now, lock_id id, std::uint32_t told) {
  begin(now);
  const auto it = leases_.find(id);
  if (it == leases_.end() || (*it)->hold_count > 1 || (*it)->provisional || (*it)->told != told ||
      !(*it)->lives(now))
    return;
  auto& l = **it;
  if (l.remembered) {
    const auto was_to_end = l.effective_end();
    l.provisional = true;
    schedule(l, std::min(was_to_end, later(now, options_.waiter_grace)));
    keep(l);
    return;
  }
  auto& on = *l.on;
  end(now, l, end_reason::undelivered);
  hand_on(now, on);
  touch(on);
}

// Takes the lease out of everything. The lock stays, for the caller to hand on and to touch. `by` is the memo
// of the call that ends this lease and nothing else.
void lock_table::end(instant now, lease& l, end_reason how, std::string_view reason, memo* by) {
  auto& on = *l.on;
  const auto ended_at =
      how == end_reason::expired || how == end_reason::max_hold ? std::min(l.effective_end(), now) : now;
  auto e = about(type_of(how), now, l);
  e.reason = reason.empty() ? to_string(how) : reason;
  e.took = ended_at - l.acquired_at;
  observer_.on_event(e);

  for (auto* m = l.remembered; m;) {
    auto* older = m->older;
    bool last = true;
    const auto close = [&](lease_slot& s) {
      if (s.alive == &l) s = {nullptr, s.token, how};
      last = last && !s.alive;
    };
    if (auto* one = std::get_if<lease_slot>(&m->outcome)) close(*one);
    if (auto* again = std::get_if<reentered>(&m->outcome)) close(again->slot);
    if (auto* many = std::get_if<std::unique_ptr<std::vector<lease_slot>>>(&m->outcome))
      for (auto& s : **many) close(s);
    m->older = nullptr;
    if (m->in_lease && by) {
      by->in_lease = true;
      by->number = m->number;
      m->older = by;
    }
    if (last) {
      if (!m->in_lease) erase(record_kind::memo, m->number);
      forget_later(now, *m);
    }
    keep(*m);
    m = older;
  }
  if (journal_) {
    const auto key = record_key(record_kind::lease, to_number(l.token));
    l.times_written == 1 ? journal_->remove_first(key) : journal_->remove(key);
  }
  if (starts_lock_delay(how)) ends_.note(now, l.id, l.renewal, how);

  deadlines_.cancel(l);
  leases_.erase(&l);
  on.leases.erase(on.leases.iterator_to(l));
  --on.lease_count;
  if (l.mode == lock_mode::semaphore) on.used -= l.permits;
  if (l.bound) {
    l.bound->leases.erase(l.token);
    --l.bound->lease_count;
  }
  if (l.lock_delay_ms > 0 && starts_lock_delay(how)) {
    const auto until = later(ended_at, std::chrono::milliseconds(l.lock_delay_ms));
    if (until > now && (!on.delay || until > on.delay->at)) {
      close_until(on, until);
      keep_delay(on);
    }
  }
  --l.owner->leases;
  let_go(*l.owner);
  lease_pool_.destroy(&l);
}

}  // namespace dislock::core
