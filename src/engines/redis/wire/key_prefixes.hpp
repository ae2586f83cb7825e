// How the names of our keys begin.
#pragma once

#include "engines/redis/wire/url.hpp"

#include <string>
#include <string_view>

namespace dislock::redis {

/// By the parameters `prefix` and `own-prefix` of the store's URL.
///
/// On a Cluster all keys of one service are in one slot, so that one decision can be about any of them: `own`
/// has a hash tag, and the keys that show the locks begin with it as well. Two services with other tags may
/// live on other nodes.
struct key_prefixes {
  std::string canonical = "lock:";  ///< of the keys that other libraries see; may be empty
  std::string own = "dislock:";     ///< of everything else that we keep

  /// `invalid_field`: what collides, or cannot be.
  [[nodiscard]] static result<key_prefixes> of(const store_url& url);
  /// Its canonical key would be one of our own.
  [[nodiscard]] bool reserve(std::string_view lock) const noexcept;
};

}  // namespace dislock::redis
