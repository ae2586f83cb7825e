#pragma once

#include "dislock/clock.hpp"
#include "engines/embedded/journal.hpp"
#include "engines/memory/memory_engine.hpp"

#include <memory>
#include <string>

namespace dislock {

struct embedded_engine_options : local_engine_options {
  std::string path;
  embedded::durability mode = embedded::durability::sync;
  bool plant_answer_before_commit = false;  ///< see table_engine_options
};

/// `embedded:/path` The lock table of the memory engine with a journal: an answer leaves after its commit.
///
/// Opens or creates the store and puts the table together again; the caller starts the engine. On an error
/// nothing in the directory has changed, and the message is a sentence for the operator. Raises `time`, which
/// `where` reads, to what the store has seen, so that a wall clock that was set back while the service was
/// down brings back no token and no end.
[[nodiscard]] embedded::journal_result<std::unique_ptr<engine>> open_embedded_engine(
    const embedded_engine_options& options, loop& where, clock& time);

}  // namespace dislock
