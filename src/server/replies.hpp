// What the service answers, as JSON. Each function appends one whole object; api/openapi.yaml is the
// contract.
#pragma once

#include "client/wait_room.hpp"
#include "core/decision.hpp"
#include "http/json_writer.hpp"
#include "server/fields.hpp"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dislock::server {

/// One call, from its arrival to its answer: what its reply repeats of the request.
struct call_facts {
  instant started{};
  std::string client;
  std::string request;
  std::vector<std::string> names;  ///< one, unless multi
  bool multi = false;
  bool auto_renew = false;
  duration ttl{};
};

[[nodiscard]] inline std::chrono::milliseconds to_ms(duration d) noexcept {
  return std::chrono::floor<std::chrono::milliseconds>(std::max(d, duration::zero()));
}
[[nodiscard]] inline std::chrono::microseconds to_epoch(instant t) noexcept {
  return t.time_since_epoch();
}

void append_acquired(std::string& out, const call_facts& call, const granted& got, instant now);
void append_queued(std::string& out, const call_facts& call, const std::vector<place>& places);
void append_released(std::string& out, const call_facts& call, const release_answers& all);
void append_renewed(std::string& out, const call_facts& call, const renew_answers& all, instant now);
void append_status(std::string& out, const lock_view& v);
void append_lock_page(std::string& out, const page<lock_view>& p);
void append_session_page(std::string& out, const page<session_view>& p, instant now);
void append_graph(std::string& out, const std::vector<wait_edge>& edges, bool truncated);
/// One lock of a list or a snapshot.
void append_summary(http::json_writer& w, const lock_view& v);
void append_cycle(http::json_writer& w, const std::vector<cycle_step>& cycle);

/// The members of a problem that explain a refusal, without braces; starts without a comma.
[[nodiscard]] std::string explain(const dislock::refusal& why, const call_facts* call);

/// Seconds after which a refused call may be worth repeating; nothing where the code says nothing about it.
[[nodiscard]] std::optional<std::chrono::seconds> retry_after(errc code) noexcept;

}  // namespace dislock::server
