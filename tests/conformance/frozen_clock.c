// Preloaded into a store's server: its wall clock stands still at the microsecond that a file says, until the test moves it.
// The clocks by which the server waits go on.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t* microseconds;

__attribute__((constructor)) static void open_clock(void) {
  const char* path = getenv("DISLOCK_FROZEN_CLOCK");
  const int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void* page = mmap(NULL, sizeof *microseconds, PROT_READ, MAP_SHARED, file, 0);
  if (page != MAP_FAILED) microseconds = page;
  close(file);
}

int clock_gettime(clockid_t which, struct timespec* out) {
  if (!microseconds || (which != CLOCK_REALTIME && which != CLOCK_REALTIME_COARSE))
    return (int)syscall(SYS_clock_gettime, which, out);
  const int64_t now = *microseconds;
  out->tv_sec = now / 1000000;
  out->tv_nsec = now % 1000000 * 1000;
  return 0;
}

int gettimeofday(struct timeval* out, void* zone) {
  (void)zone;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  out->tv_sec = now.tv_sec;
  out->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t* out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}
