// One command to one server, over a connection of its own.
#pragma once

#include "engines/redis/wire/lane.hpp"

namespace dislock::redis {

/// Silent once it is destroyed; may be destroyed by `done`, which is called once, never before the
/// constructor returned.
class question final : private connection_user {
 public:
  using result = boost::system::result<reply, refusal>;

  /// `login` and what `command` refers to must outlive it.
  question(wiring& w, const credentials& login, const address& to, std::span<const std::string_view> command,
           completion<result> done);
  ~question();

 private:
  void on_connected(connection& c) override;
  void on_reply(connection& c, request* to, reply&& got) override;
  void on_lost(connection& c, std::string_view why) override;
  void finish(result&& outcome);

  const credentials& login_;
  const std::span<const std::string_view> command_;
  completion<result> done_;
  std::shared_ptr<connection> connection_;
  std::optional<opening> opening_;
  alarm alarm_;
};

}  // namespace dislock::redis
