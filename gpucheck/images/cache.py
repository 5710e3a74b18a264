"""Indexes of layers on disk, by the digest of their content: an image on a known base is read from where they differ."""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
import zlib
from collections.abc import Callable, Mapping
from typing import BinaryIO, Final

from gpucheck.images.index import Damaged, Index

#: The least recently used are removed when all together are larger.
MAX_SIZE: Final = 1 << 30


class Cache:
    """A folder of indexes, or none: then they are temporary files without a name."""

    def __init__(self, folder: str | None) -> None:
        self.folder = folder
        if folder is not None:
            try:
                os.makedirs(folder, mode=0o700, exist_ok=True)
            except OSError:
                self.folder = None

    def find(self, diff_id: str) -> Index | None:
        """The index of a layer; one that is damaged or of another version is as good as none."""
        if self.folder is None or not diff_id:
            return None
        path = self._path(diff_id)
        try:
            file = open(path, "rb")
        except OSError:
            return None
        try:
            index = Index(file)
        except (
            Damaged,
            OSError,
            ValueError,
            KeyError,
            TypeError,
            IndexError,
            RecursionError,
            zlib.error,
            struct.error,
            EOFError,
        ):
            file.close()
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return index

    def make(self, write: Callable[[BinaryIO], str]) -> tuple[str, Index]:
        """Let a layer be indexed into a file; ``write`` returns the digest of its content, by which it is remembered."""
        try:
            file = tempfile.NamedTemporaryFile(dir=self.folder, prefix=".", delete=False) if self.folder else None
        except OSError:
            file = None
        if file is None:
            unnamed = tempfile.TemporaryFile()
            try:
                return write(unnamed), Index(unnamed)
            except BaseException:
                unnamed.close()
                raise
        try:
            diff_id = write(file)  # type: ignore[arg-type]
            os.replace(file.name, self._path(diff_id))
        except BaseException:
            file.close()
            with contextlib.suppress(OSError):
                os.unlink(file.name)
            raise
        self._prune()
        return diff_id, Index(file)  # type: ignore[arg-type]

    def _path(self, diff_id: str) -> str:
        assert self.folder is not None
        return os.path.join(self.folder, diff_id.replace(":", "-"))

    def _prune(self) -> None:
        assert self.folder is not None
        with contextlib.suppress(OSError):
            known = [(entry.stat().st_mtime, entry.stat().st_size, entry.path) for entry in os.scandir(self.folder)]
            total = sum(size for _, size, _ in known)
            for _, size, path in sorted(known):
                if total <= MAX_SIZE:
                    break
                os.unlink(path)
                total -= size


def default_folder(env: Mapping[str, str]) -> str | None:
    """``$XDG_CACHE_HOME/gpucheck/layers``; None where no home is known: the XDG base directory specification."""
    top = env.get("XDG_CACHE_HOME", "")
    if not top.startswith("/"):
        home = env.get("HOME", "")
        if not home.startswith("/"):
            return None
        top = f"{home}/.cache"
    return f"{top}/gpucheck/layers"
