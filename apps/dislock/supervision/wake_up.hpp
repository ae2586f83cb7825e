// Something for poll(2) that any thread can make readable.
#pragma once

#include <sys/eventfd.h>

#include <cstdint>
#include <unistd.h>

namespace dislock::cli {

/// Thread safety: `ring` from any thread.
class wake_up {
 public:
  wake_up() : descriptor_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  wake_up(const wake_up&) = delete;
  wake_up& operator=(const wake_up&) = delete;
  ~wake_up() { close(descriptor_); }

  void ring() const noexcept {
    const std::uint64_t one = 1;
    (void)!write(descriptor_, &one, sizeof one);
  }
  void quiet() const noexcept {
    std::uint64_t rings = 0;
    (void)!read(descriptor_, &rings, sizeof rings);
  }
  [[nodiscard]] int descriptor() const noexcept { return descriptor_; }

 private:
  int descriptor_;
};

}  // namespace dislock::cli
