// The JSON of what the library shows: the REST API's words, in one place.
#pragma once

#include "dislock/client.hpp"
#include "output.hpp"

#include <boost/json/object.hpp>

#include <string>

namespace dislock::cli {

/// Shortest decimal form, no exponent: 30, 0.25.
[[nodiscard]] std::string number_text(double value);

[[nodiscard]] boost::json::object to_json(const holder& h);
[[nodiscard]] boost::json::object to_json(const queued_client& w);
[[nodiscard]] boost::json::object to_json(const lock_state& s);
[[nodiscard]] boost::json::object to_json(const cycle_step& s);
[[nodiscard]] boost::json::object to_json(const lock_event& e);
[[nodiscard]] boost::json::object to_json(const graph_edge& e);
[[nodiscard]] boost::json::object to_json(const deadlock_report& d);
[[nodiscard]] boost::json::object to_json(const engine_info& i);
[[nodiscard]] boost::json::object to_json(const error& e);

/// Adds `metadata` as the object that it is, or as a text if it is none.
void add_metadata(boost::json::object& to, std::string_view metadata);

/// `a waits for L, held by b; b waits for ...`
[[nodiscard]] std::string in_words(const std::vector<cycle_step>& cycle);

/// A column with the time between a member that is an RFC 3339 time and `now`.
[[nodiscard]] column since(std::string title, std::string member, wall_time now);
[[nodiscard]] column until(std::string title, std::string member, wall_time now);
/// An RFC 3339 time as `rfc3339` writes it.
[[nodiscard]] std::optional<wall_time> wall_time_from(std::string_view text);

}  // namespace dislock::cli
