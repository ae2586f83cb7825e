#include "library/lease_life.hpp"

#include <algorithm>

namespace dislock::library {

using std::chrono::milliseconds;

// The ttl began at the grant, and belief ends a little before it is over, so the grant was not before
// `valid_until - ttl`: an engine that ends the lease `max_hold` after the grant does it after `hold_until_`.
lease_life::lease_life(const terms& t, instant valid_until) noexcept
    : terms_(t),
      granted_at_(valid_until - std::min(t.ttl, t.max_hold.value_or(t.ttl))),
      valid_until_(valid_until),
      hold_until_(t.max_hold ? later(granted_at_, *t.max_hold) : never) {
  // Longer, and there would be no time for a second try; or none for the work.
  terms_.every = std::min(terms_.every, terms_.ttl / 2);
  terms_.margin = std::min(terms_.margin, std::min(t.ttl, t.max_hold.value_or(t.ttl)) / 2);
  if (renews()) renew_at_ = granted_at_ + terms_.every;
}

duration lease_life::retry_pause() const noexcept {
  return std::max<duration>(terms_.every / 10, milliseconds(50));
}

instant lease_life::stop_at() const noexcept {
  return std::min(valid_until_, hold_until_) - terms_.margin;
}

// An engine that caps renewals at the longest hold lets the validity end there.
bool lease_life::at_max_hold() const noexcept {
  return hold_until_ != never && hold_until_ <= valid_until_ + terms_.ttl / 10;
}

lease_life::outlook lease_life::look(instant now) noexcept {
  if (stage_ >= lease_stage::lost) return {};
  if (now >= valid_until_) {
    end(at_max_hold() ? loss_cause::max_hold : loss_cause::expired);
    return {};
  }
  if (now >= stop_at()) stop(at_max_hold() ? loss_cause::max_hold : loss_cause::expired);
  const auto half = valid_until_ - terms_.ttl / 2;
  if (stage_ == lease_stage::held && now >= half && now >= troubled_from_) stage_ = lease_stage::expiring;

  outlook out;
  out.renew = now >= renew_at_;
  out.look_at = std::min(valid_until_, renew_at_);
  if (stage_ < lease_stage::must_stop) out.look_at = std::min(out.look_at, stop_at());
  if (stage_ == lease_stage::held && troubled_from_ != never)
    out.look_at = std::min(out.look_at, std::max(half, troubled_from_));
  return out;
}

void lease_life::sent(instant now) noexcept {
  renew_at_ = never;
  troubled_from_ = std::min(troubled_from_, later(now, retry_pause()));
}

void lease_life::renewed(instant now, instant valid_until) noexcept {
  (void)look(now);  // an answer that comes too late changes nothing
  if (stage_ >= lease_stage::lost) return;
  valid_until_ = std::max(valid_until_, valid_until);
  troubled_from_ = never;
  if (stage_ == lease_stage::expiring) stage_ = lease_stage::held;
  if (renews()) renew_at_ = now + terms_.every;
}

void lease_life::renewal_failed(instant now) noexcept {
  (void)look(now);
  if (stage_ >= lease_stage::lost) return;
  troubled_from_ = std::min(troubled_from_, now);
  if (renews()) renew_at_ = now + retry_pause();
}

void lease_life::stop(loss_cause why) noexcept {
  if (stage_ >= lease_stage::must_stop) return;
  stage_ = lease_stage::must_stop;
  cause_ = why;
}

void lease_life::end(loss_cause why) noexcept {
  if (stage_ >= lease_stage::lost) return;
  stage_ = lease_stage::lost;
  cause_ = why;
}

}  // namespace dislock::library
