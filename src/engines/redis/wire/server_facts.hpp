// What a server says of itself.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace dislock::redis {

/// The answer to `INFO`. Whatever a server does not say is empty, or zero.
class server_facts {
 public:
  server_facts() = default;
  explicit server_facts(std::string text);

  /// The text after `name:`.
  [[nodiscard]] std::string_view field(std::string_view name) const noexcept;
  [[nodiscard]] std::int64_t number(std::string_view name) const noexcept;

  [[nodiscard]] std::string_view run_id() const noexcept { return field("run_id"); }
  [[nodiscard]] std::string_view replication_id() const noexcept { return field("master_replid"); }
  [[nodiscard]] std::string_view version() const noexcept { return field("redis_version"); }
  [[nodiscard]] bool is_primary() const noexcept { return field("role") == "master"; }
  [[nodiscard]] bool is_loading() const noexcept { return number("loading") != 0; }
  [[nodiscard]] bool is_cluster_node() const noexcept { return number("cluster_enabled") != 0; }
  [[nodiscard]] std::int64_t connected_replicas() const noexcept { return number("connected_slaves"); }
  /// 40 hex digits that change when the process or its replication history does: with a restart, a promotion,
  /// and when a primary comes back after another one had its place. Empty if the server did not say.
  [[nodiscard]] const std::string& incarnation() const noexcept { return incarnation_; }

 private:
  std::string text_;
  std::string incarnation_;
};

}  // namespace dislock::redis
