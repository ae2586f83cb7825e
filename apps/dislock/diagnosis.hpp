// What `doctor` finds: pure judgements, and a plain look at the network.
#pragma once

#include "dislock/client.hpp"
#include "settings.hpp"

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dislock::cli {

enum class verdict : std::uint8_t { ok, warning, failure };

struct diagnosis {
  std::string what{};
  verdict how = verdict::ok;
  std::string found{};
  std::string hint{};  ///< what to do about it
};

/// `host:port` of an http URL.
struct endpoint {
  std::string host{};
  std::string port{};
};
[[nodiscard]] std::vector<endpoint> endpoints_of(std::string_view url);

/// One HTTP answer, as far as it matters here.
struct plain_reply {
  int status = 0;
  std::map<std::string, std::string, std::less<>> headers;  ///< names in lower case
  std::string body;
};
[[nodiscard]] std::optional<plain_reply> plain_reply_from(std::string_view text);

/// A GET by hand, each step with its own deadline, so that the step that fails can be named.
struct plain_get {
  std::string resolve_failure, connect_failure, http_failure;
  duration connect_took{}, answer_took{};
  std::optional<plain_reply> reply;
  wall_time sent_at{}, received_at{};
};
[[nodiscard]] plain_get get_plainly(const endpoint& from, std::string_view path, duration patience);

// Judgements. Pure.
[[nodiscard]] diagnosis judge_round_trips(duration p50, duration p99, duration ttl);
/// `date`: the header of a reply that arrived between the two times; it has whole seconds.
[[nodiscard]] diagnosis judge_clock(std::string_view date, wall_time sent_at, wall_time received_at);
[[nodiscard]] diagnosis judge_server(const plain_reply& reply);
[[nodiscard]] diagnosis judge_engine(const engine_info& about);
[[nodiscard]] std::vector<diagnosis> judge_environment(const environment& env);

}  // namespace dislock::cli
