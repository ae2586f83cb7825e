// Where a lock table's decisions go: whom they concern, and what has to be remembered beyond the process.
#pragma once

#include "core/decision.hpp"

#include <string_view>

namespace dislock::core {

/// Whose turn it is; views are valid during the call that passes it.
struct turn {
  ticket id{};
  lock_name lock;
  client_id client;
  duration ttl{};
  std::string_view metadata;
};

/// Told of what a decision did, while it is made. Must not call the table back.
class table_observer {
 public:
  virtual ~table_observer() = default;

  /// A queued request was granted or refused. `epoch` names the call that speaks for it; nobody may be there
  /// any more (a provisional grant).
  virtual void on_resolved(ticket id, std::uint32_t epoch, acquire_answer&& outcome) = 0;
  virtual void on_event(const event& e) = 0;
  /// A wait was refused because it would have closed this cycle.
  virtual void on_deadlock(const deadlock& d) = 0;
  /// Only with `table_options::by_turns`: nothing here stands in the way of this request any more.
  virtual void on_turn(const turn&) {}
};

/// Keeps the table's records. A decision is durable when everything that it put and removed is.
class table_journal {
 public:
  virtual ~table_journal() = default;
  virtual void put(std::string_view key, std::string_view value) = 0;
  virtual void remove(std::string_view key) = 0;
  /// Removes a record that was put once only, which may be cheaper.
  virtual void remove_first(std::string_view key) { remove(key); }
  /// A record that is never put again nor removed, but of no use any more after a while. Its key begins with
  /// that time, so that all that is over is in front.
  virtual void put_passing(std::string_view key, std::string_view value) = 0;
  /// Passing records with smaller keys are of no use once all that has been put so far is durable.
  virtual void pass(std::string_view key) = 0;
};

}  // namespace dislock::core
