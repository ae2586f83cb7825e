#include "dislock/async_client.hpp"

#include "library/await_answer.hpp"
#include "library/held_lease.hpp"
#include "library/requests.hpp"

#include <utility>

namespace dislock {

using library::answer_of;
using library::backend;

namespace library {

void wake(core& with, const executor& where, std::shared_ptr<task_run> run, std::coroutine_handle<> who) {
  if (run->runs_here()) return run->go_on(who);
  if (where) return where([run = std::move(run), who] { run->go_on(who); });
  if (with.on_own_thread()) return run->go_on(who);
  with.inside([&](backend*, strand& on) {
    on.post([&on, run = std::move(run), who]() mutable {
      on.afterwards([run = std::move(run), who] { run->go_on(who); });
    });
  });
}

}  // namespace library

namespace {

// Somebody who waits for a lock and may be destroyed meanwhile.
class in_queue {
 public:
  in_queue() = default;
  in_queue(const in_queue&) = delete;
  in_queue& operator=(const in_queue&) = delete;
  ~in_queue() { left_.request_stop(); }
  [[nodiscard]] std::stop_source& left() noexcept { return left_; }

 private:
  std::stop_source left_;
};

struct pass_on {
  std::stop_source to;
  void operator()() noexcept { to.request_stop(); }
};

error why_not_held(const std::shared_ptr<library::held_lease>& of) {
  error out;
  out.code = errc::lock_not_held;
  if (of) out.lock = of->is.lock;
  return out;
}

template <class T>
task<result<T>> at_once(result<T> outcome) {
  co_return std::move(outcome);
}

}  // namespace

async_client client::async() const noexcept {
  return async_client(core_, executor());
}

async_client::async_client(const client& with) : core_(with.core_) {}
async_client::async_client(std::shared_ptr<library::core> with, executor where) noexcept
    : core_(std::move(with)), where_(std::move(where)) {}
async_client::async_client(const async_client&) = default;
async_client& async_client::operator=(const async_client&) = default;
async_client::async_client(async_client&&) noexcept = default;
async_client& async_client::operator=(async_client&&) noexcept = default;
async_client::~async_client() = default;

async_client async_client::resumed_on(executor where) const {
  return async_client(core_, std::move(where));
}

client async_client::blocking() const {
  return client(core_);
}

template <class T, class Ask>
task<result<T>> async_client::ask(Ask question) const {
  return answer_of<T>(core_, where_,
                      [with = core_, question = std::move(question)](library::core::done<T> then) mutable {
                        with->query<T>(std::move(question), std::move(then));
                      });
}

// --- acquire

task<result<std::vector<lease>>> async_client::take(async_client self, std::vector<lock_request> locks,
                                                    bool multi, bool only_try, acquire_options options) {
  in_queue here;
  const std::stop_callback by_caller(options.stop, pass_on{here.left()});
  options.stop = here.left().get_token();
  auto asked = answer_of<std::vector<lease>>(
      self.core_, self.where_, [&](library::core::done<std::vector<lease>> then) {
        self.core_->acquire(std::move(locks), multi, only_try, std::move(options), std::move(then));
      });
  auto got = co_await std::move(asked);
  co_return std::move(got);
}

task<result<lease>> async_client::take_one(async_client self, std::string lock, bool only_try,
                                           acquire_options options) {
  std::vector<lock_request> locks;
  locks.push_back({lock, options.mode, options.limit, options.permits});
  auto got = co_await take(std::move(self), std::move(locks), false, only_try, std::move(options));
  if (got) co_return std::move(got->front());
  auto why = got.error();
  if (why.lock.empty()) why.lock = std::move(lock);
  co_return std::move(why);
}

task<result<std::optional<lease>>> async_client::try_take_one(async_client self, std::string lock,
                                                              acquire_options options) {
  auto got = co_await take_one(std::move(self), std::move(lock), true, std::move(options));
  if (got) co_return std::optional<lease>(std::move(*got));
  if (got.error().code == errc::lock_not_acquired) co_return std::optional<lease>();
  co_return got.error();
}

task<result<lease_group>> async_client::take_all(async_client self, std::vector<lock_request> locks,
                                                 acquire_options options) {
  auto got = co_await take(std::move(self), std::move(locks), true, false, std::move(options));
  if (!got) co_return got.error();
  co_return lease_group(std::move(*got));
}

task<result<lease>> async_client::acquire(std::string lock, acquire_options options) const {
  return take_one(*this, std::move(lock), false, std::move(options));
}

task<result<std::optional<lease>>> async_client::try_acquire(std::string lock,
                                                             acquire_options options) const {
  return try_take_one(*this, std::move(lock), std::move(options));
}

task<result<lease_group>> async_client::acquire_all(std::vector<lock_request> locks,
                                                    acquire_options options) const {
  return take_all(*this, std::move(locks), std::move(options));
}

task<result<lease_group>> async_client::acquire_all(std::initializer_list<std::string_view> locks,
                                                    acquire_options options) const {
  std::vector<lock_request> all;
  for (const auto name : locks)
    all.push_back({std::string(name), options.mode, options.limit, options.permits});
  return take_all(*this, std::move(all), std::move(options));
}

// --- leases

task<result<void>> async_client::renew(lease& which, std::optional<duration> ttl) const {
  const auto& state = library::core::state_of(which);
  auto home = state ? state->home.lock() : nullptr;
  if (!home) return at_once<void>(why_not_held(state));
  return answer_of<void>(home, where_, [home, state, ttl](library::core::done<void> then) {
    home->renew(state, ttl, std::move(then));
  });
}

task<result<void>> async_client::release(lease& which) const {
  const auto& state = library::core::state_of(which);
  if (!state || state->is_over()) return at_once<void>(result<void>());
  auto home = state->home.lock();
  if (!home) return at_once<void>(why_not_held(state));
  return answer_of<void>(
      home, where_, [home, state](library::core::done<void> then) { home->release(state, std::move(then)); });
}

task<result<void>> async_client::give_all_back(async_client self, lease_group& which) {
  std::optional<error> first;
  for (auto& each : which.leases()) {
    auto done = co_await self.release(each);
    if (!done && !first) first = done.error();
  }
  if (first) co_return std::move(*first);
  co_return result<void>();
}

task<result<void>> async_client::release(lease_group& which) const {
  return give_all_back(*this, which);
}

task<result<bool>> async_client::is_held(const lease& which) const {
  const auto& state = library::core::state_of(which);
  if (!state || state->is_over()) return at_once<bool>(false);
  return validate(state->is.lock, state->is.token);
}

task<result<duration>> async_client::renew(lease_ticket ticket, std::optional<duration> ttl) const {
  return answer_of<duration>(
      core_, where_, [with = core_, ticket = std::move(ticket), ttl](library::core::done<duration> then) {
        with->renew(ticket, ttl, std::move(then));
      });
}

task<result<void>> async_client::release(lease_ticket ticket) const {
  return answer_of<void>(core_, where_,
                         [with = core_, ticket = std::move(ticket)](library::core::done<void> then) {
                           with->release(ticket, std::move(then));
                         });
}

// --- questions

task<result<bool>> async_client::look_whether_locked(async_client self, std::string lock) {
  auto state = co_await self.inspect(std::move(lock));
  if (!state) co_return state.error();
  co_return state->locked;
}

task<result<bool>> async_client::is_locked(std::string lock) const {
  return look_whether_locked(*this, std::move(lock));
}

task<result<lock_state>> async_client::inspect(std::string lock) const {
  if (auto wrong = library::wrong_lock_name(lock)) return at_once<lock_state>(std::move(*wrong));
  return ask<lock_state>(
      [lock = std::move(lock)](backend& where, auto answer) { where.inspect(lock, std::move(answer)); });
}

task<result<std::vector<lock_state>>> async_client::list(std::string prefix, std::string client_id,
                                                         std::size_t limit) const {
  return ask<std::vector<lock_state>>(
      [prefix = std::move(prefix), who = std::move(client_id), limit](backend& where, auto answer) {
        where.list(prefix, who, limit, std::move(answer));
      });
}

task<result<bool>> async_client::validate(std::string lock, fencing_token token) const {
  if (auto wrong = library::wrong_lock_name(lock)) return at_once<bool>(std::move(*wrong));
  return ask<bool>([lock = std::move(lock), token](backend& where, auto answer) {
    where.validate(lock, token, std::move(answer));
  });
}

task<result<std::vector<fencing_token>>> async_client::force_release(std::string lock,
                                                                     std::optional<fencing_token> token,
                                                                     std::string reason) const {
  using tokens = std::vector<fencing_token>;
  if (auto wrong = library::wrong_lock_name(lock)) return at_once<tokens>(std::move(*wrong));
  return answer_of<tokens>(
      core_, where_,
      [with = core_, lock = std::move(lock), token, reason = std::move(reason)](
          library::core::done<tokens> then) { with->force_release(lock, token, reason, std::move(then)); });
}

task<result<std::vector<graph_edge>>> async_client::graph() const {
  return ask<std::vector<graph_edge>>([](backend& where, auto answer) { where.graph(std::move(answer)); });
}

task<result<std::vector<deadlock_report>>> async_client::deadlocks() const {
  return ask<std::vector<deadlock_report>>(
      [](backend& where, auto answer) { where.deadlocks(std::move(answer)); });
}

task<result<event_page>> async_client::events_after(std::uint64_t id, std::string prefix,
                                                    duration wait) const {
  return ask<event_page>([id, prefix = std::move(prefix), wait](backend& where, auto answer) {
    where.events_after(id, prefix, wait, std::move(answer));
  });
}

task<result<engine_info>> async_client::about() const {
  return ask<engine_info>([](backend& where, auto answer) { where.about(std::move(answer)); });
}

task<result<duration>> async_client::ping() const {
  return ask<duration>([](backend& where, auto answer) { where.ping(std::move(answer)); });
}

task<result<void>> async_client::sleep(duration how_long) const {
  return answer_of<void>(core_, where_, [with = core_, how_long](library::core::done<void> then) {
    with->sleep(how_long, std::move(then));
  });
}

task<result<void>> async_client::close(duration patience) const {
  return answer_of<void>(core_, where_, [with = core_, patience](library::core::done<void> then) {
    with->close(patience, std::move(then));
  });
}

}  // namespace dislock
