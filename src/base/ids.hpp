// Strong types for everything that would otherwise be "a string" or "a number".
#pragma once

#include "dislock/types.hpp"

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace dislock {

/// A name seen, not owned: valid as long as what it was made from. Different tags do not convert.
template <class Tag>
class name_view {
 public:
  constexpr name_view() noexcept = default;
  constexpr explicit name_view(std::string_view s) noexcept : value_(s) {}
  [[nodiscard]] constexpr std::string_view view() const noexcept { return value_; }
  [[nodiscard]] constexpr bool empty() const noexcept { return value_.empty(); }
  friend constexpr auto operator<=>(const name_view&, const name_view&) noexcept = default;

 private:
  std::string_view value_;
};

using lock_name = name_view<struct lock_name_tag>;
using client_id = name_view<struct client_id_tag>;
/// Names one logical call of one client; empty = the call is not remembered. A secret.
using request_id = name_view<struct request_id_tag>;

/// 128 random bits that prove a right. Never logged, listed or put into a URL. On the wire: 32 hex digits.
template <class Tag>
struct secret {
  std::array<std::uint64_t, 2> bits{};

  [[nodiscard]] constexpr bool empty() const noexcept { return bits[0] == 0 && bits[1] == 0; }
  friend constexpr bool operator==(const secret&, const secret&) noexcept = default;

  void append_to(std::string& out) const {
    constexpr char digits[] = "0123456789abcdef";
    char text[32];
    char* next = text;
    for (const auto word : bits)
      for (int shift = 60; shift >= 0; shift -= 4) *next++ = digits[(word >> shift) & 15];
    out.append(text, sizeof text);
  }
  [[nodiscard]] std::string to_string() const {
    std::string out;
    append_to(out);
    return out;
  }
  /// Nothing for anything but 32 lower-case hex digits.
  [[nodiscard]] static constexpr std::optional<secret> parse(std::string_view s) noexcept {
    if (s.size() != 32) return std::nullopt;
    secret out;
    for (std::size_t i = 0; i < 32; ++i) {
      const char c = s[i];
      const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
      if (digit < 0) return std::nullopt;
      out.bits[i / 16] = (out.bits[i / 16] << 4) | static_cast<std::uint64_t>(digit);
    }
    return out;
  }
};

/// Whoever has it owns the lease.
using lock_id = secret<struct lock_id_tag>;
/// Whoever has it may renew the lease, and nothing else.
using renewal_token = secret<struct renewal_token_tag>;
using session_id = secret<struct session_id_tag>;

constexpr std::uint64_t fencing_token_limit = std::uint64_t{1} << 53;

}  // namespace dislock
