#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace dislock::load {

/// One HTTP/1.1 reply, as far as a load generator must understand it. The views point into the caller's
/// buffer.
struct http_reply {
  int status = 0;
  std::string_view head;
  std::string_view body;

  [[nodiscard]] bool ok() const noexcept { return status == 200; }
};

enum class parse_state : std::uint8_t { complete, incomplete, malformed };

struct parse_result {
  parse_state state = parse_state::incomplete;
  std::size_t size = 0;  ///< bytes of the reply, when complete
};

/// Reads the status and the Content-Length, nothing else. A reply without Content-Length (chunked, or until
/// the connection closes) is malformed to us: every server under test sends one.
[[nodiscard]] parse_result parse_reply(std::string_view bytes, http_reply& reply) noexcept;

/// The string after `"key":"`, not unescaped. `quoted_key` includes the quotes: `"\"lockId\""`. Spaces after
/// the colon are skipped, nesting is ignored.
[[nodiscard]] std::optional<std::string_view> find_string(std::string_view body,
                                                          std::string_view quoted_key) noexcept;

/// The whole number after `"key":`, which JSON gateways may put between quotes.
[[nodiscard]] std::optional<std::uint64_t> find_number(std::string_view body,
                                                       std::string_view quoted_key) noexcept;

/// The value of Retry-After in seconds, if the reply has one.
[[nodiscard]] std::optional<std::uint64_t> retry_after(const http_reply& reply) noexcept;

}  // namespace dislock::load
