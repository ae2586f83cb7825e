// What is published.
#pragma once

#include "engines/redis/wire/lane.hpp"

namespace dislock::redis {

/// Told by its subscriber, which it may detach or attach elsewhere, but not destroy.
class subscriber_user {
 public:
  virtual void on_message(std::string_view channel, std::string_view text) = 0;
  /// From now on all channels are heard. What was published before may have been missed.
  virtual void on_subscribed() = 0;
  /// It is detached.
  virtual void on_subscription_lost(std::string_view why) = 0;

 protected:
  ~subscriber_user() = default;
};

/// A connection for messages alone, to one server at a time. Where to, and when again, is its user's
/// decision.
class subscriber final : private connection_user {
 public:
  /// `login` must outlive it.
  subscriber(wiring& w, const credentials& login, subscriber_user& user);
  ~subscriber();

  /// More channels; heard from the next `on_subscribed` on.
  void add(const std::vector<std::string>& channels);
  /// REQUIRES: detached.
  void attach(const address& to);
  void detach() noexcept;
  [[nodiscard]] bool attached() const noexcept { return connection_ != nullptr; }
  [[nodiscard]] const address& peer() const noexcept { return peer_; }
  [[nodiscard]] bool has_channels() const noexcept { return !channels_.empty(); }

 private:
  void on_connected(connection& c) override;
  void on_reply(connection& c, request* to, reply&& got) override;
  void on_lost(connection& c, std::string_view why) override;

  void subscribe(std::size_t from);
  void ring();
  void lose(std::string_view why);

  wiring& wiring_;
  const credentials& login_;
  subscriber_user& user_;
  std::vector<std::string> channels_;
  std::size_t confirmed_ = 0;
  std::shared_ptr<connection> connection_;
  std::optional<opening> opening_;
  address peer_;
  bool listening_ = false;
  instant pinged_ = never;
  alarm alarm_;
};

}  // namespace dislock::redis
