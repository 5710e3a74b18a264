"""Our reader against tarfile's writer and GNU tar, and against archives that no program writes."""

from __future__ import annotations

import contextlib
import io
import os
import random
import struct
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from gpucheck.images.tar import Archive, TarError
from tests.layers.workshop import layer, member

KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.LNKTYPE: "hard link",
    tarfile.SYMTYPE: "link",
    tarfile.CHRTYPE: "char",
    tarfile.BLKTYPE: "block",
    tarfile.DIRTYPE: "directory",
    tarfile.FIFOTYPE: "fifo",
}


def pieces(data: bytes, seed: int = 0) -> Iterator[bytes]:
    """Cut anywhere, as a network would."""
    chance = random.Random(seed)
    at = 0
    while at < len(data):
        size = chance.choice((1, 100, 511, 512, 513, 4096, 100_000))
        yield data[at : at + size]
        at += size


def read(data: bytes, seed: int = 0) -> list[tuple[object, ...]]:
    archive = Archive(pieces(data, seed))
    return [
        (entry.name, entry.kind, entry.mode, entry.uid, entry.gid, entry.size, entry.link, b"".join(archive.data()))
        for entry in archive
    ]


names = some.text(
    some.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=150
).filter(lambda name: name not in (".", ".."))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    some.lists(
        some.tuples(
            some.lists(names, min_size=1, max_size=3).map("/".join),
            some.sampled_from(sorted(KINDS)),
            some.binary(max_size=2000),
            some.integers(0, 0o7777),
            some.integers(0, 1 << 40),
        ),
        max_size=6,
    ),
    some.sampled_from((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)),
    some.integers(0, 5),
)
def test_what_tarfile_writes(files: list[tuple[str, bytes, bytes, int, int]], format: int, seed: int) -> None:
    file = io.BytesIO()
    expected = []
    with tarfile.open(fileobj=file, mode="w", format=format) as archive:
        for name, kind, data, mode, owner in files:
            info = member(name, type=kind, mode=mode, uid=owner, gid=1)
            info.linkname = "target/" * 30 if kind in (tarfile.LNKTYPE, tarfile.SYMTYPE) else ""
            info.size = len(data) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(data))
            content = data if kind == tarfile.REGTYPE else b""
            expected.append((name, KINDS[kind], mode, owner, 1, len(content), info.linkname, content))
    found = read(file.getvalue(), seed)
    assert [(name.rstrip("/"), *rest) for name, *rest in found] == expected  # type: ignore[attr-defined]


@pytest.mark.parametrize("format", ["gnu", "oldgnu", "pax", "ustar", "v7"])
def test_what_gnu_tar_writes(format: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "d").mkdir(parents=True)
    (tree / "d/file").write_bytes(b"x" * 1000)
    (tree / "link").symlink_to("d/file")
    os.link(tree / "d/file", tree / "hard")
    if format in ("gnu", "oldgnu", "pax"):
        (tree / ("long" * 50)).write_text("long")
    data = subprocess.run(
        ["tar", f"--format={format}", "--numeric-owner", "-C", str(tree), "-c", "."], check=True, capture_output=True
    ).stdout
    found = {name.removeprefix("./").rstrip("/"): rest for name, *rest in read(data)}  # type: ignore[attr-defined]
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert {info.name.removeprefix("./").rstrip("/") for info in archive} | {"", "."} == found.keys() | {"", "."}
    assert found["link"][5] == "d/file"
    stored = next(found[name] for name in ("d/file", "hard") if found[name][0] == "file")
    assert (stored[4], stored[6]) == (1000, b"x" * 1000)


@pytest.mark.parametrize("version", ["0.0", "0.1", "1.0", "oldgnu"])
def test_sparse_files_have_their_real_size(version: str, tmp_path: Path) -> None:
    """100 GB that take no room: what is stored of them is small."""
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        for at in range(60):
            file.seek(at * (1 << 30))
            file.write(b"data")
        file.truncate(100 << 30)
    (tmp_path / "after").write_text("after")
    how = ["--format=oldgnu"] if version == "oldgnu" else ["--format=pax", f"--sparse-version={version}"]
    data = subprocess.run(
        ["tar", *how, "-S", "-C", str(tmp_path), "-c", "sparse", "after"], check=True, capture_output=True
    ).stdout
    first, second = Archive(pieces(data)), []
    for entry in first:
        second.append((entry.name, entry.size, entry.sparse))
    assert second == [("sparse", 100 << 30, True), ("after", 5, False)]


def header(**fields: bytes) -> bytes:
    """A header with raw bytes in some fields and a right checksum."""
    places = {"name": 0, "mode": 100, "uid": 108, "size": 124, "kind": 156, "link": 157, "magic": 257, "major": 329}
    raw = bytearray(layer(("file", ""))[:512])
    for field, value in fields.items():
        raw[places[field] : places[field] + len(value)] = value
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    return bytes(raw)


def pax(text: bytes) -> bytes:
    size = len(text)
    return header(kind=b"x", size=b"%011o\0" % size) + text + bytes(-size % 512)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"x" * 512, "checksum"),
        (b"x" * 100, "truncated"),
        (header()[:-1], "truncated"),
        (header(size=b"00000001000\0") + b"x" * 100, "truncated"),
        (header(size=b"\xff" * 12), "a size below zero"),
        (header(size=b"\x80" + b"\xff" * 11), "a size of"),
        (header(size=b"-0000000001\0"), "a size below zero"),
        (header(size=b"99999999999\0"), "no number"),
        (header(kind=b"Z"), "unknown type 'Z'"),
        (header(kind=b"x", size=b"77777777777\0"), "an extended header of"),
        (header(kind=b"L", size=b"77777777777\0"), "an extended header of"),
        (pax(b"20 size=-1\n") + header(), "not as it should be"),
        (pax(b"11 size=-1\n") + header(), "size '-1'"),
        (pax(b"13 size=9e99\n") + header(), "size '9e99'"),
        (pax(b"33 size=99999999999999999999999\n\n"[:33]) + header(), "size"),
        (pax(b"99999999 path=x\n") + header(), "not as it should be"),
        (pax(b"13 path=a\0bc\n") + header(), "null byte"),
        (pax(b"5 a=\n") + header(size=b"00000001000\0"), "truncated"),
    ],
)
def test_what_contradicts_itself_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(TarError, match=said):
        read(data)


def test_the_size_of_the_extended_header_counts() -> None:
    """The header's own field says 0: whoever believes it takes data for headers."""
    data = pax(b"12 size=600\n") + header() + b"y" * 600 + bytes(424) + header(name=b"next\0") + bytes(1024)
    assert [(row[0], row[5]) for row in read(data)] == [("file", 600), ("next", 0)]


def test_names_that_are_no_utf8_come_back_as_they_were() -> None:
    ((name, *_),) = read(header(name=b"\xff\xfe\0"))
    assert os.fsencode(str(name)) == b"\xff\xfe"


@settings(max_examples=300, deadline=None)
@given(some.integers(0, 3), some.lists(some.tuples(some.integers(0, 3000), some.integers(0, 255)), max_size=8))
def test_changed_bytes_give_an_archive_or_our_error(seed: int, changes: list[tuple[int, int]]) -> None:
    data = bytearray(layer(("a", b"x" * 700), ("b" * 200, "-> " + "c" * 200), ("d/", ""), ("e", "=> a")))
    for at, value in changes:
        data[at % len(data)] = value
    # The checksum would hide the rest.
    for at in range(0, len(data) - 512, 512):
        block = data[at : at + 512]
        if block[257:262] == b"ustar":
            struct.pack_into("8s", data, at + 148, b"%06o\0 " % (sum(block) - sum(block[148:156]) + 256))
    with contextlib.suppress(TarError):
        read(bytes(data), seed)
