"""``/etc/ld.so.cache``: what ldconfig(8) wrote down, looked up as ld.so looks it up.

Three layouts exist: the format of libc5 and glibc 2.0 (``ld.so-1.7.0``), the present one (``glibc-ld.so.cache1.1``),
and the old one with the present one inside it. Reference: glibc's sysdeps/generic/dl-cache.h and elf/dl-cache.c.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

from gpucheck.elf.reader import ElfError
from gpucheck.record import dataclass
from gpucheck.system.protocol import System

PATH = "/etc/ld.so.cache"
MAX_SIZE = 16 << 20
MAX_HWCAPS = 1024

OLD_MAGIC = b"ld.so-1.7.0"
NEW_MAGIC = b"glibc-ld.so.cache1.1"
OLD_HEADER, OLD_ENTRY = 16, 12
NEW_HEADER, NEW_ENTRY = 48, 24
EXTENSION_MAGIC = (-358342284) & 0xFFFFFFFF
EXTENSION_HWCAPS = 1
#: The hwcap field of an entry from a glibc-hwcaps directory: this bit, ISA level bits, and an index (dl-cache.h).
HWCAP_EXTENSION = 1 << 62
HWCAP_LEVELS = (1 << 10) - 1

#: What an entry's flags must be for ld.so of that machine and class to use it: ``_DL_CACHE_DEFAULT_ID`` in the
#: dl-cache.h of each architecture below glibc's sysdeps/unix/sysv/linux.
FLAGS = {
    (62, 64): 0x0303,
    (62, 32): 0x0803,
    (183, 64): 0x0A03,
    (21, 64): 0x0503,
    (22, 64): 0x0403,
    (40, 32): 0x0903,
    (243, 64): 0x1003,
    (258, 64): 0x1203,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of ``ldconfig -p``."""

    soname: str
    path: str
    flags: int
    hwcap: int
    """The raw field; 0 for the old format."""
    subdirectory: str | None
    """The glibc-hwcaps subdirectory that it came from, such as ``x86-64-v3``."""


class Cache:
    """A cache file in memory. Nothing is decoded before it is asked for."""

    __slots__ = ("_base", "_count", "_data", "_entries", "_flags", "_hwcaps", "_new", "_order", "path")

    def __init__(self, data: bytes, machine: int = 62, bits: int = 64, *, path: str = PATH) -> None:
        """``machine`` and ``bits``: for whose ld.so. Raises ``ElfError`` when ld.so would ignore the file as broken."""
        self.path = path
        self._data = data
        self._order = "<"
        self._hwcaps: tuple[str | None, ...] = ()
        #: Machines that share one cache with no other kind of library have plain 3, and accept 1 (FLAG_ELF) too.
        self._flags = (FLAGS[machine, bits],) if (machine, bits) in FLAGS else (3, 1)
        at = 0
        if data.startswith(OLD_MAGIC) and len(data) > OLD_HEADER:
            self._order = self._guess_order(12)
            self._count = self._number(12)
            if (len(data) - OLD_HEADER) // OLD_ENTRY < self._count:
                raise ElfError(path, "truncated: more entries than bytes")
            end = OLD_HEADER + self._count * OLD_ENTRY
            # The new part starts at the alignment of its 64-bit members (ALIGN_CACHE).
            at = (end + 7) & ~7
            self._new = data.startswith(NEW_MAGIC, at)
            self._entries, self._base = OLD_HEADER, end
        elif data.startswith(NEW_MAGIC):
            self._new = True
        else:
            raise ElfError(path, "not a linker cache")
        if self._new:
            self._read_new(at)

    def lookup(self, soname: str, subdirectories: tuple[str, ...] = (), isa: int = 0b1, legacy: int = 0) -> str | None:
        """The path that ld.so takes for a name, or None.

        ``subdirectories``: the glibc-hwcaps names of this CPU, best first. ``isa``: a bit set of the ISA levels that
        the CPU has (bit 0 the baseline). ``legacy``: the bits of an old hwcap directory that are acceptable (glibc
        before 2.37). The search is ``search_cache`` of elf/dl-cache.c: binary by
        ``_dl_cache_libcmp``, then along the run of equal names, the best usable subdirectory winning over plain ones.
        """
        name = soname.encode("utf-8", "surrogateescape")
        left, right = 0, self._count - 1
        while left <= right:
            middle = (left + right) // 2
            key = self._key(middle)
            if key is None:
                return None
            order = compare(name, key)
            if order == 0:
                while middle > 0 and (before := self._key(middle - 1)) is not None and compare(name, before) == 0:
                    middle -= 1
                return self._best(middle, name, subdirectories, isa, legacy)
            # The table is sorted downwards.
            if order < 0:
                left = middle + 1
            else:
                right = middle - 1
        return None

    def entries(self, beginnings: tuple[str, ...] = ("",)) -> Iterator[Entry]:
        """The entries whose names begin so, all by default, in file order, whatever machine they are for."""
        wanted = tuple(os.fsencode(beginning) for beginning in beginnings)
        for index in range(self._count):
            flags, key, value, hwcap = self._row(index)
            start = self._base + key
            if not self._data.startswith(wanted, start):
                continue
            soname, path = self._string(key), self._string(value)
            if soname is None or path is None:
                continue
            named = self._hwcap_name(hwcap) if is_extension(hwcap) else None
            yield Entry(text(soname), text(path), flags, hwcap, named)

    def _best(self, index: int, name: bytes, subdirectories: tuple[str, ...], isa: int, legacy: int) -> str | None:
        best: bytes | None = None
        best_rank = len(subdirectories)
        while index < self._count:
            flags, key, value, hwcap = self._row(index)
            index += 1
            soname = self._string(key)
            if soname is None or compare(name, soname) != 0:
                break
            path = self._string(value)
            if flags not in self._flags or path is None:
                continue
            if is_extension(hwcap):
                level = 1 << ((hwcap >> 32) & HWCAP_LEVELS)
                named = self._hwcap_name(hwcap)
                if level & isa != level or named not in subdirectories:
                    continue
                rank = subdirectories.index(named)
                if best is None or rank < best_rank:
                    best, best_rank = path, rank
                continue
            if best is not None and best_rank < len(subdirectories):
                break
            if hwcap & ~legacy:
                continue
            best = path
            if flags == self._flags[0]:
                break
        return None if best is None else text(best)

    def _read_new(self, at: int) -> None:
        data = self._data
        if len(data) < at + NEW_HEADER:
            raise ElfError(self.path, "truncated: no room for the header")
        # The low two bits of the flags byte say the byte order: 0 unknown, 1 invalid, 2 little, 3 big.
        marked = data[at + 28] & 3
        if marked == 1:
            raise ElfError(self.path, "marked as invalid")
        self._order = {2: "<", 3: ">"}.get(marked) or self._guess_order(at + 20)
        self._count = self._number(at + 20)
        if (len(data) - at - NEW_HEADER) // NEW_ENTRY < self._count:
            raise ElfError(self.path, "truncated: more entries than bytes")
        self._entries, self._base = at + NEW_HEADER, at
        self._hwcaps = self._read_hwcaps(self._number(at + 32))

    def _read_hwcaps(self, at: int) -> tuple[str | None, ...]:
        """The strings of the section ``cache_extension_tag_glibc_hwcaps``; none when the directory is not sound."""
        data = self._data
        if at == 0 or at % 4 or at + 8 > len(data) or self._number(at) != EXTENSION_MAGIC:
            return ()
        count = self._number(at + 4)
        if at + 8 + count * 16 > len(data):
            return ()
        for tag, _, offset, size in struct.iter_unpack(self._order + "IIII", data[at + 8 : at + 8 + count * 16]):
            if offset + size > len(data):
                return ()
            if tag == EXTENSION_HWCAPS and size % 4 == offset % 4 == 0 and size <= 4 * MAX_HWCAPS:
                indices = struct.unpack_from(f"{self._order}{size // 4}I", data, offset)
                # Counted from the start of the file, also where the new format lies inside an old one.
                strings = (self._string(index - self._base) for index in indices)
                return tuple(None if string is None else text(string) for string in strings)
        return ()

    def _hwcap_name(self, hwcap: int) -> str | None:
        index = hwcap & 0xFFFFFFFF
        return self._hwcaps[index] if index < len(self._hwcaps) else None

    def _row(self, index: int) -> tuple[int, int, int, int]:
        if self._new:
            flags, key, value, _, hwcap = struct.unpack_from(
                self._order + "iIIIQ", self._data, self._entries + index * NEW_ENTRY
            )
            return flags, key, value, hwcap
        flags, key, value = struct.unpack_from(self._order + "iII", self._data, self._entries + index * OLD_ENTRY)
        return flags, key, value, 0

    def _key(self, index: int) -> bytes | None:
        return self._string(self._row(index)[1])

    def _string(self, index: int) -> bytes | None:
        start = self._base + index
        end = self._data.find(b"\0", start, start + 4097)
        return self._data[start:end] if end >= 0 else None

    def _number(self, at: int) -> int:
        number: int = struct.unpack_from(self._order + "I", self._data, at)[0]
        return number

    def _guess_order(self, at: int) -> str:
        """Before glibc 2.33 a cache did not say its byte order; a count of entries is small."""
        return "<" if self._data[at : at + 4] <= self._data[at : at + 4][::-1] or self._data[at + 3] == 0 else ">"


def read_cache(system: System, machine: int = 62, bits: int = 64, path: str = PATH) -> Cache:
    """Read the cache of a system. Raises ``OSError``, or ``ElfError`` when it is broken."""
    return Cache(system.read(path, MAX_SIZE), machine, bits, path=path)


def is_extension(hwcap: int) -> bool:
    """Whether an entry came from a glibc-hwcaps directory (``dl_cache_hwcap_extension``)."""
    return (hwcap >> 32) & ~HWCAP_LEVELS == HWCAP_EXTENSION >> 32


def compare(one: bytes, two: bytes) -> int:
    """``_dl_cache_libcmp``: like strcmp(3), but numbers by their value, and a number above anything else."""
    if one == two:
        return 0
    i = j = 0
    while i < len(one):
        digit = 48 <= one[i] <= 57
        other = j < len(two) and 48 <= two[j] <= 57
        if digit and other:
            first, second = i, j
            while i < len(one) and 48 <= one[i] <= 57:
                i += 1
            while j < len(two) and 48 <= two[j] <= 57:
                j += 1
            left, right = one[first:i].lstrip(b"0"), two[second:j].lstrip(b"0")
            if left != right:
                return 1 if (len(left), left) > (len(right), right) else -1
        elif digit:
            return 1
        elif other:
            return -1
        else:
            # char is signed on x86 and not on Arm; file names that tell them apart are not looked for here.
            mine, theirs = one[i], two[j] if j < len(two) else 0
            if mine != theirs:
                return mine - theirs
            i += 1
            j += 1
    return 0 if j >= len(two) else -1


def text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
