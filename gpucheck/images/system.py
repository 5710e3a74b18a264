"""The files of an image as a ``System``: names of all of them, and the content of those that matter."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Mapping, Sequence
from typing import Final

from gpucheck.images.capture import not_kept
from gpucheck.images.index import RUN, Content, Index
from gpucheck.images.union import Union
from gpucheck.system.files import Tree
from gpucheck.system.protocol import NotLive, Running, Status

_TYPES: Final = {
    "file": stat.S_IFREG,
    "directory": stat.S_IFDIR,
    "link": stat.S_IFLNK,
    "char": stat.S_IFCHR,
    "block": stat.S_IFBLK,
    "fifo": stat.S_IFIFO,
}
#: Kept runs that stay decompressed: 32 MB.
MAX_RUNS: Final = (32 << 20) // RUN


class ImageSystem(Tree):
    """What a program would see that runs in the image, with nothing mounted. Executes nothing."""

    def __init__(self, union: Union, layers: Sequence[Index], env: Mapping[str, str], name: str) -> None:
        super().__init__(env)
        self._union = union
        self._layers = layers
        self._name = name
        self._folders: dict[str, int] = {"": union.root}
        self._runs: dict[tuple[int, int], bytes] = {}

    def mode(self, path: str, shown: str) -> int:
        kind, mode = self._union.attributes(self._number(path, shown))[:2]
        return _TYPES[kind] | mode

    def target(self, path: str, shown: str) -> str:
        number = self._number(path, shown)
        if number not in self._union.links:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), shown)
        return self._union.links[number]

    def status(self, path: str, *, follow: bool = True) -> Status:
        number = self._number(self.follow(path, last=follow), path)
        kind, mode, uid, gid, device, _ = self._union.attributes(number)
        size = len(os.fsencode(self._union.links[number])) if kind == "link" else self._union.size(number)
        return Status(kind, mode, uid, gid, size, (0, number), device)

    def read(self, path: str, limit: int = 1 << 20, offset: int = 0) -> bytes:
        number = self._file(path)
        end = min(offset + limit, self._union.size(number))
        if offset >= end:
            return b""
        content = self._union.contents.get(number)
        at = 0
        for start, length in content.ranges if content else ():
            if start <= offset and end <= start + length:
                return self._kept(number, at + offset - start, at + end - start)
            at += length
        raise not_kept(path)

    def search(
        self, path: str, pattern: re.Pattern[bytes], offset: int, size: int, literal: bytes = b""
    ) -> bytes | None:
        content = self._union.contents.get(self._file(path))
        if content is None or not content.searched:
            return super().search(path, pattern, offset, size, literal)
        for start, text in content.hits:
            found = pattern.search(text.encode("latin-1"))
            if found and offset <= start + found.start() and start + found.end() <= offset + size:
                return found[1]
        return None

    def attributes(self, path: str) -> tuple[str, ...]:
        try:
            return self._union.attributes(self._number(self.follow(path), path))[5]
        except OSError:
            return ()

    def names(self, directory: str) -> tuple[str, ...]:
        number = self._number(self.follow(directory), directory)
        if number not in self._union.folders:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), directory)
        return tuple(sorted(self._union.folders[number]))

    def start(self, *argv: str, timeout: float) -> Running:
        raise NotLive(f"{argv[0]} was not run: {self._name} is an image")

    def content(self, path: str) -> Content | None:
        """What is kept of a file, and what was seen in it when it streamed by. Raises ``OSError``."""
        return self._union.contents.get(self._file(path))

    def layer_of(self, path: str) -> int:
        """The layer that a file or folder is from, counted from 0, the lowest; links are followed. Raises ``OSError``."""
        return self._union.layer(self._number(self.follow(path), path))

    def _file(self, path: str) -> int:
        number = self._number(self.follow(path), path)
        kind = self._union.attributes(number)[0]
        if kind == "directory":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if kind != "file":
            raise OSError(errno.EINVAL, "not a regular file", path)
        return number

    def _number(self, path: str, shown: str) -> int:
        above, _, name = path.rpartition("/")
        if not name:
            return self._union.root
        folder = self._folders.get(above)
        if folder is None:
            folder = self._folders[above] = self._number(above, shown)
        number = self._union.folders.get(folder, {}).get(name)
        if number is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), shown)
        return number

    def _kept(self, number: int, start: int, end: int) -> bytes:
        """Of the kept parts of a file, one after the other, the bytes from ``start`` to ``end``."""
        first = start // RUN
        kept = b"".join([self._run(number, run) for run in range(first, -(-end // RUN))])
        return kept[start - first * RUN : end - first * RUN]

    def _run(self, number: int, which: int) -> bytes:
        run = self._runs.get((number, which))
        if run is None:
            run = self._layers[self._union.layer(number)].run(self._union.contents[number], which)
            if len(self._runs) >= MAX_RUNS:
                del self._runs[next(iter(self._runs))]
            self._runs[number, which] = run
        return run
