"""What importing a Python distribution opens, and which distributions belong together."""

from __future__ import annotations

from functools import cache

from gpucheck import kb
from gpucheck.record import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Import(kb.Row):
    """Libraries that a distribution's Python code opens; the fields are explained in the table."""

    distribution: str
    opens: tuple[str, ...]
    by: str
    when: str
    required: bool
    folders: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    file: str = ""
    text: str = ""
    mapped: str = ""
    failed: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part(kb.Row):
    """Distributions whose extension modules another one's import uses."""

    distribution: str
    parts: tuple[str, ...]


@cache
def rows() -> tuple[Import, ...]:
    """The table of what is opened."""
    return kb.load("imports", "import", Import)


@cache
def parts() -> tuple[Part, ...]:
    """The table of what belongs together."""
    return kb.load("imports", "part", Part, ["distribution"])
