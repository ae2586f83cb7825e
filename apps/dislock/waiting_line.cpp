#include "waiting_line.hpp"

#include "terminal.hpp"
#include "wording.hpp"

#include <chrono>
#include <unistd.h>

namespace dislock::cli {

using namespace std::chrono_literals;

waiting_line::waiting_line(const workbench& at, client from, std::string lock, duration wait) {
  if (!at.print.err_can().colours || at.with.quiet || wait <= 500ms) return;
  thread_ = std::thread(
      [this, from = std::move(from), lock = std::move(lock)]() mutable { show(std::move(from), lock); });
}

waiting_line::~waiting_line() {
  if (!thread_.joinable()) return;
  {
    const std::scoped_lock guard(mutex_);
    over_ = true;
  }
  over_changed_.notify_one();
  thread_.join();
}

void waiting_line::show(client from, const std::string& lock) {
  const auto began = std::chrono::steady_clock::now();
  const auto write_line = [](const std::string& text) {
    (void)!::write(STDERR_FILENO, text.data(), text.size());
  };
  bool shown = false;
  std::unique_lock guard(mutex_);
  while (!over_changed_.wait_for(guard, shown ? 1s : 500ms, [this] { return over_; })) {
    guard.unlock();
    const auto state = from.inspect(lock);
    const auto waited = std::chrono::duration_cast<duration>(std::chrono::steady_clock::now() - began);
    std::string text = "waiting for " + lock + " for " + in_words(waited);
    if (state && !state->holders.empty()) text += ", held by " + harmless(state->holders.front().client);
    if (state && state->queue_length > 1) text += ", " + std::to_string(state->queue_length) + " wait";
    const auto columns = static_cast<std::size_t>(size_of(STDERR_FILENO).columns);
    write_line("\r" + text.substr(0, columns - 1) + "\x1b[K");
    shown = true;
    guard.lock();
  }
  if (shown) write_line("\r\x1b[K");
}

}  // namespace dislock::cli
