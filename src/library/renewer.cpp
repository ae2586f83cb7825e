#include "library/renewer.hpp"

#include <utility>

namespace dislock::library {
namespace {

// How many leases one turn looks at, so that callers get in between.
constexpr int most_looks = 256;

}  // namespace

loss_cause cause_of(end_reason how) noexcept {
  switch (how) {
    case end_reason::expired:
      return loss_cause::expired;
    case end_reason::max_hold:
      return loss_cause::max_hold;
    case end_reason::forced:
      return loss_cause::forced;
    default:
      return loss_cause::not_held;
  }
}

lease_key renewer::key_of(const held_lease& l) const {
  return {l.is.lock, backend_.remote() ? l.is.client : std::string(), l.is.id};
}

// It was granted a moment ago, so the first look lies ahead; if not, the alarm rings at once.
void renewer::add(held_lease& l) {
  due_.schedule(l, l.life.look(l.life.granted_at()).look_at);
  arm();
}

void renewer::arm() {
  const auto next = due_.next();
  if (next >= armed_for_) return;
  armed_for_ = next;
  strand_.wake_at(strand::alarm::leases, next, [this] {
    armed_for_ = never;
    look();
  });
}

held_lease* renewer::any() noexcept {
  return static_cast<held_lease*>(due_.due(never));
}

void renewer::look() {
  const auto now = strand_.now();
  std::vector<std::shared_ptr<held_lease>> to_renew;
  for (int looks = 0; looks < most_looks && to_renew.size() < batch; ++looks) {
    auto* next = static_cast<held_lease*>(due_.due(now));
    if (!next) break;
    if (next->life.look(now).renew) {
      next->life.sent(now);
      to_renew.push_back(next->shared_from_this());
    }
    changed(*next, now);
  }
  if (!to_renew.empty()) send(std::move(to_renew), now);
  arm();
}

void renewer::changed(held_lease& l, instant now) {
  const auto next = l.life.look(now);
  const bool told = l.publish();
  if (l.life.stage() >= lease_stage::lost) {
    due_.cancel(l);
  } else {
    due_.schedule(l, next.look_at);
    arm();
  }
  if (told) told_.stage_changed(l);
}

void renewer::send(std::vector<std::shared_ptr<held_lease>> leases, instant now) {
  std::vector<lease_key> keys;
  std::vector<duration> ttls;
  keys.reserve(leases.size());
  ttls.reserve(leases.size());
  for (const auto& l : leases) {
    keys.push_back(key_of(*l));
    ttls.push_back(l->life.ttl());
  }
  backend_.renew(
      std::move(keys), std::move(ttls),
      [this, now, leases = std::move(leases)](result<std::vector<result<renewed_lease>>> out) mutable {
        const auto here = strand_.now();
        for (std::size_t i = 0; i < leases.size(); ++i) {
          const auto& answer = out ? (*out)[i] : result<renewed_lease>(out.error());
          auto& l = *leases[i];
          if (l.is_over()) continue;
          answered(l, answer, here, true);
          told_.renewal_ended(l, here - now, answer.has_value());
        }
        // The last owner of a lease may be here, and what the holder has put into it ends outside.
        strand_.afterwards([leases = std::move(leases)] {});
      });
}

void renewer::answered(held_lease& l, const result<renewed_lease>& answer, instant now, bool ours) {
  if (answer) {
    if (l.life.stage() == lease_stage::lost) l.outlived = true;
    l.life.renewed(now, answer->valid_until);
  } else if (answer.error().code == errc::lock_not_held) {
    l.life.end(cause_of(answer.error().ended));
  } else if (ours) {
    l.life.renewal_failed(now);
  }
  changed(l, now);
}

void renewer::renew(std::shared_ptr<held_lease> l, duration ttl, completion<void> done) {
  std::vector<lease_key> keys;
  keys.push_back(key_of(*l));
  const auto sent = strand_.now();
  backend_.renew(std::move(keys), {ttl},
                 [this, sent, l = std::move(l),
                  done = std::move(done)](result<std::vector<result<renewed_lease>>> out) mutable {
                   const auto here = strand_.now();
                   auto answer = out ? std::move(out->front()) : result<renewed_lease>(out.error());
                   if (!l->is_over()) answered(*l, answer, here, false);
                   told_.renewal_ended(*l, here - sent, answer.has_value());
                   strand_.afterwards([l = std::move(l)] {});
                   if (!answer) return done(answer.error());
                   done({});
                 });
}

}  // namespace dislock::library
