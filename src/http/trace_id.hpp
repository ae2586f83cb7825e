#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace dislock::http {

/// Makes the 32 hex digits that name one request in logs and answers. Not secret, not unguessable.
/// Thread safety: none; one per server.
class trace_id_source {
 public:
  trace_id_source();

  /// The trace id of a valid W3C `traceparent`, else a fresh one.
  void make(std::string_view traceparent, std::array<char, 32>& out) noexcept;

 private:
  std::uint64_t next() noexcept;

  std::uint64_t state_;
};

/// The trace id inside `00-<32 hex>-<16 hex>-<2 hex>`, or an empty view if the header is not valid.
[[nodiscard]] std::string_view trace_id_of(std::string_view traceparent) noexcept;

}  // namespace dislock::http
