// Who waits for whom, as trees that people read: the one who waits for nobody on top.
#pragma once

#include "dislock/client.hpp"

#include <string>
#include <vector>

namespace dislock::cli {

/// One line of the forest.
struct forest_line {
  std::size_t depth = 0;
  std::string client{};
  std::string lock{};   ///< what it waits for; empty at the top
  bool behind = false;  ///< it waits for an earlier waiter, not for a holder
  bool again = false;   ///< shown already; what waits for it is there
  bool in_cycle = false;
};

struct forest {
  std::vector<forest_line> lines;                ///< cycles first, then trees, each by name
  std::vector<std::vector<std::string>> cycles;  ///< the clients of each, sorted
};

/// Pure. Every client of an edge is in it; each has its children once.
[[nodiscard]] forest forest_of(const std::vector<graph_edge>& edges);

/// A graph for Graphviz.
[[nodiscard]] std::string dot_of(const std::vector<graph_edge>& edges);

}  // namespace dislock::cli
