#include "server/metrics.hpp"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <ctime>
#include <fcntl.h>
#include <filesystem>
#include <limits>
#include <unistd.h>
#include <utility>

namespace dislock::server {
namespace {

constexpr double unknown = std::numeric_limits<double>::quiet_NaN();

constexpr std::string_view to_string(effect e) noexcept {
  return e == effect::none ? "none" : "unknown";
}

// Counters are arrays by enumerator, labels are lists in api/metrics.json: these must agree.
template <class Enum>
constexpr bool lists(metric m, Enum first, std::size_t count) {
  const auto values = about(m).labels[0].values;
  if (values.size() != count) return false;
  for (std::size_t i = 0; i < count; ++i)
    if (values[i] != to_string(static_cast<Enum>(static_cast<std::size_t>(first) + i))) return false;
  return true;
}

constexpr std::size_t first_end = static_cast<std::size_t>(end_reason::released);
static_assert(lists(metric::distributed_locks_acquired_total, lock_mode::exclusive, 3));
static_assert(lists(metric::distributed_locks_ended_total, end_reason::released, 8));
static_assert(lists(metric::distributed_locks_renewal_success, renewed_by{}, renewed_by_count));
static_assert(lists(metric::distributed_locks_renewal_failure, renewed_by{}, renewed_by_count));
static_assert(lists(metric::dislock_requests_total, request_operation{}, request_operation_count));
static_assert(std::ranges::equal(about(metric::dislock_requests_total).labels[1].values,
                                 std::array<std::string_view, 3>{"2xx", "4xx", "5xx"}));
static_assert(lists(metric::dislock_request_duration_seconds, request_operation{}, request_operation_count));
static_assert(lists(metric::dislock_engine_duration_seconds, engine_operation{}, engine_operation_count));
static_assert(lists(metric::dislock_engine_errors_total, effect::none, 2));
static_assert(std::ranges::equal(about(metric::dislock_clock_steps_total).labels[0].values,
                                 std::array<std::string_view, 2>{"forward", "backward"}));

double seconds(duration d) noexcept {
  return std::chrono::duration<double>(d).count();
}

double number(std::uint64_t count) noexcept {
  return static_cast<double>(count);
}

// One metric on its way to the serializer.
class family {
 public:
  explicit family(const metric_description& of) : of_(of) {
    out_.name = of.name;
    out_.help = of.help;
    switch (of.type) {
      case metric_type::counter:
        out_.type = prometheus::MetricType::Counter;
        break;
      case metric_type::gauge:
        out_.type = prometheus::MetricType::Gauge;
        break;
      case metric_type::histogram:
        out_.type = prometheus::MetricType::Histogram;
        break;
    }
  }

  family& value(double v) { return value({}, v); }
  family& value(std::vector<prometheus::ClientMetric::Label> labels, double v) {
    prometheus::ClientMetric series;
    series.label = std::move(labels);
    (of_.type == metric_type::counter ? series.counter.value : series.gauge.value) = v;
    out_.metric.push_back(std::move(series));
    return *this;
  }
  family& times(const histogram& h) { return times({}, h); }
  family& times(std::vector<prometheus::ClientMetric::Label> labels, const histogram& h) {
    prometheus::ClientMetric series;
    series.label = std::move(labels);
    series.histogram.sample_count = h.count();
    series.histogram.sample_sum = seconds(h.sum());
    const auto within = h.cumulative(of_.bounds);
    for (std::size_t i = 0; i < within.size(); ++i)
      series.histogram.bucket.push_back({within[i], seconds(of_.bounds[i])});
    out_.metric.push_back(std::move(series));
    return *this;
  }

  // A series for each value of the first label; `of` is told its place.
  template <class ValueOf>
  family& values(ValueOf of) {
    for (std::size_t i = 0; i < of_.labels[0].values.size(); ++i) value({label(0, i)}, number(of(i)));
    return *this;
  }
  template <class TimesOf>
  family& times_of_each(TimesOf of) {
    for (std::size_t i = 0; i < of_.labels[0].values.size(); ++i) times({label(0, i)}, of(i));
    return *this;
  }

  [[nodiscard]] prometheus::ClientMetric::Label label(std::size_t which, std::size_t value) const {
    const auto& l = of_.labels[which];
    return {std::string(l.name), std::string(l.values[value])};
  }
  [[nodiscard]] const metric_description& description() const noexcept { return of_; }
  [[nodiscard]] prometheus::MetricFamily take() { return std::move(out_); }

 private:
  const metric_description& of_;
  prometheus::MetricFamily out_;
};

// No default: a metric that the file gains does not compile until it is given a number here.
void fill(family& f, metric m, const metrics_input& in) {
  const auto& counted = in.here.counted();
  const auto ended = [&](end_reason how) { return counted.ended[static_cast<std::size_t>(how)]; };
  switch (m) {
    case metric::distributed_locks_acquired_total:
      f.values([&](std::size_t i) { return counted.acquired[i]; });
      break;
    case metric::distributed_locks_released_total:
      f.value(number(ended(end_reason::released) + ended(end_reason::cancelled) +
                     ended(end_reason::session_closed)));
      break;
    case metric::distributed_locks_active:
      f.value(number(in.counts.active_locks));
      break;
    case metric::distributed_locks_wait_time:
      f.times(in.here.waits_for_grants());
      break;
    case metric::distributed_locks_renewal_success:
      f.values([&](std::size_t i) { return counted.renewed[i]; });
      break;
    case metric::distributed_locks_deadlocks_detected:
      f.value(number(counted.deadlocks));
      break;
    case metric::distributed_locks_renewal_failure:
      f.values([&](std::size_t i) { return counted.not_renewed[i]; });
      break;
    case metric::distributed_locks_ended_total:
      f.values([&](std::size_t i) { return counted.ended[first_end + i]; });
      break;
    case metric::distributed_locks_hold_time:
      f.times(in.here.holds());
      break;
    case metric::distributed_locks_leases:
      f.value(number(in.counts.leases));
      break;
    case metric::distributed_locks_waiters:
      f.value(number(in.counts.waiters));
      break;
    case metric::distributed_locks_sessions:
      f.value(number(in.counts.sessions));
      break;
    case metric::dislock_requests_total:
      for (std::size_t i = 0; i < request_operation_count; ++i)
        for (std::size_t status = 0; status < counted.replies[i].size(); ++status)
          f.value({f.label(0, i), f.label(1, status)}, number(counted.replies[i][status]));
      break;
    case metric::dislock_request_duration_seconds:
      f.times_of_each(
          [&](std::size_t i) -> auto& { return in.here.request_times(static_cast<request_operation>(i)); });
      break;
    case metric::dislock_problems_total:
      f.values([&](std::size_t i) {
        const auto code = errc_from_string(f.description().labels[0].values[i]);
        return code ? counted.problems[static_cast<std::size_t>(*code)] : 0;
      });
      break;
    case metric::dislock_connections:
      f.value(number(in.http.connections_open));
      break;
    case metric::dislock_connections_refused_total:
      f.value(number(in.http.connections_refused));
      break;
    case metric::dislock_event_streams:
      f.value(number(in.http.streams_open));
      break;
    case metric::dislock_request_memory_entries:
      f.value(number(in.counts.remembered));
      break;
    case metric::dislock_request_memory_max:
      f.value(number(in.request_memory_max));
      break;
    case metric::dislock_engine_up:
      f.value(in.engine_ready);
      break;
    case metric::dislock_engine_degraded:
      f.value(in.engine_degraded);
      break;
    case metric::dislock_engine_duration_seconds:
      f.times_of_each(
          [&](std::size_t i) -> auto& { return in.here.engine_times(static_cast<engine_operation>(i)); });
      break;
    case metric::dislock_engine_errors_total:
      f.values([&](std::size_t i) { return counted.engine_errors[i]; });
      break;
    case metric::dislock_clock_suspect:
      f.value(in.clock_suspect);
      break;
    case metric::dislock_clock_steps_total:
      f.values([&](std::size_t i) { return i == 0 ? in.clock_steps_forward : in.clock_steps_backward; });
      break;
    case metric::dislock_draining:
      f.value(in.draining);
      break;
    case metric::dislock_build_info:
      f.value({{"version", std::string(in.version)}, {"engine", std::string(in.engine)}}, 1);
      break;
    case metric::process_start_time_seconds:
      f.value(in.process.started);
      break;
    case metric::process_cpu_seconds_total:
      f.value(in.process.cpu);
      break;
    case metric::process_resident_memory_bytes:
      f.value(in.process.resident);
      break;
    case metric::process_open_fds:
      f.value(in.process.open_fds);
      break;
    case metric::process_max_fds:
      f.value(in.process.max_fds);
      break;
  }
}

double reading(clockid_t id) noexcept {
  timespec t{};
  ::clock_gettime(id, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

double ticks_to_seconds(std::uint64_t ticks) noexcept {
  return number(ticks) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

std::optional<process_stat> read_stat(int fd) noexcept {
  std::array<char, 2048> text;  // 52 numbers and a name of at most 64 characters
  const auto size = ::pread(fd, text.data(), text.size(), 0);
  if (size <= 0) return std::nullopt;
  return parse_process_stat({text.data(), static_cast<std::size_t>(size)});
}

double count_open_fds(double max) {
  constexpr auto folder = "/proc/self/fd";
  struct stat about_folder {};
  if (::stat(folder, &about_folder) == 0 && about_folder.st_size > 0)
    return static_cast<double>(about_folder.st_size);
  std::error_code error;  // before Linux 6.2 the folder has no size
  double count = -1;      // the one that reads the folder
  for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    ++count;
  if (error == std::errc::too_many_files_open) return max;
  return error ? unknown : count;
}

}  // namespace

std::string render_metrics(const metrics_input& in) {
  std::vector<prometheus::MetricFamily> families;
  families.reserve(metric_catalogue.size());
  for (std::size_t i = 0; i < metric_catalogue.size(); ++i) {
    family f(metric_catalogue[i]);
    fill(f, static_cast<metric>(i), in);
    families.push_back(f.take());
  }
  return prometheus::TextSerializer().Serialize(families);
}

std::optional<process_stat> parse_process_stat(std::string_view text) noexcept {
  const auto name_end = text.rfind(')');
  if (name_end == std::string_view::npos) return std::nullopt;
  text.remove_prefix(name_end + 1);

  process_stat out;
  constexpr int last = 24;
  for (int field = 3; field <= last; ++field) {  // numbered as in proc(5)
    text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
    const auto word = text.substr(0, text.find_first_of(" \n"));
    text.remove_prefix(word.size());
    std::uint64_t* const target = field == 14     ? &out.user_ticks
                                  : field == 15   ? &out.system_ticks
                                  : field == 22   ? &out.start_ticks
                                  : field == last ? &out.resident_pages
                                                  : nullptr;
    if (!target) continue;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), *target);
    if (error != std::errc() || end != word.data() + word.size()) return std::nullopt;
  }
  return out;
}

process_probe::process_probe() : stat_(::open("/proc/self/stat", O_RDONLY | O_CLOEXEC)), started_(unknown) {
  if (const auto s = read_stat(stat_))
    started_ = reading(CLOCK_REALTIME) - reading(CLOCK_BOOTTIME) + ticks_to_seconds(s->start_ticks);
}

process_probe::~process_probe() {
  if (stat_ >= 0) ::close(stat_);
}

process_facts process_probe::read() const {
  process_facts out{started_, unknown, unknown, unknown, unknown};
  if (const auto s = read_stat(stat_)) {
    out.cpu = ticks_to_seconds(s->user_ticks + s->system_ticks);
    out.resident = number(s->resident_pages) * static_cast<double>(::sysconf(_SC_PAGESIZE));
  }
  if (rlimit limit{}; ::getrlimit(RLIMIT_NOFILE, &limit) == 0)
    out.max_fds = static_cast<double>(limit.rlim_cur);
  out.open_fds = count_open_fds(out.max_fds);
  return out;
}

}  // namespace dislock::server
