// GET /metrics: what a scraper is told.
#pragma once

#include "core/decision.hpp"
#include "http/server.hpp"
#include "server/statistics.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace dislock::server {

/// What the operating system says about this process. Times in seconds, memory in bytes.
struct process_facts {
  double started = 0;  ///< since 1970
  double cpu = 0;      ///< user and system
  double resident = 0;
  double open_fds = 0;
  double max_fds = 0;
};

/// Asks /proc about this process. Keeps one descriptor open, so that it can still tell of a process that has
/// used up its descriptors. A figure that cannot be had is NaN. One thread.
class process_probe {
 public:
  process_probe();
  ~process_probe();
  process_probe(const process_probe&) = delete;
  process_probe& operator=(const process_probe&) = delete;

  /// Two or three system calls; before Linux 6.2 one more for every few hundred open descriptors.
  [[nodiscard]] process_facts read() const;

 private:
  int stat_;        // /proc/self/stat, or -1
  double started_;  // told once, so that a set wall clock does not move it
};

/// The fields of /proc/PID/stat that are of use here.
struct process_stat {
  std::uint64_t user_ticks = 0;
  std::uint64_t system_ticks = 0;
  std::uint64_t start_ticks = 0;  ///< after boot
  std::uint64_t resident_pages = 0;
};

/// Nothing if the text is not what proc(5) says. The program's name in it may hold spaces and brackets.
[[nodiscard]] std::optional<process_stat> parse_process_stat(std::string_view text) noexcept;

/// Where the numbers come from. Everything is read while `render_metrics` runs.
struct metrics_input {
  const statistics& here;
  const table_counts& counts;  ///< engine::counts()
  const http::statistics& http;
  const process_facts& process;
  std::size_t request_memory_max = 0;
  std::string_view engine;   ///< capabilities::engine
  std::string_view version;  ///< of dislockd
  bool engine_ready = false;
  bool engine_degraded = false;  ///< engine_health::degraded
  bool draining = false;
  bool clock_suspect = false;              ///< of engines on a store's wall clock; false for our own clocks
  std::uint64_t clock_steps_forward = 0;   ///< likewise
  std::uint64_t clock_steps_backward = 0;  ///< likewise
};

constexpr std::string_view metrics_content_type = "text/plain; version=0.0.4; charset=utf-8";

/// Every metric of api/metrics.json with every listed label value, in the file's order. About 900
/// lines; takes half a millisecond.
[[nodiscard]] std::string render_metrics(const metrics_input& in);

}  // namespace dislock::server
