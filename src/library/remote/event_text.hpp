// Server-Sent Events, from text to events. No I/O.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace dislock::library::remote {

/// One block of a stream; comments and unknown fields are left out.
struct event_block {
  std::optional<std::string> id;
  std::string event, data;
};

/// Cuts a stream into blocks, however its bytes are cut. Lines end with \n or \r\n.
class event_text {
 public:
  void feed(std::string_view bytes) { text_ += bytes; }
  /// The next block that says anything.
  [[nodiscard]] std::optional<event_block> next();
  /// What has not been cut yet.
  [[nodiscard]] std::size_t unread() const noexcept { return text_.size() - at_; }

 private:
  std::string text_;
  std::size_t at_ = 0;
  event_block block_;
  bool begun_ = false;
};

}  // namespace dislock::library::remote
