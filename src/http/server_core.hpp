#pragma once

#include "http/connection.hpp"
#include "http/host_policy.hpp"
#include "http/server.hpp"
#include "http/trace_id.hpp"

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/basic_waitable_timer.hpp>

#include <chrono>
#include <cstdint>
#include <ctime>
#include <functional>
#include <limits>
#include <string>
#include <unordered_map>
#include <vector>

namespace dislock::http {

/// What the connections of one server share: the table of deadlines, the pool of exchanges, the counters.
///
/// Time here is `now()`, milliseconds that pass only while the io_context runs: the sweep adds what has
/// really passed, but at most two intervals. So a process that was stopped for a minute does not wake up to
/// time out clients whose bytes wait in the kernel. A deadline is never early and at most about two intervals
/// late.
///
/// Invariant: every connection that is not closed is in the table, and the table is the only list of them.
class server_core {
 public:
  static constexpr std::int64_t no_deadline = std::numeric_limits<std::int64_t>::max();

  server_core(boost::asio::io_context& io, const options& o, server::handler h);
  ~server_core();
  server_core(const server_core&) = delete;
  server_core& operator=(const server_core&) = delete;

  [[nodiscard]] std::uint16_t local_port() const noexcept { return port_; }
  void stop_accepting();
  void close_idle();
  void close_all();
  void on_drained(std::function<void()> callback);

  // For connections.
  [[nodiscard]] std::int64_t now() const noexcept { return now_; }
  void set_deadline(const connection& c, std::int64_t at) noexcept { table_[c.slot].deadline = at; }
  void remove(connection& c);
  void connection_destroyed();
  [[nodiscard]] exchange& take_exchange();
  void recycle(exchange& e);
  [[nodiscard]] std::string_view date_line() const noexcept { return date_line_; }
  [[nodiscard]] reader_limits reading_limits() const noexcept;

  boost::asio::io_context& io;
  const options settings;
  const server::handler handle;
  const host_policy hosts;
  statistics counters;
  trace_id_source trace_ids;
  std::size_t open_exchanges = 0;
  bool draining = false;  // every reply closes its connection
  std::string scratch;    // a reply is put together here, and copied only if the kernel does not take it all

 private:
  using executor = boost::asio::io_context::executor_type;
  struct entry {
    std::int64_t deadline;
    boost::intrusive_ptr<connection> owner;
  };

  void accept();
  void on_accept(const boost::system::error_code& ec, tcp_socket socket);
  [[nodiscard]] bool has_place_for(const boost::asio::ip::address& peer) const;
  void turn_away(tcp_socket socket);
  void sweep_later();
  void sweep();
  void check_drained();
  std::vector<boost::intrusive_ptr<connection>> all_connections() const;

  boost::asio::basic_socket_acceptor<boost::asio::ip::tcp, executor> acceptor_;
  boost::asio::ip::tcp::endpoint peer_;  // of the connection being accepted
  boost::asio::basic_waitable_timer<std::chrono::steady_clock,
                                    boost::asio::wait_traits<std::chrono::steady_clock>, executor>
      sweep_timer_;
  std::chrono::steady_clock::time_point last_sweep_;
  std::int64_t now_ = 0;
  std::vector<entry> table_;  // dense: the sweep reads deadlines, not connections
  std::unordered_map<boost::asio::ip::address, std::size_t> per_address_;
  std::vector<exchange*> idle_exchanges_;
  std::size_t exchanges_made_ = 0;
  std::size_t connections_alive_ = 0;
  std::uint16_t port_ = 0;
  std::time_t date_ = 0;
  std::string date_line_;
  std::function<void()> drained_callback_;
  bool stopped_ = false;  // accepting
  bool accepting_ = false;
  bool sweeping_ = false;
  bool drained_ = false;
};

}  // namespace dislock::http
