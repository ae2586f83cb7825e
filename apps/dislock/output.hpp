// What commands print: one JSON document, from which tables are made.
#pragma once

#include "dislock/error.hpp"
#include "exit_code.hpp"

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include <functional>
#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dislock::cli {

/// `json` and `jsonl` are for programs and stable; `table` and `wide` are for people and are not; `env` is
/// for `eval` in a shell.
enum class format : std::uint8_t { table, wide, json, jsonl, env };

[[nodiscard]] std::optional<format> format_from(std::string_view text);

struct column {
  std::string title;
  std::function<std::string(const boost::json::object&)> cell;
  bool only_wide = false;
  bool to_the_right = false;
};

/// A column that shows a member as it is. Nothing and null become `-`.
[[nodiscard]] column plain(std::string title, std::string member);
[[nodiscard]] column number(std::string title, std::string member);
[[nodiscard]] column only_wide(column c);

/// The cell for a JSON value: text without quotes.
[[nodiscard]] std::string cell_of(const boost::json::value* value);

/// JSON with two blanks of indentation, ended by a newline.
[[nodiscard]] std::string pretty(const boost::json::value& value);

enum class colour : std::uint8_t { none, good, warning, bad, faint, strong };

/// Where a command prints. The only place that knows what the streams can do.
class printer {
 public:
  struct stream_abilities {
    bool is_terminal = false;
    bool colours = false;
    int columns = 80;
  };

  printer(std::ostream& out, std::ostream& err, format chosen, stream_abilities out_can,
          stream_abilities err_can)
      : out_(out), err_(err), format_(chosen), out_can_(out_can), err_can_(err_can) {}

  [[nodiscard]] format chosen() const noexcept { return format_; }
  [[nodiscard]] bool for_programs() const noexcept {
    return format_ == format::json || format_ == format::jsonl;
  }
  [[nodiscard]] const stream_abilities& out_can() const noexcept { return out_can_; }
  [[nodiscard]] const stream_abilities& err_can() const noexcept { return err_can_; }
  [[nodiscard]] std::ostream& out() noexcept { return out_; }

  /// `items` of a list: `{"NAME": [...]}` as JSON, a line each as JSON lines, or a table. `if_empty` is a
  /// sentence for people, on stderr.
  void list(std::string_view name, const std::vector<boost::json::object>& items,
            const std::vector<column>& columns, std::string_view if_empty);
  /// One thing: JSON, or the lines of `columns`, title and value.
  void one(const boost::json::object& item, const std::vector<column>& columns);
  /// One of many things that come over time: a JSON line, or what `for_people` says.
  void event(const boost::json::object& item, std::string_view for_people);
  /// A line for people, on stdout. Nothing when programs read.
  void line(std::string_view text);
  /// A message about what goes on, on stderr, after `dislock: `.
  void note(std::string_view text);
  /// What went wrong, on stderr: a sentence, or a JSON line where programs read.
  exit_code refuse(const error& why);
  exit_code usage(std::string_view sentence);

  [[nodiscard]] std::string painted(std::string_view text, colour c) const;

 private:
  std::ostream& out_;
  std::ostream& err_;
  format format_;
  stream_abilities out_can_, err_can_;
};

/// What went wrong, for people: names the flag where the error names a field.
[[nodiscard]] std::string sentence_for(const error& why);

/// `'` quoted where a shell would need it.
[[nodiscard]] std::string shell_quoted(std::string_view text);

/// A table with a title line, columns two blanks apart.
[[nodiscard]] std::string table_of(const std::vector<boost::json::object>& rows,
                                   const std::vector<column>& columns, bool wide);

}  // namespace dislock::cli
