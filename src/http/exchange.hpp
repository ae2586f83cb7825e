#pragma once

#include "http/request.hpp"

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace dislock::http {

class connection;
class server_core;
class stream;
using stream_ptr = std::unique_ptr<stream>;

/// What we serve, as Content-Type values.
namespace content_type {
inline constexpr std::string_view json = "application/json";
inline constexpr std::string_view problem_json = "application/problem+json";
inline constexpr std::string_view event_stream = "text/event-stream";
inline constexpr std::string_view metrics = "text/plain; version=0.0.4; charset=utf-8";
inline constexpr std::string_view text = "text/plain; charset=utf-8";
inline constexpr std::string_view html = "text/html; charset=utf-8";
inline constexpr std::string_view yaml = "application/yaml";
}  // namespace content_type

/// What became of a reply.
enum class delivery : std::uint8_t {
  accepted,       ///< the kernel has all of it; a close after this is normal
  queued,         ///< the kernel has a part; should the rest fail, `on_undelivered` tells
  undeliverable,  ///< the connection had ended, or failed at the first byte: the client has nothing
};

/// One request and the duty to answer it, once: now, or when a long wait is over.
///
/// Kept through `exchange_ptr`, for as long as the answer takes; waiting costs memory (about 3 KiB with its
/// connection), no thread. While it is open the connection is being read, so that a client that goes away is
/// noticed at once. Half-closing counts as going away. What was never answered when the last handle goes gets
/// 500 `internal_error`.
///
/// Thread: the one that runs the server's io_context, for everything, handles included.
///
/// Invariants
/// 1. At most one reply (or stream) per exchange; asserted.
/// 2. `on_undelivered` is called exactly once if the connection ends or fails before the kernel has accepted
/// the
///    whole reply, and never after that.
/// 3. Once answered or undelivered, `get()` is empty: its bytes belong to the connection.
class exchange {
 public:
  exchange(const exchange&) = delete;
  exchange& operator=(const exchange&) = delete;

  [[nodiscard]] const request& get() const noexcept { return request_; }

  /// Where the reply's body is written, before `reply`. Empty at first; its memory is reused.
  [[nodiscard]] std::string& body() noexcept { return body_; }

  /// Sends the head and what is in `body()`. `headers` are complete lines, each with its CRLF.
  ///
  /// When it returns `undeliverable`, a callback given to `on_undelivered` has been called already (now, or
  /// when the connection ended). May not call the request handler again before it returns.
  /// REQUIRES: not answered yet; `headers` and `type` hold no input of a client.
  delivery reply(int status, std::string_view type = content_type::json, std::string_view headers = {});

  /// The client has closed (or half-closed, or reset) the connection. One system call. Ask before granting
  /// anything that somebody would have to take back.
  [[nodiscard]] bool peer_gone() const noexcept;

  /// Registers what happens when the reply cannot be delivered; called at once if that is already certain.
  /// Only then a client that goes is noticed while it waits. The last one counts. It may drop handles, and
  /// may call `reply` (which changes nothing).
  void on_undelivered(std::function<void()> callback);

  /// No reply is owed any more: it was given, or the connection ended.
  [[nodiscard]] bool is_done() const noexcept { return state_ != state::open; }

  /// 32 hex digits, of the request's `traceparent` or made up. Costs nothing until asked for.
  [[nodiscard]] std::string_view trace_id();

  /// Answers with status 200 and a body without end, e.g. Server-Sent Events. Nothing when the client has
  /// gone. REQUIRES: not answered yet.
  [[nodiscard]] stream_ptr start_stream(std::string_view type, std::string_view headers = {});

 private:
  friend class connection;
  friend class server_core;
  friend class exchange_ptr;

  enum class state : std::uint8_t { open, queued, answered, undelivered };

  explicit exchange(server_core& core) noexcept : core_(core) {}
  [[nodiscard]] bool wants_to_know() const noexcept { return undelivered_ != nullptr; }

  void add_handle() noexcept { ++handles_; }
  void drop_handle() {
    if (--handles_ == 0) last_handle_gone();
  }
  void last_handle_gone();

  void begin(connection& on, const request& r) noexcept;
  void end(state how);

  server_core& core_;
  connection* connection_ = nullptr;  // until the reply is out or the connection has ended
  request request_;
  std::string body_;
  std::function<void()> undelivered_;
  std::array<char, 32> trace_id_{};
  std::uint32_t handles_ = 0;
  state state_ = state::open;
  bool has_trace_id_ = false;
};

/// A counted handle to an exchange. The count is not atomic: one thread.
class exchange_ptr {
 public:
  exchange_ptr() noexcept = default;
  explicit exchange_ptr(exchange& e) noexcept : exchange_(&e) { e.add_handle(); }
  exchange_ptr(const exchange_ptr& other) noexcept : exchange_(other.exchange_) {
    if (exchange_) exchange_->add_handle();
  }
  exchange_ptr(exchange_ptr&& other) noexcept : exchange_(std::exchange(other.exchange_, nullptr)) {}
  exchange_ptr& operator=(exchange_ptr other) noexcept {
    std::swap(exchange_, other.exchange_);
    return *this;
  }
  ~exchange_ptr() { reset(); }

  void reset() {
    if (auto* e = std::exchange(exchange_, nullptr)) e->drop_handle();
  }

  [[nodiscard]] exchange& operator*() const noexcept { return *exchange_; }
  [[nodiscard]] exchange* operator->() const noexcept { return exchange_; }
  [[nodiscard]] explicit operator bool() const noexcept { return exchange_ != nullptr; }

 private:
  exchange* exchange_ = nullptr;
};

/// The body of a reply that goes on until one side has enough of it.
///
/// What the client does not read is buffered up to `options::stream_buffer` (256 KiB); a reader that is
/// slower than that is closed. Destroying it ends the reply. Owned by whoever started it; same thread as the
/// server. Invariant: `on_closed` is called at most once, and not because of `close()` or the destructor.
class stream {
 public:
  stream(const stream&) = delete;
  stream& operator=(const stream&) = delete;
  ~stream();

  /// False when the stream is closed, by the client, by `close()`, or by this very write.
  bool write(std::string_view bytes);

  /// Ends the reply in good order; what is buffered is still sent.
  void close();

  /// The client has gone, was too slow, or the server closes; called at once if that has happened already.
  void on_closed(std::function<void()> callback);

  [[nodiscard]] bool is_open() const noexcept { return connection_ != nullptr; }

 private:
  friend class connection;
  stream(connection& on, bool chunked) noexcept : connection_(&on), chunked_(chunked) {}

  void connection_ended();

  connection* connection_;
  std::function<void()> closed_;
  bool chunked_;
  bool cut_off_ = false;  // the other side ended it
};

}  // namespace dislock::http
