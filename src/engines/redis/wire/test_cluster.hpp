// A Cluster of a test's own.
#pragma once

#include "engines/redis/wire/slots.hpp"
#include "engines/redis/wire/test_redis.hpp"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace dislock::redis {

/// Three nodes, each with a third of the slots.
class test_cluster {
 public:
  test_cluster() {
    for (int i = 0; i < 3; ++i) add_node();
    for (std::size_t i = 0; i < 3; ++i) {
      const auto from = std::to_string(i * 5461), to = std::to_string(i == 2 ? 16383 : (i + 1) * 5461 - 1);
      EXPECT_EQ(nodes_[i]->say({"CLUSTER", "ADDSLOTSRANGE", from, to}).text, "OK");
      nodes_[i]->say({"CLUSTER", "SET-CONFIG-EPOCH", std::to_string(i + 1)});
      if (i > 0) meet(i);
    }
    EXPECT_TRUE(agree());
  }
  void add_node() {
    nodes_.push_back(std::make_unique<test_redis>(
        std::vector<std::string>{"--cluster-enabled", "yes", "--cluster-node-timeout", "800",
                                 "--cluster-replica-validity-factor", "0"}));
  }
  void meet(std::size_t i) const {
    nodes_[i]->say({"CLUSTER", "MEET", "127.0.0.1", std::to_string(nodes_[0]->port())});
  }
  /// All see all, and a whole Cluster.
  [[nodiscard]] bool agree() const {
    return comes_true([&] {
      for (const auto& n : nodes_) {
        const auto text = n->say({"CLUSTER", "INFO"}).text;
        if (text.find("cluster_state:ok") == std::string::npos ||
            text.find("cluster_known_nodes:" + std::to_string(nodes_.size())) == std::string::npos)
          return false;
      }
      return true;
    });
  }
  [[nodiscard]] test_redis& node(std::size_t i) const { return *nodes_[i]; }
  [[nodiscard]] const std::vector<std::unique_ptr<test_redis>>& nodes() const noexcept { return nodes_; }
  [[nodiscard]] std::string id(std::size_t i) const { return nodes_[i]->say({"CLUSTER", "MYID"}).text; }
  [[nodiscard]] std::string url(std::size_t i = 0) const { return "redis+cluster://" + nodes_[i]->place(); }
  /// At the beginning.
  [[nodiscard]] static std::size_t owner(std::string_view key) {
    const auto slot = key_slot(key);
    return slot < 5461 ? 0 : slot < 2 * 5461 ? 1 : 2;
  }

  // The steps of a migration, as redis-cli and redis-trib take them.
  void begin_move(const std::string& slot, std::size_t from, std::size_t to) const {
    ASSERT_EQ(nodes_[to]->say({"CLUSTER", "SETSLOT", slot, "IMPORTING", id(from)}).text, "OK");
    ASSERT_EQ(nodes_[from]->say({"CLUSTER", "SETSLOT", slot, "MIGRATING", id(to)}).text, "OK");
  }
  void move_key(std::string_view key, std::size_t from, std::size_t to) const {
    nodes_[from]->say({"MIGRATE", "127.0.0.1", std::to_string(nodes_[to]->port()), key, "0", "1000"});
  }
  void end_move(const std::string& slot, std::size_t from, std::size_t to) const {
    const auto node = id(to);
    nodes_[to]->say({"CLUSTER", "SETSLOT", slot, "NODE", node});
    nodes_[from]->say({"CLUSTER", "SETSLOT", slot, "NODE", node});
  }
  /// All of it. How many keys that were.
  std::size_t move(std::string_view key, std::size_t from, std::size_t to) const {
    const auto slot = std::to_string(key_slot(key));
    std::size_t moved = 0;
    begin_move(slot, from, to);
    for (;;) {
      const auto keys = nodes_[from]->say({"CLUSTER", "GETKEYSINSLOT", slot, "100"});
      if (keys.items.empty()) break;
      for (const auto& each : keys.items) move_key(each.text, from, to);
      moved += keys.items.size();
    }
    end_move(slot, from, to);
    return moved;
  }

 protected:
  std::vector<std::unique_ptr<test_redis>> nodes_;
};

}  // namespace dislock::redis
