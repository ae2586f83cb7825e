#pragma once

#include "http_reply.hpp"

#include <sys/epoll.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <queue>
#include <string>
#include <string_view>
#include <vector>

namespace dislock::load {

using clock = std::chrono::steady_clock;

/// Where the load goes. IPv4 only: the benchmark never leaves the machine.
struct endpoint {
  std::string address = "127.0.0.1";
  std::uint16_t port = 0;

  [[nodiscard]] std::string host() const { return address + ":" + std::to_string(port); }
};

/// What went wrong during a run, by name: "409 lock_not_acquired", "disconnected", ...
using error_counts = std::map<std::string, std::uint64_t, std::less<>>;

/// One socket with at most one unanswered request. Owned by its event_loop.
class connection {
 public:
  explicit connection(unsigned index) : index_(index) {}

  /// Its place in the order of `event_loop::add`.
  [[nodiscard]] unsigned index() const noexcept { return index_; }
  [[nodiscard]] bool busy() const noexcept { return !message_.empty(); }

 private:
  friend class event_loop;

  unsigned index_;
  int fd_ = -1;
  bool connecting_ = false;
  bool announced_ = false;    // on_open was called; later opens are repairs
  std::string_view message_;  // the unanswered request, kept so that it can be sent again
  std::size_t sent_ = 0;
  std::string partial_;  // the front of a reply that arrived in pieces
};

/// A mode of the generator. Called by the loop, on its thread.
class driver {
 public:
  virtual ~driver() = default;

  /// Once for each connection, when it first opens.
  virtual void on_open(connection& peer) = 0;
  /// The reply to the last `send`; its views die with the call. `now` was read after the reply had arrived.
  virtual void on_reply(connection& peer, const http_reply& reply, clock::time_point now) = 0;
  /// The unanswered request is about to leave again: the connection was lost, or a back-off has passed.
  virtual void on_resend(connection&) {}
  virtual void on_timer(int /*tag*/, clock::time_point /*now*/) {}
  /// The input watched by `watch_input` has ended.
  virtual void on_input_end() {}
};

/// epoll over many connections to one server, on one thread, with as little work per request as we know of:
/// one send, one receive, a share of one epoll_wait.
///
/// A lost connection is opened again and its unanswered request repeated, both counted in `errors()`.
/// `run` throws std::runtime_error when the server cannot be reached for five seconds.
class event_loop {
 public:
  explicit event_loop(endpoint server);
  ~event_loop();
  event_loop(const event_loop&) = delete;
  event_loop& operator=(const event_loop&) = delete;

  /// A new connection, opened by `run`, with a bounded number of attempts at a time.
  connection& add();

  /// Calls `driver` until `stop`.
  void run(driver& driver);
  void stop() noexcept { stopped_ = true; }

  /// REQUIRES: `!peer.busy()`, and the bytes of `message` stay until its reply.
  void send(connection& peer, std::string_view message);

  /// From within on_reply: asks the same again, now or later.
  void resend(connection& peer, clock::duration delay = {});

  void call_at(clock::time_point when, int tag);
  void watch_input(int fd);

  [[nodiscard]] error_counts& errors() noexcept { return errors_; }
  [[nodiscard]] std::size_t opened() const noexcept { return opened_; }

 private:
  enum class action : std::uint8_t { tell_driver, open_again, send_again };
  struct timer {
    clock::time_point when;
    action what;
    int tag;
    connection* peer;
    bool operator>(const timer& other) const noexcept { return when > other.when; }
  };

  void open_more();
  void open(connection& peer);
  void opened(connection& peer);
  void lose(connection& peer, std::string_view why);
  void refuse(connection& peer, int error);
  void transmit(connection& peer);
  void receive(connection& peer);
  void await(connection& peer, std::uint32_t events, int operation);
  void handle(connection& peer, std::uint32_t events);
  void fire_timers();
  int wait(epoll_event* events, int capacity);

  endpoint server_;
  int epoll_;
  driver* driver_ = nullptr;
  bool stopped_ = false;
  std::deque<connection> connections_;  // a deque, because drivers keep references
  std::size_t next_to_open_ = 0;
  std::size_t opening_ = 0;
  std::size_t opened_ = 0;
  clock::time_point refused_since_{};
  std::string_view answered_message_;  // inside on_reply: what resend() repeats
  connection input_marker_{0};         // stands for the watched input among the epoll events
  int input_fd_ = -1;
  std::priority_queue<timer, std::vector<timer>, std::greater<>> timers_;
  std::vector<char> buffer_;
  error_counts errors_;
};

}  // namespace dislock::load
