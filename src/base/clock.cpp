#include "dislock/clock.hpp"

#include <ctime>

namespace dislock {
namespace {

std::int64_t read_us(clockid_t id) noexcept {
  timespec t{};
  ::clock_gettime(id, &t);
  return std::int64_t{t.tv_sec} * 1'000'000 + t.tv_nsec / 1'000;
}

}  // namespace

boottime_clock::boottime_clock() noexcept : offset_us_(read_us(CLOCK_REALTIME) - read_us(CLOCK_BOOTTIME)) {}

void boottime_clock::not_before(instant t) noexcept {
  if (const auto present = now(); t > present) offset_us_ += (t - present).count();
}

instant boottime_clock::now() const noexcept {
  return from_microseconds(read_us(CLOCK_BOOTTIME) + offset_us_);
}

}  // namespace dislock
