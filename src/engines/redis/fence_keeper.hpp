// The replicated watermark: what tokens and ends may reach, raised and confirmed by the replicas.
#pragma once

#include "engines/redis/handover.hpp"
#include "engines/redis/store_checks.hpp"
#include "engines/redis/telling.hpp"
#include "engines/redis/wire/alarm.hpp"
#include "engines/redis/wire/client.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace dislock::redis {

/// What the keeper is told about time, and tells.
class fence_keeper_user {
 public:
  virtual ~fence_keeper_user() = default;
  [[nodiscard]] virtual instant now() const noexcept = 0;
  /// See clock_guard.
  [[nodiscard]] virtual std::optional<std::int64_t> latest_store_time() const noexcept = 0;
  [[nodiscard]] virtual std::optional<std::int64_t> earliest_store_time() const noexcept = 0;
  /// An answer of the store: what its clock showed, and the sum of the steps that it knows of.
  virtual void on_store_time(instant sent, std::int64_t shown, std::int64_t skew) = 0;
  virtual void on_clock_ahead(instant sent, std::int64_t shown, std::int64_t skew) = 0;
  /// What became of a round is in `state()`.
  virtual void on_round() = 0;
};

/// Raises the ceiling of tokens and the horizon of ends (see lua/fence.lua), waits until the replicas have
/// them, and confirms them. A round:
///
///     INFO           who is there? A primary that lost its place and got it back has another incarnation
///                    on the same connection: then all connections are made anew, and so learn of it
///     raise, WAIT    on that same connection
///     confirm        only under the incarnation of the raise
///
/// Without enough acknowledgements nothing is confirmed, and grants stop by themselves when tokens reach the
/// ceiling: also on a primary that does not know that it is not one any more.
///
/// On a Cluster the slot may be moved to another server, which loses nothing, or come to one by a failover.
/// Who finds the record of another incarnation is told of that (`moved`); the raise says whether it is known
/// that the slot was given away (see handover.hpp). Until it has arrived, rounds are tried again for as long
/// as those who wait for them have time.
///
/// Invariant: an end that `covers` says yes to is not beyond a horizon that the replicas have confirmed, in
/// the store that told it. One strand; calls back from the client's answers, never from inside of a call, but
/// for `stop`.
class fence_keeper {
 public:
  struct settings {
    std::string rules;              ///< as ask::common made them
    std::vector<std::string> keys;  ///< of every call
    bool cluster = false;
    failover_terms terms;
    duration ahead{};  ///< of tokens: how long a primary that has lost its replicas goes on
    duration call_timeout{};
    bool plant_trusted_moves = false;
  };
  fence_keeper(boost::asio::io_context& io, redis_client& client, const clock& network_time, settings s,
               fence_keeper_user& user)
      : client_(client),
        network_time_(network_time),
        settings_(std::move(s)),
        user_(user),
        rest_(io, network_time, [this] { begin(); }) {}

  /// `done(true)`: the ceiling is ahead of the store's time again.
  void raise(unique_function<void(bool)> done);
  /// Whether an end that was answered over this connection can be told: a failover would be followed by a
  /// pause until then.
  [[nodiscard]] bool covers(std::int64_t store_end, std::uint64_t connection) const noexcept;
  /// For what is not covered. `done(true)`: it is now, or the replicas have all that was decided over that
  /// connection until this call.
  void secure(std::int64_t store_end, std::uint64_t connection, unique_function<void(bool)> done);
  /// Looks who is there, if nobody has for a while.
  void look();
  /// The main connection that answers come over from now on.
  void on_connected(std::uint64_t connection, std::string_view incarnation);
  /// A script was run by the slot's server, asked at `sent`, over that connection.
  void on_answered(std::uint64_t connection, instant sent) noexcept {
    for (auto& m : main_)
      if (m.connection == connection) m.answered_at = sent;
  }
  /// Nobody waits any more.
  void stop();

  struct state {
    replica_state replicas;
    confirmation last;        ///< of the newest round that got as far as that
    std::int64_t closed = 0;  ///< until when nothing is granted, by the store's clock
    bool emptied = false;     ///< the store had lost its record
    bool blind = false;       ///< on a Cluster: CLUSTER NODES is forbidden, and replicas may not be known
    std::string trouble;      ///< why the newest round failed
  };
  [[nodiscard]] const state& now() const noexcept { return state_; }
  void note_closed(std::int64_t until) { state_.closed = until; }

 private:
  struct wish {
    std::uint64_t connection = 0;  // 0: any
    bool again = false;            // it was asked for before, of a store that is not the one any more
    instant until{};               // on a Cluster: so long it may be tried again, where no answer comes
    unique_function<void(bool)> done;
  };
  void begin();
  void on_info(const response& got);
  void count_replicas(const reply& nodes);
  void raise_over(std::uint64_t connection, std::string_view fate = {}, std::string_view former = {});
  void on_raised(const response& got, instant sent, std::uint64_t connection);
  void judge_move(std::uint64_t connection, std::string former);
  void give_up_decisions();
  [[nodiscard]] bool may_doubt();
  void confirm_over(std::uint64_t connection, std::int64_t ceiling, std::int64_t horizon);
  void ask_later(unique_function<void(bool)> done, std::uint64_t connection);
  void lost_touch(const failure& why);
  void renew_connections(std::string why);
  void finish(bool confirmed);
  [[nodiscard]] instant by() const;
  [[nodiscard]] const std::string* incarnation_of(std::uint64_t connection) const noexcept;

  redis_client& client_;
  const clock& network_time_;
  const settings settings_;
  fence_keeper_user& user_;

  bool running_ = false, stopped_ = false, elsewhere_ = false, out_of_touch_ = false;
  std::vector<wish> waiting_, served_;  // for the next raise; by the one that is under way
  instant looked_at_{};
  newcomer_facts said_;  // by the server, of itself
  std::string seen_;     // the incarnation, by the newest INFO
  std::int64_t connected_replicas_ = 0, known_replicas_ = 0, listed_replicas_ = 0;
  alarm rest_;  // between two rounds that nobody has answered
  unsigned failures_ = 0;
  std::optional<instant> in_doubt_since_;  // network time: moved or lost? It cannot be told yet
  std::string moved_from_, moved_to_;      // the incarnations, once that is known
  struct main_connection {
    std::uint64_t connection = 0;
    std::string incarnation;
    std::optional<instant> answered_at;  // when the newest question was sent that it brought an answer to
  };
  main_connection main_[2];    // the newest ones
  std::string confirmed_for_;  // the incarnation of these:
  std::int64_t ceiling_ = 0, horizon_ = 0;
  state state_;
};

}  // namespace dislock::redis
