// Events: one stream for all replicas.
#include "engines/redis/script_engine.hpp"

#include <algorithm>
#include <utility>

namespace dislock::redis {
namespace {

// How often events are written down, and read.
constexpr duration sharing_pause = milliseconds(10);
// As in events.lua; and how many events one entry may have.
constexpr std::size_t entries_a_page = 50, most_shared = 2000;

event event_of(const told_event& told, instant at) {
  event e;
  e.type = told.type;
  e.at = at;
  e.lock = told.lock;
  e.client = told.client;
  e.reason = told.reason;
  e.token = told.token;
  e.mode = told.mode;
  e.took = told.took;
  return e;
}

}  // namespace

void script_engine::happened(told_event told, std::int64_t at) {
  if (listener_) listener_->on_event(event_of(told, now()));
  unshared_.emplace_back(std::move(told), at);
  share_events();
}

// Writes what happened here into the stream, and reads what is new there. What happens meanwhile and within
// a moment goes with the next: else there would be as many of these as there are decisions.
void script_engine::share_events() {
  if (stopped_ || sharing_ || (unshared_.empty() && !unread_)) return;
  if (now() < next_share_ && unshared_.size() < most_shared) return wake_later();
  next_share_ = later(now(), sharing_pause);
  sharing_ = true;
  unread_ = false;
  const auto count = std::min(unshared_.size(), most_shared);
  std::string events;
  for (std::size_t i = 0; i < count; ++i) {
    write_event(events, unshared_.front().first, unshared_.front().second);
    unshared_.pop_front();
  }
  const auto kept = std::to_string(options_.event_log_size), number = std::to_string(count);
  const auto channel = prefixes_.own + "news", stream = prefixes_.own + "events";
  const std::string_view keys[] = {stream};
  const std::string_view arguments[] = {last_read_, kept, channel, me_, number, events};
  script_call call;
  call.script = 1;
  call.keys = keys;
  call.arguments = arguments;
  client_->run({.key = stream}, call, later(network_time_.now(), options_.call_timeout),
               [this](response got) {
                 sharing_ = false;
                 if (got && got->is == reply::kind::array) {
                   read_events(*got);
                   if (got->items.size() == entries_a_page) unread_ = true;
                 }
                 share_events();
               });
}

void script_engine::read_events(const reply& entries) {
  for (const auto& entry : entries.items) {
    last_read_ = entry.at(0).text;
    auto id = number_at_start(last_read_);
    redis::read_events(entry, [&](const told_event& told, std::int64_t at) {
      events_.append(event_of(told, relation_.ours(at)), id++);
    });
  }
  events_.publish(events_.appended());
}

void script_engine::on_subscribed() {
  unread_ = true;
  share_events();
  if (!waiting_.empty()) next_poll_ = now();
  wake_later();
}

// A waiter of this replica has something to collect ("ticket:epoch"), or another replica has written events.
void script_engine::on_message(std::string_view channel, std::string_view text) {
  if (!channel.ends_with(me_)) {
    unread_ = unread_ || text != me_;
    // Something is in use somewhere: its replica may die, and then it is ours to end.
    next_sweep_ = std::min(next_sweep_, later(now(), sweeping));
    wake_later();
    return share_events();
  }
  const auto id = ticket{number_at_start(text)};
  const auto colon = text.find(':');
  if (colon == std::string_view::npos) return;
  const auto epoch = static_cast<std::uint32_t>(number_at_start(text.substr(colon + 1)));
  if (text.ends_with(":superseded")) return resolve(id, epoch, dislock::refuse(errc::superseded));
  if (!waiting_.contains(static_cast<std::uint64_t>(id))) return disown_later(id);
  collect(id);
}

}  // namespace dislock::redis
