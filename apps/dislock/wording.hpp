// How times and names are written for people and read from them.
#pragma once

#include "dislock/types.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dislock::cli {

/// `30`, `30s`, `500ms`, `1.5m`, `2h`. A bare number means seconds. Nothing: it is not a duration, or more
/// than a hundred years.
[[nodiscard]] std::optional<duration> duration_from(std::string_view text);
/// Two leading units at most: `850ms`, `12.3s`, `4m10s`, `3h5m`, `2d4h`.
[[nodiscard]] std::string in_words(duration d);
/// Whole and fractional seconds, to the millisecond, as the REST API writes them.
[[nodiscard]] double in_seconds(duration d) noexcept;

[[nodiscard]] wall_time wall_now() noexcept;
/// `2024-03-01T12:00:00.000Z`
[[nodiscard]] std::string rfc3339(wall_time at);
/// `12:00:00.000`, in UTC.
[[nodiscard]] std::string time_of_day(wall_time at);

/// `TERM`, `SIGTERM` or `15`.
[[nodiscard]] std::optional<int> signal_from(std::string_view text);
[[nodiscard]] std::string signal_name(int number);

/// What a program may print that came from elsewhere: control characters, with which a terminal can be told
/// things, become `?`.
[[nodiscard]] std::string harmless(std::string_view text);

/// The one of `known` that was probably meant; nothing if none is near.
[[nodiscard]] std::optional<std::string> nearest(std::string_view word,
                                                 const std::vector<std::string>& known);

}  // namespace dislock::cli
