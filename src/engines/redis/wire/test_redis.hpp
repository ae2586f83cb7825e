// Redis processes of a test's own, in a folder of their own, on free ports of 127.0.0.1. They end with the
// test, also where that crashes.
#pragma once

#include "engines/redis/wire/client.hpp"
#include "engines/redis/wire/command.hpp"
#include "engines/redis/wire/reply.hpp"
#include "engines/redis/wire/test_ports.hpp"

#include <arpa/inet.h>
#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <memory>
#include <optional>
#include <poll.h>
#include <string>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace dislock::redis {

using namespace std::chrono_literals;

class test_folder {
 public:
  test_folder() {
    auto name = (std::filesystem::temp_directory_path() / "dislock-redis-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~test_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  test_folder(const test_folder&) = delete;
  test_folder& operator=(const test_folder&) = delete;
  [[nodiscard]] std::string path(const std::string& name = {}) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

/// Ends only the process that it started.
class test_process {
 public:
  explicit test_process(std::vector<std::string> words) : words_(std::move(words)) { start(); }
  ~test_process() { kill(); }
  test_process(const test_process&) = delete;
  test_process& operator=(const test_process&) = delete;

  void start() {
    std::vector<char*> arguments;
    for (auto& w : words_) arguments.push_back(w.data());
    arguments.push_back(nullptr);
    const auto parent = ::getpid();
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != parent) ::_exit(1);
      ::execvp(arguments[0], arguments.data());
      ::_exit(127);
    }
  }
  /// SIGKILL, and it is gone.
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
  }
  void freeze() const {
    ::kill(pid_, SIGSTOP);
    int status = 0;
    ::waitpid(pid_, &status, WUNTRACED);
  }
  void thaw() const { ::kill(pid_, SIGCONT); }
  [[nodiscard]] bool running() const noexcept { return pid_ > 0; }
  void and_words(std::vector<std::string> more) { words_.insert(words_.end(), more.begin(), more.end()); }

 private:
  std::vector<std::string> words_;
  pid_t pid_ = -1;
};

/// A blocking connection, for what is done to a server behind the client's back.
class test_line {
 public:
  explicit test_line(std::uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    where.sin_port = htons(port);
    if (::connect(socket_, reinterpret_cast<sockaddr*>(&where), sizeof where) != 0) {
      ::close(socket_);
      socket_ = -1;
    }
  }
  ~test_line() {
    if (socket_ >= 0) ::close(socket_);
  }
  test_line(const test_line&) = delete;
  test_line& operator=(const test_line&) = delete;

  [[nodiscard]] bool open() const noexcept { return socket_ >= 0; }
  void send(std::initializer_list<std::string_view> words) const {
    send_words({words.begin(), words.size()});
  }
  void send_words(std::span<const std::string_view> words) const {
    std::string out;
    append_command(out, words);
    (void)!::send(socket_, out.data(), out.size(), MSG_NOSIGNAL);
  }
  /// nil where none comes within 10 s.
  reply receive() {
    reply out;
    while (reader_.next(out) != reply_reader::progress::complete) {
      pollfd p{.fd = socket_, .events = POLLIN, .revents = 0};
      char bytes[4096];
      if (::poll(&p, 1, 10'000) <= 0) return {};
      const auto n = ::recv(socket_, bytes, sizeof bytes, 0);
      if (n <= 0) return {};
      reader_.feed({bytes, static_cast<std::size_t>(n)});
    }
    return out;
  }
  reply say(std::initializer_list<std::string_view> words) {
    send(words);
    return receive();
  }

 private:
  int socket_;
  reply_reader reader_;
};

/// Polls; 10 s at most.
template <class Condition>
bool comes_true(Condition holds, std::chrono::milliseconds limit = 10s) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(2ms);
  }
  return true;
}

class test_redis {
 public:
  explicit test_redis(std::vector<std::string> flags = {}, bool plain = true)
      : port_(free_port()), process_(words(port_, folder_.path(), std::move(flags), plain)) {
    if (plain) {
      EXPECT_TRUE(comes_up());
    }
  }

  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  [[nodiscard]] address where() const { return {"127.0.0.1", port_}; }
  [[nodiscard]] std::string place() const { return where().text(); }
  [[nodiscard]] std::string url(const std::string& login = {}, const std::string& rest = {}) const {
    return "redis://" + login + place() + rest;
  }
  [[nodiscard]] test_process& process() noexcept { return process_; }
  [[nodiscard]] const test_folder& folder() const noexcept { return folder_; }
  reply say(std::initializer_list<std::string_view> words) const {
    test_line line(port_);
    return line.open() ? line.say(words) : reply{};
  }
  /// It answers, be it with an error.
  bool comes_up() const {
    return comes_true([&] { return say({"PING"}).is != reply::kind::nil; });
  }
  void restart() {
    process_.kill();
    process_.start();
    EXPECT_TRUE(comes_up());
  }

 private:
  static std::vector<std::string> words(std::uint16_t port, const std::string& folder,
                                        std::vector<std::string> flags, bool plain) {
    std::vector<std::string> out{"redis-server",
                                 "--bind",
                                 "127.0.0.1",
                                 "--dir",
                                 folder,
                                 "--logfile",
                                 folder + "/log",
                                 "--save",
                                 "",
                                 "--appendonly",
                                 "no",
                                 "--repl-diskless-sync-delay",
                                 "0",
                                 "--enable-debug-command",
                                 "yes"};
    if (plain) out.insert(out.end(), {"--port", std::to_string(port)});
    out.insert(out.end(), flags.begin(), flags.end());
    for (auto& w : out)
      if (w == "PORT") w = std::to_string(port);
    return out;
  }

  test_folder folder_;
  std::uint16_t port_;
  test_process process_;
};

/// A client, the loop that it lives on, and what it told.
class test_client : public client_listener {
 public:
  explicit test_client(const std::string& url, std::vector<std::string> scripts = {},
                       const std::function<void(client_settings&)>& change = {}) {
    auto parsed = parse_store_url(url);
    EXPECT_TRUE(parsed) << (parsed ? "" : parsed.error().detail);
    client_settings settings{.url = *parsed, .scripts = std::move(scripts)};
    if (change) change(settings);
    auto made = redis_client::make(io, time, std::move(settings), *this);
    EXPECT_TRUE(made) << (made ? "" : made.error().detail);
    client = std::move(*made);
    client->start();
  }

  template <class Condition>
  bool until(Condition holds, std::chrono::milliseconds limit = 10s) {
    const auto end = std::chrono::steady_clock::now() + limit;
    io.restart();
    while (!holds()) {
      if (std::chrono::steady_clock::now() > end) return false;
      io.run_one_for(20ms);
      if (io.stopped()) io.restart();
    }
    return true;
  }
  bool ready() {
    return until([&] { return client->ready(); });
  }
  /// Runs the loop until the answer is there.
  response ask(std::vector<std::string_view> words, duration patience = 10s, const target& to = {}) {
    std::optional<response> out;
    client->call(to, words, time.now() + patience, [&](response a) { out = std::move(a); });
    EXPECT_TRUE(until([&] { return out.has_value(); }, 20s));
    return out ? std::move(*out)
               : response(failure{failure::cause::stopped, effect::none, "no answer at all"});
  }
  response together(std::vector<std::vector<std::string_view>> commands, duration patience = 10s,
                    const target& to = {}) {
    std::optional<response> out;
    const std::vector<command_words> all(commands.begin(), commands.end());
    client->call_together(to, all, time.now() + patience, [&](response a) { out = std::move(a); });
    EXPECT_TRUE(until([&] { return out.has_value(); }, 20s));
    return out ? std::move(*out)
               : response(failure{failure::cause::stopped, effect::none, "no answer at all"});
  }
  response run(const script_call& what, duration patience = 10s, const target& to = {}) {
    std::optional<response> out;
    client->run(to, what, time.now() + patience, [&](response a) { out = std::move(a); });
    EXPECT_TRUE(until([&] { return out.has_value(); }, 20s));
    return out ? std::move(*out)
               : response(failure{failure::cause::stopped, effect::none, "no answer at all"});
  }

  void on_opening(const newcomer& who, const address& at, lane_kind lane,
                  const server_facts& facts) override {
    if (opening) return opening(who, lane);
    client_listener::on_opening(who, at, lane, facts);
  }
  void on_connected(const address& at, const server_facts& facts, std::uint64_t connection) override {
    connected.push_back(at);
    incarnations.push_back(facts.incarnation());
    numbers.push_back(connection);
  }
  void on_lost(const address&, std::string_view why) override { lost.emplace_back(why); }
  void on_subscribed() override { ++subscribed; }
  void on_message(std::string_view channel, std::string_view text) override {
    messages.push_back(std::string(channel) + "=" + std::string(text));
  }

  boost::asio::io_context io{1};
  boottime_clock time;
  std::vector<address> connected;
  std::vector<std::string> incarnations, lost, messages;
  std::vector<std::uint64_t> numbers;
  std::function<void(const newcomer&, lane_kind)> opening;
  int subscribed = 0;
  std::unique_ptr<redis_client> client;
};

/// How calls ended.
struct tally {
  int done = 0, refused = 0, none = 0, unknown = 0;

  void count(const response& a) {
    if (a) {
      ++(a->failed() ? refused : done);
    } else {
      ++(a.error().what == effect::none ? none : unknown);
    }
  }
  [[nodiscard]] int all() const noexcept { return done + refused + none + unknown; }
};

inline std::string text_of(const response& a) {
  if (!a) return std::string(a.error().what == effect::none ? "none: " : "unknown: ") + a.error().detail;
  return a->is == reply::kind::integer ? std::to_string(a->number) : a->text;
}

}  // namespace dislock::redis
