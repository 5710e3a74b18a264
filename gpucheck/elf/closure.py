"""Everything that a file would bring into a process, as one frozen record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from gpucheck import kb
from gpucheck.elf.cpu import Cpu
from gpucheck.elf.dlopens import Followed, follow
from gpucheck.elf.links import Lack, check_links
from gpucheck.elf.objects import Object
from gpucheck.elf.process import Process
from gpucheck.elf.resolution import Candidate, How, Resolution
from gpucheck.elf.search import start
from gpucheck.record import dataclass
from gpucheck.system.protocol import System


@dataclass(frozen=True, slots=True)
class Opened:
    """A dlopen(3) that is known to happen: the outcome, and when it happens."""

    resolution: Resolution
    when: str
    required: bool
    source: str
    """Where the knowledge comes from, and its date."""


@dataclass(frozen=True, slots=True)
class Shadowed:
    """A file that would have been taken if another one did not come first."""

    soname: str
    path: str
    by: str
    how: How
    """The list that the shadowed file is in."""


@dataclass(frozen=True, slots=True)
class Oddity:
    """A file that a search passed over on its way, though something is there by that name."""

    soname: str
    candidate: Candidate


@dataclass(frozen=True, slots=True)
class Closure:
    """A target and what it loads."""

    target: str
    """The file; of what Python imports, its name and version."""
    top: str | None
    """The path of the program or library that the requests start from; None for a program that is not known."""
    linker: str
    """The dynamic linker that does it."""
    resolutions: tuple[Resolution, ...]
    """Every request, in order."""
    opened: tuple[Opened, ...]
    shadowed: tuple[Shadowed, ...]
    oddities: tuple[Oddity, ...]
    lacks: tuple[Lack, ...]
    unread: tuple[str, ...]
    """One line for each file that could be loaded but not looked into."""

    @property
    def missing(self) -> tuple[Resolution, ...]:
        """What is needed or surely opened and cannot be loaded; not what the same object gets when it asks again."""
        optional = {id(each.resolution) for each in self.opened if not each.required}
        loaded = {(each.requester, each.soname) for each in self.resolutions if each.path and not each.fatal}
        found = []
        passing = False
        for each in self.resolutions:
            # What a library needs follows the call that opened it.
            passing = id(each) in optional if each.edge == "dlopen" else passing
            lost = (each.path is None or each.fatal) and (each.requester, each.soname) not in loaded
            if lost and not passing and each.edge != "preload":
                found.append(each)
        return tuple(found)


def closure(
    system: System,
    target: str,
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    cpu: Cpu | None = None,
    secure: bool | None = None,
    configuration: bool | None = None,
    dlopens: bool = True,
    symbols: bool = False,
) -> Closure:
    """What loading a program or library brings in. The parameters are those of ``start``.

    ``dlopens``: follow what is known to be opened by name. ``symbols``: look for missing symbols too, which reads whole
    symbol tables (a second for torch). Raises ``ElfError`` or ``OSError`` for the target itself.
    """
    process = start(system, target, env=env, cwd=cwd, cpu=cpu, secure=secure, configuration=configuration)
    followed = follow(process) if dlopens else Followed((), ())
    return summarize(process, target, opened_by_rows(followed), followed.unread, symbols=symbols)


def opened_by_rows(followed: Followed) -> tuple[Opened, ...]:
    """What the table of ``dlopens`` says of itself."""
    return tuple(Opened(each, row.when, row.required, row.reference) for each, row in followed.opened)


def summarize(
    process: Process, target: str, opened: Sequence[Opened], unread: Sequence[str] = (), *, symbols: bool = False
) -> Closure:
    """All that is to be said of a process in which everything is loaded. The parameters are those of ``closure``.

    Symbols with a version are looked for in any case where a wrong copy is likely; see ``suspects``.
    """
    shadowed, oddities = [], []
    for each in {each.soname: each for each in reversed(process.resolutions) if each.path}.values():
        oddities += [Oddity(each.soname, odd) for odd in process.odd(each)]
        if each.how in ("resident", "path", "LD_PRELOAD", "ld.so.preload"):
            continue
        shadowed += [Shadowed(each.soname, path, each.path or "", how) for path, how in process.alternatives(each)[1:]]
    stems = tuple(f"{row.stem}.so." for row in kb.sonames())
    links = check_links(process, symbols=symbols, suspects=suspects(process, stems), stems=stems)
    return Closure(
        target,
        process.main.path if process.main else None,
        process.linker.path,
        tuple(process.resolutions),
        tuple(opened),
        tuple(shadowed),
        tuple(oddities),
        links.lacks,
        tuple(dict.fromkeys((*unread, *links.unread))),
    )


def suspects(process: Process, stems: tuple[str, ...]) -> Iterator[Object]:
    """The objects in which a missing symbol is likely, so that it is worth to read their symbol tables. ``stems``: the starts
    of the names of CUDA libraries.

    NVIDIA's libraries expect of each other to be of one release; and whatever gets a library from a place that somebody
    else decides (LD_LIBRARY_PATH, LD_PRELOAD, ld.so.cache) may get one that it was not built with.
    """
    foreign = {
        each.path
        for each in process.resolutions
        if each.how in ("LD_LIBRARY_PATH", "LD_PRELOAD", "ld.so.preload", "ld.so.cache", "ld.so.conf")
    }
    for item in process.objects:
        asked = [name for name in item.elf.needed if name.startswith(stems)]
        providers = (process.names.get(name) for name in asked)
        if asked and (
            any(provider and provider.path in foreign for provider in providers)
            or (item.elf.soname or item.path.rsplit("/", 1)[-1]).startswith(stems)
        ):
            yield item
