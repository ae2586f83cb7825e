#pragma once

#include "dislock/errc.hpp"
#include "http/exchange.hpp"

#include <string>
#include <string_view>

namespace dislock::http {

/// An error as the wire shows it (RFC 9457).
struct problem {
  errc code;
  std::string_view detail =
      {};  ///< one sentence about this occurrence, if there is more to say than the title
  std::string_view members = {};  ///< more members, written already: `"field":"ttl","limit":300`
};

/// Appends `{"type","title","status","code","effect","detail"?,"traceId"?,...}`.
void append_problem(std::string& out, const problem& p, std::string_view trace_id = {});

/// Replaces what is in the exchange's body by the problem and replies with its status.
delivery reply_problem(exchange& e, const problem& p, std::string_view headers = {});

}  // namespace dislock::http
