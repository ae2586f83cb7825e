// Who descends from a process, read from /proc.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string_view>
#include <vector>

namespace dislock::cli {

struct process {
  pid_t id = 0;
  pid_t parent = 0;
  pid_t group = 0;
  char state = '?';

  [[nodiscard]] bool dead() const noexcept { return state == 'Z' || state == 'X'; }
};

/// A line of /proc/PID/stat. The program's name in it may contain anything, blanks and parentheses too.
[[nodiscard]] std::optional<process> process_from(std::string_view stat);

/// All that descend from `root`, without it and without the dead, in no order. Pure.
[[nodiscard]] std::vector<process> descendants_of(pid_t root, const std::vector<process>& all);

/// Every process that can be seen. A snapshot that is not atomic: who is born meanwhile may be missing, so
/// ask until nothing new is found.
[[nodiscard]] std::vector<process> all_processes();

}  // namespace dislock::cli
