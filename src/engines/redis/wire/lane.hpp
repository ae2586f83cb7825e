// One ordered stream of commands to one server, over as many connections as it takes, one at a time.
#pragma once

#include "engines/redis/wire/alarm.hpp"
#include "engines/redis/wire/connection.hpp"
#include "engines/redis/wire/newcomer.hpp"
#include "engines/redis/wire/opening.hpp"
#include "engines/redis/wire/request.hpp"

#include <deque>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dislock::redis {

/// What everything in a client shares.
struct wiring {
  boost::asio::io_context& io;
  const clock& time;
  const store_url& url;
  boost::asio::ssl::context* tls;
  std::span<const script> scripts;
  reply_limits replies;
  std::size_t max_in_flight;
  std::uint64_t connections = 0;  ///< that lanes have made: the last one's number
  std::minstd_rand random{std::random_device{}()};

  [[nodiscard]] double chance() { return std::uniform_real_distribution<>(0, 1)(random); }
};

/// Told, and asked, by its lanes. No member may destroy the lane that calls it.
class lane_host {
 public:
  /// Where to connect to? Answered by `lane::located`, now or later.
  virtual void locate(lane& l) = 0;
  /// Empty, or why this server cannot be used by this lane.
  virtual std::string refuse(const lane& l, const server_facts& facts) = 0;
  /// That is all that the client asks; what of the engine? Answered by `lane::accept` or `turn_away`, now or
  /// later.
  virtual void greet(lane& l, const newcomer& who) = 0;
  virtual void on_ready(lane& l) = 0;
  /// It was ready.
  virtual void on_lost(lane& l, std::string_view why) = 0;
  /// It could not become ready; it tries again.
  virtual void on_trouble(lane& l, std::string_view why) = 0;
  /// `refused`, a part of `all` that was said, is more than a reply: what is to become of `r`?
  virtual void on_verdict(lane& l, request& r, const reply& refused, reply&& all) = 0;
  virtual void settle(request& r, response&& outcome) = 0;
  /// Tells those who are settled. Called last.
  virtual void deliver() = 0;

 protected:
  ~lane_host() = default;
};

/// The life of a lane:
///   asleep -> locating -> opening -> greeting -> ready -> (draining ->) resting -> locating ...
/// It wakes up for the first call, and goes back to sleep after the end of a connection if nobody needs it.
///
/// Invariants
/// 1. A request whose command was not wholly written is never lost with a connection: it keeps its place in
///    the queue, unless it was bound to that connection.
/// 2. No request is written to a connection before its opening is complete, so that every script is known
///    there, and before the engine has accepted it.
/// 3. Requests are written in the order in which they came; those that come back after a refusal go before
///    all that were not written yet.
class lane final : private connection_user {
 public:
  lane(wiring& w, lane_host& host, lane_kind kind, address fixed);
  ~lane();
  lane(const lane&) = delete;
  lane& operator=(const lane&) = delete;

  /// Takes the request to the end of its queue.
  void submit(request& r);
  /// As one that was refused here, and may be asked again.
  void resubmit(request& r);
  /// Ensures a connection, also without a call.
  void wake();
  /// The request's deadline has passed; it is settled.
  void expire(request& r);
  /// No command follows on this connection; when the replies to the earlier ones have come, or do not come
  /// soon, another connection is made.
  void replace(std::string_view why);
  /// NOSCRIPT came for `r`. The first of those that were under way brings the text, the others come behind
  /// it.
  void on_unknown_script(request& r);
  /// The host's answer to `locate`.
  void located(boost::system::result<address, refusal> where);
  /// What waits for being written, for another lane. Its connection goes on.
  [[nodiscard]] request_list take_queue();
  /// The end: settles everything.
  void stop();

  // For the newcomer's holder.
  /// This connection waits for being accepted.
  [[nodiscard]] bool is_new(std::uint64_t number) const noexcept {
    return phase_ == phase::greeting && number == number_;
  }
  void ask(command_words words, unique_function<void(reply)> done);
  void run(const script_call& what, unique_function<void(reply)> done);
  void accept();
  void turn_away(std::string_view why);

  [[nodiscard]] lane_kind kind() const noexcept { return kind_; }
  [[nodiscard]] bool ready() const noexcept { return phase_ == phase::ready; }
  [[nodiscard]] bool idle() const noexcept;
  /// Of its connection, if there is one.
  [[nodiscard]] std::uint64_t number() const noexcept { return number_; }
  /// REQUIRES: ready.
  [[nodiscard]] instant ready_since() const noexcept { return ready_since_; }
  /// REQUIRES: ready, or just lost.
  [[nodiscard]] const server_facts& facts() const noexcept { return facts_; }
  /// Where it is connected to, or tries to be.
  [[nodiscard]] const address& peer() const noexcept { return peer_; }
  /// Where it may be connected to only; empty: wherever the host says.
  [[nodiscard]] const address& fixed() const noexcept { return fixed_; }
  /// Why it is not ready.
  [[nodiscard]] const std::string& trouble() const noexcept { return trouble_; }

 private:
  enum class phase : std::uint8_t { asleep, locating, opening, greeting, ready, draining, resting, stopped };

  void on_connected(connection& c) override;
  void on_reply(connection& c, request* to, reply&& got) override;
  void on_writable(connection& c) override;
  void on_read_over(connection& c) override;
  void on_lost(connection& c, std::string_view why) override;

  void begin();
  void ring();
  void turn_soon();
  void turn();
  void write(request& r, instant now);
  void expect_greeting(unique_function<void(reply)> done);
  void answered(request& r, reply&& got);
  [[nodiscard]] bool cannot_use(const request& r) const noexcept;
  void end_bound();
  void watch();
  void lose(std::string_view why);

  wiring& wiring_;
  lane_host& host_;
  const lane_kind kind_;
  const address fixed_;
  phase phase_ = phase::asleep;
  std::shared_ptr<connection> connection_;
  std::uint64_t number_ = 0;
  std::optional<opening> opening_;
  std::deque<unique_function<void(reply)>> greeting_;  // who wants the next replies
  server_facts facts_;
  address peer_;
  std::string trouble_ = "not connected yet";
  request_list returned_, queue_;  // to be written: these, then those
  std::vector<unsigned> script_epochs_;
  unsigned failures_ = 0;  // in a row
  instant ready_since_{};
  bool wanted_ = false;  // also without a call
  bool turn_posted_ = false;
  unsigned unwritten_ = 0;        // submitted since the last turn
  instant pinged_ = never;        // when, if that is not yet answered
  instant silent_since_ = never;  // a call was sent then, and got no answer by its deadline
  alarm alarm_;
  std::shared_ptr<lane*> self_;  // for what was posted: null after the end
};

}  // namespace dislock::redis
