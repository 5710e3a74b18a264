"""A report as JSON. Its schema is docs/schema/report.json."""

from __future__ import annotations

import json
from typing import Any

from gpucheck.codec import encode
from gpucheck.facts import SCHEMA
from gpucheck.finding import Finding, Report


def build(report: Report, command: str) -> dict[str, Any]:
    """The report as a JSON-able object; consequences are the ids of the rules, folded ones listed too."""
    return {
        "schema": SCHEMA,
        "command": command,
        "verdict": report.verdict.value,
        "root_causes": list(dict.fromkeys(finding.rule for finding in report.roots)),
        "findings": [_finding(finding) for finding in report.everything()],
        "outcomes": [
            {
                "rule": outcome.rule,
                "status": outcome.status.value,
                **({"why": outcome.error, "tried": list(outcome.tried)} if outcome.error else {}),
            }
            for outcome in report.outcomes
        ],
        "snapshot": encode(report.snapshot),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "rule": finding.rule,
        "severity": finding.severity.value,
        "summary": finding.summary,
        "cause": finding.cause,
        "evidence": [{"fact": evidence.fact, "source": evidence.source} for evidence in finding.evidence],
        "remedy": finding.remedy,
        "consequences": [below.rule for below in finding.consequences],
    }


def render(report: Report, command: str, colour: bool) -> str:
    """The document as text, two spaces a level."""
    return json.dumps(build(report, command), indent=2, ensure_ascii=False) + "\n"
