"""The contract, executable: which operation is this call, and are its request and reply what openapi.yaml says?"""
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import check_api  # noqa: E402

VERBS = ("acquire", "release", "renew", "cancel", "status", "validate")


class Violation(AssertionError):
    """The server (or the test's own request) breaks the contract."""


def strict_json(text):
    """Parses JSON as our clients must be able to: no NaN, no repeated keys, valid UTF-8."""
    def no_constant(name):
        raise Violation(f"{name} is not JSON")

    def no_repeats(pairs):
        keys = [k for k, _ in pairs]
        if len(keys) != len(set(keys)):
            raise Violation(f"a key is repeated: {keys}")
        return dict(pairs)

    try:
        return json.loads(text, parse_constant=no_constant, object_pairs_hook=no_repeats)
    except ValueError as error:
        raise Violation(f"not JSON ({error}): {text[:200]!r}") from error


class Contract:
    def __init__(self):
        self.text = (ROOT / "api/openapi.yaml").read_bytes()
        self.document = check_api.load_openapi()
        self.errors = {e["code"]: e for e in check_api.load_json("errors.json")["errors"]}
        self.metrics = {m["name"]: m for m in check_api.load_json("metrics.json")["metrics"]}
        self.operations = {o["operationId"]: (path, method.upper(), o) for path, method, _, o in check_api.operations(self.document)}

    def operation_of(self, method, target):
        """The operationId that a call reaches, by the naming rule of DESIGN 3; None for no operation."""
        path = target.split("?")[0]
        for name, (template, verb, _) in self.operations.items():
            if "{" not in template and (template, verb) == (path, method):
                return name
        if match := re.fullmatch(r"/locks/(.+)/(\w+)", path):
            if match[2] in VERBS and method == ("GET" if match[2] == "status" else "POST"):
                return match[2]
        if method == "DELETE" and re.fullmatch(r"/locks/.+", path):
            return "forceRelease"
        return None

    def check_request(self, operation, body):
        content = self.operations[operation][2].get("requestBody", {}).get("content", {}).get("application/json")
        if (content is None) != (body is None):
            raise Violation(f"{operation}: the test sends {'no' if body is None else 'a'} body")
        if content and (reason := check_api.why_invalid(self.document, content["schema"], body)):
            raise Violation(f"{operation}: the test's own request is invalid: {reason}")

    def check_reply(self, operation, status, content_type, text):
        """The parsed reply (text where it is no JSON). Raises Violation."""
        where = f"{operation} -> {status}"
        responses = self.operations[operation][2]["responses"] if operation else {"default": {"$ref": "#/components/responses/HttpProblem"}}
        candidates = [check_api.resolve(self.document, responses[key]) for key in (str(status), "default") if key in responses]
        if status < 400 and str(status) not in responses:
            raise Violation(f"{where}: this status is not in the contract: {text[:300]!r}")
        media_type = content_type.split(";")[0].strip().lower()
        reasons = []
        for response in candidates:
            media = response["content"].get(media_type)
            if media is None:
                reasons.append(f"content type {content_type!r} instead of {list(response['content'])}")
                continue
            if not media_type.endswith("json"):
                return text.decode()
            value = strict_json(text)
            if reason := check_api.why_invalid(self.document, media["schema"], value):
                reasons.append(reason)
                continue
            if media_type == "application/problem+json":
                self.check_problem(where, status, value)
            return value
        raise Violation(f"{where}: {' / '.join(reasons)}: {text[:600].decode(errors='replace')}")

    def check_problem(self, where, status, problem):
        error = self.errors[problem["code"]]
        for field in ("status", "effect", "title"):
            if problem[field] != error[field]:
                raise Violation(f"{where}: {field} {problem[field]!r} is not that of {problem['code']}")
        if status != error["status"] or problem["type"] != f"urn:dislock:error:{problem['code']}":
            raise Violation(f"{where}: {problem['code']} with status {status}, type {problem['type']}")

    def check_event(self, event):
        if reason := check_api.why_invalid(self.document, {"$ref": "#/components/schemas/Event"}, event):
            raise Violation(f"event: {reason}: {event}")
        return event


def read_metrics(text):
    """{name: (type, help)} and [(sample name, labels, value)] of the text format 0.0.4."""
    families, helps, samples = {}, {}, []
    for line in text.splitlines():
        if found := re.fullmatch(r"# HELP (\w+) (.*)", line):
            helps[found[1]] = found[2]
        elif found := re.fullmatch(r"# TYPE (\w+) (\w+)", line):
            if found[1] in families:
                raise Violation(f"metrics: {found[1]} has two TYPE lines")
            families[found[1]] = found[2]
        elif found := re.fullmatch(r'(\w+)(?:\{(.*)\})? (\S+)', line):
            labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', found[2] or ""))
            samples.append((found[1], labels, float(found[3])))
        elif line and not line.startswith("#"):
            raise Violation(f"metrics: {line!r} is not a sample")
    return {name: (kind, helps.get(name, "")) for name, kind in families.items()}, samples


def check_metrics(contract, text):
    families, samples = read_metrics(text)
    expected = {name: (m["type"], m["help"]) for name, m in contract.metrics.items()}
    if families != expected:
        differing = sorted(n for n in families.keys() | expected.keys() if families.get(n) != expected.get(n))
        raise Violation("metrics.json and /metrics differ: " + "; ".join(f"{n}: {families.get(n)} for {expected.get(n)}" for n in differing))
    seen = {}
    for name, labels, value in samples:
        family = name if name in families else re.sub(r"_(bucket|sum|count)$", "", name)
        if family not in families:
            raise Violation(f"metrics: the sample {name} has no TYPE")
        metric = contract.metrics[family]
        labels = {k: v for k, v in labels.items() if k != "le" or metric["type"] != "histogram"}
        if labels.keys() != metric["labels"].keys():
            raise Violation(f"metrics: {name} has the labels {sorted(labels)}, not {sorted(metric['labels'])}")
        for label, allowed in metric["labels"].items():
            if allowed is not None and labels[label] not in allowed:
                raise Violation(f"metrics: {name} has {label}={labels[label]!r}, which metrics.json does not list")
        seen.setdefault(family, []).append(value)
    if missing := sorted(set(families) - set(seen)):
        raise Violation(f"metrics: no sample of {missing}")
    return samples
