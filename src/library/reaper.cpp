#include "library/reaper.hpp"

#include "base/log.hpp"

#include <memory>
#include <utility>

namespace dislock::library {
namespace {

// The service remembers a request for a while after its lease ended; a cancel that comes later finds nothing.
constexpr duration longest_doubt = std::chrono::seconds(60);

}  // namespace

reaper::~reaper() {
  all_.clear_and_dispose(std::default_delete<item>());
}

void reaper::adopt(item* made) {
  all_.push_back(*made);
  attempt(*made);
}

void reaper::cancel(std::string lock, bool multi, std::string client, std::string request, duration ttl) {
  if (stopped_ || all_.size() >= most) return;
  auto* one = new item;
  one->lease.lock = std::move(lock);
  one->lease.client = std::move(client);
  one->request = std::move(request);
  one->cancels = true;
  one->multi = multi;
  one->until = later(strand_.now(), std::max(ttl, longest_doubt));
  adopt(one);
}

void reaper::release(lease_key which, std::string request, instant until) {
  if (stopped_ || all_.size() >= most) return;
  auto* one = new item;
  one->lease = std::move(which);
  one->request = std::move(request);
  one->until = until;
  adopt(one);
}

void reaper::attempt(item& one) {
  const auto ended = [this, &one](result<void> outcome) { attempted(one, outcome); };
  if (one.cancels) {
    backend_.cancel(one.lease.lock, one.multi, one.lease.client, one.request, ended);
  } else {
    const auto lease = one.lease;  // `one` may be gone before the call returns
    const auto request = one.request;
    backend_.release(lease, request, one.until, ended);
  }
}

// An answer that another try would not change, a lease that has ended among them, settles it.
void reaper::attempted(item& one, const result<void>& outcome) {
  const auto now = strand_.now();
  const bool settled = outcome.has_value() || !may_retry(outcome.error().code);
  if (!settled && now < one.until && !stopped_) {
    resting_.schedule(one, later(now, reaper_pause(one.failed++)));
    return arm();
  }
  if (!settled)
    log::warn("library", "gave up on settling a call; its lease, if there is one, ends by itself",
              {{"lock", one.lease.lock}, {"code", to_string(outcome.error().code)}});
  all_.erase_and_dispose(all_.iterator_to(one), std::default_delete<item>());
  if (all_.empty() && idle_) idle_();
}

void reaper::stop() {
  stopped_ = true;
}

void reaper::arm() {
  const auto next = resting_.next();
  if (next >= armed_for_ || stopped_) return;
  armed_for_ = next;
  strand_.wake_at(strand::alarm::settling, next, [this] {
    armed_for_ = never;
    ring();
  });
}

void reaper::ring() {
  const auto now = strand_.now();
  while (auto* next = stopped_ ? nullptr : static_cast<item*>(resting_.due(now))) {
    resting_.cancel(*next);
    attempt(*next);
  }
  arm();
}

}  // namespace dislock::library
