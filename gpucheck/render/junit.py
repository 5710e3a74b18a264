"""JUnit XML, as Jenkins reads it: a rule or a cell is a test case.

Schema: https://github.com/jenkinsci/xunit-plugin/blob/master/src/main/resources/org/jenkinsci/plugins/xunit/types/model/xsd/junit-10.xsd
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from xml.sax.saxutils import escape, quoteattr

from gpucheck.compat.cell import Cell, Reason
from gpucheck.compat.table import Table
from gpucheck.finding import Finding, Report, Severity, Status, Verdict
from gpucheck.record import dataclass
from gpucheck.rules import RULES


@dataclass(frozen=True, slots=True)
class Case:
    """A test case."""

    group: str
    name: str
    outcome: str
    """``failure``, ``error``, ``skipped`` or '' when it passed."""
    kind: str
    message: str
    text: str


def render(report: Report, command: str, colour: bool) -> str:
    """A case for each rule. What follows from a root cause is skipped: the cause is the one failure."""
    return _document([(f"gpucheck {command}", list(_of_report(report)))])


def render_matrix(table: Table, colour: bool) -> str:
    """A suite for each image, with a case for each node."""
    return _document(
        [
            (
                f"gpucheck compat: {contract.image}",
                [_of_cell(contract.image, node.name, cell) for node, cell in zip(table.nodes, row)],
            )
            for contract, row in zip(table.images, table.rows)
        ]
    )


def _of_report(report: Report) -> Iterator[Case]:
    layers = {rule.id: rule.layer.value for rule in RULES}
    tops = {finding.rule: finding for finding in reversed(report.findings)}
    causes = {below.rule: root.rule for root in report.findings for below in _below(root)}
    for outcome in report.outcomes:
        group = f"gpucheck.{layers[outcome.rule]}"
        found = tops.get(outcome.rule)
        if outcome.status is Status.CRASH:
            yield Case(group, outcome.rule, "error", "crash", f"gpucheck itself failed: {outcome.error}", "")
        elif outcome.status is Status.UNKNOWN:
            yield Case(group, outcome.rule, "skipped", "", outcome.error, "")
        elif found is None and outcome.rule in causes:
            yield Case(group, outcome.rule, "skipped", "", f"follows from {causes[outcome.rule]}", "")
        elif found is None:
            yield Case(group, outcome.rule, "", "", "", "")
        else:
            bad = found.severity is Severity.ERROR
            yield Case(group, outcome.rule, "failure" if bad else "", outcome.rule, found.summary, _finding(found))


def _below(finding: Finding) -> Iterator[Finding]:
    for below in finding.consequences:
        yield below
        yield from _below(below)


def _finding(finding: Finding) -> str:
    seen = [f"seen: {evidence.fact} ({evidence.source})" for evidence in finding.evidence]
    return "\n".join([finding.summary, f"because: {finding.cause}", *seen, f"do: {finding.remedy}"])


def _of_cell(image: str, node: str, cell: Cell) -> Case:
    outcome = {Verdict.INCOMPATIBLE: "failure", Verdict.UNKNOWN: "error"}.get(cell.verdict, "")
    first = cell.deciding[0] if cell.deciding else None
    text = "\n\n".join(_reason(reason) for reason in cell.reasons)
    return Case(image, node, outcome, first.rule if first else "", first.summary if first else "", text)


def _reason(reason: Reason) -> str:
    seen = [f"seen: {evidence.fact} ({evidence.source})" for evidence in reason.evidence]
    do = [f"do: {reason.remedy}"] if reason.remedy else []
    return "\n".join([f"{reason.summary} [{reason.rule}]", f"because: {reason.cause}", *seen, *do])


def _document(suites: Iterable[tuple[str, list[Case]]]) -> str:
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', "<testsuites>"]
    for name, cases in suites:
        counts = {word: sum(case.outcome == word for case in cases) for word in ("failure", "error", "skipped")}
        lines.append(
            f"  <testsuite name={_attribute(name)} tests={_attribute(str(len(cases)))} failures={_attribute(str(counts['failure']))}"
            f" errors={_attribute(str(counts['error']))} skipped={_attribute(str(counts['skipped']))}>"
        )
        for case in cases:
            lines += _case(case)
        lines.append("  </testsuite>")
    return "\n".join([*lines, "</testsuites>"]) + "\n"


def _case(case: Case) -> Iterator[str]:
    head = f'    <testcase classname={_attribute(case.group)} name={_attribute(case.name)} time="0"'
    if not case.outcome and not case.text:
        yield f"{head}/>"
        return
    yield f"{head}>"
    if case.outcome == "skipped":
        yield f"      <skipped message={_attribute(case.message)}/>"
    elif case.outcome:
        yield (
            f"      <{case.outcome} type={_attribute(case.kind)} message={_attribute(case.message)}>"
            f"{escape(_allowed(case.text))}</{case.outcome}>"
        )
    else:
        yield f"      <system-out>{escape(_allowed(case.text))}</system-out>"
    yield "    </testcase>"


def _attribute(text: str) -> str:
    return quoteattr(_allowed(text), {"\n": "&#10;", "\t": "&#9;", "\r": "&#13;"})


def _allowed(text: str) -> str:
    """Without the characters that XML 1.0 cannot hold, not even escaped: https://www.w3.org/TR/xml/#charsets."""
    return re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)
