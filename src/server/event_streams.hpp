#pragma once

#include "engine/engine.hpp"
#include "engine/loop.hpp"
#include "http/exchange.hpp"

#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace dislock::server {

/// The open Server-Sent Events streams, and what each has been sent.
///
/// A stream follows the engine's event log. Where the log does not reach back to what the reader has seen, it
/// gets `reset` and a snapshot of the active locks, then what happened since the snapshot began. A comment
/// line every 15 s keeps proxies from closing it. One strand.
class event_streams {
 public:
  event_streams(engine& of, loop& heartbeat_clock);

  /// Begins after the event `last_seen`, or with what happens from now on; `unknown`: with a reset.
  struct start {
    std::optional<std::uint64_t> last_seen;
    bool unknown = false;
    std::string prefix;
  };
  void open(http::exchange& x, start from);
  void close_all();
  [[nodiscard]] std::size_t open_streams() const noexcept { return readers_.size(); }

 private:
  struct reader {
    http::stream_ptr out;
    std::string prefix;
    std::uint64_t seen = 0;
    bool in_snapshot = false;
    bool closed = false;
  };

  void feed(reader& r);
  void feed_all();
  void reset(const std::shared_ptr<reader>& r);
  void snapshot(const std::shared_ptr<reader>& r, std::uint64_t cursor);
  void beat();
  void drop_closed();

  engine& engine_;
  loop& loop_;
  std::list<std::shared_ptr<reader>> readers_;
  std::string line_;  // scratch
};

}  // namespace dislock::server
