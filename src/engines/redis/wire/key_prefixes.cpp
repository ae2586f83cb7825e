#include "engines/redis/wire/key_prefixes.hpp"

#include <algorithm>

namespace dislock::redis {
namespace {

constexpr std::size_t longest = 100;

error wrong(std::string detail) {
  error e;
  e.code = errc::invalid_field;
  e.detail = "url: " + std::move(detail);
  return e;
}

bool is_text(std::string_view prefix) {
  return prefix.size() <= longest &&
         std::none_of(prefix.begin(), prefix.end(), [](char c) { return c < ' ' && c >= '\0'; });
}

bool has_tag(std::string_view prefix) {
  const auto open = prefix.find('{');
  return open != std::string_view::npos && prefix.find('}', open + 1) != std::string_view::npos &&
         prefix[open + 1] != '}';
}

}  // namespace

result<key_prefixes> key_prefixes::of(const store_url& url) {
  key_prefixes out;
  const bool cluster = url.what == store_url::kind::cluster;
  if (cluster) out.own = "{dislock}:";
  if (url.own_prefix) out.own = *url.own_prefix;
  if (out.own.empty() || !is_text(out.own))
    return wrong("own-prefix is 1 to 100 bytes without control characters");
  if (cluster) {
    if (!has_tag(out.own)) return wrong("own-prefix needs a hash tag on a Cluster, such as {billing}:");
    if (url.prefix) return wrong("prefix means nothing on a Cluster: all keys begin with own-prefix there");
    out.canonical = out.own + "key:";
    return out;
  }
  if (url.prefix) out.canonical = *url.prefix;
  if (!is_text(out.canonical)) return wrong("prefix is at most 100 bytes without control characters");
  if (out.canonical.starts_with(out.own)) return wrong("prefix must not begin with own-prefix");
  return out;
}

bool key_prefixes::reserve(std::string_view lock) const noexcept {
  if (canonical.starts_with(own) || !own.starts_with(canonical)) return false;
  return lock.starts_with(std::string_view(own).substr(canonical.size()));
}

}  // namespace dislock::redis
