#include "engines/redis/wire/slots.hpp"

#include <algorithm>
#include <charconv>

namespace dislock::redis {
namespace {

constexpr auto crc_table = [] {
  std::array<std::uint16_t, 256> out{};
  for (unsigned i = 0; i < 256; ++i) {
    unsigned c = i << 8;
    for (int bit = 0; bit < 8; ++bit) c = (c & 0x8000) != 0 ? (c << 1) ^ 0x1021 : c << 1;
    out[i] = static_cast<std::uint16_t>(c);
  }
  return out;
}();

std::uint16_t crc16(std::string_view text) noexcept {
  std::uint16_t c = 0;
  for (const char byte : text)
    c = static_cast<std::uint16_t>((c << 8) ^
                                   crc_table[((c >> 8) ^ static_cast<unsigned char>(byte)) & 0xff]);
  return c;
}

template <class Number>
std::optional<Number> number(std::string_view text) {
  Number out{};
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (text.empty() || ec != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return out;
}

}  // namespace

std::uint16_t key_slot(std::string_view key) noexcept {
  if (const auto open = key.find('{'); open != std::string_view::npos)
    if (const auto close = key.find('}', open + 1); close != std::string_view::npos && close != open + 1)
      key = key.substr(open + 1, close - open - 1);
  return crc16(key) % slot_count;
}

std::optional<slot_map> slot_map::from(const reply& slots, const address& asked) {
  if (slots.is != reply::kind::array || slots.items.empty()) return std::nullopt;
  slot_map out;
  for (const auto& range : slots.items) {
    const auto& from = range.at(0);
    const auto& to = range.at(1);
    const auto& primary = range.at(2);
    const auto& host = primary.at(0);
    const auto& port = primary.at(1);
    if (from.is != reply::kind::integer || to.is != reply::kind::integer || port.is != reply::kind::integer ||
        from.number < 0 || to.number >= slot_count || from.number > to.number || port.number < 1 ||
        port.number > 65535)
      return std::nullopt;
    // nil or empty: the address by which the node was asked. '?': it does not know its own name.
    const bool silent = host.is != reply::kind::bulk || host.text.empty() || host.text == "?";
    const auto node =
        out.number_of({silent ? asked.host : host.text, static_cast<std::uint16_t>(port.number)});
    std::fill(out.owner_.begin() + from.number, out.owner_.begin() + to.number + 1, node);
  }
  return out;
}

void slot_map::assign(std::uint16_t slot, const address& to) {
  owner_[slot] = number_of(to);
}

std::size_t slot_map::unowned() const noexcept {
  return static_cast<std::size_t>(std::count(owner_.begin(), owner_.end(), nobody));
}

std::uint16_t slot_map::number_of(const address& node) {
  const auto found = std::find(nodes_.begin(), nodes_.end(), node);
  if (found != nodes_.end()) return static_cast<std::uint16_t>(found - nodes_.begin());
  nodes_.push_back(node);
  return static_cast<std::uint16_t>(nodes_.size() - 1);
}

std::string_view owner_id(const reply& slots, std::uint16_t slot) noexcept {
  for (const auto& range : slots.items)
    if (range.at(0).number <= slot && slot <= range.at(1).number) return range.at(2).at(2).text;
  return {};
}

namespace {

// A line of CLUSTER NODES: id, address, flags, id of its primary or "-", when it was pinged, when it
// answered, epoch, state of the link, and its slots.
constexpr std::size_t id = 0, flags = 2, primary = 3, slots = 8;

template <class Visit>
void each_node(std::string_view nodes, Visit visit) {
  for (std::size_t at = 0; at < nodes.size();) {
    const auto end = std::min(nodes.find('\n', at), nodes.size());
    auto line = nodes.substr(at, end - at);
    std::array<std::string_view, 9> fields;
    for (auto& field : fields) {
      field = line.substr(0, line.find(' '));
      line.remove_prefix(std::min(line.size(), field.size() + 1));
    }
    visit(fields);
    at = end + 1;
  }
}
bool has(std::string_view text, std::string_view part) noexcept {
  return text.find(part) != std::string_view::npos;
}

}  // namespace

std::int64_t replicas_of_asked(std::string_view nodes) noexcept {
  std::string_view asked;
  each_node(nodes, [&](const auto& f) {
    if (has(f[flags], "myself")) asked = f[id];
  });
  std::int64_t count = 0;
  each_node(nodes, [&](const auto& f) { count += !asked.empty() && f[primary] == asked ? 1 : 0; });
  return count;
}

bool name_a_lost_primary(std::string_view nodes) noexcept {
  bool found = false;
  each_node(nodes, [&](const auto& f) {
    found |= has(f[flags], "master") && has(f[flags], "fail") && !has(f[flags], "fail?") && f[slots].empty();
  });
  return found;
}

std::optional<redirection> parse_redirection(std::string_view error, const address& asked) {
  const auto first = error.find(' ');
  const auto second = error.find(' ', first + 1);
  if (first == std::string_view::npos || second == std::string_view::npos) return std::nullopt;
  const auto slot = number<std::uint16_t>(error.substr(first + 1, second - first - 1));
  const auto place = error.substr(second + 1);
  const auto colon = place.rfind(':');
  if (!slot || *slot >= slot_count || colon == std::string_view::npos) return std::nullopt;
  const auto port = number<std::uint16_t>(place.substr(colon + 1));
  if (!port || *port == 0) return std::nullopt;
  auto host = place.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  return redirection{*slot, {host.empty() || host == "?" ? asked.host : std::string(host), *port}};
}

}  // namespace dislock::redis
