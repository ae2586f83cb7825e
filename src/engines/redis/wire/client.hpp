// Redis, as the engine sees it: calls in, answers out, whatever happens to servers in between.
#pragma once

#include "engines/redis/wire/call.hpp"
#include "engines/redis/wire/newcomer.hpp"
#include "engines/redis/wire/request.hpp"
#include "engines/redis/wire/server_facts.hpp"
#include "engines/redis/wire/url.hpp"

#include <boost/asio/io_context.hpp>

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dislock::redis {

struct client_settings {
  store_url url;  ///< not redlock: its servers are independent, and each has a client of its own
  /// On a Cluster: whoever serves this key is the server, for calls without a key, for `ready` and `facts`,
  /// and for the listener, who is told of it as if it were the only one. Empty: all nodes are the server. A
  /// script may touch any key of that slot if it names two, one of which never exists: then no server runs it
  /// while it has only a part of the slot, and the call waits.
  std::string home_key;
  std::vector<std::string> scripts;  ///< their texts; a `script_id` is a place in this list. Loaded by every
                                     ///< connection when it opens, and again where a server forgot them
  std::size_t max_open = 65536;      ///< calls without an answer; more are refused
  std::size_t max_in_flight =
      1024;  ///< of these, on one connection: what a broken connection can leave in doubt
  reply_limits replies;
};

/// What the server of a slot says of it that is served by another one now.
enum class departure : std::uint8_t {
  given_away,  ///< it is the primary that it was, and the slot is another's
  not_heard,   ///< it is, but takes the slot for its own: it was not told yet, or has been replaced
  unknown,     ///< it is not there, or not what it was
};

/// Told what happens to the connections. No member may stop or destroy the client.
class client_listener {
 public:
  virtual ~client_listener() = default;
  /// A connection to a primary, of either lane, is there: logged in, with the right database and all scripts.
  /// No call uses it before it is accepted, here or later.
  virtual void on_opening(const newcomer& who, const address& at, lane_kind lane, const server_facts& facts) {
    (void)at, (void)lane, (void)facts;
    who.accept();
  }
  /// The main connection to a primary was accepted: the first one, or another one.
  virtual void on_connected(const address& at, const server_facts& facts, std::uint64_t connection) = 0;
  virtual void on_lost(const address& at, std::string_view why) = 0;
  /// All channels are heard from now on. What was published before may have been missed.
  virtual void on_subscribed() = 0;
  virtual void on_message(std::string_view channel, std::string_view text) = 0;
};

/// Carries calls to a single Redis, to the primary that Sentinels name, or to the nodes of a Cluster, over
/// one connection to each server (two where the side lane is used) and one for messages.
///
/// A call ends with a reply, or with a `failure` that says exactly whether the command may have been
/// executed. It is written again only where the server said that it was not (NOSCRIPT, LOADING, READONLY,
/// MASTERDOWN, MOVED, ASK, TRYAGAIN, CLUSTERDOWN), and waits for a server only until its deadline. All other
/// errors of the server are replies; what a script did before its error is done. Calls of one lane and one
/// server are executed in the order in which they were made, as long as none of them is refused and written
/// again.
///
/// One thread, which runs the io_context. Answers come from the io_context, or from `stop` and the
/// destructor; never from inside of a call. The client must not be destroyed by an answer.
class redis_client {
 public:
  /// `invalid_field` for TLS files that cannot be used. Does nothing before `start`.
  [[nodiscard]] static result<std::unique_ptr<redis_client>> make(boost::asio::io_context& io,
                                                                  const clock& time, client_settings settings,
                                                                  client_listener& listener);
  ~redis_client();
  redis_client(const redis_client&) = delete;
  redis_client& operator=(const redis_client&) = delete;

  void start();
  /// Ends all calls. What was written has an unknown outcome.
  void stop();

  void call(const target& to, std::span<const std::string_view> words, instant deadline,
            completion<response> done);
  /// Commands that are executed one after another on one connection, though not as one: those of others may
  /// come in between. The reply is an array of theirs. Where any of them was refused because of where it
  /// went, all are written again, so they have to be such that this does no harm; once some may have been
  /// executed, a failure says `unknown`. REQUIRES: at least one.
  void call_together(const target& to, std::span<const command_words> commands, instant deadline,
                     completion<response> done);
  void run(const target& to, const script_call& what, instant deadline, completion<response> done);
  /// Asks the node of a Cluster that had this incarnation (or one that begins so) for the slot of the home
  /// key: was it moved away, or lost?
  void ask_former(std::string_view incarnation, instant deadline, completion<departure> done);
  /// More channels to listen to. `on_subscribed` follows.
  void subscribe(const std::vector<std::string>& channels);
  /// New connections in place of the present ones, which first get the answers that are under way: the
  /// incarnation that they know is no longer true.
  void reconnect(std::string_view why);

  /// Every server that is needed can be asked right now, as far as is known.
  [[nodiscard]] bool ready() const noexcept;
  /// Why not.
  [[nodiscard]] std::string trouble() const;
  /// What the server that serves `key` said of itself when it was connected; null while it is not.
  [[nodiscard]] const server_facts* facts(std::optional<std::string_view> key = std::nullopt) const noexcept;
  /// Since when, by the client's clock, there is the connection to the server of the home key of a Cluster.
  [[nodiscard]] std::optional<instant> serving_since() const noexcept;
  /// The replicas that the Sentinels know; -1 without Sentinels, or before their first answer.
  [[nodiscard]] std::int64_t known_replicas() const noexcept;
  /// Calls without an answer.
  [[nodiscard]] std::size_t open() const noexcept;

 private:
  class impl;
  explicit redis_client(std::unique_ptr<impl> i) noexcept;
  std::unique_ptr<impl> impl_;
};

}  // namespace dislock::redis
