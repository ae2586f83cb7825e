// The flags that say how a lock is asked for, the same in `run`, `acquire` and `elect`.
#pragma once

#include "command.hpp"

#include <optional>
#include <string>
#include <vector>

namespace dislock::cli {

struct lock_flags {
  std::optional<duration> wait, lock_delay;
  bool only_try = false, shared = false, exclusive = false;
  std::optional<std::uint32_t> permits, limit;
  std::vector<std::string> metadata;  ///< `key=value`
};

void declare_lock_flags(CLI::App& app, lock_flags& into);

/// The options that the flags mean, or the sentence that says why they cannot be.
struct lock_wish {
  acquire_options options;
  std::string wrong;
};
[[nodiscard]] lock_wish wish_of(const lock_flags& flags);

constexpr duration longest_wait = std::chrono::seconds(600);

}  // namespace dislock::cli
