#!/usr/bin/env python3
"""Writes server/metric_catalogue.hpp from api/metrics.json: what GET /metrics serves, as constexpr descriptions."""
import json
import pathlib
import re
import sys

HEAD = """// Generated from api/metrics.json by tools/generate_metrics.py. Do not edit.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "dislock/clock.hpp"

namespace dislock::server {

enum class metric_type : std::uint8_t { counter, gauge, histogram };

struct metric_label {
  std::string_view name;
  std::span<const std::string_view> values;  ///< empty: one value, which only the process knows
};

struct metric_description {
  std::string_view name;
  std::string_view help;
  metric_type type;
  std::span<const metric_label> labels;
  std::span<const duration> bounds;  ///< of a histogram's buckets, rising, without +Inf
};

"""

# Label values that the program counts by: an enum of its own, named here. Each stands for every label with the same values.
ENUMS = {
    "request_operation": ("dislock_requests_total", "operation", "An operation of the API (operationId of openapi.yaml)."),
    "engine_operation": ("dislock_engine_duration_seconds", "operation", "A kind of call to the engine."),
    "renewed_by": ("distributed_locks_renewal_success", "by", "Who renewed a lease."),
}
# Free values of these say what runs. A lock, a client or anything else that callers choose must never become a label.
FREE_LABELS = {"version", "engine"}


def quoted(text):
    assert all(32 <= ord(c) < 127 and c not in '"\\' for c in text), f"neither C++ nor the text format takes this as it is: {text!r}"
    return f'"{text}"'


def enumerator(value):
    return re.sub(r"(?<=[a-z])[A-Z]", lambda m: "_" + m.group(), value).lower()


def microseconds(bound):
    us = round(bound * 1_000_000)
    assert us > 0 and abs(us / 1_000_000 - bound) < 1e-12, f"{bound} s is not a whole number of microseconds"
    return us


def enum(name, doc, values):
    out = f"/// {doc}\nenum class {name} : std::uint8_t {{\n" + "".join(f"  {enumerator(v)},\n" for v in values) + "};\n"
    out += f"inline constexpr std::size_t {name}_count = {len(values)};\n"
    out += f"/// The value of the label.\n[[nodiscard]] constexpr std::string_view to_string({name} value) noexcept {{\n"
    out += "  constexpr std::string_view names[] = {" + ", ".join(map(quoted, values)) + "};\n"
    return out + "  return names[static_cast<std::size_t>(value)];\n}\n\n"


def parts(metric):
    """The arrays that the description of one metric points to."""
    name, out = metric["name"], ""
    for label, values in metric["labels"].items():
        assert values is not None or label in FREE_LABELS, f"{name}: {label} may not be free"
        if values:
            out += f"inline constexpr std::string_view {name}_{label}[] = {{{', '.join(map(quoted, values))}}};\n"
    if metric["labels"]:
        labels = (f"{{{quoted(label)}, {f'{name}_{label}' if values else '{}'}}}" for label, values in metric["labels"].items())
        out += f"inline constexpr metric_label {name}_labels[] = {{{', '.join(labels)}}};\n"
    if "buckets" in metric:
        bounds = [microseconds(b) for b in metric["buckets"]]
        assert bounds == sorted(set(bounds)), f"{name}: buckets must rise"
        out += f"inline constexpr duration {name}_bounds[] = {{{', '.join(f'duration({b})' for b in bounds)}}};\n"
    return out


def description(metric):
    name = metric["name"]
    labels = f"metric_parts::{name}_labels" if metric["labels"] else "{}"
    bounds = f"metric_parts::{name}_bounds" if "buckets" in metric else "{}"
    return f"    {{{quoted(name)}, {quoted(metric['help'])},\n     metric_type::{metric['type']}, {labels}, {bounds}}},\n"


def main(source, target):
    document = json.loads(pathlib.Path(source).read_text())
    metrics = document["metrics"]
    by_name = {m["name"]: m for m in metrics}
    assert len(by_name) == len(metrics), "a metric is listed twice"
    assert set(document["required"]) <= set(by_name), "a required metric is missing"
    assert all(("buckets" in m) == (m["type"] == "histogram") for m in metrics), "buckets belong to histograms"

    out = HEAD
    for name, (metric, label, doc) in ENUMS.items():
        out += enum(name, doc, by_name[metric]["labels"][label])
    out += "enum class metric : std::uint8_t {\n" + "".join(f"  {m['name']},\n" for m in metrics) + "};\n\n"
    out += "namespace metric_parts {\n" + "".join(map(parts, metrics)) + "}  // namespace metric_parts\n\n"
    out += "/// In the order of `metric`.\n"
    out += f"inline constexpr std::array<metric_description, {len(metrics)}> metric_catalogue{{{{\n"
    out += "".join(map(description, metrics)) + "}};\n\n"
    out += "[[nodiscard]] constexpr const metric_description& about(metric m) noexcept {\n"
    out += "  return metric_catalogue[static_cast<std::size_t>(m)];\n}\n\n}  // namespace dislock::server\n"

    path = pathlib.Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != out:
        path.write_text(out)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
