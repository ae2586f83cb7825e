#pragma once

#include "dislock/options.hpp"
#include "engine/engine.hpp"
#include "engine/loop.hpp"
#include "library/backend.hpp"
#include "library/strand.hpp"

#include <memory>
#include <string>
#include <string_view>

namespace dislock::library {

using engine_maker = unique_function<result<std::unique_ptr<engine>>(boost::asio::io_context& io, loop& where,
                                                                     const clock& time)>;

/// An engine of this process whose locks live in a store: `redis://` and its like. It has a thread of its
/// own.
///
/// Blocks until the store answers, for at most `connect_timeout` and one `request_timeout`, and is
/// `engine_unavailable` if it does not. `time` has to outlive it.
[[nodiscard]] result<std::unique_ptr<backend>> open_store_backend(engine_maker make,
                                                                  const client_options& options, strand& on,
                                                                  const clock& time);

}  // namespace dislock::library
