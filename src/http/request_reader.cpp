#include "http/request_reader.hpp"

#include <algorithm>
#include <cstring>

namespace dislock::http {
namespace {

namespace beast_http = boost::beast::http;
using beast_http::error;

method method_of(beast_http::verb verb) {
  switch (verb) {
    case beast_http::verb::get:
      return method::get;
    case beast_http::verb::head:
      return method::head;
    case beast_http::verb::post:
      return method::post;
    case beast_http::verb::put:
      return method::put;
    case beast_http::verb::patch:
      return method::patch;
    case beast_http::verb::delete_:
      return method::del;
    case beast_http::verb::options:
      return method::options;
    default:
      return method::other;
  }
}

bool all_digits(boost::beast::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// What may stand in a request target: visible ASCII, and no fragment.
bool is_target(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f' && c != '#'; });
}

}  // namespace

request_reader::message_parser::message_parser(const reader_limits& limits)
    : max_extension(limits.chunk_extension) {
  header_limit(1U << 30);  // the reader counts itself: Beast counts the request line and the fields apart
  body_limit(limits.body);
}

request_reader::piece request_reader::message_parser::piece_of(text part) const noexcept {
  return {static_cast<std::uint32_t>(part.data() - base), static_cast<std::uint32_t>(part.size()), true};
}

void request_reader::message_parser::take(piece& into, text value, bool once, error_code& ec) const {
  if (once && into.present) {
    ec = error::bad_field;
  } else if (value.empty()) {
    into = {0, 0, true};
  } else {
    into = piece_of(value);
  }
}

void request_reader::message_parser::on_request_impl(beast_http::verb v, text, text where, int version,
                                                     error_code& ec) {
  verb = method_of(v);
  http_1_0 = version == 10;
  target = piece_of(where);
  if (!is_target({where.data(), where.size()})) ec = error::bad_target;
}

void request_reader::message_parser::on_field_impl(beast_http::field name, text raw_name, text value,
                                                   error_code& ec) {
  if (in_trailer) return;

  // Beast joins folded lines in a buffer of its own, or skips an empty first line: between the name and the
  // value there is then a line end, or the value is not ours at all.
  const char* const after_name = raw_name.data() + raw_name.size();
  if (!value.empty()) {
    const auto gap = value.data() - after_name;
    if (gap < 1 || gap > 4096 || std::memchr(after_name, '\r', static_cast<std::size_t>(gap))) {
      ec = error::bad_value;
      return;
    }
  } else {
    const char* p = after_name + 1;
    while (*p == ' ' || *p == '\t') ++p;  // ends at the CR that Beast has seen
    if (p[2] == ' ' || p[2] == '\t') {    // Beast looked one character past the line end
      ec = error::bad_value;
      return;
    }
  }

  switch (name) {
    case beast_http::field::host:
      return take(host, value, true, ec);
    case beast_http::field::origin:
      return take(origin, value, true, ec);
    case beast_http::field::content_type:
      return take(content_type, value, true, ec);
    case beast_http::field::accept:
      return take(accept, value, false, ec);
    case beast_http::field::content_length:
      if (has_length || !all_digits(value)) ec = error::bad_content_length;
      has_length = true;
      return;
    case beast_http::field::transfer_encoding:
      if (has_coding || http_1_0 || !boost::beast::iequals(value, "chunked"))
        ec = error::bad_transfer_encoding;
      has_coding = true;
      return;
    case beast_http::field::expect:
      has_expectation = boost::beast::iequals(value, "100-continue");
      return;
    default:
      break;
  }
  if (raw_name.size() == 11 && boost::beast::iequals(raw_name, "traceparent")) {
    take(traceparent, value, false, ec);
  } else if (raw_name.size() == 13 && boost::beast::iequals(raw_name, "last-event-id")) {
    take(last_event_id, value, false, ec);
  }
}

void request_reader::message_parser::on_chunk_header_impl(std::uint64_t, text extension, error_code& ec) {
  if (extension.size() > max_extension) ec = error::bad_chunk_extension;
}

std::size_t request_reader::message_parser::on_chunk_body_impl(std::uint64_t, text chunk, error_code&) {
  std::memmove(body_end, chunk.data(), chunk.size());
  body_end += chunk.size();
  body_size += chunk.size();
  return chunk.size();
}

request_reader::request_reader(const reader_limits& limits) : limits_(limits) {
  reallocate(initial_capacity);
}

std::string_view request_reader::view(const piece& part) const noexcept {
  return {bytes_.get() + begin_ + part.offset, part.size};
}

void request_reader::reallocate(std::size_t capacity) {
  std::unique_ptr<char[]> bytes(new char[capacity]);
  if (end_ > begin_) std::memcpy(bytes.get(), bytes_.get() + begin_, end_ - begin_);
  end_ -= begin_;
  begin_ = 0;
  bytes_ = std::move(bytes);
  capacity_ = capacity;
}

void request_reader::compact() noexcept {
  if (begin_ > 0) {
    std::memmove(bytes_.get(), bytes_.get() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (phase_ == phase::chunks) {  // drop the framing of the chunks that are already joined
    const auto body_end = header_size_ + parser_->body_size;
    std::memmove(bytes_.get() + body_end, bytes_.get() + consumed_, end_ - consumed_);
    end_ -= consumed_ - body_end;
    consumed_ = body_end;
  }
}

std::span<char> request_reader::room() {
  if (phase_ == phase::complete) {
    const auto held = end_ - begin_ - consumed_;
    const auto allowed = limits_.pipelined > held ? limits_.pipelined - held : 0;
    return {bytes_.get() + end_, std::min(capacity_ - end_, allowed)};
  }
  if (phase_ == phase::failed) begin_ = end_ = consumed_ = 0;  // what still comes is thrown away
  if (begin_ == end_) {
    begin_ = end_ = 0;
    if (capacity_ > initial_capacity) reallocate(initial_capacity);
    return {bytes_.get(), capacity_};
  }
  if (phase_ == phase::sized_body) {
    const auto wanted = header_size_ + body_size_ + least_room;
    if (capacity_ - begin_ < wanted) {
      capacity_ < wanted ? reallocate(wanted) : compact();
    }
  } else if (capacity_ - end_ < least_room) {
    compact();
    if (capacity_ - end_ < least_room) reallocate(capacity_ * 2);
  }
  return {bytes_.get() + end_, capacity_ - end_};
}

request_reader::progress request_reader::advance(bool may_move) {
  if (phase_ == phase::failed) return progress::failed;
  if (phase_ == phase::idle) {
    if (end_ - begin_ >= 2 && !skipped_blank_line_ && bytes_[begin_] == '\r' && bytes_[begin_ + 1] == '\n') {
      begin_ += 2;  // some clients end a body with a line end that they do not count (RFC 9112, 2.2)
      skipped_blank_line_ = true;
    }
    if (begin_ == end_ || (end_ - begin_ == 1 && bytes_[begin_] == '\r')) return progress::need_more;
    parser_.emplace(limits_);
    consumed_ = 0;
    phase_ = phase::head;
  }
  if (phase_ == phase::head) {
    const auto outcome = advance_head();
    if (outcome != progress::complete) return outcome;
  }
  if (phase_ == phase::sized_body) {
    if (end_ - begin_ - header_size_ < body_size_) return progress::need_more;
    consumed_ = header_size_ + body_size_;
    return finish(body_size_, may_move);
  }
  const auto outcome = advance_chunks();
  return outcome == progress::complete ? finish(parser_->body_size, may_move) : outcome;
}

// `complete` means here: the head is, and phase_ says how the body comes.
request_reader::progress request_reader::advance_head() {
  boost::system::error_code ec;
  parser_->base = bytes_.get() + begin_;
  consumed_ += parser_->put({bytes_.get() + begin_ + consumed_, end_ - begin_ - consumed_}, ec);
  if (ec == error::need_more) {
    if (end_ - begin_ >= limits_.header) return fail(errc::headers_too_large);
    return progress::need_more;
  }
  if (parser_->is_header_done() ? consumed_ > limits_.header : consumed_ >= limits_.header) {
    return fail(errc::headers_too_large);
  }
  if (ec) return fail(ec);

  header_size_ = consumed_;
  keep_alive_ = parser_->keep_alive();
  http_1_0_ = parser_->http_1_0;
  expectation_ = parser_->has_expectation && !http_1_0_;
  if (parser_->chunked()) {
    phase_ = phase::chunks;
  } else {
    if (parser_->has_coding) return fail(errc::malformed_http);  // a coding that Beast took for "no chunks"
    body_size_ = parser_->has_length ? static_cast<std::size_t>(*parser_->content_length()) : 0;
    phase_ = phase::sized_body;
  }
  return progress::complete;
}

request_reader::progress request_reader::advance_chunks() {
  while (!parser_->is_done()) {
    const auto unread = end_ - begin_ - consumed_;
    // The shortest end of a chunked body. With less, an empty body that drips in breaks an assertion of
    // Beast 1.81
    // (`n >= 5` in parse_chunk_header), and a valid message has this much to come anyway.
    if (unread < std::string_view("0\r\n\r\n").size()) return progress::need_more;
    boost::system::error_code ec;
    parser_->base = bytes_.get() + begin_;
    parser_->body_end = bytes_.get() + begin_ + header_size_ + parser_->body_size;
    consumed_ += parser_->put({bytes_.get() + begin_ + consumed_, unread}, ec);
    if (ec == error::need_more) {
      // A chunk's first line, or the trailers: neither may be longer than a whole header block.
      if (end_ - begin_ - consumed_ >= limits_.header) return fail(errc::headers_too_large);
      return progress::need_more;
    }
    if (ec) return fail(ec);
  }
  return progress::complete;
}

request_reader::progress request_reader::finish(std::size_t body_size, bool may_move) {
  // From here on nothing moves, and yet a read must stay possible, or a client that goes away is not noticed.
  if (may_move && capacity_ - end_ < least_room) reallocate(end_ - begin_ + least_room);
  if (!make_request(body_size)) return fail(errc::malformed_http);
  phase_ = phase::complete;
  return progress::complete;
}

bool request_reader::make_request(std::size_t body_size) {
  const auto& p = *parser_;
  request_.verb = p.verb;
  request_.body = {bytes_.get() + begin_ + header_size_, body_size};
  request_.content_type = view(p.content_type);
  request_.host = view(p.host);
  request_.origin = view(p.origin);
  request_.last_event_id = view(p.last_event_id);
  request_.accept = view(p.accept);
  request_.traceparent = view(p.traceparent);
  has_host_ = !request_.host.empty();

  auto target = view(p.target);
  if (target.front() != '/') {
    if (target == "*" && p.verb == method::options) {
      request_.path = target;
      request_.query = {};
      return true;
    }
    // The absolute form, as sent to a proxy: its authority stands above the Host header (RFC 9112, 3.2.2).
    std::size_t scheme = 0;
    if (boost::beast::iequals(boost::beast::string_view(target.substr(0, 7)), "http://")) scheme = 7;
    if (boost::beast::iequals(boost::beast::string_view(target.substr(0, 8)), "https://")) scheme = 8;
    if (scheme == 0) return false;
    target.remove_prefix(scheme);
    const auto authority = target.substr(0, target.find_first_of("/?"));
    if (authority.empty()) return false;
    request_.host = authority;
    target.remove_prefix(authority.size());
    if (target.empty() || target.front() != '/') {
      request_.path = "/";
      request_.query = target.empty() ? target : target.substr(1);
      return true;
    }
  }
  const auto question = target.find('?');
  request_.path = target.substr(0, question);
  request_.query = question == std::string_view::npos ? std::string_view{} : target.substr(question + 1);
  return true;
}

void request_reader::next() noexcept {
  begin_ += consumed_;
  consumed_ = 0;
  phase_ = phase::idle;
  skipped_blank_line_ = false;
  request_ = {};
}

bool request_reader::take_expectation() noexcept {
  const bool waits = expectation_ && in_body() && end_ - begin_ == header_size_;
  expectation_ = false;
  return waits;
}

request_reader::progress request_reader::fail(errc code) noexcept {
  failure_ = code;
  phase_ = phase::failed;
  keep_alive_ = false;
  return progress::failed;
}

request_reader::progress request_reader::fail(const boost::system::error_code& error_code) noexcept {
  if (error_code == error::body_limit) return fail(errc::body_too_large);
  if (error_code == error::header_limit) return fail(errc::headers_too_large);
  return fail(errc::malformed_http);
}

}  // namespace dislock::http
