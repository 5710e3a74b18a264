"""Single symbols by the hash table of a library, as ld.so finds them: a few blocks of it are read, not the whole symbol table.

The layout of DT_GNU_HASH: https://sourceware.org/legacy-ml/binutils/2006-10/msg00377.html
"""

from __future__ import annotations

import struct

from gpucheck.elf.reader import DT_STRTAB, Elf, ElfError, Window, file_offset
from gpucheck.elf.symbols import DT_GNU_HASH, DT_SYMTAB, MAX_SYMBOLS, read_symbols
from gpucheck.system.protocol import System


class Exports:
    """What a library defines. Raises ``ElfError``, ``OSError``."""

    def __init__(self, system: System, elf: Elf) -> None:
        self._elf = elf
        self._window = Window(system, elf.path)
        self._names: frozenset[bytes] | None = None
        if DT_GNU_HASH not in elf.tags or DT_SYMTAB not in elf.tags:
            self._names = read_symbols(system, elf).names
            return
        start = self._offset(DT_GNU_HASH)
        self._count, self._first, bloom, self._shift = struct.unpack(elf.order + "IIII", self._window.at(start, 16))
        if not 0 < self._count <= MAX_SYMBOLS or not 0 < bloom <= MAX_SYMBOLS:
            raise ElfError(elf.path, f"a hash table of {self._count} buckets")
        self._bloom, self._bloom_at = bloom, start + 16
        self._buckets_at = start + 16 + bloom * (elf.bits // 8)
        self._chains_at = self._buckets_at + self._count * 4

    def define(self, name: str) -> bool:
        """Whether the library defines a symbol, whatever its version."""
        raw = name.encode("utf-8", "surrogateescape")
        if self._names is not None:
            return raw in self._names
        wanted = 5381
        for byte in raw:
            wanted = (wanted * 33 + byte) & 0xFFFFFFFF
        bits, order = self._elf.bits, self._elf.order
        size = bits // 8
        word = self._number(self._bloom_at + (wanted // bits % self._bloom) * size, "Q" if bits == 64 else "I")
        if not (word >> (wanted % bits)) & (word >> ((wanted >> self._shift) % bits)) & 1:
            return False
        index = self._number(self._buckets_at + wanted % self._count * 4, "I")
        step, section_at, layout = (16, 14, "H") if bits == 32 else (24, 6, "H")
        while self._first <= index < MAX_SYMBOLS:
            value = self._number(self._chains_at + (index - self._first) * 4, "I")
            if value | 1 == wanted | 1:
                at = self._offset(DT_SYMTAB) + index * step
                (start,) = struct.unpack(order + "I", self._window.at(at, 4))
                (section,) = struct.unpack(order + layout, self._window.at(at + section_at, 2))
                there = self._window.read(self._offset(DT_STRTAB) + start, len(raw) + 1)
                if section and there == raw + b"\0":
                    return True
            if value & 1:
                break
            index += 1
        return False

    def _number(self, at: int, layout: str) -> int:
        size = 8 if layout == "Q" else 4
        return int(struct.unpack(self._elf.order + layout, self._window.at(at, size))[0])

    def _offset(self, tag: int) -> int:
        return file_offset(
            self._elf.path, self._elf.loads, self._elf.tags.get(tag, -1), f"what dynamic tag {tag:#x} points to"
        )
