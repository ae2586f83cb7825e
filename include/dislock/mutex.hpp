// Locks that std::lock_guard, std::unique_lock, std::scoped_lock and std::shared_lock take.
#pragma once

#include "dislock/client.hpp"

#include <chrono>
#include <memory>
#include <stop_token>
#include <string>

namespace dislock {

namespace library {
class locks_of_threads;
}  // namespace library

/// A lock of the engine with the interface of `std::timed_mutex`: among the threads of this process and of
/// all others.
///
/// Unlike a mutex in memory it can be lost while it is held: `lost()` is requested, and `held()` is false,
/// before anybody else can have it. A critical section that is not short looks at one of them.
///
/// As with `std::mutex`, a thread unlocks what it locked, and `held`, `lost`, `token` and `release` speak of
/// what the calling thread holds. A thread that locks what it holds already gets `deadlock_detected`. What is
/// still locked when the mutex is destroyed is given back in the background.
///
/// Thread safety: all members from any thread.
class DISLOCK_API mutex {
 public:
  /// `options`: how the lock is asked for; its `mode` and `wait` do not count.
  mutex(client with, std::string name, acquire_options options = {});
  mutex(const mutex&) = delete;
  mutex& operator=(const mutex&) = delete;
  ~mutex();

  [[nodiscard]] const std::string& name() const noexcept;

  /// Waits until it has the lock, however long that takes (after 600 s it queues again, at the end).
  /// Throws `exception`: there was an error other than that the lock is taken.
  void lock();
  /// One attempt. Throws `exception`: there was an error other than that the lock is taken.
  [[nodiscard]] bool try_lock();
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_for(const std::chrono::duration<Rep, Period>& patience) {
    return take(lock_mode::exclusive, in_range(patience));
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_until(const std::chrono::time_point<Clock, Duration>& when) {
    return try_lock_for(when - Clock::now());
  }
  /// Gives the lock back and waits for that. Never throws: what cannot be given back now is given back in the
  /// background, and a lock that was lost is lost. To see which it was, call `release` instead.
  void unlock() noexcept;

  /// As `unlock`, and says how it went, as `lease::release` does. For a `std::unique_lock`, `release()` that
  /// first.
  result<void> release();
  /// As in `lease`, of what this thread holds: false, a token that is never requested, and 0 if it holds
  /// nothing.
  [[nodiscard]] bool held() const noexcept;
  [[nodiscard]] std::stop_token lost() const;
  [[nodiscard]] dislock::fencing_token fencing_token() const noexcept;

 protected:
  /// False: `patience` is over. Negative: it never is.
  [[nodiscard]] bool take(lock_mode mode, duration patience);

  static constexpr duration without_end{-1};
  template <class Rep, class Period>
  [[nodiscard]] static constexpr duration in_range(const std::chrono::duration<Rep, Period>& d) noexcept {
    constexpr auto longest = std::chrono::hours(24 * 365);
    if (d <= std::chrono::duration<Rep, Period>::zero()) return duration::zero();
    if (std::chrono::duration<double>(d) >= longest) return longest;
    return std::chrono::ceil<duration>(d);
  }

 private:
  std::unique_ptr<library::locks_of_threads> locks_;
};

/// The same with readers: the interface of `std::shared_timed_mutex`. Readers hold it together, a writer
/// alone, and they queue for each other in order of arrival.
///
/// Thread safety: all members from any thread.
class DISLOCK_API shared_mutex : public mutex {
 public:
  using mutex::mutex;

  /// As `lock`, `try_lock` and so on, for a reader.
  void lock_shared();
  [[nodiscard]] bool try_lock_shared();
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_shared_for(const std::chrono::duration<Rep, Period>& patience) {
    return take(lock_mode::shared, in_range(patience));
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_shared_until(const std::chrono::time_point<Clock, Duration>& when) {
    return try_lock_shared_for(when - Clock::now());
  }
  void unlock_shared() noexcept { unlock(); }
};

}  // namespace dislock
