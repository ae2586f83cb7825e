#include "http/exchange.hpp"

#include "base/assert.hpp"
#include "http/connection.hpp"
#include "http/problem.hpp"
#include "http/server_core.hpp"

namespace dislock::http {

delivery exchange::reply(int status, std::string_view type, std::string_view headers) {
  if (state_ == state::undelivered) return delivery::undeliverable;
  DISLOCK_ASSERT(state_ == state::open, "an exchange is answered once");
  return connection_->reply(*this, status, type, headers);
}

stream_ptr exchange::start_stream(std::string_view type, std::string_view headers) {
  if (state_ == state::undelivered) return nullptr;
  DISLOCK_ASSERT(state_ == state::open, "an exchange is answered once");
  return connection_->start_stream(*this, type, headers);
}

bool exchange::peer_gone() const noexcept {
  return connection_ ? connection_->peer_gone() : state_ == state::undelivered;
}

void exchange::on_undelivered(std::function<void()> callback) {
  if (state_ == state::undelivered) {
    if (callback) callback();
  } else if (state_ != state::answered) {
    undelivered_ = std::move(callback);
    if (connection_ && undelivered_) connection_->watch();
  }
}

std::string_view exchange::trace_id() {
  if (!has_trace_id_) {
    core_.trace_ids.make(request_.traceparent, trace_id_);
    has_trace_id_ = true;
  }
  return {trace_id_.data(), trace_id_.size()};
}

void exchange::begin(connection& on, const request& r) noexcept {
  connection_ = &on;
  request_ = r;
  state_ = state::open;
  has_trace_id_ = false;
}

void exchange::end(state how) {
  const exchange_ptr keep(*this);  // its last handle may be in the callback
  state_ = how;
  connection_ = nullptr;
  request_ = {};
  if (!undelivered_) return;
  const auto callback = std::exchange(undelivered_, nullptr);
  if (how == state::undelivered) callback();
}

void exchange::last_handle_gone() {
  if (state_ == state::queued) return;  // the connection still needs it, and recycles it through end()
  if (state_ == state::open) {
    exchange_ptr keep(*this);
    reply_problem(*this, {.code = errc::internal_error});
    return;
  }
  core_.recycle(*this);
}

stream::~stream() {
  closed_ = nullptr;
  close();
}

bool stream::write(std::string_view bytes) {
  if (connection_ == nullptr) return false;
  return bytes.empty() || connection_->write_stream(bytes, chunked_);
}

void stream::close() {
  if (auto* c = std::exchange(connection_, nullptr)) c->end_stream(chunked_);
}

void stream::on_closed(std::function<void()> callback) {
  if (cut_off_) {
    if (callback) callback();
  } else {
    closed_ = std::move(callback);
  }
}

void stream::connection_ended() {
  connection_ = nullptr;
  cut_off_ = true;
  if (const auto callback = std::exchange(closed_, nullptr)) callback();  // may destroy this
}

}  // namespace dislock::http
