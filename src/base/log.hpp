// One line per event, to stderr, as text for people or JSON for machines.
#pragma once

#include <atomic>
#include <chrono>
#include <concepts>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace dislock::log {

enum class level : std::uint8_t { debug, info, warn, error, off };
enum class format : std::uint8_t { text, json };

[[nodiscard]] std::string_view to_string(level value) noexcept;
[[nodiscard]] std::string_view to_string(format value) noexcept;
[[nodiscard]] std::optional<level> level_from_string(std::string_view text) noexcept;
[[nodiscard]] std::optional<format> format_from_string(std::string_view text) noexcept;

/// What a field may hold. Refers to the caller's text, so it lives no longer than the call it is made for.
/// A duration is written in seconds, the unit of everything we print. The secret ids (`lock_id` and its like)
/// do not convert, so that logging one does not compile.
class value {
 public:
  // NOLINTBEGIN(google-explicit-constructor): the point is to write {"port", port}
  value(std::string_view text) noexcept : held_(text) {}
  value(const char* text) noexcept : held_(std::string_view(text)) {}
  value(const std::string& text) noexcept : held_(std::string_view(text)) {}
  value(bool truth) noexcept : held_(truth) {}
  value(std::floating_point auto number) noexcept : held_(static_cast<double>(number)) {}
  value(std::signed_integral auto number) noexcept : held_(static_cast<std::int64_t>(number)) {}
  value(std::unsigned_integral auto number) noexcept : held_(static_cast<std::uint64_t>(number)) {}
  template <class Rep, class Period>
  value(std::chrono::duration<Rep, Period> time) noexcept
      : held_(std::chrono::duration<double>(time).count()) {}
  // NOLINTEND(google-explicit-constructor)

  using alternatives = std::variant<std::string_view, bool, std::int64_t, std::uint64_t, double>;
  [[nodiscard]] const alternatives& held() const noexcept { return held_; }

 private:
  alternatives held_;
};

/// Keys are ours, lower_snake_case, and none of `time`, `level`, `area`, `message`.
struct field {
  std::string_view key;
  value content;
};
using fields = std::initializer_list<field>;

/// The one name under which the id that ties a request to its log lines is logged.
[[nodiscard]] inline field trace_id(std::string_view id) noexcept {
  return {"trace_id", id};
}

struct options {
  level threshold = level::info;
  format form = format::text;
};

/// For the start of the program; safe at any time and from any thread.
void configure(options chosen);

/// Sends every line (with its newline) somewhere else, for tests; an empty function restores stderr.
/// The function is called under the log's lock and must not log.
void redirect(std::function<void(std::string_view line)> sink);

namespace detail {
inline std::atomic<level> threshold{level::info};
void write(level severity, std::string_view area, std::string_view message, fields extra) noexcept;
}  // namespace detail

/// One relaxed load. Ask before computing something only for the log.
[[nodiscard]] inline bool enabled(level severity) noexcept {
  return severity >= detail::threshold.load(std::memory_order_relaxed);
}

/// Writes one line before it returns, and never throws: a log that cannot be written does not stop a lock.
/// `area` is the module (`http`, `embedded`), `message` a fixed sentence; what varies goes into fields.
/// Texts may come from anywhere: control characters are escaped, so a line stays a line.
/// The caller keeps secrets out: no lock id, renewal token, request id or session id.
///
///     log::info("http", "listening", {{"address", address}, {"port", port}});
inline void debug(std::string_view area, std::string_view message, fields extra = {}) noexcept {
  if (enabled(level::debug)) detail::write(level::debug, area, message, extra);
}
inline void info(std::string_view area, std::string_view message, fields extra = {}) noexcept {
  if (enabled(level::info)) detail::write(level::info, area, message, extra);
}
inline void warn(std::string_view area, std::string_view message, fields extra = {}) noexcept {
  if (enabled(level::warn)) detail::write(level::warn, area, message, extra);
}
inline void error(std::string_view area, std::string_view message, fields extra = {}) noexcept {
  if (enabled(level::error)) detail::write(level::error, area, message, extra);
}

}  // namespace dislock::log
