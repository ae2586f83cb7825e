// The client for coroutines.
#pragma once

#include "dislock/client.hpp"
#include "dislock/task.hpp"

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace dislock {

namespace library {

template <class T>
struct outcome_of_work {
  using type = T;
  static constexpr bool awaits = false;
};
template <class T>
struct outcome_of_work<task<T>> {
  using type = T;
  static constexpr bool awaits = true;
};

/// What `work(lease&)` gives, at once or as a task.
template <class Work>
using work_outcome = outcome_of_work<std::remove_cvref_t<std::invoke_result_t<Work&, lease&>>>;

}  // namespace library

/// The same calls as `client`, as coroutines: same options, same errors, same engine, one connection with the
/// `client` that it came from, which it keeps open.
///
/// Nothing happens before a task is awaited or started. What a call is given is copied or moved into it, but
/// for leases, which it refers to: they have to outlive it. A task that is destroyed while it waits gives up:
/// an acquire leaves the queue, and what is granted to it all the same is given back; anything else goes on
/// without it. See `task` for the threads on which coroutines go on.
///
/// g++ 12 destroys twice what a `co_await` makes of braces, or of a lambda that owns something. With that
/// compiler they get a name first: `acquire_options how{.wait = 5s}; auto held = co_await locks.acquire("a",
/// how);`
///
/// Thread safety: all members from any thread. Copies share one connection.
class DISLOCK_API async_client {
 public:
  /// As `client::async`.
  explicit async_client(const client& with);
  async_client(const async_client&);
  async_client& operator=(const async_client&);
  async_client(async_client&&) noexcept;
  async_client& operator=(async_client&&) noexcept;
  ~async_client();

  /// The same client, whose coroutines go on on `where` after they had to wait. Nothing: on threads of the
  /// client's.
  [[nodiscard]] async_client resumed_on(executor where) const;
  /// The same client, blocking.
  [[nodiscard]] client blocking() const;

  /// As `client::acquire`. What `options.within` names has to live until the task has ended.
  [[nodiscard]] task<result<lease>> acquire(std::string lock,
                                            acquire_options options = acquire_options()) const;
  /// As `client::try_acquire`.
  [[nodiscard]] task<result<std::optional<lease>>> try_acquire(
      std::string lock, acquire_options options = acquire_options()) const;
  /// As `client::acquire_all`.
  [[nodiscard]] task<result<lease_group>> acquire_all(std::vector<lock_request> locks,
                                                      acquire_options options = acquire_options()) const;
  [[nodiscard]] task<result<lease_group>> acquire_all(std::initializer_list<std::string_view> locks,
                                                      acquire_options options = acquire_options()) const;

  /// As `client::with_lock`. `work(lease&)` gives a value, nothing, or a task of one, which is awaited under
  /// the lock; the lock is given back when it has ended or thrown. If it throws, or the whole is destroyed
  /// meanwhile, the lock is given back in the background.
  template <class Work>
  [[nodiscard]] auto with_lock(std::string lock, acquire_options options, Work work) const
      -> task<result<typename library::work_outcome<Work>::type>> {
    return run_with_lock(*this, std::move(lock), std::move(options), std::move(work));
  }
  template <class Work>
    requires std::is_invocable_v<Work&, lease&>
  [[nodiscard]] auto with_lock(std::string lock, Work work) const {
    return with_lock(std::move(lock), acquire_options{}, std::move(work));
  }
  /// As `client::try_with_lock`: false if the lock was not free, and `work` did not run. What `work` gives is
  /// dropped.
  template <class Work>
  [[nodiscard]] task<result<bool>> try_with_lock(std::string lock, acquire_options options, Work work) const {
    return try_run_with_lock(*this, std::move(lock), std::move(options), std::move(work));
  }
  template <class Work>
    requires std::is_invocable_v<Work&, lease&>
  [[nodiscard]] task<result<bool>> try_with_lock(std::string lock, Work work) const {
    return try_with_lock(std::move(lock), acquire_options{}, std::move(work));
  }

  /// As `lease::renew`, `lease::release`, `lease::is_held`, `lease_group::release`.
  [[nodiscard]] task<result<void>> renew(lease& which, std::optional<duration> ttl = {}) const;
  [[nodiscard]] task<result<void>> release(lease& which) const;
  [[nodiscard]] task<result<void>> release(lease_group& which) const;
  [[nodiscard]] task<result<bool>> is_held(const lease& which) const;
  /// As `client::renew` and `client::release`.
  [[nodiscard]] task<result<duration>> renew(lease_ticket ticket, std::optional<duration> ttl = {}) const;
  [[nodiscard]] task<result<void>> release(lease_ticket ticket) const;

  /// As in `client`.
  [[nodiscard]] task<result<bool>> is_locked(std::string lock) const;
  [[nodiscard]] task<result<lock_state>> inspect(std::string lock) const;
  [[nodiscard]] task<result<std::vector<lock_state>>> list(std::string prefix = {},
                                                           std::string client_id = {},
                                                           std::size_t limit = 1'000) const;
  [[nodiscard]] task<result<bool>> validate(std::string lock, fencing_token token) const;
  [[nodiscard]] task<result<std::vector<fencing_token>>> force_release(std::string lock,
                                                                       std::optional<fencing_token> token,
                                                                       std::string reason) const;
  [[nodiscard]] task<result<std::vector<graph_edge>>> graph() const;
  [[nodiscard]] task<result<std::vector<deadlock_report>>> deadlocks() const;
  [[nodiscard]] task<result<event_page>> events_after(std::uint64_t id, std::string prefix = {},
                                                      duration wait = {}) const;
  [[nodiscard]] task<result<engine_info>> about() const;
  [[nodiscard]] task<result<duration>> ping() const;
  /// Waits for the client's clock to move on by `how_long`; also for one that is moved by hand.
  /// `engine_unavailable`: the client was closed first.
  [[nodiscard]] task<result<void>> sleep(duration how_long) const;
  /// As `client::close`.
  [[nodiscard]] task<result<void>> close(duration patience = std::chrono::seconds(5)) const;

 private:
  friend class client;
  async_client(std::shared_ptr<library::core> with, executor where) noexcept;

  [[nodiscard]] static task<result<std::vector<lease>>> take(async_client self,
                                                             std::vector<lock_request> locks, bool multi,
                                                             bool only_try, acquire_options options);
  [[nodiscard]] static task<result<lease>> take_one(async_client self, std::string lock, bool only_try,
                                                    acquire_options options);
  [[nodiscard]] static task<result<std::optional<lease>>> try_take_one(async_client self, std::string lock,
                                                                       acquire_options options);
  [[nodiscard]] static task<result<lease_group>> take_all(async_client self, std::vector<lock_request> locks,
                                                          acquire_options options);
  [[nodiscard]] static task<result<void>> give_all_back(async_client self, lease_group& which);
  [[nodiscard]] static task<result<bool>> look_whether_locked(async_client self, std::string lock);

  template <class T, class Ask>
  [[nodiscard]] task<result<T>> ask(Ask question) const;

  // Awaits the work, if there is something to await, and then gives the lock back.
  template <class Work>
  static auto run_under(async_client self, lease& held, std::stop_token stop, Work& work)
      -> task<result<typename library::work_outcome<Work>::type>> {
    using outcome = library::work_outcome<Work>;
    const std::stop_callback on_stop(std::move(stop), [&held] { client::wind_down(held); });
    if constexpr (std::is_void_v<typename outcome::type>) {
      if constexpr (outcome::awaits) {
        co_await work(held);
      } else {
        work(held);
      }
      auto given_back = co_await self.release(held);
      co_return std::move(given_back);
    } else {
      std::optional<typename outcome::type> out;
      if constexpr (outcome::awaits) {
        auto value = co_await work(held);
        out.emplace(std::move(value));
      } else {
        out.emplace(work(held));
      }
      auto given_back = co_await self.release(held);
      if (!given_back) co_return given_back.error();
      co_return std::move(*out);
    }
  }

  template <class Work>
  static auto run_with_lock(async_client self, std::string lock, acquire_options options, Work work)
      -> task<result<typename library::work_outcome<Work>::type>> {
    auto stop = options.stop;
    auto held = co_await self.acquire(std::move(lock), std::move(options));
    if (!held) co_return held.error();
    auto out = co_await run_under(self, *held, std::move(stop), work);
    co_return std::move(out);
  }

  template <class Work>
  static task<result<bool>> try_run_with_lock(async_client self, std::string lock, acquire_options options,
                                              Work work) {
    auto stop = options.stop;
    auto held = co_await self.try_acquire(std::move(lock), std::move(options));
    if (!held) co_return held.error();
    if (!*held) co_return false;
    auto out = co_await run_under(self, **held, std::move(stop), work);
    if (!out) co_return out.error();
    co_return true;
  }

  std::shared_ptr<library::core> core_;
  executor where_;
};

}  // namespace dislock
