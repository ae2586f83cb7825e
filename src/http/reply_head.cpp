#include "http/reply_head.hpp"

#include "http/json_writer.hpp"

#include <cstdio>

namespace dislock::http {
namespace {

std::string_view status_line_of(int status) {
  switch (status) {
    case 200:
      return "HTTP/1.1 200 OK\r\n";
    case 201:
      return "HTTP/1.1 201 Created\r\n";
    case 202:
      return "HTTP/1.1 202 Accepted\r\n";
    case 204:
      return "HTTP/1.1 204 No Content\r\n";
    case 304:
      return "HTTP/1.1 304 Not Modified\r\n";
    case 400:
      return "HTTP/1.1 400 Bad Request\r\n";
    case 401:
      return "HTTP/1.1 401 Unauthorized\r\n";
    case 403:
      return "HTTP/1.1 403 Forbidden\r\n";
    case 404:
      return "HTTP/1.1 404 Not Found\r\n";
    case 405:
      return "HTTP/1.1 405 Method Not Allowed\r\n";
    case 408:
      return "HTTP/1.1 408 Request Timeout\r\n";
    case 409:
      return "HTTP/1.1 409 Conflict\r\n";
    case 413:
      return "HTTP/1.1 413 Content Too Large\r\n";
    case 415:
      return "HTTP/1.1 415 Unsupported Media Type\r\n";
    case 421:
      return "HTTP/1.1 421 Misdirected Request\r\n";
    case 422:
      return "HTTP/1.1 422 Unprocessable Content\r\n";
    case 429:
      return "HTTP/1.1 429 Too Many Requests\r\n";
    case 431:
      return "HTTP/1.1 431 Request Header Fields Too Large\r\n";
    case 500:
      return "HTTP/1.1 500 Internal Server Error\r\n";
    case 503:
      return "HTTP/1.1 503 Service Unavailable\r\n";
    default:
      return {};
  }
}

}  // namespace

void append_head(std::string& out, const reply_head& head, std::string_view date_line) {
  if (const auto line = status_line_of(head.status); !line.empty()) {
    out += line;
  } else {
    out += "HTTP/1.1 ";
    append_integer(out, head.status);
    out += " \r\n";  // the reason may be empty, the space before it may not be missing
  }
  out += date_line;
  if (!head.type.empty()) {
    out += "Content-Type: ";
    out += head.type;
    out += "\r\n";
  }
  if (head.length) {
    out += "Content-Length: ";
    append_integer(out, static_cast<std::int64_t>(*head.length));
    out += "\r\n";
  }
  if (head.chunked) out += "Transfer-Encoding: chunked\r\n";
  if (!head.connection.empty()) {
    out += "Connection: ";
    out += head.connection;
    out += "\r\n";
  }
  out += head.headers;
  out += "\r\n";
}

std::string date_line_of(std::chrono::sys_seconds time) {
  namespace ch = std::chrono;
  constexpr const char* days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  constexpr const char* months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                    "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const auto day = ch::floor<ch::days>(time);
  const ch::year_month_day date{day};
  const ch::hh_mm_ss clock{time - day};
  char line[64];
  const int size = std::snprintf(
      line, sizeof line, "Date: %s, %02u %s %04d %02d:%02d:%02d GMT\r\n", days[ch::weekday{day}.c_encoding()],
      static_cast<unsigned>(date.day()), months[static_cast<unsigned>(date.month()) - 1],
      static_cast<int>(date.year()), static_cast<int>(clock.hours().count()),
      static_cast<int>(clock.minutes().count()), static_cast<int>(clock.seconds().count()));
  return {line, static_cast<std::size_t>(size)};
}

}  // namespace dislock::http
