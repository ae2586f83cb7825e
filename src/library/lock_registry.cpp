#include "dislock/lock_registry.hpp"

#include "library/core.hpp"
#include "library/held_lease.hpp"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <utility>

namespace dislock {
namespace {

// How a lock is held; who asks for another way cannot have the same lease.
struct manner {
  lock_mode mode = lock_mode::exclusive;
  std::uint32_t limit = 0, permits = 1;
  bool operator==(const manner&) const = default;
};

struct entry {
  std::shared_ptr<lease> held;
  manner how;
  std::size_t holds = 0;
  bool asking = false;      // one thread acquires it
  std::size_t waiting = 0;  // for that one
  [[nodiscard]] bool unused() const noexcept { return holds == 0 && !asking && waiting == 0; }
};

error refusal(errc code, std::string_view lock, std::string_view detail) {
  error out;
  out.code = code;
  out.lock = lock;
  out.detail = detail;
  return out;
}

}  // namespace

struct lock_registry::book {
  using entries = std::map<std::string, entry, std::less<>>;

  book(client c, stage_listener l) : with(std::move(c)), on_stage(std::move(l)) {}

  // A thread that waits for another's acquire does so for as long as it would have waited in the queue.
  result<std::shared_ptr<const lease>> share_or_ask(std::unique_lock<std::mutex>& guard, entries::iterator it,
                                                    acquire_options options) {
    auto& e = it->second;
    const manner how{options.mode, options.limit, options.permits};
    const auto patience = std::chrono::steady_clock::now() + options.wait;
    ++e.waiting;
    while (e.asking) {
      if (changed.wait_until(guard, options.stop, patience, [&e] { return !e.asking; })) continue;
      --e.waiting;
      auto why = refusal(options.stop.stop_requested() ? errc::request_cancelled : errc::lock_not_acquired,
                         it->first, "another thread of this process waits for it");
      why.waited = options.wait;
      return why;
    }
    --e.waiting;
    if (e.held && e.held->held()) {
      if (e.how != how)
        return refusal(errc::lock_mode_conflict, it->first,
                       "this process holds it in another mode, or with other permits");
      ++e.holds;
      return std::shared_ptr<const lease>(e.held);
    }
    e.asking = true;
    guard.unlock();
    if (on_stage) {
      options.on_stage = [told = on_stage, name = it->first, also = std::move(options.on_stage)](
                             lease_stage at, loss_cause why) {
        if (also) also(at, why);
        told(name, at, why);
      };
    }
    auto got = with.acquire(it->first, std::move(options));
    guard.lock();
    e.asking = false;
    changed.notify_all();
    if (!got) return got.error();
    e.held = std::make_shared<lease>(std::move(*got));
    e.how = how;
    ++e.holds;
    return std::shared_ptr<const lease>(e.held);
  }

  client with;
  const stage_listener on_stage;
  mutable std::mutex mutex;
  std::condition_variable_any changed;
  entries all;
};

lock_registry::lock_registry(client with, stage_listener on_stage)
    : book_(std::make_unique<book>(std::move(with), std::move(on_stage))) {}

// Others may still have pointers to the leases, which would keep them.
lock_registry::~lock_registry() {
  for (auto& [name, e] : book_->all) {
    if (!e.held) continue;
    const auto& state = library::core::state_of(*e.held);
    if (!state || state->is_over()) continue;
    if (const auto home = state->home.lock()) home->release(state, [](auto&&) {});
  }
}

result<std::shared_ptr<const lease>> lock_registry::acquire(std::string_view lock, acquire_options options) {
  std::unique_lock guard(book_->mutex);
  auto it = book_->all.find(lock);
  if (it == book_->all.end()) it = book_->all.try_emplace(std::string(lock)).first;
  auto out = book_->share_or_ask(guard, it, std::move(options));
  if (it->second.unused()) book_->all.erase(it);
  return out;
}

result<void> lock_registry::release(std::string_view lock) {
  std::shared_ptr<lease> last;
  {
    const std::lock_guard guard(book_->mutex);
    const auto it = book_->all.find(lock);
    if (it == book_->all.end() || it->second.holds == 0)
      return refusal(errc::lock_not_held, lock, "it is not held here");
    auto& e = it->second;
    if (--e.holds > 0) {
      if (e.held->held()) return {};
      return refusal(errc::lock_not_held, lock, "it was lost");
    }
    last = std::exchange(e.held, nullptr);
    if (e.unused()) book_->all.erase(it);
  }
  return last->release();
}

std::vector<lock_registry::failure> lock_registry::release_all() {
  std::vector<std::pair<std::string, std::shared_ptr<lease>>> held;
  {
    const std::lock_guard guard(book_->mutex);
    for (auto it = book_->all.begin(); it != book_->all.end();) {
      auto& e = it->second;
      e.holds = 0;
      if (auto l = std::exchange(e.held, nullptr)) held.emplace_back(it->first, std::move(l));
      it = e.unused() ? book_->all.erase(it) : std::next(it);
    }
  }
  std::vector<failure> out;
  for (auto& [name, l] : held)
    if (auto done = l->release(); !done) out.push_back({name, done.error()});
  return out;
}

std::shared_ptr<const lease> lock_registry::find(std::string_view lock) const {
  const std::lock_guard guard(book_->mutex);
  const auto it = book_->all.find(lock);
  return it == book_->all.end() ? nullptr : it->second.held;
}

std::size_t lock_registry::hold_count(std::string_view lock) const {
  const std::lock_guard guard(book_->mutex);
  const auto it = book_->all.find(lock);
  return it == book_->all.end() ? 0 : it->second.holds;
}

std::vector<std::string> lock_registry::names() const {
  const std::lock_guard guard(book_->mutex);
  std::vector<std::string> out;
  for (const auto& [name, e] : book_->all)
    if (e.holds > 0) out.push_back(name);
  return out;
}

std::vector<std::string> lock_registry::lost() const {
  const std::lock_guard guard(book_->mutex);
  std::vector<std::string> out;
  for (const auto& [name, e] : book_->all)
    if (e.holds > 0 && !e.held->held()) out.push_back(name);
  return out;
}

}  // namespace dislock
