// Plain calls that are made in one moment are asked together: most of what each would cost the store is paid
// once.
#include "engines/redis/script_engine.hpp"

#include <algorithm>
#include <utility>

namespace dislock::redis {
namespace {

// As many are not kept waiting for others: the store is at these while the next ones are still being made.
constexpr std::size_t most_together = 12;

}  // namespace

// With others of its kind.
void script_engine::gather(plain_kind kind, gathered&& one) {
  if (stopped_) return one.otherwise(errc::draining);
  if (kind != gathering_) ask_gathered();
  gathering_ = kind;
  if (waits_behind(one)) return;
  gathered_.push_back(std::move(one));
  if (gathered_.size() == most_together) return ask_gathered();
  if (std::exchange(gathering_ends_, true)) return;
  loop_.defer([this] {
    gathering_ends_ = false;
    ask_gathered();
  });
}

// By itself, after what was asked before.
void script_engine::ask_next(gathered&& one, bool at_once) {
  ask_gathered();
  if (!waits_behind(one)) ask_alone(std::move(one), at_once);
}

// What is being asked together may have to be asked again: then this would overtake it.
bool script_engine::waits_behind(gathered& one) {
  const auto it = behind_.find(one.lock);
  if (it == behind_.end()) return false;
  it->second.push_back(std::move(one));
  return true;
}

void script_engine::ask_gathered() {
  if (gathered_.empty()) return;
  auto all = std::exchange(gathered_, {});
  if (all.size() == 1) return ask_alone(std::move(all.front()));
  std::vector<std::shared_ptr<const script_words>> words;
  for (const auto& one : all) {
    words.push_back(one.words);
    behind_.try_emplace(one.lock);
  }
  run_script(together(words), true, [this, sent = now(), all = std::move(all)](response got) mutable {
    if (const auto why = why_not(got)) {
      for (auto& one : all) {
        if (got && *why == errc::engine_unavailable) {
          ask_alone(std::move(one));  // what one of them needs, another may not
        } else {
          one.otherwise(*why);
        }
      }
      return ask_behind(all);
    }
    finish_last();
    const auto answers = read_together(*got, all.size());
    bool decided = false;
    for (const auto& a : answers) decided |= a.has_value();
    if (decided) watch_->fence().on_answered(got->connection, sent);
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (answers[i]) {
        all[i].plain(*answers[i], sent);
      } else {
        ask_alone(std::move(all[i]));
      }
    }
    ask_behind(all);
  });
}

// What had to wait for what is now decided, or asked again.
void script_engine::ask_behind(const std::vector<gathered>& before) {
  for (const auto& one : before) {
    const auto it = behind_.find(one.lock);
    if (it == behind_.end()) continue;
    auto all = std::move(it->second);
    behind_.erase(it);
    for (auto& next : all) ask_alone(std::move(next));
  }
}

void script_engine::ask_alone(gathered&& one, bool at_once) {
  // Somebody was told that nothing will come of it.
  while (!settled_.empty() && settled_.front().second <= now()) settled_.pop_front();
  if (!one.id.empty() &&
      std::ranges::find(settled_, one.id, &std::pair<lock_id, instant>::first) != settled_.end())
    return one.otherwise(errc::request_cancelled);
  ask_store(std::move(one.words), std::move(one.plain), std::move(one.otherwise), at_once);
}

void script_engine::end_gathered() {
  for (auto& one : std::exchange(gathered_, {})) one.otherwise(errc::draining);
  for (auto& [lock, all] : std::exchange(behind_, {}))
    for (auto& one : all) one.otherwise(errc::draining);
}

// --- the leases that may be given back together: those that were granted as plain ones here, not long ago

void script_engine::note_plain(const lock_id& id) {
  if (now() >= plain_leases_turn_) {
    older_plain_leases_ = std::exchange(plain_leases_, {});
    plain_leases_turn_ = later(now(), plain_.longest);
  }
  plain_leases_.insert(id.bits[1]);
}

bool script_engine::take_plain(const lock_id& id) {
  return plain_leases_.erase(id.bits[1]) + older_plain_leases_.erase(id.bits[1]) > 0;
}

}  // namespace dislock::redis
