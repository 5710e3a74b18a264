"""``gpucheck libs``: from the words of the command line to text and an exit code."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from gpucheck import kb
from gpucheck.elf import ElfError, start
from gpucheck.elf.closure import Closure, opened_by_rows, summarize
from gpucheck.elf.dlopens import follow
from gpucheck.elf.search import plain_process
from gpucheck.facts import Library, Python
from gpucheck.kb import traced
from gpucheck.libs import text
from gpucheck.libs.targets import File, Installed, NoTarget, Target, find_target
from gpucheck.probes.python import distributions, pythons
from gpucheck.record import dataclass
from gpucheck.system import System

FOUND, MISSING, UNKNOWN = 0, 1, 3


@dataclass(frozen=True, slots=True)
class Answer:
    """What is printed, and how it ends."""

    text: str
    status: int
    """0 all found, 1 something needed is missing or lacks a symbol, 3 something could not be read."""


def run(
    system: System,
    target: str | None,
    *,
    python: str | None = None,
    format: str = "text",
    everything: bool = False,
    symbols: bool = False,
    colour: bool = False,
) -> Answer:
    """Answer for a target, or for the whole environment. Raises ``NoTarget`` with one line for the user.

    File names need not be UTF-8: what is not goes out escaped.
    """
    try:
        answer = _answer(system, target, python, format, everything, symbols, colour)
    except ElfError as error:
        raise NoTarget(_printable(str(error))) from None
    except OSError as error:
        raise NoTarget(_printable(f"{error.filename or target}: {error.strerror}")) from None
    return Answer(_printable(answer.text), answer.status)


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _answer(
    system: System, target: str | None, python: str | None, format: str, everything: bool, symbols: bool, colour: bool
) -> Answer:
    environments = pythons(system, python)
    normal = _normal(system)
    if target is None:
        return _environment(system, python, format, everything, normal, colour)
    found = find_target(system, target, environments)
    closure, base = _closure(system, found, symbols)
    missing = [each for each in closure.missing if not normal(each.soname) and not _follows(each.fatal, normal)]
    where = (found.environment,) if isinstance(found, Installed) else environments
    copies = _copies(system, {each.soname for each in missing if each.path is None}, where)
    status = MISSING if missing or closure.lacks else UNKNOWN if closure.unread else FOUND
    if format == "json":
        from gpucheck.libs import document

        return Answer(document.write(document.of_closure(closure, copies, _describe(found, closure))), status)
    return Answer(
        text.of_closure(closure, copies, everything=everything, base=base, normal=normal, colour=colour), status
    )


def _closure(system: System, target: Target, symbols: bool) -> tuple[Closure, str | None]:
    """What the target loads, and the folder that paths are shortened by."""
    if isinstance(target, Installed):
        from gpucheck.libs.imports import import_closure
        from gpucheck.libs.interpreter import start_interpreter

        interpreter = start_interpreter(system, target.environment, pythons(system))
        closure = import_closure(system, target, interpreter, symbols=symbols)
        return closure, target.location
    if isinstance(target, File):
        process = start(system, target.path)
        name = target.path
    else:
        process = plain_process(system)
        process.dlopen(target.soname)
        name = f"{target.soname}, opened by a program of its own"
    followed = follow(process)
    base = re.match(r"(/.*?/(?:site|dist)-packages)/", name)
    closure = summarize(process, name, opened_by_rows(followed), followed.unread, symbols=symbols)
    return closure, base[1] if base else None


def _environment(
    system: System, python: str | None, format: str, everything: bool, normal: Callable[[str], str], colour: bool
) -> Answer:
    from gpucheck.libs.environment import DRIVER, look
    from gpucheck.libs.interpreter import start_interpreter

    environments = pythons(system, python)
    interpreter = start_interpreter(system, environments[0] if environments else None, environments[1:])
    environment = look(system, environments, interpreter)
    missing = tuple(
        named.soname
        for named in environment.libraries
        if named.soname in DRIVER and (named.plain.path is None or named.plain.fatal) and not normal(named.soname)
    )
    status = MISSING if missing else FOUND
    if format == "json":
        from gpucheck.libs import document

        described = {"kind": "environment", "name": ", ".join(each.prefix for each in environments), "path": None}
        described["interpreter"] = interpreter.path
        return Answer(document.write(document.of_environment(environment, missing, described)), status)
    place = ", ".join(each.prefix for each in environments) or "no Python environment"
    shown = text.of_environment(environment, place, everything=everything, normal=normal, colour=colour)
    return Answer(shown, status)


def _copies(system: System, sonames: set[str], environments: Sequence[Python]) -> tuple[Library, ...]:
    """Copies on disk of CUDA libraries that were not found."""
    if not any(soname.startswith(f"{row.stem}.so.") for soname in sonames for row in kb.sonames()):
        return ()
    from gpucheck.probes.libraries import toolkit

    known = toolkit(system, tuple(environments), distributions(system, tuple(environments)))
    return tuple(each for each in known if each.soname in sonames)


def _describe(target: Target, closure: Closure) -> dict[str, str | None]:
    if isinstance(target, Installed):
        name = f"{target.name} {target.version}".rstrip()
        return {"kind": "distribution", "name": name, "path": target.location, "interpreter": closure.top}
    if isinstance(target, File):
        return {"kind": "file", "name": target.path.rsplit("/", 1)[-1], "path": target.path, "interpreter": None}
    return {"kind": "name", "name": target.soname, "path": None, "interpreter": None}


def _normal(system: System) -> Callable[[str], str]:
    """Why the absence of a library says nothing about this place."""

    def of(soname: str) -> str:
        if system.live:
            return ""
        file = soname.rsplit("/", 1)[-1]
        patterns = (row.pattern for row in traced.libraries() if row.kind == "driver")
        return "it comes with the host's driver" if any(fnmatchcase(file, pattern) for pattern in patterns) else ""

    return of


def _follows(fatal: str | None, normal: Callable[[str], str]) -> bool:
    """Whether a file cannot be loaded just for want of a library whose absence is normal."""
    return fatal is not None and bool(normal(fatal.partition(":")[0]))
