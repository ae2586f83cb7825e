// Plain calls that are made in one moment are asked together: most of what each would cost the store is paid
// once.
#include "engines/redis/script_engine.hpp"

#include <utility>

namespace dislock::redis {
namespace {

// As many are not kept waiting for others: the store is at these while the next ones are still being made.
constexpr std::size_t most_together = 12;

}  // namespace

void script_engine::gather(plain_kind kind, gathered&& one) {
  if (stopped_) return one.otherwise(errc::draining);
  if (kind != gathering_) ask_gathered();
  gathering_ = kind;
  gathered_.push_back(std::move(one));
  if (gathered_.size() == most_together) return ask_gathered();
  if (std::exchange(gathering_ends_, true)) return;
  loop_.defer([this] {
    gathering_ends_ = false;
    ask_gathered();
  });
}

void script_engine::ask_gathered() {
  if (gathered_.empty()) return;
  auto all = std::exchange(gathered_, {});
  if (all.size() == 1) return ask_alone(std::move(all.front()));
  std::vector<std::shared_ptr<const script_words>> words;
  for (const auto& one : all) words.push_back(one.words);
  run_script(together(words), true, [this, sent = now(), all = std::move(all)](response got) mutable {
    if (const auto why = why_not(got)) {
      for (auto& one : all) {
        if (got && *why == errc::engine_unavailable) {
          ask_alone(std::move(one));  // what one of them needs, another may not
        } else {
          one.otherwise(*why);
        }
      }
      return;
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
  });
}

void script_engine::end_gathered() {
  for (auto& one : std::exchange(gathered_, {})) one.otherwise(errc::draining);
}

void script_engine::ask_alone(gathered&& one) {
  ask_store(std::move(one.words), std::move(one.plain), std::move(one.otherwise));
}

}  // namespace dislock::redis
