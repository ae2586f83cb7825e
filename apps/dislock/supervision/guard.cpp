#include "supervision/guard.hpp"

#include "supervision/process_tree.hpp"

#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

namespace dislock::cli {
namespace {

using namespace std::chrono_literals;

enum class order : std::uint32_t { start, holds_until, must_stop, lost, pass_on, resume };

struct order_head {
  order what{};
  std::int64_t value = 0;  // holds_until: boot time in microseconds; pass_on: the signal
};

constexpr std::size_t longest_message = 64 * 1024;

// Signals that are passed on to the command, by the guard too if they are sent to it.
constexpr std::array passed_on{SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};

std::int64_t as_number(boot_time t) {
  return t.time_since_epoch().count();
}
boot_time as_time(std::int64_t us) {
  return boot_time(boot_clock::duration(us));
}

// In a background group this would stop us.
void give_terminal_to(pid_t group) noexcept {
  sigset_t one, before;
  sigemptyset(&one);
  sigaddset(&one, SIGTTOU);
  sigprocmask(SIG_BLOCK, &one, &before);
  tcsetpgrp(STDIN_FILENO, group);
  sigprocmask(SIG_SETMASK, &before, nullptr);
}

// Sends `number` to the group and to all descendants outside of it. How many are alive that could be
// signalled, and how many that could not.
struct signalled {
  std::size_t alive = 0, untouchable = 0;
};
signalled signal_all(pid_t group, int number) {
  signalled out;
  if (group > 0) kill(-group, number);
  for (const auto& p : descendants_of(getpid(), all_processes())) {
    const bool done = group > 0 && p.group == group;
    if (kill(p.id, done ? 0 : number) == 0 || errno != EPERM)
      ++out.alive;
    else
      ++out.untouchable;
  }
  return out;
}

/// The guard's own side: one thread, one loop, until the command is over.
class guard_process {
 public:
  guard_process(const command_to_run& command, int channel, const sigset_t& original_mask)
      : command_(command),
        channel_(channel),
        original_mask_(original_mask),
        ending_(command.on_loss, command.kill_after) {}

  [[noreturn]] void run() {
    prctl(PR_SET_NAME, "dislock-guard");
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    setpgid(0, 0);  // what is sent to the group of `dislock run` is not for us
    sigset_t ours;
    sigemptyset(&ours);
    for (const int number : passed_on) sigaddset(&ours, number);
    sigaddset(&ours, SIGCHLD);
    sigaddset(&ours, SIGTSTP);
    sigprocmask(SIG_BLOCK, &ours, nullptr);
    signals_ = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
    timer_ = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (signals_ < 0 || timer_ < 0) _exit(125);
    while (true) {
      // First of all: we may have been stopped, or asleep, until after the lease.
      act();
      if (over_) finish();
      wait();
    }
  }

 private:
  void wait() {
    set_timer(std::min(ending_.next(), look_again_));
    std::array<pollfd, 3> open{
        {{signals_, POLLIN, 0}, {timer_, POLLIN, 0}, {watched_ ? channel_ : -1, POLLIN, 0}}};
    if (poll(open.data(), open.size(), -1) < 0) return;
    act();  // before anything that may take its time
    std::uint64_t expirations = 0;
    (void)!read(timer_, &expirations, sizeof expirations);
    if (open[2].revents != 0) read_orders();
    read_signals();
    reap();
  }

  void set_timer(boot_time at) {
    itimerspec spec{};
    if (at != boot_time::max()) {
      const auto us = std::max<std::int64_t>(as_number(at), 1);
      spec.it_value.tv_sec = us / 1'000'000;
      spec.it_value.tv_nsec = us % 1'000'000 * 1000;
    }
    timerfd_settime(timer_, TFD_TIMER_ABSTIME, &spec, nullptr);
  }

  // Does what is due, and finds out whether anything is left.
  void act() {
    if (child_ == 0) {
      if (!watched_) _exit(0);  // nothing was started, and nobody will say start
      return;
    }
    const auto now = boot_clock::now();
    const auto what = ending_.due(now);
    look_again_ = boot_time::max();
    if (ending_.because_lost() || what != ending::act::none) close_lost_pipe();
    if (what == ending::act::terminate) {
      signal_all(child_, command_.end_signal);
      kill(-child_, SIGCONT);  // a stopped command could not obey
    } else if (what == ending::act::kill) {
      left_ = signal_all(child_, SIGKILL);
      look_again_ = now + 5ms;  // who was born meanwhile, and who takes its time to die
      if (give_up_ == boot_time::max()) give_up_ = now + 1s;
      if (left_.alive == 0 && left_.untouchable > 0 && now > give_up_) over_ = true;  // another user's
    }
    reap();
    // We inherit every orphan: without a child there is no descendant either.
    if (ended_ && no_children()) {
      left_ = {};
      over_ = true;
    }
  }

  static bool no_children() {
    siginfo_t info{};
    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 && errno == ECHILD;
  }

  void read_orders() {
    while (true) {
      const auto size = recv(channel_, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
      if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
      if (size < static_cast<ssize_t>(sizeof(order_head))) {
        watched_ = false;  // `dislock run` is gone, and with it whoever renews
        ending_.unwatched(boot_clock::now());
        return;
      }
      order_head head;
      std::memcpy(&head, buffer_.data(), sizeof head);
      obey(head, {buffer_.data() + sizeof head, static_cast<std::size_t>(size) - sizeof head});
    }
  }

  void obey(const order_head& head, std::string_view more) {
    switch (head.what) {
      case order::start:
        ending_.holds_until(as_time(head.value));
        return start(more);
      case order::holds_until:
        return ending_.holds_until(as_time(head.value));
      case order::must_stop:
        return ending_.must_stop(boot_clock::now());
      case order::lost:
        return ending_.lost(boot_clock::now());
      case order::pass_on:
        if (child_ > 0 && !ended_) kill(-child_, static_cast<int>(head.value));
        return;
      case order::resume:
        if (child_ == 0 || ended_) return;
        if (head.value != 0) give_terminal_to(child_);
        kill(-child_, SIGCONT);
        return;
    }
  }

  void read_signals() {
    signalfd_siginfo info{};
    while (read(signals_, &info, sizeof info) == sizeof info) {
      const auto number = static_cast<int>(info.ssi_signo);
      if (number != SIGCHLD && child_ > 0 && !ended_) kill(-child_, number);
    }
  }

  void reap() {
    int status = 0;
    for (pid_t id = 0; (id = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0;) {
      if (id != child_) continue;  // an orphan that became ours
      if (WIFSTOPPED(status)) {
        say({guard_report::kind::suspended, WSTOPSIG(status)});
      } else if (!ended_) {
        ended_ = true;
        status_ = status;
        ending_.command_ended(boot_clock::now());
      }
    }
  }

  void start(std::string_view variables) {
    apply(variables);
    std::array<int, 2> failure{};
    std::array<int, 2> loss{-1, -1};
    if (pipe2(failure.data(), O_CLOEXEC) != 0 ||
        (command_.lost_descriptor && pipe2(loss.data(), O_CLOEXEC) != 0)) {
      say({guard_report::kind::no_such, errno});
      _exit(0);
    }
    const pid_t self = getpid();
    const pid_t child = fork();
    if (child == 0) become_command(self, failure[1], loss[0]);
    close(failure[1]);
    if (loss[0] >= 0) close(loss[0]);
    lost_pipe_ = loss[1];
    int why = child < 0 ? errno : 0;
    if (child > 0) {
      setpgid(child, child);  // the child does it too: whoever comes first
      if (read(failure[0], &why, sizeof why) != sizeof why) why = 0;
    }
    close(failure[0]);
    if (why != 0) {
      if (child > 0) waitpid(child, nullptr, 0);
      say({guard_report::kind::no_such, why});
      _exit(0);
    }
    child_ = child;
    say({guard_report::kind::started, 0, child});
  }

  void apply(std::string_view variables) {
    while (!variables.empty()) {
      const auto end = variables.find('\0');
      const std::string one(variables.substr(0, end));
      const auto equals = one.find('=');
      if (equals == std::string::npos)
        unsetenv(one.c_str());
      else
        setenv(one.substr(0, equals).c_str(), one.c_str() + equals + 1, 1);
      variables = end == std::string_view::npos ? std::string_view{} : variables.substr(end + 1);
    }
  }

  [[noreturn]] void become_command(pid_t parent, int failure, int loss) {
    // The kernel ends the command if the guard is killed. It may have been before this line.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(125);
    setpgid(0, 0);
    if (command_.foreground) give_terminal_to(getpid());
    if (loss >= 0) {
      // The pipe that reports a failure must not be where this one is wanted.
      const int wanted = *command_.lost_descriptor;
      if (failure == wanted) failure = fcntl(failure, F_DUPFD_CLOEXEC, wanted + 1);
      if (loss == wanted)
        fcntl(loss, F_SETFD, 0);  // dup2 onto itself would leave it to be closed
      else
        dup2(loss, wanted);
    }
    sigprocmask(SIG_SETMASK, &original_mask_, nullptr);
    std::vector<char*> arguments;
    for (auto& a : command_.arguments) arguments.push_back(a.data());
    arguments.push_back(nullptr);
    execvp(arguments[0], arguments.data());
    const int why = errno;
    (void)!write(failure, &why, sizeof why);
    _exit(127);
  }

  void close_lost_pipe() {
    if (lost_pipe_ >= 0) close(std::exchange(lost_pipe_, -1));
  }

  void say(const guard_report& what) { send(channel_, &what, sizeof what, MSG_NOSIGNAL); }

  [[noreturn]] void finish() {
    say({guard_report::kind::ended, status_, child_, static_cast<std::int32_t>(left_.untouchable),
         ending_.because_lost()});
    _exit(0);
  }

  command_to_run command_;
  int channel_;
  sigset_t original_mask_;
  ending ending_;
  int signals_ = -1, timer_ = -1, lost_pipe_ = -1;
  bool watched_ = true;
  pid_t child_ = 0;
  int status_ = 0;
  bool ended_ = false;  // the command itself
  bool over_ = false;   // and all that it left
  boot_time look_again_ = boot_time::max(), give_up_ = boot_time::max();
  signalled left_;
  std::array<char, longest_message> buffer_{};
};

}  // namespace

std::optional<guard> guard::fork_off(const command_to_run& command, const signal_inbox& inbox) {
  // If the guard is killed, what it guarded comes to us.
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  std::array<int, 2> ends{};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) return std::nullopt;
  const pid_t child = fork();
  if (child < 0) {
    close(ends[0]);
    close(ends[1]);
    return std::nullopt;
  }
  if (child == 0) {
    close(ends[0]);
    close(inbox.descriptor());
    guard_process(command, ends[1], inbox.mask_before()).run();
  }
  close(ends[1]);
  return guard(child, ends[0]);
}

guard::~guard() {
  if (process_ == 0) return;
  close(channel_);  // it ends what it guards, then itself
  while (waitpid(process_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void guard::tell(std::uint32_t what, std::int64_t value, std::string_view more) {
  const order_head head{static_cast<order>(what), value};
  std::string message(sizeof head, '\0');
  std::memcpy(message.data(), &head, sizeof head);
  message += more;
  while (send(channel_, message.data(), message.size(), MSG_NOSIGNAL) < 0 && errno == EINTR) {
  }
}

void guard::start(const std::vector<std::pair<std::string, std::optional<std::string>>>& variables,
                  boot_time must_stop) {
  std::string text;
  for (const auto& [name, value] : variables) {
    if (!text.empty()) text += '\0';
    text += value ? name + "=" + *value : name;
  }
  tell(static_cast<std::uint32_t>(order::start), as_number(must_stop), text);
}
void guard::holds_until(boot_time must_stop) {
  tell(static_cast<std::uint32_t>(order::holds_until), as_number(must_stop));
}
void guard::must_stop() {
  tell(static_cast<std::uint32_t>(order::must_stop), 0);
}
void guard::lost() {
  tell(static_cast<std::uint32_t>(order::lost), 0);
}
void guard::pass_on(int signal) {
  tell(static_cast<std::uint32_t>(order::pass_on), signal);
}
void guard::resume() {
  tell(static_cast<std::uint32_t>(order::resume), has_terminal() ? 1 : 0);
}

std::optional<guard_report> guard::heard() {
  guard_report out;
  auto size = recv(channel_, &out, sizeof out, MSG_DONTWAIT);
  // The guard ended with an order of ours unread. What it said before that is still there.
  if (size < 0 && errno == ECONNRESET) size = recv(channel_, &out, sizeof out, MSG_DONTWAIT);
  if (size == sizeof out) return out;
  if (size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR)) gone_ = true;
  return std::nullopt;
}

std::size_t kill_descendants() {
  const auto patience = boot_clock::now() + 2s;
  while (true) {
    const auto left = signal_all(0, SIGKILL);
    while (waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    if (left.alive + left.untouchable == 0) return 0;
    if (boot_clock::now() > patience) return left.alive + left.untouchable;
    poll(nullptr, 0, 2);
  }
}

bool has_terminal() noexcept {
  return isatty(STDIN_FILENO) == 1 && tcgetpgrp(STDIN_FILENO) == getpgrp();
}

void take_terminal_back() noexcept {
  if (isatty(STDIN_FILENO) == 1 && tcgetpgrp(STDIN_FILENO) != getpgrp()) give_terminal_to(getpgrp());
}

}  // namespace dislock::cli
