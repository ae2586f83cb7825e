// Preloaded into a store's server. With DISLOCK_FROZEN_CLOCK its wall clock stands still at the microsecond
// that that file says, until the test moves it; with DISLOCK_CLOCK_OFFSET it goes on, so many microseconds
// ahead. The clocks by which the server waits are left alone.
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <fcntl.h>
#include <unistd.h>

namespace {

const volatile std::int64_t* microseconds = nullptr;
bool goes_on = false;

__attribute__((constructor)) void open_clock() {
  const char* path = std::getenv("DISLOCK_FROZEN_CLOCK");
  if (path == nullptr) {
    path = std::getenv("DISLOCK_CLOCK_OFFSET");
    goes_on = true;
  }
  const int file = path != nullptr ? ::open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void* page = ::mmap(nullptr, sizeof *microseconds, PROT_READ, MAP_SHARED, file, 0);
  if (page != MAP_FAILED) microseconds = static_cast<const volatile std::int64_t*>(page);
  ::close(file);
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

int clock_gettime(clockid_t which, timespec* out) noexcept {
  if (microseconds == nullptr || (which != CLOCK_REALTIME && which != CLOCK_REALTIME_COARSE))
    return static_cast<int>(::syscall(SYS_clock_gettime, which, out));
  std::int64_t now = *microseconds;
  if (goes_on) {
    timespec real{};
    ::syscall(SYS_clock_gettime, CLOCK_REALTIME, &real);
    now += std::int64_t{real.tv_sec} * 1'000'000 + real.tv_nsec / 1'000;
  }
  out->tv_sec = now / 1'000'000;
  out->tv_nsec = now % 1'000'000 * 1'000;
  return 0;
}

int gettimeofday(timeval* out, void*) noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  out->tv_sec = now.tv_sec;
  out->tv_usec = now.tv_nsec / 1'000;
  return 0;
}

time_t time(time_t* out) noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  if (out != nullptr) *out = now.tv_sec;
  return now.tv_sec;
}

}  // extern "C"
#pragma GCC visibility pop
