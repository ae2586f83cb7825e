// Ports of 127.0.0.1 for the servers of a test, none of which another test is given meanwhile.
#pragma once

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <random>
#include <string>
#include <unistd.h>
#include <utility>

namespace dislock::redis {

/// A port that this process has for itself among all tests of this machine, those in Python included
/// (tests/fault/redis_processes.py): for each, a name in the kernel's abstract namespace, which ends with the
/// process, also where that crashes. A bound socket would not do: the server is to bind the port.
class port_claim {
 public:
  explicit port_claim(std::uint16_t port) : socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const auto name = "dislock-test-port-" + std::to_string(port);
    sockaddr_un where{};
    where.sun_family = AF_UNIX;
    std::copy(name.begin(), name.end(), where.sun_path + 1);
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
    mine_ = ::bind(socket_, reinterpret_cast<sockaddr*>(&where), size) == 0 && nobody_listens(port);
  }
  port_claim(port_claim&& from) noexcept : socket_(std::exchange(from.socket_, -1)), mine_(from.mine_) {}
  port_claim& operator=(port_claim&&) = delete;
  ~port_claim() {
    if (socket_ >= 0) ::close(socket_);
  }

  explicit operator bool() const { return mine_; }

 private:
  static bool nobody_listens(std::uint16_t port) {
    const int s = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    where.sin_port = htons(port);
    const bool free = ::bind(s, reinterpret_cast<sockaddr*>(&where), sizeof where) == 0;
    ::close(s);
    return free;
  }

  int socket_;
  bool mine_ = false;
};

/// Nobody else is given it while this process lives, or until it asked for a hundred more; nor the one 10,000
/// above it (a node of a Cluster wants both). Below those that the kernel gives to outgoing connections: one
/// of these may take any of them before a server does.
inline std::uint16_t free_port() {
  static std::deque<std::pair<port_claim, port_claim>> claims;
  if (claims.size() > 100) claims.pop_front();
  std::random_device random;
  for (int i = 0; i < 1000; ++i) {
    const auto port = std::uniform_int_distribution<std::uint16_t>(10240, 22000)(random);
    if (port_claim a(port), b(static_cast<std::uint16_t>(port + 10000)); a && b) {
      claims.emplace_back(std::move(a), std::move(b));
      return port;
    }
  }
  ADD_FAILURE() << "no free port";
  return 0;
}

}  // namespace dislock::redis
