"""Files of a wheel on the index, read without fetching the wheel: by HTTP ranges."""

from __future__ import annotations

import io
import re
import tempfile
import urllib.request
import zipfile
from functools import cache
from pathlib import Path
from typing import cast

from ci.knowledge.index import NotThere
from gpucheck.elf.reader import ElfError, read_elf
from gpucheck.system import Rootfs

#: Libraries above this size are not unpacked to read their SONAME: the file's name says it.
MAX_READ = 96 << 20


class Remote(io.RawIOBase):
    """A file behind a URL, read by ranges."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.position = 0
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD")) as answer:
            self.size = int(answer.headers["Content-Length"])

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = 0) -> int:
        self.position = offset + (0, self.position, self.size)[whence]
        return self.position

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        wanted = min(len(buffer), self.size - self.position)
        if wanted <= 0:
            return 0
        span = f"bytes={self.position}-{self.position + wanted - 1}"
        with urllib.request.urlopen(urllib.request.Request(self.url, headers={"Range": span})) as answer:
            if answer.status != 206:
                raise NotThere(f"{self.url}: the server gives no ranges")
            data = answer.read()
        buffer[: len(data)] = data
        self.position += len(data)
        return len(data)


@cache
def archive(url: str) -> zipfile.ZipFile:
    """A wheel, of which only the directory is read at first."""
    return zipfile.ZipFile(io.BufferedReader(cast("io.RawIOBase", Remote(url)), 1 << 20))


def read(url: str, path: str) -> bytes:
    """A file in a wheel. Raises ``NotThere``."""
    try:
        return archive(url).read(path)
    except KeyError:
        raise NotThere(f"{url.rsplit('/', 1)[-1]}: no {path}") from None


def libraries(url: str) -> dict[str, tuple[str, str]]:
    """Shared libraries by the name in their SONAME: the folder, and ``read`` or ``name`` by where the SONAME is from."""
    found = {}
    for entry in archive(url).infolist():
        folder, _, name = entry.filename.rpartition("/")
        if not re.search(r"\.so(\.|$)", name):
            continue
        soname = soname_in(archive(url).read(entry)) if entry.file_size <= MAX_READ else ""
        found[soname or name] = (folder, "read" if soname else "name")
    return found


def soname_in(content: bytes) -> str:
    """DT_SONAME; '' for a file without one or that is no ELF file."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "library").write_bytes(content)
        try:
            return read_elf(Rootfs(folder), "/library").soname or ""
        except ElfError:
            return ""
