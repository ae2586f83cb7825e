#pragma once

#include "http/exchange.hpp"
#include "http/request_reader.hpp"

#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace dislock::http {

class server_core;

// The concrete executor: `any_io_executor` costs a virtual call and a copy for every operation.
using tcp_socket =
    boost::asio::basic_stream_socket<boost::asio::ip::tcp, boost::asio::io_context::executor_type>;

/// One TCP connection: reads requests one after the other, lets each be answered, and notices its own end.
///
/// The life of a connection:
///   reading a request -> answering it (one exchange, or one stream) -> reading the next ... -> lingering ->
///   closed
/// Lingering: our last reply is out, our side is shut down, and what the client still sends is thrown away
/// for a moment; closing at once would reset the connection and could cost the client that reply.
///
/// Owned by the server's table until closed, and by each pending operation. One thread.
///
/// Invariants
/// 1. At most one read and at most one write are pending. While a stream is open a read is, and while an
/// exchange is
///    open that wants to know when its client goes; unless the bound on early bytes is reached: then the
///    sweep asks the kernel whether the client is still there.
/// 2. `exchange_` is the only exchange that may reply; it is empty once the reply is wholly with the kernel.
/// 3. The next request is not parsed before the last one's reply is wholly with the kernel.
/// 4. After `close()` nothing refers to the exchange or the stream, and both have been told.
class connection {
 public:
  connection(server_core& core, tcp_socket socket, const boost::asio::ip::address& peer);
  ~connection();
  connection(const connection&) = delete;
  connection& operator=(const connection&) = delete;

  void start();
  void close();
  /// Closes unless a request is being received or answered. Ends a stream in good order.
  void close_if_idle();
  /// Called by the sweep when the deadline in the server's table has passed.
  void on_deadline();

  delivery reply(exchange& e, int status, std::string_view type, std::string_view headers);
  [[nodiscard]] stream_ptr start_stream(exchange& e, std::string_view type, std::string_view headers);
  bool write_stream(std::string_view bytes, bool chunked);
  void end_stream(bool chunked);
  [[nodiscard]] bool peer_gone() const noexcept;
  /// The open exchange wants to know when its client goes.
  void watch();

  [[nodiscard]] const boost::asio::ip::address& peer() const noexcept { return peer_; }

  std::size_t slot = 0;  // in the server's table; the table keeps it

 private:
  using ref = boost::intrusive_ptr<connection>;
  friend void intrusive_ptr_add_ref(connection* c) noexcept { ++c->references_; }
  friend void intrusive_ptr_release(connection* c) {
    if (--c->references_ == 0) delete c;
  }

  // Which of the deadlines is armed.
  enum class awaiting : std::uint8_t { header, body, idle, nothing, write, linger };
  enum class sending : std::uint8_t { all_sent, rest_queued, failed };

  void read();
  void on_read(const boost::system::error_code& ec, std::size_t count);
  void advance();
  void read_on(bool now);
  void dispatch();
  void refuse(errc code);
  exchange_ptr begin_exchange();
  void finish_exchange();
  void await_more();
  void resume_later();
  void linger();

  [[nodiscard]] sending send(std::string_view bytes);
  void write_rest();
  void on_written(const boost::system::error_code& ec, std::size_t count);

  void await(awaiting what);

  server_core& core_;
  tcp_socket socket_;
  request_reader reader_;
  boost::asio::ip::address peer_;  // kept only where connections are counted per address

  exchange* exchange_ = nullptr;
  stream* stream_ = nullptr;

  std::string writing_;  // belongs to the pending write: not to be moved
  std::string queued_;   // goes after it
  std::size_t written_ = 0;

  std::int64_t due_;
  std::uint32_t references_ = 0;
  awaiting awaiting_ = awaiting::header;
  bool reading_ = false;
  bool paused_ = false;     // no room to read into
  bool advancing_ = false;  // advance() is on the stack, and goes on when the handler returns
  bool resuming_ = false;   // advance() has been posted
  bool closing_ = false;    // after what is being sent
  bool lingering_ = false;
  bool closed_ = false;
};

}  // namespace dislock::http
