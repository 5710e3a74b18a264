"""Xids: the numbers by which the kernel driver reports a GPU's faults."""

from __future__ import annotations

from functools import cache

from gpucheck import kb
from gpucheck.record import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Xid(kb.Row):
    """A fault that the kernel driver logs as ``NVRM: Xid (PCI:...): NUMBER, ...``."""

    xid: int
    name: str
    meaning: str
    action: str = ""
    """What NVIDIA says to do at once; '' where its catalogue says nothing."""
    then: str = ""
    """What it says to do to find out more."""
    causes: str = ""
    """What is usually behind it; '' where we know of nothing to say."""
    reach: str
    """Our grouping: ``app`` (restart it), ``gpu`` (reset it), ``host`` (restart it), ``support``, ``workflow``, ``info``,
    ``unused``, ``other``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action(kb.Row):
    """A word of the catalogue's columns."""

    action: str
    means: str


@cache
def xids() -> dict[int, Xid]:
    """Xids by their number."""
    return {row.xid: row for row in kb.load("xids", "xid", Xid, ["xid"])}


@cache
def actions() -> dict[str, Action]:
    """What the words of ``action`` and ``then`` mean."""
    return {row.action: row for row in kb.load("xids", "action", Action, ["action"])}
