#include "dislock/rate_limiter.hpp"

#include <utility>

namespace dislock {
namespace {

// The permit stays out until its window is over.
duration leave_out(lease permit) {
  const auto waited = permit.waited();
  (void)std::move(permit).detach();
  return waited;
}

task<result<bool>> passes(task<result<std::optional<lease>>> asking) {
  auto got = co_await std::move(asking);
  if (!got) co_return got.error();
  if (!*got) co_return false;
  (void)leave_out(std::move(**got));
  co_return true;
}

task<result<duration>> passes(task<result<lease>> asking) {
  auto got = co_await std::move(asking);
  if (!got) co_return got.error();
  co_return leave_out(std::move(*got));
}

}  // namespace

rate_limiter::rate_limiter(client with, std::string name, std::uint32_t limit, duration window)
    : client_(std::move(with)), name_(std::move(name)), limit_(limit), window_(window) {}

acquire_options rate_limiter::wanting(std::uint32_t weight) const {
  acquire_options out;
  out.mode = lock_mode::semaphore;
  out.limit = limit_;
  out.permits = weight;
  out.ttl = window_;
  out.renew = false;
  return out;
}

result<bool> rate_limiter::try_pass(std::uint32_t weight) {
  auto got = client_.try_acquire(name_, wanting(weight));
  if (!got) return got.error();
  if (!*got) return false;
  (void)leave_out(std::move(**got));
  return true;
}

result<duration> rate_limiter::pass(duration wait, std::uint32_t weight, std::stop_token stop) {
  auto how = wanting(weight);
  how.wait = wait;
  how.stop = std::move(stop);
  auto got = client_.acquire(name_, std::move(how));
  if (!got) return got.error();
  return leave_out(std::move(*got));
}

task<result<bool>> rate_limiter::async_try_pass(std::uint32_t weight) const {
  return passes(client_.async().try_acquire(name_, wanting(weight)));
}

task<result<duration>> rate_limiter::async_pass(duration wait, std::uint32_t weight,
                                                std::stop_token stop) const {
  auto how = wanting(weight);
  how.wait = wait;
  how.stop = std::move(stop);
  return passes(client_.async().acquire(name_, std::move(how)));
}

}  // namespace dislock
