"""The answers of ``gpucheck libs`` for a person. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from gpucheck.elf.closure import Closure
from gpucheck.elf.resolution import considered
from gpucheck.elf.tree import how
from gpucheck.elf.tree import render as tree
from gpucheck.facts import Library

if TYPE_CHECKING:
    from gpucheck.libs.environment import Environment, Named

DIM, RED = "2", "31"


def of_closure(
    closure: Closure,
    copies: Sequence[Library],
    *,
    everything: bool,
    base: str | None,
    normal: Callable[[str], str],
    colour: bool,
) -> str:
    """The tree with how each file was found, then what is wrong with it. ``copies``: of what is missing."""
    elsewhere: dict[str, list[str]] = {}
    for library in copies:
        elsewhere.setdefault(library.soname, []).append(f"{library.path}{about(library)}")
    text = tree(closure, everything=everything, base=base, normal=normal, elsewhere=elsewhere)
    return paint(text) if colour else text


def of_environment(
    environment: Environment, place: str, *, everything: bool, normal: Callable[[str], str], colour: bool
) -> str:
    """One paragraph for each name."""
    interpreter = environment.interpreter or "no interpreter"
    lines = [f"GPU libraries by the names that programs open: {place} ({interpreter}, {environment.linker})", ""]
    for named in environment.libraries:
        lines += _named(named, everything, normal)
    text = "\n".join(lines) + "\n"
    return paint(text) if colour else text


def _named(named: Named, everything: bool, normal: Callable[[str], str]) -> Iterator[str]:
    plain, python = named.plain, named.python
    others = [copy for copy in named.copies if copy.library.path != plain.path]
    if plain.path and not plain.fatal:
        taken = next((copy for copy in named.copies if copy.library.path == plain.path), None)
        yield f"{named.soname} => {plain.path} [{how(plain)}]{about(taken.library if taken else None)}"
    elif plain.fatal:
        yield f"{named.soname}: cannot be loaded: {plain.fatal}"
    elif others:
        yield f"{named.soname}: in no search path; only by its path, or through the RPATH of what needs it:"
    else:
        reason = normal(named.soname)
        yield f"{named.soname}: not found{f', {reason}' if reason else ''}"
    if python.path != plain.path:
        yield f"    Python gets {python.path} [{how(python)}]" if python.path else "    Python does not find it"
    for copy in others:
        where = f"hides {copy.library.path} ({copy.how})" if copy.how else copy.library.path
        if plain.path and not copy.how:
            where = f"in no search path: {where}"
        yield f"    {where}{about(copy.library)}"
    shown = everything or not (named.copies or normal(named.soname))
    for number, line in enumerate(considered(plain) if plain.path is None and shown else (), 1):
        yield f"    {number}. {line}"


def about(library: Library | None) -> str:
    """``, 12.9.79 from nvidia-cuda-runtime-cu12``; '' when nothing is known."""
    if library is None:
        return ""
    owner = library.owner.rpartition(" ")[0]
    version = library.version and f", {library.version}" + (f" from {owner}" if owner else "")
    return version + (f", {library.kind}" if library.kind in ("stub", "compat", "wsl", "tegra") else "")


def paint(text: str) -> str:
    """Colour how a file was found, and what was not found."""
    text = re.sub(r" (\[[^\]\n]+\])(?=,|$)", f" \x1b[{DIM}m\\1\x1b[0m", text, flags=re.MULTILINE)
    return re.sub(r"\b(not found|cannot be loaded|undefined symbol)\b", f"\x1b[{RED}m\\1\x1b[0m", text)
