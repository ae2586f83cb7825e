#include "library/held_lease.hpp"

#include <algorithm>

namespace dislock::library {

bool held_lease::held() noexcept {
  return stage.load(std::memory_order_relaxed) < lease_stage::must_stop && !believed_until.passed(time.now());
}

lease_stage held_lease::stage_now() noexcept {
  const auto told = stage.load(std::memory_order_relaxed);
  if (told >= lease_stage::lost) return told;
  const auto now = time.now();
  if (told_valid_until.passed(now)) return lease_stage::lost;
  if (believed_until.passed(now)) return lease_stage::must_stop;
  return told;
}

// Before anybody could tell why, it can only be the time.
loss_cause held_lease::cause_now() noexcept {
  const auto told = cause.load(std::memory_order_relaxed);
  if (told != loss_cause::none) return told;
  const auto at = stage_now();
  return at == lease_stage::must_stop || at == lease_stage::lost ? loss_cause::expired : loss_cause::none;
}

duration held_lease::remaining() noexcept {
  if (stage.load(std::memory_order_relaxed) >= lease_stage::must_stop) return duration::zero();
  const auto now = time.now();
  return believed_until.passed(now) ? duration::zero()
                                    : std::max(duration::zero(), believed_until.at() - now);
}

std::stop_token held_lease::lost() {
  const bool passed = !held();
  std::stop_source mine{std::nostopstate};
  {
    const std::lock_guard guard(stops_mutex);
    if (stops.empty()) stops.emplace_back();
    mine = stops.front();
    if (!passed && !stopped) return mine.get_token();
  }
  mine.request_stop();
  return mine.get_token();
}

void held_lease::also_stop(const std::stop_source& other) {
  {
    const std::lock_guard guard(stops_mutex);
    // The first is the one that `lost` hands out.
    if (stops.empty()) stops.emplace_back();
    stops.push_back(other);
    if (!stopped) return;
  }
  std::stop_source(other).request_stop();
}

void held_lease::request_stop() {
  std::vector<std::stop_source> told;
  {
    const std::lock_guard guard(stops_mutex);
    stopped = true;
    told = stops;
  }
  for (auto& each : told) each.request_stop();
}

bool held_lease::publish() noexcept {
  const auto now_at = life.stage();
  if (now_at < lease_stage::must_stop) {
    if (!believed_until.move_to(life.stop_at())) life.stop(loss_cause::expired);  // somebody has seen it pass
  }
  if (life.stage() < lease_stage::lost && !told_valid_until.move_to(life.valid_until()))
    life.end(loss_cause::expired);
  const auto becomes = life.stage();
  cause.store(life.cause(), std::memory_order_relaxed);
  return stage.exchange(becomes, std::memory_order_relaxed) != becomes;
}

}  // namespace dislock::library
