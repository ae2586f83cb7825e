#pragma once

#include "core/lock_table.hpp"
#include "engine/engine.hpp"
#include "engine/loop.hpp"

#include <memory>

namespace dislock {

/// What the engines of one process have in common.
struct local_engine_options {
  core::table_options table;
  std::size_t event_log_size = 10'000;
};

/// `memory:` Locks that live and die with this process; the reference that every other engine is compared
/// with.
[[nodiscard]] std::unique_ptr<engine> make_memory_engine(loop& where, const local_engine_options& options);

}  // namespace dislock
