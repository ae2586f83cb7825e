// Signals as things to read, instead of things that happen to a thread.
#pragma once

#include <csignal>
#include <initializer_list>
#include <optional>
#include <stop_token>
#include <thread>

namespace dislock::cli {

/// Takes the given signals out of the usual way for as long as it lives. What was ignored when the program
/// began
/// (`nohup`) stays ignored. To be made before any other thread exists, so that all of them inherit it.
class signal_inbox {
 public:
  signal_inbox(std::initializer_list<int> wanted);
  signal_inbox(const signal_inbox&) = delete;
  signal_inbox& operator=(const signal_inbox&) = delete;
  ~signal_inbox();

  [[nodiscard]] int descriptor() const noexcept { return descriptor_; }
  /// The next signal that has arrived; does not wait.
  [[nodiscard]] std::optional<int> next() noexcept;
  /// What was blocked before: a command that is started gets it back.
  [[nodiscard]] const sigset_t& mask_before() const noexcept { return before_; }

 private:
  sigset_t before_{};
  int descriptor_ = -1;
};

/// For as long as it lives, a signal that means "end" requests the stop.
class stop_on_signal {
 public:
  explicit stop_on_signal(signal_inbox& inbox);
  stop_on_signal(const stop_on_signal&) = delete;
  stop_on_signal& operator=(const stop_on_signal&) = delete;
  ~stop_on_signal();

  [[nodiscard]] std::stop_token token() const noexcept { return source_.get_token(); }
  /// The signal that did it. Ends the watch.
  [[nodiscard]] std::optional<int> signal();

 private:
  void watch(signal_inbox& inbox);
  void finish();

  std::stop_source source_;
  int over_ = -1;
  std::optional<int> signal_;
  std::thread thread_;
};

/// Waits for a signal that means "end", or until the time is over.
[[nodiscard]] bool means_end(int number) noexcept;

}  // namespace dislock::cli
