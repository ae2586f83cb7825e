// Where the service answers, and which of several places the next call goes to.
#pragma once

#include "dislock/clock.hpp"
#include "dislock/error.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dislock::library::remote {

struct endpoint {
  std::string host;  ///< a name or an address, without brackets
  std::uint16_t port = 0;
  std::string authority;  ///< for `Host` and for messages: `host:port`, `[v6]:port`
  friend bool operator==(const endpoint&, const endpoint&) = default;
};

/// `http://host[:port][,host[:port]...][/]`; the default port is 5000. `invalid_field` for all else: other
/// schemes, user information, a path, a query, a place that is named twice. The message repeats no part that
/// may hold a password.
[[nodiscard]] result<std::vector<endpoint>> parse_endpoints(std::string_view url);

/// Sticks to a place that works. A place that failed is avoided for a while, which doubles with each failure
/// in a row (100 ms to 5 s), as long as there is another.
class endpoint_choice {
 public:
  explicit endpoint_choice(std::size_t count) : places_(count) {}

  /// Where the next try should go: the place that worked last, or the next one that is not avoided; when all
  /// are, the one that comes free first.
  [[nodiscard]] std::size_t pick(instant now) const noexcept;
  void worked(std::size_t which) noexcept;
  void failed(std::size_t which, instant now) noexcept;
  [[nodiscard]] bool avoided(std::size_t which, instant now) const noexcept {
    return places_[which].avoid_until > now;
  }
  [[nodiscard]] std::size_t count() const noexcept { return places_.size(); }

 private:
  struct place {
    instant avoid_until{};
    unsigned failures = 0;
  };
  std::vector<place> places_;
  std::size_t current_ = 0;
};

}  // namespace dislock::library::remote
