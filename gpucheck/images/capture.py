"""Of an ELF file that streams by, the parts that the reader asks for later.

Where they are is known only when the file's header, its dynamic section and its section headers were read, and those come
early, late and last. So the file is held until it ended, a large one without its middle, and then it is read once by the
functions that will read it later: what they ask for is what is kept.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
from collections.abc import Callable, Iterable
from typing import Final

from gpucheck.elf.fatbin import passed_over
from gpucheck.elf.reader import (
    BLOCK,
    MAX_DYNAMIC,
    PT_DYNAMIC,
    Elf,
    ElfError,
    Window,
    parse_header,
    read_elf,
    read_segments,
)
from gpucheck.elf.sections import read_note, read_sections
from gpucheck.elf.symbols import read_tables, read_versions
from gpucheck.system.files import MAX_MATCH
from gpucheck.system.protocol import NotKept

#: Smaller files are kept whole: there is little in them beside the tables.
SMALL: Final = 1 << 16
#: Of a larger file than both together, the middle is let go, but for the dynamic section. Linkers write the dynamic symbols
#: first (libtensorflow_cc of 2.21 has 103 MB of them); patchelf and auditwheel move them to the end; section headers and their names
#: follow the symbols for debugging.
START: Final = 112 << 20
END: Final = 40 << 20
#: Matches of the words that a file is searched for.
MAX_HITS: Final = 256
SHT_NOTE: Final = 7
SHT_HASHES: Final = (5, 0x6FFFFFF6)

Range = tuple[int, int]


def not_kept(path: str) -> NotKept:
    """The error for bytes that are not there any more."""
    return NotKept(errno.ENODATA, "this part of the file was not kept when its layer was read", path)


class Part:
    """A part of a file in the room."""

    __slots__ = ("end", "place", "start", "upto")

    def __init__(self, start: int, end: int, place: int) -> None:
        self.start = start
        self.end = end
        self.place = place
        """Where in the room it begins."""
        self.upto = start
        """The end of what is there by now."""


class Held:
    """Parts of a file, which answers as a ``Readable`` and remembers what was asked for."""

    def __init__(self, size: int, room: mmap.mmap) -> None:
        self.size = size
        self.parts: list[Part] = []
        self.asked: list[Range] = []
        self._room = room

    def read(self, path: str, limit: int = 1 << 20, offset: int = 0) -> bytes:
        end = min(offset + limit, self.size)
        if offset >= end:
            return b""
        for part in self.parts:
            if part.start <= offset and end <= part.upto:
                self.asked.append((offset, end))
                return self.slice(part, offset, end)
        raise not_kept(path)

    def add(self, before: int, piece: bytes) -> None:
        """Take in what the parts have of the bytes from ``before`` on."""
        after = before + len(piece)
        for part in self.parts:
            start, end = max(part.start, before), min(part.end, after)
            if start < end:
                place = part.place + start - part.start
                self._room[place : place + end - start] = piece[start - before : end - before]
                part.upto = end

    def slice(self, part: Part, start: int, end: int) -> bytes:
        """Bytes that a part has."""
        place = part.place - part.start
        return self._room[place + start : place + end]


def make_room() -> mmap.mmap:
    """Memory for what is held of a file; used again for each, because new memory costs more than to fill it."""
    return mmap.mmap(-1, START + END + MAX_DYNAMIC + 2 * BLOCK, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


class Capture:
    """Takes a file in pieces. ``room``: from ``make_room``, of one file at a time."""

    def __init__(self, size: int, room: mmap.mmap, words: tuple[bytes, ...] = ()) -> None:
        self.size = size
        self.hits: list[tuple[int, bytes]] = []
        self._held = Held(size, room)
        self._words = words
        self._next = dict.fromkeys(words, 0)
        """From where on each is looked for."""
        self._at = 0
        self._tail = b""
        self._whole = size <= START + END
        if self._whole:
            self._held.parts.append(Part(0, size, 0))
        else:
            self._held.parts += (Part(0, START, 0), Part(size - END, size, START))

    def feed(self, piece: bytes) -> None:
        """The next bytes."""
        if self._words:
            self._search(piece)
        before, self._at = self._at, self._at + len(piece)
        if before < START <= self._at and not self._whole:
            self._held.add(before, piece[: START - before])
            self._want()
            before, piece = START, piece[START - before :]
        self._held.add(before, piece)

    def _want(self) -> None:
        """Look ahead for the dynamic section of a large file; it is read by whole blocks."""
        try:
            window = Window(self._held, "")
            segments = read_segments(window, parse_header(window))
        except (ElfError, OSError):
            return
        for kind, offset, _, size in segments:
            if kind == PT_DYNAMIC and size <= MAX_DYNAMIC:
                start = offset // BLOCK * BLOCK
                end = min(-(-(offset + size) // BLOCK) * BLOCK, self.size)
                if start >= START and end > start:
                    self._held.parts.append(Part(start, end, START + END))
                return

    def _search(self, piece: bytes) -> None:
        """Look for the words with a digit behind; a NUL before one belongs to it."""
        # A word or what follows it may lie across two pieces.
        text = self._tail + piece
        base = self._at - len(self._tail)
        last = len(text) if self._at + len(piece) == self.size else len(text) - MAX_MATCH
        for word in self._words:
            at = max(self._next[word] - base, 0)
            while 0 <= (found := text.find(word, at)) <= last and len(self.hits) < MAX_HITS:
                behind = found + len(word)
                if not text[behind : behind + 1].isdigit():
                    at = found + 1
                    continue
                start = found - 1 if found > at and not text[found - 1] else found
                if start >= last:
                    break
                at = start + MAX_MATCH
                self.hits.append((base + start, text[start:at]))
            self._next[word] = base + at
        # One byte more: the NUL before a word.
        self._tail = text[max(last - 1, 0) :]

    def finish(self, path: str, keep: int) -> list[tuple[int, bytes]]:
        """The parts to keep, in order; ``keep``: so many bytes from the start in any case."""
        held = self._held
        if self.size <= max(SMALL, keep):
            return [(0, held.slice(held.parts[0], 0, held.parts[0].upto))]
        held.asked.append((0, min(BLOCK, held.parts[0].upto)))
        try:
            elf = read_elf(held, path)
        except (ElfError, OSError):
            pass
        else:
            _attempt(lambda: read_versions(held, elf))
            _attempt(lambda: read_tables(held, elf))
            _attempt(lambda: self._sections(path, elf))
        if path.endswith(".ko"):
            # A signature is the end of a module: the kernel's Documentation/admin-guide/module-signing.rst.
            _attempt(lambda: held.read(path, BLOCK, max(self.size - 64, 0)))
        wanted = merge(block for start, end in held.asked for block in self._blocks(start, end))
        return [(start, b"".join(self._slice(start, end))) for start, end in wanted]

    def _sections(self, path: str, elf: Elf) -> None:
        """Notes, hash tables of symbols, and what a kernel module says of itself."""
        for section in read_sections(self._held, elf):
            with contextlib.suppress(ElfError, OSError):
                if section.kind == SHT_NOTE:
                    read_note(self._held, elf, section)
                elif section.kind in SHT_HASHES or section.name == ".modinfo":
                    self._held.read(path, section.size, section.offset)

    def _blocks(self, start: int, end: int) -> tuple[Range, Range]:
        """A range, and as far as they are held the whole blocks that it begins and ends in: they are what is read later."""
        wide = (start // BLOCK * BLOCK, min(-(-end // BLOCK) * BLOCK, self.size))
        for part in self._held.parts:
            first, last = max(wide[0], part.start), min(wide[1], part.upto)
            if first <= start and end <= last:
                return (start, end), (first, last)
        return (start, end), (start, end)

    def unlinked(self, path: str) -> tuple[Range, ...]:
        """(offset, size) of the GPU code that does not count."""
        try:
            return passed_over(self._held, read_elf(self._held, path))
        except (ElfError, OSError):
            return ()

    def _slice(self, start: int, end: int) -> Iterable[bytes]:
        # What was asked for lies in one part each; merged, it may go on in the next.
        for part in sorted(self._held.parts, key=lambda part: part.start):
            upto = min(end, part.upto)
            if part.start <= start < upto:
                yield self._held.slice(part, start, upto)
                start = upto


def _attempt(read: Callable[[], object]) -> None:
    # What is broken or not held cannot be read later either, and says so then.
    with contextlib.suppress(ElfError, OSError):
        read()


def merge(ranges: Iterable[Range]) -> list[Range]:
    """Ranges in order, those that touch or overlap as one."""
    found: list[Range] = []
    for start, end in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found
