#include "http/server.hpp"

#include "base/assert.hpp"
#include "http/problem.hpp"
#include "http/reply_head.hpp"
#include "http/server_core.hpp"

#include <boost/asio/ip/address.hpp>
#include <boost/asio/post.hpp>
#include <sys/socket.h>

#include <algorithm>
#include <ctime>

namespace dislock::http {

namespace asio = boost::asio;
using boost::system::error_code;
using keep_alive_idle = asio::detail::socket_option::integer<IPPROTO_TCP, TCP_KEEPIDLE>;
using keep_alive_interval = asio::detail::socket_option::integer<IPPROTO_TCP, TCP_KEEPINTVL>;
using keep_alive_count = asio::detail::socket_option::integer<IPPROTO_TCP, TCP_KEEPCNT>;

server::server(asio::io_context& io, const options& o, handler h)
    : core_(std::make_unique<server_core>(io, o, std::move(h))) {}
server::~server() = default;
std::uint16_t server::local_port() const noexcept {
  return core_->local_port();
}
const statistics& server::stats() const noexcept {
  return core_->counters;
}
void server::stop_accepting() {
  core_->stop_accepting();
}
void server::close_idle() {
  core_->close_idle();
}
std::size_t server::open_exchanges() const noexcept {
  return core_->open_exchanges;
}
void server::close_all() {
  core_->close_all();
}
void server::on_drained(std::function<void()> callback) {
  core_->on_drained(std::move(callback));
}

server_core::server_core(asio::io_context& context, const options& o, server::handler h)
    : io(context),
      settings(o),
      handle(std::move(h)),
      hosts(o.hosts, o.origins),
      acceptor_(context.get_executor()),
      sweep_timer_(context.get_executor()),
      last_sweep_(std::chrono::steady_clock::now()) {
  const asio::ip::tcp::endpoint endpoint(asio::ip::make_address(settings.address), settings.port);
  acceptor_.open(endpoint.protocol());
  // Accepted sockets inherit all of these. Keep-alive probes find the clients that vanish without a word (a
  // cable, a power cut) in the middle of a long wait: gone after 30 s.
  acceptor_.set_option(asio::socket_base::reuse_address(true));
  acceptor_.set_option(asio::ip::tcp::no_delay(true));
  acceptor_.set_option(asio::socket_base::keep_alive(true));
  acceptor_.set_option(keep_alive_idle(15));
  acceptor_.set_option(keep_alive_interval(5));
  acceptor_.set_option(keep_alive_count(3));
  acceptor_.bind(endpoint);
  acceptor_.listen(4096);  // the kernel cuts it to net.core.somaxconn
  port_ = acceptor_.local_endpoint().port();
  date_ = std::time(nullptr);
  date_line_ = date_line_of(std::chrono::sys_seconds(std::chrono::seconds(date_)));
  accept();
  sweep_later();
}

server_core::~server_core() {
  DISLOCK_ASSERT(drained_, "a server is drained before it is destroyed");
  DISLOCK_ASSERT(idle_exchanges_.size() == exchanges_made_, "no exchange outlives its server");
  for (auto* e : idle_exchanges_) delete e;
}

reader_limits server_core::reading_limits() const noexcept {
  return {
      .header = settings.header_limit, .body = settings.body_limit, .pipelined = settings.pipelined_limit};
}

// Accepting

void server_core::accept() {
  accepting_ = true;
  acceptor_.async_accept(io.get_executor(), peer_, [this](const error_code& ec, tcp_socket socket) {
    accepting_ = false;
    on_accept(ec, std::move(socket));
  });
}

void server_core::on_accept(const error_code& ec, tcp_socket socket) {
  if (stopped_) return check_drained();
  if (ec) {  // out of descriptors or memory: trying again at once would spin, the next sweep tries again
    ++counters.accept_errors;
    return;
  }
  const auto peer = peer_.address();
  if (has_place_for(peer)) {
    ++counters.connections_total;
    if (settings.max_connections_per_address != 0) ++per_address_[peer];
    ++connections_alive_;
    const boost::intrusive_ptr<connection> c(new connection(*this, std::move(socket), peer));
    c->slot = table_.size();
    table_.push_back({no_deadline, c});
    counters.connections_open = table_.size();
    c->start();
  } else {
    ++counters.connections_refused;
    turn_away(std::move(socket));
  }
  accept();
}

bool server_core::has_place_for(const asio::ip::address& peer) const {
  if (table_.size() >= settings.max_connections) return false;
  if (settings.max_connections_per_address == 0) return true;
  const auto found = per_address_.find(peer);
  return found == per_address_.end() || found->second < settings.max_connections_per_address;
}

// Best effort: a new socket takes the few bytes, but a client that is still sending may see a reset instead.
void server_core::turn_away(tcp_socket socket) {
  std::string body;
  append_problem(body, {.code = errc::overloaded, .detail = "Too many connections."});
  scratch.clear();
  append_head(
      scratch,
      {.status = 503, .type = content_type::problem_json, .length = body.size(), .connection = "close"},
      date_line_);
  scratch += body;
  ++counters.replies[5];
  [[maybe_unused]] const auto sent =
      ::send(socket.native_handle(), scratch.data(), scratch.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

// The table of connections

void server_core::remove(connection& c) {
  if (settings.max_connections_per_address != 0) {
    const auto found = per_address_.find(c.peer());
    if (--found->second == 0) per_address_.erase(found);
  }
  auto& last = table_.back();
  last.owner->slot = c.slot;
  std::swap(table_[c.slot], last);
  table_.pop_back();
  counters.connections_open = table_.size();
}

void server_core::connection_destroyed() {
  --connections_alive_;
  check_drained();
}

std::vector<boost::intrusive_ptr<connection>> server_core::all_connections() const {
  std::vector<boost::intrusive_ptr<connection>> all;
  all.reserve(table_.size());
  for (const auto& e : table_) all.push_back(e.owner);
  return all;
}

// Time

void server_core::sweep_later() {
  sweeping_ = true;
  sweep_timer_.expires_after(settings.sweep_interval);
  sweep_timer_.async_wait([this](const error_code&) {
    sweeping_ = false;
    if (drained_ || (stopped_ && connections_alive_ == 0)) return check_drained();
    sweep();
    sweep_later();
  });
}

void server_core::sweep() {
  const auto real = std::chrono::steady_clock::now();
  const auto passed = std::chrono::duration_cast<std::chrono::milliseconds>(real - last_sweep_);
  last_sweep_ = real;
  now_ += std::min(passed, 2 * settings.sweep_interval).count();

  if (const auto wall = std::time(nullptr); wall != date_) {
    date_ = wall;
    date_line_ = date_line_of(std::chrono::sys_seconds(std::chrono::seconds(wall)));
  }
  if (!stopped_ && !accepting_) accept();
  // From the back: removal moves the last entry into the gap, and that one has been looked at.
  for (auto i = table_.size(); i-- > 0;) {
    if (i < table_.size() && table_[i].deadline <= now_) table_[i].owner->on_deadline();
  }
}

// Exchanges

exchange& server_core::take_exchange() {
  if (idle_exchanges_.empty()) {
    ++exchanges_made_;
    return *new exchange(*this);
  }
  auto* e = idle_exchanges_.back();
  idle_exchanges_.pop_back();
  return *e;
}

void server_core::recycle(exchange& e) {
  constexpr std::size_t kept = 2048;  // of a body: enough for lock replies, and little enough times 10,000
  if (e.body_.capacity() > kept) {
    std::string().swap(e.body_);
  } else {
    e.body_.clear();
  }
  idle_exchanges_.push_back(&e);
}

// Drain

void server_core::stop_accepting() {
  if (stopped_) return;
  stopped_ = true;
  error_code ignored;
  acceptor_.close(ignored);
  check_drained();
}

void server_core::close_idle() {
  draining = true;
  for (const auto& c : all_connections()) c->close_if_idle();
}

void server_core::close_all() {
  stop_accepting();
  draining = true;
  for (const auto& c : all_connections()) c->close();
}

void server_core::on_drained(std::function<void()> callback) {
  drained_callback_ = std::move(callback);
  if (drained_ && drained_callback_) asio::post(io, std::exchange(drained_callback_, nullptr));
}

void server_core::check_drained() {
  if (drained_ || !stopped_ || accepting_ || connections_alive_ != 0) return;
  if (sweeping_) {
    sweep_timer_.cancel();  // comes back here
    return;
  }
  drained_ = true;
  if (drained_callback_) asio::post(io, std::exchange(drained_callback_, nullptr));
}

}  // namespace dislock::http
