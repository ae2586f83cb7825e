#include "dislock/mutex.hpp"

#include "library/patience.hpp"

#include <algorithm>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>

namespace dislock {

namespace library {

/// What each thread holds. A thread whose lock was lost and the one that has it now both hold something here.
class locks_of_threads {
 public:
  locks_of_threads(client with, std::string name, acquire_options options)
      : client_(std::move(with)), name_(std::move(name)), options_(std::move(options)) {}

  [[nodiscard]] const std::string& name() const noexcept { return name_; }

  [[nodiscard]] bool take(lock_mode mode, duration patience) {
    if (find()) throw exception(held_already());
    auto how = options_;
    how.mode = mode;
    for (auto left = patience;;) {
      how.wait = patience < duration::zero() ? longest_wait : std::min(left, longest_wait);
      auto got = client_.acquire(name_, how);
      if (got) {
        put(std::move(*got));
        return true;
      }
      if (got.error().code != errc::lock_not_acquired) throw exception(got.error());
      if (patience < duration::zero()) continue;
      left -= how.wait;
      if (left <= duration::zero()) return false;
    }
  }

  [[nodiscard]] lease take_out() {
    const std::lock_guard guard(mutex_);
    const auto it = all_.find(std::this_thread::get_id());
    if (it == all_.end()) return {};
    auto out = std::move(it->second);
    all_.erase(it);
    return out;
  }

  /// Null: nothing. Only this thread changes or ends what is found.
  [[nodiscard]] const lease* find() const noexcept {
    const std::lock_guard guard(mutex_);
    const auto it = all_.find(std::this_thread::get_id());
    return it == all_.end() ? nullptr : &it->second;
  }

  [[nodiscard]] error not_held() const {
    error out;
    out.code = errc::lock_not_held;
    out.lock = name_;
    out.detail = "this thread does not hold it";
    return out;
  }

 private:
  void put(lease held) {
    const std::lock_guard guard(mutex_);
    all_.emplace(std::this_thread::get_id(), std::move(held));
  }

  [[nodiscard]] error held_already() const {
    error out;
    out.code = errc::deadlock_detected;
    out.lock = name_;
    out.detail = "this thread holds it already";
    return out;
  }

  client client_;
  const std::string name_;
  const acquire_options options_;
  mutable std::mutex mutex_;
  std::unordered_map<std::thread::id, lease> all_;
};

}  // namespace library

mutex::mutex(client with, std::string name, acquire_options options)
    : locks_(std::make_unique<library::locks_of_threads>(std::move(with), std::move(name),
                                                         std::move(options))) {}
mutex::~mutex() = default;

const std::string& mutex::name() const noexcept {
  return locks_->name();
}

bool mutex::take(lock_mode mode, duration patience) {
  return locks_->take(mode, patience);
}

void mutex::lock() {
  (void)take(lock_mode::exclusive, without_end);
}

bool mutex::try_lock() {
  return take(lock_mode::exclusive, duration::zero());
}

void mutex::unlock() noexcept {
  (void)release();
}

result<void> mutex::release() {
  auto held = locks_->take_out();
  if (!held) return locks_->not_held();
  return held.release();
}

bool mutex::held() const noexcept {
  const auto* const mine = locks_->find();
  return mine && mine->held();
}

std::stop_token mutex::lost() const {
  const auto* const mine = locks_->find();
  return mine ? mine->lost() : std::stop_token();
}

fencing_token mutex::fencing_token() const noexcept {
  const auto* const mine = locks_->find();
  return mine ? mine->fencing_token() : dislock::fencing_token{};
}

void shared_mutex::lock_shared() {
  (void)take(lock_mode::shared, without_end);
}

bool shared_mutex::try_lock_shared() {
  return take(lock_mode::shared, duration::zero());
}

}  // namespace dislock
