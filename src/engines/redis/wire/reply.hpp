// What Redis answers, as a value, and how it comes out of bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

struct redisReader;

namespace dislock::redis {

/// One RESP2 reply.
struct reply {
  enum class kind : std::uint8_t { nil, status, error, integer, bulk, array };

  kind is = kind::nil;
  std::int64_t number = 0;   ///< integer
  std::string text;          ///< status, error, bulk
  std::vector<reply> items;  ///< array

  [[nodiscard]] bool failed() const noexcept { return is == kind::error; }
  /// The code word of an error (`READONLY`); empty for all else. Redis 6 wraps what a command inside of a
  /// script answered into a sentence of its own: then it is the word of that command.
  [[nodiscard]] std::string_view error_word() const noexcept;
  /// A nil reply in place of an item that is not there.
  [[nodiscard]] const reply& at(std::size_t index) const noexcept;
};

/// What one reply may take. Whoever sends more is not a Redis that we want to talk to.
struct reply_limits {
  std::size_t bytes = std::size_t{16} << 20;  ///< of memory, counted without the slack of strings and vectors
  std::size_t items = std::size_t{1} << 18;   ///< in all its arrays together
  std::size_t depth = 7;                      ///< arrays inside of arrays; hiredis knows no more than 7
};

/// Bytes in, in any pieces; replies out. Holds at most one reply's limit more than it was fed at once.
/// After `failed` nothing follows: replies have no names, so what comes next cannot be told apart.
class reply_reader {
 public:
  enum class progress : std::uint8_t { complete, need_more, failed };

  explicit reply_reader(const reply_limits& limits = {});
  ~reply_reader();
  reply_reader(const reply_reader&) = delete;
  reply_reader& operator=(const reply_reader&) = delete;

  void feed(std::string_view bytes);
  /// The next complete reply, if there is one.
  [[nodiscard]] progress next(reply& out);
  [[nodiscard]] std::string_view failure() const noexcept { return failure_; }

  /// What hiredis calls back, and the tree that grows from it; known to reply.cpp.
  struct growth;

 private:
  const reply_limits limits_;
  std::unique_ptr<growth> growth_;
  redisReader* reader_;
  std::string failure_;
};

}  // namespace dislock::redis
