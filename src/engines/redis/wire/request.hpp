// One call, from when it was made to its end.
#pragma once

#include "core/deadline_queue.hpp"
#include "dislock/clock.hpp"
#include "dislock/errc.hpp"
#include "engine/engine.hpp"
#include "engines/redis/wire/call.hpp"
#include "engines/redis/wire/reply.hpp"

#include <boost/intrusive/list.hpp>
#include <boost/system/result.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace dislock::redis {

/// Why a call has no reply.
struct failure {
  enum class cause : std::uint8_t {
    deadline,    ///< it came first
    lost,        ///< the connection ended while the command was under way
    overloaded,  ///< too many calls are open
    busy,        ///< the server runs a script and does nothing else
    stopped,     ///< the client was stopped
  } why{};
  /// `none`: the command was not executed, and will not be. `unknown`: it may have been, or still be.
  effect what = effect::none;
  std::string detail;  ///< for people; no secrets
};

/// A reply, and the connection that brought it: connections are numbered from 1 in the order in which this
/// client made them. Two replies with one number came from one process; where it has grown, a failover may
/// have happened. The converse does not hold: a process may lose its role and get it back without ending a
/// connection, and only what it says of itself (`INFO replication`, asked again) shows that.
struct sourced_reply : reply {
  sourced_reply() = default;
  sourced_reply(reply&& r, std::uint64_t number) : reply(std::move(r)), connection(number) {}
  std::uint64_t connection = 0;
};

/// What the server said, which may be an error of its own; or why nothing came.
using response = boost::system::result<sourced_reply, failure>;

class lane;

using request_hook =
    boost::intrusive::list_base_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>>;

/// Owned by the client's pool. In at most one list, and with at most one lane's connection.
struct request : core::timed, request_hook {
  request() : core::timed(core::timer_kind::waiter) {}
  using request_hook::is_linked;
  using request_hook::unlink;

  enum class place : std::uint8_t { free, waiting, resting, in_flight, over };

  // What is asked
  std::string words;                   ///< encoded; of a script's call all but the first two words
  std::size_t count = 0;               ///< a script's call: of words in `words`
  std::string then;                    ///< more commands, encoded, right behind the first
  std::vector<std::size_t> then_ends;  ///< where in `then` each of them ends
  bool is_array = false;  ///< the reply is an array of those to its commands, also where it is only one
  int script = -1;        ///< its number, or -1
  std::size_t stamp = 0;  ///< where in `words` the incarnation of the connection goes; 0: nowhere
  int slot = -1;          ///< of the Cluster; -1: any node will do
  lane_kind kind = lane_kind::main;
  std::uint64_t only = 0;  ///< the connection that it has to use; 0: any
  bool at_once = false;    ///< is not left for the next turn of the loop
  instant deadline = never;
  completion<response> done;

  // How far it has come
  place where = place::free;
  lane* on = nullptr;                                   ///< where it waits, or is in flight
  std::uint64_t first_position = 0, last_position = 0;  ///< of its commands on its connection
  std::vector<reply> earlier;                           ///< the replies to all but the last command
  bool begun = false;  ///< it is written again, but some of its commands were executed
  instant sent_at{}, rests_until{};
  unsigned script_epoch = 0;  ///< of its lane, when it was written
  bool by_body = false;       ///< the next writing has the script's text
  bool asking = false;        ///< the next writing follows an ASK
  unsigned redirects = 0;
  std::string trouble;  ///< what the last refusal was
  std::optional<response> outcome;
};

using request_list = boost::intrusive::list<request, boost::intrusive::constant_time_size<false>>;

}  // namespace dislock::redis
