#include "server/fields.hpp"

#include "http/json_writer.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace dislock::server {
namespace {

constexpr auto allowed_characters = [] {
  std::array<bool, 256> allowed{};
  for (const char c :
       std::string_view("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~:/@+=,-"))
    allowed[static_cast<unsigned char>(c)] = true;
  return allowed;
}();

bool all_allowed(std::string_view s) noexcept {
  return std::all_of(s.begin(), s.end(),
                     [](char c) { return allowed_characters[static_cast<unsigned char>(c)]; });
}

std::string in_seconds(duration d) {
  std::string out;
  http::append_seconds(out, std::chrono::duration_cast<std::chrono::milliseconds>(d));
  return out;
}

// How far apart two names are (Levenshtein), for "did you mean".
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    auto diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j)
      diagonal =
          std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])}));
  }
  return row[b.size()];
}

}  // namespace

bool is_identifier(std::string_view s, std::size_t longest) noexcept {
  return !s.empty() && s.size() <= longest && all_allowed(s);
}

std::optional<std::string_view> why_not_a_lock_name(std::string_view name) noexcept {
  if (name.empty()) return "A lock name has at least one character.";
  if (name.size() > 255) return "A lock name has at most 255 bytes.";
  if (!all_allowed(name))
    return "A lock name consists of the characters A-Z a-z 0-9 . _ ~ : / @ + = , and -.";
  for (std::size_t at = 0; at <= name.size();) {
    const auto end = std::min(name.find('/', at), name.size());
    const auto segment = name.substr(at, end - at);
    if (segment.empty()) return "No segment of a lock name is empty.";
    if (segment == "." || segment == "..") return "No segment of a lock name is . or ..";
    at = end + 1;
  }
  return std::nullopt;
}

fields::fields(const json_tree& tree, std::uint32_t object, std::string path)
    : tree_(tree), object_(object), path_(std::move(path)) {}

std::uint32_t fields::find(std::string_view name) noexcept {
  known_.push_back(name);
  std::size_t place = 0;
  for (auto i = object_ + 1; i < tree_[object_].next; i = tree_[i].next, ++place) {
    if (tree_[i].key != name) continue;
    if (place < 64) asked_ |= std::uint64_t{1} << place;
    return i;
  }
  return 0;
}

void fields::fail(std::string_view name, std::string detail, errc code) {
  if (!wrong_) wrong_ = bad_request{code, path_ + std::string(name), std::move(detail)};
}

std::optional<bad_request> fields::finish() {
  if (wrong_) return wrong_;
  std::size_t place = 0;
  for (auto i = object_ + 1; i < tree_[object_].next; i = tree_[i].next, ++place) {
    if (place < 64 && (asked_ >> place) & 1) continue;
    const auto key = tree_[i].key;
    std::string detail = "There is no such field.";
    if (key.size() <= 64) {
      const auto nearest = std::min_element(
          known_.begin(), known_.end(), [&](auto a, auto b) { return distance(a, key) < distance(b, key); });
      if (nearest != known_.end() && distance(*nearest, key) <= 3)
        detail += " Did you mean " + std::string(*nearest) + "?";
    }
    fail(key.empty() ? "body" : key.substr(0, 100), std::move(detail));
    return wrong_;
  }
  return std::nullopt;
}

std::string_view fields::identifier(std::string_view name, bool required) {
  const auto i = find(name);
  if (i == 0) {
    if (required) fail(name, "This field is required.");
    return {};
  }
  const auto& n = tree_[i];
  if (n.kind != json_node::type::string || !is_identifier(n.text, 128)) {
    fail(name, "Must be a string of 1 to 128 of the characters A-Z a-z 0-9 . _ ~ : / @ + = , and -.");
    return {};
  }
  return n.text;
}

std::string_view fields::lock_name_of(std::string_view name) {
  const auto i = find(name);
  if (i == 0) return fail(name, "This field is required."), std::string_view{};
  const auto& n = tree_[i];
  if (n.kind != json_node::type::string) return fail(name, "Must be a string."), std::string_view{};
  if (const auto why = why_not_a_lock_name(n.text)) fail(name, std::string(*why), errc::invalid_lock_name);
  return n.text;
}

std::optional<duration> fields::seconds(std::string_view name, duration least, duration most) {
  const auto i = find(name);
  if (i == 0) return std::nullopt;
  const auto& n = tree_[i];
  const bool number = n.kind == json_node::type::integer || n.kind == json_node::type::real;
  if (number && std::isfinite(n.real) && std::abs(n.real) < 1e9) {
    const duration d = std::chrono::milliseconds(std::llround(n.real * 1000));
    if (d >= least && d <= most) return d;
  }
  fail(name, "Must be a number of seconds from " + in_seconds(least) + " to " + in_seconds(most) + ".");
  return std::nullopt;
}

std::optional<std::int64_t> fields::integer(std::string_view name, std::int64_t least, std::int64_t most) {
  const auto i = find(name);
  if (i == 0) return std::nullopt;
  const auto& n = tree_[i];
  if (n.kind == json_node::type::integer && n.whole >= least && n.whole <= most) return n.whole;
  fail(name, "Must be a whole number from " + std::to_string(least) + " to " + std::to_string(most) + ".");
  return std::nullopt;
}

bool fields::flag(std::string_view name) {
  const auto i = find(name);
  if (i == 0) return false;
  if (tree_[i].kind != json_node::type::boolean) fail(name, "Must be true or false.");
  return tree_[i].truth;
}

std::size_t fields::choice(std::string_view name, std::span<const std::string_view> choices,
                           std::size_t fallback) {
  const auto i = find(name);
  if (i == 0) return fallback;
  const auto& n = tree_[i];
  if (n.kind == json_node::type::string)
    if (const auto it = std::find(choices.begin(), choices.end(), n.text); it != choices.end())
      return static_cast<std::size_t>(it - choices.begin());
  std::string detail = "Must be one of";
  for (const auto c : choices) detail.append(" ").append(c).append(",");
  detail.back() = '.';
  fail(name, std::move(detail));
  return fallback;
}

std::string_view fields::object_text(std::string_view name, std::string& out, std::size_t longest) {
  const auto i = find(name);
  if (i == 0) return {};
  if (tree_[i].kind != json_node::type::object)
    return fail(name, "Must be a JSON object."), std::string_view{};
  for (auto j = i + 1; j < tree_[i].next; ++j)
    if (tree_[j].kind == json_node::type::real && !std::isfinite(tree_[j].real))
      return fail(name, "Holds a number that does not fit."), std::string_view{};
  out.clear();
  tree_.write(out, i);
  if (out.size() > longest)
    return fail(name, "Must be at most " + std::to_string(longest) + " bytes as compact JSON."),
           std::string_view{};
  return out;
}

std::uint32_t fields::array(std::string_view name, std::size_t least, std::size_t most, bool required) {
  const auto i = find(name);
  if (i == 0) {
    if (required) fail(name, "This field is required.");
    return 0;
  }
  if (tree_[i].kind == json_node::type::array && tree_[i].children >= least && tree_[i].children <= most)
    return i;
  fail(name, "Must be an array of " + std::to_string(least) + " to " + std::to_string(most) + " elements.");
  return 0;
}

}  // namespace dislock::server
