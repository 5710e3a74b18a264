"""SARIF 2.1.0, as code scanning reads it: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from gpucheck import __version__
from gpucheck.compat.reasons import REASONS
from gpucheck.compat.table import Table
from gpucheck.finding import Evidence, Report, Severity, Verdict
from gpucheck.rules import RULES

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"}
VERDICTS = {
    Verdict.INCOMPATIBLE: "error",
    Verdict.UNKNOWN: "warning",
    Verdict.CONDITIONAL: "warning",
    Verdict.COMPATIBLE: "note",
}


def render(report: Report, command: str, colour: bool) -> str:
    """A result for each finding that follows from no other; where a file was seen, it is there.

    Files of an image have paths below its root, which is a base of its own (3.14.14 originalUriBaseIds).
    """
    image = command.partition(" ")[2]
    results = [
        _result(
            finding.rule,
            LEVELS[finding.severity],
            finding.summary,
            finding.cause,
            finding.remedy,
            finding.evidence,
            _places(finding.evidence, bool(image)) or [_logical(command, "module")],
            image,
        )
        for finding in report.findings
    ]
    return _document(results, image)


def render_matrix(table: Table, colour: bool) -> str:
    """A result for each distinct reason, at the images and nodes that it is about."""
    results = [
        _result(
            reason.rule,
            VERDICTS[reason.verdict],
            reason.summary,
            reason.cause,
            reason.remedy,
            reason.evidence,
            [_logical(f"{image} on {node}", "resource") for image, node in cells],
        )
        for reason, cells in table.reasons()
    ]
    return _document(results)


def _result(
    rule: str,
    level: str,
    summary: str,
    cause: str,
    remedy: str,
    evidence: Iterable[Evidence],
    places: list[dict[str, Any]],
    image: str = "",
) -> dict[str, Any]:
    seen = "; ".join(f"{one.fact} ({one.source})" for one in evidence)
    parts = [f"{summary}.", cause, f"Seen: {seen}." if seen else "", f"Do: {remedy}" if remedy else ""]
    return {
        "ruleId": rule,
        "level": level,
        "message": {"text": " ".join(part for part in parts if part)},
        "locations": places,
        "partialFingerprints": {"gpucheck/v1": f"{image}{': ' if image else ''}{rule}: {summary}"},
    }


def _logical(name: str, kind: str) -> dict[str, Any]:
    return {"logicalLocations": [{"fullyQualifiedName": name, "kind": kind}]}


def _places(evidence: Iterable[Evidence], in_image: bool) -> list[dict[str, Any]]:
    """Files that evidence names: ``pyproject.toml:12``, ``/etc/ld.so.conf.d/cuda.conf``."""
    found: dict[tuple[str, int], None] = {}
    for one in evidence:
        match = re.fullmatch(r"(/?[\w.@+~-]+(?:/[\w.@+~-]+)*)(?::(\d+))?", one.source)
        if match and ("/" in match[1] or match[2] or "." in match[1]):
            found[match[1], max(1, int(match[2] or 1))] = None
    return [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": quote(path.lstrip("/")), "uriBaseId": "IMAGE"}
                if in_image
                else {"uri": ("file://" if path.startswith("/") else "") + quote(path)},
                "region": {"startLine": line},
            }
        }
        for path, line in found
    ]


def _document(results: list[dict[str, Any]], image: str = "") -> str:
    texts = {**{rule.id: rule.documentation for rule in RULES}, **REASONS}
    used = list(dict.fromkeys(result["ruleId"] for result in results))
    for result in results:
        result["ruleIndex"] = used.index(result["ruleId"])
    document = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "gpucheck",
                        "semanticVersion": __version__,
                        "rules": [_rule(id, texts.get(id, id)) for id in used],
                    }
                },
                **(
                    {"originalUriBaseIds": {"IMAGE": {"description": {"text": f"the root of {image}"}}}}
                    if image
                    else {}
                ),
                "results": results,
            }
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=True) + "\n"


def _rule(id: str, text: str) -> dict[str, Any]:
    title, _, rest = text.partition("\n")
    reference = re.search(r"Reference: (https://\S+)", rest)
    return {
        "id": id,
        "shortDescription": {"text": title},
        "fullDescription": {"text": rest.strip() or title},
        "help": {"text": text},
        **({"helpUri": reference[1]} if reference else {}),
    }
