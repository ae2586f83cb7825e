#include "scoreboard.hpp"

#include "views.hpp"
#include "wording.hpp"

#include <algorithm>
#include <cstdio>

namespace dislock::cli {
namespace {

namespace json = boost::json;

std::string rate(double per_second) {
  char text[32];
  std::snprintf(text, sizeof text, per_second < 10 ? "%.1f" : "%.0f", per_second);
  return text;
}

std::string cut(std::string text, std::size_t width) {
  return text.size() > width ? text.substr(0, width - 1) + "~" : text;
}
std::string left(std::string text, std::size_t width) {
  text = cut(std::move(text), width);
  text.resize(width, ' ');
  return text;
}
std::string right(const std::string& text, std::size_t width) {
  return text.size() >= width ? text : std::string(width - text.size(), ' ') + text;
}

}  // namespace

std::vector<std::string> scoreboard::contended(const std::vector<lock_state>& locks, std::size_t count) {
  std::vector<const lock_state*> queued;
  for (const auto& s : locks)
    if (s.queue_length > 0) queued.push_back(&s);
  std::ranges::sort(queued, [](const auto* a, const auto* b) {
    return a->queue_length != b->queue_length ? a->queue_length > b->queue_length : a->name < b->name;
  });
  std::vector<std::string> out;
  for (const auto* s : queued) {
    if (out.size() == count) break;
    out.push_back(s->name);
  }
  return out;
}

void scoreboard::take(const snapshot& s) {
  const double seconds = last_ == wall_time{} ? 0 : std::chrono::duration<double>(s.at - last_).count();
  const auto per_second = [&](std::size_t n) { return seconds > 0 ? static_cast<double>(n) / seconds : 0; };
  std::map<std::string, std::size_t> acquires;
  std::size_t acquired = 0, released = 0, refused = 0, expired = 0;
  for (const auto& e : s.events) {
    if (e.type == "acquired") {
      ++acquired;
      ++acquires[e.lock];
    }
    released += e.type == "released";
    refused += e.type == "refused";
    expired += e.type == "expired";
    deadlocks_ += e.type == "deadlock";
  }
  acquired_ = per_second(acquired);
  released_ = per_second(released);
  refused_ = per_second(refused);
  expired_ = per_second(expired);

  std::map<std::string, row> rows;
  for (const auto& [lock, n] : acquires) rows[lock].acquired_per_second = per_second(n);
  held_ = waiting_ = 0;
  waits_.clear();
  for (const auto& l : s.locks) {
    auto& r = rows[l.name];
    r.queue = l.queue_length;
    held_ += l.holder_count;
    waiting_ += l.queue_length;
    if (!l.holders.empty()) {
      r.holder = l.holders.front().client;
      r.held = std::max(duration::zero(), s.at - l.holders.front().acquired_at);
    }
    for (const auto& w : l.waiters) {
      const auto age = std::max(duration::zero(), s.at - w.since);
      r.longest_wait = std::max(r.longest_wait, age);
      waits_.push_back({w.client, l.name, age, w.position});
    }
  }
  rows_.clear();
  for (auto& [lock, r] : rows) {
    r.lock = lock;
    rows_.push_back(std::move(r));
  }
  std::ranges::stable_sort(rows_, [](const row& a, const row& b) {
    return std::tuple(-a.acquired_per_second, b.queue, b.held) <
           std::tuple(-b.acquired_per_second, a.queue, a.held);
  });
  std::ranges::stable_sort(waits_, [](const wait& a, const wait& b) { return a.age > b.age; });
  now_ = s;
  last_ = s.at;
}

json::object scoreboard::to_json() const {
  json::array locks, waits;
  for (const auto& r : rows_)
    locks.push_back({{"lockName", r.lock},
                     {"acquiredPerSecond", r.acquired_per_second},
                     {"queueLength", r.queue},
                     {"holder", r.holder.empty() ? json::value(nullptr) : json::value(r.holder)},
                     {"held", in_seconds(r.held)},
                     {"longestWait", in_seconds(r.longest_wait)}});
  for (const auto& w : waits_)
    waits.push_back({{"clientId", w.client},
                     {"lockName", w.lock},
                     {"waited", in_seconds(w.age)},
                     {"position", w.position}});
  return {{"at", rfc3339(now_.at)},
          {"held", held_},
          {"waiting", waiting_},
          {"acquiredPerSecond", acquired_},
          {"releasedPerSecond", released_},
          {"refusedPerSecond", refused_},
          {"expiredPerSecond", expired_},
          {"roundTrip", static_cast<double>(now_.round_trip.count()) / 1e6},
          {"locks", std::move(locks)},
          {"waits", std::move(waits)}};
}

std::string scoreboard::text(const printer& print, int lines, int columns, bool paused) const {
  const auto width = static_cast<std::size_t>(std::max(columns, 40));
  std::string out = print.painted("dislock top", colour::strong) + "  " + time_of_day(now_.at).substr(0, 8) +
                    " UTC  round trip " + in_words(now_.round_trip) +
                    (paused ? print.painted("  PAUSED", colour::warning) : "") +
                    (print.out_can().is_terminal ? "   q quit, p pause\n" : "\n");
  out += "held " + std::to_string(held_) + "   waiting " + std::to_string(waiting_) + "   acquired " +
         rate(acquired_) + "/s   released " + rate(released_) + "/s   refused " + rate(refused_) +
         "/s   expired " + rate(expired_) + "/s" +
         (deadlocks_ > 0 ? print.painted("   deadlocks " + std::to_string(deadlocks_), colour::bad) : "") +
         (now_.events_missed ? print.painted("   (more happened than the log keeps)", colour::warning) : "") +
         "\n\n";

  // What does not fit is not worth a look: two thirds for the locks, the rest for waits.
  const int room = std::max(lines - 8, 2);
  const auto for_waits =
      std::min<std::size_t>(waits_.size(), static_cast<std::size_t>(std::max(room / 3, 1)));
  const auto for_locks = std::min<std::size_t>(rows_.size(), static_cast<std::size_t>(room) - for_waits);
  const std::size_t name = std::max<std::size_t>(width * 3 / 10, 12),
                    who = width > name + 48 ? width - name - 40 : 8;
  out += print.painted(left("HOTTEST LOCKS", name) + right("ACQ/S", 9) + right("WAITING", 9) +
                           right("WAITED", 10) + right("HELD", 10) + "  " + "HOLDER",
                       colour::strong) +
         "\n";
  for (std::size_t i = 0; i < for_locks; ++i) {
    const auto& r = rows_[i];
    const auto line = left(harmless(r.lock), name) + right(rate(r.acquired_per_second), 9) +
                      right(std::to_string(r.queue), 9) +
                      right(r.longest_wait > duration::zero() ? in_words(r.longest_wait) : "-", 10) +
                      right(r.holder.empty() ? "-" : in_words(r.held), 10) + "  " +
                      cut(harmless(r.holder), who);
    out += (r.queue > 0 ? print.painted(line, colour::warning) : line) + "\n";
  }
  if (rows_.size() > for_locks) out += "and " + std::to_string(rows_.size() - for_locks) + " more\n";
  out += "\n" +
         print.painted(left("LONGEST WAITS", name) + right("WAITED", 10) + right("PLACE", 8) + "  LOCK",
                       colour::strong) +
         "\n";
  for (std::size_t i = 0; i < for_waits; ++i)
    out += left(harmless(waits_[i].client), name) + right(in_words(waits_[i].age), 10) +
           right(std::to_string(waits_[i].position), 8) + "  " + harmless(waits_[i].lock) + "\n";
  if (waits_.empty()) out += "nobody waits\n";
  return out;
}

}  // namespace dislock::cli
