// dislock watch: what happens to locks, as it happens.
#include "commands/commands.hpp"
#include "views.hpp"
#include "wording.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <array>
#include <memory>
#include <poll.h>

namespace dislock::cli {
namespace {

using namespace std::chrono_literals;
using namespace std::string_view_literals;
namespace json = boost::json;

struct wanted {
  std::string prefix;
  std::optional<std::uint64_t> since;
  std::vector<std::string> types;
  std::uint64_t count = 0;
};

std::string line_of(const printer& print, const lock_event& e) {
  const bool bad = e.type == "expired" || e.type == "forced" || e.type == "deadlock";
  const bool good = e.type == "acquired";
  std::string type = harmless(e.type);
  type.resize(std::max<std::size_t>(type.size(), 9), ' ');
  auto out = print.painted(time_of_day(e.at), colour::faint) + "  " +
             print.painted(type, bad    ? colour::bad
                                 : good ? colour::good
                                        : colour::none) +
             "  " + harmless(e.lock);
  if (!e.client.empty()) out += "  " + harmless(e.client);
  if (e.token) out += "  token " + std::to_string(to_number(*e.token));
  if (e.took > duration::zero())
    out +=
        std::string(e.type == "acquired" || e.type == "refused" ? "  waited " : "  held ") + in_words(e.took);
  if (!e.reason.empty() && e.reason != e.type) out += "  (" + harmless(e.reason) + ")";
  return out;
}

constexpr std::array known_types{"acquired"sv, "queued"sv,         "refused"sv,        "released"sv,
                                 "expired"sv,  "forced"sv,         "undelivered"sv,    "cancelled"sv,
                                 "deadlock"sv, "session_opened"sv, "session_closed"sv, "session_expired"sv};

exit_code watch(workbench& at, const wanted& w) {
  for (const auto& type : w.types)
    if (std::ranges::find(known_types, type) == known_types.end()) {
      const auto close = nearest(type, {known_types.begin(), known_types.end()});
      return at.print.usage("watch: --event: there is no event '" + type + "'." +
                            (close ? " Did you mean " + *close + "?" : ""));
    }
  auto connected = at.connect_to_see_all();
  if (!connected) return at.print.refuse(connected.error());
  std::uint64_t shown = 0;
  std::uint64_t place = w.since.value_or(0);
  bool first = !w.since;
  while (true) {
    const auto page = connected->events_after(place, w.prefix, first ? 0s : 1s);
    if (!page) return at.print.refuse(page.error());
    if (page->reset && !first)
      at.print.event({{"type", "reset"}, {"id", page->newest}}, "-- some events are no longer in the log --");
    if (!first || place != 0)
      for (const auto& e : page->events) {
        if (!w.types.empty() && std::ranges::find(w.types, e.type) == w.types.end()) continue;
        at.print.event(to_json(e), line_of(at.print, e));
        if (!at.print.out()) return exit_code::ok;  // the reader has seen enough
        if (++shown == w.count) return exit_code::ok;
      }
    first = false;
    place = page->newest;
    if (place == 0) poll(nullptr, 0, 100);  // nothing has ever happened: the id 0 means "from now on"
  }
}

}  // namespace

action declare_watch(CLI::App& app) {
  const auto w = std::make_shared<wanted>();
  app.add_option("PREFIX", w->prefix, "Only locks whose name begins so");
  app.add_option_function<std::uint64_t>(
         "--since", [w](std::uint64_t v) { w->since = v; }, "What happened after the event with this id")
      ->type_name("ID");
  app.add_option("--event", w->types, "Only these: acquired,queued,refused,released,expired,forced,deadlock")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("TYPE,...");
  app.add_option("--count", w->count, "End after so many events")->type_name("N");
  return [w](workbench& at) { return watch(at, *w); };
}

}  // namespace dislock::cli
