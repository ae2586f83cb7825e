#include "http/json_writer.hpp"

#include <array>
#include <charconv>
#include <cstring>

namespace dislock::http {
namespace {

constexpr char hex_digits[] = "0123456789abcdef";

// Bytes that go out as they are: printable ASCII but for the quote and the backslash.
constexpr std::array<bool, 256> make_plain() {
  std::array<bool, 256> plain{};
  for (unsigned c = 0x20; c < 0x7f; ++c) plain[c] = c != '"' && c != '\\';
  return plain;
}
constexpr auto plain = make_plain();

// The length of the UTF-8 sequence at the front of `text`, or 0 if there is none (RFC 3629: no surrogates, no
// overlong forms, nothing above U+10FFFF).
std::size_t utf8_length(std::string_view text) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto continues = [&](std::size_t i) { return i < text.size() && (at(i) & 0xc0) == 0x80; };
  const unsigned char lead = at(0);
  if (lead >= 0xc2 && lead <= 0xdf) return continues(1) ? 2 : 0;
  if (lead >= 0xe0 && lead <= 0xef) {
    if (!continues(1) || !continues(2)) return 0;
    if ((lead == 0xe0 && at(1) < 0xa0) || (lead == 0xed && at(1) > 0x9f)) return 0;
    return 3;
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    if (!continues(1) || !continues(2) || !continues(3)) return 0;
    if ((lead == 0xf0 && at(1) < 0x90) || (lead == 0xf4 && at(1) > 0x8f)) return 0;
    return 4;
  }
  return 0;
}

void append_escaped(std::string& out, unsigned char c) {
  switch (c) {
    case '"':
      out += "\\\"";
      return;
    case '\\':
      out += "\\\\";
      return;
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\t':
      out += "\\t";
      return;
    default:
      out += "\\u00";
      out += hex_digits[c >> 4];
      out += hex_digits[c & 15];
  }
}

void put_digits(char* to, unsigned number, int width) {
  while (width-- > 0) {
    to[width] = static_cast<char>('0' + number % 10);
    number /= 10;
  }
}

}  // namespace

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  while (true) {
    std::size_t run = 0;
    while (run < text.size() && plain[static_cast<unsigned char>(text[run])]) ++run;
    out.append(text.data(), run);
    text.remove_prefix(run);
    if (text.empty()) break;
    const auto c = static_cast<unsigned char>(text.front());
    std::size_t used = 1;
    if (c < 0x80) {
      append_escaped(out, c);
    } else if (const auto length = utf8_length(text); length != 0) {
      out.append(text.data(), length);
      used = length;
    } else {
      out += "\xef\xbf\xbd";
    }
    text.remove_prefix(used);
  }
  out += '"';
}

void append_integer(std::string& out, std::int64_t number) {
  char digits[24];
  const auto end = std::to_chars(digits, digits + sizeof digits, number).ptr;
  out.append(digits, end);
}

void append_seconds(std::string& out, std::chrono::milliseconds span) {
  const bool negative = span.count() < 0;
  const auto ms =
      negative ? 0 - static_cast<std::uint64_t>(span.count()) : static_cast<std::uint64_t>(span.count());
  if (negative) out += '-';
  append_integer(out, static_cast<std::int64_t>(ms / 1000));
  if (const auto rest = static_cast<unsigned>(ms % 1000); rest != 0) {
    char digits[4] = {'.'};
    put_digits(digits + 1, rest, 3);
    std::size_t size = 4;
    while (digits[size - 1] == '0') --size;
    out.append(digits, size);
  }
}

void append_rfc3339(std::string& out, std::chrono::microseconds since_1970) {
  namespace ch = std::chrono;
  struct remembered {
    ch::seconds second{-1};
    char text[25] = "0000-00-00T00:00:00.000Z";
  };
  thread_local remembered last;

  const auto second = ch::floor<ch::seconds>(since_1970);
  if (second != last.second) {
    const auto day = ch::floor<ch::days>(second);
    const ch::year_month_day date{ch::sys_days{day}};
    const ch::hh_mm_ss clock{second - day};
    put_digits(last.text, static_cast<unsigned>(static_cast<int>(date.year())), 4);
    put_digits(last.text + 5, static_cast<unsigned>(date.month()), 2);
    put_digits(last.text + 8, static_cast<unsigned>(date.day()), 2);
    put_digits(last.text + 11, static_cast<unsigned>(clock.hours().count()), 2);
    put_digits(last.text + 14, static_cast<unsigned>(clock.minutes().count()), 2);
    put_digits(last.text + 17, static_cast<unsigned>(clock.seconds().count()), 2);
    last.second = second;
  }
  put_digits(last.text + 20, static_cast<unsigned>((since_1970 - second).count() / 1000), 3);
  out.append(last.text, 24);
}

}  // namespace dislock::http
