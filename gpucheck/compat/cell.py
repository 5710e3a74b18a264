"""What a judgement of one image on one node says: a verdict and the reasons for it."""

from __future__ import annotations

from collections.abc import Iterable

from gpucheck.finding import Evidence, Verdict
from gpucheck.record import dataclass

#: The heaviest first: what surely fails, then what cannot be told, then limits.
WEIGHTS = {Verdict.INCOMPATIBLE: 0, Verdict.UNKNOWN: 1, Verdict.CONDITIONAL: 2, Verdict.COMPATIBLE: 3}


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that decides, or that is worth knowing. It names no image and no node, so that many cells can share it."""

    rule: str
    """The id of a doctor's rule where the same is meant, else one of ``gpucheck.compat.reasons``."""
    verdict: Verdict
    """What it makes of the cell; ``compatible`` for a note."""
    summary: str
    cause: str
    evidence: tuple[Evidence, ...]
    remedy: str
    """The smallest change that would make it work; '' for a note."""


Reasons = tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """An image on a node. It names neither: many are equal."""

    verdict: Verdict
    reasons: Reasons
    """The heaviest first; notes last."""

    @property
    def deciding(self) -> Reasons:
        """The reasons for the verdict."""
        return tuple(reason for reason in self.reasons if reason.verdict is self.verdict) if self.reasons else ()

    @property
    def notes(self) -> Reasons:
        """What changes no verdict."""
        return tuple(reason for reason in self.reasons if reason.verdict is Verdict.COMPATIBLE)


def ordered(reasons: Iterable[Reason]) -> Reasons:
    """Each once, the heaviest first, otherwise as given."""
    reasons = tuple(reasons)
    if len(reasons) < 2:
        return reasons
    once = {(reason.rule, reason.summary, reason.cause, reason.remedy): reason for reason in reasons}
    return tuple(sorted(once.values(), key=lambda reason: WEIGHTS[reason.verdict]))


def verdict(reasons: Reasons) -> Verdict:
    """That of the heaviest of ordered reasons."""
    return reasons[0].verdict if reasons else Verdict.COMPATIBLE


def sentence(text: str) -> str:
    """A judgement's clause as a sentence."""
    return f"{text[0].upper()}{text[1:]}."
