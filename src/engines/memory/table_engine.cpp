#include "engines/memory/table_engine.hpp"

#include <algorithm>
#include <utility>

namespace dislock {
namespace {

// How often a table that holds anything writes down that it is alive. After a crash, leases are moved by the
// time since then, so this bounds by how much a restart can favour them.
constexpr duration heartbeat = std::chrono::seconds(1);

// How long a group of decisions is kept open for more of them. A request that is alone goes at once. Shorter,
// and 32 busy connections make two commits of what could be one; longer, and the disk waits for the
// processor.
constexpr duration longest_group = std::chrono::microseconds(200);

// With the planted bug, how long a commit comes after its answer.
constexpr duration planted_lag = std::chrono::milliseconds(50);

// How often remembered requests whose time is over are cleared out of a table that nobody asks.
constexpr duration tidying = std::chrono::milliseconds(500);

}  // namespace

table_engine::table_engine(loop& where, table_engine_options options, std::unique_ptr<commit_log> log)
    : options_(std::move(options)),
      loop_(where),
      log_(std::move(log)),
      events_(options_.event_log_size),
      table_(options_.table, secrets_, *this, log_.get()) {}

table_engine::~table_engine() {
  if (log_) log_->close();
}

void table_engine::start(engine_listener& listener) {
  listener_ = &listener;
  loop_.on_wake([this] { wake(); });
  loop_.on_notify([this] { noticed(); });
  if (log_) {
    stamped_ = now();
    table_.checkpoint(stamped_);
  }
  wake();
}

void table_engine::stop(unique_function<void()> done) {
  stopped_ = true;
  loop_.on_wake(nullptr);
  if (!log_) {
    done();
    return;
  }
  table_.checkpoint(now());
  outbox_.push_back(
      {log_->pending(), events_.appended(), [done = std::move(done)](bool) mutable { done(); }});
  log_->submit();
  deliver();
}

engine_health table_engine::health() const {
  if (log_ && !log_->failure().empty()) return {false, std::string(log_->failure())};
  return {};
}

// A stopped or failed engine decides nothing any more.
template <class T>
bool table_engine::refused(completion<T>& done) {
  if (!stopped_ && (!log_ || log_->failure().empty())) [[likely]]
    return false;
  done(refuse(stopped_ ? errc::draining : errc::engine_unavailable));
  return true;
}

template <class T>
void table_engine::answer_later(completion<T>& done, T&& out) {
  const auto sequence = log_ && !options_.plant_answer_before_commit ? log_->pending() : 0;
  if (outbox_.empty() && (sequence == 0 || sequence <= log_->committed())) {
    events_.publish(events_.appended());
    done(std::move(out));
  } else {
    outbox_.push_back(
        {sequence, events_.appended(), [done = std::move(done), out = std::move(out)](bool durable) mutable {
           done(durable ? std::move(out) : T(refuse(errc::outcome_unknown)));
         }});
  }
  after_decision();
}

void table_engine::on_resolved(ticket id, std::uint32_t epoch, acquire_answer&& outcome) {
  // Never from inside the decision: whoever is told may decide the next thing.
  const auto sequence = log_ && !options_.plant_answer_before_commit ? log_->pending() : 0;
  outbox_.push_back({sequence, 0, [this, id, epoch, outcome = std::move(outcome)](bool durable) mutable {
                       listener_->on_resolved(
                           id, epoch,
                           durable ? std::move(outcome) : acquire_answer(refuse(errc::outcome_unknown)));
                     }});
}

void table_engine::on_event(const event& e) {
  events_.append(e);
  if (listener_) listener_->on_event(e);
}

// Has what was decided made durable, and asks to be called when the next thing ends.
void table_engine::after_decision() {
  if (log_) {
    if (options_.plant_answer_before_commit) {
      loop_.wake_at(later(now(), planted_lag));
    } else if (!submitting_ && log_->pending() > log_->committed()) {
      submitting_ = true;
      group_began_ = now();
      group_seen_ = log_->pending();
      loop_.defer([this] { submit_when_quiet(); });
    }
    if (!submitting_) beat_later();
  }
  deliver();
  if (stopped_) return;
  loop_.wake_at(table_.next_deadline());
  if (table_.has_leftovers()) go_on();
  if (!tidying_ && table_.remembered() > 0) {
    tidying_ = true;
    loop_.wake_at(later(now(), tidying));
  }
}

// A commit costs the same whatever is in it, so the group is open while requests keep coming in.
void table_engine::submit_when_quiet() {
  if (log_->pending() != group_seen_ && now() < later(group_began_, longest_group)) {
    group_seen_ = log_->pending();
    loop_.defer([this] { submit_when_quiet(); });
    return;
  }
  submitting_ = false;
  stamped_ = now();
  table_.checkpoint(stamped_);
  log_->submit();
  beat_later();
}

void table_engine::deliver() {
  if (delivering_) return;  // the call further down the stack goes on
  delivering_ = true;
  const bool failed = log_ && !log_->failure().empty();
  const auto committed = log_ ? log_->committed() : 0;
  while (!outbox_.empty()) {
    auto& next = outbox_.front();
    // A message that was put in during the decision cannot know the decision's last record.
    const bool durable = next.sequence <= committed;
    if (!durable && !failed) break;
    auto now_told = std::move(next);
    outbox_.pop_front();
    if (durable) events_.publish(now_told.events);
    now_told.tell(durable);
  }
  if (outbox_.empty() && (!log_ || log_->pending() <= committed)) events_.publish(events_.appended());
  delivering_ = false;
}

void table_engine::wake() {
  if (stopped_ || (log_ && !log_->failure().empty())) return;
  const auto at = now();
  tidying_ = false;
  const auto remembered = table_.remembered();
  const bool more = table_.advance(at);
  if (log_) {
    if (options_.plant_answer_before_commit) log_->submit();
    // What was forgotten comes back after a crash that nobody has told the time.
    const bool forgot_all = remembered > 0 && table_.remembered() == 0;
    if ((holds_anything() && at - stamped_ >= heartbeat) || forgot_all) {
      stamped_ = at;
      table_.checkpoint(at);
    }
  }
  after_decision();
  if (more) go_on();
}

// What one step left over follows at once, after the calls that are ready now.
void table_engine::go_on() {
  if (std::exchange(more_, true)) return;
  loop_.defer([this] {
    more_ = false;
    wake();
  });
}

// A lock-delay counts too: a restart moves it like a lease.
bool table_engine::holds_anything() const noexcept {
  const auto counts = table_.counts();
  return counts.active_locks + counts.sessions > 0;
}

void table_engine::beat_later() {
  if (holds_anything()) loop_.wake_at(later(stamped_, heartbeat));
}

void table_engine::noticed() {
  deliver();
  if (!stopped_) loop_.wake_at(table_.next_deadline());
}

void table_engine::acquire(const acquire_request& request, completion<acquire_answer> done) {
  if (refused(done)) return;
  answer_later(done, table_.acquire(now(), request));
}

void table_engine::release(const release_request& request, completion<answer<release_answers>> done) {
  if (refused(done)) return;
  answer_later(done, table_.release(now(), request));
}

void table_engine::renew(const renew_request& request, completion<answer<renew_answers>> done) {
  if (refused(done)) return;
  answer_later(done, table_.renew(now(), request));
}

void table_engine::cancel(const call_id& call, completion<answer<cancelled>> done) {
  if (refused(done)) return;
  answer_later(done, table_.cancel(now(), call));
}

void table_engine::force_release(lock_name name, std::optional<fencing_token> token, request_id request,
                                 std::string_view reason, completion<answer<forced>> done) {
  if (refused(done)) return;
  answer_later(done, table_.force_release(now(), name, token, request, reason));
}

void table_engine::open_session(client_id who, duration ttl, request_id request,
                                completion<answer<session_opened>> done) {
  if (refused(done)) return;
  answer_later(done, table_.open_session(now(), who, ttl, request));
}

void table_engine::keep_session(session_id id, request_id request, completion<answer<session_kept>> done) {
  if (refused(done)) return;
  answer_later(done, table_.keep_session(now(), id, request));
}

void table_engine::close_session(session_id id, request_id request, completion<answer<session_closed>> done) {
  if (refused(done)) return;
  answer_later(done, table_.close_session(now(), id, request));
}

void table_engine::detach(ticket id, std::uint32_t epoch) {
  if (stopped_ || !health().ready) return;
  table_.detach(now(), id, epoch);
  after_decision();
}

void table_engine::undelivered(const granted& given) {
  if (stopped_ || !health().ready) return;
  for (const auto& lease : given.leases) table_.undelivered(now(), lease.id, lease.told);
  after_decision();
}

// Reads wait for the commit of what they saw, like everything else.

void table_engine::status(lock_name name, std::size_t holders, std::size_t waiters,
                          completion<answer<lock_view>> done) {
  if (refused(done)) return;
  answer_later<answer<lock_view>>(done, table_.status(now(), name, holders, waiters));
}

void table_engine::validate(lock_name name, fencing_token token, completion<answer<validity>> done) {
  if (refused(done)) return;
  answer_later<answer<validity>>(done, table_.validate(now(), name, token));
}

void table_engine::places(ticket id, completion<answer<std::optional<std::vector<place>>>> done) {
  if (refused(done)) return;
  answer_later<answer<std::optional<std::vector<place>>>>(done, table_.places(now(), id));
}

void table_engine::list(const lock_filter& filter, std::uint64_t cursor, std::size_t limit,
                        completion<answer<page<lock_view>>> done) {
  if (refused(done)) return;
  answer_later<answer<page<lock_view>>>(done, table_.list(now(), filter, cursor, limit));
}

void table_engine::sessions(std::uint64_t cursor, std::size_t limit,
                            completion<answer<page<session_view>>> done) {
  if (refused(done)) return;
  answer_later<answer<page<session_view>>>(done, table_.sessions(cursor, limit));
}

void table_engine::edges(std::size_t limit, completion<answer<std::vector<wait_edge>>> done) {
  if (refused(done)) return;
  answer_later<answer<std::vector<wait_edge>>>(done, table_.edges(limit));
}

}  // namespace dislock
