#include "library/remote/reply_reader.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>
#include <new>

namespace dislock::library::remote {
namespace {

namespace beast_http = boost::beast::http;
using boost::beast::error_code;
using text = boost::beast::string_view;

constexpr std::size_t initial_capacity = 4096;  // the reply to a granted lock takes about 600

}  // namespace

class reply_reader::parser final : public beast_http::basic_parser<false> {
 public:
  parser(std::string& body, std::size_t body_max) : body_(body), body_max_(body_max) {
    header_limit(static_cast<std::uint32_t>(head_limit));
    body_limit(boost::none);  // counted here
    eager(true);
  }

  int status = 0;
  std::optional<duration> retry_after;
  bool problem = false;

 private:
  void on_request_impl(beast_http::verb, text, text, int, error_code&) override {}
  void on_response_impl(int code, text, int version, error_code& ec) override {
    status = code;
    if (version != 11 && version != 10) ec = beast_http::error::bad_version;
    if (code < 200) ec = beast_http::error::bad_status;  // nobody asked for an interim reply
  }
  void on_field_impl(beast_http::field name, text, text value, error_code&) override {
    if (name == beast_http::field::retry_after) {
      unsigned seconds = 0;
      const auto [end, wrong] = std::from_chars(value.data(), value.data() + value.size(), seconds);
      if (wrong == std::errc{} && end == value.data() + value.size() && seconds <= 86'400)
        retry_after = std::chrono::seconds(seconds);
    } else if (name == beast_http::field::content_type) {
      problem = value.starts_with("application/problem+json");
    }
  }
  void on_header_impl(error_code& ec) override {
    if (const auto length = content_length(); length && *length > body_max_)
      ec = beast_http::error::body_limit;
    if (need_eof())
      ec = beast_http::error::bad_transfer_encoding;  // ends when it ends: cut off looks complete
  }
  void on_body_init_impl(const boost::optional<std::uint64_t>& length, error_code&) override {
    if (length) body_.reserve(*length);  // within the limit: the header was looked at
  }
  std::size_t on_body_impl(text part, error_code& ec) override { return append(part, ec); }
  void on_chunk_header_impl(std::uint64_t size, text, error_code& ec) override {
    if (size > body_max_) ec = beast_http::error::body_limit;
  }
  std::size_t on_chunk_body_impl(std::uint64_t, text part, error_code& ec) override {
    return append(part, ec);
  }
  void on_finish_impl(error_code&) override {}

  std::size_t append(text part, error_code& ec) {
    if (body_.size() + part.size() > body_max_) {
      ec = beast_http::error::body_limit;
      return 0;
    }
    body_.append(part.data(), part.size());
    return part.size();
  }

  std::string& body_;
  const std::size_t body_max_;
};

reply_reader::reply_reader() : bytes_(new char[initial_capacity]), capacity_(initial_capacity) {}
reply_reader::~reply_reader() = default;

void reply_reader::begin(std::size_t body_limit) {
  body_.clear();
  failure_ = {};
  untouched_ = true;
  if (!parser_) {
    parser_ = std::make_unique<parser>(body_, body_limit);
  } else {  // in the same memory: a parser serves one message
    auto* place = parser_.release();
    place->~parser();
    parser_.reset(new (place) parser(body_, body_limit));
  }
}

std::span<char> reply_reader::room() {
  if (end_ == capacity_) {
    const auto larger = std::min(capacity_ * 2, head_limit + initial_capacity);
    std::unique_ptr<char[]> moved(new char[larger]);
    std::memcpy(moved.get(), bytes_.get(), end_);
    bytes_ = std::move(moved);
    capacity_ = larger;
  }
  return {bytes_.get() + end_, capacity_ - end_};
}

reply_reader::progress reply_reader::advance() {
  const auto fail = [&](std::string_view why) {
    failure_ = why;
    return progress::failed;
  };
  // Beast looks at a head when all of it is there; whoever speaks another language may never end one.
  constexpr std::string_view version = "HTTP/1.";
  if (untouched_ && std::memcmp(bytes_.get(), version.data(), std::min(end_, version.size())) != 0)
    return fail("the reply is malformed");
  std::size_t used = 0;
  while (used < end_ && !parser_->is_done()) {
    error_code ec;
    const auto taken = parser_->put(boost::asio::const_buffer(bytes_.get() + used, end_ - used), ec);
    used += taken;
    if (taken > 0) untouched_ = false;
    if (ec == beast_http::error::need_more) {
      ec = {};
      if (!parser_->is_header_done() && end_ - used >= head_limit)
        return fail("the head of the reply is too large");
      if (parser_->is_header_done() && end_ - used >= head_limit) return fail("the reply is malformed");
      break;
    }
    if (ec == beast_http::error::body_limit) return fail("the body of the reply is too large");
    if (ec == beast_http::error::header_limit) return fail("the head of the reply is too large");
    if (ec) return fail("the reply is malformed");
    if (taken == 0) break;
  }
  std::memmove(bytes_.get(), bytes_.get() + used, end_ - used);
  end_ -= used;
  return parser_->is_done() ? progress::complete : progress::need_more;
}

bool reply_reader::has_head() const noexcept {
  return parser_ && parser_->is_header_done();
}

reply reply_reader::current() const noexcept {
  return {parser_->status, body_, parser_->retry_after, parser_->problem};
}

bool reply_reader::keep_alive() const noexcept {
  return parser_->keep_alive();
}

std::string reply_reader::take_body() noexcept {
  return std::exchange(body_, {});
}

}  // namespace dislock::library::remote
