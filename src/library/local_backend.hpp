#pragma once

#include "dislock/options.hpp"
#include "engine/engine.hpp"
#include "library/backend.hpp"
#include "library/thread_strand.hpp"

#include <memory>
#include <string>

namespace dislock::library {

/// Where a local backend and its engine live: one at a time, and in this order. All members inside.
class backend_home {
 public:
  virtual ~backend_home() = default;
  [[nodiscard]] virtual instant now() const noexcept = 0;
  /// Runs `work` inside after what is ready now.
  virtual void defer(unique_function<void()> work) = 0;
  /// Runs `work` inside once, at `at` or a little later; a new call replaces the one before.
  virtual void wake_at(instant at, unique_function<void()> work) = 0;
};

/// How an engine differs from one that lives in this process with all that it knows.
struct engine_terms {
  /// It has a store elsewhere: answers can be lost on the way, and every acquire has a request id. What
  /// nobody waits for any more ends as `outcome_unknown`, for somebody else to settle. Clocks differ, so that
  /// belief ends a hundredth of the ttl earlier (DESIGN 2.6).
  bool has_store = false;
  /// Beyond its wait, for a call of which the store says nothing.
  duration patience{};
};

/// The backend over an engine of this process, which it starts. Everything happens inside of `where`: also
/// the construction, during which nothing is completed.
[[nodiscard]] std::unique_ptr<backend> make_local_backend(std::unique_ptr<backend_home> where,
                                                          std::unique_ptr<engine> with,
                                                          const engine_terms& terms);

/// `memory:` An engine in this process, on the client's strand.
[[nodiscard]] std::unique_ptr<backend> open_memory_backend(thread_strand& on);

/// `embedded:path`. `time`, which `on` reads, is raised to what the store has seen.
/// `engine_unavailable`: another process has the store, or it cannot be used; `detail` says which.
[[nodiscard]] result<std::unique_ptr<backend>> open_embedded_backend(const std::string& path,
                                                                     const client_options& options,
                                                                     thread_strand& on, clock& time);

}  // namespace dislock::library
