// One connection to one Redis process: commands out, replies back, in order.
#pragma once

#include "dislock/clock.hpp"
#include "engines/redis/wire/address.hpp"
#include "engines/redis/wire/reply.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dislock::redis {

class connection;
struct request;

/// Who is told what becomes of a connection. Each member may close it.
class connection_user {
 public:
  virtual void on_connected(connection& c) = 0;
  /// In the order of the commands. `to` is what `expect` was told; null also for what came without being
  /// asked, where that is allowed.
  virtual void on_reply(connection& c, request* to, reply&& got) = 0;
  /// It was `blocked`, and no longer is.
  virtual void on_writable(connection&) {}
  /// All replies that came in one read have been told.
  virtual void on_read_over(connection&) {}
  /// It could not be made, or ended by itself, or said what nobody can understand. It is closed.
  virtual void on_lost(connection& c, std::string_view why) = 0;

 protected:
  ~connection_user() = default;
};

/// On the thread that runs the io_context. A read is always pending, or about to be, so that the end of an
/// idle connection is seen when it comes. Kept alive by its user and by the operations under way; `close`
/// tells the user nothing. The caller watches the time.
///
/// Invariants
/// 1. Bytes leave in the order in which they were put into `out()`, and only in `flush`, or later when a
///    flush could not write everything.
/// 2. A command of which not every byte was given to the kernel (with TLS: to the record layer) was not
///    executed and never will be once the connection is closed: `sent` is exact there, and errs towards true
///    with TLS.
class connection : public std::enable_shared_from_this<connection> {
 public:
  using executor = boost::asio::io_context::executor_type;
  using tcp = boost::asio::ip::tcp;
  using socket = boost::asio::basic_stream_socket<tcp, executor>;

  /// A command of which the end of the connection left no reply.
  struct unanswered {
    request* who;
    bool sent;
  };

  /// `tls` may be null, and must outlive the connection.
  connection(boost::asio::io_context& io, const clock& time, connection_user& user,
             boost::asio::ssl::context* tls, const reply_limits& limits = {});

  /// Looks the name up, and tries its addresses in turn. Once.
  void open(const address& to);
  /// What comes without being asked is told, from now on (pub/sub).
  void allow_pushes() noexcept { pushes_ = true; }
  /// REQUIRES: connected. Whole commands are appended here; the name of who wants the reply follows at once.
  [[nodiscard]] std::string& out() noexcept { return out_; }
  /// The last command in `out()` is `who`'s (null: nobody wants the reply). Returns its position.
  std::uint64_t expect(request* who);
  /// Writes what the kernel takes now; the rest when it can.
  void flush();
  /// The replies from one position to another are nobody's any more, as far as they have not come.
  void disown(std::uint64_t from, std::uint64_t to) noexcept;
  /// Tells nobody.
  void close() noexcept;
  /// After the end, once: what has no reply.
  [[nodiscard]] std::vector<unanswered> take_unanswered();

  [[nodiscard]] bool is_open() const noexcept { return phase_ == phase::open; }
  /// Bytes wait for the kernel to take them. More can be appended, but should not.
  [[nodiscard]] bool blocked() const noexcept { return writing_; }
  [[nodiscard]] std::size_t in_flight() const noexcept { return waiting_.size(); }
  /// Every byte of it has left. True also where it was answered.
  [[nodiscard]] bool sent(std::uint64_t position) const noexcept;
  /// When bytes came last.
  [[nodiscard]] instant heard() const noexcept { return heard_; }
  [[nodiscard]] const address& peer() const noexcept { return peer_; }

 private:
  enum class phase : std::uint8_t { connecting, securing, open, closed };
  struct expected {
    request* who;
    std::uint64_t end;  // of its bytes, counted from the connection's first
  };
  using tls_stream = boost::asio::ssl::stream<socket&>;

  void try_next_address(std::string_view last_failure);
  void secure();
  void start();
  void read();
  void read_soon();
  void on_read(const boost::system::error_code& ec, std::size_t count);
  void hand(reply&& got);
  void flush_plain();
  void flush_tls();
  void written();
  void lost(std::string_view why);

  boost::asio::io_context& io_;
  const clock& time_;
  connection_user* user_;
  boost::asio::ssl::context* tls_;
  address peer_;
  socket socket_;
  std::optional<tls_stream> stream_;
  std::unique_ptr<boost::asio::ip::basic_resolver<tcp, executor>> resolver_;
  std::vector<tcp::endpoint> addresses_;
  std::size_t next_address_ = 0;

  reply_reader reader_;
  std::string out_;               // to be given
  std::size_t out_begin_ = 0;     // what is before this has been given
  std::string giving_;            // TLS: belongs to the pending write
  std::uint64_t given_ = 0;       // bytes since the beginning
  std::deque<expected> waiting_;  // for replies
  std::uint64_t first_waiting_ = 0;
  instant heard_{};
  phase phase_ = phase::connecting;
  bool writing_ = false, pushes_ = false;
  std::array<char, std::size_t{16} << 10> room_;
};

}  // namespace dislock::redis
