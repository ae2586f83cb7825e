// A lock table together with what an onlooker knows about it: plays random operations and compares.
#pragma once

#include "core/test_onlooker.hpp"

#include <array>
#include <ostream>

namespace dislock::core {

/// One random step; what the numbers pick depends on the world in which it is played.
struct step {
  std::uint32_t verb = 0, client = 0, lock = 0, pick = 0, more = 0;
};
inline std::ostream& operator<<(std::ostream& out, const step& s) {
  return out << "{" << s.verb << "," << s.client << "," << s.lock << "," << s.pick << "," << s.more << "}";
}

class world : public onlooker {
 public:
  explicit world(table_options options = {}) : onlooker(options) {}

  void play(const step& s) {
    if (!violation_.empty()) return;
    switch (s.verb % 24) {
      case 0:
      case 1:
      case 2:
      case 3:
      case 4:
        return ask(single(s));
      case 5:
      case 6:
        return ask(several(s));
      case 7:
      case 8:
      case 9:
        return give_back(s);
      case 10:
        return extend(s);
      case 11:
        return call_off(s);
      case 12:
        return force(s);
      case 13:
        return sessions(s);
      case 14:
        return go_away(s);
      case 15:
        return lose_reply(s);
      case 16:
      case 17:
        return pass(s);
      case 18:
        return restart(s);
      case 19:
      case 20:
      case 21:
        return ask_again(s);
      case 22:
        return hold_once_more(s);
      default:
        return give_back_again(s);
    }
  }

  /// Lets everybody leave and everything end: nothing may stay behind.
  void finish() {
    if (!violation_.empty()) return;
    settle();
    for (bool some = true; some;) {
      some = false;
      for (const auto& [id, w] : waiting_) {
        if (!w.attached) continue;
        leave(ticket{id}, false);
        some = true;
        break;
      }
    }
    while (table_->next_deadline() != never) {
      now_ = std::max(now_, table_->next_deadline());
      settle();
    }
    now_ += options_.request_memory;
    settle();
    const auto c = table_->counts();
    expect(c.active_locks == 0 && c.leases == 0 && c.waiters == 0 && c.sessions == 0 && c.remembered == 0,
           "after everything has ended the table is empty");
    table_->checkpoint(now_);
    journal_.records.erase("T");
    expect(journal_.records.empty(), "and so is the journal");
  }

 private:
  // --------------------------------------------------------------------------------------------

  oracle_want want(std::uint32_t lock, std::uint32_t bits) const {
    oracle_want w{name_of(lock), lock_mode::exclusive, 1, 0};
    const auto kind = lock % 4;
    if (kind == 2 || (kind == 3 && bits % 5 == 0)) {
      w.mode = lock_mode::semaphore;
      w.limit = bits % 16 == 0 ? 2 : 3;
      w.permits = 1 + bits / 16 % w.limit;
    } else if (bits % 3 == 0) {
      w.mode = lock_mode::shared;
    }
    return w;
  }
  asked terms(const step& s) const {
    asked a;
    a.key.client = client_of(s.client);
    if (s.pick % 4 != 0) a.key.request = "r" + std::to_string(s.pick / 4 % 4);
    a.ttl = s.more % 4 == 0 ? 3s : 30s;
    a.wait = s.more / 4 % 5 == 0 ? 0s : s.more / 4 % 5 == 1 ? 4s : 120s;
    a.lock_delay = s.more / 32 % 8 == 0 ? 2s : 0s;
    if (s.more / 256 % 8 == 0) a.max_hold = 7s;
    if (s.more / 2048 % 6 == 0 && !sessions_.empty()) a.session = 1 + s.more / 16384 % sessions_.size();
    return a;
  }
  asked single(const step& s) const {
    auto a = terms(s);
    a.wants = {want(s.lock, s.pick / 16)};
    a.key.lock = a.wants[0].lock;
    return a;
  }
  asked several(const step& s) const {
    auto a = terms(s);
    a.key.multi = true;
    const auto count = 1 + s.lock / 4 % 3;
    for (std::uint32_t i = 0; i < count; ++i)
      a.wants.push_back(want(s.lock + i * (1 + s.lock / 16 % 2 * 2), s.pick / 16 + i));
    if (s.lock / 32 % 2) std::reverse(a.wants.begin(), a.wants.end());
    return a;
  }

  void ask(const asked& a) {
    if (a.wait > 0s && !remembered(a.key) && waits_already(a)) return;
    std::vector<lock_want> wants;
    for (const auto& w : a.wants) wants.push_back({lock_name(w.lock), w.mode, w.limit, w.permits});
    acquire_request r;
    r.client = client_id(a.key.client);
    r.request = request_id(a.key.request);
    r.wants = wants;
    r.multi = a.key.multi;
    r.ttl = a.ttl;
    r.wait = a.wait;
    r.lock_delay = a.lock_delay;
    r.max_hold = a.max_hold;
    if (a.session) r.session = sessions_[a.session - 1];
    r.reentry = a.reentry;
    const auto answer = table_->acquire(now_, r);
    if (const auto* g = std::get_if<granted>(&answer)) direct_ = g;
    look();
    direct_ = nullptr;

    auto* known = remembered(a.key);
    if (known) {
      check_repeat(*known, a, answer);
    } else {
      note(a, answer);
    }
    for (; victims_ < seen_.deadlocks.size(); ++victims_) {
      auto all = waiters();
      all.push_back({a.key.client, a.wants});
      expect(stuck_clients(leases(), all).contains(a.key.client), "no victim without a deadlock");
    }
    check();
  }

  // The search for deadlocks takes a client for one flow of control, which waits for one thing at a time; and
  // the onlooker could not tell two waits of one client for one lock apart.
  bool waits_already(const asked& a) const {
    return std::any_of(waiting_.begin(), waiting_.end(), [&](const auto& w) {
      const auto& other = w.second.call;
      if (other.key.client != a.key.client) return false;
      return options_.detect_deadlocks ||
             std::any_of(other.wants.begin(), other.wants.end(), [&](const auto& theirs) {
               return std::any_of(a.wants.begin(), a.wants.end(),
                                  [&](const auto& ours) { return ours.lock == theirs.lock; });
             });
    });
  }

  void note(const asked& a, const acquire_answer& answer) {
    outcome o;
    o.call = a;
    if (const auto* g = std::get_if<granted>(&answer)) {
      expect(!g->repeated, "a first answer does not call itself repeated");
      o.what = fate::held;
      for (const auto& l : g->leases) {
        o.tokens.push_back(l.token);
        o.ids.push_back(l.id);
        auto& h = holdings_[l.token];
        h.told = true;
        h.id = l.id;
        if (a.max_hold && a.reentry.empty()) h.latest_end = now_ + *a.max_hold;
      }
      expect(o.tokens.size() == a.wants.size(), "a grant has a lease for every lock");
    } else if (const auto* q = std::get_if<queued>(&answer)) {
      o.what = fate::waits;
      o.waiter = q->id;
      expect(q->deadline == now_ + a.wait, "the first call sets the deadline");
      waiting_[q->id] = {a, true, q->epoch};
    } else {
      o.what = fate::refused;
      o.why = code(answer);
      o.forget_at = now_ + options_.request_memory;
      if (o.why == errc::queue_full || o.why == errc::request_memory_full) return;
    }
    if (!a.key.request.empty()) calls_[a.key] = o;
  }

  void check_repeat(outcome& o, const asked& a, const acquire_answer& answer) {
    if (o.what == fate::cancelled)
      return expect(code(answer) == errc::request_cancelled, "a cancelled id is refused");
    if (o.what == fate::released || a.body() != o.call.body())
      return expect(code(answer) == errc::request_id_reused, "another body with the same id is refused");
    switch (o.what) {
      case fate::waits: {
        const auto* q = std::get_if<queued>(&answer);
        expect(q && q->id == o.waiter, "a repeat takes up its place");
        if (!q) return;
        auto& w = waiting_[q->id];
        expect(q->epoch == w.epoch + 1, "the newer call speaks for the waiter");
        w.epoch = q->epoch;
        w.attached = true;
        return;
      }
      case fate::held: {
        const bool alive =
            std::all_of(o.tokens.begin(), o.tokens.end(), [&](auto t) { return !holdings_[t].over; });
        const auto* g = std::get_if<granted>(&answer);
        if (!alive)
          return expect(code(answer) == errc::lock_not_held, "a repeat after the end says that it has ended");
        expect(g && g->repeated && g->leases.size() == o.tokens.size(), "a repeat gets the same grant");
        if (!g) return;
        for (std::size_t i = 0; i < g->leases.size(); ++i) {
          const auto& l = g->leases[i];
          expect(l.token == o.tokens[i] && (o.ids.empty() || l.id == o.ids[i]),
                 "a repeat gets the same lease");
          expect(!l.provisional && l.end > now_, "a repeat claims the lease");
          holdings_[l.token].told = true;
          holdings_[l.token].id = l.id;
        }
        if (o.ids.empty())
          for (const auto& l : g->leases) o.ids.push_back(l.id);
        return;
      }
      default:
        return expect(o.why ? code(answer) == o.why : code(answer).has_value(),
                      "a repeat gets the same refusal");
    }
  }

  void ask_again(const step& s) {
    if (calls_.empty()) return;
    auto it = calls_.begin();
    std::advance(it, s.pick % calls_.size());
    if (it->second.what != fate::released && !it->second.call.wants.empty())
      return ask(asked(it->second.call));
  }

  void hold_once_more(const step& s) {
    const auto* h = pick_holding(s.pick);
    if (!h) return;
    auto a = single(s);
    a.key.client = h->client;
    a.key.lock = h->lock;
    a.key.request = "again" + std::to_string(s.more % 3);
    a.session = 0;
    a.wait = 0s;
    a.wants = {{h->lock, h->mode, 1, h->mode == lock_mode::semaphore ? 3u : 0u}};
    a.reentry = h->id;
    ask(a);
  }

  void give_back(const step& s) {
    const auto* h = pick_holding(s.pick);
    if (!h) return;
    outcome o;
    o.call.key = {false, h->lock, h->client, s.more % 2 ? "out" + std::to_string(s.more / 2 % 3) : ""};
    o.gave_back = h->id;
    give_back(o);
  }
  void give_back_again(const step& s) {
    std::vector<const outcome*> all;
    for (const auto& [key, o] : calls_)
      if (o.what == fate::released) all.push_back(&o);
    if (!all.empty()) give_back(outcome(*all[s.pick % all.size()]));
  }
  void give_back(outcome o) {
    const auto& key = o.call.key;
    const lease_proof proof{lock_name(key.lock), o.gave_back, {}};
    const auto answer =
        table_->release(now_, {client_id(key.client), request_id(key.request), {&proof, 1}, false});
    look();
    if (const auto* known = remembered(key)) {
      if (known->what == fate::cancelled) {
        expect(code(answer) == errc::request_cancelled, "a cancelled id is refused by release, too");
      } else if (known->what != fate::released || known->gave_back != o.gave_back) {
        expect(code(answer) == errc::request_id_reused, "a release does not answer for another call");
      } else if (known->why) {
        expect(code(answer) == known->why, "a repeated release gets the same refusal");
      } else {
        expect(answer && answer->at(0) && answer->at(0)->ended == known->ended,
               "a repeated release gets the same answer");
      }
    } else {
      o.what = fate::released;
      o.why = code(answer);
      o.ended = answer && answer->at(0)->ended;
      o.forget_at = now_ + options_.request_memory;
      if (!key.request.empty()) calls_[key] = o;
    }
    check();
  }

  void extend(const step& s) {
    const auto* h = pick_holding(s.pick);
    if (!h) return;
    const lease_proof proof{lock_name(h->lock), h->id, {}};
    const auto answer = table_->renew(now_, {client_id(s.more % 3 ? h->client : ""),
                                             {},
                                             {&proof, 1},
                                             false,
                                             s.more % 2 ? std::optional<duration>(5s) : std::nullopt});
    look();
    expect(!answer || !h->over, "a renewal does not wake the dead");
    expect(!answer || answer->at(0)->end > now_, "a renewed lease goes on");
    check();
  }

  void call_off(const step& s) {
    call_key key{false, name_of(s.lock), client_of(s.client), "r" + std::to_string(s.pick % 6)};
    if (s.more % 4 && !calls_.empty()) {
      auto it = calls_.begin();
      std::advance(it, s.pick % calls_.size());
      key = it->first;
    }
    const auto answer = table_->cancel(
        now_, {key.multi, lock_name(key.lock), client_id(key.client), request_id(key.request)});
    const auto before = calls_.find(key);
    if (before != calls_.end() && before->second.what == fate::waits && answer && answer->done)
      cancelled_ = before->second.waiter;
    look();
    cancelled_.reset();
    auto* known = remembered(key);
    if (!known) {
      expect(answer && answer->done, "an unseen id is cancelled");
      outcome o;
      o.call.key = key;
      o.what = fate::cancelled;
      o.forget_at = now_ + options_.request_memory;
      calls_[key] = o;
    } else if (known->what == fate::waits) {
      expect(answer && answer->done, "a waiter can be cancelled");
      become_cancelled(*known);
    } else if (known->what == fate::held && answer && answer->done) {
      if (known->call.reentry.empty())
        for (const auto t : known->tokens) expect(holdings_[t].over, "a cancelled id leaves no lease");
      become_cancelled(*known);
    } else if (known->what == fate::held) {
      for (const auto t : known->tokens) expect(holdings_[t].over, "an id with a lease can be cancelled");
    } else {
      expect(answer && answer->done == (known->what == fate::cancelled),
             "what was refused or given back stays so");
    }
    check();
  }
  void become_cancelled(outcome& o) {
    o.what = fate::cancelled;
    o.forget_at = now_ + options_.request_memory;
  }

  void force(const step& s) {
    const auto name = name_of(s.lock);
    const auto* h = s.pick % 2 ? pick_holding(s.more) : nullptr;
    std::optional<fencing_token> token;
    for (const auto& [t, each] : holdings_)
      if (h == &each) token = t;
    (void)table_->force_release(now_, lock_name(h ? h->lock : name), token, {}, "random");
    look();
    if (!h)
      for (const auto& [t, each] : holdings_)
        expect(each.over || each.lock != name || t > before_, "force ends every lease of the lock");
    check();
  }

  void sessions(const step& s) {
    if (sessions_.size() < 3 || s.pick % 3 == 0) {
      sessions_.push_back((*table_->open_session(now_, client_id(client_of(s.client)), 8s, {})).id);
    } else if (s.pick % 3 == 1) {
      (void)table_->keep_session(now_, sessions_[s.more % sessions_.size()], {});
    } else {
      (void)table_->close_session(now_, sessions_[s.more % sessions_.size()], {});
    }
    look();
    check();
  }

  void go_away(const step& s) {
    if (waiting_.empty()) return;
    auto it = waiting_.begin();
    std::advance(it, s.pick % waiting_.size());
    leave(ticket{it->first}, s.more % 4 == 0 && it->second.epoch > 0);
    check();
  }
  void leave(ticket id, bool by_an_older_call) {
    const auto epoch = waiting_[id].epoch;
    table_->detach(now_, id, by_an_older_call ? epoch - 1 : epoch);
    if (!by_an_older_call) leaving_ = id;
    look();
    leaving_.reset();
    if (const auto it = waiting_.find(id); it != waiting_.end() && !by_an_older_call)
      it->second.attached = false;
  }

  void lose_reply(const step& s) {
    const auto* h = pick_holding(s.pick);
    if (!h) return;
    for (auto& [t, each] : holdings_)
      if (h == &each) each.may_shrink = true;
    table_->undelivered(now_, h->id);
    look();
    check();
  }

  void pass(const step& s) {
    constexpr std::array<duration, 6> spans{100ms, 1s, 2s, 5s, 11s, 31s};
    now_ += spans[s.pick % spans.size()];
    if (s.more % 2) settle();
    look();
    check();
  }

  void restart(const step& s) {
    settle();
    compare_with_copy();
    table_->checkpoint(now_);  // as every commit does
    std::erase_if(calls_, [&](const auto& c) { return c.second.forget_at && *c.second.forget_at <= now_; });
    now_ += std::chrono::milliseconds(s.pick % 7'000);
    // Callers without an id lose their connection and with it their place.
    std::erase_if(waiting_, [](const auto& w) { return w.second.call.key.request.empty(); });
    table_ = fresh(&journal_);
    for (const auto& [key, value] : journal_.records)
      expect(table_->load(key, value), "what was written can be read");
    expect(table_->start(now_), "what was written fits together");
    for (auto& [id, w] : waiting_) {
      w.attached = false;
      w.epoch = 0;
    }
    for (auto& [key, o] : calls_)
      if (o.forget_at) o.forget_at = now_ + options_.request_memory;
    for (auto& [t, h] : holdings_) {
      h.may_shrink = h.may_shrink || !h.told;
      h.latest_end.reset();
    }
    look();
    check();
  }
};

}  // namespace dislock::core
