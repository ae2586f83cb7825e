#pragma once

#include "event_loop.hpp"
#include "histogram.hpp"

#include <string>
#include <string_view>

namespace dislock::load {

/// Builds one JSON object, member by member.
class json_object {
 public:
  json_object& add(std::string_view key, std::string_view value);
  json_object& add(std::string_view key, const char* value) { return add(key, std::string_view(value)); }
  json_object& add(std::string_view key, double value);
  json_object& add(std::string_view key, std::uint64_t value);
  json_object& add(std::string_view key, bool value);
  json_object& add(std::string_view key, const json_object& value);
  json_object& add(std::string_view key, const error_counts& errors);
  /// Count, mean, p50, p90, p99, p99.9 and max, in milliseconds.
  json_object& add(std::string_view key, const histogram& durations);

  [[nodiscard]] std::string text() const { return "{" + members_ + "}"; }

 private:
  json_object& member(std::string_view key, std::string_view raw);

  std::string members_;
};

/// Wall clock and the processor time of this process, over the measured part of a run.
///
/// A generator whose share is near 1 was the bottleneck itself, and its throughput says nothing of the
/// server.
class stopwatch {
 public:
  void start();
  void stop();

  [[nodiscard]] double seconds() const;
  [[nodiscard]] double cpu_seconds() const { return cpu_; }
  [[nodiscard]] double cpu_share() const;

 private:
  clock::time_point started_{};
  clock::time_point stopped_{};
  double cpu_ = 0;
};

/// Adds the members that every mode reports: seconds, ops, rates, errors, the generator's own cost.
void add_common(json_object& out, const stopwatch& watch, std::uint64_t ops, const error_counts& errors);

}  // namespace dislock::load
