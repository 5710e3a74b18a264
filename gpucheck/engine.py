"""Run the rules over a snapshot and fold what follows from something else under its cause."""

from __future__ import annotations

from gpucheck.facts import Snapshot
from gpucheck.finding import Complaint, Finding, Outcome, Report, Status
from gpucheck.rules import RULES
from gpucheck.rules.rule import CannotTell, Rule


def judge(snapshot: Snapshot, rules: tuple[Rule, ...] = RULES) -> Report:
    """The report on a snapshot. Pure; a rule that fails is an outcome of its own, never an exception."""
    outcomes = tuple(apply(rule, snapshot) for rule in rules)
    return Report(snapshot, outcomes, fold(rules, outcomes))


def apply(rule: Rule, snapshot: Snapshot) -> Outcome:
    """One rule on one snapshot."""
    complaints: list[Complaint] = []
    try:
        complaints.extend(rule.judge(snapshot))
    except CannotTell as unknown:
        return Outcome(rule.id, Status.UNKNOWN, tried=unknown.tried, error=str(unknown))
    except Exception as defect:
        return Outcome(rule.id, Status.CRASH, error=f"{type(defect).__name__}: {defect}")
    return Outcome(rule.id, Status.FAIL if complaints else Status.PASS, tuple(complaints))


def fold(rules: tuple[Rule, ...], outcomes: tuple[Outcome, ...]) -> tuple[Finding, ...]:
    """Findings as a forest: the first fired rule that a rule follows from is its parent.

    Roots are in order of weight; among equals those first that explain a call that was seen to fail, then by layer.
    """
    fired = {outcome.rule: outcome.complaints for outcome in outcomes if outcome.status is Status.FAIL}
    parents: dict[str, str] = {}
    for rule in rules:
        if rule.id in fired:
            # A note explains nothing: only what is itself wrong can be the cause of something wrong.
            causes = [
                cause
                for cause in rule.follows
                if cause in fired and _heaviest(fired[cause]) <= _heaviest(fired[rule.id])
            ]
            if causes:
                parents[rule.id] = causes[0]

    def findings(id: str) -> list[Finding]:
        below = tuple(found for rule in rules if parents.get(rule.id) == id for found in findings(rule.id))
        first, *others = sorted(fired[id], key=lambda complaint: complaint.severity.weight)
        return [_finding(id, first, below), *(_finding(id, other, ()) for other in others)]

    roots = [found for rule in rules if rule.id in fired and rule.id not in parents for found in findings(rule.id)]
    return tuple(sorted(roots, key=lambda finding: (finding.severity.weight, not _decisive(finding))))


def _decisive(finding: Finding) -> bool:
    return finding.decisive or any(_decisive(below) for below in finding.consequences)


def _heaviest(complaints: tuple[Complaint, ...]) -> int:
    return min(complaint.severity.weight for complaint in complaints)


def _finding(rule: str, complaint: Complaint, consequences: tuple[Finding, ...]) -> Finding:
    return Finding(
        rule,
        complaint.severity,
        complaint.summary,
        complaint.cause,
        complaint.evidence,
        complaint.remedy,
        complaint.decisive,
        consequences,
    )
