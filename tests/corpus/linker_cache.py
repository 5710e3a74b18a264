"""ld.so.cache of a fixture's world, as ldconfig(8) writes it."""

from __future__ import annotations

import functools
import struct
from collections.abc import Mapping
from typing import Any

from gpucheck.elf import ElfError, read_elf
from gpucheck.elf.cache import compare
from gpucheck.system import Rootfs


class _Memory(Rootfs):
    """One file."""

    def __init__(self, content: bytes) -> None:
        self.root, self.env, self.content = "", {}, content

    def read(self, path: str, limit: int = 1 << 20, offset: int = 0) -> bytes:
        return self.content[offset : offset + limit]


def soname_of(content: bytes) -> str:
    """The soname of a shared object; '' where it has none."""
    try:
        return read_elf(_Memory(content), "/it").soname or ""
    except ElfError:
        return ""


#: The flags of ld.so.cache: glibc, sysdeps/unix/sysv/linux/*/dl-cache.h.
FLAGS = {"x86_64": 0x0303, "aarch64": 0x0A03}


def cache_of(entries: Mapping[tuple[str, str], Any], machine: str) -> bytes:
    """glibc-ld.so.cache1.1, sorted downwards as ld.so's binary search expects (elf/dl-cache.c)."""
    ordered = sorted(entries, key=functools.cmp_to_key(lambda one, other: -compare(one[0].encode(), other[0].encode())))
    strings = bytearray()
    start = 48 + 24 * len(ordered)
    rows = b""
    for soname, path in ordered:
        rows += struct.pack(
            "<iIIIQ", FLAGS[machine], start + len(strings), start + len(strings) + len(soname) + 1, 0, 0
        )
        strings += f"{soname}\0{path}\0".encode()
    return b"glibc-ld.so.cache1.1" + struct.pack("<II", len(ordered), len(strings)) + bytes(20) + rows + bytes(strings)
