#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

namespace dislock::http {

/// Appends `text` as a JSON string, quotes included. Control characters are escaped; a byte that is not part
/// of valid UTF-8 becomes U+FFFD, so that what comes out is always valid JSON.
void append_json_string(std::string& out, std::string_view text);

/// Appends a whole number.
void append_integer(std::string& out, std::int64_t number);

/// Appends milliseconds as seconds with up to three decimals: 1500 ms is `1.5`, 2 s is `2`.
void append_seconds(std::string& out, std::chrono::milliseconds span);

/// Appends an RFC 3339 time in UTC with milliseconds, `2024-02-29T12:00:00.123Z`, without quotes. The
/// calendar part of the last second is remembered per thread. REQUIRES: years 1970 to 9999.
void append_rfc3339(std::string& out, std::chrono::microseconds since_1970);

/// Writes one JSON text to the end of a string: commas are its business, nesting is yours.
///
/// Keys are written as they are: literals, never input. Cost: an append or two per call, no allocation of its
/// own.
class json_writer {
 public:
  explicit json_writer(std::string& out) noexcept : out_(out) {}

  json_writer& begin_object() { return open('{'); }
  json_writer& end_object() { return close('}'); }
  json_writer& begin_array() { return open('['); }
  json_writer& end_array() { return close(']'); }

  json_writer& key(std::string_view name) {
    separate();
    out_ += '"';
    out_ += name;
    out_ += "\":";
    comma_ = false;
    return *this;
  }

  json_writer& value(std::string_view text) {
    separate();
    append_json_string(out_, text);
    return *this;
  }
  json_writer& value(const char* text) { return value(std::string_view(text)); }
  json_writer& value(bool truth) { return raw(truth ? "true" : "false"); }
  template <std::integral Integer>
  json_writer& value(Integer number) {
    separate();
    append_integer(out_, static_cast<std::int64_t>(number));
    return *this;
  }
  json_writer& value(std::chrono::milliseconds span) {
    separate();
    append_seconds(out_, span);
    return *this;
  }
  /// A point in time, as a string.
  json_writer& time(std::chrono::microseconds since_1970) {
    separate();
    out_ += '"';
    append_rfc3339(out_, since_1970);
    out_ += '"';
    return *this;
  }
  json_writer& null() { return raw("null"); }
  /// A value that is JSON already.
  json_writer& raw(std::string_view json) {
    separate();
    out_ += json;
    return *this;
  }

  template <typename Value>
  json_writer& member(std::string_view name, const Value& v) {
    return key(name).value(v);
  }

 private:
  void separate() {
    if (comma_) out_ += ',';
    comma_ = true;
  }
  json_writer& open(char bracket) {
    separate();
    out_ += bracket;
    comma_ = false;
    return *this;
  }
  json_writer& close(char bracket) {
    out_ += bracket;
    comma_ = true;
    return *this;
  }

  std::string& out_;
  bool comma_ = false;
};

}  // namespace dislock::http
