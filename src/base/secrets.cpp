#include "base/secrets.hpp"

#include "base/assert.hpp"

#include <openssl/rand.h>

namespace dislock {

std::array<std::uint64_t, 2> system_secrets::next() {
  if (left_ < 2) {
    const int made = ::RAND_priv_bytes(reinterpret_cast<unsigned char*>(pool_.data()), sizeof pool_);
    DISLOCK_ASSERT(made == 1, "OpenSSL gives random bytes");
    left_ = pool_.size();
  }
  left_ -= 2;
  // Taken words are wiped: a core dump should not show the secrets that the pool has already handed out.
  const std::array<std::uint64_t, 2> out{pool_[left_], pool_[left_ + 1]};
  pool_[left_] = pool_[left_ + 1] = 0;
  return out;
}

}  // namespace dislock
