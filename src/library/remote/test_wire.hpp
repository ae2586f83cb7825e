// A peer that answers whatever a test wants it to: for what no lock service would say.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <poll.h>
#include <string>
#include <string_view>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace dislock::library {

/// A connected socket, blocking, with a bound on every wait.
class test_wire {
 public:
  explicit test_wire(int socket) : socket_(socket) {
    const timeval bound{20, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof bound);
  }
  static test_wire to(std::uint16_t port) {
    const int s = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_port = htons(port);
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(s, reinterpret_cast<sockaddr*>(&where), sizeof where) != 0) ADD_FAILURE() << "connect";
    return test_wire(s);
  }
  test_wire(test_wire&& other) noexcept : socket_(std::exchange(other.socket_, -1)) {}
  test_wire(const test_wire&) = delete;
  ~test_wire() {
    if (socket_ >= 0) ::close(socket_);
  }

  void send(std::string_view bytes) const {
    while (!bytes.empty()) {
      const auto n = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
  }
  /// One message: head and body. Nothing at the end of the connection.
  std::optional<std::string> receive() {
    while (true) {
      if (const auto head = unread_.find("\r\n\r\n"); head != std::string::npos) {
        std::size_t length = 0;
        if (const auto at = unread_.find("Content-Length: "); at < head)
          length = std::strtoul(unread_.c_str() + at + 16, nullptr, 10);
        if (unread_.size() >= head + 4 + length) {
          auto out = unread_.substr(0, head + 4 + length);
          unread_.erase(0, out.size());
          return out;
        }
      }
      char more[4096];
      const auto n = ::recv(socket_, more, sizeof more, 0);
      if (n <= 0) return std::nullopt;
      unread_.append(more, static_cast<std::size_t>(n));
    }
  }
  [[nodiscard]] int socket() const noexcept { return socket_; }

 private:
  int socket_;
  std::string unread_;
};

[[nodiscard]] inline std::string test_reply(int status, std::string_view body,
                                            std::string_view type = "application/json",
                                            std::string_view headers = {}) {
  return "HTTP/1.1 " + std::to_string(status) + " Word\r\nContent-Type: " + std::string(type) +
         "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + std::string(headers) + "\r\n" +
         std::string(body);
}

/// A server on a free port of 127.0.0.1 that lets `answer(request, wire)` say what happens to each request:
/// false closes the connection. It describes itself as a lock service, so that a client connects to it.
class test_server {
 public:
  using answering = std::function<bool(std::string_view request, test_wire& wire)>;

  explicit test_server(answering answer) : answer_(std::move(answer)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof where;
    EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&where), size), 0);
    EXPECT_EQ(::listen(listener_, 64), 0);
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&where), &size);
    port_ = ntohs(where.sin_port);
    thread_ = std::thread([this] { accept(); });
  }
  ~test_server() {
    ending_ = true;
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    {
      const std::lock_guard held(mutex_);
      for (const int s : open_) ::shutdown(s, SHUT_RDWR);
    }
    for (auto& t : serving_) t.join();
    ::close(listener_);
  }

  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  [[nodiscard]] std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  /// Ends the connections that are open; new ones are taken.
  void cut() {
    const std::lock_guard held(mutex_);
    for (const int s : open_) ::shutdown(s, SHUT_RDWR);
  }
  [[nodiscard]] int requests() const noexcept { return requests_; }

 private:
  void accept() {
    while (!ending_) {
      const int s = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (s < 0) return;
      {
        const std::lock_guard held(mutex_);
        open_.push_back(s);
      }
      serving_.emplace_back([this, s] {
        test_wire wire(s);
        while (const auto request = wire.receive()) {
          if (request->starts_with("GET /capabilities ")) {
            wire.send(test_reply(200, R"({"engine":"none","version":"0","class":"C"})"));
            continue;
          }
          ++requests_;
          if (!answer_(*request, wire)) break;
        }
        const std::lock_guard held(mutex_);
        open_.erase(std::find(open_.begin(), open_.end(), s));
      });
    }
  }

  answering answer_;
  int listener_ = -1;
  std::uint16_t port_ = 0;
  std::atomic<bool> ending_{false};
  std::atomic<int> requests_{0};
  std::mutex mutex_;
  std::vector<int> open_;
  std::vector<std::thread> serving_;
  std::thread thread_;
};

}  // namespace dislock::library
