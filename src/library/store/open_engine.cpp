#include "library/store/open_engine.hpp"

#include "engines/redis/redis_engine.hpp"

#include <algorithm>
#include <array>
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
    case redis::store_url::kind::sentinel: {
      redis_engine_options how;
      const auto failover = redis::read_failover_terms(*store, how.failover);
      if (!failover) return failover.error();
      how.failover = *failover;
      how.url = std::move(*store);
      how.callers_are_here = true;
      how.call_timeout = options.request_timeout;
      return make_redis_engine(io, where, time, std::move(how));
    }
    case redis::store_url::kind::cluster:
      return wrong("url: there is no engine redis+cluster: in this library yet");
    case redis::store_url::kind::redlock:
      return wrong("url: there is no engine redlock: in this library yet");
  }
  return wrong("url: not a store");
}

}  // namespace dislock::library
