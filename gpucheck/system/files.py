"""Reading files below a root without ever leaving it."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Mapping
from copy import copy
from fnmatch import fnmatchcase
from functools import cache
from typing import TypeVar

from gpucheck.system.protocol import Identity, NotLive, Running, Status, System

S = TypeVar("S", bound=System)

#: Linux gives up after 40 links in one path: path_resolution(7).
MAX_LINKS = 40

#: A search goes by pieces, from the first of these sizes to the last: most of what is looked for stands at the beginning.
PIECES = (64 << 10, 1 << 20)
MAX_SEARCHED = 64 << 20
MAX_MATCH = 256


_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "link",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}


def status_of(found: os.stat_result) -> Status:
    """The ``Status`` for what ``os.stat`` returned."""
    kind = _KINDS.get(stat.S_IFMT(found.st_mode), "unknown")
    device = (os.major(found.st_rdev), os.minor(found.st_rdev)) if kind in ("char", "block") else None
    return Status(
        kind,
        stat.S_IMODE(found.st_mode),
        found.st_uid,
        found.st_gid,
        found.st_size,
        (found.st_dev, found.st_ino),
        device,
    )


def read_regular(path: str, shown: str, limit: int, offset: int) -> bytes:
    """Read a regular file; ``shown`` is the name for errors. A pipe or a device is refused, not waited for."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), shown)
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file", shown)
        if offset:
            os.lseek(fd, offset, os.SEEK_SET)
        parts = []
        left = limit
        while left > 0 and (part := os.read(fd, min(left, 1 << 20))):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def glob_by_names(system: Tree, pattern: str) -> tuple[str, ...]:
    """``System.glob`` in terms of ``names``: one directory listing for each component with a wildcard."""
    found = [""]
    listed = True
    for part in pattern.strip("/").split("/"):
        literal = min((part.find(char) for char in "*?[" if char in part), default=len(part))
        listed = literal < len(part)
        if not listed:
            found = [f"{base}/{part}" for base in found]
            continue
        following = []
        for base in found:
            try:
                names = system.names(base or "/")
            except OSError:
                continue
            start = part[:literal]
            following += [
                f"{base}/{name}"
                for name in names
                if name.startswith(start) and (name[0] != "." or part[0] == ".") and fnmatchcase(name, part)
            ]
        found = following
    return tuple(sorted(found if listed else filter(system.exists, found)))


def remembering(system: S) -> S:
    """The same system, which looks up each name, folder and pattern once: probes ask for the same ones again and again."""
    twin = copy(system)
    for question in ("resolve", "names", "glob"):
        setattr(twin, question, cache(getattr(twin, question)))
    return twin


class Tree:
    """Files below a root that is never left: how paths are followed there, whatever holds the files. Executes nothing."""

    live = False
    identity: Identity | None = None

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        self.env: Mapping[str, str] = dict(env or {})

    def mode(self, path: str, shown: str) -> int:
        """``st_mode`` of what is at a path without links in its folders; ``shown`` is the name for errors."""
        raise NotImplementedError

    def target(self, path: str, shown: str) -> str:
        """The text of the link at such a path."""
        raise NotImplementedError

    def status(self, path: str, *, follow: bool = True) -> Status:
        raise NotImplementedError

    def read(self, path: str, limit: int = 1 << 20, offset: int = 0) -> bytes:
        raise NotImplementedError

    def names(self, directory: str) -> tuple[str, ...]:
        raise NotImplementedError

    def search(
        self, path: str, pattern: re.Pattern[bytes], offset: int, size: int, literal: bytes = b""
    ) -> bytes | None:
        end = offset + min(size, MAX_SEARCHED)
        length, longest = PIECES
        while offset < end:
            piece = self.read(path, min(length, end - offset), offset)
            length = min(2 * length, longest)
            if literal in piece and (found := pattern.search(piece)):
                return found[1]
            if not piece:
                break
            # A match may lie across two pieces.
            offset += max(len(piece) - MAX_MATCH, 1) if offset + len(piece) < end else len(piece)
        return None

    def resolve(self, path: str) -> str | None:
        try:
            return self.follow(path)
        except OSError:
            return None

    def exists(self, path: str) -> bool:
        """Whether a name is there; a dangling link counts, as it does for ``glob``."""
        try:
            self.status(path, follow=False)
        except OSError:
            return False
        return True

    def link(self, path: str) -> str:
        return self.target(self.follow(path, last=False), path)

    def attributes(self, path: str) -> tuple[str, ...]:
        return ()

    def glob(self, pattern: str) -> tuple[str, ...]:
        return glob_by_names(self, pattern)

    def open_error(self, path: str) -> str:
        return "?"

    def kernel_log(self) -> str:
        raise NotLive("these are only files: no kernel runs there")

    def follow(self, path: str, *, last: bool = True) -> str:
        """Resolve as chroot(2) would: ``..`` stops at the root, absolute links start at it."""
        todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        done: list[str] = []
        links = 0
        while todo:
            part = todo.pop()
            if part == "..":
                del done[-1:]
                continue
            here = "/".join(["", *done, part])
            mode = self.mode(here, path)
            if stat.S_ISLNK(mode) and (last or todo):
                links += 1
                if links > MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                target = self.target(here, path)
                if target.startswith("/"):
                    done = []
                todo += [step for step in reversed(target.split("/")) if step not in ("", ".")]
                continue
            if todo and not stat.S_ISDIR(mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            done.append(part)
        return "/" + "/".join(done)


class Rootfs(Tree):
    """The files below a directory, as a program with that root directory would see them. Executes nothing."""

    def __init__(self, root: str, env: Mapping[str, str] | None = None) -> None:
        """``root``: an existing directory. ``env``: the environment that programs there would get.

        Raises ``NotADirectoryError`` or ``FileNotFoundError``.
        """
        super().__init__(env)
        self.root = os.path.realpath(root, strict=True)
        if not os.path.isdir(self.root):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), root)

    def mode(self, path: str, shown: str) -> int:
        return os.lstat(self._outside(path, shown)).st_mode

    def target(self, path: str, shown: str) -> str:
        return os.readlink(self._outside(path, shown))

    def status(self, path: str, *, follow: bool = True) -> Status:
        return status_of(os.lstat(self._outside(self.follow(path, last=follow), path)))

    def read(self, path: str, limit: int = 1 << 20, offset: int = 0) -> bytes:
        return read_regular(self._outside(self.follow(path), path), path, limit, offset)

    def names(self, directory: str) -> tuple[str, ...]:
        return tuple(sorted(os.listdir(self._outside(self.follow(directory), directory))))

    def attributes(self, path: str) -> tuple[str, ...]:
        try:
            return tuple(sorted(os.listxattr(self._outside(self.follow(path), path))))
        except OSError:
            return ()

    def start(self, *argv: str, timeout: float) -> Running:
        raise NotLive(f"{argv[0]} was not run: {self.root} is only files")

    def _outside(self, inside: str, shown: str) -> str:
        if "\0" in inside:
            raise OSError(errno.EINVAL, "a path with a null byte", shown)
        return self.root + inside
