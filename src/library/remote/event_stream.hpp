// What happens to locks, as the service streams it.
#pragma once

#include "library/remote/courier.hpp"
#include "library/remote/event_text.hpp"

#include <boost/asio/steady_timer.hpp>

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <vector>

namespace dislock::library::remote {

/// Pages of events out of streams that are kept open between the calls of one reader: only the service knows
/// how far somebody has read who waits for what is rare.
///
/// A call that goes on where an earlier one ended gets that one's stream; any other opens one of its own. A
/// stream that nobody has asked for 30 s is closed, as is one with too much unread: its reader resumes by id,
/// and is told of a `reset` if the log has gone on without it. On the courier's thread.
class event_streams {
 public:
  event_streams(boost::asio::io_context& io, courier& with, const client_options& options);
  ~event_streams();

  /// `id` 0: the newest id, at once; or the first event, if there has not been any yet.
  void ask(std::uint64_t id, std::string prefix, duration wait, completion<event_page> done);
  /// Ends all, and refuses those who wait.
  void stop();

 private:
  class stream;

  boost::asio::io_context& io_;
  courier& courier_;
  const duration request_timeout_;
  std::list<std::shared_ptr<stream>> streams_;  // the one asked last at the end
};

}  // namespace dislock::library::remote
