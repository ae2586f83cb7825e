// Which node of a Cluster serves which key.
#pragma once

#include "engines/redis/wire/address.hpp"
#include "engines/redis/wire/reply.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace dislock::redis {

constexpr std::uint16_t slot_count = 16384;

/// CRC16 (XMODEM) of the key, or of what is between its first `{` and the next `}`, if that is not empty.
[[nodiscard]] std::uint16_t key_slot(std::string_view key) noexcept;

/// The owners of all slots, as far as they are known.
class slot_map {
 public:
  slot_map() { owner_.fill(nobody); }

  /// From the answer to `CLUSTER SLOTS`; nothing if that makes no sense. A node that does not say its address
  /// is the one that was asked.
  [[nodiscard]] static std::optional<slot_map> from(const reply& slots, const address& asked);

  [[nodiscard]] const address* owner(std::uint16_t slot) const noexcept {
    return owner_[slot] == nobody ? nullptr : &nodes_[owner_[slot]];
  }
  void assign(std::uint16_t slot, const address& to);
  [[nodiscard]] bool knows_all() const noexcept { return unowned() == 0; }
  [[nodiscard]] std::size_t unowned() const noexcept;
  /// Each once. May name nodes that have lost their last slot since.
  [[nodiscard]] const std::vector<address>& nodes() const noexcept { return nodes_; }

 private:
  static constexpr std::uint16_t nobody = 0xffff;
  std::uint16_t number_of(const address& node);

  std::vector<address> nodes_;
  std::array<std::uint16_t, slot_count> owner_;
};

/// The id of the slot's owner, by the answer to `CLUSTER SLOTS`; empty: it has none.
[[nodiscard]] std::string_view owner_id(const reply& slots, std::uint16_t slot) noexcept;
/// How many replicas the asked node of a Cluster has by its answer to `CLUSTER NODES`, also those that are
/// down.
[[nodiscard]] std::int64_t replicas_of_asked(std::string_view nodes) noexcept;

/// `CLUSTER NODES` has a primary that has failed and whose slots have another one: somebody's replica, when
/// it comes back. One that is only suspected (`fail?`), or that nobody has replaced, is none.
[[nodiscard]] bool name_a_lost_primary(std::string_view nodes) noexcept;

/// Where `MOVED 3999 127.0.0.1:6381` and `ASK ...` point.
struct redirection {
  std::uint16_t slot;
  address to;
};
[[nodiscard]] std::optional<redirection> parse_redirection(std::string_view error, const address& asked);

}  // namespace dislock::redis
