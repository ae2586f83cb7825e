#pragma once

#include "dislock/error.hpp"
#include "dislock/options.hpp"
#include "engine/engine.hpp"
#include "engine/loop.hpp"

#include <memory>
#include <string_view>

namespace dislock::library {

/// The engine for a store that a URL names, on an io_context that the strand's thread runs.
/// `invalid_field`: the URL, or a parameter in it, means nothing; or the engine does not exist here.
[[nodiscard]] result<std::unique_ptr<engine>> open_engine(std::string_view url, const client_options& options,
                                                          boost::asio::io_context& io, loop& where,
                                                          const clock& time);

/// Whether `open_engine` is who knows what the URL means.
[[nodiscard]] bool names_a_store(std::string_view url) noexcept;

}  // namespace dislock::library
