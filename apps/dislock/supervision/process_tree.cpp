#include "process_tree.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <dirent.h>
#include <fcntl.h>
#include <string>
#include <unistd.h>
#include <unordered_map>
#include <unordered_set>

namespace dislock::cli {

std::optional<process> process_from(std::string_view stat) {
  process out;
  const auto [after_id, wrong] = std::from_chars(stat.data(), stat.data() + stat.size(), out.id);
  const auto name_end = stat.rfind(')');
  if (wrong != std::errc{} || name_end == std::string_view::npos || name_end + 4 > stat.size())
    return std::nullopt;
  auto rest = stat.substr(name_end + 2);
  out.state = rest[0];
  rest.remove_prefix(2);
  for (auto* field : {&out.parent, &out.group}) {
    const auto [end, bad] = std::from_chars(rest.data(), rest.data() + rest.size(), *field);
    if (bad != std::errc{}) return std::nullopt;
    rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
    if (rest.starts_with(' ')) rest.remove_prefix(1);
  }
  return out;
}

std::vector<process> descendants_of(pid_t root, const std::vector<process>& all) {
  std::unordered_multimap<pid_t, const process*> children;
  for (const auto& p : all) children.emplace(p.parent, &p);
  std::vector<process> out;
  std::vector<pid_t> open{root};
  std::unordered_set<pid_t> seen{root};
  while (!open.empty()) {
    const auto parent = open.back();
    open.pop_back();
    const auto [begin, end] = children.equal_range(parent);
    for (auto it = begin; it != end; ++it) {
      if (!seen.insert(it->second->id).second) continue;
      open.push_back(it->second->id);
      if (!it->second->dead()) out.push_back(*it->second);
    }
  }
  return out;
}

std::vector<process> all_processes() {
  std::vector<process> out;
  auto* folder = opendir("/proc");
  if (!folder) return out;
  while (const auto* entry = readdir(folder)) {
    if (entry->d_name[0] < '1' || entry->d_name[0] > '9') continue;
    std::array<char, 64> path{};
    std::snprintf(path.data(), path.size(), "/proc/%.20s/stat", entry->d_name);
    const int file = open(path.data(), O_RDONLY | O_CLOEXEC);
    if (file < 0) continue;
    std::array<char, 512> text{};
    const auto size = read(file, text.data(), text.size());
    close(file);
    if (size <= 0) continue;
    if (const auto p = process_from({text.data(), static_cast<std::size_t>(size)})) out.push_back(*p);
  }
  closedir(folder);
  return out;
}

}  // namespace dislock::cli
