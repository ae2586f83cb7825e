#!/usr/bin/python3
"""Checks the files of api/ against themselves and each other. No server is needed.

    tools/check_api.py          prints one line per mistake and exits 1, or says what it checked
"""
import json
import pathlib
import re
import sys

import jsonschema
import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
# The names that DESIGN 3 promises, whatever else changes.
REQUIRED_METRICS = {"distributed_locks_acquired_total", "distributed_locks_released_total", "distributed_locks_active",
                    "distributed_locks_wait_time", "distributed_locks_renewal_success", "distributed_locks_deadlocks_detected"}
FREE_OBJECTS = {"Metadata"}


def load_openapi():
    return yaml.safe_load((ROOT / "api/openapi.yaml").read_text())


def load_json(name):
    return json.loads((ROOT / "api" / name).read_text())


def resolve(document, node):
    """The node that a local $ref points to; a KeyError names a dangling one."""
    while isinstance(node, dict) and "$ref" in node:
        target = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]
        node = target
    return node


def ecma_pattern(_, pattern, instance, __):
    # In ECMA-262 `$` is the very end; in Python it would let "a\\n" pass.
    if isinstance(instance, str) and not re.search(pattern.replace("$", r"\Z"), instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


Validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"pattern": ecma_pattern})


def validator(document, schema):
    """Validates against a schema of the document, local $refs resolved."""
    return Validator(schema, resolver=jsonschema.RefResolver(base_uri="", referrer=document))


def why_invalid(document, schema, instance):
    """Nothing, or the deepest reason in one line."""
    errors = list(validator(document, schema).iter_errors(instance))
    if not errors:
        return None
    worst = jsonschema.exceptions.best_match(errors)
    return f"{worst.json_path}: {worst.message}"


def operations(document):
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item, item[method]


def walk(node, where=""):
    yield where, node
    if isinstance(node, dict):
        for key, value in node.items():
            yield from walk(value, f"{where}/{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from walk(value, f"{where}/{index}")


def examples_of(media):
    if "example" in media:
        yield "example", media["example"]
    for name, example in media.get("examples", {}).items():
        yield name, example["value"]


def check_openapi(document, problems):
    used = set()
    for where, node in walk(document):
        if isinstance(node, dict) and isinstance(node.get("$ref"), str):
            used.add(node["$ref"])
            try:
                resolve(document, node)
            except KeyError:
                problems.append(f"{where}: {node['$ref']} points nowhere")
    for kind, members in document["components"].items():
        for name in members:
            if f"#/components/{kind}/{name}" not in used and (kind, name) != ("schemas", "Event"):
                problems.append(f"components/{kind}/{name} is used nowhere")

    for name, schema in document["components"]["schemas"].items():
        try:
            jsonschema.Draft202012Validator.check_schema(schema)
        except jsonschema.SchemaError as error:
            problems.append(f"schema {name}: {error.message}")
        for where, node in walk(schema, name):
            if not isinstance(node, dict) or node.get("type") != "object":
                continue
            if node.get("additionalProperties") is not (name in FREE_OBJECTS):
                problems.append(f"schema {where}: additionalProperties must be {str(name in FREE_OBJECTS).lower()}")
            for field in node.get("required", []):
                if field not in node.get("properties", {}):
                    problems.append(f"schema {where}: requires {field}, which it does not have")
        for example in schema.get("examples", []):
            if reason := why_invalid(document, schema, example):
                problems.append(f"schema {name}, example: {reason}")

    ids = set()
    for path, method, item, operation in operations(document):
        where = f"{method.upper()} {path}"
        if operation.get("operationId") in ids or "operationId" not in operation:
            problems.append(f"{where}: needs an operationId of its own")
        ids.add(operation.get("operationId"))
        for needed in ("summary", "tags", "responses"):
            if not operation.get(needed):
                problems.append(f"{where}: no {needed}")
        declared = [resolve(document, p) for p in item.get("parameters", []) + operation.get("parameters", [])]
        in_path = {p["name"] for p in declared if p["in"] == "path"}
        if in_path != set(re.findall(r"{(\w+)}", path)):
            problems.append(f"{where}: the path's parameters are not those declared")
        for parameter in declared:
            if not parameter.get("description"):
                problems.append(f"{where}: parameter {parameter['name']} has no description")
            if "example" in parameter and (reason := why_invalid(document, parameter["schema"], parameter["example"])):
                problems.append(f"{where}: parameter {parameter['name']}, example: {reason}")
        if "default" not in operation["responses"]:
            problems.append(f"{where}: no default response")
        bodies = [("request", operation["requestBody"])] if "requestBody" in operation else []
        bodies += [(status, resolve(document, r)) for status, r in operation["responses"].items()]
        for part, body in bodies:
            for media_type, media in body.get("content", {}).items():
                examples = list(examples_of(media))
                if not examples and media_type != "application/yaml":
                    problems.append(f"{where} {part}: no example")
                for name, example in examples:
                    if reason := why_invalid(document, media["schema"], example):
                        problems.append(f"{where} {part}, example {name}: {reason}")
    return len(ids)


def check_errors(document, errors, problems):
    listed = [e["code"] for e in errors]
    in_problem = document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]
    if listed != in_problem:
        problems.append(f"Problem.code differs from errors.json: {sorted(set(listed) ^ set(in_problem)) or 'only the order'}")
    by_code = {e["code"]: e for e in errors}
    placed = set()
    for path, method, _, operation in operations(document):
        for status, response in operation["responses"].items():
            for media in resolve(document, response).get("content", {}).values():
                if "allOf" not in media["schema"]:
                    continue
                codes = media["schema"]["allOf"][1]["properties"]["code"]["enum"]
                placed.update(codes)
                for code in codes:
                    if code in by_code and status != "default" and by_code[code]["status"] != int(status):
                        problems.append(f"{method.upper()} {path}: {code} stands under {status}, not {by_code[code]['status']}")
                for name, example in examples_of(media):
                    error = by_code.get(example["code"], {})
                    for key in ("title", "status", "effect"):
                        if example[key] != error.get(key):
                            problems.append(f"{method.upper()} {path} {status}, example {name}: {key} is not that of errors.json")
                    if example["type"] != f"urn:dislock:error:{example['code']}":
                        problems.append(f"{method.upper()} {path} {status}, example {name}: wrong type")
    for code in sorted(set(listed) - placed):
        problems.append(f"errors.json: no operation can give {code}")


def check_metrics(document, metrics, errors, problems):
    names = [m["name"] for m in metrics["metrics"]]
    if len(names) != len(set(names)):
        problems.append("metrics.json: a name stands twice")
    if set(metrics["required"]) != REQUIRED_METRICS or not REQUIRED_METRICS <= set(names):
        problems.append("metrics.json: the required names are not those of DESIGN 3")
    for metric in metrics["metrics"]:
        name = metric["name"]
        if not re.fullmatch(r"[a-z_][a-z0-9_]*", name) or not metric["help"] or metric["type"] not in ("counter", "gauge", "histogram"):
            problems.append(f"metrics.json: {name} is not a proper metric")
        if set(metric) - {"name", "type", "help", "unit", "scope", "labels", "buckets"}:
            problems.append(f"metrics.json: {name} has an unknown field")
        if ("buckets" in metric) != (metric["type"] == "histogram") or metric.get("buckets") != sorted(metric.get("buckets") or []) and "buckets" in metric:
            problems.append(f"metrics.json: {name} needs rising buckets exactly if it is a histogram")
        for label in metric["labels"]:
            if re.search("client|lock|name|principal", label):
                problems.append(f"metrics.json: {name} has the label {label}")
    by_name = {m["name"]: m for m in metrics["metrics"]}
    if set(by_name["dislock_problems_total"]["labels"]["code"]) != {e["code"] for e in errors}:
        problems.append("metrics.json: dislock_problems_total does not list the codes of errors.json")
    ids = {operation["operationId"] for *_, operation in operations(document)} | {"other"}
    for name in ("dislock_requests_total", "dislock_request_duration_seconds"):
        if set(by_name[name]["labels"]["operation"]) != ids:
            problems.append(f"metrics.json: {name} does not list the operations of openapi.yaml")


def check_config(schema, problems):
    jsonschema.Draft202012Validator.check_schema(schema)
    for name, key in schema["properties"].items():
        where = f"config.schema.json: {name}"
        if key["x-flag"] != "--" + name.replace("_", "-") or key["x-env"][0] != "DISLOCK_" + name.upper():
            problems.append(f"{where}: flag or variable are not named for the key")
        if not key["description"] or ("default" not in key and name != "engine"):
            problems.append(f"{where}: no description or default")
        if "default" in key and not jsonschema.Draft202012Validator(key).is_valid(key["default"]):
            problems.append(f"{where}: the default is not allowed")
        if (key["type"] == "number") != (key.get("x-unit") == "seconds"):
            problems.append(f"{where}: numbers are seconds, whole numbers are counts")
    source = ROOT / "src/server/config.cpp"
    if source.exists():
        in_source = set(re.findall(r'key\{\s*\.name = "(\w+)"', source.read_text()))
        for name in sorted(in_source ^ set(schema["properties"])):
            problems.append(f"config.schema.json and src/server/config.cpp disagree about {name}")


def check():
    problems = []
    document, errors = load_openapi(), load_json("errors.json")["errors"]
    count = check_openapi(document, problems)
    check_errors(document, errors, problems)
    metrics = load_json("metrics.json")
    check_metrics(document, metrics, errors, problems)
    config = load_json("config.schema.json")
    check_config(config, problems)
    return problems, f"{count} operations, {len(errors)} errors, {len(metrics['metrics'])} metrics, {len(config['properties'])} settings"


if __name__ == "__main__":
    found, summary = check()
    print("\n".join(found) if found else f"api/ is consistent: {summary}")
    sys.exit(bool(found))
