#include "supervision/signal_inbox.hpp"

#include <sys/eventfd.h>
#include <sys/signalfd.h>

#include <array>
#include <cstdint>
#include <poll.h>
#include <unistd.h>

namespace dislock::cli {

signal_inbox::signal_inbox(std::initializer_list<int> wanted) {
  sigset_t ours;
  sigemptyset(&ours);
  for (const int number : wanted) {
    struct sigaction now {};
    if (sigaction(number, nullptr, &now) == 0 && now.sa_handler != SIG_IGN) sigaddset(&ours, number);
  }
  pthread_sigmask(SIG_BLOCK, &ours, &before_);
  descriptor_ = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
}

signal_inbox::~signal_inbox() {
  while (next()) {
  }
  close(descriptor_);
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

std::optional<int> signal_inbox::next() noexcept {
  signalfd_siginfo info{};
  if (read(descriptor_, &info, sizeof info) != sizeof info) return std::nullopt;
  return static_cast<int>(info.ssi_signo);
}

bool means_end(int number) noexcept {
  return number == SIGINT || number == SIGTERM || number == SIGHUP || number == SIGQUIT;
}

stop_on_signal::stop_on_signal(signal_inbox& inbox)
    : over_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), thread_([this, &inbox] { watch(inbox); }) {}

stop_on_signal::~stop_on_signal() {
  finish();
  close(over_);
}

std::optional<int> stop_on_signal::signal() {
  finish();
  return signal_;
}

void stop_on_signal::finish() {
  if (!thread_.joinable()) return;
  const std::uint64_t one = 1;
  (void)!write(over_, &one, sizeof one);
  thread_.join();
}

void stop_on_signal::watch(signal_inbox& inbox) {
  std::array<pollfd, 2> open{{{inbox.descriptor(), POLLIN, 0}, {over_, POLLIN, 0}}};
  while (true) {
    if (poll(open.data(), open.size(), -1) < 0) continue;
    if (open[1].revents != 0) return;
    while (const auto number = inbox.next()) {
      if (*number == SIGTSTP) raise(SIGSTOP);  // Ctrl-Z while it waits
      if (!means_end(*number) || signal_) continue;
      signal_ = number;
      source_.request_stop();
    }
  }
}

}  // namespace dislock::cli
