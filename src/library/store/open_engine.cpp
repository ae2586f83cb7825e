#include "library/store/open_engine.hpp"

#include "engines/redis/redis_engine.hpp"
#include "engines/redlock/redlock_engine.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <string>
#include <utility>

namespace dislock::library {
namespace {

constexpr std::array<std::string_view, 8> schemes{
    "redis://",         "rediss://",         "redis+sentinel://", "rediss+sentinel://",
    "redis+cluster://", "rediss+cluster://", "redlock://",        "redlocks://"};

error wrong(std::string detail) {
  error out;
  out.code = errc::invalid_field;
  out.detail = std::move(detail);
  return out;
}

// `?max-ttl=`: what MAX_TIMEOUT is for a dislockd on the same nodes. Taken out of what the engine would have
// to understand.
std::optional<error> take_max_ttl(redis::store_url& url, duration& into) {
  const auto it = std::ranges::find(url.others, "max-ttl", [](const auto& each) { return each.first; });
  if (it == url.others.end()) return std::nullopt;
  double seconds = 0;
  const auto& text = it->second;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (problem != std::errc() || end != text.data() + text.size() || !(seconds >= 0.1 && seconds <= 86'400))
    return wrong("url: max-ttl is a number of seconds from 0.1 to 86400");
  into = std::chrono::round<duration>(std::chrono::duration<double>(seconds));
  url.others.erase(it);
  return std::nullopt;
}

}  // namespace

bool names_a_store(std::string_view url) noexcept {
  return std::ranges::any_of(schemes, [&](auto scheme) { return url.starts_with(scheme); });
}

result<std::unique_ptr<engine>> open_engine(std::string_view url, const client_options& options,
                                            boost::asio::io_context& io, loop& where, const clock& time) {
  auto store = redis::parse_store_url(url);
  if (!store) return store.error();
  switch (store->what) {
    case redis::store_url::kind::single:
    case redis::store_url::kind::sentinel:
    case redis::store_url::kind::cluster: {
      redis_engine_options how;
      const auto failover = redis::read_failover_terms(*store, how.failover);
      if (!failover) return failover.error();
      how.failover = *failover;
      how.url = std::move(*store);
      how.callers_are_here = true;
      how.call_timeout = options.request_timeout;
      return make_redis_engine(io, where, time, std::move(how));
    }
    case redis::store_url::kind::redlock: {
      redlock_engine_options how;
      if (auto problem = take_max_ttl(*store, how.max_ttl)) return std::move(*problem);
      how.url = std::move(*store);
      return make_redlock_engine(io, where, time, std::move(how));
    }
  }
  return wrong("url: not a store");
}

}  // namespace dislock::library
