#include "engines/redis/wire/server_facts.hpp"

#include "engines/redis/wire/command.hpp"

#include <charconv>

namespace dislock::redis {

server_facts::server_facts(std::string text) : text_(std::move(text)) {
  if (!run_id().empty() && !replication_id().empty())
    incarnation_ = sha1_hex(std::string(run_id()) + ":" + std::string(replication_id()));
}

std::string_view server_facts::field(std::string_view name) const noexcept {
  const std::string_view all = text_;
  for (std::size_t at = 0; at < all.size();) {
    const auto end = std::min(all.find('\n', at), all.size());
    auto line = all.substr(at, end - at);
    at = end + 1;
    if (line.size() <= name.size() || line[name.size()] != ':' || !line.starts_with(name)) continue;
    line.remove_prefix(name.size() + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    return line;
  }
  return {};
}

std::int64_t server_facts::number(std::string_view name) const noexcept {
  const auto text = field(name);
  std::int64_t out = 0;
  std::from_chars(text.data(), text.data() + text.size(), out);
  return out;
}

}  // namespace dislock::redis
