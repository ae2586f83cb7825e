// From the bytes of a connection to one reply at a time, without touching a socket.
#pragma once

#include "dislock/clock.hpp"

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace dislock::library::remote {

/// What came back. Views live until the reader goes on.
struct reply {
  int status = 0;
  std::string_view body;
  std::optional<duration> retry_after;  ///< the header, in whole seconds
  bool problem = false;                 ///< application/problem+json
};

/// Strict: a reply has a `Content-Length` or is chunked, its head is at most 16 KiB, its body at most
/// `body_limit`, and nothing comes before or after it that nobody asked for.
///
/// Beast's `basic_parser` does the grammar. Use: `begin`, then bytes through `room`/`received` and `advance`
/// until it is `complete` or `failed`; then `begin` again. After `failed` the connection is of no more use.
class reply_reader {
 public:
  enum class progress : unsigned char { need_more, complete, failed };
  static constexpr std::size_t head_limit = 16 * 1024;

  reply_reader();
  ~reply_reader();

  /// Expects a reply. `body_limit` is what may be there at a time: `take_body` makes room.
  void begin(std::size_t body_limit);
  [[nodiscard]] std::span<char> room();
  void received(std::size_t count) noexcept { end_ += count; }
  [[nodiscard]] progress advance();

  /// Status and headers are there.
  [[nodiscard]] bool has_head() const noexcept;
  /// As far as it has come.
  [[nodiscard]] reply current() const noexcept;
  [[nodiscard]] bool keep_alive() const noexcept;
  [[nodiscard]] std::string take_body() noexcept;
  /// Bytes that belong to no reply: whoever sends them is not to be trusted with another request.
  [[nodiscard]] bool has_unread() const noexcept { return end_ > 0; }
  /// Nothing of the reply has come yet.
  [[nodiscard]] bool untouched() const noexcept { return untouched_ && end_ == 0; }
  /// Why it failed; nothing from the wire.
  [[nodiscard]] std::string_view failure() const noexcept { return failure_; }

 private:
  class parser;
  std::unique_ptr<parser> parser_;
  std::unique_ptr<char[]> bytes_;
  std::size_t capacity_, end_ = 0;
  std::string body_;
  std::string_view failure_;
  bool untouched_ = true;
};

}  // namespace dislock::library::remote
