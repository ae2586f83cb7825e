#pragma once

#include "dislock/errc.hpp"
#include "http/request.hpp"

#include <boost/beast/http/basic_parser.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

namespace dislock::http {

/// How much of a request we are willing to hold.
struct reader_limits {
  std::size_t header = 16 * 1024;     ///< request line and headers, with the final empty line
  std::size_t body = 64 * 1024;       ///< after the chunks are joined
  std::size_t chunk_extension = 256;  ///< per chunk; nobody uses them for anything good
  std::size_t pipelined = 16 * 1024;  ///< bytes of later requests held while one is being answered
};

/// Turns the bytes of one connection into requests, one at a time, without touching a socket.
///
/// Beast's `basic_parser` does the grammar; this class owns the buffer, keeps the few headers that matter as
/// offsets into it, and adds what Beast lets through: folded lines, repeated or listed Content-Length,
/// transfer codings other than `chunked`, repeated Host, requests for something that is not a path.
///
/// The life of a message: bytes come in through `room()`/`received()`, `advance()` says `complete`,
/// `current()` shows the request until `next()`. Bytes that come in meanwhile stay behind it, up to
/// `limits.pipelined`.
///
/// Invariants
/// 1. While a request is complete, its bytes do not move: views stay valid until `next()`.
/// 2. Memory that `room()` gave out does not move before `received()`; so between the two, call `advance`
///    only with `may_move = false`.
/// 3. After `failed` nothing more is parsed: where the next request would begin is no longer known.
/// 4. Empty and idle, it holds no more than `initial_capacity` bytes.
class request_reader {
 public:
  enum class progress : std::uint8_t { need_more, complete, failed };

  static constexpr std::size_t initial_capacity = 2048;  // a lock request and its headers take about 400
  static constexpr std::size_t least_room = 512;  // a read smaller than this is not worth a system call

  explicit request_reader(const reader_limits& limits);

  /// Where the next bytes go. Empty only when a request is complete and the bound for later ones is reached.
  [[nodiscard]] std::span<char> room();
  /// `count` bytes have been written to the front of the last `room()`.
  void received(std::size_t count) noexcept { end_ += count; }

  /// Parses as far as the bytes go. REQUIRES: no request is complete.
  [[nodiscard]] progress advance(bool may_move = true);

  /// The complete request.
  [[nodiscard]] const request& current() const noexcept { return request_; }
  /// Forgets the complete request; its views die. Later bytes are kept.
  void next() noexcept;

  [[nodiscard]] bool is_complete() const noexcept { return phase_ == phase::complete; }

  /// Why `advance` failed.
  [[nodiscard]] errc failure() const noexcept { return failure_; }
  /// Bytes are there that belong to no complete request.
  [[nodiscard]] bool has_unread() const noexcept { return end_ > begin_ + consumed_; }
  /// The first byte of a request has come and its last has not.
  [[nodiscard]] bool in_message() const noexcept { return phase_ != phase::complete && end_ > begin_; }
  /// The headers are there, the body is not.
  [[nodiscard]] bool in_body() const noexcept {
    return phase_ == phase::sized_body || phase_ == phase::chunks;
  }
  /// The client waits for `100 Continue`, and has sent nothing of its body yet. True once per message.
  [[nodiscard]] bool take_expectation() noexcept;

  /// Of the message whose headers were read last.
  [[nodiscard]] bool keep_alive() const noexcept { return keep_alive_; }
  [[nodiscard]] bool is_http_1_0() const noexcept { return http_1_0_; }
  [[nodiscard]] bool has_host() const noexcept { return has_host_; }

  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }

 private:
  enum class phase : std::uint8_t { idle, head, sized_body, chunks, complete, failed };

  struct piece {
    std::uint32_t offset = 0;
    std::uint32_t size = 0;
    bool present = false;
  };

  class message_parser final : public boost::beast::http::basic_parser<true> {
   public:
    explicit message_parser(const reader_limits& limits);

    const char* base = nullptr;  // where the message begins now; set before every put
    char* body_end = nullptr;    // where the next chunk's bytes go; they only ever move down
    std::size_t body_size = 0;
    std::size_t max_extension;
    bool in_trailer = false;
    bool has_length = false;
    bool has_coding = false;
    bool has_expectation = false;
    bool http_1_0 = false;
    method verb = method::other;
    piece target, content_type, host, origin, last_event_id, accept, traceparent;

   private:
    using error_code = boost::beast::error_code;
    using text = boost::beast::string_view;

    void on_request_impl(boost::beast::http::verb, text, text, int, error_code&) override;
    void on_response_impl(int, text, int, error_code&) override {}
    void on_field_impl(boost::beast::http::field, text, text, error_code&) override;
    void on_header_impl(error_code&) override { in_trailer = true; }
    void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
    std::size_t on_body_impl(text, error_code&) override { return 0; }
    void on_chunk_header_impl(std::uint64_t, text, error_code&) override;
    std::size_t on_chunk_body_impl(std::uint64_t, text, error_code&) override;
    void on_finish_impl(error_code&) override {}

    [[nodiscard]] piece piece_of(text) const noexcept;
    void take(piece& into, text value, bool once, error_code&) const;
  };

  progress fail(errc code) noexcept;
  progress fail(const boost::system::error_code& error) noexcept;
  progress advance_head();
  progress advance_chunks();
  progress finish(std::size_t body_size, bool may_move);
  bool make_request(std::size_t body_size);
  void compact() noexcept;
  void reallocate(std::size_t capacity);
  [[nodiscard]] std::string_view view(const piece& part) const noexcept;

  const reader_limits limits_;
  std::unique_ptr<char[]> bytes_;
  std::size_t capacity_ = 0;
  std::size_t begin_ = 0;        // of the current message
  std::size_t end_ = 0;          // of what was received
  std::size_t consumed_ = 0;     // of the current message, by the parser; counted from begin_
  std::size_t header_size_ = 0;  // of the current message
  std::size_t body_size_ = 0;    // announced by Content-Length
  std::optional<message_parser> parser_;
  request request_;
  errc failure_ = errc::malformed_http;
  phase phase_ = phase::idle;
  bool keep_alive_ = false;
  bool http_1_0_ = false;
  bool has_host_ = false;
  bool expectation_ = false;
  bool skipped_blank_line_ = false;
};

}  // namespace dislock::http
