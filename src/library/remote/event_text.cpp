#include "library/remote/event_text.hpp"

#include <utility>

namespace dislock::library::remote {

std::optional<event_block> event_text::next() {
  while (true) {
    const auto end = text_.find('\n', at_);
    if (end == std::string::npos) {
      text_.erase(0, std::exchange(at_, 0));
      return std::nullopt;
    }
    auto line = std::string_view(text_).substr(at_, end - at_);
    at_ = end + 1;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) {
      if (std::exchange(begun_, false)) return std::exchange(block_, {});
      continue;
    }
    const auto colon = line.find(':');
    const auto name = line.substr(0, colon);
    auto value = colon == std::string_view::npos ? std::string_view{} : line.substr(colon + 1);
    if (value.starts_with(' ')) value.remove_prefix(1);
    if (name == "id") {
      block_.id = value;
    } else if (name == "event") {
      block_.event = value;
    } else if (name == "data") {
      if (!block_.data.empty()) block_.data += '\n';
      block_.data += value;
    } else {
      continue;
    }
    begun_ = true;
  }
}

}  // namespace dislock::library::remote
