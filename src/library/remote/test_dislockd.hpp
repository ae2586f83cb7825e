// A dislockd of a test's own. The build says where the program is: DISLOCKD_PATH.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

namespace dislock::library {

/// Starts on a free port, or on the one that is asked for. Ends only the process that it started.
class test_dislockd {
 public:
  explicit test_dislockd(std::vector<std::string> flags = {},
                         const std::string& engine = "memory:", std::uint16_t port = 0) {
    std::vector<std::string> words{DISLOCKD_PATH,        "--engine",    engine, "--port",
                                   std::to_string(port), "--log-level", "off"};
    words.insert(words.end(), flags.begin(), flags.end());
    std::vector<char*> arguments;
    for (auto& w : words) arguments.push_back(w.data());
    arguments.push_back(nullptr);
    char* no_environment[] = {nullptr};
    int out[2];
    if (::pipe(out) != 0) return;
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(out[1], STDOUT_FILENO);
      ::close(out[0]);
      ::close(out[1]);
      ::execve(arguments[0], arguments.data(), no_environment);
      ::_exit(127);
    }
    ::close(out[1]);
    std::string line;
    for (char c = 0; ::read(out[0], &c, 1) == 1 && c != '\n';) line += c;
    ::close(out[0]);
    if (const auto colon = line.rfind(':'); colon != std::string::npos)
      port_ = static_cast<std::uint16_t>(std::strtoul(line.c_str() + colon + 1, nullptr, 10));
    EXPECT_NE(port_, 0) << "dislockd did not say where it listens: " << line;
  }
  test_dislockd(test_dislockd&& other) noexcept : pid_(std::exchange(other.pid_, -1)), port_(other.port_) {}
  test_dislockd(const test_dislockd&) = delete;
  ~test_dislockd() { kill(); }

  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  [[nodiscard]] std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] std::string url() const { return "http://" + address(); }

  /// SIGKILL, and it is gone.
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    reap();
  }
  /// SIGTERM: it begins to drain.
  void drain() const { ::kill(pid_, SIGTERM); }
  void reap() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
  }
  /// SIGSTOP, and it stands still.
  void freeze() const {
    ::kill(pid_, SIGSTOP);
    int status = 0;
    ::waitpid(pid_, &status, WUNTRACED);
  }
  void thaw() const { ::kill(pid_, SIGCONT); }

 private:
  pid_t pid_ = -1;
  std::uint16_t port_ = 0;
};

}  // namespace dislock::library
