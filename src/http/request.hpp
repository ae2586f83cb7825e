#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dislock::http {

/// The methods that a handler may want to tell apart. Anything else that is a valid token is `other`.
enum class method : std::uint8_t { get, head, post, put, patch, del, options, other };

/// One request as the client sent it: views into the connection's read buffer, nothing decoded.
///
/// The views live as long as the exchange that shows them, and die with its reply. A header that was not sent
/// is an empty view; so is one that was sent empty.
struct request {
  method verb = method::other;
  std::string_view path;   ///< raw, before `?`; begins with `/` (or is `*` for OPTIONS)
  std::string_view query;  ///< raw, after `?`
  std::string_view body;   ///< whole, chunks already joined
  std::string_view content_type;
  std::string_view host;  ///< of the Host header, or of an absolute request target
  std::string_view origin;
  std::string_view last_event_id;
  std::string_view accept;
  std::string_view traceparent;
};

/// Decodes `%XX` once. Nothing when a `%` is not followed by two hex digits, or would decode to NUL.
/// `+` stays `+`: this is for paths.
[[nodiscard]] std::optional<std::string> percent_decode(std::string_view text);

/// The parameters of a query string, in the order in which they were sent.
using query_parameters = std::vector<std::pair<std::string, std::string>>;

/// Splits `a=1&b=2` and decodes both sides once; here `+` is a space, because that is how the standard
/// libraries of all our clients write one. Nothing when an escape is malformed. Empty pieces are skipped.
[[nodiscard]] std::optional<query_parameters> parse_query(std::string_view query);

}  // namespace dislock::http
