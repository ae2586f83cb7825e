// One leader among processes, whom everybody can see.
#pragma once

#include "dislock/async_client.hpp"
#include "dislock/client.hpp"

#include <functional>
#include <optional>
#include <stop_token>
#include <string>

namespace dislock {

/// Who leads.
struct leader {
  std::string client_id;
  std::string value;      ///< what the leader says of itself, such as its address; empty if it says nothing
  fencing_token token{};  ///< larger for every later leader; the leadership's own
  wall_time since{};
  wall_time expires_at{};  ///< unless it is renewed
};

/// An election is a lock: its holder leads. What the candidates say of themselves is the lease's metadata
/// (`{"value": ...}`, as `dislock elect` has it).
///
/// A leadership is a `lease`. It is renewed until it is resigned, released or destroyed, and it ends with
/// `lost()`, which is requested before anybody else can lead. What a leader does to the outside it marks with
/// `fencing_token()`, so that what an earlier leader still sends can be told apart and refused.
///
/// Thread safety: all members from any thread. Invariant: `name()` and `value()` never change.
class DISLOCK_API election {
 public:
  using listener = std::function<void(const std::optional<leader>&)>;

  /// A candidate, or (with no `value`) somebody who only looks. `options`: how the lock is asked for, `ttl`
  /// above all: a leader that dies is followed after that long. Its `mode`, `wait`, `stop` and `metadata` do
  /// not count. Asks nobody.
  election(client with, std::string name, std::string value = {}, acquire_options options = {});

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] const std::string& value() const noexcept { return value_; }

  /// Waits until this candidate leads, however long that takes (after 600 s it queues again, at the end).
  /// Candidates follow each other in order of arrival. `request_cancelled`: the stop token; else as
  /// `client::acquire`.
  [[nodiscard]] result<lease> campaign(std::stop_token stop = {});
  /// As `campaign`, for at most `patience`: then `lock_not_acquired`.
  [[nodiscard]] result<lease> campaign_for(duration patience, std::stop_token stop = {});
  /// One attempt. Nothing: somebody leads, or waits to.
  [[nodiscard]] result<std::optional<lease>> try_campaign();
  /// Ends a leadership of this election; the next candidate leads at once. As `lease::release`;
  /// `invalid_field`: the lease is of something else.
  result<void> resign(lease& leadership);
  /// Who leads now; nobody, if nothing is there. Out of date when it is back.
  [[nodiscard]] result<std::optional<leader>> current();
  /// Waits, at most `wait`, until somebody else leads than the one with `known` (nothing: than nobody), or
  /// nobody does. Who leads by then.
  [[nodiscard]] result<std::optional<leader>> next(std::optional<fencing_token> known, duration wait);
  /// Tells who leads, and each time that this changes, until what it returns is destroyed. It goes on through
  /// failures of the service, and makes up for what it missed by telling the latest state; it ends by itself
  /// when the client is closed. `on_change` is called one at a time, on the threads of `task`, and must not
  /// throw. Destroying the result waits for a call that another thread is in; from inside of the call it is
  /// safe as well.
  [[nodiscard]] running_task<> observe(listener on_change);
  /// The same, told on threads of `where`.
  [[nodiscard]] running_task<> observe(listener on_change, executor where);

  /// The same as coroutines.
  [[nodiscard]] task<result<lease>> async_campaign(std::stop_token stop = {}) const;
  [[nodiscard]] task<result<lease>> async_campaign_for(duration patience, std::stop_token stop = {}) const;
  [[nodiscard]] task<result<std::optional<lease>>> async_try_campaign() const;
  [[nodiscard]] task<result<void>> async_resign(lease& leadership) const;
  [[nodiscard]] task<result<std::optional<leader>>> async_current() const;
  [[nodiscard]] task<result<std::optional<leader>>> async_next(std::optional<fencing_token> known,
                                                               duration wait) const;

 private:
  [[nodiscard]] acquire_options candidacy(std::stop_token stop) const;

  client client_;
  std::string name_;
  std::string value_;
  acquire_options options_;
};

}  // namespace dislock
