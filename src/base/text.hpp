// An immutable string in two words: what a table with a million names is made of.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>

namespace dislock {

/// Owns up to 65,535 characters: 15 of them in place, more in one allocation of exactly that size.
/// (`std::string` is twice as large before its first character, and rounds up; a table holds millions of
/// these.)
class text {
 public:
  text() noexcept = default;
  explicit text(std::string_view s) {
    if (s.size() <= in_place) {
      if (!s.empty()) std::memcpy(bytes_, s.data(), s.size());
      bytes_[in_place] = static_cast<char>(s.size());
      return;
    }
    auto* block = new char[s.size()];
    std::memcpy(block, s.data(), s.size());
    const auto size = static_cast<std::uint16_t>(s.size());
    std::memcpy(bytes_, &block, sizeof block);
    std::memcpy(bytes_ + sizeof block, &size, sizeof size);
    bytes_[in_place] = elsewhere;
  }
  text(text&& other) noexcept { swap(other); }
  text& operator=(text&& other) noexcept {
    swap(other);
    return *this;
  }
  ~text() {
    if (bytes_[in_place] == elsewhere) delete[] block();
  }

  [[nodiscard]] std::string_view view() const noexcept {
    if (bytes_[in_place] != elsewhere) return {bytes_, static_cast<std::size_t>(bytes_[in_place])};
    std::uint16_t size;
    std::memcpy(&size, bytes_ + sizeof(char*), sizeof size);
    return {block(), size};
  }
  [[nodiscard]] bool empty() const noexcept { return bytes_[in_place] == 0; }

 private:
  static constexpr std::size_t in_place = 15;
  static constexpr char elsewhere = -1;

  [[nodiscard]] char* block() const noexcept {
    char* out;
    std::memcpy(&out, bytes_, sizeof out);
    return out;
  }
  void swap(text& other) noexcept {
    char kept[sizeof bytes_];
    std::memcpy(kept, bytes_, sizeof bytes_);
    std::memcpy(bytes_, other.bytes_, sizeof bytes_);
    std::memcpy(other.bytes_, kept, sizeof bytes_);
  }

  // The characters, or a pointer to them and their number; the last byte tells: how many are here, or
  // `elsewhere`.
  alignas(char*) char bytes_[in_place + 1] = {};
};

/// For hash tables of names, which have ten to forty characters: eight at a time. For tables that mix once
/// more, as Boost's do; and like `std::hash`, not against those who choose names that collide.
[[nodiscard]] inline std::size_t hash_of(std::string_view s) noexcept {
  constexpr std::size_t eight = sizeof(std::uint64_t);
  std::uint64_t out = s.size();
  const auto mix = [&out](std::uint64_t more) {
    out = (out ^ more) * 0x9e3779b97f4a7c15u;
    out ^= out >> 32;
  };
  const auto word_at = [&s](std::size_t i) {
    std::uint64_t word;
    std::memcpy(&word, s.data() + i, eight);
    return word;
  };
  if (s.size() < eight) {
    std::uint64_t word = 0;
    if (!s.empty()) std::memcpy(&word, s.data(), s.size());
    mix(word);
    return out;
  }
  for (std::size_t i = 0; i + eight < s.size(); i += eight) mix(word_at(i));
  mix(word_at(s.size() - eight));  // some of it for the second time
  return out;
}

}  // namespace dislock
