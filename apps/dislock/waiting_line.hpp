// One line on a terminal that says why it takes so long.
#pragma once

#include "command.hpp"

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

namespace dislock::cli {

/// While it lives, and from half a second on, stderr shows who has the lock and for how long we have waited.
/// Does nothing where stderr is not a terminal.
class waiting_line {
 public:
  waiting_line(const workbench& at, client from, std::string lock, duration wait);
  waiting_line(const waiting_line&) = delete;
  waiting_line& operator=(const waiting_line&) = delete;
  ~waiting_line();

 private:
  void show(client from, const std::string& lock);

  std::mutex mutex_;
  std::condition_variable over_changed_;
  bool over_ = false;
  std::thread thread_;
};

}  // namespace dislock::cli
