// What there is, as a majority sees it; and what nodes say by themselves.
#include "engines/redlock/quorum_engine.hpp"

namespace dislock::redlock {
void quorum_engine::look(std::string_view lock, unique_function<void(const sight&)> done) {
  struct seen {
    std::string digest;
    std::size_t nodes = 0;
    std::vector<duration> left;
    sight what;
  };
  struct gathering {
    std::vector<seen> all;
    std::size_t open = 0, heard = 0;
    bool over = false;
    unique_function<void(const sight&)> done;
  };
  const auto g = std::make_shared<gathering>();
  g->done = std::move(done);
  g->open = size() + 1;
  const auto judge = [this, g, started = now()] {
    if (g->over) return;
    const auto needed = core::majority_of(size());
    auto it = std::max_element(g->all.begin(), g->all.end(),
                               [](const auto& a, const auto& b) { return a.nodes < b.nodes; });
    const bool agreed = it != g->all.end() && it->nodes >= needed;
    if (!agreed && g->open > 0) return;
    g->over = true;
    sight s;
    // A node that forgot says nothing of what it held: who is left on too few of the others to be sure may
    // still own it.
    const auto silent = size() - g->heard;
    if (!agreed) {
      it = g->all.end();
      for (auto each = g->all.begin(); each != g->all.end(); ++each)
        if (each->what.held && each->nodes + silent >= needed &&
            (it == g->all.end() || each->nodes > it->nodes))
          it = each;
    }
    decltype(s.holding) holding;
    for (const auto& each : g->all)
      if (each.what.ours) holding.emplace_back(each.what.who.token, each.nodes);
    if (it != g->all.end()) {
      s = std::move(it->what);
      if (!it->left.empty()) {
        // It is held as long as a majority holds it: the shortest of the longest of them.
        std::sort(it->left.rbegin(), it->left.rend());
        const auto left = it->left[std::min(needed, it->left.size()) - 1];
        s.who.end = later(started, left - core::drift_of(left));
      }
    }
    s.known = g->heard >= needed;
    s.needed = needed;
    s.silent = silent;
    s.holding = std::move(holding);
    g->done(s);
    after_decision();
  };
  for (std::size_t i = 0; i < size(); ++i) {
    if (!nodes_->reachable(i)) {
      --g->open;
      continue;
    }
    ask(i, "look", lock, {}, plain_patience, [this, g, judge](const node_answer* said) {
      --g->open;
      if (said && said->word == "look" && !g->over) {
        ++g->heard;
        const auto digest = said->text(0);
        auto it =
            std::find_if(g->all.begin(), g->all.end(), [&](const auto& s) { return s.digest == digest; });
        if (it == g->all.end()) {
          it = g->all.insert(g->all.end(), seen{});
          it->digest = digest;
          it->what.held = !digest.empty();
        }
        ++it->nodes;
        auto& s = it->what;
        s.last = std::max(s.last, said->token(2).value_or(0));
        const auto left = said->number(1);
        if (s.held && left >= 0) it->left.emplace_back(milliseconds(left));
        if (s.held && said->rest->items.size() > 5 && !s.ours) {
          s.ours = true;
          s.who.token = fencing_token{said->token(3).value_or(0)};
          s.who.client = said->text(4);
          const auto age = duration(said->time() - said->number(5));
          s.who.acquired_at = now() - age;
          s.who.metadata = said->text(6);
          s.who.hold_count = static_cast<std::uint32_t>(std::max<std::int64_t>(said->number(7), 1));
        }
      }
      judge();
    });
  }
  loop_.defer([g, judge] {
    --g->open;
    judge();
  });
}

void quorum_engine::status(lock_name name, std::size_t holders, std::size_t waiters,
                           completion<answer<lock_view>> done) {
  if (refused(done, true)) return;
  look(name.view(), [this, lock = std::string(name.view()), holders, waiters,
                     done = std::move(done)](const sight& s) mutable {
    if (!s.known) return done(errc::engine_unavailable);
    auto view = table_.status(now(), lock_name(lock), holders, waiters);
    const bool mine = view.locked && !view.holders.empty() && s.may_be_held_by(view.holders[0].token);
    if (!mine) {
      view.locked = s.held;
      view.holders.clear();
      view.holder_count = 0;
      if (s.held && s.ours) {
        view.holder_count = 1;
        if (holders > 0) view.holders.push_back(s.who);
      }
      if (s.held || view.queue_length > 0) view.latest = fencing_token{s.last};
    }
    done(std::move(view));
  });
  after_decision();
}

void quorum_engine::validate(lock_name name, fencing_token token, completion<answer<validity>> done) {
  if (refused(done, true)) return;
  look(name.view(),
       [this, lock = std::string(name.view()), token, done = std::move(done)](const sight& s) mutable {
         if (!s.known) return done(errc::engine_unavailable);
         auto out = table_.validate(now(), lock_name(lock), token);
         const bool seen = s.may_be_held_by(token);
         const bool mine = held_by_lock_.contains(lock);
         out.current = seen && (!mine || out.current);
         if (s.held) out.latest = std::max(out.latest.value_or(fencing_token{}), fencing_token{s.last});
         done(out);
       });
  after_decision();
}

void quorum_engine::places(ticket id, completion<answer<std::optional<std::vector<place>>>> done) {
  auto out = table_.places(now(), id);
  if (out)
    for (auto& p : *out)
      if (const auto* other = holder_elsewhere(p.lock); other && p.holders.empty()) {
        p.holders.push_back(*other);
        p.holder_count = 1;
      }
  done(std::move(out));
}

// With the holder that only the nodes know of.
refusal_ptr quorum_engine::explained(refusal_ptr why) const {
  if (why->code != errc::lock_not_acquired || !why->holders.empty()) return why;
  const auto* other = holder_elsewhere(why->lock);
  if (!other) return why;
  auto more = std::make_shared<refusal>(*why);
  more->holders.push_back(*other);
  more->holder_count = 1;
  return more;
}

// --- what nodes say by themselves

void quorum_engine::on_connected(std::size_t) {
  if (!undone_.empty() || !held_.empty()) next_repair_ = now();
  wake_later();
}

void quorum_engine::on_admission() {
  about_.durable_fence = nodes_->safe() >= core::majority_of(size());
  wake_later();
}

void quorum_engine::on_freed(std::size_t node, std::string_view lock) {
  if (stopped_) return;
  const auto bit = mask{1} << node;
  const auto free = [&](mask& heard) {
    heard |= bit;
    return static_cast<std::size_t>(std::popcount(heard)) == core::majority_of(size());
  };
  const std::string name(lock);
  if (const auto it = contests_.find(name); it != contests_.end()) {
    auto& c = *it->second;
    if (!c.trying && free(c.freed)) {
      c.rests = 0;
      rests_.schedule(c, later(now(), chance_up_to(milliseconds(1))));
      wake_later();
    }
  } else if (const auto mine = held_by_lock_.find(name); mine != held_by_lock_.end()) {
    if (free(held_.at(mine->second).freed)) doubt(fencing_token{mine->second});
  }
}

// Somebody else may have given back what was granted here.
void quorum_engine::doubt(fencing_token token) {
  const auto& h = held_.at(to_number(token));
  look(h.lock, [this, token](const sight& s) {
    const auto it = held_.find(to_number(token));
    if (it == held_.end()) return;
    it->second.freed = 0;
    // Only who is sure: it is taken back on all nodes, while its owner believes in it.
    const auto denied = size() - s.silent - s.nodes_with(token);
    if (!s.known || denied < core::majority_of(size())) return;
    const auto holds = it->second.holds;
    const std::string lock = it->second.lock;
    const lease_proof proof{lock_name(lock), it->second.as.id, {}};
    if (holds > 1) {
      (void)table_.force_release(now(), lock_name(lock), token, {}, "elsewhere");
    } else {
      (void)table_.release(now(), {{}, {}, {&proof, 1}, false});
    }
  });
}

}  // namespace dislock::redlock
