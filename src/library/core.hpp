// What one connected client is: its leases, who renews them, and what is still to be settled.
#pragma once

#include "dislock/client.hpp"
#include "library/backend.hpp"
#include "library/strand.hpp"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace dislock::library {

struct held_lease;

/// The one implementation behind `client`, `async_client` and everything made of them.
///
/// Every `done` is called exactly once, outside of the strand: before the call returns, or later on the
/// strand's own thread or on that of another caller. Blocking forms wait for it, coroutines are resumed by
/// it.
///
/// Thread safety: all members from any thread.
class core : public std::enable_shared_from_this<core> {
 public:
  template <class T>
  using done = unique_function<void(result<T>&&)>;

  [[nodiscard]] static result<std::shared_ptr<core>> open(std::string_view url, client_options options);
  virtual ~core() = default;

  /// `multi`: all or nothing, and the leases come in the order of `locks`.
  virtual void acquire(std::vector<lock_request> locks, bool multi, bool only_try, acquire_options options,
                       done<std::vector<lease>> then) = 0;
  /// One lock, and waits for it here: costs less than `acquire`.
  [[nodiscard]] virtual result<lease> acquire_here(std::string_view lock, bool only_try,
                                                   acquire_options& options) = 0;
  virtual void release(std::shared_ptr<held_lease> which, done<void> then) = 0;
  /// Nothing: what it has been granted with.
  virtual void renew(std::shared_ptr<held_lease> which, std::optional<duration> ttl, done<void> then) = 0;
  /// Nobody here looks after the lease any more.
  virtual void let_go(std::shared_ptr<held_lease> which) = 0;
  /// The holder has to end its work.
  virtual void ask_to_stop(std::shared_ptr<held_lease> which, loss_cause why) = 0;
  /// Of a lease that was let go of, here or in another process. The answer: how long it is valid from now on.
  virtual void renew(const lease_ticket& which, std::optional<duration> ttl, done<duration> then) = 0;
  virtual void release(const lease_ticket& which, done<void> then) = 0;
  virtual void force_release(std::string_view lock, std::optional<fencing_token> token,
                             std::string_view reason, done<std::vector<fencing_token>> then) = 0;
  /// Asks the backend something that changes no lease: `ask(backend&, completion)` runs inside the strand.
  template <class T, class Ask>
  void query(Ask ask, done<T> then) {
    inside([ask = std::move(ask), then = std::move(then)](backend* where, strand& on) mutable {
      completion<T> answer([&on, then = std::move(then)](result<T> out) mutable {
        on.afterwards([then = std::move(then), out = std::move(out)]() mutable { then(std::move(out)); });
      });
      if (!where) return answer(is_closed());
      ask(*where, std::move(answer));
    });
  }
  [[nodiscard]] virtual instant now() const noexcept = 0;
  /// Ends when the client's clock has moved on by `how_long`; with `engine_unavailable` once the client is
  /// closed.
  virtual void sleep(duration how_long, done<void> then) = 0;
  /// Runs `work` inside the strand; without a backend once the client is closed.
  virtual void inside(unique_function<void(backend*, strand&)> work) = 0;
  virtual void close(duration patience, done<void> then) = 0;
  virtual void advance(duration by) = 0;

  /// For those who wait on the client's own thread: does one thing that is due on it, or waits until there is
  /// one or until `ring`.
  [[nodiscard]] virtual bool on_own_thread() const noexcept = 0;
  virtual void help() = 0;
  virtual void ring() = 0;

  [[nodiscard]] static const std::shared_ptr<core>& of(const client& c) noexcept { return c.core_; }
  /// A client over a core that did not come from a URL.
  [[nodiscard]] static client make_client(std::shared_ptr<core> with) noexcept {
    return client(std::move(with));
  }
  [[nodiscard]] static const std::shared_ptr<held_lease>& state_of(const lease& of) noexcept {
    return of.state_;
  }

 protected:
  static lease make_lease(std::shared_ptr<held_lease> state) noexcept { return lease(std::move(state)); }
  static error is_closed();
};

}  // namespace dislock::library
