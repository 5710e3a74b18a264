"""Write the pages that are generated from the code: docs/rules.md and the JSON Schemas in docs/schema.

``python -m ci.documentation`` writes them; with ``--check`` it says which are out of date and exits with 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import types
from enum import Enum
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from gpucheck.compat.node import MODES
from gpucheck.compat.reasons import REASONS
from gpucheck.contents.records import Contents
from gpucheck.contract import Contract
from gpucheck.elf.resolution import Edge, How
from gpucheck.facts import SCHEMA, Snapshot
from gpucheck.finding import Severity, Status, Verdict
from gpucheck.record import fields, is_record
from gpucheck.rules import RULES, Layer
from gpucheck.trace.calls import CallTrace
from gpucheck.trace.calls import Diagnosis as CallDiagnosis
from gpucheck.versions import ComputeCapability, CudaVersion, DriverVersion

ROOT = Path(__file__).resolve().parent.parent


def rules() -> str:
    """A section for each rule; its id is the anchor."""
    lines = [
        "# Rules",
        "",
        "Each rule is one complaint that gpucheck can make, in the order of the stack. `gpucheck explain RULE` prints the same.",
        "This page is generated: `make docs`.",
    ]
    for layer in Layer:
        found = [rule for rule in RULES if rule.layer is layer]
        if not found:
            continue
        lines += ["", f"## {layer.value[0].upper()}{layer.value[1:]}"]
        for rule in found:
            lines += ["", f"### {rule.id}", ""]
            for line in rule.documentation.splitlines():
                word, colon, rest = line.partition(": ")
                known = colon and word in ("Confirm", "Remedy", "Reference")
                lines += (
                    ["", f"**{word}:** {rest}"] if known and lines[-1] else [f"**{word}:** {rest}" if known else line]
                )
            if rule.follows:
                lines += [
                    "",
                    "Folded under, when they fire: " + ", ".join(f"[{id}](#{id})" for id in rule.follows) + ".",
                ]
    return "\n".join(lines) + "\n"


def schema() -> str:
    """The JSON Schema of ``--format json`` of doctor and project."""
    definitions: dict[str, Any] = {}
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gpucheck report",
        **closed(**report_parts(definitions)),
        "$defs": definitions,
    }
    return json.dumps(document, indent=2) + "\n"


def image_schema() -> str:
    """The JSON Schema of ``gpucheck image --format json``: a report, what is in the image and what it needs."""
    definitions: dict[str, Any] = {}
    parts = report_parts(definitions)
    # Of labels alone there is no snapshot, and no contract when they give none.
    parts["snapshot"] = {"anyOf": [parts["snapshot"], {"type": "null"}]}
    parts["image"] = describe(Contents, definitions)
    parts["contract"] = {"anyOf": [describe(Contract, definitions), {"type": "null"}]}
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gpucheck image",
        **closed(**parts),
        "$defs": definitions,
    }
    return json.dumps(document, indent=2) + "\n"


def report_parts(definitions: dict[str, Any]) -> dict[str, Any]:
    """The schemas of the keys of a report."""
    snapshot = describe(Snapshot, definitions)
    names = {"type": "array", "items": {"enum": [rule.id for rule in RULES]}}
    text = {"type": "string"}
    finding = closed(
        rule={"enum": [rule.id for rule in RULES]},
        severity={"enum": [member.value for member in Severity]},
        summary=text,
        cause=text,
        evidence={"type": "array", "items": closed(fact=text, source=text)},
        remedy={"type": "string", "minLength": 1},
        consequences=names,
    )
    outcome = closed(
        rule={"enum": [rule.id for rule in RULES]},
        status={"enum": [member.value for member in Status]},
        why=text,
        tried={"type": "array", "items": text},
    )
    outcome["required"] = ["rule", "status"]
    return {
        "schema": {"const": SCHEMA},
        "command": text,
        "verdict": {"enum": [member.value for member in Verdict]},
        "root_causes": names,
        "findings": {"type": "array", "items": finding},
        "outcomes": {"type": "array", "items": outcome},
        "snapshot": snapshot,
    }


def libs_schema() -> str:
    """The JSON Schema of ``gpucheck libs --format json``."""
    text, maybe, flag = {"type": "string"}, {"type": ["string", "null"]}, {"type": "boolean"}
    hows = {"enum": list(get_args(How))}
    candidate = closed(path=text, skipped=text, how=hows)
    resolution = closed(
        soname=text,
        requester=maybe,
        path=maybe,
        how=hows,
        owner=maybe,
        edge={"enum": list(get_args(Edge))},
        fatal=maybe,
        candidates={"type": "array", "items": candidate},
        considered={"type": "array", "items": text},
        when=maybe,
        required=flag,
        source=maybe,
    )
    copy = closed(path=text, real=text, version=text, owner=text, kind=text, how={"enum": [*get_args(How), None]})
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gpucheck libs",
        **closed(
            schema={"const": SCHEMA},
            target=closed(
                kind={"enum": ["file", "name", "distribution", "environment"]}, name=text, path=maybe, interpreter=maybe
            ),
            linker=text,
            resolutions={"type": "array", "items": resolution},
            missing={"type": "array", "items": text},
            lacks={
                "type": "array",
                "items": closed(requester=text, soname=maybe, path=maybe, version=maybe, symbol=maybe, message=text),
            },
            shadowed={"type": "array", "items": closed(soname=text, path=text, how=hows, by=maybe)},
            libraries={
                "type": "array",
                "items": closed(soname=text, path=maybe, python=maybe, copies={"type": "array", "items": copy}),
            },
            unread={"type": "array", "items": text},
        ),
    }
    return json.dumps(document, indent=2) + "\n"


def trace_schema() -> str:
    """The JSON Schema of ``gpucheck trace --format json``; the diagnosis is a report, whose schema it has in itself."""
    definitions: dict[str, Any] = {}
    text, maybe, whole, flag = (
        {"type": "string"},
        {"type": ["string", "null"]},
        {"type": "integer"},
        {"type": "boolean"},
    )
    # What only strace or the calls saw has no reason: ``unknown``.
    hows = {"enum": [*get_args(How), "unknown"]}
    resolution = closed(
        soname=text,
        requester=maybe,
        path=maybe,
        how=hows,
        owner=maybe,
        edge={"enum": list(get_args(Edge))},
        fatal=maybe,
        times=whole,
        process=whole,
        optional=flag,
        candidates={"type": "array", "items": closed(path=text, skipped=text, how=hows)},
    )
    calls = describe(CallTrace, definitions)
    found = {"diagnosis": {"anyOf": [describe(CallDiagnosis, definitions), {"type": "null"}]}}
    definitions["CallTrace"]["properties"].update(found)
    definitions["CallTrace"]["required"].extend(found)
    # With an id of its own, so that what it refers to is in it (JSON Schema 2020-12, compound documents).
    report = {"$id": "report.json", **json.loads(schema())}
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gpucheck trace",
        **closed(
            schema={"const": SCHEMA},
            command={"type": "array", "items": text, "minItems": 1},
            exit=whole,
            signal=maybe,
            seconds={"type": "number", "minimum": 0},
            backend={"type": "array", "items": text},
            notes={"type": "array", "items": text},
            processes={"type": "array", "items": closed(pid=whole, program=text, forked=flag, error=maybe)},
            resolutions={"type": "array", "items": resolution},
            missing={"type": "array", "items": text},
            devices={"type": "array", "items": closed(path=text, error=maybe, times=whole, source=text)},
            helpers={"type": "array", "items": closed(path=text, error=maybe, times=whole)},
            differences={
                "type": "array",
                "items": closed(soname=text, requester=maybe, predicted=text, observed=text),
            },
            calls={"anyOf": [calls, {"type": "null"}]},
            diagnosis={"anyOf": [{"$ref": "report.json"}, {"type": "null"}]},
        ),
        "$defs": {**definitions, "Report": report},
    }
    return json.dumps(document, indent=2) + "\n"


def compat_schema() -> str:
    """The JSON Schema of ``gpucheck compat --format json``."""
    text, many = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
    version = {"type": ["string", "null"]}
    verdict = {"enum": [member.value for member in Verdict]}
    rules = {"type": "array", "items": {"enum": [*(rule.id for rule in RULES), *REASONS]}}
    gpu = closed(name=text, capability=version, brand={"type": ["integer", "null"]})
    node = closed(
        node=text,
        driver=version,
        cuda=version,
        gpus={"type": ["array", "null"], "items": gpu},
        architecture=text,
        toolkit=text,
        mode={"enum": ["", *MODES]},
        source=text,
    )
    reason = closed(
        rule=rules["items"],
        verdict=verdict,
        summary=text,
        cause=text,
        evidence={"type": "array", "items": closed(fact=text, source=text)},
        remedy=text,
        cells={"type": "array", "items": closed(image=text, node=text), "minItems": 1},
    )
    cell = closed(image=text, node=text, verdict=verdict, reasons=rules, notes=rules)
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gpucheck compat",
        **closed(
            schema={"const": 1},
            command={"const": "compat"},
            verdict=verdict,
            changes=many,
            images={"type": "array", "items": closed(image=text, digest=text, architecture=text)},
            nodes={"type": "array", "items": node},
            cells={"type": "array", "items": cell},
            reasons={"type": "array", "items": reason},
        ),
    }
    return json.dumps(document, indent=2) + "\n"


def closed(**properties: Any) -> dict[str, Any]:
    """An object with just these properties, all required."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


PATTERNS = {
    DriverVersion: r"^\d{2,4}(\.\d{1,4}){0,2}$",
    CudaVersion: r"^\d{1,2}\.\d{1,2}$",
    ComputeCapability: r"^\d{1,2}\.\d$",
}
SIMPLE = {str: "string", int: "integer", bool: "boolean", type(None): "null"}


def describe(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a type of gpucheck.facts, as gpucheck.codec encodes it."""
    origin = get_origin(kind)
    if kind in SIMPLE:
        return {"type": SIMPLE[kind]}
    if kind in PATTERNS:
        return {"type": "string", "pattern": PATTERNS[kind]}
    if origin in (Union, types.UnionType):
        return {"anyOf": [describe(part, definitions) for part in get_args(kind)]}
    if origin is tuple:
        parts = get_args(kind)
        if parts[-1] is Ellipsis:
            return {"type": "array", "items": describe(parts[0], definitions)}
        each = [describe(part, definitions) for part in parts]
        return {"type": "array", "prefixItems": each, "minItems": len(each), "maxItems": len(each)}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"enum": [member.value for member in kind]}
    cls = origin or kind
    if not is_record(cls):
        raise TypeError(f"no schema for {kind}")
    hints = get_type_hints(cls)
    parameter = get_args(kind)
    if parameter:
        return closed(value=describe(parameter[0], definitions), source={"type": "string"})
    if cls.__name__ not in definitions:
        definitions[cls.__name__] = {}
        entry = closed(**{name: describe(hints[name], definitions) for name in fields(cls)})
        entry["required"] = [name for name, optional in fields(cls).items() if not optional]
        definitions[cls.__name__] = entry
    return {"$ref": f"#/$defs/{cls.__name__}"}


PAGES = {
    "docs/rules.md": rules,
    "docs/schema/report.json": schema,
    "docs/schema/image.json": image_schema,
    "docs/schema/libs.json": libs_schema,
    "docs/schema/trace.json": trace_schema,
    "docs/schema/compat.json": compat_schema,
}


def main() -> int:
    """Write or check the pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say which pages are out of date")
    check = parser.parse_args().check
    stale = []
    for name, write in PAGES.items():
        page = ROOT / name
        text = write()
        if page.exists() and page.read_text() == text:
            continue
        stale.append(name)
        if not check:
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(text)
            print(f"wrote {name}")
    if check and stale:
        print(f"out of date: {', '.join(stale)}; run: make docs", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
