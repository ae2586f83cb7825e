#include "supervision/locked_run.hpp"

#include "supervision/wake_up.hpp"
#include "waiting_line.hpp"
#include "wording.hpp"

#include <CLI/CLI.hpp>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <poll.h>
#include <stop_token>

namespace dislock::cli {
namespace {

using namespace std::chrono_literals;

// Between SIGKILL and the end of the lease: the kernel has to end the processes, the guard has to be
// scheduled.
constexpr duration kill_allowance = 250ms;

loss_policy policy_of(const std::string& word) {
  return word == "kill" ? loss_policy::kill : word == "signal" ? loss_policy::signal : loss_policy::ignore;
}

/// Watches over a command that runs, on the main thread.
class supervisor {
 public:
  supervisor(workbench& at, const lease& held, guard& watched, signal_inbox& inbox, const wake_up& news,
             duration kill_after)
      : at_(at), held_(held), guard_(watched), inbox_(inbox), news_(news), kill_after_(kill_after) {}

  exit_code watch(loss_policy policy) {
    const std::stop_callback on_loss(held_.lost(), [this] { news_.ring(); });
    while (true) {
      tell_how_long();
      std::array<pollfd, 3> open{{{inbox_.descriptor(), POLLIN, 0},
                                  {guard_.descriptor(), POLLIN, 0},
                                  {news_.descriptor(), POLLIN, 0}}};
      // Woken up by renewals and by the loss; the limit is for what nobody tells.
      if (poll(open.data(), open.size(), 1000) < 0 && errno != EINTR) break;
      tell_how_long();  // first of all: this process may have been stopped for longer than the lease
      news_.quiet();
      while (const auto number = inbox_.next()) guard_.pass_on(*number);
      while (const auto report = guard_.heard()) {
        switch (report->what) {
          case guard_report::kind::started:
            break;
          case guard_report::kind::no_such:
            at_.print.note("cannot run '" + at_.behind_dashes.front() +
                           "': " + std::strerror(report->status) + ".");
            return report->status == ENOENT ? exit_code::run_not_found : exit_code::run_not_executable;
          case guard_report::kind::suspended:
            suspend();
            break;
          case guard_report::kind::ended:
            take_terminal_back();
            return verdict(*report, policy);
        }
      }
      if (guard_.gone()) break;
    }
    take_terminal_back();
    kill_descendants();
    at_.print.note("the process that guards the command was ended, and the command with it.");
    return exit_code::run_failed;
  }

 private:
  // The guard knows by itself when to act; this tells it what has changed.
  void tell_how_long() {
    const auto now = boot_clock::now();  // before the question: too early is safe
    const auto left = held_.remaining();
    if (left > duration::zero()) {
      const auto until = now + left - kill_after_;
      if (until > told_ + 1ms || until < told_ - 1ms) guard_.holds_until(told_ = until);
      return;
    }
    const auto cause = held_.why_lost();
    const bool gone = cause == loss_cause::forced || cause == loss_cause::not_held;
    if (gone && !told_lost_) guard_.lost();
    if (!gone && !told_to_stop_ && !told_lost_) guard_.must_stop();
    (gone ? told_lost_ : told_to_stop_) = true;
  }

  // The command was stopped (Ctrl-Z): so is this job, until the shell lets it go on. Nobody renews meanwhile;
  // the guard, which is not part of the job, ends the command if that takes longer than the lease.
  void suspend() {
    take_terminal_back();
    sigset_t one, before;
    sigemptyset(&one);
    sigaddset(&one, SIGTSTP);
    kill(0, SIGTSTP);
    pthread_sigmask(SIG_UNBLOCK, &one, &before);  // stops here
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    tell_how_long();
    guard_.resume();
  }

  exit_code verdict(const guard_report& ended, loss_policy policy) {
    if (ended.survivors > 0)
      at_.print.note(std::to_string(ended.survivors) +
                     " processes of another user that the command started could not be ended.");
    if (ended.because_lost) {
      const auto cause = held_.why_lost();
      const auto why = cause == loss_cause::none ? std::string("it could not be renewed in time")
                                                 : "cause: " + std::string(to_string(cause));
      at_.print.note("lost the lock " + std::string(held_.lock()) + " (" + why + ")" +
                     (policy == loss_policy::ignore ? "; the command was left alone."
                                                    : "; the command was told to end."));
      if (policy != loss_policy::ignore || ended.survivors > 0) return exit_code::run_lost;
    }
    if (WIFSIGNALED(ended.status)) return after_signal(WTERMSIG(ended.status));
    return static_cast<exit_code>(WEXITSTATUS(ended.status));
  }

  workbench& at_;
  const lease& held_;
  guard& guard_;
  signal_inbox& inbox_;
  const wake_up& news_;
  duration kill_after_;
  boot_time told_{};
  bool told_to_stop_ = false, told_lost_ = false;
};

std::vector<std::pair<std::string, std::optional<std::string>>> variables_of(const lease& held,
                                                                             const command_flags& flags) {
  std::vector<std::pair<std::string, std::optional<std::string>>> out{
      {"DISLOCK_LOCK_HELD", "1"},
      {"DISLOCK_LOCK_NAME", std::string(held.lock())},
      {"DISLOCK_LOCK_MODE", std::string(to_string(held.mode()))},
      {"DISLOCK_FENCING_TOKEN", std::to_string(to_number(held.fencing_token()))},
      {"DISLOCK_LEASE_EXPIRES_AT", rfc3339(wall_now() + held.remaining())},
      // What the command itself locks belongs to the same flow, so that a deadlock is seen.
      {"DISLOCK_CLIENT_ID", std::string(held.client_id())},
      // The secret of an outer `dislock acquire` belongs to another lock.
      {"DISLOCK_LOCK_ID", std::nullopt},
      {"DISLOCK_LOST_FD", std::nullopt},
  };
  if (flags.lost_descriptor) out.back().second = std::to_string(*flags.lost_descriptor);
  return out;
}

exit_code refused(workbench& at, const error& why, int conflict_code) {
  if (why.code == errc::lock_not_acquired) {
    if (!at.with.quiet) at.print.refuse(why);
    return static_cast<exit_code>(conflict_code);
  }
  at.print.refuse(why);
  if (why.code == errc::deadlock_detected && at.env.contains("DISLOCK_CLIENT_ID"))
    at.print.note("commands that run side by side under one lock need a client id each: --client.");
  return exit_code::run_failed;
}

}  // namespace

void declare_command_flags(CLI::App& app, command_flags& into) {
  add_duration(app, "--ttl", into.ttl, "How long the lease lives without a renewal (30s)")->group("The lock");
  add_duration(app, "--max-hold", into.max_hold, "The longest time that the lock may be held")
      ->group("The lock");
  add_duration(app, "--kill-after", into.kill_after,
               "Between the signal and SIGKILL (5s, at most a third of the ttl)")
      ->group("The command");
  app.add_option("--signal", into.signal, "What the command is told with when the lock is lost (TERM)")
      ->type_name("SIGNAL")
      ->group("The command");
  add_choice(app, "--on-loss", into.on_loss, {"kill", "signal", "ignore"},
             "kill: the signal, then SIGKILL in time; signal: the signal only; ignore (kill)")
      ->group("The command");
  app.add_option_function<int>(
         "--lost-fd", [&](int v) { into.lost_descriptor = v; },
         "A descriptor of the command that reads end-of-file when the lock is lost")
      ->type_name("FD")
      ->group("The command");
  app.add_flag("--shell", into.through_shell, "The command is a line for sh -c")->group("The command");
}

run_times times_of(const command_flags& flags) {
  run_times out;
  out.ttl = flags.ttl.value_or(30s);
  out.kill_after = flags.kill_after.value_or(std::min<duration>(5s, out.ttl / 3));
  out.stop_margin = out.kill_after + kill_allowance;
  if (out.ttl <= out.stop_margin) {
    out.wrong = "--ttl (" + in_words(out.ttl) + ") must be longer than --kill-after (" +
                in_words(out.kill_after) + ") and " + in_words(kill_allowance) +
                ": the command has to be gone before the lock can be another's.";
    return out;
  }
  out.renewal = std::min(out.ttl / 3, (out.ttl - out.stop_margin) / 2);
  return out;
}

exit_code run_under_lock(workbench& at, const command_flags& flags, locked_run what) {
  const auto times = times_of(flags);
  if (!times.wrong.empty()) return at.print.usage(times.wrong);
  const auto end_signal = signal_from(flags.signal);
  if (!end_signal)
    return at.print.usage("--signal must be the name or number of a signal, not '" + flags.signal + "'.");
  if (flags.lost_descriptor && (*flags.lost_descriptor < 3 || *flags.lost_descriptor > 1023))
    return at.print.usage("--lost-fd must be a descriptor from 3 to 1023.");
  if (at.behind_dashes.empty()) return at.print.usage("the command is missing; write it behind --.");

  command_to_run command{.arguments = at.behind_dashes,
                         .on_loss = policy_of(flags.on_loss),
                         .end_signal = *end_signal,
                         .kill_after = times.kill_after,
                         .lost_descriptor = flags.lost_descriptor,
                         .foreground = has_terminal()};
  if (flags.through_shell) {
    std::string line;
    for (const auto& word : at.behind_dashes) line += (line.empty() ? "" : " ") + word;
    command.arguments = {"/bin/sh", "-c", line};
  }

  // From here on until the end in this order: signals, the guard (before there are threads), the client.
  signal_inbox inbox{SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGTSTP};
  auto watched = guard::fork_off(command, inbox);
  if (!watched) {
    at.print.note(std::string("cannot start a process: ") + std::strerror(errno) + ".");
    return exit_code::run_failed;
  }
  wake_up news;
  client_options options;
  options.ttl = times.ttl;
  options.stop_margin = kill_allowance;  // `kill_after` comes off what remains by then
  options.renewal_interval = times.renewal;
  options.on_measurement = [&news](const measurement& m) {
    if (m.what == measurement::kind::renewed) news.ring();
  };
  std::optional<client> connected_to;  // lives as long as the lease
  std::optional<int> interrupted;
  auto held = [&]() -> result<lease> {
    stop_on_signal ends(inbox);
    auto out = [&]() -> result<lease> {
      auto connected = at.connect(options);
      if (!connected) return connected.error();
      what.how.ttl = times.ttl;
      what.how.max_hold = flags.max_hold;
      what.how.stop = ends.token();
      if (at.with.client_id) what.how.client_id = *at.with.client_id;
      const waiting_line line(at, *connected, what.lock, what.how.wait);
      connected_to = *connected;
      return connected->acquire(what.lock, what.how);
    }();
    interrupted = ends.signal();
    return out;
  }();
  if (interrupted) return after_signal(*interrupted);  // a lease that came all the same is given back
  if (!held) return refused(at, held.error(), what.conflict_code);

  if (what.acquired) what.acquired(*held);
  auto variables = variables_of(*held, flags);
  variables.insert(variables.end(), what.variables.begin(), what.variables.end());
  const auto now = boot_clock::now();
  watched->start(variables, now + held->remaining() - times.kill_after);
  supervisor supervising(at, *held, *watched, inbox, news, times.kill_after);
  const auto code = supervising.watch(command.on_loss);
  // Of a lease that is on its way out nobody waits for the release; its destructor tries it in the
  // background.
  if (code == exit_code::run_lost || !held->held()) return code;
  if (const auto released = held->release(); !released && !at.with.quiet)
    at.print.note("the lock could not be given back: " + released.error().message());
  return code;
}

}  // namespace dislock::cli
