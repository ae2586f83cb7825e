#include "report.hpp"

#include <cstdio>
#include <time.h>

namespace dislock::load {
namespace {

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return out + '"';
}

std::string number(double value) {
  char text[32];
  const auto size = std::snprintf(text, sizeof text, "%.6g", value);
  return {text, static_cast<std::size_t>(size)};
}

double milliseconds(histogram::duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

double process_cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

}  // namespace

json_object& json_object::member(std::string_view key, std::string_view raw) {
  if (!members_.empty()) members_ += ", ";
  members_ += quoted(key) + ": ";
  members_ += raw;
  return *this;
}

json_object& json_object::add(std::string_view key, std::string_view value) {
  return member(key, quoted(value));
}
json_object& json_object::add(std::string_view key, double value) {
  return member(key, number(value));
}
json_object& json_object::add(std::string_view key, std::uint64_t value) {
  return member(key, std::to_string(value));
}
json_object& json_object::add(std::string_view key, bool value) {
  return member(key, value ? "true" : "false");
}
json_object& json_object::add(std::string_view key, const json_object& value) {
  return member(key, value.text());
}

json_object& json_object::add(std::string_view key, const error_counts& errors) {
  json_object counts;
  for (const auto& [name, count] : errors) counts.add(name, count);
  return add(key, counts);
}

json_object& json_object::add(std::string_view key, const histogram& durations) {
  json_object values;
  values.add("count", durations.count())
      .add("meanMs", milliseconds(durations.mean()))
      .add("p50Ms", milliseconds(durations.percentile(0.5)))
      .add("p90Ms", milliseconds(durations.percentile(0.9)))
      .add("p99Ms", milliseconds(durations.percentile(0.99)))
      .add("p999Ms", milliseconds(durations.percentile(0.999)))
      .add("maxMs", milliseconds(durations.max()));
  return add(key, values);
}

void stopwatch::start() {
  started_ = clock::now();
  cpu_ = -process_cpu_seconds();
}

void stopwatch::stop() {
  stopped_ = clock::now();
  cpu_ += process_cpu_seconds();
}

double stopwatch::seconds() const {
  return std::chrono::duration<double>(stopped_ - started_).count();
}

double stopwatch::cpu_share() const {
  return seconds() > 0 ? cpu_ / seconds() : 0;
}

void add_common(json_object& out, const stopwatch& watch, std::uint64_t ops, const error_counts& errors) {
  const auto seconds = watch.seconds();
  out.add("seconds", seconds)
      .add("ops", ops)
      .add("opsPerSecond", seconds > 0 ? static_cast<double>(ops) / seconds : 0.0)
      .add("errors", errors)
      .add("generatorCpu", watch.cpu_share())
      .add("generatorCpuMicrosPerOp", ops > 0 ? watch.cpu_seconds() * 1e6 / static_cast<double>(ops) : 0.0);
}

}  // namespace dislock::load
