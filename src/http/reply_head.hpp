#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace dislock::http {

/// What the head of a reply says about the body and the connection.
struct reply_head {
  int status = 200;
  std::string_view type = {};              ///< no Content-Type when empty
  std::optional<std::size_t> length = {};  ///< no Content-Length when empty
  std::string_view connection = {};        ///< "close", "keep-alive", or nothing
  bool chunked = false;
  std::string_view headers = {};  ///< complete lines
};

/// Appends status line, headers and the empty line. `date_line` is a whole `Date:` line, or nothing.
void append_head(std::string& out, const reply_head& head, std::string_view date_line);

/// `Date: Sun, 06 Nov 1994 08:49:37 GMT` with its CRLF (RFC 9110, 6.6.1).
[[nodiscard]] std::string date_line_of(std::chrono::sys_seconds time);

}  // namespace dislock::http
