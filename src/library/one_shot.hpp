// How a caller waits for one answer.
#pragma once

#include "library/core.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>

#include <atomic>
#include <cstdint>
#include <optional>
#include <thread>
#include <unistd.h>
#include <utility>

namespace dislock::library {

/// `set` once, `wait` once. Costs two atomic operations when it is set before somebody waits. Whoever waits
/// on a client's own thread does that thread's work meanwhile, so that a callback may use the blocking forms.
class one_shot {
 public:
  explicit one_shot(core& of) noexcept : core_(of) {}

  void set() noexcept {
    auto& with = core_;  // this object may be gone as soon as the state says so
    auto& state = state_;
    switch (state.exchange(done, std::memory_order_acq_rel)) {
      case waiting:
        return wake(state);
      case helping:
        with.ring();
        state.store(rung, std::memory_order_release);  // not before: whoever waits may end the client then
        return;
      default:
        return;
    }
  }
  void wait() noexcept {
    auto seen = state_.load(std::memory_order_acquire);
    if (seen == done) return;
    if (core_.on_own_thread()) {
      if (!state_.compare_exchange_strong(seen, helping, std::memory_order_acq_rel)) return;
      while (state_.load(std::memory_order_acquire) == helping) core_.help();
      while (state_.load(std::memory_order_acquire) != rung) std::this_thread::yield();
      return;
    }
    if (!state_.compare_exchange_strong(seen, waiting, std::memory_order_acq_rel)) return;
    while (state_.load(std::memory_order_acquire) != done) sleep(state_);
  }

 private:
  static constexpr std::uint32_t nothing = 0, waiting = 1, helping = 2, done = 3, rung = 4;

  // Not `atomic::wait`: that of libstdc++ yields the processor several times before it sleeps, which costs a
  // service's caller more than its call.
  static void sleep(const std::atomic<std::uint32_t>& state) noexcept {
    (void)::syscall(SYS_futex, &state, FUTEX_WAIT_PRIVATE, waiting, nullptr, nullptr, 0);
  }
  static void wake(const std::atomic<std::uint32_t>& state) noexcept {
    (void)::syscall(SYS_futex, &state, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
  }

  core& core_;
  std::atomic<std::uint32_t> state_{nothing};
};

/// For the blocking form of `start(done)`.
template <class T, class Start>
[[nodiscard]] result<T> wait_for(core& with, Start start) {
  std::optional<result<T>> out;
  one_shot answered(with);
  start(core::done<T>([&out, &answered](result<T> r) {
    out.emplace(std::move(r));
    answered.set();
  }));
  answered.wait();
  return std::move(*out);
}

}  // namespace dislock::library
