"""The process of an environment's Python interpreter, before it imports anything."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from gpucheck.elf import ElfError, Process, start
from gpucheck.elf.objects import Object
from gpucheck.elf.search import plain_process
from gpucheck.facts import Python
from gpucheck.record import dataclass
from gpucheck.system import NotKept, System


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python process."""

    path: str | None
    """The program; None when the environment has none that can be read: then it is a process of no special program."""
    process: Process
    home: str
    """The prefix that its standard library is below; '' when it is not known."""
    version: str
    """``3.12``; '' when its name does not tell."""

    @property
    def caller(self) -> Object | None:
        """Whose code opens extension modules: libpython, or the program where that is linked into it."""
        shared = next((item for item in self.process.objects if _name(item.path).startswith("libpython")), None)
        return shared or self.process.main

    def ctypes(self) -> Object | None:
        """Whose code opens what ``ctypes.CDLL`` is asked for; loads the module ``_ctypes`` if it is not in the program."""
        resident = next((item for item in self.process.objects if _name(item.path).startswith("_ctypes.")), None)
        if resident:
            return resident
        pattern = f"{self.home}/lib*/python{self.version or '3*'}/lib-dynload/_ctypes.*so"
        paths = self.process.system.glob(pattern) if self.home else ()
        if not paths:
            return self.caller
        found = self.process.dlopen(paths[0], self.caller)
        return next((item for item in self.process.objects if item.path == found.path), self.caller)


def start_interpreter(
    system: System, environment: Python | None, others: Sequence[Python] = (), env: Mapping[str, str] | None = None
) -> Interpreter:
    """The process that imports what an environment has. ``others``: where else an interpreter may be.

    Raises ``ElfError`` when there is neither an interpreter nor a dynamic linker.
    """
    for candidate in interpreters(system, ([environment] if environment else []) + list(others)):
        try:
            process = start(system, candidate, env=env)
        except NotKept:
            raise
        except (ElfError, OSError):
            # A script (the shims of pyenv), a dangling link, a static program.
            continue
        real = system.resolve(candidate) or candidate
        return Interpreter(candidate, process, real.rsplit("/bin/", 1)[0] if "/bin/" in real else "", _version(real))
    return Interpreter(None, plain_process(system, env=env), "", "")


def interpreters(system: System, environments: Sequence[Python]) -> Iterator[str]:
    """Programs that may be the interpreter, the likeliest first; what exists is seen when they are read."""
    for environment in environments:
        if not environment.prefix.startswith("/"):
            continue
        prefix = environment.prefix.rstrip("/")
        tops = [prefix] if prefix else ["/usr/local", "/usr"]
        names = [f"python{environment.version}"] if environment.version else []
        yield from (f"{top}/bin/{name}" for top in tops for name in (*names, "python3", "python"))
    for folder in system.env.get("PATH", "/usr/local/bin:/usr/bin").split(":"):
        if folder.startswith("/"):
            yield from (f"{folder}/{name}" for name in ("python3", "python"))


def _version(path: str) -> str:
    found = re.search(r"/python(3\.\d+)$", path)
    return found[1] if found else ""


def _name(path: str) -> str:
    return path.rsplit("/", 1)[-1]
