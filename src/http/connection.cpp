#include "http/connection.hpp"

#include "base/assert.hpp"
#include "http/problem.hpp"
#include "http/reply_head.hpp"
#include "http/server_core.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <sys/socket.h>

#include <cerrno>
#include <charconv>
#include <poll.h>

namespace dislock::http {

namespace asio = boost::asio;
using boost::system::error_code;

connection::connection(server_core& core, tcp_socket socket, const asio::ip::address& peer)
    : core_(core),
      socket_(std::move(socket)),
      reader_(core.reading_limits()),
      peer_(peer),
      due_(server_core::no_deadline) {}

connection::~connection() {
  core_.connection_destroyed();
}

void connection::start() {
  await(awaiting::header);
  read();
}

// Reading

void connection::read() {
  const auto room = reader_.room();
  if (room.empty()) {
    paused_ = true;
    core_.set_deadline(*this, core_.now());  // looked at by every sweep
    return;
  }
  if (paused_) {
    paused_ = false;
    core_.set_deadline(*this, due_);
  }
  reading_ = true;
  socket_.async_read_some(
      asio::buffer(room.data(), room.size()),
      [self = ref(this)](const error_code& ec, std::size_t count) { self->on_read(ec, count); });
}

void connection::on_read(const error_code& ec, std::size_t count) {
  reading_ = false;
  if (closed_) return;
  if (ec) return close();  // the end of file is no different: a client that half-closes counts as gone
  core_.counters.bytes_in += count;
  if (lingering_ || stream_ != nullptr) return read();  // thrown away
  reader_.received(count);
  advance();
  read_on(false);
}

// Parses and dispatches until something has to be waited for.
void connection::advance() {
  if (closed_ || advancing_) return;
  advancing_ = true;
  while (!closed_ && !lingering_ && !closing_ && exchange_ == nullptr && stream_ == nullptr &&
         writing_.empty()) {
    const auto outcome = reader_.advance(!reading_);
    if (outcome == request_reader::progress::need_more) {
      await_more();
      break;
    }
    if (outcome == request_reader::progress::failed) {
      ++core_.counters.parse_errors;
      refuse(reader_.failure());
    } else {
      dispatch();
    }
  }
  advancing_ = false;
}

// Reads on, if there is a reason to.
void connection::read_on(bool now) {
  if (closed_ || reading_) return;
  // Most replies come soon, and whoever writes one asks whether the client is still there.
  if (exchange_ != nullptr && !exchange_->wants_to_know()) return;
  // A reply has just gone out. By the time that everything else which is ready has had its turn the next
  // request is often there; now there is none, and to find that out would cost a system call.
  const bool between = exchange_ == nullptr && stream_ == nullptr && !lingering_ && !reader_.in_message();
  if (between && !now) return resume_later();
  read();
}

void connection::watch() {
  if (!advancing_) read_on(true);
}

void connection::await_more() {
  const auto what = reader_.in_body()      ? awaiting::body
                    : reader_.in_message() ? awaiting::header
                                           : awaiting::idle;
  if (what != awaiting_) await(what);
  if (what != awaiting::body || !reader_.take_expectation()) return;
  if (send("HTTP/1.1 100 Continue\r\n\r\n") != sending::all_sent) close();
}

void connection::resume_later() {
  if (resuming_) return;
  resuming_ = true;
  asio::post(core_.io, [self = ref(this)] {
    self->resuming_ = false;
    self->advance();
    self->read_on(true);
  });
}

// Answering

exchange_ptr connection::begin_exchange() {
  auto& e = core_.take_exchange();
  e.begin(*this, reader_.current());
  exchange_ = &e;
  ++core_.open_exchanges;
  await(awaiting::nothing);
  return exchange_ptr(e);
}

namespace {

// What a request must never see cached, and which part of it was wrong.
constexpr std::string_view uncached = "Cache-Control: no-store\r\n";

problem problem_of(errc code) {
  switch (code) {
    case errc::body_too_large:
      return {.code = code, .members = R"("field":"body")"};
    case errc::unknown_host:
      return {.code = code, .members = R"("field":"Host")"};
    case errc::forbidden_origin:
      return {.code = code, .members = R"("field":"Origin")"};
    default:
      return {.code = code};
  }
}

}  // namespace

void connection::dispatch() {
  auto e = begin_exchange();
  if (const auto refused = core_.hosts.check(e->get(), !reader_.is_http_1_0())) {
    if (*refused == errc::malformed_http) closing_ = true;
    reply_problem(*e, problem_of(*refused), uncached);
    return;
  }
  ++core_.counters.requests;
  try {
    core_.handle(e);
  } catch (...) {  // a bug in a handler costs its own client an answer, nobody else's
    ++core_.counters.handler_failures;
    if (!e->is_done()) reply_problem(*e, problem_of(errc::internal_error), uncached);
  }
}

void connection::refuse(errc code) {
  closing_ = true;
  reply_problem(*begin_exchange(), problem_of(code), uncached);
}

delivery connection::reply(exchange& e, int status, std::string_view type, std::string_view headers) {
  const ref self(this);
  if (!reader_.keep_alive() || core_.draining) closing_ = true;
  const bool has_body = status != 204 && status != 304;
  auto& out = core_.scratch;
  out.clear();
  append_head(out,
              {.status = status,
               .type = has_body ? type : std::string_view{},
               .length = has_body ? std::optional(e.body_.size()) : std::nullopt,
               .connection = closing_                ? "close"
                             : reader_.is_http_1_0() ? "keep-alive"
                                                     : "",
               .headers = headers},
              core_.date_line());
  if (has_body && e.get().verb != method::head) out += e.body_;
  ++core_.counters.replies[static_cast<std::size_t>(status / 100 % 6)];

  switch (send(out)) {
    case sending::all_sent:
      finish_exchange();
      return delivery::accepted;
    case sending::rest_queued:
      e.state_ = exchange::state::queued;
      return delivery::queued;
    case sending::failed:
      break;
  }
  close();
  return delivery::undeliverable;
}

// The kernel has the whole reply.
void connection::finish_exchange() {
  --core_.open_exchanges;
  std::exchange(exchange_, nullptr)->end(exchange::state::answered);
  if (reader_.is_complete()) reader_.next();
  if (closing_) {
    linger();
  } else {
    await(awaiting::idle);
    // Not from here: we may be deep inside the code that answered, which does not expect another request.
    if (!advancing_ && (reader_.has_unread() || !reading_)) resume_later();
  }
}

stream_ptr connection::start_stream(exchange& e, std::string_view type, std::string_view headers) {
  const ref self(this);
  const bool chunked = !reader_.is_http_1_0();
  const bool body_wanted = e.get().verb != method::head;
  closing_ = true;
  auto& out = core_.scratch;
  out.clear();
  append_head(out,
              {.status = 200, .type = type, .connection = "close", .chunked = chunked, .headers = headers},
              core_.date_line());
  ++core_.counters.replies[2];
  if (send(out) != sending::all_sent) {  // a head that does not fit into an empty socket buffer: a dead peer
    close();
    return nullptr;
  }
  stream_ptr s(new stream(*this, chunked));
  --core_.open_exchanges;
  std::exchange(exchange_, nullptr)->end(exchange::state::answered);
  reader_.next();
  if (body_wanted) {
    stream_ = s.get();
    ++core_.counters.streams_open;
    if (!advancing_ && !reading_) resume_later();
  } else {
    s->connection_ = nullptr;
    linger();
  }
  return s;
}

bool connection::write_stream(std::string_view bytes, bool chunked) {
  const ref self(this);
  auto& out = core_.scratch;
  out.clear();
  if (chunked) {
    char size[20];
    out.append(size, std::to_chars(size, size + sizeof size, bytes.size(), 16).ptr);
    out += "\r\n";
    out += bytes;
    out += "\r\n";
    bytes = out;
  }
  if (writing_.size() - written_ + queued_.size() + bytes.size() > core_.settings.stream_buffer) {
    ++core_.counters.slow_streams;
    close();
    return false;
  }
  if (send(bytes) != sending::failed) return true;
  close();
  return false;
}

void connection::end_stream(bool chunked) {
  const ref self(this);
  stream_ = nullptr;
  --core_.counters.streams_open;
  if (chunked && send("0\r\n\r\n") == sending::failed) return close();
  if (writing_.empty()) linger();  // else when it is written
}

// Writing

// Tries at once, because nearly every reply fits; only what is left over becomes an operation.
connection::sending connection::send(std::string_view bytes) {
  if (!writing_.empty()) {
    queued_ += bytes;
    return sending::rest_queued;
  }
  ssize_t sent = 0;
  do {
    sent = ::send(socket_.native_handle(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) {
    if (errno != EAGAIN && errno != EWOULDBLOCK) return sending::failed;
    sent = 0;
  }
  core_.counters.bytes_out += static_cast<std::uint64_t>(sent);
  if (static_cast<std::size_t>(sent) == bytes.size()) return sending::all_sent;
  writing_.assign(bytes.substr(static_cast<std::size_t>(sent)));
  written_ = 0;
  write_rest();
  return sending::rest_queued;
}

void connection::write_rest() {
  await(awaiting::write);
  socket_.async_write_some(
      asio::buffer(writing_.data() + written_, writing_.size() - written_),
      [self = ref(this)](const error_code& ec, std::size_t n) { self->on_written(ec, n); });
}

void connection::on_written(const error_code& ec, std::size_t count) {
  if (closed_) return;
  if (ec) return close();
  core_.counters.bytes_out += count;
  written_ += count;
  if (written_ < writing_.size()) return write_rest();
  written_ = 0;
  if (!queued_.empty()) {
    writing_.clear();
    std::swap(writing_, queued_);
    return write_rest();
  }
  std::string().swap(writing_);  // rare and maybe large: not kept
  await(awaiting::nothing);
  if (exchange_ != nullptr) {
    finish_exchange();
  } else if (stream_ == nullptr) {
    linger();  // that was the end of a stream
  }
}

// Ending

void connection::linger() {
  if (closed_ || lingering_) return;
  error_code ignored;
  socket_.shutdown(tcp_socket::shutdown_send, ignored);
  lingering_ = true;
  await(awaiting::linger);
  if (!advancing_ && !reading_) resume_later();
}

void connection::close() {
  if (closed_) return;
  const ref self(this);
  closed_ = true;
  error_code ignored;
  socket_.close(ignored);
  core_.remove(*this);
  if (auto* e = std::exchange(exchange_, nullptr)) {
    --core_.open_exchanges;
    ++core_.counters.undelivered;
    e->end(exchange::state::undelivered);
  }
  if (auto* s = std::exchange(stream_, nullptr)) {
    --core_.counters.streams_open;
    s->connection_ended();
  }
}

void connection::close_if_idle() {
  if (closed_ || exchange_ != nullptr || lingering_) return;
  if (auto* s = stream_) {
    const ref self(this);
    s->connection_ = nullptr;
    end_stream(s->chunked_);
    s->connection_ended();
  } else if (writing_.empty() && !reader_.in_message()) {
    close();
  }
}

bool connection::peer_gone() const noexcept {
  // POLLRDHUP sees an end that is queued behind unread bytes; a peek at those bytes would not.
  pollfd waiting{const_cast<tcp_socket&>(socket_).native_handle(), POLLRDHUP, 0};
  return ::poll(&waiting, 1, 0) > 0;
}

// Deadlines

void connection::await(awaiting what) {
  if (closed_) return;  // no longer in the table
  const auto& s = core_.settings;
  awaiting_ = what;
  std::chrono::milliseconds allowed{};
  switch (what) {
    case awaiting::header:
      allowed = s.header_time;
      break;
    case awaiting::body:
      allowed = s.body_time;
      break;
    case awaiting::idle:
      allowed = s.idle_time;
      break;
    case awaiting::write:
      allowed = s.write_time;
      break;
    case awaiting::linger:
      allowed = s.linger_time;
      break;
    case awaiting::nothing:
      break;
  }
  // One interval more, because now() may be that old.
  due_ = what == awaiting::nothing ? server_core::no_deadline
                                   : core_.now() + allowed.count() + s.sweep_interval.count();
  if (!paused_) core_.set_deadline(*this, due_);
}

void connection::on_deadline() {
  const ref self(this);
  if (paused_) {
    if (peer_gone()) return close();
    if (core_.now() < due_) return;
  }
  switch (awaiting_) {
    case awaiting::nothing:
      return;
    case awaiting::header:
    case awaiting::body:
      ++core_.counters.timeouts;
      if (!reader_.in_message()) return close();  // a connection that never said a word gets none back
      return refuse(errc::request_timeout);
    case awaiting::write:
      ++core_.counters.timeouts;
      return close();
    case awaiting::idle:
    case awaiting::linger:
      return close();
  }
}

}  // namespace dislock::http
