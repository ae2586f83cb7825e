// What the lock table's tests stand on: a clock that they move, and doubles that remember what they were
// told.
#pragma once

#include "core/lock_table.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace dislock::core {

using namespace std::chrono_literals;

/// Keeps records as a disk would: a table that loads them comes back.
class map_journal final : public table_journal {
 public:
  void put(std::string_view key, std::string_view value) override { records[std::string(key)] = value; }
  void remove(std::string_view key) override { records.erase(std::string(key)); }
  void put_passing(std::string_view key, std::string_view value) override { put(key, value); }
  void pass(std::string_view key) override {
    records.erase(records.lower_bound("O"), records.lower_bound(std::string(key)));
  }
  [[nodiscard]] std::size_t count(record_kind kind) const {
    std::size_t n = 0;
    for (const auto& [key, value] : records) n += key[0] == static_cast<char>(kind);
    return n;
  }

  std::map<std::string, std::string> records;
};

struct resolution {
  ticket id{};
  std::uint32_t epoch = 0;
  acquire_answer outcome;
};

struct seen_event {
  event_type type{};
  std::string lock, client, reason;
  std::optional<fencing_token> token;
  duration took{};
};

class recording_observer final : public table_observer {
 public:
  void on_resolved(ticket id, std::uint32_t epoch, acquire_answer&& outcome) override {
    resolved.push_back({id, epoch, std::move(outcome)});
  }
  void on_event(const event& e) override {
    events.push_back(
        {e.type, std::string(e.lock), std::string(e.client), std::string(e.reason), e.token, e.took});
  }
  void on_deadlock(const deadlock& d) override { deadlocks.push_back(d); }
  void on_turn(const turn& t) override { turns.push_back(t.id); }

  std::vector<resolution> resolved;
  std::vector<ticket> turns;
  std::vector<seen_event> events;
  std::vector<deadlock> deadlocks;
};

/// What a test asks for, where it differs from "the lock `a`, exclusively, for 10 s, now or never".
struct wish {
  std::string_view lock = "a";
  lock_mode mode = lock_mode::exclusive;
  std::uint32_t limit = 0;
  std::uint32_t permits = 1;
  duration ttl = 10s;
  duration wait = 0s;
  duration lock_delay = 0s;
  std::optional<duration> max_hold{};
  bool auto_renew = false;
  session_id session{};
  lock_id reentry{};
  std::string_view metadata{};
};

inline wish shared(wish w = {}) {
  w.mode = lock_mode::shared;
  return w;
}
inline wish permits(std::uint32_t count, std::uint32_t limit, wish w = {}) {
  w.mode = lock_mode::semaphore;
  w.permits = count;
  w.limit = limit;
  return w;
}

inline std::optional<errc> code(const acquire_answer& a) {
  const auto* why = std::get_if<refusal_ptr>(&a);
  return why ? std::optional((*why)->code) : std::nullopt;
}
template <class T>
std::optional<errc> code(const answer<T>& a) {
  return a ? std::nullopt : std::optional(a.error().code);
}
inline const refusal& why(const acquire_answer& a) {
  return *std::get<refusal_ptr>(a);
}
inline bool is_granted(const acquire_answer& a) {
  return std::holds_alternative<granted>(a);
}
inline bool is_queued(const acquire_answer& a) {
  return std::holds_alternative<queued>(a);
}
/// The lease of a granted answer. Throws, and so fails the test, for any other.
inline const grant& lease_of(const acquire_answer& a) {
  return std::get<granted>(a).leases.at(0);
}

class LockTable : public testing::Test {
 protected:
  LockTable() { rebuild({}); }

  void rebuild(table_options options) {
    options_ = options;
    table_ = std::make_unique<lock_table>(options_, secrets_, seen_, &journal_);
  }

  acquire_answer acquire(std::string_view request, std::string_view client, const wish& w = {}) {
    const lock_want want{lock_name(w.lock), w.mode, w.limit, w.permits};
    return table_->acquire(now_, request_of(request, client, w, {&want, 1}, false));
  }
  acquire_answer acquire_all(std::string_view request, std::string_view client,
                             const std::vector<lock_want>& wants, const wish& w = {}) {
    return table_->acquire(now_, request_of(request, client, w, wants, true));
  }
  acquire_answer acquire_all(std::string_view request, std::string_view client,
                             std::initializer_list<std::string_view> names, const wish& w = {}) {
    std::vector<lock_want> wants;
    for (const auto name : names) wants.push_back({lock_name(name), w.mode, w.limit, w.permits});
    return acquire_all(request, client, wants, w);
  }
  /// Takes the lock, which has to be free.
  grant hold(std::string_view client, const wish& w = {}, std::string_view request = {}) {
    return lease_of(acquire(request, client, w));
  }
  /// Joins the queue. Without another wish: for a minute.
  queued wait_for(std::string_view request, std::string_view client, wish w = {}) {
    if (w.wait == 0s) w.wait = 60s;
    return std::get<queued>(acquire(request, client, w));
  }
  queued wait_for_all(std::string_view request, std::string_view client,
                      std::initializer_list<std::string_view> names, wish w = {}) {
    if (w.wait == 0s) w.wait = 60s;
    return std::get<queued>(acquire_all(request, client, names, w));
  }

  answer<released> release(const lock_id& id, std::string_view lock = "a", std::string_view request = {},
                           std::string_view client = {}) {
    const lease_proof proof{lock_name(lock), id, {}};
    const auto all = table_->release(now_, {client_id(client), request_id(request), {&proof, 1}, false});
    return all ? all->at(0) : answer<released>(all.error_ptr());
  }
  answer<renewed> renew(const lease_proof& proof, std::optional<duration> ttl = {},
                        std::string_view request = {}, std::string_view client = {}) {
    const auto all = table_->renew(now_, {client_id(client), request_id(request), {&proof, 1}, false, ttl});
    return all ? all->at(0) : answer<renewed>(all.error_ptr());
  }
  answer<renewed> renew(const lock_id& id, std::optional<duration> ttl = {}) {
    return renew({lock_name("a"), id, {}}, ttl);
  }
  answer<cancelled> cancel(std::string_view request, std::string_view client, std::string_view lock = "a") {
    return table_->cancel(now_, {false, lock_name(lock), client_id(client), request_id(request)});
  }
  answer<cancelled> cancel_multi(std::string_view request, std::string_view client) {
    return table_->cancel(now_, {true, {}, client_id(client), request_id(request)});
  }
  answer<forced> force(std::string_view lock = "a", std::optional<fencing_token> token = {},
                       std::string_view request = {}, std::string_view reason = "test") {
    return table_->force_release(now_, lock_name(lock), token, request_id(request), reason);
  }
  session_opened open(std::string_view client, duration ttl = 10s, std::string_view request = {}) {
    return *table_->open_session(now_, client_id(client), ttl, request_id(request));
  }
  answer<session_kept> keep(session_id id, std::string_view request = {}) {
    return table_->keep_session(now_, id, request_id(request));
  }
  answer<session_closed> close(session_id id, std::string_view request = {}) {
    return table_->close_session(now_, id, request_id(request));
  }
  void detach(const queued& q) { table_->detach(now_, q.id, q.epoch); }

  /// Moves the clock and lets everything happen that is due by then.
  void pass(duration d) {
    now_ += d;
    while (table_->advance(now_)) {
    }
  }
  /// Moves the clock from deadline to deadline until nothing is left to happen.
  void let_everything_end() {
    while (table_->advance(now_)) {
    }
    while (table_->next_deadline() != never) {
      now_ = std::max(now_, table_->next_deadline());
      while (table_->advance(now_)) {
      }
    }
    pass(options_.request_memory);
  }

  /// kill -9 and a new process. False: the new one did not start.
  bool restart(duration away = 0s) {
    table_->checkpoint(now_);  // every batch of a journal ends with one
    now_ += away;
    return come_back();
  }
  bool come_back() {
    rebuild(options_);
    for (const auto& [key, value] : journal_.records)
      if (!table_->load(key, value)) return false;
    now_ = std::max(now_, table_->latest_known());
    return table_->start(now_);
  }

  [[nodiscard]] lock_view status(std::string_view lock = "a") const {
    return table_->status(now_, lock_name(lock), 1'000, 10'000);
  }
  [[nodiscard]] std::vector<std::string> holders(std::string_view lock = "a") const {
    std::vector<std::string> out;
    for (const auto& h : status(lock).holders) out.push_back(h.client);
    return out;
  }
  [[nodiscard]] std::vector<std::string> waiters(std::string_view lock = "a") const {
    std::vector<std::string> out;
    for (const auto& w : status(lock).waiters) out.push_back(w.client);
    return out;
  }
  /// What a waiter was told last; nothing if it was told nothing.
  [[nodiscard]] std::optional<acquire_answer> told(const queued& q) const {
    for (auto it = seen_.resolved.rbegin(); it != seen_.resolved.rend(); ++it)
      if (it->id == q.id && it->epoch == q.epoch) return it->outcome;
    return std::nullopt;
  }
  [[nodiscard]] const grant& granted_to(const queued& q) const {
    for (const auto& r : seen_.resolved)
      if (r.id == q.id && is_granted(r.outcome)) return lease_of(r.outcome);
    throw std::logic_error("the waiter was not granted");
  }
  [[nodiscard]] std::optional<errc> refused_with(const queued& q) const {
    const auto outcome = told(q);
    return outcome ? code(*outcome) : std::nullopt;
  }
  [[nodiscard]] std::size_t happened(event_type type) const {
    return static_cast<std::size_t>(std::count_if(seen_.events.begin(), seen_.events.end(),
                                                  [type](const auto& e) { return e.type == type; }));
  }
  /// All records but the table's own, after what has passed is gone.
  [[nodiscard]] std::map<std::string, std::string> what_is_kept() {
    table_->checkpoint(now_);
    auto out = journal_.records;
    out.erase("T");
    return out;
  }
  [[nodiscard]] bool is_empty() const {
    const auto c = table_->counts();
    return c.active_locks + c.leases + c.waiters + c.sessions + c.remembered == 0;
  }

  table_options options_;
  counting_secrets secrets_;
  recording_observer seen_;
  map_journal journal_;
  instant now_ = from_microseconds(1'800'000'000'000'000);
  std::unique_ptr<lock_table> table_;

 private:
  static acquire_request request_of(std::string_view request, std::string_view client, const wish& w,
                                    std::span<const lock_want> wants, bool multi) {
    acquire_request r;
    r.client = client_id(client);
    r.request = request_id(request);
    r.wants = wants;
    r.multi = multi;
    r.ttl = w.ttl;
    r.wait = w.wait;
    r.lock_delay = w.lock_delay;
    r.max_hold = w.max_hold;
    r.auto_renew = w.auto_renew;
    r.session = w.session;
    r.reentry = w.reentry;
    r.metadata = w.metadata;
    return r;
  }
};

}  // namespace dislock::core
