// Who knows where the primary is.
#pragma once

#include "engines/redis/wire/question.hpp"
#include "engines/redis/wire/subscriber.hpp"

#include <list>

namespace dislock::redis {

/// What a Sentinel says of the master: `SENTINEL MASTER name`.
struct sighting {
  address primary;
  std::int64_t epoch = -1;    ///< of the configuration; a Sentinel that missed a failover has an older one
  bool switching = false;     ///< a failover is under way: it has the new epoch, and still the old address
  std::int64_t replicas = 0;  ///< that it knows
};
[[nodiscard]] std::optional<sighting> parse_sighting(const reply& fields);
/// `a` knows more than `b`.
[[nodiscard]] bool is_newer(const sighting& a, const sighting& b) noexcept;
/// The new address, if this `+switch-master` is about `master`.
[[nodiscard]] std::optional<address> parse_switch(std::string_view message, std::string_view master);

/// Asks all Sentinels of the list at the same time, and believes the one with the newest configuration. Asks
/// again when one of them says `+switch-master` (which may come late, after another one: the message alone is
/// not believed), and now and then. Whether that primary takes itself for one is for the caller to check.
class sentinels {
 public:
  using found = boost::system::result<address, refusal>;

  /// `moved` is called when the primary is not, or no longer, where `find` last said.
  sentinels(wiring& w, unique_function<void(const address&)> moved);
  ~sentinels();

  void start();
  /// The answer may come before this returns.
  void find(completion<found> done);
  /// What `find` said last did not work: it has to ask again.
  void doubt() noexcept { known_.reset(); }
  /// The replicas that the Sentinels know; -1 before the first answer.
  [[nodiscard]] std::int64_t replicas() const noexcept { return replicas_; }

 private:
  class ear;

  void ask();
  void on_answer(std::size_t which, question::result&& got);
  void conclude();
  void check();

  wiring& wiring_;
  unique_function<void(const address&)> moved_;
  const std::string_view command_[3];
  std::vector<std::unique_ptr<ear>> ears_;
  std::vector<std::unique_ptr<question>> asked_;  // one for each Sentinel, while a round is under way
  std::vector<std::string> refusals_;
  std::vector<completion<found>> finders_;
  std::optional<sighting> best_;
  std::optional<address> known_;
  std::int64_t replicas_ = -1;
  std::size_t open_ = 0;
  bool checking_ = false;   // somebody has to be told if the primary is elsewhere
  bool ask_again_ = false;  // the round that is under way may have begun too early
  alarm patience_, now_and_then_;
};

}  // namespace dislock::redis
