// Names, clients, sessions and memos: things that exist as long as somebody refers to them.
#include "core/lock_table.hpp"

#include <functional>

namespace dislock::core {

lock_table::lock_table(table_options options, secret_source& secrets, table_observer& observer,
                       table_journal* journal)
    : options_(options),
      secrets_(secrets),
      observer_(observer),
      journal_(journal),
      ends_(options.request_memory) {}

lock_table::~lock_table() {
  for (auto& [arrival, w] : waiters_) delete w;
  for (auto& [key, s] : sessions_) delete s;
  for (auto* s : ending_sessions_) delete s;
  for (auto* l : leases_) lease_pool_.destroy(l);
  memory_.for_each([this](memo& m) { memo_pool_.destroy(&m); });
  for (auto* l : locks_) lock_pool_.destroy(l);
  for (auto* c : clients_) client_pool_.destroy(c);
}

lock* lock_table::find_lock(lock_name name) const noexcept {
  const auto it = locks_.find(name.view());
  return it == locks_.end() ? nullptr : *it;
}

lock& lock_table::obtain_lock(lock_name name) {
  if (auto* l = find_lock(name)) return *l;
  auto* l = lock_pool_.create();
  l->name = text(name.view());
  if (free_slots_.empty()) {
    l->slot = static_cast<std::uint32_t>(slots_.size());
    slots_.push_back(l);
  } else {
    l->slot = free_slots_.back();
    free_slots_.pop_back();
    slots_[l->slot] = l;
  }
  locks_.insert(l);
  return *l;
}

void lock_table::touch(lock& l) {
  if (l.active() != l.counted) {
    l.counted = !l.counted;
    l.counted ? ++active_locks_ : --active_locks_;
  }
  if (l.counted || l.memos > 0 || l.ready) return;
  locks_.erase(&l);
  slots_[l.slot] = nullptr;
  free_slots_.push_back(l.slot);
  lock_pool_.destroy(&l);
}

core::client& lock_table::obtain_client(client_id id) {
  if (const auto it = clients_.find(id.view()); it != clients_.end()) return **it;
  auto* c = client_pool_.create();
  c->id = text(id.view());
  clients_.insert(c);
  return *c;
}

void lock_table::let_go(core::client& c) {
  DISLOCK_ASSERT(c.references > 0, "a client is let go as often as it was taken");
  if (--c.references > 0) return;
  clients_.erase(&c);
  client_pool_.destroy(&c);
}

core::session* lock_table::find_session(instant now, session_id id) const noexcept {
  const auto it = sessions_.find(id.bits[1]);
  if (it == sessions_.end() || it->second->id != id || it->second->end <= now) return nullptr;
  return it->second;
}

memo* lock_table::find_memo(const call_id& call) const noexcept {
  if (call.request.empty()) return nullptr;
  const lock* scope = nullptr;
  if (!call.table_wide && (scope = find_lock(call.lock)) == nullptr) return nullptr;
  const auto who = clients_.find(call.client.view());
  return who == clients_.end() ? nullptr : memory_.find(scope, *who, call.request.view());
}

bool lock_table::memory_full(request_id request) const noexcept {
  return !request.empty() && memory_.size() >= options_.request_memory_max;
}

// REQUIRES: the id is not remembered, and the memory is not full.
memo& lock_table::remember(instant now, const call_id& call, std::uint64_t print) {
  return remember(now, call.table_wide ? nullptr : &obtain_lock(call.lock), obtain_client(call.client),
                  call.request, print);
}

memo& lock_table::remember(instant now, lock* scope, core::client& who, request_id request,
                           std::uint64_t print) {
  auto* m = memo_pool_.create();
  m->scope = scope;
  if (scope) ++scope->memos;
  m->who = &who;
  ++who.references;
  m->request = text(request.view());
  m->fingerprint = print;
  m->number = next_number();
  m->when = now;
  memory_.add(*m);
  return *m;
}

// A grant of one lock is remembered by its lease, and in its record.
void lock_table::remember_in(memo& m, lease& l) {
  m.outcome = lease_slot{&l, l.token, end_reason::none};
  m.in_lease = true;
  m.number = to_number(l.token);
}

void lock_table::forget_later(instant now, memo& m) {
  memory_.forget_at(m, later(now, options_.request_memory));
}

// Its record passes by itself.
void lock_table::forget(memo& m) {
  if (m.older) discard(*m.older);
  discard(m);
}

void lock_table::discard(memo& m) {
  memory_.remove(m);
  auto* scope = m.scope;
  let_go(*m.who);
  memo_pool_.destroy(&m);
  if (scope) {
    --scope->memos;
    touch(*scope);
  }
}

fencing_token lock_table::mint(instant now) {
  const auto floor = static_cast<std::uint64_t>(std::max<std::int64_t>(microseconds_since_1970(now), 0));
  last_token_ = std::max(last_token_ + 1, floor);
  DISLOCK_ASSERT(last_token_ < fencing_token_limit, "a fencing token stays below 2^53");
  return fencing_token{last_token_};
}

void lock_table::keep(lease& l) {
  if (!journal_) return;
  l.times_written = l.times_written == 0 ? 1 : 2;
  record_.clear();
  append(record_, l);
  journal_->put(record_key(record_kind::lease, to_number(l.token)), record_);
}

void lock_table::keep(const memo& m) {
  if (!journal_) return;
  record_.clear();
  if (m.over) {
    append_over(record_, m);
    return journal_->put_passing(over_key(m.when, m.number), record_);
  }
  append(record_, m);
  journal_->put(record_key(record_kind::memo, m.number), record_);
}

void lock_table::keep(const waiter& w) {
  if (!journal_ || !w.remembered) return;
  record_.clear();
  append(record_, w);
  journal_->put(record_key(record_kind::waiter, static_cast<std::uint64_t>(w.arrival)), record_);
}

void lock_table::keep(const core::session& s) {
  if (!journal_) return;
  record_.clear();
  append(record_, s);
  journal_->put(record_key(record_kind::session, s.public_id), record_);
}

void lock_table::keep_delay(const lock& l) {
  if (!journal_) return;
  const auto key = record_key(record_kind::lock_delay, l.name.view());
  if (!l.delay) return journal_->remove(key);
  record_.clear();
  append_lock_delay(record_, l.delay->at);
  journal_->put(key, record_);
}

void lock_table::erase(record_kind kind, std::uint64_t number) {
  if (journal_) journal_->remove(record_key(kind, number));
}

void lock_table::checkpoint(instant now) {
  if (!journal_) return;
  const bool more_time = now < kept_until_;
  record_.clear();
  append(record_, table_record{now, last_token_, last_number_, more_time ? kept_from_ : instant{},
                               more_time ? kept_until_ : instant{}});
  journal_->put(std::string_view("T"), record_);
  journal_->pass(over_key(later(more_time ? kept_from_ : now, duration(1)), 0));
}

table_counts lock_table::counts() const noexcept {
  return {active_locks_, leases_.size(), waiters_.size(), sessions_.size(), memory_.size()};
}

}  // namespace dislock::core
