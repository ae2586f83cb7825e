// One TCP connection to the service: a request out, a reply back, one at a time.
#pragma once

#include "library/remote/endpoints.hpp"
#include "library/remote/reply_reader.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace dislock::library::remote {

class call;
class connection;

/// Who is told what becomes of a connection. Each member may close it.
class connection_user {
 public:
  virtual void on_connected(connection& c) = 0;
  /// The reply is complete; it may be read until the next `send`.
  virtual void on_reply(connection& c) = 0;
  /// More of a streamed reply is there.
  virtual void on_stream(connection& c) = 0;
  /// It could not be made, or ended by itself, or said what nobody can understand. It is closed.
  virtual void on_lost(connection& c, std::string_view why) = 0;

 protected:
  ~connection_user() = default;
};

/// On the thread that runs the io_context. A read is always pending, or about to be, so that the end of an
/// idle connection is seen when it comes. Kept alive by its user and by the operations under way; `close`
/// tells the user nothing.
class connection : public std::enable_shared_from_this<connection> {
 public:
  using executor = boost::asio::io_context::executor_type;
  using tcp = boost::asio::ip::tcp;

  connection(boost::asio::io_context& io, connection_user& user, std::size_t place);

  /// Looks the name up, and tries its addresses in turn. The caller watches the time.
  void connect(const endpoint& to);
  /// REQUIRES: connected, no reply outstanding. Writes at once what the kernel takes.
  void send(std::string_view request, std::size_t body_limit, bool stream = false);
  void close() noexcept;

  [[nodiscard]] std::size_t place() const noexcept { return place_; }
  [[nodiscard]] bool connected() const noexcept { return phase_ == phase::idle || phase_ == phase::busy; }
  /// It has carried a reply before; if it is lost now before the first byte of a reply, it was probably
  /// closed for being idle.
  [[nodiscard]] bool used() const noexcept { return used_; }
  [[nodiscard]] bool reply_begun() const noexcept { return !reader_.untouched(); }
  [[nodiscard]] reply_reader& replies() noexcept { return reader_; }

  call* serving = nullptr;  ///< its user's note

 private:
  enum class phase : std::uint8_t { connecting, idle, busy, closed };

  void try_next_address(std::string_view last_failure);
  void read();
  void read_soon();
  void on_read(const boost::system::error_code& ec, std::size_t count);
  void write_rest();
  void lost(std::string_view why);

  boost::asio::io_context& io_;
  connection_user* user_;
  const std::size_t place_;
  boost::asio::basic_stream_socket<tcp, executor> socket_;
  std::unique_ptr<boost::asio::ip::basic_resolver<tcp, executor>> resolver_;
  std::vector<tcp::endpoint> addresses_;
  std::size_t next_address_ = 0;
  reply_reader reader_;
  std::string unwritten_;
  phase phase_ = phase::connecting;
  bool used_ = false;
  bool streaming_ = false;
};

}  // namespace dislock::library::remote
