#include "wording.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <numeric>
#include <utility>

namespace dislock::cli {
namespace {

using namespace std::chrono_literals;

template <class... Values>
std::string printed(const char* pattern, Values... values) {
  std::array<char, 96> buffer{};
  const int size = std::snprintf(buffer.data(), buffer.size(), pattern, values...);
  return {buffer.data(), static_cast<std::size_t>(std::clamp(size, 0, 95))};
}

struct parts {
  std::tm day{};
  int ms = 0;
};

parts split(wall_time at) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(at);
  const std::time_t t = seconds.time_since_epoch().count();
  parts out;
  gmtime_r(&t, &out.day);
  out.ms = static_cast<int>(std::chrono::floor<std::chrono::milliseconds>(at - seconds).count());
  return out;
}

constexpr std::array<std::pair<std::string_view, int>, 16> signal_names{{{"HUP", SIGHUP},
                                                                         {"INT", SIGINT},
                                                                         {"QUIT", SIGQUIT},
                                                                         {"ABRT", SIGABRT},
                                                                         {"KILL", SIGKILL},
                                                                         {"USR1", SIGUSR1},
                                                                         {"USR2", SIGUSR2},
                                                                         {"PIPE", SIGPIPE},
                                                                         {"ALRM", SIGALRM},
                                                                         {"TERM", SIGTERM},
                                                                         {"CONT", SIGCONT},
                                                                         {"STOP", SIGSTOP},
                                                                         {"TSTP", SIGTSTP},
                                                                         {"TTIN", SIGTTIN},
                                                                         {"TTOU", SIGTTOU},
                                                                         {"WINCH", SIGWINCH}}};

}  // namespace

std::optional<duration> duration_from(std::string_view text) {
  double number = 0;
  const auto [end, wrong] =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (wrong != std::errc{} || !std::isfinite(number) || number < 0) return std::nullopt;
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  constexpr std::array<std::pair<std::string_view, double>, 7> units{
      {{"", 1}, {"s", 1}, {"ms", 0.001}, {"us", 0.000001}, {"m", 60}, {"h", 3600}, {"d", 86400}}};
  for (const auto& [name, seconds] : units) {
    if (unit != name) continue;
    const double us = number * seconds * 1e6;
    if (us > 3.2e15) return std::nullopt;
    return duration(static_cast<duration::rep>(std::llround(us)));
  }
  return std::nullopt;
}

std::string in_words(duration d) {
  if (d < duration::zero()) return "-" + in_words(-d);
  const auto us = static_cast<long long>(d.count());
  if (d < 1ms) return printed("%lldus", us);
  if (d < 10ms) return printed("%.1fms", static_cast<double>(us) / 1e3);
  if (d < 1s) return printed("%lldms", us / 1000);
  if (d < 1min) return printed("%.1fs", std::floor(static_cast<double>(us) / 1e5) / 10);
  const long long s = us / 1'000'000;
  const auto two = [](long long big, const char* unit, long long small, const char* rest) {
    return small == 0 ? printed("%lld%s", big, unit) : printed("%lld%s%lld%s", big, unit, small, rest);
  };
  if (d < 1h) return two(s / 60, "m", s % 60, "s");
  if (d < 24h) return two(s / 3600, "h", s % 3600 / 60, "m");
  return two(s / 86400, "d", s % 86400 / 3600, "h");
}

double in_seconds(duration d) noexcept {
  return static_cast<double>(std::chrono::round<std::chrono::milliseconds>(d).count()) / 1000;
}

wall_time wall_now() noexcept {
  const boottime_clock fresh;  // it starts at the wall clock's reading
  return wall_time(fresh.now().time_since_epoch());
}

std::string rfc3339(wall_time at) {
  const auto p = split(at);
  return printed("%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", p.day.tm_year + 1900, p.day.tm_mon + 1, p.day.tm_mday,
                 p.day.tm_hour, p.day.tm_min, p.day.tm_sec, p.ms);
}

std::string time_of_day(wall_time at) {
  const auto p = split(at);
  return printed("%02d:%02d:%02d.%03d", p.day.tm_hour, p.day.tm_min, p.day.tm_sec, p.ms);
}

std::optional<int> signal_from(std::string_view text) {
  int number = 0;
  const auto [end, wrong] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (wrong == std::errc{} && end == text.data() + text.size())
    return number >= 1 && number <= 64 ? std::optional(number) : std::nullopt;
  if (text.starts_with("SIG")) text.remove_prefix(3);
  for (const auto& [name, value] : signal_names)
    if (text == name) return value;
  return std::nullopt;
}

std::string signal_name(int number) {
  for (const auto& [name, value] : signal_names)
    if (value == number) return "SIG" + std::string(name);
  return "signal " + std::to_string(number);
}

std::string harmless(std::string_view text) {
  std::string out(text);
  std::ranges::replace_if(
      out, [](char c) { return (static_cast<unsigned char>(c) < 0x20 && c != '\n') || c == 0x7f; }, '?');
  return out;
}

std::optional<std::string> nearest(std::string_view word, const std::vector<std::string>& known) {
  std::optional<std::string> best;
  std::size_t best_distance = std::max<std::size_t>(word.size() / 3, 2) + 1;
  for (const auto& candidate : known) {
    std::vector<std::size_t> row(candidate.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 0; i < word.size(); ++i) {
      std::size_t diagonal = row[0];
      row[0] = i + 1;
      for (std::size_t j = 0; j < candidate.size(); ++j) {
        const std::size_t changed = diagonal + (word[i] == candidate[j] ? 0 : 1);
        diagonal = row[j + 1];
        row[j + 1] = std::min({row[j] + 1, row[j + 1] + 1, changed});
      }
    }
    if (row.back() < best_distance) {
      best_distance = row.back();
      best = candidate;
    }
  }
  return best;
}

}  // namespace dislock::cli
