#include "engines/redis/wire/retry.hpp"

#include <algorithm>
#include <cmath>

namespace dislock::redis {

verdict judge(const reply& got) noexcept {
  if (!got.failed()) return verdict::deliver;
  const auto word = got.error_word();
  if (word == "NOSCRIPT") return verdict::unknown_script;
  if (word == "READONLY" || word == "MASTERDOWN" || word == "LOADING") return verdict::wrong_server;
  if (word == "MOVED") return verdict::moved;
  if (word == "ASK") return verdict::ask;
  if (word == "TRYAGAIN") return verdict::try_again;
  if (word == "CLUSTERDOWN") return verdict::cluster_down;
  if (word == "BUSY") return verdict::busy;
  return verdict::deliver;
}

duration rest_after(unsigned failures, double chance) noexcept {
  using std::chrono::milliseconds;
  constexpr duration first = milliseconds(20), longest = std::chrono::seconds(1);
  if (failures == 0) return duration(std::llround(static_cast<double>(first.count()) * chance));
  const auto full = std::min<duration>(first * (1 << std::min(failures, 10U)), longest);
  return duration(std::llround(static_cast<double>(full.count()) * (1 - chance / 2)));
}

}  // namespace dislock::redis
