#include "library/requests.hpp"

#include "base/secrets.hpp"
#include "library/store/open_engine.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <unistd.h>

namespace dislock::library {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr duration shortest_ttl = milliseconds(100);
constexpr duration longest_ttl = hours(24);
constexpr duration longest_hold = hours(24 * 30);
constexpr std::uint32_t most_permits = 1'000'000;
constexpr std::size_t most_locks = 32;
constexpr std::size_t most_metadata = 4096;

constexpr auto allowed_characters = [] {
  std::array<bool, 256> allowed{};
  for (const char c :
       std::string_view("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~:/@+=,-"))
    allowed[static_cast<unsigned char>(c)] = true;
  return allowed;
}();

bool all_allowed(std::string_view s) noexcept {
  return std::all_of(s.begin(), s.end(),
                     [](char c) { return allowed_characters[static_cast<unsigned char>(c)]; });
}

std::optional<std::string_view> why_not_a_lock_name(std::string_view name) noexcept {
  if (name.empty()) return "a lock name has at least one character";
  if (name.size() > 255) return "a lock name has at most 255 bytes";
  if (!all_allowed(name)) return "a lock name consists of the characters A-Z a-z 0-9 . _ ~ : / @ + = , and -";
  for (std::size_t at = 0; at <= name.size();) {
    const auto end = std::min(name.find('/', at), name.size());
    const auto segment = name.substr(at, end - at);
    if (segment.empty()) return "no segment of a lock name is empty";
    if (segment == "." || segment == "..") return "no segment of a lock name is . or ..";
    at = end + 1;
  }
  return std::nullopt;
}

error wrong(std::string detail) {
  error out;
  out.code = errc::invalid_field;
  out.detail = std::move(detail);
  return out;
}

std::string in_seconds(duration d) {
  char text[32];
  std::snprintf(text, sizeof text, "%g s", std::chrono::duration<double>(d).count());
  return text;
}

std::optional<error> out_of_range(std::string_view field, duration is, duration least, duration most) {
  if (is >= least && is <= most) return std::nullopt;
  return wrong(std::string(field) + ": from " + in_seconds(least) + " to " + in_seconds(most) + ", not " +
               in_seconds(is));
}

std::optional<error> wrong_metadata(std::string& metadata) {
  if (metadata.empty()) return std::nullopt;
  if (metadata.size() > 16 * most_metadata) return wrong("metadata: at most 4096 bytes as compact JSON");
  boost::system::error_code failed;
  const auto read = boost::json::parse(metadata, failed);
  if (failed || !read.is_object()) return wrong("metadata: a JSON object");
  auto compact = boost::json::serialize(read);
  if (compact.size() > most_metadata) return wrong("metadata: at most 4096 bytes as compact JSON");
  metadata = std::move(compact);
  return std::nullopt;
}

}  // namespace

bool is_identifier(std::string_view s, std::size_t longest) noexcept {
  return !s.empty() && s.size() <= longest && all_allowed(s);
}

std::optional<error> wrong_lock_name(std::string_view name) {
  const auto why = why_not_a_lock_name(name);
  if (!why) return std::nullopt;
  error out;
  out.code = errc::invalid_lock_name;
  out.detail = *why;
  return out;
}

std::optional<error> wrong_locks(std::span<const lock_request> locks, bool multi) {
  if (multi && (locks.empty() || locks.size() > most_locks)) return wrong("locks: from 1 to 32 of them");
  for (std::size_t i = 0; i < locks.size(); ++i) {
    const auto& one = locks[i];
    if (auto out = wrong_lock_name(one.name)) return out;
    if (one.mode > lock_mode::semaphore) return wrong("mode: exclusive, shared or semaphore");
    if (one.mode == lock_mode::semaphore) {
      if (one.limit < 1 || one.limit > most_permits)
        return wrong("limit: a semaphore has 1 to 1000000 permits");
      if (one.permits < 1 || one.permits > one.limit)
        return wrong("permits: from 1 to the semaphore's limit");
    } else {
      if (one.limit != 0) return wrong("limit: only a semaphore has one");
      if (one.permits != 1) return wrong("permits: only a semaphore has them");
    }
    for (std::size_t j = 0; j < i; ++j)
      if (locks[j].name == one.name) return wrong("locks: no lock is named twice");
  }
  return std::nullopt;
}

std::optional<error> wrong_options(acquire_options& o, bool only_try) {
  if (!only_try)
    if (auto out = out_of_range("wait", o.wait, duration::zero(), seconds(600))) return out;
  if (auto out = wrong_ttl(o.ttl)) return out;
  if (o.max_hold)
    if (auto out = out_of_range("max_hold", *o.max_hold, shortest_ttl, longest_hold)) return out;
  if (o.lock_delay != duration::zero())
    if (auto out = out_of_range("lock_delay", o.lock_delay, duration::zero(), seconds(60))) return out;
  if (!o.client_id.empty()) {
    if (!is_identifier(o.client_id, 128))
      return wrong("client_id: 1 to 128 of the characters A-Z a-z 0-9 . _ ~ : / @ + = , and -");
    if (o.within && o.within->client_id() != o.client_id)
      return wrong("client_id: not the one of the lease that `within` names");
  }
  if (o.within && !*o.within) return wrong("within: a lease that holds something");
  if (o.reenter && !o.within) return wrong("reenter: needs `within`");
  return wrong_metadata(o.metadata);
}

std::optional<error> wrong_options(const client_options& o) {
  constexpr std::string_view in_instance =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~:@+=,-";
  if (o.instance.size() > 64 || o.instance.find_first_not_of(in_instance) != std::string::npos)
    return wrong("instance: 1 to 64 of the characters A-Z a-z 0-9 . _ ~ : @ + = , and -");
  if (auto out = out_of_range("ttl", o.ttl, shortest_ttl, longest_ttl)) return out;
  if (o.renewal_interval)
    if (auto out = out_of_range("renewal_interval", *o.renewal_interval, milliseconds(10), longest_ttl))
      return out;
  if (o.stop_margin)
    if (auto out = out_of_range("stop_margin", *o.stop_margin, duration::zero(), longest_ttl)) return out;
  if (o.connections < 1 || o.connections > 65'536) return wrong("connections: from 1 to 65536");
  if (auto out = out_of_range("connect_timeout", o.connect_timeout, milliseconds(1), hours(1))) return out;
  if (auto out = out_of_range("request_timeout", o.request_timeout, milliseconds(1), hours(1))) return out;
  return std::nullopt;
}

std::optional<error> wrong_ttl(std::optional<duration> ttl) {
  return ttl ? out_of_range("ttl", *ttl, shortest_ttl, longest_ttl) : std::nullopt;
}

std::optional<error> wrong_reason(std::string_view reason) {
  const bool printable = std::all_of(reason.begin(), reason.end(), [](char c) {
    return static_cast<unsigned char>(c) >= 0x20 && c != 0x7f;
  });
  if (reason.size() <= 200 && printable) return std::nullopt;
  return wrong("reason: at most 200 printable bytes");
}

result<engine_url> parse_url(std::string_view url) {
  constexpr std::string_view embedded = "embedded:";
  if (url == "memory:" || url == "memory") return engine_url{engine_url::kind::memory, {}};
  if (url.starts_with(embedded)) {
    if (url.size() == embedded.size())
      return wrong("url: embedded: needs a directory, as in embedded:/var/lib/locks");
    return engine_url{engine_url::kind::embedded, std::string(url.substr(embedded.size()))};
  }
  if (url.starts_with("http://") || url.starts_with("https://"))
    return engine_url{engine_url::kind::http, std::string(url)};
  if (names_a_store(url)) return engine_url{engine_url::kind::store, std::string(url)};
  // Only the scheme is repeated: there may be a password behind it.
  const auto scheme = url.substr(0, std::min(url.find(':'), url.size()));
  std::string detail = "url: ";
  if (is_identifier(scheme, 32) && scheme.size() < url.size()) {
    detail.append("there is no engine ").append(scheme).append(": in this library; ");
  }
  return wrong(
      detail +
      "memory:, embedded:/path, redis://host:port, redlock://h1,h2,h3 and http://host:port are known");
}

std::string make_instance() {
  char host[256] = {};
  if (::gethostname(host, sizeof host - 1) != 0) host[0] = '\0';
  std::string out;
  for (const char* c = host; *c != '\0' && out.size() < 32; ++c)
    out += *c != '/' && allowed_characters[static_cast<unsigned char>(*c)] ? *c : '-';
  if (out.empty()) out = "host";
  out += '-' + std::to_string(::getpid()) + '-';
  system_secrets random;
  return out + random.make<lock_id>().to_string().substr(0, 8);
}

}  // namespace dislock::library
