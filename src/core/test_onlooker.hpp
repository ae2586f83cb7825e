// What an onlooker knows about a lock table, from its answers and from what its observer is told; and whether
// that fits together.
#pragma once

#include "core/test_deadlock_oracle.hpp"
#include "core/test_table.hpp"

#include <array>
#include <map>
#include <set>
#include <tuple>

namespace dislock::core {

class onlooker {
 public:
  explicit onlooker(table_options options) : options_(options) { table_ = fresh(&journal_); }

  /// What went wrong first; empty: nothing.
  [[nodiscard]] const std::string& violation() const { return violation_; }
  [[nodiscard]] std::size_t victims() const { return victims_; }
  [[nodiscard]] std::size_t grants() const { return grants_; }

 protected:
  struct call_key {
    bool multi = false;
    std::string lock, client, request;
    auto operator<=>(const call_key&) const = default;
  };
  struct asked {
    call_key key;
    std::vector<oracle_want> wants;
    duration ttl{}, wait{}, lock_delay{};
    std::optional<duration> max_hold;
    std::uint64_t session = 0;  // index + 1
    lock_id reentry{};
    [[nodiscard]] auto body() const {
      std::vector<std::tuple<std::string, lock_mode, std::uint32_t, std::uint32_t>> w;
      for (const auto& each : wants) w.emplace_back(each.lock, each.mode, each.permits, each.limit);
      return std::tuple(w, ttl, lock_delay, max_hold, session, reentry.bits);
    }
  };
  enum class fate { waits, held, refused, cancelled, released };
  struct outcome {
    asked call;
    fate what{};
    ticket waiter{};
    std::vector<fencing_token> tokens;
    std::vector<lock_id> ids;  // empty: nobody was told yet
    std::optional<errc> why;
    lock_id gave_back{};  // fate::released: what
    bool ended = false;
    std::optional<instant> forget_at;
  };
  struct holding {
    std::string lock, client;
    lock_id id{};
    lock_mode mode{};
    bool told = false;        // the client knows its id
    bool may_shrink = false;  // provisional, now or once
    bool over = false;
    instant end{};
    std::optional<instant> latest_end;
  };
  struct waiting {
    asked call;
    bool attached = true;
    std::uint32_t epoch = 0;
  };

  void expect(bool ok, const std::string& sentence) {
    if (ok || !violation_.empty()) return;
    violation_ = sentence;
  }
  std::unique_ptr<lock_table> fresh(table_journal* journal) {
    return std::make_unique<lock_table>(options_, secrets_, seen_, journal);
  }
  static std::string name_of(std::uint32_t lock) { return std::string(1, static_cast<char>('a' + lock % 4)); }
  static std::string client_of(std::uint32_t client) { return "c" + std::to_string(client % 5); }

  // ---------------------------------------------------------------------------------

  void settle() {
    while (table_->advance(now_)) {
    }
    look();
    expect(table_->next_deadline() > now_, "nothing stays due");
  }

  const holding* pick_holding(std::uint32_t pick) const {
    std::vector<const holding*> all;
    for (const auto& [t, h] : holdings_)
      if (h.told && (!h.over || pick % 8 == 0)) all.push_back(&h);
    return all.empty() ? nullptr : all[pick / 8 % all.size()];
  }

  outcome* remembered(const call_key& key) {
    const auto it = calls_.find(key);
    if (it == calls_.end()) return nullptr;
    if (!it->second.forget_at || *it->second.forget_at > now_) return &it->second;
    calls_.erase(it);
    return nullptr;
  }

  // Takes in what the observer was told since the last look.
  void look() {
    std::vector<std::pair<fencing_token, std::string>> unexplained;  // grants to nobody who is there
    std::map<fencing_token, std::pair<std::string, std::string>> fresh_grants;
    before_ = last_token_;
    for (; events_seen_ < seen_.events.size(); ++events_seen_) {
      const auto& e = seen_.events[events_seen_];
      if (e.type == event_type::acquired) {
        expect(*e.token > last_token_, "tokens rise");
        last_token_ = *e.token;
        ++grants_;
        holdings_[*e.token] = {e.lock, e.client, {}, lock_mode::exclusive, false, false, false, {}, {}};
        fresh_grants[*e.token] = {e.lock, e.client};
      } else if (e.token) {
        auto& h = holdings_[*e.token];
        expect(!h.over, "a lease ends once");
        h.over = true;
        for (auto& [key, o] : calls_) close_if_over(o);
      }
    }
    if (direct_ && !direct_->repeated)
      for (const auto& l : direct_->leases) {
        if (fresh_grants.contains(l.token))
          expect(nobody_waits_before(holdings_[l.token].lock, ticket{~0ull}),
                 "a newcomer never overtakes a waiter");
        fresh_grants.erase(l.token);
      }
    for (; resolved_seen_ < seen_.resolved.size(); ++resolved_seen_) {
      const auto& r = seen_.resolved[resolved_seen_];
      const auto it = waiting_.find(r.id);
      expect(it != waiting_.end() && it->second.epoch == r.epoch && it->second.attached,
             "only a waiting call is told");
      if (it == waiting_.end() || code(r.outcome) == errc::superseded) continue;
      const auto w = it->second;
      waiting_.erase(it);
      outcome o;
      o.call = w.call;
      if (const auto* g = std::get_if<granted>(&r.outcome)) {
        o.what = fate::held;
        for (const auto& l : g->leases) {
          o.tokens.push_back(l.token);
          o.ids.push_back(l.id);
          auto& h = holdings_[l.token];
          h.told = true;
          h.id = l.id;
          expect(!l.provisional, "who is there gets a grant that is not provisional");
          expect(nobody_waits_before(h.lock, r.id), "grants follow arrival");
          fresh_grants.erase(l.token);
        }
      } else {
        o.what = fate::refused;
        o.why = code(r.outcome);
      }
      if (cancelled_ == r.id && o.why == errc::request_cancelled) continue;  // the caller knows better
      remember(o);
    }
    // Waiters that have gone without a word were not there: granted provisionally, or dropped.
    for (auto it = waiting_.begin(); it != waiting_.end();) {
      if (table_->places(now_, it->first)) {
        ++it;
        continue;
      }
      expect(!it->second.attached || leaving_ == it->first, "who is there is told");
      outcome o;
      o.call = it->second.call;
      o.what = fate::refused;
      for (const auto& w : it->second.call.wants) {
        const auto mine = std::find_if(fresh_grants.begin(), fresh_grants.end(), [&](const auto& g) {
          return g.second == std::pair(w.lock, it->second.call.key.client);
        });
        if (mine == fresh_grants.end()) continue;
        o.what = fate::held;
        o.tokens.push_back(mine->first);
        holdings_[mine->first].may_shrink = true;
        expect(nobody_waits_before(w.lock, it->first), "provisional grants follow arrival, too");
        fresh_grants.erase(mine);
      }
      // Its patience is over or its session: the table knows which.
      if (o.what == fate::refused && o.call.session == 0) o.why = errc::lock_not_acquired;
      const bool gone = o.what == fate::refused && cancelled_ == it->first;
      it = waiting_.erase(it);
      if (!gone) remember(o);
    }
    expect(fresh_grants.empty(), "every grant has somebody who asked for it");
  }
  void close_if_over(outcome& o) {
    if (o.what != fate::held || o.forget_at) return;
    if (std::all_of(o.tokens.begin(), o.tokens.end(), [&](auto t) { return holdings_[t].over; }))
      o.forget_at = now_ + options_.request_memory;
  }
  void remember(outcome& o) {
    if (o.call.key.request.empty()) return;
    if (o.what == fate::refused) o.forget_at = now_ + options_.request_memory;
    close_if_over(o);
    calls_[o.call.key] = o;
  }

  bool nobody_waits_before(const std::string& lock, ticket id) const {
    return std::none_of(waiting_.begin(), waiting_.end(), [&](const auto& w) {
      if (w.first >= id || !table_->places(now_, w.first)) return false;
      const auto& wants = w.second.call.wants;
      return std::any_of(wants.begin(), wants.end(), [&](const auto& each) { return each.lock == lock; });
    });
  }

  std::vector<oracle_lease> leases() const {
    std::vector<oracle_lease> out;
    for (std::uint32_t i = 0; i < 4; ++i) {
      const auto v = table_->status(now_, lock_name(name_of(i)), 100, 0);
      for (const auto& h : v.holders) out.push_back({v.name, h.client, h.mode, h.permits, v.limit});
    }
    return out;
  }
  std::vector<oracle_waiter> waiters() const {
    std::vector<oracle_waiter> out;
    for (const auto& [id, w] : waiting_) out.push_back({w.call.key.client, w.call.wants});
    return out;
  }

  // The promises that hold after every step.
  void check() {
    if (!violation_.empty()) return;
    const bool at_rest = !table_->has_leftovers() && table_->next_deadline() > now_;
    std::array<lock_view, 4> locks;
    for (std::uint32_t i = 0; i < 4; ++i) {
      locks[i] = table_->status(now_, lock_name(name_of(i)), 100, 100);
      const auto& v = locks[i];
      std::size_t exclusive = 0, readers = 0, permits = 0;
      for (const auto& h : v.holders) {
        exclusive += h.mode == lock_mode::exclusive;
        readers += h.mode == lock_mode::shared;
        permits += h.mode == lock_mode::semaphore ? h.permits : 0;
        auto& mine = holdings_[h.token];
        expect(!mine.over && mine.client == h.client && mine.lock == v.name,
               "a holder was granted and has not ended");
        expect(h.end > now_ && (h.end >= mine.end || mine.may_shrink || h.session_bound),
               "an end is never moved forward");
        expect(!mine.latest_end || h.end <= *mine.latest_end,
               "no lease is held longer than its longest hold");
        expect(table_->validate(now_, lock_name(v.name), h.token).current, "a holder's token is valid");
        mine.end = h.end;
        mine.mode = h.mode;
      }
      expect(exclusive + (readers > 0) + (permits > 0) <= 1, "one writer, or readers, or permits");
      expect(permits <= v.limit, "no more permits than the limit");
      std::vector<ticket> order;
      for (const auto& [id, w] : waiting_)
        for (const auto& each : w.call.wants)
          if (each.lock == v.name) order.push_back(id);
      expect(order.size() == v.waiters.size(), "the queue is who waits");
      for (std::size_t p = 0; p < order.size() && p < v.waiters.size(); ++p)
        expect(v.waiters[p].client == waiting_[order[p]].call.key.client, "the queue is in order of arrival");
    }
    if (at_rest)
      for (const auto& [id, w] : waiting_)
        expect(!could_start(id, w, locks), "nobody waits for what is free");
    if (at_rest && options_.detect_deadlocks)
      expect(stuck_clients(leases(), waiters()).empty(), "no deadlock without a victim");
    if (at_rest) compare_with_copy();
  }

  bool could_start(ticket id, const waiting& w, const std::array<lock_view, 4>& locks) const {
    const auto at = *table_->places(now_, id);
    for (std::size_t i = 0; i < at.size(); ++i) {
      const auto& want = w.call.wants[i];
      const auto& v =
          *std::find_if(locks.begin(), locks.end(), [&](const auto& l) { return l.name == want.lock; });
      if (at[i].position != 1 || v.closed_until) return false;
      if (v.holders.empty()) continue;
      if (want.mode == lock_mode::exclusive) return false;
      if (want.mode == lock_mode::shared && v.mode != lock_mode::shared) return false;
      if (want.mode == lock_mode::semaphore && v.used + want.permits > v.limit) return false;
    }
    return true;
  }

  // A table that comes back from the journal this instant says the same.
  void compare_with_copy() {
    while (table_->advance(now_)) {  // forgets what is due
    }
    table_->checkpoint(now_);
    recording_observer nobody;
    lock_table copy(options_, secrets_, nobody, nullptr);
    for (const auto& [key, value] : journal_.records)
      expect(copy.load(key, value), "what is written can be read");
    expect(copy.start(now_), "what is written fits together");
    if (!violation_.empty()) return;
    std::set<std::string> listed, expected;
    for (const auto& v : copy.list(now_, {}, 0, 100).items) listed.insert(v.name);
    for (std::uint32_t i = 0; i < 4; ++i) {
      const lock_name name{*names_.insert(name_of(i)).first};
      auto is = table_->status(now_, name, 100, 100);
      const auto was = copy.status(now_, name, 100, 100);
      expect(is.holders.size() == was.holders.size() && is.closed_until == was.closed_until,
             "holders outlive a restart");
      for (std::size_t h = 0; h < is.holders.size() && h < was.holders.size(); ++h) {
        const auto &a = is.holders[h], &b = was.holders[h];
        expect(a.client == b.client && a.token == b.token && a.mode == b.mode && a.permits == b.permits &&
                   a.hold_count == b.hold_count && a.acquired_at == b.acquired_at,
               "a holder is the same after a restart");
        expect(a.end == b.end || holdings_[a.token].may_shrink, "a lease's end outlives a restart");
        expect(copy.validate(now_, name, a.token).current, "a token is valid after a restart");
      }
      std::vector<std::string> here, there;
      for (const auto& [id, w] : waiting_)
        for (const auto& each : w.call.wants)
          if (each.lock == is.name && !w.call.key.request.empty()) here.push_back(w.call.key.client);
      for (const auto& w : was.waiters) there.push_back(w.client);
      expect(here == there, "waiters with an id keep their order through a restart");
      if (!is.holders.empty() || is.closed_until || !here.empty()) expected.insert(is.name);
    }
    expect(listed == expected, "a listing outlives a restart");
    const auto a = table_->counts(), b = copy.counts();
    expect(a.leases == b.leases && a.sessions == b.sessions && a.remembered == b.remembered,
           "counts outlive a restart");
  }

  table_options options_;
  counting_secrets secrets_;
  recording_observer seen_;
  map_journal journal_;
  std::unique_ptr<lock_table> table_;
  instant now_ = from_microseconds(1'800'000'000'000'000);

  std::map<call_key, outcome> calls_;
  std::map<fencing_token, holding> holdings_;
  std::map<ticket, waiting> waiting_;
  std::vector<session_id> sessions_;
  std::set<std::string> names_;
  const granted* direct_ = nullptr;
  std::optional<ticket> cancelled_, leaving_;
  fencing_token last_token_{}, before_{};
  std::size_t events_seen_ = 0, resolved_seen_ = 0, victims_ = 0, grants_ = 0;
  std::string violation_;
};

}  // namespace dislock::core
