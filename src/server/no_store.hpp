#pragma once

#include <string_view>

namespace dislock::server {

/// Every reply says so: it carries secrets, or the state of an instant.
inline constexpr std::string_view no_store = "Cache-Control: no-store\r\n";

}  // namespace dislock::server
