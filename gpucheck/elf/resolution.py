"""What came of looking for one library: the record that all witnesses of loading share."""

from __future__ import annotations

from typing import Literal

from gpucheck.record import dataclass

How = Literal[
    "target",
    "path",
    "resident",
    "interpreter",
    "LD_PRELOAD",
    "ld.so.preload",
    "RPATH",
    "LD_LIBRARY_PATH",
    "RUNPATH",
    "ld.so.cache",
    "ld.so.conf",
    "default",
    "not found",
]
Edge = Literal["needed", "dlopen", "preload", "filter"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that was considered and not taken."""

    path: str
    skipped: str
    """Why: ``not there``, ``32-bit``, ``for aarch64``, ``permission denied``, ..."""
    how: How
    """The list that led there."""


@dataclass(frozen=True, slots=True)
class Note:
    """A place that was passed over as a whole, and why."""

    text: str
    after: int
    """How many candidates had been considered before."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """One name that one object asked for, and the file it gets."""

    soname: str
    """The name as asked for."""
    requester: str | None
    """The path of the object that asks; None for a program that is not known."""
    path: str | None
    """The file, as the linker would name it; None when nothing is found or the linker stops with an error."""
    how: How
    edge: Edge
    candidates: tuple[Candidate, ...] = ()
    """The files considered before, in order."""
    owner: str | None = None
    """Whose RPATH or RUNPATH it was, or the file that the place comes from."""
    notes: tuple[Note, ...] = ()
    fatal: str | None = None
    """Why loading fails although a file is there: the linker gives up at a broken file instead of looking further, or
    what a file opened with dlopen needs cannot be loaded (then ``path`` is that file)."""


def there(candidates: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
    """Those where something is: a 32-bit file, one for another machine, a dangling link, one that cannot be read, ..."""
    nothing = ("not there", "no such directory", "the same file")
    return tuple(candidate for candidate in candidates if not candidate.skipped.startswith(nothing))


def considered(resolution: Resolution) -> tuple[str, ...]:
    """One line for each place and file that was passed over, in the order in which the linker got to them."""
    lines: list[str] = []
    notes = list(resolution.notes)
    for count, candidate in enumerate(resolution.candidates):
        while notes and notes[0].after <= count:
            lines.append(notes.pop(0).text)
        lines.append(f"{candidate.how}: {candidate.path}: {candidate.skipped}")
    return (*lines, *(note.text for note in notes), *((resolution.fatal,) if resolution.fatal else ()))
