#pragma once

#include "http/exchange.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace boost::asio {
class io_context;
}

namespace dislock::http {

/// Everything that can be said about a server. The defaults are those of dislockd.
struct options {
  std::string address = "127.0.0.1";
  std::uint16_t port = 0;  ///< 0: a free one, see `local_port()`

  std::size_t header_limit = 16 * 1024;  ///< request line and headers: 431
  std::size_t body_limit = 64 * 1024;    ///< 413
  std::size_t pipelined_limit =
      16 * 1024;                           ///< bytes of later requests read ahead while one is being answered
  std::size_t stream_buffer = 256 * 1024;  ///< unsent bytes of one stream

  std::chrono::milliseconds header_time{
      5'000};  ///< for a whole header, from its first byte or the accept: 408
  std::chrono::milliseconds body_time{10'000};    ///< for a whole body, from the end of its header: 408
  std::chrono::milliseconds idle_time{75'000};    ///< between two requests
  std::chrono::milliseconds write_time{30'000};   ///< without the client taking a single byte
  std::chrono::milliseconds linger_time{2'000};   ///< for the client to close after our last reply
  std::chrono::milliseconds sweep_interval{250};  ///< how often deadlines are looked at

  std::size_t max_connections = 20'000;
  std::size_t max_connections_per_address = 0;  ///< 0: no such bound

  std::vector<std::string> hosts;    ///< see host_policy; loopback is always allowed
  std::vector<std::string> origins;  ///< web origins besides the server's own
};

/// Counters since the start, and gauges. Read them on the server's thread.
struct statistics {
  std::size_t connections_open = 0;
  std::uint64_t connections_total = 0;
  std::uint64_t connections_refused = 0;   ///< over one of the two bounds
  std::uint64_t accept_errors = 0;         ///< such as "too many open files"
  std::uint64_t requests = 0;              ///< that reached the handler
  std::array<std::uint64_t, 6> replies{};  ///< by status class: replies[2] counts 2xx
  std::uint64_t handler_failures = 0;      ///< exceptions that came out of the handler: bugs
  std::uint64_t undelivered = 0;           ///< replies that the client did not get
  std::uint64_t bytes_in = 0;
  std::uint64_t bytes_out = 0;
  std::uint64_t parse_errors = 0;
  std::uint64_t timeouts = 0;      ///< of headers, bodies and writes; an idle connection's end is none
  std::uint64_t slow_streams = 0;  ///< closed because their reader was too slow
  std::size_t streams_open = 0;
};

/// An HTTP/1.1 server: it listens, reads requests strictly, hands each to one handler, and writes replies.
///
/// It knows no routes and promises no fairness beyond the kernel's. Requests of one connection are answered
/// in order. It detaches nothing: every operation belongs to a connection, and every connection to this
/// object.
///
/// Thread: exactly one thread runs the io_context, and everything here, the destructor included, is called on
/// it (or while it does not run). The fastest io_context is one made with
/// `BOOST_ASIO_CONCURRENCY_HINT_UNSAFE_IO`: other threads may still post to it.
///
/// Shutdown is an order: `stop_accepting`, `close_idle`, wait for `open_exchanges` to reach 0, `close_all`,
/// wait for `on_drained`. The destructor asserts that this happened.
class server {
 public:
  using handler = std::function<void(exchange_ptr)>;

  /// Binds and listens; throws boost::system::system_error when that fails.
  server(boost::asio::io_context& io, const options& o, handler h);
  ~server();
  server(const server&) = delete;
  server& operator=(const server&) = delete;

  [[nodiscard]] std::uint16_t local_port() const noexcept;
  [[nodiscard]] const statistics& stats() const noexcept;

  /// No new connections. Those that wait in the kernel's backlog are reset.
  void stop_accepting();
  /// Ends connections that wait for a request, and streams; every later reply carries `Connection: close`.
  void close_idle();
  /// Requests that have reached the handler and are not answered. Streams do not count.
  [[nodiscard]] std::size_t open_exchanges() const noexcept;
  /// Ends every connection now; open exchanges become undelivered. Implies `stop_accepting`.
  void close_all();
  /// Called once, by the io_context, when nothing is accepted any more and the last connection has gone.
  void on_drained(std::function<void()> callback);

 private:
  std::unique_ptr<server_core> core_;
};

}  // namespace dislock::http
