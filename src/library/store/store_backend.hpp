#pragma once

#include "dislock/options.hpp"
#include "library/backend.hpp"
#include "library/strand.hpp"

#include <memory>
#include <string_view>

namespace dislock::library {

/// An engine of this process whose locks live in a store: `redis://` and its like (see `open_engine`). It has
/// a thread of its own.
///
/// Blocks until the store answers, for at most `connect_timeout` and one `request_timeout`, and is
/// `engine_unavailable` if it does not. `time` has to outlive it.
[[nodiscard]] result<std::unique_ptr<backend>> open_store_backend(std::string_view url,
                                                                  const client_options& options, strand& on,
                                                                  const clock& time);

}  // namespace dislock::library
