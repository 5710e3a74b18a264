"""Reading a tar archive from a stream, as Docker and containerd do (Go's archive/tar), without trusting it.

Layers are read by this and not by ``tarfile``, because every byte of a layer passes here: data goes out in the pieces that
came in, and what extended headers may claim is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

BLOCK: Final = 512
#: As in Go's archive/tar: extended headers of more are refused.
MAX_SPECIAL: Final = 1 << 20
MAX_SIZE: Final = (1 << 63) - 1
_ZEROS: Final = bytes(BLOCK)

KINDS: Final = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",
    b"S": "file",
    b"1": "hard link",
    b"2": "link",
    b"3": "char",
    b"4": "block",
    b"5": "directory",
    b"6": "fifo",
}


class TarError(Exception):
    """Not a tar archive, cut off, or one that contradicts itself."""


class Entry:
    """A member."""

    __slots__ = ("attributes", "device", "gid", "kind", "link", "mode", "name", "size", "sparse", "stored", "uid")

    def __init__(
        self, name: str, kind: str, mode: int, uid: int, gid: int, size: int, link: str, device: tuple[int, int] | None
    ) -> None:
        self.name = name
        self.kind = kind
        """``file``, ``directory``, ``link``, ``hard link``, ``char``, ``block`` or ``fifo``."""
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.size = size
        """Of the file; that of a sparse one with its holes."""
        self.stored = size
        """Bytes in the archive."""
        self.link = link
        self.device = device
        self.sparse = False
        self.attributes: tuple[str, ...] = ()
        """Names of extended attributes, sorted."""


class Pieces:
    """Exact reads from an iterator of byte strings. ``seek``: goes to a position of the file that they are from."""

    __slots__ = ("_at", "_piece", "_pieces", "_seek", "position")

    def __init__(self, pieces: Iterable[bytes], seek: Callable[[int], object] | None = None) -> None:
        self._seek = seek
        self._pieces = iter(pieces)
        self._piece = b""
        self._at = 0
        self.position = 0

    def take(self, size: int) -> bytes:
        """Exactly ``size`` bytes, fewer only at the end of the stream."""
        end = self._at + size
        if end <= len(self._piece):
            found = self._piece[self._at : end]
            self._at = end
            self.position += size
            return found
        return b"".join(self.pieces(size))

    def pieces(self, size: int) -> Iterator[bytes]:
        """``size`` bytes in the pieces that they come in, fewer only at the end of the stream."""
        while size > 0:
            if self._at >= len(self._piece) and not self._fill():
                return
            # Of a whole piece this is no copy.
            part = self._piece[self._at : self._at + size]
            self._at += len(part)
            self.position += len(part)
            size -= len(part)
            yield part

    def skip(self, size: int) -> int:
        """Pass over bytes; how many there were, as far as that can be told."""
        there = len(self._piece) - self._at
        if self._seek is not None and size > there:
            self._seek(self.position + size)
            self._piece, self._at = b"", 0
            self.position += size
            return size
        left = size
        while left > 0:
            if self._at >= len(self._piece) and not self._fill():
                break
            passed = min(left, len(self._piece) - self._at)
            self._at += passed
            left -= passed
        self.position += size - left
        return size - left

    def _fill(self) -> bool:
        """Take the next piece; False at the end."""
        piece = next(self._pieces, None)
        if piece is None:
            return False
        self._piece, self._at = piece, 0
        return True

    def drain(self) -> None:
        """Read to the end: what follows the archive counts for a digest."""
        while self.skip(1 << 30):
            pass


class Archive:
    """The members of an archive, in order. The data of each is read before the next, or passed over."""

    def __init__(self, pieces: Iterable[bytes], seek: Callable[[int], object] | None = None) -> None:
        self.stream = Pieces(pieces, seek)
        self._left = 0
        self._padding = 0

    def __iter__(self) -> Iterator[Entry]:
        while (entry := self._next()) is not None:
            yield entry

    def data(self) -> Iterator[bytes]:
        """The stored bytes of the member that was given last. Raises ``TarError`` when they are cut off."""
        for part in self.stream.pieces(self._left):
            self._left -= len(part)
            yield part
        if self._left:
            raise TarError("truncated: ends within a file")

    def _next(self) -> Entry | None:
        extended: dict[str, str] = {}
        names: dict[bytes, str] = {}
        while True:
            if self._left and self.stream.skip(self._left) != self._left:
                raise TarError("truncated: ends within a file")
            self.stream.skip(self._padding)
            self._left = self._padding = 0
            header = self.stream.take(BLOCK)
            # An archive that ends without its two blocks of zeros is read as Go reads it.
            if not header:
                return None
            if len(header) < BLOCK:
                raise TarError("truncated: ends within a header")
            if header == _ZEROS:
                return None
            kind = header[156:157]
            entry = _parse(header, kind)
            if kind in b"xgLK":
                text = self._special(entry.stored)
                if kind == b"x":
                    extended.update(_records(text))
                elif kind != b"g":
                    names[kind] = _text(text)
                continue
            if b"L" in names:
                entry.name = names[b"L"]
            if b"K" in names:
                entry.link = names[b"K"]
            if kind == b"S":
                # The old GNU format: the real size, and whether more blocks of the map follow this one.
                entry.size, entry.sparse = _number(header[483:495], "a real size"), True
                following = header[482]
                while following:
                    more = self.stream.take(BLOCK)
                    if len(more) < BLOCK:
                        raise TarError("truncated: ends within a header")
                    following = more[504]
            if extended:
                _extend(entry, extended)
            if entry.kind == "file" and entry.name.endswith("/"):
                # In the oldest format a folder is a file whose name ends so.
                entry.kind = "directory"
            if entry.kind != "file":
                entry.size = entry.stored = 0
            self._left, self._padding = entry.stored, -entry.stored % BLOCK
            return entry

    def _special(self, size: int) -> bytes:
        if size > MAX_SPECIAL:
            raise TarError(f"an extended header of {size} bytes")
        text = self.stream.take(size)
        if len(text) < size:
            raise TarError("truncated: ends within an extended header")
        self.stream.skip(-size % BLOCK)
        return text


def _parse(header: bytes, kind: bytes) -> Entry:
    said = _number(header[148:156], "a checksum")
    # The sum is taken with blanks in the field itself; some old programs added signed bytes.
    total = sum(header) - sum(header[148:156]) + 8 * 32
    if said != total and said != total - 256 * sum(byte > 127 for byte in header[:148] + header[156:]):
        raise TarError("a header whose checksum is wrong")
    name = _text(header[:100])
    if header[257:263] == b"ustar\0" and header[345]:
        name = f"{_text(header[345:500])}/{name}"
    device = None
    if kind in b"34":
        device = (_number(header[329:337], "a device number"), _number(header[337:345], "a device number"))
    if kind not in KINDS and kind not in b"xgLK":
        raise TarError(f"an entry of the unknown type {kind.decode('latin-1')!r}")
    return Entry(
        name,
        KINDS.get(kind, ""),
        _number(header[100:108], "a mode") & 0o7777,
        _number(header[108:116], "an owner"),
        _number(header[116:124], "a group"),
        _number(header[124:136], "a size"),
        _text(header[157:257]) if kind in b"12" else "",
        device,
    )


def _number(field: bytes, what: str) -> int:
    """Octal, or with the first bit set a big-endian number (GNU)."""
    if field[0] & 0x80:
        if field[0] & 0x40:
            raise TarError(f"{what} below zero")
        value = int.from_bytes(bytes((field[0] & 0x7F,)) + field[1:], "big")
    else:
        digits = field.strip(b" \0")
        if not digits:
            return 0
        # What follows the first NUL is no part of the number.
        digits = digits.partition(b"\0")[0].strip(b" ")
        try:
            value = int(digits, 8)
        except ValueError:
            raise TarError(f"{what} that is no number: {digits!r}") from None
        if value < 0:
            raise TarError(f"{what} below zero")
    if value > MAX_SIZE:
        raise TarError(f"{what} of {value}")
    return value


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _records(text: bytes) -> Iterator[tuple[str, str]]:
    """``LENGTH KEY=VALUE\\n`` each: pax, the POSIX pax(1) page, "pax Extended Header"."""
    at = 0
    while at < len(text):
        blank = text.find(b" ", at, at + 20)
        digits = text[at:blank] if blank > at else b""
        if not digits.isdigit():
            if not text[at:].strip(b"\0"):
                return
            raise TarError("an extended header that is not as it should be")
        end = at + int(digits)
        record = text[blank + 1 : end]
        key, equals, value = record[:-1].partition(b"=")
        if end > len(text) or end <= blank or not record.endswith(b"\n") or not equals:
            raise TarError("an extended header that is not as it should be")
        yield key.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape")
        at = end


def _extend(entry: Entry, extended: Mapping[str, str]) -> None:
    """Let the extended header overrule: what names, sizes and owners do not fit in, and GNU's sparse files."""
    # An empty value takes the record back.
    values = {key: value for key, value in extended.items() if value}
    for key in ("path", "linkpath", "GNU.sparse.name"):
        if "\0" in values.get(key, ""):
            raise TarError(f"a null byte in {key}")
    entry.name = values.get("GNU.sparse.name") or values.get("path", entry.name)
    entry.link = values.get("linkpath", entry.link)
    entry.uid = _decimal(values, "uid", entry.uid)
    entry.gid = _decimal(values, "gid", entry.gid)
    # How star and with it Docker, containerd and GNU tar write them.
    entry.attributes = tuple(sorted(key[13:] for key in extended if key.startswith("SCHILY.xattr.")))
    entry.stored = entry.size = _decimal(values, "size", entry.stored)
    if any(key.startswith("GNU.sparse.") for key in values):
        entry.sparse = True
        entry.size = _decimal(values, "GNU.sparse.realsize", _decimal(values, "GNU.sparse.size", entry.size))


def _decimal(values: Mapping[str, str], key: str, default: int) -> int:
    if key not in values:
        return default
    text = values[key]
    if not (text.isascii() and text.isdigit() and len(text) < 20) or int(text) > MAX_SIZE:
        raise TarError(f"an extended header with {key} {text[:40]!r}")
    return int(text)
