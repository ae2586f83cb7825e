// How a coroutine waits for one answer, and how a blocking call waits for a coroutine.
#pragma once

#include "dislock/task.hpp"
#include "library/core.hpp"
#include "library/one_shot.hpp"

#include <coroutine>
#include <memory>
#include <optional>
#include <utility>

namespace dislock::library {

/// Lets `who` go on after its answer has come: here, if this thread is still in the coroutine that asked;
/// else on `where`; else on a thread of the client's own. Outside of the strand.
void wake(core& with, const executor& where, std::shared_ptr<task_run> run, std::coroutine_handle<> who);

/// Awaits what `start(done)` is told. The answer outlives the coroutine that waits for it, so that one may be
/// destroyed meanwhile; what comes then is dropped, on the thread on which it comes. An answer that is still
/// to come does not keep the client open.
template <class T, class Start>
class answer_awaiter {
 public:
  answer_awaiter(std::shared_ptr<core> with, executor where, Start start)
      : asked_(std::make_shared<call>(*with, std::move(where))),
        with_(std::move(with)),
        start_(std::move(start)) {}
  answer_awaiter(const answer_awaiter&) = delete;
  answer_awaiter& operator=(const answer_awaiter&) = delete;

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> who) {
    asked_->run = who.promise().run()->shared_from_this();
    asked_->who = who;
    start_(core::done<T>([told = asked_](result<T> answer) {
      told->answer.emplace(std::move(answer));
      wake(told->with, told->where, std::move(told->run), told->who);
    }));
  }
  [[nodiscard]] result<T> await_resume() { return std::move(*asked_->answer); }

 private:
  struct call {
    call(core& w, executor e) : with(w), where(std::move(e)) {}
    core& with;  // who answers is still there
    const executor where;
    std::shared_ptr<task_run> run;
    std::coroutine_handle<> who;
    std::optional<result<T>> answer;
  };

  std::shared_ptr<call> asked_;
  std::shared_ptr<core> with_;
  Start start_;
};

template <class T, class Start>
task<result<T>> answer_of(std::shared_ptr<core> with, executor where, Start start) {
  answer_awaiter<T, Start> waiting(std::move(with), std::move(where), std::move(start));
  auto answer = co_await waiting;
  co_return std::move(answer);
}

/// The blocking form of a coroutine: also on a thread of the client's own, whose work is done meanwhile.
template <class T>
[[nodiscard]] T wait_here(core& with, task<T> work) {
  auto running = dislock::start(std::move(work));
  one_shot ended(with);
  if (running.on_end([&ended] { ended.set(); })) ended.wait();
  return std::move(running).get();
}

}  // namespace dislock::library
