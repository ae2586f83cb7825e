// Carries calls to the service and their outcomes back.
#pragma once

#include "core/deadline_queue.hpp"
#include "dislock/options.hpp"
#include "library/backend.hpp"
#include "library/remote/connection.hpp"
#include "library/remote/endpoints.hpp"
#include "library/remote/retry.hpp"
#include "library/strand.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/intrusive/list.hpp>
#include <boost/unordered/unordered_flat_map.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace dislock::library::remote {

class courier;

/// One request, as text; the courier adds what belongs to the place it goes to.
struct request_text {
  std::string_view method = "POST";
  std::string target, body;
};

/// Which connections a call may take.
enum class lane : std::uint8_t {
  quick,  ///< any
  waits,  ///< all but a few: those who hold locks must be able to keep and release them
};

/// What a call makes of a reply.
struct ruling {
  enum class kind : std::uint8_t {
    finished,    ///< the outcome is known, and kept by the call
    ask_again,   ///< still queued there: the next request follows on the same connection
    start_anew,  ///< the request is over there, the call is not: ask for something new
    refused,     ///< `why`: try elsewhere or later; nothing was done
    doubtful,    ///< `why`: as `refused`, but something may have been done
    nonsense,    ///< not what the contract says
  } what = kind::finished;
  error why{};
};

/// What `code` says about trying again: refusals that another place or time may not repeat.
[[nodiscard]] ruling::kind ruling_of(errc code) noexcept;

/// What somebody is to be told in the strand.
class outcome {
 public:
  virtual ~outcome() = default;
  /// Once.
  virtual void deliver() = 0;

 private:
  friend class courier;
  std::unique_ptr<outcome> next_;
};

/// One logical call, over as many tries as it takes. Owned by the courier from `start` to its end.
class call : public outcome, public dislock::core::timed, public boost::intrusive::list_base_hook<> {
 public:
  struct terms {
    lane on = lane::quick;
    retry_terms retry;
    std::size_t body_limit = std::size_t{1} << 20;
    bool outside = false;  ///< `deliver` is called on the courier's thread, not on the strand
  };
  explicit call(const terms& t)
      : dislock::core::timed(dislock::core::timer_kind::waiter), terms_(t), tries_(t.retry) {}

  /// The request of the next try.
  virtual void write(request_text& to, instant now) = 0;
  /// How long the service may take to answer it.
  [[nodiscard]] virtual duration patience(instant now) const = 0;
  [[nodiscard]] virtual ruling on_reply(const reply& got, instant sent) = 0;
  /// No try follows.
  virtual void fail(error why) = 0;
  /// The limit came while it had no connection, and nothing can have been done.
  virtual void never_sent(error why) { fail(std::move(why)); }

 protected:
  [[nodiscard]] retries& tries() noexcept { return tries_; }

 private:
  friend class courier;
  enum class phase : std::uint8_t { queued, connecting, sent, resting, over };

  const terms terms_;
  retries tries_;
  std::shared_ptr<connection> on_;
  instant sent_at_{};
  std::uint64_t number_ = 0;  // 0: nobody will abandon it
  std::optional<error> last_refusal_;
  phase phase_ = phase::queued;
  bool fresh_ = false;  // the next try needs a new connection
};

/// The connections to all places, who uses them, and who waits for one.
///
/// Lives on one thread, which runs the io_context. Outcomes are delivered in the strand, several at a time:
/// the last thing that each handler does.
///
/// Invariants
/// 1. A connection carries one call at a time; a call has at most one connection.
/// 2. Calls of the `waits` lane leave `reserved` connections of each place alone.
/// 3. Every call that was started is delivered exactly once.
class courier final : private connection_user {
 public:
  courier(boost::asio::io_context& io, std::vector<endpoint> places, const client_options& options,
          strand& on);

  void start(std::unique_ptr<call> c, std::uint64_t number = 0);
  void abandon(std::uint64_t number);
  /// Ends all calls: `outcome_unknown` for what may have been done. Then `done`, in the strand. Nothing
  /// follows.
  void stop(unique_function<void()> done);
  /// Has something delivered that needed no call.
  void tell(std::unique_ptr<outcome> what);
  /// Delivers what is over. To be called by whoever enters the thread from outside, last.
  void flush();
  /// Does one thing that is due on this thread, or waits for one. For those who were told something here, and
  /// wait for something else before they come back.
  void help();

  [[nodiscard]] instant now() const noexcept { return strand_.now(); }
  [[nodiscard]] const std::vector<endpoint>& places() const noexcept { return places_; }
  /// For those who keep a connection of their own.
  [[nodiscard]] std::size_t pick() const noexcept { return choice_.pick(now()); }
  void worked(std::size_t place) noexcept { choice_.worked(place); }
  void failed(std::size_t place, std::string_view why);
  [[nodiscard]] double chance() { return std::uniform_real_distribution<>(0, 1)(random_); }
  /// What is wrong with each place, as far as is known.
  [[nodiscard]] std::string reasons() const;

 private:
  struct place_state {
    std::vector<std::shared_ptr<connection>> idle;  // the one used last at the end
    std::size_t open = 0;                           // idle, in use or coming about
    std::size_t waiting = 0;                        // in use by the `waits` lane
    std::string last_failure;
  };
  using call_list = boost::intrusive::list<call, boost::intrusive::constant_time_size<false>>;

  void on_connected(connection& c) override;
  void on_reply(connection& c) override;
  void on_stream(connection&) override {}
  void on_lost(connection& c, std::string_view why) override;

  void enqueue(call& c);
  void pump();
  bool give_connection(call& c);
  void send(call& c);
  void settle(call& c, ruling&& r, std::optional<duration> retry_after);
  void try_ended(call& c, try_end how, std::optional<duration> retry_after = {});
  void give_up(call& c);
  void finish(call& c);
  void let_go(call& c, bool keep);
  void on_time();
  void arm();

  boost::asio::io_context& io_;
  const std::vector<endpoint> places_;
  const std::size_t limit_, reserved_;
  const duration connect_timeout_;
  strand& strand_;
  endpoint_choice choice_;
  std::vector<place_state> states_;
  boost::unordered_flat_map<std::uint64_t, call*> numbered_;
  call_list queues_[2], elsewhere_;  // each open call is in exactly one
  dislock::core::deadline_queue deadlines_;
  boost::asio::steady_timer timer_;
  instant armed_for_ = never;
  std::unique_ptr<outcome> over_;  // to be delivered, in order
  outcome* last_over_ = nullptr;
  unique_function<void()> stop_done_;
  request_text text_;
  std::string wire_;
  std::minstd_rand random_;
  bool flushing_ = false, stopped_ = false;
};

}  // namespace dislock::library::remote
