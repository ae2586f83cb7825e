// Everything about the store that can make its answers less than they seem: its clock, its replicas, its
// settings.
#pragma once

#include "engine/engine.hpp"
#include "engine/loop.hpp"
#include "engines/redis/clock_guard.hpp"
#include "engines/redis/fence_keeper.hpp"

#include <memory>
#include <string>
#include <vector>

namespace dislock::redis {

/// What an engine on Redis relies on beside its own decisions: see clock_guard, fence_keeper and
/// store_checks. Keeps `about` true. Never silent: what is found is logged when it changes, and stands in
/// `health`.
///
/// One strand. Outlives the client's calls.
class store_watch final : private fence_keeper_user {
 public:
  struct settings {
    std::string rules;              ///< as ask::common made them
    std::vector<std::string> keys;  ///< of every call; the first is the fence
    store_url::kind what{};
    failover_terms terms;
    duration ahead{}, call_timeout{};
    bool plant_trusted_moves = false;
  };
  store_watch(boost::asio::io_context& io, redis_client& client, const loop& where, const clock& network_time,
              settings s, capabilities& about);

  // --- connections
  void on_opening(const newcomer& who, const server_facts& facts);
  void on_connected(const server_facts& facts, std::uint64_t connection);
  /// Now and then: what has to be done without anybody asking.
  void tend();
  void stop();

  // --- the clock
  /// For the script: as a number, or nothing.
  [[nodiscard]] std::string latest() const;
  [[nodiscard]] std::optional<std::int64_t> latest_store_time() const noexcept override;
  [[nodiscard]] std::optional<std::int64_t> earliest_store_time() const noexcept override;
  void on_answer(instant sent, const time_relation& shown);
  /// The script decided nothing because of its clock. `again(true)`: ask it once more.
  void on_clock_ahead(instant sent, std::int64_t shown, std::int64_t skew, unique_function<void(bool)> again);

  [[nodiscard]] fence_keeper& fence() noexcept { return keeper_; }
  [[nodiscard]] const fence_keeper& fence() const noexcept { return keeper_; }
  void describe(engine_health& health) const;

 private:
  [[nodiscard]] instant now() const noexcept override { return loop_.now(); }
  void on_store_time(instant sent, std::int64_t shown, std::int64_t skew) override;
  void on_clock_ahead(instant sent, std::int64_t shown, std::int64_t skew) override;
  void on_round() override;

  void read_skew();
  clock_guard::finding observe(instant sent, std::int64_t shown);
  void measure();
  void step(instant sent, instant received, std::int64_t shown, int tries);
  void tell_step(std::int64_t before, unique_function<void(std::optional<bool>)> done);
  void agree(bool usable);
  void check();
  void on_checked(const response& got);
  void grade_again();
  [[nodiscard]] instant by() const { return later(network_time_.now(), settings_.call_timeout); }

  redis_client& client_;
  const loop& loop_;
  const clock& network_time_;
  const settings settings_;
  capabilities& about_;
  fence_keeper keeper_;

  std::string incarnation_;  // of the main connection
  clock_guard clock_;
  std::optional<std::int64_t> skew_;                // of the store's clock, by what the store knows
  std::vector<unique_function<void(bool)>> asked_;  // who waits for the clock to be measured
  std::uint64_t steps_forward_ = 0, steps_backward_ = 0;
  instant stepped_back_at_{};

  instant checked_at_{};
  bool checking_ = false, ever_checked_ = false, stopped_ = false;
  store_verdict found_;
  std::string refused_;  // why the newest connection was
};

}  // namespace dislock::redis
