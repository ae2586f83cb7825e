#include "dislock/election.hpp"

#include "library/await_answer.hpp"
#include "library/patience.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>
#include <utility>

namespace dislock {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// How long one question after events waits; then the state is looked at anyway.
constexpr duration slice = seconds(20);
constexpr duration first_pause = milliseconds(100), longest_pause = seconds(2);

std::string value_in(const std::string& metadata) {
  boost::system::error_code wrong;
  const auto read = boost::json::parse(metadata.empty() ? std::string("{}") : metadata, wrong);
  if (wrong || !read.is_object()) return {};
  const auto* const value = read.get_object().if_contains("value");
  if (!value) return {};
  if (value->is_string()) return std::string(value->get_string());
  return boost::json::serialize(*value);
}

std::optional<leader> leader_in(const lock_state& state) {
  if (state.holders.empty()) return std::nullopt;
  const auto& h = state.holders.front();
  return leader{h.client, value_in(h.metadata), h.token, h.acquired_at, h.expires_at};
}

std::optional<fencing_token> token_of(const std::optional<leader>& who) {
  if (!who) return std::nullopt;
  return who->token;
}

task<result<std::optional<leader>>> look(async_client with, std::string name) {
  auto state = co_await with.inspect(std::move(name));
  if (!state) co_return state.error();
  co_return leader_in(*state);
}

// Negative patience: it never ends.
task<result<lease>> stand(async_client with, std::string name, acquire_options how, duration patience) {
  const bool for_ever = patience < duration::zero();
  for (auto left = patience;; left -= how.wait) {
    how.wait = for_ever ? library::longest_wait : std::min(left, library::longest_wait);
    auto asked = how;
    auto got = co_await with.acquire(name, std::move(asked));
    const bool over = got || got.error().code != errc::lock_not_acquired || (!for_ever && left <= how.wait);
    if (over) co_return std::move(got);
  }
}

// Where the log is, before the state is looked at: what changes after that is told.
struct place_in_log {
  std::uint64_t seen = 0;
  bool known = false;
};

// Ends when something may have happened to the lock, or after `wait`.
task<result<void>> something_happens(async_client with, std::string name, place_in_log& at, duration wait) {
  const auto page = co_await with.events_after(at.seen, name, at.known ? wait : duration::zero());
  if (!page) co_return page.error();
  at.seen = page->newest;
  at.known = true;
  co_return result<void>();
}

task<result<std::optional<leader>>> another_leader(async_client with, std::string name,
                                                   std::optional<fencing_token> known, duration wait) {
  const auto core = library::core::of(with.blocking());
  const auto until = later(core->now(), wait);
  place_in_log at;
  for (;;) {
    const auto left = std::max(duration::zero(), until - core->now());
    auto waited = co_await something_happens(with, name, at, std::min(left, slice));
    if (!waited) co_return waited.error();
    auto who = co_await look(with, name);
    if (!who || token_of(*who) != known || core->now() >= until) co_return std::move(who);
  }
}

task<void> tell_changes(async_client with, std::string name, election::listener on_change) {
  place_in_log at;
  bool told = false;
  std::optional<fencing_token> last;
  auto pause = first_pause;
  for (;;) {
    auto who = result<std::optional<leader>>(error());
    auto waited = co_await something_happens(with, name, at, slice);
    if (waited) {
      auto seen = co_await look(with, name);
      who = std::move(seen);
    }
    if (who) {
      pause = first_pause;
      const auto now = token_of(*who);
      if (std::exchange(told, true) && last == now) continue;
      last = now;
      on_change(*who);
      continue;
    }
    at.known = false;  // what has happened up to there has not been seen: look first, then wait
    auto slept = co_await with.sleep(pause);
    if (!slept) co_return;  // the client is closed
    pause = std::min(pause * 2, longest_pause);
  }
}

}  // namespace

election::election(client with, std::string name, std::string value, acquire_options options)
    : client_(std::move(with)),
      name_(std::move(name)),
      value_(std::move(value)),
      options_(std::move(options)) {
  options_.mode = lock_mode::exclusive;
  options_.limit = 0;
  options_.permits = 1;
  options_.metadata.clear();
  if (!value_.empty()) options_.metadata = boost::json::serialize(boost::json::object{{"value", value_}});
}

acquire_options election::candidacy(std::stop_token stop) const {
  auto out = options_;
  out.stop = std::move(stop);
  return out;
}

task<result<lease>> election::async_campaign(std::stop_token stop) const {
  return stand(client_.async(), name_, candidacy(std::move(stop)), duration(-1));
}

task<result<lease>> election::async_campaign_for(duration patience, std::stop_token stop) const {
  return stand(client_.async(), name_, candidacy(std::move(stop)), std::max(patience, duration::zero()));
}

task<result<std::optional<lease>>> election::async_try_campaign() const {
  return client_.async().try_acquire(name_, candidacy({}));
}

task<result<void>> election::async_resign(lease& leadership) const {
  if (leadership && leadership.lock() != name_) {
    return [](std::string name) -> task<result<void>> {
      error out;
      out.code = errc::invalid_field;
      out.lock = std::move(name);
      out.detail = "leadership: a lease of another lock";
      co_return std::move(out);
    }(name_);
  }
  return client_.async().release(leadership);
}

task<result<std::optional<leader>>> election::async_current() const {
  return look(client_.async(), name_);
}

task<result<std::optional<leader>>> election::async_next(std::optional<fencing_token> known,
                                                         duration wait) const {
  return another_leader(client_.async(), name_, known, wait);
}

result<lease> election::campaign(std::stop_token stop) {
  return library::wait_here(*library::core::of(client_), async_campaign(std::move(stop)));
}

result<lease> election::campaign_for(duration patience, std::stop_token stop) {
  return library::wait_here(*library::core::of(client_), async_campaign_for(patience, std::move(stop)));
}

result<std::optional<lease>> election::try_campaign() {
  return client_.try_acquire(name_, candidacy({}));
}

result<void> election::resign(lease& leadership) {
  return library::wait_here(*library::core::of(client_), async_resign(leadership));
}

result<std::optional<leader>> election::current() {
  return library::wait_here(*library::core::of(client_), async_current());
}

result<std::optional<leader>> election::next(std::optional<fencing_token> known, duration wait) {
  return library::wait_here(*library::core::of(client_), async_next(known, wait));
}

running_task<> election::observe(listener on_change) {
  return start(tell_changes(client_.async(), name_, std::move(on_change)));
}

running_task<> election::observe(listener on_change, executor where) {
  return start(tell_changes(client_.async().resumed_on(std::move(where)), name_, std::move(on_change)));
}

}  // namespace dislock
