// The public, blocking forms: each starts its call and waits for the answer.
#include "dislock/client.hpp"

#include "library/client_core.hpp"
#include "library/one_shot.hpp"
#include "library/requests.hpp"

#include <algorithm>
#include <cstdio>
#include <utility>

namespace dislock {

using library::wait_for;

// --- error

std::string error::message() const {
  std::string out;
  if (!lock.empty()) out.append(lock).append(": ");
  out += to_string(code);
  out += ": ";
  out += title_of(code);
  if (!detail.empty()) out.append(" (").append(detail).append(")");
  if (waited >= std::chrono::milliseconds(1)) {
    char text[48];
    std::snprintf(text, sizeof text, " Waited %.3g s.", std::chrono::duration<double>(waited).count());
    out += text;
  }
  if (!holders.empty()) {
    out += " Held by ";
    out += holders.front().client;
    const auto all = std::max(holder_count, holders.size());
    if (all > 1) out += " and " + std::to_string(all - 1) + " more";
    out += ".";
  }
  if (queue_length > 0) out += " " + std::to_string(queue_length) + " wait.";
  for (const auto& step : cycle)
    out.append(" ")
        .append(step.client)
        .append(" waits for ")
        .append(step.lock)
        .append(step.behind ? ", behind " : ", held by ")
        .append(step.blocker)
        .append(".");
  if (ended != end_reason::none) out.append(" The lease ended: ").append(to_string(ended)).append(".");
  return out;
}

bool error::retryable() const noexcept {
  return may_retry(code);
}

// --- lease

lease::lease() noexcept = default;
lease::lease(lease&&) noexcept = default;
lease::lease(std::shared_ptr<library::held_lease> state) noexcept : state_(std::move(state)) {}

lease& lease::operator=(lease&& other) noexcept {
  if (this != &other) {
    lease last(std::move(*this));
    state_ = std::move(other.state_);
  }
  return *this;
}

lease::~lease() {
  if (!state_ || state_->is_over()) return;
  if (const auto home = state_->home.lock()) home->release(std::move(state_), [](auto&&) {});
}

std::string_view lease::lock() const noexcept {
  return state_ ? state_->is.lock : std::string_view();
}
std::string_view lease::client_id() const noexcept {
  return state_ ? state_->is.client : std::string_view();
}
std::string_view lease::metadata() const noexcept {
  return state_ ? state_->is.metadata : std::string_view();
}
fencing_token lease::fencing_token() const noexcept {
  return state_ ? state_->is.token : dislock::fencing_token{};
}
lock_mode lease::mode() const noexcept {
  return state_ ? state_->is.mode : lock_mode::exclusive;
}
std::uint32_t lease::hold_count() const noexcept {
  return state_ ? state_->is.hold_count : 0;
}
duration lease::waited() const noexcept {
  return state_ ? state_->is.waited : duration{};
}
bool lease::held() const noexcept {
  return state_ && state_->held();
}
duration lease::remaining() const noexcept {
  return state_ ? state_->remaining() : duration{};
}
instant lease::valid_until() const noexcept {
  return state_ ? state_->told_valid_until.at() : instant{};
}
lease_stage lease::stage() const noexcept {
  return state_ ? state_->stage_now() : lease_stage::released;
}
loss_cause lease::why_lost() const noexcept {
  return state_ ? state_->cause_now() : loss_cause::none;
}
std::stop_token lease::lost() const {
  return state_ ? state_->lost() : std::stop_token();
}

namespace {

error gone() {
  error out;
  out.code = errc::engine_unavailable;
  out.detail = "the client is closed";
  return out;
}

error not_held(const std::shared_ptr<library::held_lease>& of) {
  error out;
  out.code = errc::lock_not_held;
  if (of) out.lock = of->is.lock;
  return out;
}

}  // namespace

result<bool> lease::is_held() {
  if (!state_ || state_->is_over()) return false;
  const auto home = state_->home.lock();
  if (!home) return gone();
  return wait_for<bool>(*home, [&](library::core::done<bool> then) {
    home->query<bool>(
        [lock = state_->is.lock, token = state_->is.token](library::backend& where, auto answer) {
          where.validate(lock, token, std::move(answer));
        },
        std::move(then));
  });
}

result<void> lease::renew(std::optional<duration> ttl) {
  if (!state_) return not_held(state_);
  const auto home = state_->home.lock();
  if (!home) return not_held(state_);
  return wait_for<void>(*home,
                        [&](library::core::done<void> then) { home->renew(state_, ttl, std::move(then)); });
}

result<void> lease::release() {
  if (!state_ || state_->is_over()) return {};
  const auto home = state_->home.lock();
  if (!home) return not_held(state_);
  return wait_for<void>(*home,
                        [&](library::core::done<void> then) { home->release(state_, std::move(then)); });
}

lease_ticket lease::detach() && {
  lease_ticket out;
  if (!state_) return out;
  const auto state = std::move(state_);
  out.lock = state->is.lock;
  out.client_id = state->is.client;
  out.lock_id = state->is.id.to_string();
  out.token = state->is.token;
  out.ttl = state->life.ttl();
  if (const auto home = state->home.lock()) home->let_go(state);
  return out;
}

// --- lease_group

bool lease_group::held() const noexcept {
  return !leases_.empty() &&
         std::all_of(leases_.begin(), leases_.end(), [](const lease& l) { return l.held(); });
}

std::stop_token lease_group::lost() const {
  if (leases_.empty() || !leases_.front()) return {};
  auto& first = *library::core::state_of(leases_.front());
  std::stop_source all{std::nostopstate};
  bool made = false;
  {
    const std::lock_guard guard(first.stops_mutex);
    if (!first.group.stop_possible()) {
      first.group = std::stop_source();
      made = true;
    }
    all = first.group;
  }
  for (const auto& l : leases_) {
    if (!l) continue;
    if (made) library::core::state_of(l)->also_stop(all);
    if (!l.held()) all.request_stop();
  }
  return all.get_token();
}

result<void> lease_group::release() {
  std::optional<error> first;
  for (auto& l : leases_)
    if (auto done = l.release(); !done && !first) first = done.error();
  if (first) return std::move(*first);
  return {};
}

// --- client

client::client(const client&) noexcept = default;
client& client::operator=(const client&) noexcept = default;
client::client(client&&) noexcept = default;
client& client::operator=(client&&) noexcept = default;
client::~client() = default;
client::client(std::shared_ptr<library::core> with) noexcept : core_(std::move(with)) {}

result<client> client::connect(std::string_view url, client_options options) {
  auto opened = library::core::open(url, std::move(options));
  if (!opened) return opened.error();
  return client(std::move(*opened));
}

result<lease> client::acquire(std::string_view lock, acquire_options options) {
  return core_->acquire_here(lock, false, options);
}

result<std::optional<lease>> client::try_acquire(std::string_view lock, acquire_options options) {
  auto got = core_->acquire_here(lock, true, options);
  if (got) return std::optional<lease>(std::move(*got));
  if (got.error().code == errc::lock_not_acquired) return std::optional<lease>();
  return got.error();
}

result<lease_group> client::acquire_all(std::span<const lock_request> locks, acquire_options options) {
  auto got = wait_for<std::vector<lease>>(*core_, [&](library::core::done<std::vector<lease>> then) {
    core_->acquire({locks.begin(), locks.end()}, true, false, std::move(options), std::move(then));
  });
  if (!got) return got.error();
  return lease_group(std::move(*got));
}

result<lease_group> client::acquire_all(std::initializer_list<std::string_view> locks,
                                        acquire_options options) {
  std::vector<lock_request> all;
  for (const auto name : locks)
    all.push_back({std::string(name), options.mode, options.limit, options.permits});
  return acquire_all(std::span<const lock_request>(all), std::move(options));
}

result<void> client::finish(lease& held) {
  return held.release();
}

void client::wind_down(const lease& held) noexcept {
  const auto& state = library::core::state_of(held);
  if (!state) return;
  if (const auto home = state->home.lock()) home->ask_to_stop(state, loss_cause::stop_request);
}

namespace {

template <class T, class Ask>
result<T> ask(const std::shared_ptr<library::core>& of, Ask question) {
  return wait_for<T>(
      *of, [&](library::core::done<T> then) { of->query<T>(std::move(question), std::move(then)); });
}

}  // namespace

result<duration> client::renew(const lease_ticket& ticket, std::optional<duration> ttl) {
  return wait_for<duration>(
      *core_, [&](library::core::done<duration> then) { core_->renew(ticket, ttl, std::move(then)); });
}

result<void> client::release(const lease_ticket& ticket) {
  return wait_for<void>(*core_,
                        [&](library::core::done<void> then) { core_->release(ticket, std::move(then)); });
}

result<bool> client::is_locked(std::string_view lock) {
  auto state = inspect(lock);
  if (!state) return state.error();
  return state->locked;
}

result<lock_state> client::inspect(std::string_view lock) {
  if (auto wrong = library::wrong_lock_name(lock)) return std::move(*wrong);
  return ask<lock_state>(core_, [lock = std::string(lock)](library::backend& where, auto answer) {
    where.inspect(lock, std::move(answer));
  });
}

result<std::vector<lock_state>> client::list(std::string_view prefix, std::string_view client_id,
                                             std::size_t limit) {
  return ask<std::vector<lock_state>>(core_, [prefix = std::string(prefix), who = std::string(client_id),
                                              limit](library::backend& where, auto answer) {
    where.list(prefix, who, limit, std::move(answer));
  });
}

result<bool> client::validate(std::string_view lock, fencing_token token) {
  if (auto wrong = library::wrong_lock_name(lock)) return std::move(*wrong);
  return ask<bool>(core_, [lock = std::string(lock), token](library::backend& where, auto answer) {
    where.validate(lock, token, std::move(answer));
  });
}

result<std::vector<fencing_token>> client::force_release(std::string_view lock,
                                                         std::optional<fencing_token> token,
                                                         std::string_view reason) {
  if (auto wrong = library::wrong_lock_name(lock)) return std::move(*wrong);
  return wait_for<std::vector<fencing_token>>(*core_,
                                              [&](library::core::done<std::vector<fencing_token>> then) {
                                                core_->force_release(lock, token, reason, std::move(then));
                                              });
}

result<std::vector<graph_edge>> client::graph() {
  return ask<std::vector<graph_edge>>(
      core_, [](library::backend& where, auto answer) { where.graph(std::move(answer)); });
}

result<std::vector<deadlock_report>> client::deadlocks() {
  return ask<std::vector<deadlock_report>>(
      core_, [](library::backend& where, auto answer) { where.deadlocks(std::move(answer)); });
}

result<event_page> client::events_after(std::uint64_t id, std::string_view prefix, duration wait) {
  return ask<event_page>(core_,
                         [id, prefix = std::string(prefix), wait](library::backend& where, auto answer) {
                           where.events_after(id, prefix, wait, std::move(answer));
                         });
}

result<engine_info> client::about() {
  return ask<engine_info>(core_,
                          [](library::backend& where, auto answer) { where.about(std::move(answer)); });
}

result<duration> client::ping() {
  return ask<duration>(core_, [](library::backend& where, auto answer) { where.ping(std::move(answer)); });
}

void client::advance(duration by) {
  core_->advance(by);
}

result<void> client::close(duration patience) {
  return wait_for<void>(*core_,
                        [&](library::core::done<void> then) { core_->close(patience, std::move(then)); });
}

}  // namespace dislock
