#include "dislock/semaphore.hpp"

#include <utility>

namespace dislock {

semaphore::semaphore(client with, std::string name, std::uint32_t limit, acquire_options defaults)
    : client_(std::move(with)), name_(std::move(name)), defaults_(std::move(defaults)) {
  defaults_.mode = lock_mode::semaphore;
  defaults_.limit = limit;
}

acquire_options semaphore::wanting(std::uint32_t permits) const {
  auto out = defaults_;
  out.permits = permits;
  return out;
}

result<lease> semaphore::acquire(std::uint32_t permits) {
  return client_.acquire(name_, wanting(permits));
}

result<lease> semaphore::acquire_for(duration wait, std::uint32_t permits) {
  auto how = wanting(permits);
  how.wait = wait;
  return client_.acquire(name_, std::move(how));
}

result<std::optional<lease>> semaphore::try_acquire(std::uint32_t permits) {
  return client_.try_acquire(name_, wanting(permits));
}

result<std::uint32_t> semaphore::available() {
  const auto state = client_.inspect(name_);
  if (!state) return state.error();
  const auto used = state->used;
  return used < limit() ? limit() - used : 0;
}

task<result<lease>> semaphore::async_acquire(std::uint32_t permits) const {
  return client_.async().acquire(name_, wanting(permits));
}

task<result<lease>> semaphore::async_acquire_for(duration wait, std::uint32_t permits) const {
  auto how = wanting(permits);
  how.wait = wait;
  return client_.async().acquire(name_, std::move(how));
}

task<result<std::optional<lease>>> semaphore::async_try_acquire(std::uint32_t permits) const {
  return client_.async().try_acquire(name_, wanting(permits));
}

}  // namespace dislock
