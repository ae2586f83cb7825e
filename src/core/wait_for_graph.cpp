#include "core/wait_for_graph.hpp"

#include <algorithm>
#include <deque>

namespace dislock::core {
namespace {

using need = wait_for_graph::need;

bool met(const need& n, const std::vector<bool>& served) {
  if (n.enough == 0)
    return std::all_of(n.blockers.begin(), n.blockers.end(), [&](const auto& b) { return served[b.client]; });
  std::uint64_t returned = 0;
  for (const auto& b : n.blockers)
    if (served[b.client]) returned += b.permits;
  return returned >= n.enough;
}

// Who will be served some day. Clients are numbered as they were found, from the victim outwards, so that
// going backwards settles a queue of any length in one round.
std::vector<bool> who_is_served(const wait_for_graph& graph) {
  std::vector<bool> served(graph.clients.size());
  for (bool changed = true; changed;) {
    changed = false;
    for (auto i = graph.clients.size(); i-- > 0;) {
      if (served[i]) continue;
      const auto& needs = graph.clients[i];
      if (std::all_of(needs.begin(), needs.end(), [&](const need& n) { return met(n, served); }))
        served[i] = changed = true;
    }
  }
  return served;
}

}  // namespace

std::optional<std::vector<wait_step>> find_deadlock(const wait_for_graph& graph, std::uint32_t victim) {
  const auto served = who_is_served(graph);
  if (served[victim]) return std::nullopt;

  // Breadth first over those who are not served, along needs that are not met, back to the victim.
  constexpr auto nobody = static_cast<std::uint32_t>(-1);
  std::vector<wait_step> came_by(graph.clients.size(), wait_step{nobody, 0, 0, false});
  std::deque<std::uint32_t> frontier{victim};
  while (!frontier.empty()) {
    const auto at = frontier.front();
    frontier.pop_front();
    for (const auto& n : graph.clients[at]) {
      if (met(n, served)) continue;
      for (const auto& b : n.blockers) {
        if (served[b.client]) continue;
        const wait_step step{at, n.lock, b.client, b.behind};
        if (b.client == victim) {
          std::vector<wait_step> cycle{step};
          for (auto c = at; c != victim; c = came_by[c].client) cycle.push_back(came_by[c]);
          std::reverse(cycle.begin(), cycle.end());
          return cycle;
        }
        if (came_by[b.client].client == nobody) {
          came_by[b.client] = step;
          frontier.push_back(b.client);
        }
      }
    }
  }
  return std::nullopt;  // the victim waits behind a deadlock of others, which its own end would not resolve
}

}  // namespace dislock::core
