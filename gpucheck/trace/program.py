"""What a command runs: the file, as execvp(3) finds it, and who can watch it load libraries."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from typing import Literal

from gpucheck.record import dataclass

Kind = Literal["glibc", "musl", "static", "other"]

#: execve(2): scripts may name scripts, to a depth of 4.
MAX_SCRIPTS = 4


#: https://sourceware.org/glibc/wiki/ABIList
GLIBC = (b"/ld-linux-", b"/ld-linux.so", b"/ld64.so")


class NotRunnable(Exception):
    """The command cannot be started. ``str()`` is one line."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
        """As a shell's exit status: 127 not found, 126 found and not executable."""


@dataclass(frozen=True, slots=True)
class Program:
    """The file of a command."""

    path: str
    """The file that is executed."""
    interpreted: str
    """The program in the end: for a script its interpreter, else the same."""
    kind: Kind
    """The C library that loads its libraries; ``other``: it could not be read."""
    privileged: str
    """Why the dynamic linker distrusts the environment here (AT_SECURE of getauxval(3)); '' when it does not."""


def find_program(name: str, env: Mapping[str, str]) -> Program:
    """The program that a command's first word names. Raises ``NotRunnable``."""
    path = _find(name, env)
    interpreted = path
    for _ in range(MAX_SCRIPTS):
        line = _start(interpreted, 256).split(b"\n", 1)[0]
        if not line.startswith(b"#!"):
            break
        words = line[2:].split(maxsplit=1)
        if not words:
            break
        interpreted = os.fsdecode(words[0])
        if os.path.basename(interpreted) == "env" and len(words) > 1:
            # ``#!/usr/bin/env python3``, ``#!/usr/bin/env -S python3 -u``: env(1).
            named = next((word for word in words[1].split() if not word.startswith(b"-") and b"=" not in word), b"")
            try:
                interpreted = _find(os.fsdecode(named), env) if named else interpreted
            except NotRunnable:
                break
    if interpreted != path and not os.path.lexists(interpreted):
        # execve(2) says ENOENT for it, which reads as if the script were not there.
        raise NotRunnable(f"{name}: its interpreter {interpreted} is not there", 126)
    return Program(path, interpreted, _kind(interpreted), _privileges(interpreted))


def why_not_started(program: Program, error: OSError) -> str:
    """What execve(2) means by its error, where the file itself is there: ENOENT is its dynamic linker, ENOEXEC another machine."""
    from gpucheck.elf.reader import ElfError, read_elf
    from gpucheck.system import Local

    try:
        elf = read_elf(Local(), os.path.abspath(program.interpreted))
    except (ElfError, OSError):
        return error.strerror or str(error)
    if error.errno == errno.ENOENT and elf.interpreter:
        return f"its dynamic linker {elf.interpreter} is not there; it is for {elf.architecture} and that C library"
    if error.errno == errno.ENOEXEC:
        return f"it is for {elf.architecture}, this machine is {os.uname().machine}"
    return error.strerror or str(error)


def _find(name: str, env: Mapping[str, str]) -> str:
    if not name:
        raise NotRunnable("the command is an empty word", 127)
    if "/" in name:
        return _check(name, name)
    refused = None
    for folder in env.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(folder or ".", name)
        if os.path.lexists(path):
            try:
                return _check(path, name)
            except NotRunnable as error:
                refused = refused or error
    if refused is not None and refused.status == 126:
        raise refused
    raise NotRunnable(f"{name}: command not found; it is in no folder of PATH", 127)


def _check(path: str, name: str) -> str:
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
        raise NotRunnable(f"{name}: {os.strerror(error.errno or 0)}", 127 if missing else 126) from None
    if stat.S_ISDIR(mode):
        raise NotRunnable(f"{path}: is a directory", 126)
    if not os.access(path, os.X_OK) or not stat.S_ISREG(mode):
        raise NotRunnable(f"{path}: is not executable; chmod +x it, or name its interpreter", 126)
    return path


def _start(path: str, size: int) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(size)
    except OSError:
        return b""


def _kind(path: str) -> Kind:
    # Linkers put the name of the interpreter at the start of the file: most often there is no need to load the reader
    # of ELF files before the command runs.
    if any(name in _start(path, 1024) for name in GLIBC):
        return "glibc"
    from gpucheck.elf.reader import ElfError, read_elf
    from gpucheck.system import Local

    try:
        elf = read_elf(Local(), os.path.abspath(path))
    except (ElfError, OSError):
        return "other"
    if elf.interpreter is None:
        return "static"
    return "musl" if os.path.basename(elf.interpreter).startswith("ld-musl-") else "glibc"


def _privileges(path: str) -> str:
    """glibc's elf/enbl-secure.c and the kernel's ``bprm`` code: other user or group than one's own, or capabilities."""
    try:
        status = os.stat(path)
    except OSError:
        return ""
    if status.st_mode & stat.S_ISUID and status.st_uid != os.geteuid():
        return "it is set-user-ID"
    if status.st_mode & stat.S_ISGID and status.st_mode & stat.S_IXGRP and status.st_gid != os.getegid():
        return "it is set-group-ID"
    if os.geteuid() != 0 and "security.capability" in _attributes(path):
        return "it has file capabilities"
    return ""


def _attributes(path: str) -> list[str]:
    try:
        return os.listxattr(path)
    except OSError:
        return []
