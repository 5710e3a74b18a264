"""Everything that a file would bring into a process, as one frozen record."""

from __future__ import annotations

from collections.abc import Mapping

from gpucheck.elf.dlopens import Followed, follow
from gpucheck.elf.linker import Cpu
from gpucheck.elf.links import Lack, check_links
from gpucheck.elf.resolution import How, Resolution
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
class Closure:
    """A target and what it loads."""

    target: str
    linker: str
    """The dynamic linker that does it."""
    resolutions: tuple[Resolution, ...]
    """Every request, in order."""
    opened: tuple[Opened, ...]
    shadowed: tuple[Shadowed, ...]
    lacks: tuple[Lack, ...]
    unread: tuple[str, ...]
    """One line for each file that could be loaded but not looked into."""

    @property
    def missing(self) -> tuple[Resolution, ...]:
        """What is needed or surely opened and cannot be loaded."""
        optional = {id(each.resolution) for each in self.opened if not each.required}
        return tuple(
            each
            for each in self.resolutions
            if (each.path is None or each.fatal) and each.edge != "preload" and id(each) not in optional
        )


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
    shadowed = []
    for each in {each.soname: each for each in reversed(process.resolutions) if each.path}.values():
        if each.how in ("resident", "path", "LD_PRELOAD", "ld.so.preload"):
            continue
        shadowed += [Shadowed(each.soname, path, each.path or "", how) for path, how in process.alternatives(each)[1:]]
    links = check_links(process, symbols=symbols)
    return Closure(
        target,
        process.linker.path,
        tuple(process.resolutions),
        tuple(Opened(each, row.when, row.required, row.reference) for each, row in followed.opened),
        tuple(shadowed),
        links.lacks,
        tuple(dict.fromkeys((*followed.unread, *links.unread))),
    )
