// Locks that live behind a service.
#pragma once

#include "library/backend.hpp"
#include "library/strand.hpp"

#include <memory>
#include <string_view>

namespace dislock::library {

/// `http://host[:port][,host[:port]...]`. Waits until one of the places answers; blocks, so not from inside
/// the strand. `invalid_field`: the URL or an option; `engine_unavailable`: nobody is there, and `detail`
/// says what is wrong with each place.
///
/// It has a thread of its own for the connections. Outcomes are told inside `on`, by that thread; a call that
/// is made on that thread, because whoever was told goes on there, leaves at once.
///
/// A client has `connections` of them to a place, and each call that waits for a lock occupies one. Calls
/// beyond that wait here, in order; those that keep or give back a lease have some for themselves. An acquire
/// whose turn does not come here before its wait is over is `lock_not_acquired`, though nobody ever asked for
/// the lock.
[[nodiscard]] result<std::unique_ptr<backend>> open_remote_backend(std::string_view url,
                                                                   const client_options& options, strand& on);

}  // namespace dislock::library
