#include "server/json_tree.hpp"

#include "http/json_writer.hpp"

#include <boost/json/basic_parser_impl.hpp>

#include <algorithm>

namespace dislock::server {

namespace json = boost::json;

// Receives the parser's events. Strings come in parts where they hold escapes; all parts of one lie side by
// side in `chars_`, which never moves: what strings say is no longer than how they are written.
struct json_tree::handler {
  static constexpr std::size_t max_object_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_array_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_key_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_string_size = static_cast<std::size_t>(-1);

  json_tree& tree;
  std::string_view key{};
  std::size_t part = 0;

  json_node& add(json_node::type kind) {
    if (!tree.open_.empty()) ++tree.nodes_[tree.open_.back()].children;
    auto& n = tree.nodes_.emplace_back();
    n.kind = kind;
    n.key = std::exchange(key, {});
    n.next = static_cast<std::uint32_t>(tree.nodes_.size());
    return n;
  }
  bool open(json_node::type kind) {
    const auto index = static_cast<std::uint32_t>(tree.nodes_.size());
    add(kind);
    tree.open_.push_back(index);
    return true;
  }
  bool close(json::error_code& ec) {
    const auto index = tree.open_.back();
    tree.open_.pop_back();
    auto& n = tree.nodes_[index];
    n.next = static_cast<std::uint32_t>(tree.nodes_.size());
    if (n.kind != json_node::type::object || n.children < 2) return true;
    tree.keys_.clear();
    for (auto i = index + 1; i < n.next; i = tree.nodes_[i].next) tree.keys_.push_back(tree.nodes_[i].key);
    std::sort(tree.keys_.begin(), tree.keys_.end());
    const auto twice = std::adjacent_find(tree.keys_.begin(), tree.keys_.end());
    if (twice == tree.keys_.end()) return true;
    tree.repeated_ =
        tree.open_.empty() ? std::string(*twice) : std::string(tree.nodes_[tree.open_[0] + 1].key);
    if (tree.repeated_.empty()) tree.repeated_ = "body";
    ec = json::error::syntax;
    return false;
  }
  std::string_view finish(std::string_view last) {
    tree.chars_ += last;
    const auto whole = std::string_view(tree.chars_).substr(part);
    part = tree.chars_.size();
    return whole;
  }

  bool on_document_begin(json::error_code&) { return true; }
  bool on_document_end(json::error_code&) { return true; }
  bool on_object_begin(json::error_code&) { return open(json_node::type::object); }
  bool on_object_end(std::size_t, json::error_code& ec) { return close(ec); }
  bool on_array_begin(json::error_code&) { return open(json_node::type::array); }
  bool on_array_end(std::size_t, json::error_code& ec) { return close(ec); }
  bool on_key_part(json::string_view s, std::size_t, json::error_code&) { return on_part(s); }
  bool on_key(json::string_view s, std::size_t, json::error_code&) {
    key = finish({s.data(), s.size()});
    return true;
  }
  bool on_string_part(json::string_view s, std::size_t, json::error_code&) { return on_part(s); }
  bool on_string(json::string_view s, std::size_t, json::error_code&) {
    const auto whole = finish({s.data(), s.size()});
    add(json_node::type::string).text = whole;
    return true;
  }
  bool on_part(json::string_view s) {
    tree.chars_.append(s.data(), s.size());
    return true;
  }
  bool on_number_part(json::string_view, json::error_code&) { return true; }
  bool on_int64(std::int64_t v, json::string_view, json::error_code&) {
    auto& n = add(json_node::type::integer);
    n.whole = v;
    n.real = static_cast<double>(v);
    return true;
  }
  bool on_uint64(std::uint64_t v, json::string_view, json::error_code&) {
    add(json_node::type::big_integer).real = static_cast<double>(v);
    return true;
  }
  bool on_double(double v, json::string_view, json::error_code&) {
    add(json_node::type::real).real = v;
    return true;
  }
  bool on_bool(bool v, json::error_code&) {
    add(json_node::type::boolean).truth = v;
    return true;
  }
  bool on_null(json::error_code&) {
    add(json_node::type::null);
    return true;
  }
  bool on_comment_part(json::string_view, json::error_code&) { return true; }
  bool on_comment(json::string_view, json::error_code&) { return true; }
};

std::optional<json_tree::failure> json_tree::parse(std::string_view body) {
  nodes_.clear();
  open_.clear();
  chars_.clear();
  chars_.reserve(body.size());
  repeated_.clear();

  json::parse_options strict;
  strict.max_depth = max_depth;
  json::basic_parser<handler> parser(strict, handler{*this});
  json::error_code ec;
  const auto used = parser.write_some(false, body.data(), body.size(), ec);
  if (!repeated_.empty()) return failure{"A member is named twice.", std::move(repeated_)};
  if (ec == json::error::too_deep) return failure{"The body is nested more than 16 levels deep.", {}};
  if (ec == json::error::incomplete) return failure{"The body ends before its JSON does.", {}};
  if (ec) return failure{"The body is not valid JSON.", {}};
  const auto rest = body.substr(used);
  if (rest.find_first_not_of(" \t\r\n") != std::string_view::npos)
    return failure{"Something follows the JSON object.", {}};
  if (nodes_.empty() || nodes_[0].kind != json_node::type::object)
    return failure{"The body must be a JSON object.", {}};
  return std::nullopt;
}

void json_tree::write(std::string& out, std::uint32_t index) const {
  const auto& n = nodes_[index];
  switch (n.kind) {
    case json_node::type::null:
      out += "null";
      return;
    case json_node::type::boolean:
      out += n.truth ? "true" : "false";
      return;
    case json_node::type::integer:
      http::append_integer(out, n.whole);
      return;
    case json_node::type::big_integer:
    case json_node::type::real: {
      char digits[32];
      out.append(digits, static_cast<std::size_t>(std::snprintf(digits, sizeof digits, "%.17g", n.real)));
      return;
    }
    case json_node::type::string:
      http::append_json_string(out, n.text);
      return;
    case json_node::type::array:
    case json_node::type::object: {
      const bool object = n.kind == json_node::type::object;
      out += object ? '{' : '[';
      for (auto i = index + 1; i < n.next; i = nodes_[i].next) {
        if (i != index + 1) out += ',';
        if (object) {
          http::append_json_string(out, nodes_[i].key);
          out += ':';
        }
        write(out, i);
      }
      out += object ? '}' : ']';
      return;
    }
  }
}

}  // namespace dislock::server
