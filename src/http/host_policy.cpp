#include "http/host_policy.hpp"

#include <algorithm>

namespace dislock::http {
namespace {

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}

bool same(std::string_view a, std::string_view b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return lower(x) == lower(y); });
}

bool ends_with(std::string_view text, std::string_view tail) {
  return text.size() >= tail.size() && same(text.substr(text.size() - tail.size()), tail);
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// 127.a.b.c, four plain decimal numbers: `127.evil.example` is a name.
bool is_loopback_v4(std::string_view name) {
  if (!name.starts_with("127.")) return false;
  int dots = 0;
  int digits = 0;
  int number = 0;
  for (const char c : name) {
    if (c == '.') {
      if (digits == 0) return false;
      ++dots;
      digits = number = 0;
    } else {
      number = number * 10 + (c - '0');
      if (!is_digit(c) || ++digits > 3 || number > 255) return false;
    }
  }
  return dots == 3 && digits > 0;
}

bool is_loopback(std::string_view name) {
  return is_loopback_v4(name) || same(name, "localhost") || name == "[::1]" || ends_with(name, ".localhost");
}

struct authority {
  std::string_view name;
  std::string_view port;  // without the colon
};

// host[:port] with the characters that a host may have (RFC 3986 without user information or escapes).
std::optional<authority> split(std::string_view text) {
  authority parts;
  std::size_t end = 0;
  if (text.starts_with('[')) {
    end = text.find(']');
    if (end == std::string_view::npos) return std::nullopt;
    ++end;
    const auto inside = text.substr(1, end - 2);
    const auto is_v6 = [](char c) {
      return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'f') || c == ':' || c == '.';
    };
    if (!std::all_of(inside.begin(), inside.end(), is_v6)) return std::nullopt;
  } else {
    const auto is_name = [](char c) {
      return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'z') || c == '-' || c == '.' || c == '_';
    };
    while (end < text.size() && is_name(text[end])) ++end;
  }
  parts.name = text.substr(0, end);
  text.remove_prefix(end);
  if (!text.empty()) {
    if (text.front() != ':' || text.size() > 6) return std::nullopt;
    parts.port = text.substr(1);
    if (!std::all_of(parts.port.begin(), parts.port.end(), is_digit)) return std::nullopt;
  }
  if (parts.name.size() > 1 && parts.name.back() == '.') parts.name.remove_suffix(1);  // the DNS root
  if (parts.name.empty()) return std::nullopt;
  return parts;
}

}  // namespace

host_policy::host_policy(std::vector<std::string> hosts, std::vector<std::string> origins)
    : hosts_(std::move(hosts)), origins_(std::move(origins)) {
  any_host_ = std::find(hosts_.begin(), hosts_.end(), "*") != hosts_.end();
}

bool host_policy::is_known(std::string_view name, std::string_view port) const {
  if (any_host_ || is_loopback(name)) return true;
  return std::any_of(hosts_.begin(), hosts_.end(), [&](const std::string& configured) {
    const auto parts = split(configured);
    return parts && same(parts->name, name) && (parts->port.empty() || parts->port == port);
  });
}

bool host_policy::is_allowed_origin(std::string_view origin, std::string_view host) const {
  for (const auto& configured : origins_) {
    if (same(configured, origin)) return true;
  }
  std::string_view default_port;
  if (origin.starts_with("http://")) default_port = "80";
  if (origin.starts_with("https://")) default_port = "443";
  if (default_port.empty()) return false;
  const auto from = split(origin.substr(origin.find("//") + 2));
  const auto own = split(host);
  if (!from || !own || !same(from->name, own->name)) return false;
  const auto or_default = [&](std::string_view port) { return port.empty() ? default_port : port; };
  return or_default(from->port) == or_default(own->port);
}

std::optional<errc> host_policy::check(const request& r, bool host_required) const {
  if (r.host.empty()) {
    if (host_required) return errc::malformed_http;
  } else {
    const auto parts = split(r.host);
    if (!parts) return errc::malformed_http;
    if (!is_known(parts->name, parts->port)) return errc::unknown_host;
  }
  if (!r.origin.empty() && !is_allowed_origin(r.origin, r.host)) return errc::forbidden_origin;
  return std::nullopt;
}

}  // namespace dislock::http
