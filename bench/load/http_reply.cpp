#include "http_reply.hpp"

#include <charconv>
#include <cstring>
#include <strings.h>

namespace dislock::load {
namespace {

// memmem of glibc is several times faster than string_view::find on bodies of this size.
std::size_t find(std::string_view text, std::string_view what) noexcept {
  const auto* at = static_cast<const char*>(memmem(text.data(), text.size(), what.data(), what.size()));
  return at == nullptr ? std::string_view::npos : static_cast<std::size_t>(at - text.data());
}

std::optional<std::uint64_t> leading_number(std::string_view text) noexcept {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{}) return std::nullopt;
  return number;
}

// `name` ends with its colon.
std::optional<std::string_view> header(std::string_view head, std::string_view name) noexcept {
  for (auto at = head.find('\n'); at != std::string_view::npos; at = head.find('\n')) {
    head.remove_prefix(at + 1);
    if (head.size() > name.size() && strncasecmp(head.data(), name.data(), name.size()) == 0) {
      head.remove_prefix(name.size());
      while (!head.empty() && head.front() == ' ') head.remove_prefix(1);
      return head.substr(0, head.find('\r'));
    }
  }
  return std::nullopt;
}

std::optional<std::string_view> value_of(std::string_view body, std::string_view quoted_key) noexcept {
  const auto at = find(body, quoted_key);
  if (at == std::string_view::npos) return std::nullopt;
  body.remove_prefix(at + quoted_key.size());
  while (!body.empty() && (body.front() == ':' || body.front() == ' ')) body.remove_prefix(1);
  return body;
}

}  // namespace

parse_result parse_reply(std::string_view bytes, http_reply& reply) noexcept {
  const auto end = find(bytes, "\r\n\r\n");
  if (end == std::string_view::npos) return {};

  constexpr std::string_view version = "HTTP/1.1 ";
  if (bytes.substr(0, version.size()) != version) return {parse_state::malformed, 0};
  reply.head = bytes.substr(0, end + 2);
  const auto status = leading_number(reply.head.substr(version.size()));
  const auto length_text = header(reply.head, "Content-Length:");
  const auto length = length_text ? leading_number(*length_text) : std::nullopt;
  if (!status || !length) return {parse_state::malformed, 0};

  const auto size = end + 4 + *length;
  if (bytes.size() < size) return {};
  reply.status = static_cast<int>(*status);
  reply.body = bytes.substr(end + 4, *length);
  return {parse_state::complete, size};
}

std::optional<std::string_view> find_string(std::string_view body, std::string_view quoted_key) noexcept {
  auto value = value_of(body, quoted_key);
  if (!value || value->empty() || value->front() != '"') return std::nullopt;
  value->remove_prefix(1);
  const auto end = value->find('"');
  if (end == std::string_view::npos) return std::nullopt;
  return value->substr(0, end);
}

std::optional<std::uint64_t> find_number(std::string_view body, std::string_view quoted_key) noexcept {
  auto value = value_of(body, quoted_key);
  if (!value) return std::nullopt;
  if (!value->empty() && value->front() == '"') value->remove_prefix(1);
  return leading_number(*value);
}

std::optional<std::uint64_t> retry_after(const http_reply& reply) noexcept {
  const auto value = header(reply.head, "Retry-After:");
  return value ? leading_number(*value) : std::nullopt;
}

}  // namespace dislock::load
