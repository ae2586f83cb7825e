#include "engines/redis/wire/connection.hpp"

#include "base/assert.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/write.hpp>
#include <netinet/tcp.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace dislock::redis {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

// So that a machine that has gone silently is noticed also where nobody says anything: after some 15 s.
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

std::string_view sentence(const error_code& ec, std::string& words) {
  if (ec == asio::error::eof || ec == asio::ssl::error::stream_truncated)
    return "the server closed the connection";
  words = ec.message();
  return words;
}

}  // namespace

connection::connection(asio::io_context& io, const clock& time, connection_user& user,
                       asio::ssl::context* tls, const reply_limits& limits)
    : io_(io), time_(time), user_(&user), tls_(tls), socket_(io.get_executor()), reader_(limits) {}

void connection::open(const address& to) {
  peer_ = to;
  error_code ec;
  if (const auto ip = asio::ip::make_address(to.host, ec); !ec) {
    addresses_.emplace_back(ip, to.port);
    // Not from in here: whoever opens is not yet ready to hear that it failed.
    return asio::post(io_, [self = shared_from_this()] { self->try_next_address({}); });
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
    if (self->tls_) return self->secure();
    self->start();
  });
}

void connection::secure() {
  phase_ = phase::securing;
  stream_.emplace(socket_, *tls_);
  error_code ec;
  const bool is_name = (asio::ip::make_address(peer_.host, ec), ec.failed());
  // What the macro SSL_set_tlsext_host_name does, without its cast.
  if (is_name && SSL_ctrl(stream_->native_handle(), SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                          const_cast<char*>(peer_.host.c_str())) != 1)
    return lost("TLS: the host cannot be named");
  if ((SSL_get_verify_mode(stream_->native_handle()) & SSL_VERIFY_PEER) != 0) {
    auto* terms = SSL_get0_param(stream_->native_handle());
    if ((is_name ? X509_VERIFY_PARAM_set1_host(terms, peer_.host.data(), peer_.host.size())
                 : X509_VERIFY_PARAM_set1_ip_asc(terms, peer_.host.c_str())) != 1)
      return lost("TLS: the host cannot be verified");
  }
  stream_->async_handshake(tls_stream::client, [self = shared_from_this()](const error_code& wrong) {
    if (self->phase_ != phase::securing) return;
    if (!wrong) return self->start();
    std::string why = "TLS: " + wrong.message();
    if (const auto verdict = SSL_get_verify_result(self->stream_->native_handle()); verdict != X509_V_OK)
      why += std::string(" (") + X509_verify_cert_error_string(verdict) + ")";
    self->lost(why);
  });
}

void connection::start() {
  phase_ = phase::open;
  heard_ = time_.now();
  const auto self = shared_from_this();
  user_->on_connected(*this);
  if (phase_ == phase::open) read();
}

std::uint64_t connection::expect(request* who) {
  waiting_.push_back({who, given_ + (out_.size() - out_begin_)});
  return first_waiting_ + waiting_.size() - 1;
}

bool connection::sent(std::uint64_t position) const noexcept {
  return position < first_waiting_ || given_ >= waiting_[position - first_waiting_].end;
}

void connection::disown(std::uint64_t from, std::uint64_t to) noexcept {
  for (auto i = std::max(from, first_waiting_); i <= to; ++i) waiting_[i - first_waiting_].who = nullptr;
}

std::vector<connection::unanswered> connection::take_unanswered() {
  std::vector<unanswered> all;
  all.reserve(waiting_.size());
  for (const auto& e : waiting_)
    if (e.who) all.push_back({e.who, given_ >= e.end});
  waiting_.clear();
  return all;
}

void connection::flush() {
  if (phase_ != phase::open || writing_ || out_begin_ == out_.size()) return;
  if (stream_) {
    flush_tls();
  } else {
    flush_plain();
  }
}

void connection::flush_plain() {
  while (out_begin_ < out_.size()) {
    const auto n = ::send(socket_.native_handle(), out_.data() + out_begin_, out_.size() - out_begin_,
                          MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      writing_ = true;
      // A broken connection is left to the pending read, which sees it too: nobody is called back from here.
      if (errno != EAGAIN && errno != EWOULDBLOCK) return;
      socket_.async_wait(socket::wait_write, [self = shared_from_this()](const error_code& ec) {
        if (ec || self->phase_ != phase::open) return;
        self->written();
      });
      return;
    }
    out_begin_ += static_cast<std::size_t>(n);
    given_ += static_cast<std::uint64_t>(n);
  }
  out_.clear();
  out_begin_ = 0;
}

void connection::flush_tls() {
  writing_ = true;
  giving_.clear();
  giving_.swap(out_);
  given_ += giving_.size();
  asio::async_write(*stream_, asio::buffer(giving_),
                    [self = shared_from_this()](const error_code& ec, std::size_t) {
                      if (ec || self->phase_ != phase::open) return;  // the read sees it too
                      self->written();
                    });
}

void connection::written() {
  writing_ = false;
  flush();
  if (!writing_) user_->on_writable(*this);
}

void connection::read() {
  auto done = [self = shared_from_this()](const error_code& ec, std::size_t count) {
    self->on_read(ec, count);
  };
  if (stream_) {
    stream_->async_read_some(asio::buffer(room_), std::move(done));
  } else {
    socket_.async_read_some(asio::buffer(room_), std::move(done));
  }
}

// There is nothing to read yet, and to find that out would cost a system call. By the time that everything
// else which is ready has had its turn there often is.
void connection::read_soon() {
  asio::post(io_, [self = shared_from_this()] {
    if (self->phase_ != phase::closed) self->read();
  });
}

void connection::on_read(const error_code& ec, std::size_t count) {
  if (phase_ == phase::closed) return;
  std::string words;
  if (ec) return lost(sentence(ec, words));
  heard_ = time_.now();
  reader_.feed({room_.data(), count});
  reply got;
  while (true) {
    const auto how = reader_.next(got);
    if (how == reply_reader::progress::need_more) break;
    if (how == reply_reader::progress::failed) return lost(reader_.failure());
    hand(std::move(got));
    if (phase_ == phase::closed) return;
  }
  user_->on_read_over(*this);
  if (phase_ != phase::closed) read_soon();
}

void connection::hand(reply&& got) {
  if (waiting_.empty()) {
    if (pushes_) return user_->on_reply(*this, nullptr, std::move(got));
    // A server that turns somebody away says why before it closes.
    return lost(got.failed() ? "the server said: " + got.text.substr(0, 200)
                             : "the server spoke without being asked");
  }
  auto* who = waiting_.front().who;
  waiting_.pop_front();
  ++first_waiting_;
  user_->on_reply(*this, who, std::move(got));
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

}  // namespace dislock::redis
