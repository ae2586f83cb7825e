#include "output.hpp"

#include "views.hpp"
#include "wording.hpp"

#include <boost/json/serialize.hpp>

#include <algorithm>
#include <array>
#include <ostream>

namespace dislock::cli {
namespace {

namespace json = boost::json;

// Characters, not bytes: metadata may be any UTF-8.
std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

void append_pretty(std::string& out, const json::value& value, std::size_t depth) {
  const auto indent = [&](std::size_t by) { out.append("\n").append(2 * by, ' '); };
  if (const auto* object = value.if_object(); object && !object->empty()) {
    out += '{';
    bool first = true;
    for (const auto& member : *object) {
      if (!first) out += ',';
      first = false;
      indent(depth + 1);
      out.append(json::serialize(json::string(member.key()))).append(": ");
      append_pretty(out, member.value(), depth + 1);
    }
    indent(depth);
    out += '}';
  } else if (const auto* array = value.if_array(); array && !array->empty()) {
    out += '[';
    for (std::size_t i = 0; i < array->size(); ++i) {
      if (i > 0) out += ',';
      indent(depth + 1);
      append_pretty(out, (*array)[i], depth + 1);
    }
    indent(depth);
    out += ']';
  } else if (const auto* d = value.if_double()) {
    out += number_text(*d);
  } else {
    out += json::serialize(value);
  }
}

void append_compact(std::string& out, const json::value& value) {
  if (const auto* object = value.if_object()) {
    out += '{';
    for (const auto& member : *object) {
      if (out.back() != '{') out += ',';
      out.append(json::serialize(json::string(member.key()))).append(":");
      append_compact(out, member.value());
    }
    out += '}';
  } else if (const auto* array = value.if_array()) {
    out += '[';
    for (std::size_t i = 0; i < array->size(); ++i) {
      if (i > 0) out += ',';
      append_compact(out, (*array)[i]);
    }
    out += ']';
  } else if (const auto* d = value.if_double()) {
    out += number_text(*d);  // Boost.JSON writes 1.5E0
  } else {
    out += json::serialize(value);
  }
}

std::string compact(const json::value& value) {
  std::string out;
  append_compact(out, value);
  return out;
}

}  // namespace

std::optional<format> format_from(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, format>, 5> names{{{"table", format::table},
                                                                      {"wide", format::wide},
                                                                      {"json", format::json},
                                                                      {"jsonl", format::jsonl},
                                                                      {"env", format::env}}};
  for (const auto& [name, value] : names)
    if (text == name) return value;
  return std::nullopt;
}

std::string cell_of(const json::value* value) {
  if (!value || value->is_null()) return "-";
  if (const auto* s = value->if_string()) return s->empty() ? "-" : harmless(std::string_view(*s));
  if (const auto* b = value->if_bool()) return *b ? "yes" : "no";
  return harmless(compact(*value));
}

column plain(std::string title, std::string member) {
  return {std::move(title),
          [member = std::move(member)](const json::object& row) { return cell_of(row.if_contains(member)); }};
}
column number(std::string title, std::string member) {
  auto c = plain(std::move(title), std::move(member));
  c.to_the_right = true;
  return c;
}
column only_wide(column c) {
  c.only_wide = true;
  return c;
}

std::string pretty(const json::value& value) {
  std::string out;
  append_pretty(out, value, 0);
  return out += '\n';
}

std::string sentence_for(const error& why) {
  if (why.code == errc::engine_unavailable && !why.detail.empty())
    return "the locks cannot be reached: " + why.detail +
           " (engine_unavailable; dislock doctor looks closer)";
  if (why.code != errc::invalid_field && why.code != errc::unsupported_by_engine) return why.message();
  // As the library and as the service call them.
  constexpr std::array<std::pair<std::string_view, std::string_view>, 20> flags{{
      {"url", "--addr (or DISLOCK_URL)"},
      {"ttl", "--ttl"},
      {"timeout", "--ttl"},
      {"wait", "--wait"},
      {"waitTimeout", "--wait"},
      {"client_id", "--client"},
      {"clientId", "--client"},
      {"lock_delay", "--lock-delay"},
      {"lockDelay", "--lock-delay"},
      {"max_hold", "--max-hold"},
      {"maxHold", "--max-hold"},
      {"metadata", "--meta"},
      {"mode", "--shared, --limit"},
      {"limit", "--limit"},
      {"permits", "--permits"},
      {"reason", "--reason"},
      {"request_timeout", "--timeout"},
      {"prefix", "PREFIX"},
      {"lock_id", "DISLOCK_LOCK_ID"},
      {"lockId", "DISLOCK_LOCK_ID"},
  }};
  const auto colon = why.detail.find(": ");
  for (const auto& [field, flag] : flags)
    if (colon != std::string::npos && why.detail.compare(0, colon, field) == 0)
      return std::string(flag) + ": " + why.detail.substr(colon + 2);
  return why.message();
}

std::string shell_quoted(std::string_view text) {
  const auto safe = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("._:/@+=,-").find(c) != std::string_view::npos;
  };
  if (!text.empty() && std::ranges::all_of(text, safe)) return std::string(text);
  std::string out = "'";
  for (const char c : text) c == '\'' ? out += "'\\''" : out += c;
  return out += '\'';
}

std::string table_of(const std::vector<json::object>& rows, const std::vector<column>& columns, bool wide) {
  std::vector<const column*> shown;
  for (const auto& c : columns)
    if (wide || !c.only_wide) shown.push_back(&c);
  std::vector<std::vector<std::string>> lines;
  auto& titles = lines.emplace_back();
  for (const auto* c : shown) titles.push_back(c->title);
  for (const auto& row : rows) {
    auto& line = lines.emplace_back();
    for (const auto* c : shown) line.push_back(c->cell(row));
  }
  std::vector<std::size_t> widths(shown.size());
  for (const auto& line : lines)
    for (std::size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], width_of(line[i]));
  std::string out;
  for (const auto& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i) {
      const std::string gap(widths[i] - width_of(line[i]), ' ');
      const bool last = i + 1 == line.size();
      if (shown[i]->to_the_right) out += gap;
      out += line[i];
      if (!shown[i]->to_the_right && !last) out += gap;
      if (!last) out += "  ";
    }
    out += '\n';
  }
  return out;
}

void printer::list(std::string_view name, const std::vector<json::object>& items,
                   const std::vector<column>& columns, std::string_view if_empty) {
  if (format_ == format::json) {
    json::array all;
    for (const auto& item : items) all.push_back(item);
    out_ << pretty(json::object{{name, std::move(all)}});
  } else if (format_ == format::jsonl) {
    for (const auto& item : items) out_ << compact(item) << '\n';
  } else if (items.empty()) {
    err_ << if_empty << '\n';
  } else {
    const auto text = table_of(items, columns, format_ == format::wide);
    const auto end_of_titles = text.find('\n');
    out_ << painted(text.substr(0, end_of_titles), colour::strong) << text.substr(end_of_titles);
  }
  out_.flush();
}

void printer::one(const json::object& item, const std::vector<column>& columns) {
  if (format_ == format::json) {
    out_ << pretty(item);
  } else if (format_ == format::jsonl) {
    out_ << compact(item) << '\n';
  } else {
    std::size_t widest = 0;
    for (const auto& c : columns)
      if (format_ == format::wide || !c.only_wide) widest = std::max(widest, c.title.size());
    for (const auto& c : columns)
      if (format_ == format::wide || !c.only_wide)
        out_ << painted(c.title, colour::faint) << std::string(widest + 2 - c.title.size(), ' ')
             << c.cell(item) << '\n';
  }
  out_.flush();
}

void printer::event(const json::object& item, std::string_view for_people) {
  if (for_programs())
    out_ << compact(item) << '\n';
  else
    out_ << for_people << '\n';
  out_.flush();
}

void printer::line(std::string_view text) {
  if (!for_programs()) out_ << text << '\n' << std::flush;
}

void printer::note(std::string_view text) {
  err_ << "dislock: " << harmless(text) << '\n' << std::flush;
}

exit_code printer::refuse(const error& why) {
  if (for_programs())
    err_ << compact(to_json(why)) << '\n' << std::flush;
  else
    note(sentence_for(why));
  return exit_code_of(why.code);
}

exit_code printer::usage(std::string_view sentence) {
  note(sentence);
  return exit_code::usage;
}

std::string printer::painted(std::string_view text, colour c) const {
  if (!out_can_.colours || c == colour::none) return std::string(text);
  constexpr std::array codes{"0", "32", "33", "31", "2", "1"};
  return "\x1b[" + std::string(codes[static_cast<std::size_t>(c)]) + "m" + std::string(text) + "\x1b[0m";
}

}  // namespace dislock::cli
