// A redis-server whose wall clock stands still until the test moves it.
#pragma once

#include "dislock/clock.hpp"
#include "engines/redis/wire/test_redis.hpp"

#include <sys/mman.h>

#include <fcntl.h>
#include <stdexcept>
#include <string>
#include <unistd.h>
#include <vector>

namespace dislock::testing_engines {

/// The clock of the preloaded library (frozen_clock.c): a file that the server maps.
class server_clock {
 public:
  explicit server_clock(const std::string& path)
      : file_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    if (file_ < 0 || ::ftruncate(file_, sizeof(std::int64_t)) != 0)
      throw std::runtime_error("no clock for the server");
    void* page = ::mmap(nullptr, sizeof(std::int64_t), PROT_READ | PROT_WRITE, MAP_SHARED, file_, 0);
    if (page == MAP_FAILED) throw std::runtime_error("no clock for the server");
    microseconds_ = static_cast<volatile std::int64_t*>(page);
  }
  ~server_clock() {
    ::munmap(const_cast<std::int64_t*>(microseconds_), sizeof(std::int64_t));
    ::close(file_);
  }
  server_clock(const server_clock&) = delete;
  server_clock& operator=(const server_clock&) = delete;

  void set(instant to) { *microseconds_ = to.time_since_epoch().count(); }

 private:
  int file_;
  volatile std::int64_t* microseconds_ = nullptr;
};

/// The clock is the file `clock` in `folder`.
inline std::vector<std::string> frozen_server_words(const redis::test_folder& folder, std::uint16_t port) {
  return {"env",
          "LD_PRELOAD=" DISLOCK_FROZEN_CLOCK_LIBRARY,
          "DISLOCK_FROZEN_CLOCK=" + folder.path("clock"),
          "redis-server",
          "--port",
          std::to_string(port),
          "--bind",
          "127.0.0.1",
          "--save",
          "",
          "--appendonly",
          "no",
          "--enable-debug-command",
          "yes",
          "--repl-diskless-sync-delay",
          "0",
          "--dir",
          folder.path(),
          "--loglevel",
          "warning",
          "--logfile",
          folder.path("log")};
}

}  // namespace dislock::testing_engines
