// What is asked of the client, and of which server.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace dislock::redis {

enum class lane_kind : std::uint8_t {
  main,
  /// For what makes others wait behind it: WAIT, long lists. A connection of its own. What lets it stand
  /// still for more than 5 s ends it.
  side,
};

/// Which server a call goes to, and how.
struct target {
  /// Any key of the call, for a Cluster; without one any node will do.
  std::optional<std::string_view> key = std::nullopt;
  lane_kind lane = lane_kind::main;
  /// Only over the connection with this number, as an earlier reply or a `newcomer` named it; when that has
  /// ended, or another one has its place, the call fails with `lost`, and nothing is sent. 0: over any.
  std::uint64_t connection = 0;
  /// Written right now, and not together with all else that is asked in this turn of the loop: somebody waits
  /// for nothing but this. Its answer is handed on in a turn of its own, so that what he asks next is written
  /// before the other answers that came with it are looked at.
  bool at_once = false;
};

using command_words = std::span<const std::string_view>;

/// A place in the list of scripts that the client was made with.
using script_id = std::size_t;

struct script_call {
  script_id script = 0;
  std::span<const std::string_view> keys;
  std::span<const std::string_view> arguments;
  /// Puts the incarnation (see `server_facts`) of the server that will run it before the other arguments, as
  /// it was learned on the very connection that carries the call.
  bool stamped = false;
  /// A second command that follows directly, on the same connection: `WAIT` counts what its own connection
  /// has written, and on another one it would be content with nothing. The answer is then an array of both
  /// replies; see `redis_client::call_together`.
  command_words then = {};
};

}  // namespace dislock::redis
