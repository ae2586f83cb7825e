// Why a call did not do what it was asked, as a value.
#pragma once

#include "dislock/clock.hpp"
#include "dislock/errc.hpp"
#include "dislock/export.hpp"
#include "dislock/types.hpp"

#include <boost/assert/source_location.hpp>
#include <boost/system/result.hpp>

#include <stdexcept>
#include <string>
#include <vector>

namespace dislock {

/// What kept a call from succeeding, with what helps to understand it.
///
/// `code` is the interface; sentences may change. `effect_of(code)` says whether the call may have changed
/// anything: `effect::none`, or `effect::unknown` when an answer was lost (the library settles that in the
/// background).
struct error {
  errc code{};
  std::string lock;                     ///< the lock it is about; empty if it is about none
  duration waited{};                    ///< how long the call waited in all
  std::vector<holder> holders;          ///< who has the lock; at most 10
  std::size_t holder_count = 0;         ///< all of them
  std::size_t queue_length = 0;         ///< others that wait
  std::vector<cycle_step> cycle;        ///< deadlock_detected: the cycle, step by step
  end_reason ended = end_reason::none;  ///< lock_not_held: how the lease ended, if that is known
  std::string detail;                   ///< what else is known: a field, an address; never a secret

  /// A sentence for people and logs: what failed, on which lock, after how long, and who holds it.
  [[nodiscard]] DISLOCK_API std::string message() const;
  /// The same call, with the same arguments, can succeed later.
  [[nodiscard]] DISLOCK_API bool retryable() const noexcept;
};

/// What `result<T>::value()` throws for those who prefer exceptions. Nothing else in the library throws, but
/// for lack of memory.
class DISLOCK_API exception : public std::runtime_error {
 public:
  explicit exception(error why) : std::runtime_error(why.message()), why_(std::move(why)) {}
  [[nodiscard]] const error& why() const noexcept { return why_; }
  [[nodiscard]] errc code() const noexcept { return why_.code; }

 private:
  error why_;
};

/// A value, or the `error` that kept us from it. `*r` needs `if (r)` before it; `r.value()` throws
/// `exception`.
template <class T>
using result = boost::system::result<T, error>;

/// For `result::value()`.
[[noreturn]] inline void throw_exception_from_error(const error& why, const boost::source_location&) {
  throw exception(why);
}

}  // namespace dislock
