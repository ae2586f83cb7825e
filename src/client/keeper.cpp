#include "client/keeper.hpp"

#include <algorithm>

namespace dislock {

keeper::keeper(engine& of, loop& renewal_clock, duration interval)
    : engine_(of), loop_(renewal_clock), interval_(interval) {
  loop_.on_wake([this] { renew_due(); });
}

void keeper::start() {
  engine_.for_each_auto_renewed(
      [this](const lease_proof& lease, duration ttl, instant) { adopt(lease.name, lease.id, ttl); });
}

void keeper::adopt(lock_name name, const lock_id& id, duration ttl) {
  const auto [place, fresh] = kept_.try_emplace(id.bits);
  if (!fresh) return;
  const auto every = std::min(interval_, ttl / 3);
  const auto at = later(loop_.now(), every);
  place->second = line_.emplace(at, kept{std::string(name.view()), id, every});
  loop_.wake_at(at);
}

void keeper::renew_due() {
  const auto now = loop_.now();
  while (!line_.empty() && line_.begin()->first <= now) {
    auto node = line_.extract(line_.begin());
    auto& one = node.mapped();
    const lease_proof proof{lock_name(one.name), one.id, {}};
    renew_request request;
    request.leases = {&proof, 1};
    request.by_service = true;
    // Back in line before the call: the answer may come at once and take it out again.
    node.key() = later(now, one.every);
    const auto id = one.id.bits;
    kept_[id] = line_.insert(std::move(node));
    engine_.renew(request, [this, id](answer<renew_answers> outcome) {
      if (told_) told_(static_cast<bool>(outcome));
      if (outcome) {
        ++renewals_;
      } else if (outcome.error().code == errc::lock_not_held) {
        // A slow engine may say so to several renewals of one lease.
        const auto place = kept_.find(id);
        if (place == kept_.end()) return;
        line_.erase(place->second);
        kept_.erase(place);
      }
    });
  }
  if (!line_.empty()) loop_.wake_at(line_.begin()->first);
}

}  // namespace dislock
