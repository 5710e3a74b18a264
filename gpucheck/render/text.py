"""A report for a person: the stack with the GPU at the bottom, then what is wrong, then the verdict."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator

from gpucheck.facts import Seen
from gpucheck.finding import Finding, Report, Severity, Status, Verdict
from gpucheck.render.stack import Line, stack

WIDTH = 100
BOLD, DIM, RED, GREEN, YELLOW, CYAN = "1", "2", "31", "32", "33", "36"
#: Marks are told apart without colour.
MARKS = {
    "ok": ("✓", GREEN),
    "error": ("✗", RED),
    "warning": ("!", YELLOW),
    "note": ("i", CYAN),
    "unknown": ("?", YELLOW),
    "absent": ("-", DIM),
}
VERDICTS = {
    Verdict.COMPATIBLE: ("compatible", GREEN),
    Verdict.CONDITIONAL: ("conditional: it works, with the limits above", YELLOW),
    Verdict.INCOMPATIBLE: ("incompatible", RED),
    Verdict.UNKNOWN: ("unknown: not enough could be looked at", YELLOW),
}


def render(report: Report, command: str, colour: bool) -> str:
    """The report as lines of at most ``WIDTH`` columns, where words allow."""
    paint = painter(colour)
    lines = [paint(title(report, command), BOLD), ""]
    if command == "doctor":
        lines += [*(_stack_line(line, paint) for line in stack(report)), ""]
    if command == "project":
        from gpucheck.render.projects import table

        rows = table(report.snapshot)
        lines += [*rows, ""] if rows else []
    for finding in report.findings:
        lines += [*show_finding(finding, paint), ""]
    lines += _unknown(report, paint)
    lines += show_verdict(report, paint)
    return "\n".join(lines) + "\n"


def title(report: Report, command: str) -> str:
    """``gpucheck doctor: Debian GNU/Linux 12 (bookworm), x86_64, kernel 6.1``."""
    if command == "project":
        from gpucheck.render.projects import name_of

        return f"gpucheck {command}: {name_of(report.snapshot)}".rstrip(": ")
    host, container = report.snapshot.host, report.snapshot.container
    parts = [host.distribution.value.name if isinstance(host.distribution, Seen) else "", host.architecture]
    if isinstance(host.kernel, Seen):
        parts.append(f"kernel {host.kernel.value}")
    if isinstance(container, Seen):
        parts.append(f"in a container ({container.value.kind})")
    return f"gpucheck {command}: " + ", ".join(part for part in parts if part)


Paint = Callable[[str, str], str]


def painter(colour: bool) -> Paint:
    """Writes text in a colour, or as it is."""
    return _paint if colour else _plain


def _paint(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m"


def _plain(text: str, code: str) -> str:
    return text


def _stack_line(line: Line, paint: Paint) -> str:
    mark, colour = MARKS[line.state]
    painted = paint(mark, colour)
    return f"  {painted} {line.name:<15} {line.fact}"


def show_finding(finding: Finding, paint: Paint) -> Iterator[str]:
    """What - because - seen at - do this."""
    mark, colour = MARKS[finding.severity.value]
    head = f"{mark} {finding.summary}"
    yield paint(head, f"{BOLD};{colour}") + f"  [{finding.rule}]"
    yield from paragraph("because", finding.cause)
    label = "seen"
    for evidence in finding.evidence:
        yield from paragraph(label, f"{evidence.fact}  ({evidence.source})")
        label = ""
    yield from paragraph("do", finding.remedy)
    label = "so"
    for below in _flatten(finding.consequences):
        yield from paragraph(label, f"{below.summary}  [{below.rule}]")
        label = ""


def _flatten(findings: tuple[Finding, ...]) -> Iterator[Finding]:
    for finding in findings:
        yield finding
        yield from _flatten(finding.consequences)


def paragraph(label: str, text: str) -> list[str]:
    """Text with a label before its first line."""
    return wrapped(text, f"    {label:<9}", " " * 13)


#: More names than these are only counted: they tell nothing that helps with the root cause.
FEW = 5


def _unknown(report: Report, paint: Paint) -> Iterator[str]:
    """Rules that could not look. Below a root cause only which ones: without a driver most of them cannot."""
    unknown = [outcome for outcome in report.outcomes if outcome.status is Status.UNKNOWN]
    for outcome in report.outcomes:
        if outcome.status is Status.CRASH:
            yield f"? {outcome.rule}: gpucheck itself failed: {outcome.error}"
    if report.roots and unknown:
        yield from wrapped(
            f"? {len(unknown)} other checks cannot be judged as long as this is so (--format json names them)"
            if len(unknown) > FEW
            else f"? Not judged as long as this is so: {', '.join(outcome.rule for outcome in unknown)}",
            "",
            "  ",
        )
    elif unknown:
        yield "? Not judged, because it could not be looked at:"
        reasons: dict[str, list[str]] = {}
        for outcome in unknown:
            reasons.setdefault(outcome.error, []).append(outcome.rule)
        for reason, rules in reasons.items():
            yield from wrapped(f"{reason}: {', '.join(rules)}", "    ", "      ")
    if unknown or any(outcome.status is Status.CRASH for outcome in report.outcomes):
        yield ""


def wrapped(text: str, first: str, further: str) -> list[str]:
    """Lines of at most ``WIDTH`` columns; words stay whole."""
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=further, break_long_words=False, break_on_hyphens=False
    )


def show_verdict(report: Report, paint: Paint) -> Iterator[str]:
    """The last lines."""
    word, colour = VERDICTS[report.verdict]
    roots = len(report.roots)
    if roots:
        word += f", {roots} root cause{'s' if roots > 1 else ''}"
    warnings = sum(finding.severity is Severity.WARNING for finding in report.findings)
    if warnings:
        word += f", {warnings} warning{'s' if warnings > 1 else ''}"
    yield "Verdict: " + paint(word, f"{BOLD};{colour}")
    if report.findings:
        yield f"More on a rule: gpucheck explain {report.findings[0].rule}"
