#include "library/remote/connection.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/post.hpp>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>

namespace dislock::library::remote {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

// So that a machine that has gone silently is noticed in the middle of a long wait: after some 15 s.
void watch_for_silence(int socket) noexcept {
  const auto set = [&](int level, int name, int value) {
    (void)::setsockopt(socket, level, name, &value, sizeof value);
  };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 6);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 3);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
}

}  // namespace

connection::connection(asio::io_context& io, connection_user& user, std::size_t place)
    : io_(io), user_(&user), place_(place), socket_(io.get_executor()) {}

void connection::connect(const endpoint& to) {
  error_code ec;
  if (const auto address = asio::ip::make_address(to.host, ec); !ec) {
    addresses_.emplace_back(address, to.port);
    return try_next_address({});
  }
  resolver_ = std::make_unique<asio::ip::basic_resolver<tcp, executor>>(io_.get_executor());
  resolver_->async_resolve(to.host, std::to_string(to.port), tcp::resolver::numeric_service,
                           [self = shared_from_this()](const error_code& wrong, const auto& found) {
                             if (self->phase_ != phase::connecting) return;
                             self->resolver_.reset();
                             if (wrong) return self->lost("the name is unknown: " + wrong.message());
                             for (const auto& one : found) self->addresses_.push_back(one.endpoint());
                             self->try_next_address({});
                           });
}

void connection::try_next_address(std::string_view last_failure) {
  if (phase_ != phase::connecting) return;
  if (next_address_ == addresses_.size()) return lost(last_failure);
  error_code ignored;
  socket_.close(ignored);
  socket_.async_connect(addresses_[next_address_++], [self = shared_from_this()](const error_code& ec) {
    if (self->phase_ != phase::connecting) return;
    if (ec) return self->try_next_address(ec.message());
    error_code wrong;
    self->socket_.non_blocking(true, wrong);
    watch_for_silence(self->socket_.native_handle());
    self->phase_ = phase::idle;
    self->read();
    self->user_->on_connected(*self);
  });
}

void connection::send(std::string_view request, std::size_t body_limit, bool stream) {
  reader_.begin(body_limit);
  streaming_ = stream;
  phase_ = phase::busy;
  ssize_t sent = 0;
  do {
    sent = ::send(socket_.native_handle(), request.data(), request.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  if (sent == static_cast<ssize_t>(request.size())) return;
  // An error is left to the pending read, which sees it too: nobody is called back from here.
  if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK) return;
  unwritten_.assign(request.substr(sent < 0 ? 0 : static_cast<std::size_t>(sent)));
  write_rest();
}

void connection::write_rest() {
  socket_.async_write_some(asio::buffer(unwritten_),
                           [self = shared_from_this()](const error_code& ec, std::size_t count) {
                             if (ec || self->phase_ == phase::closed) return;  // the read sees it too
                             self->unwritten_.erase(0, count);
                             if (!self->unwritten_.empty()) self->write_rest();
                           });
}

void connection::read() {
  const auto room = reader_.room();
  socket_.async_read_some(
      asio::buffer(room.data(), room.size()),
      [self = shared_from_this()](const error_code& ec, std::size_t count) { self->on_read(ec, count); });
}

void connection::on_read(const error_code& ec, std::size_t count) {
  if (phase_ == phase::closed) return;
  if (ec) return lost(ec == asio::error::eof ? "the service closed the connection" : ec.message());
  reader_.received(count);
  if (phase_ != phase::busy) return lost("the service spoke without being asked");

  switch (reader_.advance()) {
    case reply_reader::progress::failed:
      return lost(reader_.failure());
    case reply_reader::progress::need_more:
      read();
      if (streaming_ && reader_.has_head()) user_->on_stream(*this);
      return;
    case reply_reader::progress::complete:
      if (reader_.has_unread()) return lost("the service spoke without being asked");
      used_ = true;
      phase_ = phase::idle;
      // Before anybody is told: who is may ask something else on this connection, and wait for it right
      // there.
      read_soon();
      user_->on_reply(*this);
      return;
  }
}

// There is nothing to read yet, and to find that out would cost a system call. By the time that everything
// else which is ready has had its turn there often is.
void connection::read_soon() {
  asio::post(io_, [self = shared_from_this()] {
    if (self->phase_ != phase::closed) self->read();
  });
}

void connection::close() noexcept {
  phase_ = phase::closed;
  resolver_.reset();
  error_code ignored;
  socket_.close(ignored);
}

void connection::lost(std::string_view why) {
  const auto self = shared_from_this();
  close();
  user_->on_lost(*this, why);
}

}  // namespace dislock::library::remote
