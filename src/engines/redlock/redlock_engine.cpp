#include "engines/redlock/redlock_engine.hpp"

#include "engines/redlock/quorum_engine.hpp"

namespace dislock::redlock {
namespace {

// How often remembered requests whose time is over are cleared out of a table that nobody asks.
constexpr duration tidying = milliseconds(500);

}  // namespace

// --- time

void quorum_engine::start(engine_listener& listener) {
  listener_ = &listener;
  loop_.on_wake([this] { wake(); });
  nodes_->start();
  wake_later();
}

void quorum_engine::stop(unique_function<void()> done) {
  stopped_ = true;
  loop_.on_wake(nullptr);
  ended_ = std::move(done);
  end_when_quiet();  // each question has a deadline
}

// Not before the answers that are put off until the decision under way is over: whoever stopped us may be
// gone a moment later.
void quorum_engine::end_when_quiet() {
  if (!ended_ || nodes_->open() > 0 || std::exchange(end_is_near_, true)) return;
  loop_.defer([this] {
    end_is_near_ = false;
    if (nodes_->open() == 0) std::exchange(ended_, nullptr)();
  });
}

void quorum_engine::wake() {
  if (stopped_) return;
  tidying_ = false;
  nodes_->wake();
  const auto at = now();
  while (auto* due = rests_.due(at)) {
    auto& c = static_cast<contest&>(*due);
    rests_.cancel(c);
    if (c.trying) {
      try_for(c);
      continue;
    }
    table_.try_again(at, c.id);  // comes back as a turn, if it still waits
    if (!c.trying) contests_.erase(std::string(c.lock));
  }
  if (next_repair_ <= at) repair();
  more_ = table_.advance(at);
  after_decision();
}

void quorum_engine::wake_later() {
  if (stopped_) return;
  auto next = std::min({table_.next_deadline(), rests_.next(), next_repair_, nodes_->next()});
  if (more_ || table_.has_leftovers()) next = now();
  if (!tidying_ && table_.remembered() > 0) {
    tidying_ = true;
    next = std::min(next, later(now(), tidying));
  }
  if (next != never) loop_.wake_at(next);
}

void quorum_engine::after_decision() {
  events_.publish(events_.appended());
  given_back_.clear();
  deliver();
  wake_later();
}

void quorum_engine::deliver() {
  if (delivering_) return;
  delivering_ = true;
  while (!outbox_.empty()) {
    auto next = std::move(outbox_.front());
    outbox_.pop_front();
    next();
  }
  delivering_ = false;
}

// --- what the table says

void quorum_engine::on_resolved(ticket id, std::uint32_t epoch, acquire_answer&& outcome) {
  if (auto* why = std::get_if<refusal_ptr>(&outcome)) *why = explained(std::move(*why));
  // Never from inside of the decision: whoever is told may decide the next thing.
  const auto it = awaited_.find(static_cast<std::uint64_t>(id));
  if (it != awaited_.end() && it->second.epoch == epoch) {
    outbox_.push_back([done = std::move(it->second.done), outcome = std::move(outcome)]() mutable {
      done(std::move(outcome));
    });
    awaited_.erase(it);
    return;
  }
  outbox_.push_back([this, id, epoch, outcome = std::move(outcome)]() mutable {
    listener_->on_resolved(id, epoch, std::move(outcome));
  });
}

void quorum_engine::on_event(const event& e) {
  events_.append(e);
  if (listener_) listener_->on_event(e);
  const bool is_end = e.type == event_type::released || e.type == event_type::expired ||
                      e.type == event_type::forced || e.type == event_type::undelivered;
  if (!is_end || !e.token) return;
  const auto it = held_.find(to_number(*e.token));
  if (it == held_.end()) return;
  auto& h = it->second;
  // Its owner may have renewed it elsewhere: then it is not over, only ours no more.
  const bool only_mine = e.type == event_type::expired && e.reason == to_string(end_reason::expired);
  const auto until = later(now(), core::life_for(std::max(h.end - now(), duration::zero()), seconds(2)));
  given_back_.push_back(
      give_back(h.lock, h.as.id, h.asked, std::max(until, later(h.assured, seconds(2))), only_mine, false));
  if (const auto named = held_by_lock_.find(h.lock);
      named != held_by_lock_.end() && named->second == to_number(*e.token))
    held_by_lock_.erase(named);
  held_.erase(it);
}

void quorum_engine::on_turn(const core::turn& t) {
  auto& place = contests_[std::string(t.lock.view())];
  if (!place) place = std::make_unique<contest>();
  auto& c = *place;
  if (c.id != t.id) {
    if (c.under_way) abandon(std::exchange(c.under_way, nullptr));
    c.lock = t.lock.view();
    c.client = t.client.view();
    c.metadata = t.metadata;
    c.id = t.id;
    c.ttl = t.ttl;
    c.rests = 0;
  }
  c.rounds = 0;
  c.trying = true;
  rests_.cancel(c);
  try_for(c);
}

// --- the engine's calls

void quorum_engine::acquire(const acquire_request& r, completion<acquire_answer> done) {
  const auto& want = r.wants[0];
  const bool supported = !r.multi && r.wants.size() == 1 && want.mode == lock_mode::exclusive &&
                         r.session.empty() && r.lock_delay == duration::zero() && r.ttl <= options_.max_ttl;
  if (refused(done, supported)) return;
  if (prefixes_.reserve(want.name.view())) return done(refuse(errc::invalid_lock_name));
  auto out = table_.acquire(now(), r);
  if (auto* got = std::get_if<granted>(&out)) {
    answer_acquire(std::move(*got), std::move(done));
  } else if (auto* place = std::get_if<queued>(&out)) {
    const auto it = contests_.find(std::string(want.name.view()));
    if (it != contests_.end() && it->second->id == place->id && it->second->trying) {
      awaited_[static_cast<std::uint64_t>(place->id)] = {place->epoch, *place, std::move(done)};
    } else {
      outbox_.push_back([done = std::move(done), at = *place]() mutable { done(acquire_answer(at)); });
    }
  } else {
    auto why = explained(std::get<refusal_ptr>(out));
    outbox_.push_back(
        [done = std::move(done), why = std::move(why)]() mutable { done(acquire_answer(why)); });
  }
  after_decision();
}

// A lease that the table has handed out again: it may end later than the nodes know.
void quorum_engine::answer_acquire(granted&& got, completion<acquire_answer> done) {
  const auto& g = got.leases.at(0);
  assure(g.token, g.end, g.hold_count, [got = std::move(got), done = std::move(done)](errc problem) mutable {
    if (problem != errc{}) return done(refuse(problem));
    done(std::move(got));
  });
}

template <class Read, class Done>
void quorum_engine::poll_nodes(std::string_view verb, std::string_view lock,
                               const std::vector<std::string>& words, Read read, Done done) {
  const auto p = std::make_shared<poll>(size());
  const auto end = std::make_shared<Done>(std::move(done));
  const auto judge = [this, p, end] {
    if (p->over || p->votes.judge(duration::zero()) == verdict::undecided) return;
    p->over = true;
    (*end)(p->votes);
    after_decision();
  };
  for (std::size_t i = 0; i < size(); ++i) {
    if (!nodes_->reachable(i)) {
      p->votes.take(i, vote::unreachable);
      continue;
    }
    ask(i, verb, lock, words, plain_patience, [p, judge, read, i](const node_answer* said) mutable {
      p->votes.take(i, p->over ? vote::unreachable : read(said));
      judge();
    });
  }
  if (p->votes.judge(duration::zero()) != verdict::undecided) loop_.defer(judge);
}

void quorum_engine::release(const release_request& r, completion<answer<release_answers>> done) {
  if (refused(done, !r.multi && r.leases.size() == 1)) return;
  const auto& proof = r.leases[0];
  auto out = table_.release(now(), r);
  const auto tell = [this](completion<answer<release_answers>> to, answer<release_answers> what) {
    outbox_.push_back([to = std::move(to), what = std::move(what)]() mutable { to(std::move(what)); });
  };
  if (out && (*out)[0] && (*out)[0]->ended) {
    // Also where it is only said again: the first time it may not have been known.
    const auto all = (mask{1} << size()) - 1;
    auto u = just_given_back(proof.name.view());
    const bool first = u && u->value == proof.id.to_string();
    if (!first) {
      u = giving_back(proof.name.view(), proof.id.to_string());
      if (u) {
        ask_again(u);
      } else {
        u = give_back(proof.name.view(), proof.id, all, later(now(), seconds(5)), false, false);
      }
    }
    // It keeps its own `done`, so this must not keep it.
    when_given_back(u, [this, out, first, what = u.get(), done = std::move(done)](bool known) mutable {
      const bool lost = first && !what->deleted && what->may_hold < core::majority_of(size());
      if (lost) return done(errc::lock_not_held);
      known ? done(std::move(out)) : done(errc::outcome_unknown);
    });
  } else if (!out && out.error().code == errc::lock_not_held && !proof.id.empty()) {
    // Another replica may have granted it.
    const auto reentered = std::make_shared<bool>(false);
    const std::vector<std::string> words{proof.id.to_string(),
                                         std::string(r.client.view()),
                                         "",
                                         prefixes_.own + "redlock:freed",
                                         std::string(proof.name.view()),
                                         "1",
                                         "1"};
    poll_nodes(
        "give_back", proof.name.view(), words,
        [reentered](const node_answer* said) {
          if (said && said->word == "reentered") *reentered = true;
          if (!said) return vote::unreachable;
          return said->word == "yes" ? vote::accepted : vote::refused;
        },
        [reentered, why = out.error_ptr(), done = std::move(done)](const round& votes) mutable {
          if (votes.judge(duration::zero()) == verdict::won) return done(release_answers{released{true, 0}});
          if (!votes.is_refused()) return done(errc::outcome_unknown);
          if (*reentered) return done(errc::unsupported_by_engine);
          done(why);
        });
  } else {
    if (out && (*out)[0])
      if (const auto it = held_by_lock_.find(std::string(proof.name.view())); it != held_by_lock_.end())
        assure(fencing_token{it->second}, held_.at(it->second).end, (*out)[0]->hold_count, [](errc) {});
    tell(std::move(done), std::move(out));
  }
  after_decision();
}

void quorum_engine::renew(const renew_request& r, completion<answer<renew_answers>> done) {
  if (refused(done, !r.multi && r.leases.size() == 1 && r.ttl.value_or(duration()) <= options_.max_ttl))
    return;
  const auto& proof = r.leases[0];
  auto out = table_.renew(now(), r);
  if (out && (*out)[0]) {
    const auto& got = *(*out)[0];
    const auto it = held_.find(to_number(got.token));
    const auto holds = it == held_.end() ? 1 : it->second.holds;
    assure(got.token, got.end, holds, [out, done = std::move(done)](errc problem) mutable {
      problem == errc{} ? done(std::move(out)) : done(problem);
    });
  } else if (!out && out.error().code == errc::lock_not_held && !r.by_service) {
    const auto token = std::make_shared<std::uint64_t>(0);
    const auto life = std::make_shared<duration>(0);
    const auto asked = r.ttl ? core::life_for(*r.ttl, patience_for(*r.ttl)) : duration(0);
    const std::vector<std::string> words{
        proof.id.empty() ? std::string() : proof.id.to_string(),
        proof.renewal.empty() ? std::string() : proof.renewal.to_string(),
        std::to_string(std::chrono::duration_cast<milliseconds>(asked).count()), me_,
        std::string(r.client.view())};
    poll_nodes(
        "extend", proof.name.view(), words,
        [token, life](const node_answer* said) {
          if (!said || said->word == "stranger" || said->word == "quiet") return vote::unreachable;
          const auto named = said->word == "yes" ? said->token(0) : std::nullopt;
          if (!named || (*token != 0 && *token != *named)) return vote::refused;
          *token = *named;
          *life = milliseconds(said->number(1));
          return vote::accepted;
        },
        [this, token, life, started = now(), most = r.ttl.value_or(options_.max_ttl), why = out.error_ptr(),
         done = std::move(done)](const round& votes) mutable {
          const auto left = std::min(core::valid_for(*life, now() - started), most);
          if (votes.judge(duration::zero()) == verdict::won && left > duration::zero())
            return done(renew_answers{renewed{later(now(), left), fencing_token{*token}}});
          if (votes.is_refused()) return done(why);
          done(errc::outcome_unknown);
        });
  } else {
    outbox_.push_back([done = std::move(done), out = std::move(out)]() mutable { done(std::move(out)); });
  }
  after_decision();
}

void quorum_engine::cancel(const call_id& call, completion<answer<cancelled>> done) {
  if (refused(done, !call.table_wide)) return;
  auto out = table_.cancel(now(), call);
  auto u = just_given_back(call.lock.view());
  if (!u) {
    // The first time it may not have been known.
    u = not_yet_given_back(call.lock.view());
    if (u) ask_again(u);
  }
  if (u) {
    when_given_back(u, [out, done = std::move(done)](bool known) mutable {
      done(known ? std::move(out) : answer<cancelled>(errc::outcome_unknown));
    });
  } else {
    outbox_.push_back([done = std::move(done), out = std::move(out)]() mutable { done(std::move(out)); });
  }
  after_decision();
}

void quorum_engine::force_release(lock_name name, std::optional<fencing_token> token, request_id request,
                                  std::string_view reason, completion<answer<forced>> done) {
  if (refused(done, true)) return;
  auto out = table_.force_release(now(), name, token, request, reason);
  if (const auto u = just_given_back(name.view()); u && out && !out->tokens.empty()) {
    when_given_back(u, [out, done = std::move(done)](bool known) mutable {
      done(known ? std::move(out) : answer<forced>(errc::outcome_unknown));
    });
  } else if (out && out->tokens.empty()) {
    const auto ended = std::make_shared<std::uint64_t>(0);
    const std::vector<std::string> words{std::to_string(token ? to_number(*token) : 0),
                                         prefixes_.own + "redlock:freed", std::string(name.view())};
    poll_nodes(
        "force", name.view(), words,
        [ended](const node_answer* said) {
          if (!said || said->word == "stranger" || said->word == "quiet") return vote::unreachable;
          const auto named = said->word == "yes" ? said->token(0) : std::nullopt;
          if (!named) return vote::refused;
          *ended = *named;
          return vote::accepted;
        },
        [ended, out, done = std::move(done)](const round& votes) mutable {
          if (votes.judge(duration::zero()) == verdict::won) return done(forced{{fencing_token{*ended}}});
          votes.is_refused() ? done(std::move(out)) : done(errc::outcome_unknown);
        });
  } else {
    outbox_.push_back([done = std::move(done), out = std::move(out)]() mutable { done(std::move(out)); });
  }
  after_decision();
}

void quorum_engine::detach(ticket id, std::uint32_t epoch) {
  if (stopped_) return;
  table_.detach(now(), id, epoch);
  after_decision();
}

void quorum_engine::undelivered(const granted& given) {
  if (stopped_) return;
  for (const auto& lease : given.leases) table_.undelivered(now(), lease.id, lease.told);
  after_decision();
}

}  // namespace dislock::redlock

namespace dislock {

result<std::unique_ptr<engine>> make_redlock_engine(boost::asio::io_context& io, loop& where,
                                                    const clock& time, redlock_engine_options options) {
  if (options.url.what != redis::store_url::kind::redlock) {
    error e;
    e.code = errc::invalid_field;
    e.detail = "url: not redlock://";
    return e;
  }
  if (options.url.places.size() > 63) {
    error e;
    e.code = errc::invalid_field;
    e.detail = "url: redlock:// counts at most 63 servers";
    return e;
  }
  auto made = std::make_unique<redlock::quorum_engine>(where, std::move(options));
  if (auto problem = made->connect(io, time)) return *problem;
  return std::unique_ptr<engine>(std::move(made));
}

bool redlock_at_rest(const engine& e) {
  return static_cast<const redlock::quorum_engine&>(e).at_rest();
}
std::size_t nodes_that_hold(const engine& e, fencing_token token) {
  return static_cast<const redlock::quorum_engine&>(e).holding(token);
}

}  // namespace dislock
