"""Whatever a file contains: our own error or an answer, in bounded time and memory."""

from __future__ import annotations

import struct
import time
import tracemalloc
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpucheck.elf import Elf, ElfError, read_elf, start
from gpucheck.elf.cache import NEW_MAGIC, OLD_MAGIC, Cache, compare
from gpucheck.elf.closure import closure
from gpucheck.elf.linker import built_in_directories
from gpucheck.elf.links import floors
from gpucheck.elf.sections import read_forward_compatibility, read_sections
from gpucheck.elf.symbols import read_symbols, read_versions
from gpucheck.elf.tree import render
from gpucheck.system import Local, Rootfs
from tests.elf.test_forests import random_forest
from tests.elf.workshop import GLIBC, Workshop, need

SECONDS = 10
BYTES = 256 << 20


class OneFile(Rootfs):
    """A system in which every path is one file with the given content."""

    def __init__(self, data: bytes, env: Mapping[str, str] | None = None) -> None:
        super().__init__("/", env)
        self.data = data

    def read(self, path: str, limit: int = 1 << 20, offset: int = 0) -> bytes:
        return self.data[offset : offset + limit]


def read_everything(data: bytes) -> None:
    """Ask every question about a file; any exception but ``ElfError`` is a failure."""
    system = OneFile(data)
    try:
        elf = read_elf(system, "/hostile.so")
    except ElfError as error:
        assert str(error).startswith("/hostile.so: ") and "\n" not in str(error)
        return
    for question in (read_sections, read_forward_compatibility, read_versions, read_symbols, floors):
        try:
            question(system, elf)
        except ElfError:
            continue


def read_cache_everywhere(data: bytes) -> None:
    try:
        cache = Cache(data)
    except ElfError:
        return
    for name in ("libc.so.6", "", "lib1.so", "libx.so.999999999999999999999"):
        cache.lookup(name, ("x86-64-v3", "x86-64-v2"), 15)
    for _ in cache.entries():
        pass


@cache
def sound() -> tuple[bytes, ...]:
    """Real files to start from."""
    need("gcc")
    found = [Path(GLIBC), Path("/bin/true"), Path("/lib/x86_64-linux-gnu/libm.so.6")]
    return tuple(path.read_bytes()[: 1 << 20] for path in found if path.exists())


def test_every_truncation_of_the_start_is_an_error() -> None:
    data = sound()[0]
    for length in [*range(4096), *range(4096, len(data), 997)]:
        read_everything(data[:length])


@pytest.mark.parametrize("seed", range(20))
def test_corrupted_files_never_break_the_reader(seed: int) -> None:
    random = Random(seed)
    for _ in range(60):
        data = bytearray(random.choice(sound()))
        # Where a byte matters: headers, the dynamic section and the tables that it points to.
        interesting = [*range(1024), *range(len(data) - 8192, len(data)), *range(0x300, 0x2000)]
        for _ in range(random.choice((1, 2, 8, 64))):
            at = random.choice(interesting)
            value = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))
            width = random.choice((1, 1, 4, 8))
            data[at : at + width] = bytes([value]) * width
        read_everything(bytes(data[: random.choice((len(data), random.randrange(len(data))))]))


@settings(max_examples=300, deadline=None, database=None)
@given(
    st.binary(max_size=400), st.sampled_from((b"\x7fELF\2\1\1", b"\x7fELF\1\1\1", b"\x7fELF\1\2\1", b"\x7fELF", b""))
)
def test_arbitrary_bytes_never_break_the_reader(data: bytes, start: bytes) -> None:
    read_everything(start + data)


@settings(max_examples=300, deadline=None, database=None)
@given(
    st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 40), st.integers(0, 2**64 - 1)), max_size=30),
    st.lists(st.tuples(*[st.integers(0, 2**64 - 1) | st.integers(0, 2000)] * 6), max_size=6),
    st.binary(max_size=1500),
)
def test_arbitrary_tables_never_break_the_reader(
    dynamic: list[tuple[int, int]], segments: list[tuple[int, ...]], tail: bytes
) -> None:
    section = b"".join(struct.pack("<qQ", *entry) for entry in dynamic)
    table = struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, 4096, 4096, 4096)
    count = len(segments) + 2
    offset = 64 + 56 * count
    table += struct.pack("<IIQQQQQQ", 2, 6, offset, offset, 0, len(section), len(section), 8)
    for number, segment in enumerate(segments):
        table += struct.pack("<IIQQQQQQ", (1, 2, 3, 6)[number % 4], 4, *segment)
    ident = b"\x7fELF\2\1\1" + bytes(9)
    shape = (3, 62, 1, 0, 64, offset, 0, 64, 56, count, 64, len(tail) // 64, 1)
    read_everything(ident + struct.pack("<HHIQQQIHHHHHH", *shape) + table + section + tail)


@settings(max_examples=300, deadline=None, database=None)
@given(st.binary(max_size=600), st.sampled_from((NEW_MAGIC, OLD_MAGIC + b"\0", NEW_MAGIC + b"\1\0\0\0", b"")))
def test_arbitrary_bytes_never_break_the_cache(data: bytes, start: bytes) -> None:
    read_cache_everywhere(start + data)


@pytest.mark.parametrize("seed", range(10))
def test_corrupted_caches_never_break_the_reader(seed: int) -> None:
    random = Random(seed)
    names = [f"lib{number}.so.{number % 7}".encode() for number in range(50)]
    strings = b"\0".join(names) + b"\0/x\0"
    base = 48 + 24 * len(names)
    entries = b"".join(
        struct.pack(
            "<iIIIQ", 0x303, base + strings.index(name), base + len(strings) - 3, 0, random.choice((0, 1 << 62))
        )
        for name in sorted(names, reverse=True)
    )
    head = NEW_MAGIC + struct.pack("<IIB3xI12x", len(names), len(strings), 2, base + len(strings) + 1)
    whole = head + entries + strings + b"\0" + struct.pack("<IIIIII", 0xEAA42174, 1, 1, 0, 48, 16)
    read_cache_everywhere(whole)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(random.choice((1, 3, 20))):
            at = random.randrange(len(data))
            data[at] = random.choice((0, 0xFF, random.randrange(256)))
        read_cache_everywhere(bytes(data[: random.choice((len(data), random.randrange(len(data))))]))


@settings(deadline=None, database=None)
@given(st.binary(max_size=12), st.binary(max_size=12))
def test_comparing_names_is_an_order(one: bytes, two: bytes) -> None:
    one, two = one.replace(b"\0", b""), two.replace(b"\0", b"")
    assert (compare(one, two) > 0) == (compare(two, one) < 0)
    assert compare(one, one) == 0


def huge_symbol_table() -> bytes:
    """A million symbols whose names are one megabyte each, all in the same bytes."""
    count, size = 1 << 20, 1 << 20
    dynamic_at, strings_at = 64 + 56 * 2, 4096
    symbols_at = strings_at + size
    dynamic = [(5, strings_at), (10, size), (6, symbols_at), (4, 2048), (0, 0)]
    end = symbols_at + 24 * count
    table = struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, end, end, 4096)
    table += struct.pack("<IIQQQQQQ", 2, 6, dynamic_at, dynamic_at, 0, 16 * len(dynamic), 16 * len(dynamic), 8)
    head = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 64, 0, 0)
    data = bytearray(end)
    data[: len(head)] = head
    data[64 : 64 + len(table)] = table
    data[dynamic_at : dynamic_at + 16 * len(dynamic)] = b"".join(struct.pack("<qQ", *entry) for entry in dynamic)
    data[2048:2056] = struct.pack("<II", 1, count)
    data[strings_at + 1 : symbols_at - 1] = b"a" * (size - 2)
    data[symbols_at:end] = struct.pack("<IBBHQQ", 1, 0x12, 0, 1, 0, 0) * count
    return bytes(data)


def many_dynamic_strings() -> bytes:
    """The largest dynamic section that is believed, each entry a long string."""
    entries = 4095
    size = 16 * (entries + 1)
    strings_at = 64 + 56 * 2 + size
    dynamic = [(1, number % 7) for number in range(entries - 1)] + [(5, strings_at), (0, 0)]
    table = struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, 1 << 20, 1 << 20, 4096)
    table += struct.pack("<IIQQQQQQ", 2, 6, 64 + 56 * 2, 64 + 56 * 2, 0, size, size, 8)
    head = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 64, 0, 0)
    return head + table + b"".join(struct.pack("<qQ", *entry) for entry in dynamic) + b"n" * 4000 + bytes(60)


@pytest.mark.parametrize("make", [huge_symbol_table, many_dynamic_strings, lambda: b"\x7fELF" + b"lib" * (1 << 20)])
def test_time_and_memory_are_bounded(make: object) -> None:
    data = make()  # type: ignore[operator]
    begin = time.process_time()
    tracemalloc.start()
    try:
        read_everything(data)
        built_in_directories(data[: 2 << 20])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Tracing itself makes it several times slower.
    assert time.process_time() - begin < SECONDS
    assert peak < BYTES


def test_a_gigabyte_is_not_read(tmp_path: Path, workshop: Workshop) -> None:
    target = workshop.lib("libbig.so", "libc.so.6")
    with open(target, "r+b") as file:
        file.truncate(1 << 30)
    count = 0

    class Counting(Rootfs):
        def read(self, path: str, limit: int = 1 << 20, offset: int = 0) -> bytes:
            nonlocal count
            data = super().read(path, limit, offset)
            count += len(data)
            return data

    elf = read_elf(Counting(str(tmp_path)), "/libbig.so")
    assert isinstance(elf, Elf) and elf.needed == ("libc.so.6",)
    assert count <= 3 * (1 << 14)


def test_a_forest_that_never_ends_is_given_up(workshop: Workshop) -> None:
    """Long lists of directories, long lists of names: the product is not walked."""
    names = [f"libn{number}.so" for number in range(200)]
    rpath = ":".join(f"/none{number}" for number in range(3000))
    program = workshop.program(*names, rpath=rpath)
    with pytest.raises(ElfError, match="more than 500000 places to look at"):
        start(Rootfs(str(workshop.here)), "/bin/program")
    assert program.exists()


@pytest.mark.parametrize("seed", range(30))
def test_a_corrupted_forest_gives_an_answer_or_our_error(seed: int, workshop: Workshop) -> None:
    random = Random(seed)
    target = random_forest(random, workshop)
    files = [path for path in workshop.here.rglob("*.so*") if path.is_file() and not path.is_symlink()]
    for path in [*files, target]:
        data = bytearray(path.read_bytes())
        for _ in range(random.choice((0, 0, 1, 4))):
            data[random.randrange(min(len(data), 1200))] = random.randrange(256)
        path.write_bytes(data)
    try:
        read_elf(Local(), str(target))
        found = closure(Local(), str(target), env=workshop.environment(), symbols=True)
    except ElfError as error:
        # Nothing but the target itself makes the whole question fail.
        assert error.path == str(target)
        return
    assert render(found).startswith(str(target))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "/file: the file is empty"),
        (b"#!/bin/sh\n", "/file: not an ELF file"),
        (b"\x7fELF", "/file: truncated: file too short"),
        (b"\x7fELF" + bytes(60), "/file: invalid ELF header"),
        (b"MZ" + bytes(100), "/file: not an ELF file"),
    ],
)
def test_the_message_says_what_is_wrong(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ElfError) as caught:
        read_elf(Rootfs(str(tmp_path)), "/file")
    assert str(caught.value) == message


def test_a_directory_and_a_missing_file_are_errors_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        read_elf(Rootfs(str(tmp_path)), "/")
    with pytest.raises(FileNotFoundError):
        read_elf(Rootfs(str(tmp_path)), "/gone")
