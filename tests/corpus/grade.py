"""What gpucheck says of a fixture, and whether that is right."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from gpucheck.engine import judge
from gpucheck.facts import Snapshot
from gpucheck.finding import Report, Severity
from gpucheck.probes import observe
from gpucheck.project.observation import observe_project
from gpucheck.rules import RULES, Layer
from tests.corpus.build import build
from tests.corpus.fixture import FOLDER, Fixture, read

#: The day on which projects are looked at: some images go out of support.
DAY = "2026-11-24"


@dataclass(frozen=True)
class Grade:
    """A fixture and what became of it."""

    fixture: Fixture
    report: Report
    wrong: str
    """What is not right; '' when all is."""

    @property
    def named(self) -> str:
        """The rule of the first finding; '' when there is none."""
        return self.report.findings[0].rule if self.report.findings else ""

    @property
    def also(self) -> tuple[str, ...]:
        """Other errors that stand beside the first finding."""
        return tuple(dict.fromkeys(finding.rule for finding in self.report.roots if finding.rule != self.named))


def fixtures(kind: str) -> tuple[Fixture, ...]:
    """``faults``, ``unseen`` or ``healthy``."""
    return tuple(read(path) for path in sorted((FOLDER / kind).glob("*.toml")))


def look(fixture: Fixture) -> Snapshot:
    """The snapshot that gpucheck's own probes take of the fixture's world."""
    with TemporaryDirectory(prefix="corpus-") as folder:
        world = build(fixture, Path(folder))
        if fixture.kind == "project":
            return observe_project(world, DAY)
        return observe(world)


def grade(fixture: Fixture) -> Grade:
    """Look, judge, compare with what was expected."""
    return compare(fixture, look(fixture))


def compare(fixture: Fixture, snapshot: Snapshot) -> Grade:
    """Judge a snapshot as the fixture's."""
    rules = tuple(rule for rule in RULES if rule.layer is Layer.PROJECT) if fixture.kind == "project" else RULES
    report = judge(snapshot, rules)
    return Grade(fixture, report, _healthy(fixture, report) if not fixture.expect.root else _named(fixture, report))


def _healthy(fixture: Fixture, report: Report) -> str:
    unwanted = [
        finding.rule
        for finding in report.everything()
        if finding.severity is Severity.ERROR
        or (finding.severity is Severity.WARNING and finding.rule not in fixture.expect.warnings)
    ]
    return f"complains: {', '.join(dict.fromkeys(unwanted))}" if unwanted else ""


def _named(fixture: Fixture, report: Report) -> str:
    if not report.findings:
        return "names nothing"
    first = report.findings[0]
    if first.rule not in fixture.expect.root:
        return f"names {first.rule}"
    text = " ".join((first.summary, first.cause, *(evidence.fact for evidence in first.evidence)))
    for pattern in fixture.expect.says:
        if not re.search(pattern, text):
            return f"does not say {pattern!r}"
    for pattern in fixture.expect.fix:
        if not re.search(pattern, first.remedy):
            return f"the remedy lacks {pattern!r}"
    return ""
