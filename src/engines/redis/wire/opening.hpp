// What is said on a new connection before anything else.
#pragma once

#include "engines/redis/wire/reply.hpp"
#include "engines/redis/wire/server_facts.hpp"
#include "engines/redis/wire/url.hpp"

#include <span>
#include <string>
#include <vector>

namespace dislock::redis {

/// A script, and how it is called.
struct script {
  explicit script(std::string text);
  std::string body, digest;
  std::string by_digest, by_body;  ///< the first two words of the call, encoded
};

/// `AUTH`, `SELECT`, `CLIENT SETNAME`, `INFO`, `SCRIPT LOAD`, all in one write; then their answers, one by
/// one. No I/O, no time.
class opening {
 public:
  struct terms {
    const credentials* login = nullptr;
    unsigned database = 0;
    std::string_view name;
    bool facts = false;
    std::span<const script> scripts;
  };
  explicit opening(const terms& t) : terms_(t) {}

  /// Appends the commands; how many answers they have. Once.
  [[nodiscard]] std::size_t write(std::string& out);
  /// The next answer. Empty, or why this connection cannot be used: a sentence without secrets.
  [[nodiscard]] std::string take(reply&& got);
  [[nodiscard]] bool complete() const noexcept { return taken_ == steps_.size(); }
  [[nodiscard]] server_facts& facts() noexcept { return facts_; }

 private:
  enum class step : std::uint8_t { login, database, name, facts, script };

  const terms terms_;
  std::vector<step> steps_;
  std::size_t taken_ = 0, scripts_taken_ = 0;
  server_facts facts_;
};

}  // namespace dislock::redis
