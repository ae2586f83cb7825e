#pragma once

#include "base/secrets.hpp"
#include "core/lock_table.hpp"
#include "engine/engine.hpp"
#include "engine/loop.hpp"

#include <deque>
#include <memory>
#include <string>
#include <vector>

namespace dislock {

/// Where a table's records become durable, in groups. One strand.
///
/// Records that are appended get rising sequence numbers; `submit` sends the open group on its way; when a
/// group is durable the log has its owner called, who then asks `committed`.
class commit_log : public core::table_journal {
 public:
  [[nodiscard]] virtual std::uint64_t pending() const noexcept = 0;
  [[nodiscard]] virtual std::uint64_t committed() noexcept = 0;
  virtual void submit() = 0;
  [[nodiscard]] virtual bool backlogged() const noexcept = 0;
  /// Why nothing will ever be committed again; empty while all is well.
  [[nodiscard]] virtual std::string_view failure() const noexcept = 0;
  virtual void close() = 0;
};

struct table_engine_options {
  core::table_options table;
  std::size_t event_log_size = 10'000;
  capabilities about;
  /// Planted bug, for the tests that must notice it: answers leave before they are durable.
  bool plant_answer_before_commit = false;
};

/// A lock table in this process, as an engine. Without a log it is the memory engine, the reference for all
/// others.
///
/// With a log: whatever a decision tells anybody, its caller, a waiter or those who watch, leaves after
/// everything that was decided up to then is durable, in the order of the decisions. When the log fails, what
/// is still waiting for it is `outcome_unknown`, and from then on everything is refused with
/// `engine_unavailable`.
///
/// Invariant: nobody hears of a grant, an expiry or a refusal that a crash could undo.
class table_engine final : public engine, private core::table_observer {
 public:
  /// The table starts empty, or with the records that `load` puts into it before `start`.
  table_engine(loop& where, table_engine_options options, std::unique_ptr<commit_log> log);
  ~table_engine() override;

  [[nodiscard]] core::lock_table& table() noexcept { return table_; }

  const capabilities& about() const noexcept override { return options_.about; }
  engine_health health() const override;
  instant now() const noexcept override { return loop_.now(); }
  bool overloaded() const noexcept override { return log_ && log_->failure().empty() && log_->backlogged(); }
  event_log& events() noexcept override { return events_; }
  void start(engine_listener& listener) override;
  void stop(unique_function<void()> done) override;

  void acquire(const acquire_request& request, completion<acquire_answer> done) override;
  void release(const release_request& request, completion<answer<release_answers>> done) override;
  void renew(const renew_request& request, completion<answer<renew_answers>> done) override;
  void cancel(const call_id& call, completion<answer<cancelled>> done) override;
  void force_release(lock_name name, std::optional<fencing_token> token, request_id request,
                     std::string_view reason, completion<answer<forced>> done) override;
  void open_session(client_id who, duration ttl, request_id request,
                    completion<answer<session_opened>> done) override;
  void keep_session(session_id id, request_id request, completion<answer<session_kept>> done) override;
  void close_session(session_id id, request_id request, completion<answer<session_closed>> done) override;
  void detach(ticket id, std::uint32_t epoch) override;
  void undelivered(const granted& given) override;

  void status(lock_name name, std::size_t holders, std::size_t waiters,
              completion<answer<lock_view>> done) override;
  void validate(lock_name name, fencing_token token, completion<answer<validity>> done) override;
  void places(ticket id, completion<answer<std::optional<std::vector<place>>>> done) override;
  void list(const lock_filter& filter, std::uint64_t cursor, std::size_t limit,
            completion<answer<page<lock_view>>> done) override;
  void sessions(std::uint64_t cursor, std::size_t limit,
                completion<answer<page<session_view>>> done) override;
  void edges(std::size_t limit, completion<answer<std::vector<wait_edge>>> done) override;
  table_counts counts() const override { return table_.counts(); }
  void for_each_auto_renewed(
      const std::function<void(const lease_proof&, duration, instant)>& visit) override {
    table_.for_each_auto_renewed(visit);
  }

 private:
  // Something that somebody is told once `sequence` is durable; `true`: it is, `false`: it never will be.
  struct message {
    std::uint64_t sequence = 0;
    std::uint64_t events = 0;
    unique_function<void(bool)> tell;
  };

  void on_resolved(ticket id, std::uint32_t epoch, acquire_answer&& outcome) override;
  void on_event(const event& e) override;
  void on_deadlock(const deadlock& d) override { listener_->on_deadlock(d); }

  template <class T>
  void answer_later(completion<T>& done, T&& out);
  template <class T>
  [[nodiscard]] bool refused(completion<T>& done);
  void after_decision();
  void submit_when_quiet();
  void deliver();
  void wake();
  void go_on();
  void beat_later();
  [[nodiscard]] bool holds_anything() const noexcept;
  void noticed();

  const table_engine_options options_;
  loop& loop_;
  std::unique_ptr<commit_log> log_;
  system_secrets secrets_;
  event_log events_;
  core::lock_table table_;
  engine_listener* listener_ = nullptr;
  std::deque<message> outbox_;  // in the order of the decisions
  bool delivering_ = false;
  bool submitting_ = false;       // a group is open
  instant group_began_{};         // by its first decision
  std::uint64_t group_seen_ = 0;  // how far the log was when the loop came round last
  bool more_ = false;
  bool stopped_ = false;
  bool tidying_ = false;
  instant stamped_{};  // when the table's own record was last written
};

}  // namespace dislock
