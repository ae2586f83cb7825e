// A log whose disk is the test.
#pragma once

#include "engines/memory/table_engine.hpp"

#include <string>

namespace dislock::testing_engines {

/// Commits when the test says so, group by group. Owned by the engine, steered by the test.
class held_log final : public commit_log {
 public:
  struct remote {
    std::uint64_t appended = 0, submitted = 0, committed = 0;
    std::string failure;
    bool closed = false;
  };
  explicit held_log(remote& r) : remote_(r) {}

  void put(std::string_view, std::string_view) override { ++remote_.appended; }
  void remove(std::string_view) override { ++remote_.appended; }
  void put_passing(std::string_view, std::string_view) override { ++remote_.appended; }
  void pass(std::string_view) override {}
  std::uint64_t pending() const noexcept override { return remote_.appended; }
  std::uint64_t committed() noexcept override { return remote_.committed; }
  void submit() override { remote_.submitted = remote_.appended; }
  bool backlogged() const noexcept override { return !remote_.failure.empty(); }
  std::string_view failure() const noexcept override { return remote_.failure; }
  void close() override { remote_.closed = true; }

 private:
  remote& remote_;
};

}  // namespace dislock::testing_engines
