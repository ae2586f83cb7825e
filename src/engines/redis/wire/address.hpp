// Where a server listens.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

namespace dislock::redis {

struct address {
  std::string host;  ///< a name or an address, without brackets
  std::uint16_t port = 0;

  [[nodiscard]] bool empty() const noexcept { return host.empty(); }
  /// `host:port`, `[v6]:port`.
  [[nodiscard]] std::string text() const {
    const bool v6 = host.find(':') != std::string::npos;
    return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
  }
  friend auto operator<=>(const address&, const address&) = default;
};

/// Why a server cannot be used or found: a sentence without secrets.
struct refusal {
  std::string why;
};

}  // namespace dislock::redis
