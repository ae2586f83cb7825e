// Asking the nodes for a lock, on behalf of the head of its queue.
#include "engines/redlock/quorum_engine.hpp"

namespace dislock::redlock {
namespace {

// Rounds of one attempt, where nobody holds the lock and only the tokens, or those who tried at the same
// time, stood in the way.
constexpr int most_rounds = 6;
// Between two attempts for one waiter, while somebody else holds the lock: a replica that releases says so,
// and the end of a lease is known, so that this only repairs what was missed and sees what other libraries
// do.
constexpr duration shortest_rest = milliseconds(20), longest_rest = milliseconds(500);

}  // namespace

std::vector<std::string> quorum_engine::vote_words(std::size_t node, const minted& as, duration life,
                                                   std::string_view client, std::string_view metadata,
                                                   std::uint32_t holds, duration patience) const {
  return {std::to_string(nodes_->no_later(node, patience)),
          as.id.to_string(),
          std::to_string(to_number(as.token)),
          std::to_string(std::chrono::duration_cast<milliseconds>(life).count()),
          me_,
          as.renewal.to_string(),
          std::string(client),
          std::string(metadata),
          std::to_string(holds)};
}

// All nodes at once, with a token and an owner of this round's own: a vote that comes late can only be for a
// round that is known to be over.
void quorum_engine::try_for(contest& c) {
  ++c.rounds;
  c.freed = 0;
  const auto patience = patience_for(c.ttl);
  const auto life = core::life_for(c.ttl, patience);
  const auto a = std::make_shared<attempt>(size(), life, c.ttl);
  a->id = c.id;
  a->lock = c.lock;
  a->client = c.client;
  a->metadata = c.metadata;
  a->as = {secrets_.make<lock_id>(), secrets_.make<renewal_token>(), {}};
  largest_ = core::next_proposal(largest_, now());
  a->as.token = fencing_token{largest_};
  a->started = now();
  c.under_way = a;
  for (std::size_t i = 0; i < size(); ++i) {
    if (!nodes_->reachable(i)) {
      a->votes.take(i, vote::unreachable);
      continue;
    }
    a->asked |= mask{1} << i;
    const auto words = vote_words(i, a->as, life, a->client, a->metadata, 1, patience);
    ask(i, "vote", a->lock, words, patience,
        [this, a, i](const node_answer* said) { take_vote(a, i, said); });
  }
  // The table is in the middle of a decision.
  if (a->votes.judge(duration::zero()) != verdict::undecided) loop_.defer([this, a] { conclude(a); });
}

void quorum_engine::take_vote(const attempt_ptr& a, std::size_t node, const node_answer* said) {
  const auto bit = mask{1} << node;
  auto is = vote::unreachable;
  std::uint64_t last = 0;
  if (said && said->word == "yes") {
    is = vote::accepted;
  } else if (said && (said->word == "held" || said->word == "low")) {
    const auto named = said->token(0);
    is = named ? vote::refused : vote::unreachable;
    last = named.value_or(0);
    if (said->word == "held") {
      const auto digest = said->text(2);
      auto it = std::find_if(a->holders.begin(), a->holders.end(),
                             [&](const auto& h) { return h.digest == digest; });
      if (it == a->holders.end()) {
        it = a->holders.insert(a->holders.end(), attempt::holder{});
        it->digest = digest;
      }
      ++it->nodes;
      if (said->rest->items.size() > 5 && !it->ours) {
        it->ours = true;
        it->who.client = said->text(3);
        it->who.token = fencing_token{said->token(4).value_or(0)};
        it->who.acquired_at = now() - duration(said->time() - said->number(5));
      }
      const auto left = said->number(1);
      if (left >= 0) it->ends.push_back(later(now(), milliseconds(left)));
    }
  } else if (said && said->word == "late") {
    ++a->late;
  }
  if (is == vote::refused || (said && is == vote::unreachable)) a->asked &= ~bit;
  largest_ = std::max(largest_, last);
  a->votes.take(node, is, last);
  if (a->decided) {
    if (is == vote::accepted && a->won) {
      if (const auto it = held_.find(to_number(a->as.token)); it != held_.end()) {
        it->second.on |= bit;
      } else {
        give_back(a->lock, a->as.id, bit, later(now(), a->life), false, false);
      }
    } else if (is == vote::accepted) {
      // It was given back behind the question; but who knows in which order they arrived.
      give_back(a->lock, a->as.id, bit, later(now(), a->life), false, false);
    }
    return;
  }
  conclude(a);
}

quorum_engine::contest* quorum_engine::contest_of(const attempt& a) {
  const auto it = contests_.find(a.lock);
  return it != contests_.end() && it->second->under_way.get() == &a ? it->second.get() : nullptr;
}

void quorum_engine::conclude(const attempt_ptr& a) {
  if (a->decided) return;
  const auto v = a->votes.judge(now() - a->started);
  if (v == verdict::undecided) return;
  auto* c = contest_of(*a);
  // With a dead node the first refusal decides that it is lost, but not why: nobody knows yet whether
  // somebody has the lock, or most of the nodes are gone.
  const bool unclear = a->heard() < core::majority_of(size()) && a->votes.count(vote::silent) > 0;
  if (v == verdict::lost && c && unclear) return;
  a->decided = true;
  if (v == verdict::won && c) {
    won(a, c);
  } else {
    // First, so that the next question for this lock finds nothing of this one.
    abandon(a);
    if (c) lost(a, *c);
  }
  after_decision();
}

void quorum_engine::won(const attempt_ptr& a, contest* c) {
  a->won = true;
  const auto token = to_number(a->as.token);
  held h;
  h.lock = a->lock;
  h.client = a->client;
  h.metadata = a->metadata;
  h.as = a->as;
  h.assured = later(a->started, core::valid_for(a->life, duration::zero()));
  h.end = later(now(), c->ttl);
  h.asked = a->asked;
  for (std::size_t i = 0; i < size(); ++i)
    if (a->votes.of(i) == vote::accepted) h.on |= mask{1} << i;
  if (h.on != (mask{1} << size()) - 1) next_repair_ = std::min(next_repair_, later(now(), repair_pause));
  held_.emplace(token, std::move(h));
  held_by_lock_[a->lock] = token;
  const auto id = c->id;
  contests_.erase(std::string(a->lock));
  if (table_.admit(now(), id, a->as)) return;
  // Whoever waited does not any more.
  if (const auto it = held_.find(token); it != held_.end()) {
    held_.erase(it);
    if (const auto named = held_by_lock_.find(a->lock);
        named != held_by_lock_.end() && named->second == token)
      held_by_lock_.erase(named);
    abandon(a);
  }
}

void quorum_engine::lost(const attempt_ptr& a, contest& c) {
  c.under_way = nullptr;
  const auto needed = core::majority_of(size());
  const auto id = c.id;
  const auto by = std::max_element(a->holders.begin(), a->holders.end(),
                                   [](const auto& x, const auto& y) { return x.nodes < y.nodes; });
  const bool elsewhere = by != a->holders.end() && by->nodes >= needed;
  c.holder.reset();
  if (elsewhere) {
    // Free when the majority that it needs is no more: when all but a minority of its keys have ended.
    auto& ends = by->ends;
    auto free = never;
    if (by->nodes == ends.size()) {
      std::sort(ends.begin(), ends.end());
      free = later(ends[ends.size() - needed], milliseconds(1));
    }
    by->who.end = free;
    if (by->ours) c.holder = by->who;
    const auto longest = std::min<duration>(longest_rest, shortest_rest * (1 << std::min(c.rests++, 6U)));
    return rest(c, std::min(later(now(), longest / 2 + chance_up_to(longest / 2)),
                            later(free, chance_up_to(milliseconds(3)))));
  }
  const auto heard = a->heard();
  if (heard >= needed && c.rounds < most_rounds) {
    // Nobody holds it. Tokens that were too small, or a clock that was not known, are better now; who tried
    // at the same time as we did needs to be missed.
    const bool contended = !a->holders.empty();
    const auto pause =
        contended ? milliseconds(1) + chance_up_to(milliseconds(4) * c.rounds) : duration::zero();
    rests_.schedule(c, later(now(), pause));
    return;
  }
  if (heard < needed) {
    const auto waits = awaited_.find(static_cast<std::uint64_t>(id));
    if (waits != awaited_.end()) {
      contests_.erase(std::string(a->lock));
      return table_.turn_down(now(), id, refuse(errc::engine_unavailable));
    }
  }
  const auto longest = std::min<duration>(longest_rest, shortest_rest * (1 << std::min(c.rests++, 6U)));
  rest(c, later(now(), longest / 2 + chance_up_to(longest / 2)));
}

// The attempt is over without the lock; another one follows, if the wait goes on.
void quorum_engine::rest(contest& c, instant until) {
  c.trying = false;
  c.freed = 0;
  const auto id = c.id;
  rests_.schedule(c, until);
  table_.rest(now(), id);
  // Whoever did not want to wait has been told; who does, waits from now on.
  const auto it = awaited_.find(static_cast<std::uint64_t>(id));
  if (it == awaited_.end()) return;
  outbox_.push_back([done = std::move(it->second.done), place = it->second.place]() mutable {
    done(acquire_answer(place));
  });
  awaited_.erase(it);
}

void quorum_engine::abandon(const attempt_ptr& a) {
  a->decided = true;
  if (a->asked != 0)
    give_back(a->lock, a->as.id, a->asked, later(a->started, a->life + seconds(2)), false, false);
}

}  // namespace dislock::redlock
