// dislock top: a live screen.
#include "commands/commands.hpp"
#include "scoreboard.hpp"
#include "supervision/signal_inbox.hpp"
#include "terminal.hpp"
#include "views.hpp"
#include "wording.hpp"

#include <CLI/CLI.hpp>

#include <array>
#include <memory>
#include <poll.h>
#include <unistd.h>

namespace dislock::cli {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t looked_at_closely = 20;

struct wanted {
  std::string prefix;
  std::optional<duration> interval;
  bool once = false;
};

// Asks the service for a moment. `place` is where in the event log the last one ended.
result<snapshot> look(client& from, const std::string& prefix, std::uint64_t& place) {
  snapshot out;
  const auto page = from.events_after(place, prefix);
  if (!page) return page.error();
  if (place != 0) out.events = page->events;
  out.events_missed = place != 0 && page->reset;
  place = page->newest;
  auto locks = from.list(prefix);
  if (!locks) return locks.error();
  out.locks = std::move(*locks);
  for (const auto& name : scoreboard::contended(out.locks, looked_at_closely)) {
    auto closely = from.inspect(name);
    if (!closely) return closely.error();
    for (auto& l : out.locks)
      if (l.name == name) l = std::move(*closely);
  }
  const auto took = from.ping();
  if (!took) return took.error();
  out.round_trip = *took;
  out.at = wall_now();
  return out;
}

// Without a screen: one document, or one after the other.
exit_code print_plainly(workbench& at, const wanted& w) {
  auto from = at.connect_to_see_all();
  if (!from) return at.print.refuse(from.error());
  std::uint64_t place = 0;
  scoreboard board;
  const auto first = look(*from, w.prefix, place);
  if (!first) return at.print.refuse(first.error());
  board.take(*first);
  if (!w.once || place != 0) {  // rates need two looks
    poll(nullptr, 0,
         static_cast<int>(
             std::chrono::duration_cast<std::chrono::milliseconds>(w.interval.value_or(1s)).count()));
    const auto second = look(*from, w.prefix, place);
    if (!second) return at.print.refuse(second.error());
    board.take(*second);
  }
  if (at.print.for_programs())
    at.print.one(board.to_json(), {});
  else
    at.print.line(board.text(at.print, 40, at.print.out_can().columns, false));
  return exit_code::ok;
}

exit_code show_screen(workbench& at, const wanted& w) {
  signal_inbox inbox{SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGTSTP};  // before there are threads
  auto from = at.connect();
  if (!from) return at.print.refuse(from.error());
  const auto interval = w.interval.value_or(1s);
  std::uint64_t place = 0;
  scoreboard board;
  std::optional<error> trouble;
  bool paused = false;
  auto next_look = wall_time::min();
  std::optional<full_screen> screen(std::in_place, STDIN_FILENO, STDOUT_FILENO);
  while (true) {
    if (const auto now = wall_now(); !paused && now >= next_look) {
      if (const auto s = look(*from, w.prefix, place)) {
        board.take(*s);
        trouble.reset();
      } else {
        trouble = s.error();
      }
      next_look = now + interval;
    }
    const auto size = size_of(STDOUT_FILENO);
    auto text = board.text(at.print, size.rows, size.columns, paused);
    if (trouble)
      text = at.print.painted("no news: " + harmless(trouble->message()), colour::bad) + "\n" + text;
    screen->show(text);

    std::array<pollfd, 2> open{{{STDIN_FILENO, POLLIN, 0}, {inbox.descriptor(), POLLIN, 0}}};
    const auto left = paused ? interval : std::max<duration>(next_look - wall_now(), 1ms);
    poll(open.data(), open.size(),
         static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(left).count()));
    if (open[0].revents != 0) {
      std::array<char, 32> keys{};
      const auto n = read(STDIN_FILENO, keys.data(), keys.size());
      if (n <= 0 && (open[0].revents & POLLHUP) != 0) return exit_code::ok;  // the terminal is gone
      for (const char key :
           std::string_view(keys.data(), static_cast<std::size_t>(std::max<ssize_t>(n, 0)))) {
        if (key == 'q' || key == 'Q') return exit_code::ok;
        if (key == 'p' || key == ' ') paused = !paused;
      }
    }
    while (const auto number = inbox.next()) {
      if (means_end(*number)) {
        screen.reset();  // the terminal first
        return *number == SIGINT ? exit_code::ok : after_signal(*number);
      }
      if (*number == SIGTSTP) {
        screen.reset();
        raise(SIGSTOP);
        screen.emplace(STDIN_FILENO, STDOUT_FILENO);
      }
    }
  }
}

}  // namespace

action declare_top(CLI::App& app) {
  const auto w = std::make_shared<wanted>();
  app.add_option("PREFIX", w->prefix, "Only locks whose name begins so");
  add_duration(app, "--interval", w->interval, "Between two looks (1s)");
  app.add_flag("--once", w->once, "Print once, without a screen");
  app.footer("\nKeys: q quit, p pause. Without a terminal it prints once.");
  return [w](workbench& at) -> exit_code {
    if (w->interval && (*w->interval < 100ms || *w->interval > 1h))
      return at.print.usage("top: --interval must be from 100ms to 1h.");
    const bool screen = !w->once && !at.print.for_programs() && at.print.out_can().is_terminal &&
                        ::isatty(STDIN_FILENO) == 1 && at.print.chosen() != format::env;
    return screen ? show_screen(at, *w) : print_plainly(at, *w);
  };
}

}  // namespace dislock::cli
