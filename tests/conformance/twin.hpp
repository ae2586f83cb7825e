// Two engines that are asked the same, and the comparison of what they say.
#pragma once

#include "conformance.hpp"

#include <map>
#include <sstream>
#include <string>

namespace dislock::testing_engines {

/// An engine with its own clock, and what it has told.
struct twin_side {
  manual_clock time;
  recorder told;
  std::unique_ptr<engine_host> host;

  template <class T, class Call>
  T await(Call call) {
    std::optional<T> got;
    call(host->engine(), completion<T>([&got](T a) { got.emplace(std::move(a)); }));
    if (!host->run_until([&got] { return got.has_value(); }))
      throw std::runtime_error("a call has no answer");
    return std::move(*got);
  }
};

/// Compares values of a reference and of another engine: equal but for secrets, which are random, tokens, of
/// which only the order counts, and instants, which restarts move a little.
class comparison {
 public:
  /// What differed first; empty: nothing.
  [[nodiscard]] const std::string& difference() const { return difference_; }
  void allow_drift(duration d) { drift_ = d; }

  template <class T>
  void same(const char* what, const T& a, const T& b) {
    if (a == b) return;
    std::ostringstream text;
    text << what;
    if constexpr (requires { text << a; }) text << ": " << a << " here, " << b << " there";
    differ(text.str());
  }
  void same(const char* what, instant a, instant b) {
    if (a == b || (a != never && b != never && std::chrono::abs(a - b) <= drift_)) return;
    differ(std::string(what) + ": " + std::to_string((b - a).count()) + " us later there");
  }
  void same(const char* what, duration a, duration b) {
    if (std::chrono::abs(a - b) > drift_)
      differ(std::string(what) + ": " + std::to_string((b - a).count()) + " us longer there");
  }
  void same(const char* what, std::optional<instant> a, std::optional<instant> b) {
    same(what, a.has_value(), b.has_value());
    if (a && b) same(what, *a, *b);
  }
  // The tokens of one grant belong together; for their order, see `rises`.
  void same(const char* what, fencing_token a, fencing_token b) {
    if (tokens_.try_emplace(a, b).first->second != b)
      differ(std::string(what) + ": the token of another grant");
  }
  void same(const char* what, std::optional<fencing_token> a, std::optional<fencing_token> b) {
    same(what, a.has_value(), b.has_value());
    if (a && b) same(what, *a, *b);
  }
  template <class T>
  void same_each(const char* what, const std::vector<T>& a, const std::vector<T>& b) {
    same(what, a.size(), b.size());
    for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) same(what, a[i], b[i]);
  }

  void same(const char* what, const holder_view& a, const holder_view& b);
  void same(const char* what, const waiter_view& a, const waiter_view& b);
  void same(const char* what, const lock_view& a, const lock_view& b);
  void same(const char* what, const place& a, const place& b);
  void same(const char* what, const cycle_step& a, const cycle_step& b);
  void same(const char* what, const refusal& a, const refusal& b);
  void same(const char* what, const grant& a, const grant& b);
  void same(const char* what, const acquire_answer& a, const acquire_answer& b);
  /// Both have an answer, which the caller compares, or the same refusal.
  template <class T>
  [[nodiscard]] bool both(const char* what, const answer<T>& a, const answer<T>& b) {
    same(what, bool(a), bool(b));
    if (!a && !b) same(what, a.error(), b.error());
    return a && b;
  }

 private:
  // A later grant of a lock here is a later grant there. Between locks nothing is promised.
  void rises(const std::string& lock, fencing_token a, fencing_token b) {
    auto& [last_a, last_b] = latest_[lock];
    if ((a > last_a) != (b > last_b)) differ("the order of the tokens of " + lock);
    last_a = std::max(last_a, a);
    last_b = std::max(last_b, b);
  }
  void differ(std::string what) {
    if (difference_.empty()) difference_ = std::move(what);
  }

  duration drift_{};
  std::string difference_;
  std::map<fencing_token, fencing_token> tokens_;
  std::map<std::string, std::pair<fencing_token, fencing_token>> latest_;
};

}  // namespace dislock::testing_engines
