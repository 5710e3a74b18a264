"""What rules say and what comes of it: complaints, outcomes, a report with a verdict."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from gpucheck.facts import NO_PROJECT, Snapshot
from gpucheck.record import dataclass


class Severity(str, Enum):
    """How much a finding matters. The order of the members is the order of weight."""

    ERROR = "error"
    """The code will not reach a GPU, or not correctly."""
    WARNING = "warning"
    """It works, with the named limit."""
    NOTE = "note"
    """Worth knowing; changes no verdict."""

    @property
    def weight(self) -> int:
        """0 for the heaviest."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Evidence:
    """A fact that supports a finding, and where it was seen."""

    fact: str
    source: str


@dataclass(frozen=True, slots=True)
class Complaint:
    """What a rule yields: one thing that is wrong here."""

    severity: Severity
    summary: str
    """One line: what is wrong."""
    cause: str
    """Why it is so, in a sentence or two."""
    evidence: tuple[Evidence, ...]
    remedy: str
    """What to do, ending in a command or a version."""
    decisive: bool = False
    """A real call by the library that the code uses failed for exactly this reason: this is what the user runs into."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A complaint with the rule that made it and the findings that follow from it."""

    rule: str
    severity: Severity
    summary: str
    cause: str
    evidence: tuple[Evidence, ...]
    remedy: str
    decisive: bool = False
    consequences: tuple[Finding, ...] = ()


class Status(str, Enum):
    """How a rule ended."""

    PASS = "pass"
    FAIL = "fail"
    UNKNOWN = "unknown"
    """It could not look."""
    CRASH = "crash"
    """It failed itself: a defect of gpucheck."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One rule on one snapshot."""

    rule: str
    status: Status
    complaints: tuple[Complaint, ...] = ()
    tried: tuple[str, ...] = ()
    """For UNKNOWN: where it looked."""
    error: str = ""
    """For UNKNOWN and CRASH: why."""


class Verdict(str, Enum):
    """The one-word answer."""

    COMPATIBLE = "compatible"
    CONDITIONAL = "conditional"
    """Works, with the limits that the warnings name."""
    INCOMPATIBLE = "incompatible"
    UNKNOWN = "unknown"

    def exit_code(self, strict: bool = False) -> int:
        """0 fine (``conditional`` too unless ``strict``), 1 problems, 3 could not tell."""
        return {
            Verdict.COMPATIBLE: 0,
            Verdict.CONDITIONAL: 1 if strict else 0,
            Verdict.INCOMPATIBLE: 1,
            Verdict.UNKNOWN: 3,
        }[self]


@dataclass(frozen=True, slots=True)
class Report:
    """A judged snapshot."""

    snapshot: Snapshot
    outcomes: tuple[Outcome, ...]
    """In the order of the layers."""
    findings: tuple[Finding, ...]
    """Root causes first; what follows from another is folded under it."""

    @property
    def roots(self) -> tuple[Finding, ...]:
        """The findings to act on: errors that follow from no other."""
        return tuple(finding for finding in self.findings if finding.severity is Severity.ERROR)

    @property
    def verdict(self) -> Verdict:
        """Never ``compatible`` for a live system on which no GPU was seen to answer, or a project of which a part is not known."""
        if self.roots:
            return Verdict.INCOMPATIBLE
        if any(outcome.status is Status.CRASH for outcome in self.outcomes):
            return Verdict.UNKNOWN
        if self.snapshot.host.live and any(
            outcome.status is Status.UNKNOWN and outcome.rule == "gpu-unreached" for outcome in self.outcomes
        ):
            return Verdict.UNKNOWN
        if self.snapshot.project != NO_PROJECT and any(outcome.status is Status.UNKNOWN for outcome in self.outcomes):
            return Verdict.UNKNOWN
        if any(finding.severity is Severity.WARNING for finding in self.everything()):
            return Verdict.CONDITIONAL
        return Verdict.COMPATIBLE

    def everything(self) -> Iterator[Finding]:
        """All findings, the folded ones too."""

        def walk(findings: tuple[Finding, ...]) -> Iterator[Finding]:
            for finding in findings:
                yield finding
                yield from walk(finding.consequences)

        return walk(self.findings)

    def exit_code(self, strict: bool = False) -> int:
        """That of the verdict."""
        return self.verdict.exit_code(strict)
