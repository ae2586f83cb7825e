#pragma once

#include "engine/engine.hpp"
#include "engine/loop.hpp"

#include <boost/unordered/unordered_flat_map.hpp>

#include <cstdint>
#include <list>
#include <memory>
#include <variant>
#include <vector>

namespace dislock {

/// The poll slice is over and the request is still queued: its caller should ask again with the same id.
struct still_queued {
  std::vector<place> places;
};

/// Where calls wait for requests that the engine has queued: one small entry a call, no thread.
///
/// Each call that waits ends exactly once: with the engine's decision, with `still_queued` after its slice
/// (or with the engine's error, if it has failed by then), or by `leave`, which tells nobody. One strand.
/// Owned by the service; outlives nothing of its callers, who must `leave` or be told.
class wait_room {
 public:
  using outcome = std::variant<granted, refusal_ptr, still_queued>;

  /// `slice_clock` is for this room alone.
  wait_room(engine& from, loop& slice_clock, duration slice);

  /// Waits on behalf of the call that got `place`. A request without an id (no grace) waits in one piece; its
  /// slices only make sure that the engine can still decide, for an engine that has failed tells no waiter.
  void wait(const queued& place, completion<outcome> done);
  /// The caller has gone: its request loses its place, or keeps it for the grace.
  void leave(ticket id, std::uint32_t epoch);
  /// To be called by the engine's listener.
  void resolved(ticket id, std::uint32_t epoch, acquire_answer&& decision);
  /// Ends all waits with `why` (a replica that shuts down); requests with an id keep their grace.
  void send_all_away(errc why);

  [[nodiscard]] std::size_t waiting() const noexcept { return calls_.size(); }

 private:
  struct slice_end {
    instant at;
    ticket id;
    std::uint32_t epoch;
    bool grace;
  };
  struct call {
    std::uint32_t epoch = 0;
    completion<outcome> done;
  };

  void end_slices();

  engine& engine_;
  loop& loop_;
  const duration slice_;
  boost::unordered_flat_map<std::uint64_t, call> calls_;  // by ticket: the newest call of each
  std::list<slice_end> slices_;  // all slices are equally long, so in order of their ends
};

}  // namespace dislock
