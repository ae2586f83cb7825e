// TLS for connections to Redis.
#pragma once

#include "dislock/error.hpp"
#include "engines/redis/wire/url.hpp"

#include <boost/asio/ssl/context.hpp>

#include <memory>

namespace dislock::redis {

/// Null where there is no TLS. `invalid_field` for files that cannot be used.
[[nodiscard]] result<std::unique_ptr<boost::asio::ssl::context>> make_tls(const tls_terms& terms);

}  // namespace dislock::redis
