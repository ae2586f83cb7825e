// What nodes should hold, and what they should not.
#include "base/log.hpp"
#include "engines/redlock/quorum_engine.hpp"

namespace dislock::redlock {
namespace {

// What is remembered to be undone on nodes that do not answer. Beyond that their keys end by themselves.
constexpr std::size_t most_undone = 100'000;

}  // namespace

quorum_engine::undo_ptr quorum_engine::give_back(std::string_view lock, const lock_id& id, mask where,
                                                 instant until, bool only_mine, bool tell) {
  const auto u = std::make_shared<undo>(size());
  u->lock = lock;
  u->value = id.to_string();
  if (only_mine) u->only_by = me_;
  u->tell = tell;
  u->open = where;
  u->may_hold = static_cast<std::size_t>(std::popcount(where));
  u->until = until;
  if (undone_.size() >= most_undone) {
    if (!std::exchange(undone_full_, true))
      log::warn("redlock",
                "too much is to be given back on nodes that do not answer: keys there end by themselves");
    undone_.pop_front();
  }
  undone_.push_back(u);
  for (std::size_t i = 0; i < size(); ++i) {
    if ((where >> i & 1U) == 0) {
      u->votes.take(i, vote::accepted);  // it never held it
    } else if (!nodes_->reachable(i)) {
      u->votes.take(i, vote::unreachable);
    } else {
      undo_on(u, i);
    }
  }
  next_repair_ = std::min(next_repair_, later(now(), repair_pause));
  return u;
}

// What the decision under way has ended of this lock. Others may have come to their end in passing.
quorum_engine::undo_ptr quorum_engine::just_given_back(std::string_view lock) const {
  const auto it = std::find_if(given_back_.rbegin(), given_back_.rend(),
                               [&](const undo_ptr& u) { return u->lock == lock; });
  return it == given_back_.rend() ? nullptr : *it;
}

// What is being given back already: a call that is repeated because its outcome was not known asks on behalf
// of the same. A vote that came late is given back by itself: all of it is one.
quorum_engine::undo_ptr quorum_engine::giving_back(std::string_view lock, std::string_view value) const {
  undo_ptr out;
  for (const auto& u : undone_) {
    if (u->lock != lock || u->value != value) continue;
    if (!out) {
      out = u;
      continue;
    }
    out->open |= u->open;
    out->until = std::max(out->until, u->until);
  }
  return out;
}

// What a majority may still hold of this lock although nobody owns it.
quorum_engine::undo_ptr quorum_engine::not_yet_given_back(std::string_view lock) const {
  for (const auto& u : undone_) {
    if (u->lock != lock) continue;
    auto all = giving_back(lock, u->value);
    const auto sure = size() - static_cast<std::size_t>(std::popcount(all->open));
    if (sure < core::majority_of(size())) return all;
  }
  return nullptr;
}

// The nodes that have not answered, now and not with the next repair, and a new count of the votes.
void quorum_engine::ask_again(const undo_ptr& u) {
  if (u->done) return;  // it is being counted
  u->votes = round(size(), duration(0), -std::chrono::hours(1));
  for (std::size_t i = 0; i < size(); ++i) {
    const auto bit = mask{1} << i;
    if ((u->open & bit) == 0) {
      u->votes.take(i, vote::accepted);
    } else if ((u->under_way & bit) != 0) {
      continue;
    } else if (nodes_->reachable(i)) {
      undo_on(u, i);
    } else {
      u->votes.take(i, vote::unreachable);
    }
  }
}

void quorum_engine::when_given_back(const undo_ptr& u, unique_function<void(bool)> done) {
  if (u->done) {
    u->done = [first = std::move(u->done), then = std::move(done)](bool known) mutable {
      first(known);
      then(known);
    };
    return;
  }
  u->done = std::move(done);
  if (!is_settled(*u)) return;
  loop_.defer([this, u] {
    if (u->done && is_settled(*u)) std::exchange(u->done, nullptr)(is_given_back(*u));
  });
}

void quorum_engine::undo_on(const undo_ptr& u, std::size_t node) {
  const auto bit = mask{1} << node;
  u->under_way |= bit;
  const std::vector<std::string> words{
      u->value, "", u->only_by, prefixes_.own + "redlock:freed", u->lock, u->tell ? "1" : "0", "0"};
  ask(node, "give_back", u->lock, words, plain_patience, [this, u, node, bit](const node_answer* said) {
    u->under_way &= ~bit;
    const bool answered = said && (said->word == "yes" || said->word == "no");
    if (answered) u->open &= ~bit;
    if (answered && said->word == "yes") u->deleted = true;
    if (answered && said->word == "no") --u->may_hold;
    if (u->votes.of(node) == vote::silent) u->votes.take(node, answered ? vote::accepted : vote::unreachable);
    if (u->done && is_settled(*u)) {
      auto done = std::exchange(u->done, nullptr);
      done(is_given_back(*u));
      after_decision();
    }
  });
}

// What nodes have missed: leases that they should hold, and some that they should not.
void quorum_engine::repair() {
  next_repair_ = never;
  const auto at = now();
  for (auto it = undone_.begin(); it != undone_.end();) {
    auto& u = **it;
    if (u.open == 0 || u.until <= at) {
      it = undone_.erase(it);
      continue;
    }
    for (std::size_t i = 0; i < size(); ++i)
      if ((u.open & ~u.under_way) >> i & 1U && nodes_->reachable(i)) undo_on(*it, i);
    ++it;
  }
  undone_full_ = undone_full_ && undone_.size() >= most_undone;
  bool missing = false;
  const auto all = (mask{1} << size()) - 1;
  for (auto& [token, h] : held_) {
    if (h.on == all || h.end <= at) continue;
    missing = true;
    const auto patience = patience_for(h.end - at);
    for (std::size_t i = 0; i < size(); ++i) {
      const auto bit = mask{1} << i;
      if (h.on & bit || !nodes_->votes(i)) continue;
      h.asked |= bit;
      const auto words =
          vote_words(i, h.as, core::life_for(h.end - at, patience), h.client, h.metadata, h.holds, patience);
      ask(i, "vote", h.lock, words, patience,
          [this, number = token, lock = h.lock, id = h.as.id, bit, at, patience](const node_answer* said) {
            if (!said || said->word != "yes") return;
            if (const auto found = held_.find(number); found != held_.end()) {
              found->second.on |= bit;
            } else {
              give_back(lock, id, bit, later(at, seconds(2) + patience), false, false);
            }
          });
    }
  }
  if (missing || !undone_.empty()) next_repair_ = later(at, repair_pause);
}

// Has a majority keep the lease until `end`. `errc{}`: it does. Asks also where they keep it for longer
// already: somebody else may have ended it meanwhile.
void quorum_engine::assure(fencing_token token, instant end, std::uint32_t holds,
                           unique_function<void(errc)> done) {
  const auto it = held_.find(to_number(token));
  if (it == held_.end()) return done(errc::lock_not_held);
  auto& h = it->second;
  h.end = std::max(h.end, end);
  h.holds = holds;
  const auto wanted = end - now();
  const auto patience = patience_for(wanted);
  const auto life = core::life_for(wanted, patience);
  struct extension {
    extension(std::size_t n, duration life, duration wanted) : votes(n, life, wanted) {}
    round votes;
    bool over = false;
    unique_function<void(errc)> done;
  };
  const auto e = std::make_shared<extension>(size(), life, wanted);
  e->done = std::move(done);
  const auto started = now();
  // A call may answer at once, and the table is in the middle of nothing here.
  const auto judge = [this, e, token, started, life] {
    const auto v = e->votes.judge(now() - started);
    if (e->over || v == verdict::undecided) return;
    e->over = true;
    const auto found = held_.find(to_number(token));
    if (found == held_.end()) {
      e->done(errc::lock_not_held);
    } else if (v == verdict::won) {
      found->second.assured =
          std::max(found->second.assured, later(started, core::valid_for(life, duration::zero())));
      e->done(errc{});
    } else if (e->votes.is_refused()) {
      log::warn("redlock", "a lease was lost: a majority of the nodes does not hold it any more",
                {{"lock", found->second.lock}});
      const std::string lock = found->second.lock;
      (void)table_.force_release(now(), lock_name(lock), token, {}, "lost");
      e->done(errc::lock_not_held);
    } else {
      e->done(errc::outcome_unknown);
    }
    after_decision();
  };
  for (std::size_t i = 0; i < size(); ++i) {
    if (!nodes_->reachable(i)) {
      e->votes.take(i, vote::unreachable);
      continue;
    }
    const auto bit = mask{1} << i;
    h.asked |= bit;
    const auto words = vote_words(i, h.as, life, h.client, h.metadata, holds, patience);
    ask(i, "vote", h.lock, words, patience,
        [this, e, judge, i, bit, token, lock = h.lock, id = h.as.id, life](const node_answer* said) {
          const bool yes = said && said->word == "yes";
          const bool no = said && (said->word == "held" || said->word == "low");
          if (const auto found = held_.find(to_number(token)); found != held_.end()) {
            if (yes) found->second.on |= bit;
            if (no) found->second.on &= ~bit;
            if (found->second.on != (mask{1} << size()) - 1)
              next_repair_ = std::min(next_repair_, later(now(), repair_pause));
          } else if (yes) {
            give_back(lock, id, bit, later(now(), life), false, false);
          }
          e->votes.take(i, yes ? vote::accepted : no ? vote::refused : vote::unreachable);
          judge();
        });
  }
  if (e->votes.judge(duration::zero()) != verdict::undecided) loop_.defer(judge);
}

}  // namespace dislock::redlock
