// Coroutines that begin when somebody waits for them, and what it means to start one.
#pragma once

#include "dislock/export.hpp"

#include <condition_variable>
#include <coroutine>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <utility>
#include <variant>

namespace dislock {

template <class T = void>
class task;
template <class T = void>
class running_task;

/// Runs a piece of work soon, on a thread of its choice: `[&io](auto work) { asio::post(io, std::move(work));
/// }`. It may be called on any thread, must not run the work before it returns if that thread must not be
/// blocked, and must neither throw nor forget the work: a coroutine whose work is dropped waits until it is
/// destroyed.
using executor = std::function<void(std::function<void()>)>;

namespace library {

/// A task that was started, with all that it awaits: who runs in it now, and whom to tell when it has ended.
///
/// One thread at a time is in it. What is to go on while a thread is still on its way out is done by that
/// thread; so no coroutine is resumed, or destroyed, while it is still being suspended elsewhere. Coroutines
/// that await each other are run from one loop instead of from each other, which needs no stack and no
/// optimizer, however many they are.
///
/// Thread safety: all members from any thread, but for those that say something else.
class DISLOCK_API task_run final : public std::enable_shared_from_this<task_run> {
 public:
  /// Owns `top`.
  explicit task_run(std::coroutine_handle<> top) noexcept : top_(top) {}
  ~task_run();
  task_run(const task_run&) = delete;
  task_run& operator=(const task_run&) = delete;

  /// Runs `next` and what it leads to, until all of it waits or has ended: here, or on the thread that is in
  /// it. After `cancel` it does nothing.
  void go_on(std::coroutine_handle<> next) noexcept;
  /// What the coroutine that is being suspended leads to. From inside.
  void lead_to(std::coroutine_handle<> next) noexcept { next_ = next; }
  /// The top coroutine has come to its end. From inside.
  void end() noexcept;
  /// This thread is in it.
  [[nodiscard]] bool runs_here() const noexcept;

  [[nodiscard]] bool ended() const noexcept;
  void wait() const noexcept;
  /// Calls `then` once when it has ended, on the thread on which it does. False, and it is not called: it has
  /// ended.
  [[nodiscard]] bool on_end(std::function<void()> then);
  /// Destroys the coroutines where they wait; if a thread is in one of them, when that comes to its next
  /// wait. Waits for it, unless it is this thread. From then on nobody is told of the end.
  void cancel() noexcept;

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::coroutine_handle<> top_;
  std::coroutine_handle<> next_;     // of the thread that is inside
  std::coroutine_handle<> pending_;  // what it has to do before it leaves
  std::thread::id inside_;
  std::function<void()> on_end_;
  bool ended_ = false, cancelled_ = false, leaves_nothing_ = false;
};

class task_promise_base {
 public:
  struct at_end {
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> which) const noexcept {
      const task_promise_base& it = which.promise();
      if (it.parent_) {
        it.run_->lead_to(it.parent_);
      } else {
        it.run_->end();
      }
    }
    void await_resume() const noexcept {}
  };

  [[nodiscard]] std::suspend_always initial_suspend() const noexcept { return {}; }
  [[nodiscard]] at_end final_suspend() const noexcept { return {}; }

  [[nodiscard]] task_run* run() const noexcept { return run_; }
  void runs_in(task_run* run, std::coroutine_handle<> parent) noexcept {
    run_ = run;
    parent_ = parent;
  }

 private:
  task_run* run_ = nullptr;
  std::coroutine_handle<> parent_;
};

template <class T>
class task_promise final : public task_promise_base {
 public:
  [[nodiscard]] task<T> get_return_object() noexcept;
  template <class U = T>
    requires std::is_constructible_v<T, U>
  void return_value(U&& value) {
    outcome_.template emplace<1>(std::forward<U>(value));
  }
  void unhandled_exception() noexcept { outcome_.template emplace<2>(std::current_exception()); }
  [[nodiscard]] T take() {
    if (outcome_.index() == 2) std::rethrow_exception(std::get<2>(outcome_));
    return std::get<1>(std::move(outcome_));
  }

 private:
  std::variant<std::monostate, T, std::exception_ptr> outcome_;
};

template <>
class task_promise<void> final : public task_promise_base {
 public:
  [[nodiscard]] task<void> get_return_object() noexcept;
  void return_void() const noexcept {}
  void unhandled_exception() noexcept { thrown_ = std::current_exception(); }
  void take() const {
    if (thrown_) std::rethrow_exception(thrown_);
  }

 private:
  std::exception_ptr thrown_;
};

/// What `co_await` makes of a task.
template <class T>
class [[nodiscard]] task_awaiter {
 public:
  explicit task_awaiter(std::coroutine_handle<task_promise<T>> child) noexcept : child_(child) {}
  task_awaiter(const task_awaiter&) = delete;
  task_awaiter& operator=(const task_awaiter&) = delete;
  ~task_awaiter() {
    if (own_) {
      own_->cancel();
    } else {
      child_.destroy();
    }
  }

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  template <class Promise>
  [[nodiscard]] bool await_suspend(std::coroutine_handle<Promise> parent) {
    if constexpr (std::is_base_of_v<task_promise_base, Promise>) {
      auto* const run = parent.promise().run();
      child_.promise().runs_in(run, parent);
      run->lead_to(child_);
      return true;
    } else {  // somebody else's coroutine: for us that is a start
      own_ = std::make_shared<task_run>(child_);
      child_.promise().runs_in(own_.get(), {});
      own_->go_on(child_);
      return own_->on_end([parent] { parent.resume(); });
    }
  }
  T await_resume() { return child_.promise().take(); }

 private:
  std::coroutine_handle<task_promise<T>> child_;
  std::shared_ptr<task_run> own_;
};

/// What `co_await` makes of a task that was started before.
template <class T>
class [[nodiscard]] running_task_awaiter {
 public:
  running_task_awaiter(std::shared_ptr<task_run> run, std::coroutine_handle<task_promise<T>> top) noexcept
      : run_(std::move(run)), top_(top) {}
  running_task_awaiter(const running_task_awaiter&) = delete;
  running_task_awaiter& operator=(const running_task_awaiter&) = delete;
  ~running_task_awaiter() { run_->cancel(); }

  [[nodiscard]] bool await_ready() const noexcept { return run_->ended(); }
  template <class Promise>
  [[nodiscard]] bool await_suspend(std::coroutine_handle<Promise> parent) {
    if constexpr (std::is_base_of_v<task_promise_base, Promise>) {
      return run_->on_end([in = parent.promise().run()->shared_from_this(), parent] { in->go_on(parent); });
    } else {
      return run_->on_end([parent] { parent.resume(); });
    }
  }
  T await_resume() { return top_.promise().take(); }

 private:
  std::shared_ptr<task_run> run_;
  std::coroutine_handle<task_promise<T>> top_;
};

}  // namespace library

/// A coroutine that has not begun: it does when it is awaited (`co_await std::move(t)`), or started (`start`,
/// `sync_wait`), once. Its result, or its exception, is what the `co_await` gives. A task that nobody awaits
/// does nothing.
///
/// Threads. It begins on the thread that awaits or starts it. After a `co_await` of something of this library
/// it goes on where it was, if the answer was there before it had to wait; else where
/// `async_client::resumed_on` says, or else on a thread of the client's, which also renews leases and so must
/// not be kept busy for long.
///
/// Ends. Nothing is detached: a task is destroyed with whoever owns it (the coroutine that awaits it, or the
/// `running_task`), at the wait where it is: its locals are destroyed, leases among them are given back, an
/// acquire that it waits for leaves the queue, and what is granted to it all the same is given back. That is
/// safe from any thread and at any time.
///
/// Other coroutine types may await a task. It then goes on on the same threads. Such a coroutine must not be
/// destroyed by one thread while another is about to resume it; ours may.
///
/// `T` is a value: no reference. Thread safety: one thread at a time.
template <class T>
class [[nodiscard]] task {
 public:
  static_assert(!std::is_reference_v<T>, "a task gives a value");
  using promise_type = library::task_promise<T>;
  using value_type = T;

  task(task&& other) noexcept : coroutine_(std::exchange(other.coroutine_, {})) {}
  task& operator=(task&& other) noexcept {
    std::swap(coroutine_, other.coroutine_);
    return *this;
  }
  ~task() {
    if (coroutine_) coroutine_.destroy();
  }

  /// REQUIRES: it has been neither awaited nor started nor moved from.
  [[nodiscard]] library::task_awaiter<T> operator co_await() && noexcept {
    return library::task_awaiter<T>(std::exchange(coroutine_, {}));
  }

 private:
  friend promise_type;
  friend class running_task<T>;
  explicit task(std::coroutine_handle<promise_type> it) noexcept : coroutine_(it) {}
  std::coroutine_handle<promise_type> coroutine_;
};

/// A task that was started, and whose end is this object's: it is destroyed with it, at the wait where it is.
///
/// Thread safety: one thread at a time.
template <class T>
class [[nodiscard]] running_task {
 public:
  /// Nothing runs.
  running_task() noexcept = default;
  /// Begins it, here, and returns at its first wait.
  explicit running_task(task<T> work)
      : top_(std::exchange(work.coroutine_, {})), run_(std::make_shared<library::task_run>(top_)) {
    top_.promise().runs_in(run_.get(), {});
    run_->go_on(top_);
  }
  running_task(running_task&&) noexcept = default;
  running_task& operator=(running_task&& other) noexcept {
    if (this == &other) return *this;
    stop();
    top_ = other.top_;
    run_ = std::move(other.run_);
    return *this;
  }
  /// As `stop`.
  ~running_task() { stop(); }

  /// Destroys it at the wait where it is. If another thread is in it at the moment, this waits until it comes
  /// to its next wait; if this thread is (the task ends itself), it is destroyed when it does.
  void stop() noexcept {
    if (const auto run = std::exchange(run_, nullptr)) run->cancel();
  }
  /// It has come to its end by itself, or there is none.
  [[nodiscard]] bool done() const noexcept { return !run_ || run_->ended(); }
  /// Blocks until then. Not on a thread that it needs for going on: see `task`.
  void wait() const noexcept {
    if (run_) run_->wait();
  }
  /// Blocks until the end, then gives the result or throws what the coroutine threw. Once. REQUIRES: there is
  /// one.
  T get() && {
    wait();
    const running_task last(std::move(*this));
    return last.top_.promise().take();
  }
  /// Waits for the end. REQUIRES: there is one.
  [[nodiscard]] library::running_task_awaiter<T> operator co_await() && noexcept {
    return library::running_task_awaiter<T>(std::exchange(run_, nullptr), top_);
  }
  /// Whether there is one.
  [[nodiscard]] explicit operator bool() const noexcept { return run_ != nullptr; }
  /// Calls `then` when it has ended, on the thread on which it does; false, and it is not called: it has
  /// already. One `then`. REQUIRES: there is one.
  [[nodiscard]] bool on_end(std::function<void()> then) { return run_->on_end(std::move(then)); }

 private:
  std::coroutine_handle<library::task_promise<T>> top_;
  std::shared_ptr<library::task_run> run_;
};

/// Begins a task on this thread and returns at its first wait. It ends with what is returned here.
template <class T>
[[nodiscard]] running_task<T> start(task<T> work) {
  return running_task<T>(std::move(work));
}

/// Runs a task and blocks until it has ended: for programs whose `main` is no coroutine. Not inside of a
/// coroutine or a callback of this library, nor on the one thread of an executor that the task needs for
/// going on: it would wait for ever.
template <class T>
T sync_wait(task<T> work) {
  return running_task<T>(std::move(work)).get();
}

namespace library {

template <class T>
task<T> task_promise<T>::get_return_object() noexcept {
  return task<T>(std::coroutine_handle<task_promise>::from_promise(*this));
}
inline task<void> task_promise<void>::get_return_object() noexcept {
  return task<void>(std::coroutine_handle<task_promise>::from_promise(*this));
}

}  // namespace library

}  // namespace dislock
