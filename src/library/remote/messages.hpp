// What is said to the service and what it says, as JSON: api/openapi.yaml is the contract.
#pragma once

#include "library/backend.hpp"
#include "library/remote/reply_reader.hpp"

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dislock::library::remote {

// Targets. What may not stand in a URL is percent-encoded, so that no name can end the request line.
void append_lock_target(std::string& out, std::string_view lock, std::string_view verb);
void append_query_value(std::string& out, std::string_view value);

// Bodies.
void append_acquire(std::string& out, const acquire_call& call, std::string_view request, duration wait_left);
void append_release(std::string& out, const lease_key& which, std::string_view request);
void append_renew(std::string& out, const lease_key& which, duration ttl);
void append_renew(std::string& out, std::span<const lease_key> which, duration ttl);
void append_cancel(std::string& out, std::string_view client, std::string_view request);
void append_validate(std::string& out, fencing_token token);

// Replies. Nothing: it is not what the contract says.

/// `sent`: before the first byte of the call that this answers.
[[nodiscard]] std::optional<granted_leases> read_granted(std::string_view body, const acquire_call& call,
                                                         instant sent);
[[nodiscard]] bool is_release(std::string_view body);
[[nodiscard]] std::optional<renewed_lease> read_renewed(std::string_view body, instant sent);
/// One answer per lease, in order.
[[nodiscard]] std::optional<std::vector<result<renewed_lease>>> read_renewed(std::string_view body,
                                                                             std::span<const lease_key> which,
                                                                             instant sent);
/// Why there is no success. A code that this version does not know becomes the nearest that it does.
[[nodiscard]] std::optional<error> read_problem(const reply& from);
[[nodiscard]] std::optional<lock_state> read_status(std::string_view body);
struct lock_page {
  std::vector<lock_state> locks;
  std::string next;  ///< empty: there is no more
};
[[nodiscard]] std::optional<lock_page> read_page(std::string_view body);
[[nodiscard]] std::optional<bool> read_validity(std::string_view body);
[[nodiscard]] std::optional<std::vector<fencing_token>> read_forced(std::string_view body);
[[nodiscard]] std::optional<std::vector<graph_edge>> read_graph(std::string_view body);
[[nodiscard]] std::optional<std::vector<deadlock_report>> read_deadlocks(std::string_view body);
[[nodiscard]] std::optional<engine_info> read_capabilities(std::string_view body);
/// Why the service is not ready; an empty text if it is.
[[nodiscard]] std::optional<std::string> read_health(std::string_view body);
[[nodiscard]] std::optional<lock_event> read_event(std::string_view data);

}  // namespace dislock::library::remote
