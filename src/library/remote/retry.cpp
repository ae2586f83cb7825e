#include "library/remote/retry.hpp"

#include <algorithm>

namespace dislock::library::remote {
namespace {

using std::chrono::milliseconds;

constexpr duration first_pause = milliseconds(50);
constexpr duration longest_pause = milliseconds(2000);
constexpr duration worth_a_try = milliseconds(20);  // less time than that is not worth another try

}  // namespace

retries::step retries::after(try_end how, std::optional<duration> retry_after, instant now,
                             std::size_t places, double chance) noexcept {
  if (how == try_end::no_answer || how == try_end::doubtful) doubt_ = doubt_ || out_;
  if (how == try_end::stale) doubt_ = doubt_ || out_;  // it closed just then, perhaps after it had read us
  if (how != try_end::stale) interrupted_ = true;
  out_ = false;

  const auto left = limit() - now;
  if (left <= duration::zero()) return {step::kind::give_up};
  if (how == try_end::stale) return {step::kind::at_once};
  if (++round_ < places) return {step::kind::at_once};
  if (!terms_.persistent) return {step::kind::give_up};
  if (left < worth_a_try) return {step::kind::give_up};

  round_ = 0;
  auto pause = std::min(longest_pause, first_pause * (1 << std::min(rounds_++, 6U)));
  pause = duration(static_cast<duration::rep>(static_cast<double>(pause.count()) * (0.5 + 0.5 * chance)));
  // As long as the service asks for, but not longer than we would wait at most: it does not know our
  // patience.
  if (retry_after) pause = std::max(pause, std::min(*retry_after, longest_pause));
  return {step::kind::later, now + std::min(pause, left / 2)};
}

}  // namespace dislock::library::remote
