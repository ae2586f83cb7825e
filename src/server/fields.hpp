#pragma once

#include "base/ids.hpp"
#include "dislock/clock.hpp"
#include "dislock/errc.hpp"
#include "server/json_tree.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace dislock::server {

/// What is wrong with a request: said once, for the first thing that is wrong.
struct bad_request {
  errc code = errc::invalid_field;
  std::string field;
  std::string detail;
};

/// 1 to `longest` of the characters that names and ids are made of.
[[nodiscard]] bool is_identifier(std::string_view s, std::size_t longest) noexcept;

/// Nothing when the name is allowed, else why it is not.
[[nodiscard]] std::optional<std::string_view> why_not_a_lock_name(std::string_view name) noexcept;

/// Reads the members of one JSON object by name, and remembers the first that is wrong.
///
/// Each getter answers with a default when the member is missing or wrong; `finish` tells whether anything
/// was, also for members that nobody asked for. Views live as long as the tree.
class fields {
 public:
  /// `path` goes in front of the names in errors, e.g. `locks[1].`.
  fields(const json_tree& tree, std::uint32_t object, std::string path = {});

  [[nodiscard]] bool has(std::string_view name) noexcept { return find(name) != 0; }

  std::string_view identifier(std::string_view name, bool required = false);
  template <class Id>
  Id id(std::string_view name, bool required = false) {
    return Id(identifier(name, required));
  }
  /// 32 hex digits as we make them; any other identifier is a secret of nobody, and comes back as one.
  template <class Secret>
  Secret secret_of(std::string_view name, bool required = false) {
    const auto text = identifier(name, required);
    if (text.empty()) return {};
    const auto parsed = Secret::parse(text);
    return parsed && !parsed->empty() ? *parsed : Secret{{~std::uint64_t{0}, ~std::uint64_t{0}}};
  }
  std::string_view lock_name_of(std::string_view name);
  std::optional<duration> seconds(std::string_view name, duration least, duration most);
  std::optional<std::int64_t> integer(std::string_view name, std::int64_t least, std::int64_t most);
  bool flag(std::string_view name);
  /// One of `choices`, as its index; `fallback` when missing.
  std::size_t choice(std::string_view name, std::span<const std::string_view> choices, std::size_t fallback);
  /// An object as compact JSON into `out`, at most `longest` bytes; a view of it.
  std::string_view object_text(std::string_view name, std::string& out, std::size_t longest);
  /// The array member's node, or 0.
  std::uint32_t array(std::string_view name, std::size_t least, std::size_t most, bool required);

  void fail(std::string_view name, std::string detail, errc code = errc::invalid_field);
  /// What was wrong, if anything; also a member that nobody asked for.
  [[nodiscard]] std::optional<bad_request> finish();

 private:
  std::uint32_t find(std::string_view name) noexcept;

  const json_tree& tree_;
  const std::uint32_t object_;
  const std::string path_;
  std::uint64_t asked_ = 0;  // which members, by place; more than 64 members are an error anyway
  std::vector<std::string_view> known_;
  std::optional<bad_request> wrong_;
};

}  // namespace dislock::server
