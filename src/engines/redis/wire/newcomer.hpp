// A connection that nobody uses yet.
#pragma once

#include "base/unique_function.hpp"
#include "engines/redis/wire/call.hpp"
#include "engines/redis/wire/reply.hpp"

#include <cstdint>
#include <memory>
#include <string_view>

namespace dislock::redis {

class lane;

/// Whoever holds it asks the server what has to be known, or settles what has to be settled, before any call
/// may use the connection, and then accepts or refuses it. Meanwhile the calls wait, each until its deadline;
/// the connect timeout counts for all of it, and a newcomer that nobody accepts is refused by then.
///
/// May be copied and kept: once the connection has ended, or was accepted or refused, nothing happens here
/// any more, and no `done` is called.
class newcomer {
 public:
  newcomer(std::shared_ptr<lane*> on, std::uint64_t number) noexcept
      : lane_(std::move(on)), number_(number) {}

  /// Its number, as in the replies that it will bring.
  [[nodiscard]] std::uint64_t connection() const noexcept { return number_; }
  /// In the order of the calls, errors included, also NOSCRIPT: nothing is repeated here.
  void ask(command_words words, unique_function<void(reply)> done) const;
  /// REQUIRES: no `then`.
  void run(const script_call& what, unique_function<void(reply)> done) const;
  void accept() const;
  /// It is closed, and after a rest another one is made.
  void refuse(std::string_view why) const;

 private:
  [[nodiscard]] lane* on() const noexcept;

  std::shared_ptr<lane*> lane_;  // null after its end
  std::uint64_t number_;
};

}  // namespace dislock::redis
