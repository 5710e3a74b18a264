"""Shared objects and programs made out of a description: what the dynamic linker reads of a file, and no code.

Formats: elf(5), the gABI's chapter "Dynamic Linking", and the LSB's "Symbol Versioning" for the version sections. A test has
readelf and the real ld.so read what is written here.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

MACHINES = {"x86_64": 62, "aarch64": 183, "i386": 3}
LINKERS = {"x86_64": "/lib64/ld-linux-x86-64.so.2", "aarch64": "/lib/ld-linux-aarch64.so.1"}

DT = {
    "NEEDED": 1, "HASH": 4, "STRTAB": 5, "SYMTAB": 6, "STRSZ": 10, "SYMENT": 11, "SONAME": 14, "RPATH": 15, "RUNPATH": 29,
    "VERSYM": 0x6FFFFFF0, "VERDEF": 0x6FFFFFFC, "VERDEFNUM": 0x6FFFFFFD, "VERNEED": 0x6FFFFFFE, "VERNEEDNUM": 0x6FFFFFFF,
}  # fmt: skip


@dataclass(frozen=True)
class Shared:
    """A shared object, or a program where ``interpreter`` is set."""

    soname: str = ""
    needed: Sequence[str] = ()
    runpath: str = ""
    rpath: str = ""
    wants: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Symbol versions that it needs of another file: ``{"libc.so.6": ["GLIBC_2.28"]}``."""
    defines: Sequence[str] = ()
    """Symbol versions that it defines."""
    imports: Sequence[str] = ()
    """Undefined symbols: ``ncclCommRegister``, or ``name@VERSION@file`` with a version that it wants of a file."""
    exports: Sequence[str] = ()
    """Symbols: ``name``, or ``name@VERSION`` with a version that it defines."""
    constants: str = ""
    """What .rodata holds: the architectures of torch are a string there."""
    fatbin: bool = False
    """Has a section with device code."""
    compat: Mapping[str, object] = field(default_factory=dict)
    """The note of a cuda-compat libcuda: ``{cuda = "13.0", drivers = [535, 550], devices = [1]}``."""
    modinfo: Mapping[str, str] = field(default_factory=dict)
    """What a kernel module says of itself: ``{version = "580.95.05", license = "Dual MIT/GPL"}``."""
    signed: bool = False
    """Ends as a signed kernel module does."""
    execstack: bool = False
    """Asks for an executable stack in PT_GNU_STACK; without it, has no such header."""
    machine: str = "x86_64"
    interpreter: str = ""


def write(described: Shared) -> bytes:
    """The file's bytes; addresses are file offsets, so one PT_LOAD covers all."""
    strings = _Strings()
    symbols, versions = [(0, 0)], [0]
    numbers: dict[tuple[str, str], int] = {}
    index = 2 + len(described.defines)
    definitions = b""
    # The file's own name comes first; a version may have the same name (ld --default-symver).
    for number, name in enumerate((described.soname, *described.defines) if described.defines else (), start=1):
        numbers["", name] = number
        last = number == 1 + len(described.defines)
        # Verdef: version, flags (1: the file's own name), index, count, hash, offset of Verdaux, next.
        definitions += struct.pack("<HHHHIII", 1, number == 1, number, 1, _hash(name), 20, 0 if last else 28)
        definitions += struct.pack("<II", strings.add(name), 0)
    requirements = b""
    files = list(described.wants.items())
    for at, (file, wanted) in enumerate(files):
        size = 16 + 16 * len(wanted)
        requirements += struct.pack(
            "<HHIII", 1, len(wanted), strings.add(file), 16, 0 if at == len(files) - 1 else size
        )
        for position, name in enumerate(wanted):
            numbers[file, name] = index
            requirements += struct.pack(
                "<IHHII", _hash(name), 0, index, strings.add(name), 0 if position == len(wanted) - 1 else 16
            )
            index += 1
    for text in described.imports:
        name, _, rest = text.partition("@")
        version, _, file = rest.partition("@")
        symbols.append((strings.add(name), 0))
        versions.append(numbers[file, version] if version else 1)
    for text in described.exports:
        name, _, version = text.partition("@")
        symbols.append((strings.add(name), 1))
        versions.append(numbers["", version] if version else 1)
    # A version that is needed is needed for a symbol: linkers drop the others.
    for (file, name), number in numbers.items():
        if number not in versions and number > 1:
            symbols.append((strings.add(f"of_{name}"), 0 if file else 1))
            versions.append(number)
    entries = [("NEEDED", strings.add(name)) for name in described.needed]
    entries += [
        (tag.upper(), strings.add(text)) for tag in ("soname", "runpath", "rpath") if (text := getattr(described, tag))
    ]
    return _lay_out(described, strings, entries, symbols, versions, definitions, requirements)


def _lay_out(
    described: Shared,
    strings: _Strings,
    entries: list[tuple[str, int]],
    symbols: list[tuple[int, int]],
    versions: list[int],
    definitions: bytes,
    requirements: bytes,
) -> bytes:
    segments = 2 + bool(described.interpreter) + described.execstack
    blob = bytearray(64 + 56 * segments)
    sections: list[tuple[str, int, int, int]] = []

    def put(name: str, kind: int, data: bytes) -> int:
        blob.extend(bytes(-len(blob) % 8))
        at = len(blob)
        blob.extend(data)
        sections.append((name, kind, at, len(data)))
        return at

    table = b"".join(
        struct.pack("<IBBHQQ", name, 0x12, 0, 1 if defined else 0, 64 if defined else 0, 0) if name else bytes(24)
        for name, defined in symbols
    )
    at = {"SYMTAB": put(".dynsym", 11, table), "STRTAB": put(".dynstr", 3, strings.data())}
    at["HASH"] = put(".hash", 5, _hash_table([strings.at(name) for name, _ in symbols]))
    if definitions or requirements:
        at["VERSYM"] = put(".gnu.version", 0x6FFFFFFF, struct.pack(f"<{len(versions)}H", *versions))
    if definitions:
        at["VERDEF"] = put(".gnu.version_d", 0x6FFFFFFD, definitions)
        at["VERDEFNUM"] = 1 + len(described.defines)
    if requirements:
        at["VERNEED"] = put(".gnu.version_r", 0x6FFFFFFE, requirements)
        at["VERNEEDNUM"] = len(described.wants)
    if described.constants:
        put(".rodata", 1, b"\0" + described.constants.encode() + b"\0")
    if described.fatbin:
        put(".nv_fatbin", 1, struct.pack("<IHHQ", 0xBA55ED50, 1, 16, 0))
    if described.modinfo:
        put(".modinfo", 1, b"".join(f"{name}={text}\0".encode() for name, text in described.modinfo.items()))
    if described.compat:
        put(".note.cuda.fwd_compatibility", 7, _note(described.compat))
    interpreter = put(".interp", 1, described.interpreter.encode() + b"\0") if described.interpreter else 0
    entries += [*at.items(), ("STRSZ", len(strings.data())), ("SYMENT", 24)]
    dynamic = b"".join(struct.pack("<QQ", DT[tag], value) for tag, value in entries) + bytes(16)
    where = put(".dynamic", 6, dynamic)
    names = b"\0" + b"".join(f"{name}\0".encode() for name, *_ in (*sections, (".shstrtab",)))
    put(".shstrtab", 3, names)
    blob.extend(bytes(-len(blob) % 8))
    headers = len(blob)
    blob.extend(bytes(64))
    for name, kind, start, size in sections:
        link = 2 if kind in (11, 6, 0x6FFFFFFD, 0x6FFFFFFE) else 1 if kind in (5, 0x6FFFFFFF) else 0
        info = {0x6FFFFFFD: at.get("VERDEFNUM", 0), 0x6FFFFFFE: at.get("VERNEEDNUM", 0), 11: 1}.get(kind, 0)
        entry = {11: 24, 6: 16, 5: 4, 0x6FFFFFFF: 2}.get(kind, 0)
        address = 0 if name == ".shstrtab" else start
        offset = names.index(f"\0{name}\0".encode()) + 1
        flags = 2 if address else 0
        blob.extend(struct.pack("<IIQQQQIIQQ", offset, kind, flags, address, start, size, link, info, 8, entry))
    program = bool(described.interpreter)
    blob[:64] = struct.pack(
        "<4sBBBB8xHHIQQQIHHHHHH",
        b"\x7fELF", 2, 1, 1, 0, 3, MACHINES[described.machine], 1, 64 if program else 0, 64, headers, 0, 64, 56, segments, 64,
        len(sections) + 1, len(sections),
    )  # fmt: skip
    rows = [(1, 7, 0, headers, 0x1000), (2, 6, where, len(dynamic), 8)]
    if described.execstack:
        rows.append((0x6474E551, 7, 0, 0, 16))
    if program:
        rows.insert(0, (3, 4, interpreter, len(described.interpreter) + 1, 1))
    for number, (kind, flags, start, size, alignment) in enumerate(rows):
        row = struct.pack("<IIQQQQQQ", kind, flags, start, start, start, size, size, alignment)
        blob[64 + 56 * number : 64 + 56 * (number + 1)] = row
    # Kernel, Documentation/admin-guide/module-signing.rst.
    return bytes(blob) + (b"~Module signature appended~\n" if described.signed else b"")


class _Strings:
    """A string table in which each string is once."""

    def __init__(self) -> None:
        self._at = {"": 0}
        self._data = bytearray(b"\0")

    def add(self, text: str) -> int:
        if text not in self._at:
            self._at[text] = len(self._data)
            self._data += text.encode() + b"\0"
        return self._at[text]

    def at(self, offset: int) -> str:
        return self._data[offset : self._data.index(0, offset)].decode()

    def data(self) -> bytes:
        return bytes(self._data)


def _hash(name: str) -> int:
    """The gABI's hash function for symbol names."""
    value = 0
    for char in name.encode():
        value = (value << 4) + char
        high = value & 0xF0000000
        value = (value ^ (high >> 24)) & ~high & 0xFFFFFFFF
    return value


def _hash_table(names: list[str]) -> bytes:
    """One bucket, whose chain has all symbols."""
    chain = [0, *range(2, len(names)), 0] if len(names) > 1 else [0]
    return struct.pack(f"<{3 + len(names)}I", 1, len(names), 1 if len(names) > 1 else 0, *chain[: len(names)])


def _note(said: Mapping[str, object]) -> bytes:
    """As ``readelf -p .note.cuda.fwd_compatibility`` shows it: see gpucheck/elf/sections.py."""
    text = (
        json.dumps({"CUDA Version": said["cuda"], "Driver": said["drivers"], "Device": said["devices"]}).encode()
        + b"\0"
    )
    name = b"NVIDIA Corporation\0"
    return struct.pack("<III", len(name), len(text), 1) + name + bytes(-len(name) % 4) + text + bytes(-len(text) % 4)
