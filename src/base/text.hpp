// An immutable string in one pointer: what a table with a million names is made of.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>

namespace dislock {

/// Owns up to 65,535 characters in one allocation of exactly that size; the empty text allocates nothing.
/// (`std::string` is 32 bytes before its first character and rounds up; a table holds millions of these.)
class text {
 public:
  text() noexcept = default;
  explicit text(std::string_view s) {
    if (s.empty()) return;
    block_ = std::make_unique_for_overwrite<char[]>(sizeof(std::uint16_t) + s.size());
    const auto size = static_cast<std::uint16_t>(s.size());
    std::memcpy(block_.get(), &size, sizeof size);
    std::memcpy(block_.get() + sizeof size, s.data(), s.size());
  }

  [[nodiscard]] std::string_view view() const noexcept {
    if (!block_) return {};
    std::uint16_t size;
    std::memcpy(&size, block_.get(), sizeof size);
    return {block_.get() + sizeof size, size};
  }
  [[nodiscard]] bool empty() const noexcept { return !block_; }

 private:
  std::unique_ptr<char[]> block_;
};

}  // namespace dislock
