// What the tests of the server share: a server on a free loopback port, and clients that are plain sockets.
// Everything runs on the test's thread: waiting for something means running the io_context until it is so.
#pragma once

#include "http/server.hpp"

#include <arpa/inet.h>
#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <fcntl.h>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unistd.h>
#include <utility>
#include <vector>

namespace dislock::http {

using namespace std::chrono_literals;

/// One client connection: non-blocking, so that one thread can play both sides.
class test_client {
 public:
  explicit test_client(std::uint16_t port, int receive_buffer = 0) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_buffer != 0) ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    // The kernel completes this by itself: the listener need not have accepted.
    EXPECT_EQ(::connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
    const int on = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ::fcntl(fd_, F_SETFL, O_NONBLOCK);
  }
  test_client(test_client&& other) noexcept
      : received(std::move(other.received)), fd_(std::exchange(other.fd_, -1)) {}
  ~test_client() { close(); }

  /// Writes what the kernel takes; returns how much that was.
  std::size_t send(std::string_view bytes) const {
    const auto n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    return n < 0 ? 0 : static_cast<std::size_t>(n);
  }
  void half_close() const { ::shutdown(fd_, SHUT_WR); }
  void reset() {
    const linger now{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close();
  }
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  /// Reads what has come so far into `received`.
  void receive() {
    char some[16384];
    while (true) {
      const auto n = ::recv(fd_, some, sizeof some, 0);
      if (n > 0) {
        received.append(some, static_cast<std::size_t>(n));
        continue;
      }
      if (n == 0 || (errno != EAGAIN && errno != EINTR)) ended = true;
      return;
    }
  }

  std::string received;
  bool ended = false;

 private:
  int fd_;
};

class ServerTest : public testing::Test {
 protected:
  void TearDown() override { stop(); }

  /// Times are short, but only the test that is about one shortens it that far.
  static options quick() {
    options o;
    o.sweep_interval = 2ms;
    return o;
  }

  void start(const options& o, server::handler h) { server_.emplace(io_, o, std::move(h)); }
  void start(server::handler h) { start(quick(), std::move(h)); }
  /// Answers every request with its method-independent path and body.
  void start_echo(const options& o) {
    start(o, [this](exchange_ptr e) {
      ++handled_;
      e->body().append(e->get().path).append("|").append(e->get().body);
      e->reply(200, content_type::text);
    });
  }
  /// Keeps every exchange open in `waiting_`.
  void start_waiting(const options& o) {
    start(o, [this](exchange_ptr e) {
      e->on_undelivered([this] { ++undelivered_; });
      waiting_.push_back(std::move(e));
    });
  }

  void stop() {
    if (!server_) return;
    waiting_.clear();
    stream_.reset();
    bool drained = false;
    server_->on_drained([&] { drained = true; });
    server_->close_all();
    EXPECT_TRUE(eventually([&] { return drained; }));
    server_.reset();
  }

  /// Runs the server until `condition` holds; false after 20 s.
  template <typename Condition>
  bool eventually(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + 20s;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      io_.restart();
      io_.run_one_for(1ms);
    }
    return true;
  }

  /// Runs the server until it has nothing left to do that is already due.
  void settle() {
    io_.restart();
    while (io_.poll() != 0) {
    }
  }

  test_client connect(int receive_buffer = 0) { return test_client(server_->local_port(), receive_buffer); }

  /// Until the client has this text, or its connection ended.
  bool receives(test_client& c, std::string_view text) {
    return eventually([&] {
             c.receive();
             return c.ended || c.received.find(text) != std::string::npos;
           }) &&
           c.received.find(text) != std::string::npos;
  }
  bool sees_the_end(test_client& c) {
    return eventually([&] {
      c.receive();
      return c.ended;
    });
  }
  /// Sends, and returns everything until the server ends the connection.
  std::string exchange_until_end(std::string_view bytes) {
    auto c = connect();
    c.send(bytes);
    EXPECT_TRUE(sees_the_end(c)) << c.received;
    return c.received;
  }

  const statistics& stats() const { return server_->stats(); }

  static constexpr std::string_view get = "GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n";
  static constexpr std::string_view get_and_close =
      "GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

  boost::asio::io_context io_{1};
  std::optional<server> server_;
  std::vector<exchange_ptr> waiting_;
  stream_ptr stream_;
  int handled_ = 0;
  int undelivered_ = 0;
};

}  // namespace dislock::http
