"""Versions that are known not to work together, where nothing in the packages says so."""

from __future__ import annotations

from functools import cache

from gpucheck import kb
from gpucheck.record import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair(kb.Row):
    """A distribution and something else that it does not work with."""

    library: str
    versions: str
    """``<2.3``, as in a requirement."""
    other: str
    """A distribution, ``compute capability`` or ``driver``."""
    others: str
    symptom: str
    """What a user sees, in a few words."""
    because: str
    """One sentence, without a full stop."""
    breaks: bool
    """False: it works with limits."""
    install: str = ""
    """What to install instead, as arguments of pip."""
    remedy: str = ""
    """What to do, where installing is not it."""


@cache
def pairs() -> tuple[Pair, ...]:
    """All pairs."""
    return kb.load("pairs", "pair", Pair, ["library", "versions", "other", "others"])
