#include "wait_forest.hpp"

#include <algorithm>
#include <map>
#include <set>

namespace dislock::cli {
namespace {

// Tarjan's strongly connected components, without recursion: a queue of ten thousand is a path of ten
// thousand.
class component_search {
 public:
  explicit component_search(const std::map<std::string, std::set<std::string>>& next) : next_(next) {}

  std::vector<std::vector<std::string>> cycles() {
    for (const auto& [node, targets] : next_)
      if (!index_.contains(node)) visit(node);
    std::ranges::sort(found_);
    return std::move(found_);
  }

 private:
  struct frame {
    std::string node;
    std::set<std::string>::const_iterator at, end;
  };

  void open(std::vector<frame>& path, const std::string& node) {
    index_[node] = low_[node] = index_.size();
    stack_.push_back(node);
    on_stack_.insert(node);
    const auto it = next_.find(node);
    static const std::set<std::string> none;
    const auto& targets = it == next_.end() ? none : it->second;
    path.push_back({node, targets.begin(), targets.end()});
  }

  void visit(const std::string& start) {
    std::vector<frame> path;
    open(path, start);
    while (!path.empty()) {
      auto& top = path.back();
      if (top.at != top.end) {
        const auto& target = *top.at++;
        if (!index_.contains(target))
          open(path, target);
        else if (on_stack_.contains(target))
          low_[top.node] = std::min(low_[top.node], index_[target]);
        continue;
      }
      const auto node = top.node;
      path.pop_back();
      if (!path.empty()) low_[path.back().node] = std::min(low_[path.back().node], low_[node]);
      if (low_[node] == index_[node]) close(node);
    }
  }

  void close(const std::string& root) {
    std::vector<std::string> members;
    while (true) {
      members.push_back(stack_.back());
      on_stack_.erase(stack_.back());
      stack_.pop_back();
      if (members.back() == root) break;
    }
    const auto it = next_.find(root);
    const bool itself = it != next_.end() && it->second.contains(root);
    if (members.size() == 1 && !itself) return;
    std::ranges::sort(members);
    found_.push_back(std::move(members));
  }

  const std::map<std::string, std::set<std::string>>& next_;
  std::map<std::string, std::size_t> index_, low_;
  std::vector<std::string> stack_;
  std::set<std::string> on_stack_;
  std::vector<std::vector<std::string>> found_;
};

}  // namespace

forest forest_of(const std::vector<graph_edge>& edges) {
  std::map<std::string, std::set<std::string>> waits_for;
  std::map<std::string, std::vector<const graph_edge*>> waiting_on;  // by whom they wait for
  std::set<std::string> clients;
  for (const auto& e : edges) {
    waits_for[e.from].insert(e.to);
    waiting_on[e.to].push_back(&e);
    clients.insert(e.from);
    clients.insert(e.to);
  }
  for (auto& [client, from] : waiting_on)
    std::ranges::sort(from, [](const auto* a, const auto* b) {
      return std::tie(a->behind, a->from, a->lock) < std::tie(b->behind, b->from, b->lock);
    });

  forest out;
  out.cycles = component_search(waits_for).cycles();
  std::set<std::string> in_cycle;
  for (const auto& c : out.cycles) in_cycle.insert(c.begin(), c.end());

  std::set<std::string> shown;
  const auto show = [&](const std::string& root) {
    std::vector<forest_line> open{{.client = root, .in_cycle = in_cycle.contains(root)}};
    while (!open.empty()) {
      auto line = open.back();
      open.pop_back();
      line.again = !shown.insert(line.client).second;
      out.lines.push_back(line);
      if (line.again) continue;
      const auto it = waiting_on.find(line.client);
      if (it == waiting_on.end()) continue;
      for (auto e = it->second.rbegin(); e != it->second.rend(); ++e)
        open.push_back(
            {line.depth + 1, (*e)->from, (*e)->lock, (*e)->behind, false, in_cycle.contains((*e)->from)});
    }
  };
  for (const auto& cycle : out.cycles)
    if (!shown.contains(cycle.front())) show(cycle.front());
  for (const auto& client : clients)
    if (!waits_for.contains(client) && !shown.contains(client)) show(client);
  return out;
}

std::string dot_of(const std::vector<graph_edge>& edges) {
  const auto quoted = [](const std::string& text) {
    std::string out = "\"";
    for (const char c : text) {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
    return out + "\"";
  };
  std::string out = "digraph waits_for {\n  rankdir=LR;\n  node [shape=box];\n";
  for (const auto& e : edges)
    out += "  " + quoted(e.from) + " -> " + quoted(e.to) + " [label=" + quoted(e.lock) +
           (e.behind ? ", style=dashed" : "") + "];\n";
  return out + "}\n";
}

}  // namespace dislock::cli
