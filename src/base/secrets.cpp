#include "base/secrets.hpp"

#include "base/assert.hpp"

#include <sys/random.h>

#include <cerrno>

namespace dislock {

std::array<std::uint64_t, 2> system_secrets::next() {
  if (left_ < 2) {
    auto* out = reinterpret_cast<std::byte*>(pool_.data());
    for (std::size_t have = 0; have < sizeof pool_;) {
      const auto n = ::getrandom(out + have, sizeof pool_ - have, 0);
      DISLOCK_ASSERT(n > 0 || errno == EINTR, "the operating system gives random bytes");
      if (n > 0) have += static_cast<std::size_t>(n);
    }
    left_ = pool_.size();
  }
  left_ -= 2;
  // Taken words are wiped: a core dump should not show the secrets that the pool has already handed out.
  const std::array<std::uint64_t, 2> out{pool_[left_], pool_[left_ + 1]};
  pool_[left_] = pool_[left_ + 1] = 0;
  return out;
}

}  // namespace dislock
