// Time that counts suspend, that nobody sets, and that all processes of a machine share.
#pragma once

#include <chrono>
#include <ctime>

namespace dislock::cli {

struct boot_clock {
  using duration = std::chrono::microseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<boot_clock>;
  static constexpr bool is_steady = true;

  [[nodiscard]] static time_point now() noexcept {
    timespec t{};
    clock_gettime(CLOCK_BOOTTIME, &t);
    return time_point(std::chrono::seconds(t.tv_sec) + duration(t.tv_nsec / 1000));
  }
};

using boot_time = boot_clock::time_point;

}  // namespace dislock::cli
