#include "server/statistics.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstring>
#include <utility>

namespace dislock::server {
namespace {

template <class Enum>
constexpr std::size_t place_of(Enum value) noexcept {
  return static_cast<std::size_t>(value);
}

constexpr std::int64_t second_number(instant t) noexcept {
  return microseconds_since_1970(t) / 1'000'000;
}

// Of an event that says that a lease ended. Only `forced` carries a reason in somebody's own words.
end_reason how_it_ended(const event& e) noexcept {
  const auto is = [&](end_reason r) { return e.reason == to_string(r); };
  switch (e.type) {
    case event_type::forced:
      return end_reason::forced;
    case event_type::undelivered:
      return end_reason::undelivered;
    case event_type::expired:
      if (is(end_reason::max_hold)) return end_reason::max_hold;
      return is(end_reason::session_expired) ? end_reason::session_expired : end_reason::expired;
    default:
      if (is(end_reason::cancelled)) return end_reason::cancelled;
      return is(end_reason::session_closed) ? end_reason::session_closed : end_reason::released;
  }
}

// Up to microseconds, without an exponent.
void write_number(http::json_writer& json, double number) {
  std::array<char, 48> digits;
  const auto end =
      std::to_chars(digits.data(), digits.data() + digits.size(), number, std::chars_format::fixed).ptr;
  json.raw({digits.data(), static_cast<std::size_t>(end - digits.data())});
}

void write_percentiles(http::json_writer& json, const histogram& h) {
  const auto seconds = [&](std::string_view name, duration d) {
    json.key(name);
    if (h.count() == 0) {
      json.null();
    } else {
      write_number(json, static_cast<double>(d.count()) / 1e6);
    }
  };
  json.begin_object();
  seconds("p50", h.quantile(0.5));
  seconds("p90", h.quantile(0.9));
  seconds("p99", h.quantile(0.99));
  seconds("p999", h.quantile(0.999));
  seconds("max", h.max());
  json.member("count", h.count());
  json.end_object();
}

}  // namespace

contended_locks::contended_locks() {
  entries_.reserve(capacity);
  first_of_.fill(none);
}

void contended_locks::on_queued(std::string_view lock) noexcept {
  lock = lock.substr(0, longest_name);
  const auto hash = std::hash<std::string_view>()(lock);
  auto at = find(lock, hash);
  if (at == none && entries_.size() < capacity) at = add(lock, hash);
  if (at != none) ++entries_[at].waits;
}

void contended_locks::on_waited(std::string_view lock, duration took) noexcept {
  lock = lock.substr(0, longest_name);
  const auto hash = std::hash<std::string_view>()(lock);
  auto at = find(lock, hash);
  if (at == none) {
    at = add(lock, hash);
    ++entries_[at].waits;  // this one: nobody counted it when it was queued
  }
  const auto where = entries_[at].heap_at;
  sink({heap_[where].weight + took.count(), at}, where);
}

std::vector<contended_lock> contended_locks::top(std::size_t most) const {
  std::vector<std::pair<std::int64_t, const entry*>> all;
  all.reserve(entries_.size());
  for (const auto& e : entries_) all.emplace_back(heap_[e.heap_at].weight - e.inherited, &e);
  const auto last = all.begin() + static_cast<std::ptrdiff_t>(std::min(most, all.size()));
  std::partial_sort(all.begin(), last, all.end(), [](const auto& a, const auto& b) {
    if (a.first != b.first) return a.first > b.first;
    return a.second->waits != b.second->waits ? a.second->waits > b.second->waits
                                              : a.second->lock() < b.second->lock();
  });

  std::vector<contended_lock> out;
  for (auto it = all.begin(); it != last; ++it)
    out.push_back({std::string(it->second->lock()), it->second->waits, duration(it->first)});
  return out;
}

contended_locks::index contended_locks::find(std::string_view lock, std::size_t hash) const noexcept {
  auto at = first_of_[hash % chains];
  while (at != none && (entries_[at].hash != hash || entries_[at].lock() != lock)) at = entries_[at].next;
  return at;
}

// Follows one more name, in place of the lightest one if need be.
contended_locks::index contended_locks::add(std::string_view lock, std::size_t hash) noexcept {
  if (entries_.size() == capacity) {
    const auto [weight, at] = heap_[0];
    unlink(at);
    name(at, lock, hash);
    entries_[at].inherited = weight;
    entries_[at].waits = 0;
    return at;
  }
  const auto at = static_cast<index>(entries_.size());
  entries_.emplace_back();
  name(at, lock, hash);
  auto where = std::size_t{at};
  for (; where > 0 && heap_[(where - 1) / 2].weight > 0; where = (where - 1) / 2)
    place(heap_[(where - 1) / 2], where);
  place({0, at}, where);
  return at;
}

void contended_locks::name(index at, std::string_view lock, std::size_t hash) noexcept {
  auto& e = entries_[at];
  e.length = static_cast<std::uint8_t>(std::min(lock.size(), longest_name));
  std::memcpy(e.name.data(), lock.data(), e.length);
  e.hash = hash;
  e.next = first_of_[hash % chains];
  first_of_[hash % chains] = at;
}

void contended_locks::unlink(index at) noexcept {
  auto* link = &first_of_[entries_[at].hash % chains];
  while (*link != at) link = &entries_[*link].next;
  *link = entries_[at].next;
}

// Puts a node whose weight has grown, and which was at `where`, to where the heap wants it.
void contended_locks::sink(heap_node node, std::size_t where) noexcept {
  const auto size = entries_.size();
  while (true) {
    auto child = 2 * where + 1;
    if (child >= size) break;
    child += heap_[child + 1].weight < heap_[child].weight ? 1u : 0u;  // an unused node is the heaviest
    if (heap_[child].weight >= node.weight) break;
    place(heap_[child], where);
    where = child;
  }
  place(node, where);
}

void contended_locks::place(heap_node node, std::size_t where) noexcept {
  heap_[where] = node;
  entries_[node.at].heap_at = static_cast<index>(where);
}

statistics::statistics(instant since)
    : since_(since), request_times_(request_operation_count), engine_times_(engine_operation_count) {}

void statistics::on_event(const event& e) noexcept {
  ++counted_.events[place_of(e.type)];
  switch (e.type) {
    case event_type::acquired:
      ++counted_.acquired[place_of(e.mode.value_or(lock_mode::exclusive))];
      ++second_of(e.at).acquired;
      granted_.record(e.took);
      if (e.took > duration::zero()) contended_.on_waited(e.lock, e.took);
      break;
    case event_type::refused:
      ++second_of(e.at).refused;
      refused_.record(e.took);
      if (e.took > duration::zero()) contended_.on_waited(e.lock, e.took);
      break;
    case event_type::deadlock:
      ++second_of(e.at).refused;
      break;  // refused before it waited
    case event_type::queued:
      contended_.on_queued(e.lock);
      break;
    case event_type::released:
    case event_type::expired:
    case event_type::forced:
    case event_type::undelivered:
      ++counted_.ended[place_of(how_it_ended(e))];
      ++second_of(e.at).released;
      holds_.record(e.took);
      break;
    case event_type::cancelled:
    case event_type::session_opened:
    case event_type::session_closed:
    case event_type::session_expired:
      break;
  }
}

void statistics::on_deadlock(const deadlock& d) {
  ++counted_.deadlocks;
  if (deadlocks_.size() == deadlocks_kept) deadlocks_.pop_back();
  deadlocks_.push_front(d);
}

void statistics::on_reentry(lock_mode mode, instant at) noexcept {
  ++counted_.acquired[place_of(mode)];
  ++second_of(at).acquired;
}

void statistics::on_renewal(bool done, renewed_by by, std::uint64_t leases) noexcept {
  (done ? counted_.renewed : counted_.not_renewed)[place_of(by)] += leases;
}

void statistics::on_reply(request_operation what, int status, duration took) noexcept {
  const auto status_class = status >= 500 ? 2u : status >= 400 ? 1u : 0u;
  ++counted_.replies[place_of(what)][status_class];
  request_times_[place_of(what)].record(took);
}

void statistics::on_problem(errc code) noexcept {
  ++counted_.problems[place_of(code)];
}

void statistics::on_engine_call(engine_operation what, duration took) noexcept {
  engine_times_[place_of(what)].record(took);
}

void statistics::on_engine_error(effect what) noexcept {
  ++counted_.engine_errors[place_of(what)];
}

histogram statistics::waits() const {
  auto all = granted_;
  all.merge(refused_);
  return all;
}

const histogram& statistics::request_times(request_operation what) const noexcept {
  return request_times_[place_of(what)];
}

const histogram& statistics::engine_times(engine_operation what) const noexcept {
  return engine_times_[place_of(what)];
}

statistics::second& statistics::second_of(instant at) noexcept {
  const auto number = second_number(at);
  auto& slot = seconds_[static_cast<std::uint64_t>(number) % seconds_.size()];
  if (slot.number != number) slot = {number};
  return slot;
}

statistics::rates statistics::rates_at(instant now) const noexcept {
  const auto newest = second_number(now);
  const auto oldest = newest - window + 1;
  rates out;
  for (const auto& s : seconds_) {
    if (s.number < oldest || s.number > newest) continue;
    out.acquired += s.acquired;
    out.released += s.released;
    out.refused += s.refused;
  }
  const auto from = std::max(since_, from_microseconds(oldest * 1'000'000));
  const auto span = std::max(std::chrono::duration<double>(now - from).count(), 1.0);
  out.acquired /= span;
  out.released /= span;
  out.refused /= span;
  return out;
}

void statistics::write_stats(http::json_writer& json, instant now, const table_counts& counts,
                             std::size_t request_memory_max, const queue_length_of& queue_length) const {
  json.begin_object();
  json.member("activeLocks", counts.active_locks);
  json.member("heldLeases", counts.leases);
  json.member("waiters", counts.waiters);
  json.member("sessions", counts.sessions);
  json.key("requestMemory").begin_object();
  json.member("entries", counts.remembered).member("max", request_memory_max);
  json.end_object();

  const auto per_second = [&](std::string_view name, double rate) {
    json.key(name);
    write_number(json, std::round(rate * 1000) / 1000);
  };
  const auto lately = rates_at(now);
  json.key("rates").begin_object();
  per_second("acquiredPerSecond", lately.acquired);
  per_second("releasedPerSecond", lately.released);
  per_second("refusedPerSecond", lately.refused);
  json.end_object();

  json.key("waitTime");
  write_percentiles(json, waits());
  json.key("holdTime");
  write_percentiles(json, holds_);

  json.key("mostContended").begin_array();
  for (const auto& each : most_contended()) {
    json.begin_object();
    json.member("lockName", each.lock);
    json.member("waits", each.waits);
    json.member("totalWaitTime", std::chrono::duration_cast<std::chrono::milliseconds>(each.total));
    json.member("queueLength", queue_length(each.lock));
    json.end_object();
  }
  json.end_array();
  json.key("since").time(since_.time_since_epoch());
  json.end_object();
}

void statistics::write_deadlocks(http::json_writer& json) const {
  constexpr std::size_t steps_shown = 1000;  // maxItems of openapi.yaml
  json.begin_object().key("deadlocks").begin_array();
  for (const auto& d : deadlocks_) {
    json.begin_object().key("at").time(d.at.time_since_epoch());
    json.key("victim").begin_object();
    json.member("clientId", d.client).member("lockName", d.lock);
    json.end_object();
    json.key("cycle").begin_array();
    for (std::size_t i = 0; i < std::min(d.cycle.size(), steps_shown); ++i) {
      const auto& step = d.cycle[i];
      json.begin_object();
      json.member("clientId", step.client).member("waitsFor", step.lock);
      json.member("heldBy", step.blocker).member("waitsBehind", step.behind);
      json.end_object();
    }
    json.end_array().end_object();
  }
  json.end_array().member("total", counted_.deadlocks).end_object();
}

}  // namespace dislock::server
