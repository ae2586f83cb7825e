#include "event_loop.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <unistd.h>
#include <utility>

namespace dislock::load {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t max_opening = 128;  // well below every server's listen backlog
constexpr auto reopen_delay = 100ms;
constexpr auto refusal_patience = 5s;
constexpr std::size_t buffer_size = 64 * 1024;

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(what + ": " + std::strerror(errno));
}

}  // namespace

event_loop::event_loop(endpoint server)
    : server_(std::move(server)), epoll_(epoll_create1(EPOLL_CLOEXEC)), buffer_(buffer_size) {
  if (epoll_ < 0) fail("epoll_create1");
}

event_loop::~event_loop() {
  for (auto& peer : connections_) {
    if (peer.fd_ >= 0) ::close(peer.fd_);
  }
  ::close(epoll_);
}

connection& event_loop::add() {
  return connections_.emplace_back(static_cast<unsigned>(connections_.size()));
}

void event_loop::run(driver& driver) {
  driver_ = &driver;
  stopped_ = false;
  open_more();
  std::array<epoll_event, 256> events;
  while (!stopped_) {
    const int ready = wait(events.data(), static_cast<int>(events.size()));
    for (int i = 0; i < ready && !stopped_; ++i) {
      const auto& event = events[static_cast<std::size_t>(i)];
      handle(*static_cast<connection*>(event.data.ptr), event.events);
    }
    if (!timers_.empty()) fire_timers();
  }
}

int event_loop::wait(epoll_event* events, int capacity) {
  timespec timeout{};
  timespec* limit = nullptr;
  if (!timers_.empty()) {
    const auto left = std::max<clock::duration>(timers_.top().when - clock::now(), 0ns);
    timeout.tv_sec = std::chrono::duration_cast<std::chrono::seconds>(left).count();
    timeout.tv_nsec = (left % 1s).count();
    limit = &timeout;
  }
  const int ready = epoll_pwait2(epoll_, events, capacity, limit, nullptr);
  if (ready < 0 && errno != EINTR) fail("epoll_pwait2");
  return ready;
}

void event_loop::fire_timers() {
  const auto now = clock::now();
  while (!timers_.empty() && timers_.top().when <= now && !stopped_) {
    const auto due = timers_.top();
    timers_.pop();
    switch (due.what) {
      case action::tell_driver:
        driver_->on_timer(due.tag, now);
        break;
      case action::open_again:
        ++opening_;
        open(*due.peer);
        break;
      case action::send_again:
        // Without a socket the message leaves when the connection is back.
        if (due.peer->fd_ >= 0 && !due.peer->connecting_) {
          driver_->on_resend(*due.peer);
          transmit(*due.peer);
        }
        break;
    }
  }
}

void event_loop::handle(connection& peer, std::uint32_t events) {
  if (&peer == &input_marker_) {
    if (::read(input_fd_, buffer_.data(), buffer_.size()) == 0) {
      epoll_ctl(epoll_, EPOLL_CTL_DEL, input_fd_, nullptr);
      driver_->on_input_end();
    }
    return;
  }
  if (peer.fd_ < 0) return;
  if (peer.connecting_) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(peer.fd_, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return refuse(peer, error);
    return opened(peer);
  }
  if ((events & EPOLLOUT) != 0) {
    await(peer, EPOLLIN, EPOLL_CTL_MOD);
    transmit(peer);
    if (peer.fd_ < 0) return;
  }
  if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0) receive(peer);
}

void event_loop::open_more() {
  while (opening_ < max_opening && next_to_open_ < connections_.size()) {
    ++opening_;
    open(connections_[next_to_open_++]);
  }
}

void event_loop::open(connection& peer) {
  peer.fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (peer.fd_ < 0) fail("socket");
  const int on = 1;
  setsockopt(peer.fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(server_.port);
  if (inet_pton(AF_INET, server_.address.c_str(), &address.sin_addr) != 1) {
    throw std::runtime_error("not an IPv4 address: " + server_.address);
  }
  peer.connecting_ = true;
  await(peer, EPOLLIN | EPOLLOUT, EPOLL_CTL_ADD);
  // NOLINTNEXTLINE(*-reinterpret-cast): the socket interface is declared that way
  if (::connect(peer.fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return;
  if (errno != EINPROGRESS) refuse(peer, errno);
}

void event_loop::opened(connection& peer) {
  --opening_;
  refused_since_ = {};
  peer.connecting_ = false;
  await(peer, EPOLLIN, EPOLL_CTL_MOD);
  if (!peer.announced_) {
    peer.announced_ = true;
    ++opened_;
    driver_->on_open(peer);
  } else if (peer.busy()) {
    driver_->on_resend(peer);
    transmit(peer);
  }
  open_more();
}

void event_loop::refuse(connection& peer, int error) {
  --opening_;
  const auto now = clock::now();
  if (refused_since_ == clock::time_point{}) refused_since_ = now;
  if (now - refused_since_ > refusal_patience) {
    throw std::runtime_error("cannot connect to " + server_.host() + ": " + std::strerror(error));
  }
  peer.connecting_ = false;
  ::close(std::exchange(peer.fd_, -1));
  ++errors_["connection refused"];
  timers_.push({now + reopen_delay, action::open_again, 0, &peer});
}

void event_loop::lose(connection& peer, std::string_view why) {
  ::close(std::exchange(peer.fd_, -1));
  peer.partial_.clear();
  peer.sent_ = 0;
  // An idle keep-alive connection may be closed at any time; that is no error.
  if (peer.busy()) ++errors_[std::string(why)];
  timers_.push({clock::now() + (peer.busy() ? clock::duration(reopen_delay) : clock::duration(0)),
                action::open_again, 0, &peer});
}

void event_loop::await(connection& peer, std::uint32_t events, int operation) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = &peer;
  if (epoll_ctl(epoll_, operation, peer.fd_, &event) != 0) fail("epoll_ctl");
}

void event_loop::send(connection& peer, std::string_view message) {
  peer.message_ = message;
  peer.sent_ = 0;
  if (peer.fd_ >= 0 && !peer.connecting_) transmit(peer);
}

void event_loop::resend(connection& peer, clock::duration delay) {
  peer.message_ = answered_message_;
  peer.sent_ = 0;
  timers_.push({clock::now() + delay, action::send_again, 0, &peer});
}

void event_loop::transmit(connection& peer) {
  const auto rest = peer.message_.substr(peer.sent_);
  const auto sent = ::send(peer.fd_, rest.data(), rest.size(), MSG_NOSIGNAL);
  if (sent < 0 && errno != EAGAIN) return lose(peer, "disconnected");
  if (sent > 0) peer.sent_ += static_cast<std::size_t>(sent);
  if (peer.sent_ < peer.message_.size()) await(peer, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
}

void event_loop::receive(connection& peer) {
  const auto received = ::recv(peer.fd_, buffer_.data(), buffer_.size(), 0);
  if (received < 0 && errno == EAGAIN) return;
  if (received <= 0) return lose(peer, "disconnected");

  std::string_view bytes(buffer_.data(), static_cast<std::size_t>(received));
  const bool in_pieces = !peer.partial_.empty();
  if (in_pieces) bytes = peer.partial_.append(bytes);

  http_reply reply;
  const auto parsed = parse_reply(bytes, reply);
  if (parsed.state == parse_state::incomplete) {
    if (!in_pieces) peer.partial_ = bytes;
    return;
  }
  if (parsed.state == parse_state::malformed || parsed.size != bytes.size() || !peer.busy()) {
    // Never seen from a correct server; without a way to resynchronise, begin again.
    return lose(peer, "malformed reply");
  }
  // The driver may send the next request, which reuses partial_ only after it has returned to the loop.
  const std::string whole = in_pieces ? std::move(peer.partial_) : std::string();
  if (in_pieces) {
    peer.partial_.clear();
    (void)parse_reply(whole, reply);
  }
  answered_message_ = std::exchange(peer.message_, {});
  driver_->on_reply(peer, reply, clock::now());
}

void event_loop::call_at(clock::time_point when, int tag) {
  timers_.push({when, action::tell_driver, tag, nullptr});
}

void event_loop::watch_input(int fd) {
  input_fd_ = fd;
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = &input_marker_;
  // EPERM: a regular file or /dev/null, which never ends for us; a signal will stop the process.
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0 && errno != EPERM) fail("epoll_ctl");
}

}  // namespace dislock::load
