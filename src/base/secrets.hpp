// Where secrets come from.
#pragma once

#include "base/ids.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace dislock {

/// A source of unguessable bits. One strand.
class secret_source {
 public:
  virtual ~secret_source() = default;
  template <class Secret>
  [[nodiscard]] Secret make() {
    return Secret{next()};
  }

 protected:
  virtual std::array<std::uint64_t, 2> next() = 0;
};

/// OpenSSL's generator for private values, 4 KiB at a time: the operating system's own costs three times as
/// much.
class system_secrets final : public secret_source {
 private:
  std::array<std::uint64_t, 2> next() override;

  std::array<std::uint64_t, 512> pool_{};
  std::size_t left_ = 0;
};

/// Predictable secrets for tests.
class counting_secrets final : public secret_source {
 private:
  std::array<std::uint64_t, 2> next() override { return {0x5ec2e7, ++count_}; }
  std::uint64_t count_ = 0;
};

}  // namespace dislock
