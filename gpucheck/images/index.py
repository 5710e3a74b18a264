"""What is remembered of a layer: the names and kinds of its files, and the parts of them that are kept. One file holds it.

The file is in the cache, or a temporary one without a name. Layout: a line that names the format, then the kept parts, those of a
file one after the other in compressed runs, then the index (JSON and columns, compressed), then where the index is and a checksum.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from array import array
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Final

from gpucheck import __version__
from gpucheck.images.tar import Entry
from gpucheck.record import dataclass

#: Counts up when the layout or what is kept changes.
FORMAT: Final = 5
MAGIC: Final = f"gpucheck layer {FORMAT} {__version__}\n".encode()
_END: Final = struct.Struct("<QII")
_PIECE: Final = 1 << 20
#: Bytes that are compressed as one run: of a file with megabytes of symbols, its header alone is often read.
RUN: Final = 1 << 16


class Damaged(Exception):
    """Not an index of this version, cut off or changed."""


@dataclass(frozen=True, slots=True)
class Content:
    """What is kept of a file."""

    ranges: tuple[tuple[int, int], ...]
    """(offset, length) in the file, in order; their bytes are one after the other in the runs."""
    place: int
    stored: tuple[int, ...]
    """Where the first compressed run is, and how long each is; all but the last are of ``RUN`` bytes."""
    searched: bool
    hits: tuple[tuple[int, str], ...]
    """Where words were found that it was searched for, and what follows there (latin-1)."""
    codes: tuple[Any, ...]
    """What the scanner of GPU code says of it, as JSON."""


class Row:
    """A name in a layer."""

    __slots__ = ("attributes", "content", "link", "path", "size")

    def __init__(self, path: str, attributes: Attributes, size: int, link: str, content: Content | None) -> None:
        self.path = path
        self.attributes = attributes
        self.size = size
        self.link = link
        self.content = content


#: (kind, mode, uid, gid, device, names of extended attributes); few are different in an image.
Attributes = tuple[str, int, int, int, "tuple[int, int] | None", tuple[str, ...]]


class Writer:
    """Takes the files of a layer in their order."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._place = file.write(MAGIC)
        self._sum = zlib.crc32(MAGIC)
        self._paths = bytearray()
        self._links = bytearray()
        self._kinds: dict[Attributes, int] = {}
        self._attributes = array("I")
        self._sizes = array("Q")
        self._contents: dict[int, list[Any]] = {}
        self.whiteouts: list[str] = []
        self.opaque: list[str] = []
        self.unpacked = 0

    @property
    def names(self) -> int:
        """How many there are."""
        return len(self._sizes)

    @property
    def text(self) -> int:
        """Bytes of paths and links."""
        return len(self._paths) + len(self._links)

    @property
    def kept(self) -> int:
        """Bytes of kept parts, compressed."""
        return self._place

    def add(self, path: str, entry: Entry) -> None:
        """A file under its cleaned path."""
        key = (entry.kind, entry.mode, entry.uid, entry.gid, entry.device, entry.attributes)
        self._attributes.append(self._kinds.setdefault(key, len(self._kinds)))
        self._sizes.append(entry.size)
        self._paths += path.encode("utf-8", "surrogateescape") + b"\0"
        if entry.kind in ("link", "hard link"):
            self._links += entry.link.encode("utf-8", "surrogateescape") + b"\0"
        self.unpacked += entry.size

    def keep(
        self, parts: list[tuple[int, bytes]], searched: bool, hits: list[tuple[int, bytes]], codes: tuple[Any, ...]
    ) -> None:
        """What is kept of the file that was added last."""
        data = b"".join(part for _, part in parts)
        runs = [zlib.compress(data[at : at + RUN], 1) for at in range(0, len(data), RUN)]
        ranges = [number for start, part in parts for number in (start, len(part))]
        self._contents[self.names - 1] = [
            ranges,
            self._place,
            [len(run) for run in runs],
            int(searched),
            [[at, text.decode("latin-1")] for at, text in hits],
            codes,
        ]
        for run in runs:
            self._write(run)

    def finish(self) -> None:
        """Write the index; the file is complete then."""
        head = json.dumps(
            {
                "kinds": [[*key[:4], list(key[4]) if key[4] else None, list(key[5])] for key in self._kinds],
                "contents": self._contents,
                "whiteouts": self.whiteouts,
                "opaque": self.opaque,
                "unpacked": self.unpacked,
                "sizes": [len(self._paths), len(self._links), self.names],
            }
        ).encode()
        start = self._place
        deflate = zlib.compressobj(1)
        for column in (struct.pack("<I", len(head)), head, self._paths, self._links, self._attributes, self._sizes):
            view = memoryview(column).cast("B")
            for at in range(0, len(view), _PIECE):
                self._write(deflate.compress(view[at : at + _PIECE]))
        self._write(deflate.flush())
        end = _END.pack(start, self._place - start, self._sum)
        self._file.write(end)
        self._file.flush()

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._sum = zlib.crc32(data, self._sum)
        self._place += len(data)


class Index:
    """A finished layer, read from its file. Raises ``Damaged``."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        fd = file.fileno()
        size = os.fstat(fd).st_size
        if size < len(MAGIC) + _END.size or os.pread(fd, len(MAGIC), 0) != MAGIC:
            raise Damaged
        start, length, checksum = _END.unpack(os.pread(fd, _END.size, size - _END.size))
        total = at = 0
        while at < size - _END.size:
            piece = os.pread(fd, min(_PIECE, size - _END.size - at), at)
            if not piece:
                raise Damaged
            total = zlib.crc32(piece, total)
            at += len(piece)
        if total != checksum or start + length != size - _END.size:
            raise Damaged
        data = zlib.decompress(os.pread(fd, length, start))
        (head,) = struct.unpack_from("<I", data)
        said = json.loads(data[4 : 4 + head])
        paths, links, count = said["sizes"]
        at = 4 + head
        self._paths = data[at : at + paths]
        self._links = data[at + paths : at + paths + links]
        at += paths + links
        self._attributes, self._sizes = array("I"), array("Q")
        self._attributes.frombytes(data[at : at + 4 * count])
        self._sizes.frombytes(data[at + 4 * count :])
        self._kinds: list[Attributes] = [
            (kind, mode, uid, gid, (device[0], device[1]) if device else None, tuple(names))
            for kind, mode, uid, gid, device, names in said["kinds"]
        ]
        self._contents: Mapping[str, list[Any]] = said["contents"]
        self.whiteouts: list[str] = said["whiteouts"]
        self.opaque: list[str] = said["opaque"]
        self.unpacked: int = said["unpacked"]
        self.names: int = count

    def rows(self) -> Iterator[Row]:
        """The names in the order of the archive."""
        at = link_at = 0
        paths, links, kinds = self._paths, self._links, self._kinds
        contents = {int(number): _content(each) for number, each in self._contents.items()}
        for number, (kind, size) in enumerate(zip(self._attributes, self._sizes)):
            end = paths.index(b"\0", at)
            path = paths[at:end].decode("utf-8", "surrogateescape")
            at = end + 1
            attributes = kinds[kind]
            link = ""
            if attributes[0] in ("link", "hard link"):
                end = links.index(b"\0", link_at)
                link = links[link_at:end].decode("utf-8", "surrogateescape")
                link_at = end + 1
            yield Row(path, attributes, size, link, contents.get(number))

    def forget(self) -> None:
        """Let the names go, once they were taken over; the kept parts stay readable."""
        self._paths = self._links = b""
        self._attributes, self._sizes = array("I"), array("Q")
        self._contents = {}

    def run(self, content: Content, number: int) -> bytes:
        """One of the runs of a file's kept bytes. Raises ``OSError``."""
        place = content.place + sum(content.stored[:number])
        return zlib.decompress(os.pread(self._file.fileno(), content.stored[number], place))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _content(values: list[Any]) -> Content:
    numbers, place, stored, searched, hits, codes = values
    return Content(
        tuple(zip(numbers[::2], numbers[1::2])),
        place,
        tuple(stored),
        bool(searched),
        tuple((at, text) for at, text in hits),
        tuple(codes),
    )
