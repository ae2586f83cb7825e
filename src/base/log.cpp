#include "base/log.hpp"

#include <spdlog/formatter.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <ctime>
#include <memory>
#include <mutex>
#include <type_traits>

namespace dislock::log {
namespace {

using level_name = std::pair<std::string_view, level>;
constexpr std::array<level_name, 5> level_names{{{"debug", level::debug},
                                                 {"info", level::info},
                                                 {"warn", level::warn},
                                                 {"error", level::error},
                                                 {"off", level::off}}};
using format_name = std::pair<std::string_view, format>;
constexpr std::array<format_name, 2> format_names{{{"text", format::text}, {"json", format::json}}};

template <class Names, class Value>
std::string_view name_in(const Names& names, Value wanted) noexcept {
  const auto found = std::ranges::find(names, wanted, [](const auto& entry) { return entry.second; });
  return found == names.end() ? std::string_view("?") : found->first;
}

template <class Names>
auto value_in(const Names& names, std::string_view wanted) noexcept {
  const auto found = std::ranges::find(names, wanted, [](const auto& entry) { return entry.first; });
  return found == names.end() ? std::nullopt : std::optional(found->second);
}

spdlog::level::level_enum to_spdlog(level severity) noexcept {
  switch (severity) {
    case level::debug:
      return spdlog::level::debug;
    case level::info:
      return spdlog::level::info;
    case level::warn:
      return spdlog::level::warn;
    case level::error:
      return spdlog::level::err;
    case level::off:
      break;
  }
  return spdlog::level::off;
}

level from_spdlog(spdlog::level::level_enum severity) noexcept {
  switch (severity) {
    case spdlog::level::debug:
      return level::debug;
    case spdlog::level::info:
      return level::info;
    case spdlog::level::warn:
      return level::warn;
    default:
      return level::error;
  }
}

void append_hex(std::string& out, std::string_view prefix, unsigned char byte) {
  constexpr std::string_view digits = "0123456789abcdef";
  out += prefix;
  out += digits[byte >> 4U];
  out += digits[byte & 0xFU];
}

// How many bytes the well-formed UTF-8 character at the start of `text` has; 0 when there is none.
std::size_t utf8_length(std::string_view text) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto lead = byte(0);
  const std::size_t length = lead < 0x80U                     ? 1
                             : lead >= 0xC2U && lead <= 0xDFU ? 2
                             : lead >= 0xE0U && lead <= 0xEFU ? 3
                             : lead >= 0xF0U && lead <= 0xF4U ? 4
                                                              : 0;
  if (length == 0 || length > text.size()) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0U) != 0x80U) return 0;
  }
  if (length < 3) return length;
  const auto second = byte(1);
  const bool overlong = (lead == 0xE0U && second < 0xA0U) || (lead == 0xF0U && second < 0x90U);
  const bool surrogate = lead == 0xEDU && second > 0x9FU;
  const bool too_large = lead == 0xF4U && second > 0x8FU;
  return overlong || surrogate || too_large ? 0 : length;
}

// Escapes so that the result is one line of valid UTF-8 without a terminal's control sequences. The C1
// controls (U+0080 to U+009F) are among them: some terminals obey them. Bytes that are no UTF-8 become U+FFFD
// in JSON, which cannot hold them, and \xNN in text.
void append_escaped(std::string& out, std::string_view text, format form) {
  while (!text.empty()) {
    const auto length = utf8_length(text);
    const auto first = static_cast<unsigned char>(text.front());
    if (length == 0) {
      if (form == format::json) {
        out += "\\ufffd";
      } else {
        append_hex(out, "\\x", first);
      }
      text.remove_prefix(1);
      continue;
    }
    const bool c1_control = length == 2 && first == 0xC2U && static_cast<unsigned char>(text[1]) < 0xA0U;
    if (first == '"' || first == '\\') {
      out += '\\';
      out += text.front();
    } else if (first == '\n') {
      out += "\\n";
    } else if (first == '\r') {
      out += "\\r";
    } else if (first == '\t') {
      out += "\\t";
    } else if (first < 0x20U || first == 0x7FU) {
      append_hex(out, "\\u00", first);
    } else if (c1_control) {
      append_hex(out, "\\u00", static_cast<unsigned char>(text[1]));
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length);
  }
}

void append_quoted(std::string& out, std::string_view text, format form) {
  out += '"';
  append_escaped(out, text, form);
  out += '"';
}

// Text that a reader can take in without quotes: nothing to escape, and no blank or '=' to be misled by.
bool is_plain(std::string_view text) noexcept {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return c > ' ' && c < 0x7F && c != '"' && c != '\\' && c != '=';
  });
}

void append_number(std::string& out, auto number) {
  std::array<char, 32> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), number).ptr;
  out.append(buffer.data(), end);
}

void append_value(std::string& out, const value& content, format form) {
  std::visit(
      [&](const auto& held) {
        using held_type = std::decay_t<decltype(held)>;
        if constexpr (std::is_same_v<held_type, std::string_view>) {
          if (form == format::text && is_plain(held)) {
            out += held;
          } else {
            append_quoted(out, held, form);
          }
        } else if constexpr (std::is_same_v<held_type, bool>) {
          out += held ? "true" : "false";
        } else if constexpr (std::is_same_v<held_type, double>) {
          if (form == format::json && !std::isfinite(held)) {
            out += "null";  // JSON has no other word for it
          } else {
            append_number(out, held);
          }
        } else {
          append_number(out, held);
        }
      },
      content.held());
}

// Everything of the line after the time and the level.
std::string payload(std::string_view area, std::string_view message, fields extra, format form) {
  std::string out;
  out.reserve(160);
  if (form == format::json) {
    out += R"(,"area":)";
    append_quoted(out, area, form);
    out += R"(,"message":)";
    append_quoted(out, message, form);
    for (const auto& [key, content] : extra) {
      out += ',';
      append_quoted(out, key, form);
      out += ':';
      append_value(out, content, form);
    }
    out += '}';
    return out;
  }
  append_escaped(out, area, form);
  out += ": ";
  append_escaped(out, message, form);
  for (const auto& [key, content] : extra) {
    out += ' ';
    append_escaped(out, key, form);
    out += '=';
    append_value(out, content, form);
  }
  return out;
}

// RFC 3339, UTC, milliseconds: the same time format as on the wire.
std::string timestamp(spdlog::log_clock::time_point when) {
  const auto since_epoch = when.time_since_epoch();
  const auto seconds = std::chrono::floor<std::chrono::seconds>(since_epoch);
  const auto millis = std::chrono::floor<std::chrono::milliseconds>(since_epoch - seconds).count();
  const auto calendar_time = static_cast<std::time_t>(seconds.count());
  std::tm parts{};
  ::gmtime_r(&calendar_time, &parts);

  std::array<char, 32> buffer{};
  const auto length = std::strftime(buffer.data(), buffer.size(), "%Y-%m-%dT%H:%M:%S", &parts);
  std::string out(buffer.data(), length);
  out += '.';
  if (millis < 100) out += '0';
  if (millis < 10) out += '0';
  out += std::to_string(millis);
  out += 'Z';
  return out;
}

// spdlog decides the time of an event; this writes it, and the level, in front of the payload.
class line_formatter final : public spdlog::formatter {
 public:
  explicit line_formatter(log::format form) noexcept : form_(form) {}

  void format(const spdlog::details::log_msg& event, spdlog::memory_buf_t& destination) override {
    const auto append = [&](std::string_view text) {
      destination.append(text.data(), text.data() + text.size());
    };
    const auto severity = to_string(from_spdlog(event.level));
    if (form_ == log::format::json) {
      append(R"({"time":")");
      append(timestamp(event.time));
      append(R"(","level":")");
      append(severity);
      append("\"");
    } else {
      append(timestamp(event.time));
      append(" ");
      append(severity);
      append(severity.size() < 5 ? "  " : " ");  // so that the areas stand in one column
    }
    append({event.payload.data(), event.payload.size()});
    append("\n");
  }

  [[nodiscard]] std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<line_formatter>(form_);
  }

 private:
  log::format form_;
};

class function_sink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit function_sink(std::function<void(std::string_view)> target) : target_(std::move(target)) {}

 private:
  void sink_it_(const spdlog::details::log_msg& event) override {
    spdlog::memory_buf_t line;
    formatter_->format(event, line);
    target_({line.data(), line.size()});
  }
  void flush_() override {}

  std::function<void(std::string_view)> target_;
};

// The sink and its format, which change together. Readers hold their own reference, so that a line that is
// being written while `configure` runs goes out whole.
class output {
 public:
  struct route {
    format form = format::text;
    std::shared_ptr<spdlog::sinks::sink> sink;
  };

  std::shared_ptr<const route> current() {
    const std::lock_guard guard(mutex_);
    return route_;
  }

  void set_format(format form) {
    const std::lock_guard guard(mutex_);
    form_ = form;
    rebuild();
  }

  void set_target(std::function<void(std::string_view)> target) {
    const std::lock_guard guard(mutex_);
    target_ = std::move(target);
    rebuild();
  }

 private:
  void rebuild() {
    std::shared_ptr<spdlog::sinks::sink> sink;
    if (target_) {
      sink = std::make_shared<function_sink>(target_);
    } else {
      sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    }
    sink->set_formatter(std::make_unique<line_formatter>(form_));
    route_ = std::make_shared<const route>(route{form_, std::move(sink)});
  }

  std::mutex mutex_;
  format form_ = format::text;
  std::function<void(std::string_view)> target_;
  std::shared_ptr<const route> route_ = [] {
    auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    sink->set_formatter(std::make_unique<line_formatter>(format::text));
    return std::make_shared<const route>(route{format::text, std::move(sink)});
  }();
};

// Never destroyed: what runs after main may still log.
output& the_output() {
  static auto* const instance = new output;
  return *instance;
}

}  // namespace

std::string_view to_string(level value) noexcept {
  return name_in(level_names, value);
}
std::string_view to_string(format value) noexcept {
  return name_in(format_names, value);
}
std::optional<level> level_from_string(std::string_view text) noexcept {
  return value_in(level_names, text);
}
std::optional<format> format_from_string(std::string_view text) noexcept {
  return value_in(format_names, text);
}

void configure(options chosen) {
  the_output().set_format(chosen.form);
  detail::threshold.store(chosen.threshold, std::memory_order_relaxed);
}

void redirect(std::function<void(std::string_view)> sink) {
  the_output().set_target(std::move(sink));
}

void detail::write(level severity, std::string_view area, std::string_view message, fields extra) noexcept {
  try {
    const auto route = the_output().current();
    const auto text = payload(area, message, extra, route->form);
    const spdlog::details::log_msg event({}, to_spdlog(severity), text);
    route->sink->log(event);
    route->sink->flush();
  } catch (...) {  // NOLINT(bugprone-empty-catch): see the promise in the header
  }
}

}  // namespace dislock::log
