"""The questions that probes ask: which file does this name give here, and what does that file need."""

from __future__ import annotations

import os
from collections.abc import Mapping

from gpucheck.elf.cpu import Cpu
from gpucheck.elf.linker import find_linker, find_native_linker
from gpucheck.elf.process import Process
from gpucheck.elf.reader import ElfError, read_elf
from gpucheck.elf.resolution import Resolution
from gpucheck.system.protocol import System


def find(
    system: System,
    soname: str,
    *,
    executable: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    cpu: Cpu | None = None,
) -> Resolution:
    """What ``dlopen(soname)`` would give in a plain process: LD_LIBRARY_PATH, the cache, the default directories.

    ``executable``: the program whose process it is; its RPATH and what it has loaded count then. Without one the
    system's own dynamic linker is taken, found through its shell. Raises ``ElfError`` when there is no linker, or
    when ``executable`` is no program.
    """
    if executable is None:
        return plain_process(system, env=env, cwd=cwd, cpu=cpu).dlopen(soname)
    return start(system, executable, env=env, cwd=cwd, cpu=cpu).dlopen(soname)


def plain_process(
    system: System, *, env: Mapping[str, str] | None = None, cwd: str | None = None, cpu: Cpu | None = None
) -> Process:
    """A process in which nothing is loaded yet, with the system's own dynamic linker. Raises ``ElfError`` without one."""
    linker = find_native_linker(system, cpu, tunables(system, env))
    return Process(system, linker, env=env, cwd=working_directory(system) if cwd is None else cwd)


def start(
    system: System,
    target: str,
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    cpu: Cpu | None = None,
    secure: bool | None = None,
    configuration: bool | None = None,
) -> Process:
    """A process of a program, with everything loaded that it needs; of a library, as ``ld.so --list`` has it.

    ``secure``: None takes it from the file's set-user-ID and set-group-ID bits and its capabilities, as they act for an
    ordinary user. Raises ``ElfError`` or ``OSError`` for the target itself.
    """
    elf = read_elf(system, target)
    if not elf.dynamic:
        raise ElfError(target, "statically linked: it loads no libraries")
    if secure is None:
        # AT_SECURE of getauxval(3). capabilities(7): file capabilities are an extended attribute.
        raised = bool(system.status(target).mode & 0o6000) or "security.capability" in system.attributes(target)
        secure = elf.interpreter is not None and raised
    process = Process(
        system,
        # In secure mode tunables are ignored, but for those that are said to be safe (elf/dl-tunables.list).
        find_linker(system, elf, cpu, "" if secure else tunables(system, env)),
        env=env,
        cwd=working_directory(system) if cwd is None else cwd,
        secure=secure,
        configuration=configuration,
    )
    process.start(target, by_linker=elf.interpreter is None)
    return process


def tunables(system: System, env: Mapping[str, str] | None) -> str:
    """GLIBC_TUNABLES of a process."""
    return (system.env if env is None else env).get("GLIBC_TUNABLES", "")


def working_directory(system: System) -> str:
    """The current directory, which an empty element of a search path stands for; / for what is only files."""
    return os.getcwd() if system.live else "/"
