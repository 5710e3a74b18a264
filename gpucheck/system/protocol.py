"""What a probe may ask of a machine, a root file system or an image."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

from gpucheck.record import dataclass


class NotKept(OSError):
    """Bytes of a file in an image that were not kept when its layer was read."""


class NotLive(RuntimeError):
    """Something was to be executed on a system that is only files (a root file system, an image)."""


@dataclass(frozen=True, slots=True)
class Status:
    """What ``stat(2)`` says of a file, in the terms that probes need."""

    kind: str
    """``file``, ``directory``, ``link``, ``char``, ``block``, ``fifo`` or ``socket``."""
    mode: int
    """Permission bits, for example ``0o666``."""
    uid: int
    gid: int
    size: int
    identity: tuple[int, int]
    """(device, inode): equal for two names of one file."""
    device: tuple[int, int] | None
    """(major, minor) of a device node."""


@dataclass(frozen=True, slots=True)
class Ran:
    """An ended child process."""

    status: int | None
    """As ``subprocess`` gives it, negative when a signal ended it; None: no end within the deadline, it was killed."""
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Identity:
    """What a live system says of itself and of the process that looks."""

    machine: str
    """As ``uname -m``."""
    glibc: str
    """The version of the C library of this process; '' when it is another than glibc."""
    uid: int
    groups: tuple[int, ...]


class Running(Protocol):
    """A started child process."""

    def send(self, text: str) -> None:
        """Write to its standard input; text that it does not take (it ended) is lost."""
        ...

    def finish(self) -> Ran:
        """Close its standard input and wait for its end, at most until its deadline."""
        ...


class Readable(Protocol):
    """What the ELF reader needs of a place: a whole ``System``, or a file that is still on its way."""

    def read(self, path: str, limit: int = 1 << 20, offset: int = 0) -> bytes:
        """At most ``limit`` bytes from ``offset`` of a regular file; never blocks on a pipe or a device."""
        ...


class System(Readable, Protocol):
    """A place to look at. Paths are absolute and as seen from inside the system.

    File methods raise ``OSError`` (``FileNotFoundError``, ``PermissionError``, ...) with the path as seen inside.
    """

    @property
    def live(self) -> bool:
        """False: nothing may be executed (an image, a root file system)."""
        ...

    @property
    def env(self) -> Mapping[str, str]:
        """The environment variables that a program there would see."""
        ...

    def resolve(self, path: str) -> str | None:
        """The path with all symbolic links followed, without ever leaving the root; None when nothing is there."""
        ...

    def status(self, path: str, *, follow: bool = True) -> Status:
        """Kind, mode, owner and size of a file."""
        ...

    def search(
        self, path: str, pattern: re.Pattern[bytes], offset: int, size: int, literal: bytes = b""
    ) -> bytes | None:
        """The first group of the pattern's first match within ``size`` bytes from ``offset`` of a regular file.

        ``literal``: what every match holds; where it is not, which is found out faster, no match is looked for. No more than 64 MiB are looked at, and a match is found when it is no longer than 256 bytes.
        """
        ...

    def link(self, path: str) -> str:
        """The text of a symbolic link."""
        ...

    def attributes(self, path: str) -> tuple[str, ...]:
        """The names of a file's extended attributes, as far as they can be seen: xattr(7)."""
        ...

    def names(self, directory: str) -> tuple[str, ...]:
        """The sorted names in a directory."""
        ...

    def glob(self, pattern: str) -> tuple[str, ...]:
        """Sorted paths that match; ``*`` and ``?`` within one component, hidden files only by a leading dot."""
        ...

    @property
    def identity(self) -> Identity | None:
        """None where nothing is live."""
        ...

    def open_error(self, path: str) -> str:
        """'' when a device node opens for reading and writing, else the errno's name; '?' where nothing is live."""
        ...

    def kernel_log(self) -> str:
        """The kernel's ring buffer. Raises NotLive, or OSError where it may not be read."""
        ...

    def start(self, *argv: str, timeout: float) -> Running:
        """Start a program; ``timeout`` is in seconds from now. Raises NotLive, or OSError when it cannot be started."""
        ...
