#!/usr/bin/env python3
"""Writes dislock/errc.hpp from api/errors.json: the enum, and total functions over it."""
import json
import pathlib
import sys

HEAD = """// Generated from api/errors.json by tools/generate_errors.py. Do not edit.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace dislock {

/// What went wrong, or why a request was refused. The enumerators are the wire codes.
enum class errc : std::uint8_t {
"""


def cases(errors, value):
    return "\n".join(f"    case errc::{e['code']}: return {value(e)};" for e in errors)


def function(errors, signature, doc, value):
    return f"{doc}\n[[nodiscard]] constexpr {signature} noexcept {{\n  switch (code) {{\n{cases(errors, value)}\n  }}\n  __builtin_unreachable();\n}}\n"


def main(source, target):
    errors = json.loads(pathlib.Path(source).read_text())["errors"]
    codes = [e["code"] for e in errors]
    assert len(codes) == len(set(codes)), "a code is listed twice"
    assert all(e["effect"] in ("none", "unknown") for e in errors), "effect must be none or unknown"

    out = HEAD
    out += "".join(f"  {e['code']},  ///< {e['title']}\n" for e in errors)
    out += "};\n\n/// What a caller may conclude from an error about the state of the lock.\nenum class effect : std::uint8_t {\n"
    out += "  none,     ///< nothing changed because of this call\n  unknown,  ///< it may or may not have taken effect\n};\n\n"
    out += function(errors, "std::string_view to_string(errc code)", "/// The wire code.", lambda e: json.dumps(e["code"])) + "\n"
    out += function(errors, "std::string_view title_of(errc code)", "/// One sentence for people; may change.", lambda e: json.dumps(e["title"])) + "\n"
    out += function(errors, "int http_status_of(errc code)", "/// The HTTP status that carries the code.", lambda e: e["status"]) + "\n"
    out += function(errors, "effect effect_of(errc code)", "/// Total: every code has an effect.", lambda e: f"effect::{e['effect']}") + "\n"
    out += function(errors, "bool may_retry(errc code)", "/// The same call may succeed later.", lambda e: str(e["retry"]).lower()) + "\n"
    out += "/// The code that is written so on the wire, if there is one.\n[[nodiscard]] inline std::optional<errc> errc_from_string(std::string_view text) noexcept {\n"
    out += "".join(f"  if (text == {json.dumps(e['code'])}) return errc::{e['code']};\n" for e in errors)
    out += "  return std::nullopt;\n}\n\n}  // namespace dislock\n"

    path = pathlib.Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != out:
        path.write_text(out)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
