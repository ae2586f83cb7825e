// How a command ends, as scripts see it. docs/guide/cli.md promises these numbers.
#pragma once

#include "dislock/errc.hpp"

namespace dislock::cli {

enum class exit_code : int {
  ok = 0,
  negative = 1,      ///< the answer to a question is no
  usage = 2,         ///< flags, arguments, configuration
  not_acquired = 3,  ///< held by others, or the wait is over
  not_held = 4,      ///< not the owner, or lost
  unreachable = 5,   ///< no answer, or one that leaves the outcome open
  deadlock = 7,      ///< this wait was refused to break a cycle
  limit = 8,         ///< refused by a limit

  // `run` and `elect -- CMD` keep 0-121 for the command.
  run_lost = 122,
  run_not_acquired = 124,
  run_failed = 125,
  run_not_executable = 126,
  run_not_found = 127,
};

[[nodiscard]] constexpr exit_code after_signal(int number) noexcept {
  return static_cast<exit_code>(128 + number);
}

[[nodiscard]] exit_code exit_code_of(errc code) noexcept;

}  // namespace dislock::cli
