#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dislock::server {

/// One JSON value of a body, in the order of the text. Views live until the tree parses again.
struct json_node {
  enum class type : std::uint8_t { null, boolean, integer, big_integer, real, string, array, object };
  type kind = type::null;
  bool truth = false;
  std::uint32_t children = 0;  ///< members or elements
  std::uint32_t next = 0;      ///< index of what follows this value and everything in it
  std::int64_t whole = 0;      ///< integer; a `big_integer` does not fit
  double real = 0;             ///< integer, big_integer, real
  std::string_view key;        ///< inside an object
  std::string_view text;       ///< string
};

/// A body as a flat tree: parsed by Boost.JSON's event parser into vectors that are reused, so that a small
/// body costs no allocation. Stricter than most readers, because a typo must never weaken a request: the text
/// is one object, no member is named twice, nesting ends at `max_depth`, strings are valid UTF-8.
///
/// Not thread safe. Nodes are numbered in the order of the text; 0 is the body itself.
class json_tree {
 public:
  static constexpr std::size_t max_depth = 16;

  struct failure {
    std::string_view detail;     ///< one sentence, for the client
    std::string repeated_field;  ///< not empty: the member that is named twice
  };

  /// Nothing on success.
  [[nodiscard]] std::optional<failure> parse(std::string_view body);

  [[nodiscard]] const json_node& operator[](std::uint32_t index) const noexcept { return nodes_[index]; }

  /// Appends the value as compact JSON.
  void write(std::string& out, std::uint32_t index) const;

 private:
  struct handler;

  std::vector<json_node> nodes_;
  std::vector<std::uint32_t> open_;  // scratch: objects and arrays that are not closed yet
  std::vector<std::string_view> keys_;
  std::string chars_;  // what strings say, escapes resolved
  std::string repeated_;
};

}  // namespace dislock::server
