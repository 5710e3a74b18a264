"""Images that were made to hurt: refused or bounded, with one line, and within 300 MB of memory."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from gpucheck.images import indexing
from gpucheck.images.opening import open_image
from gpucheck.images.records import ImageError
from tests.layers.workshop import GZIP, Layout, config, layer, layout, member

LIMIT = 300 << 20

CHILD = """
import sys
from gpucheck.cli import main_program
sys.argv = ["gpucheck", "snapshot", "--no-cache", "--image", sys.argv[1], "-o", "/dev/null"]
import atexit, os
end = os._exit
def tell(code):
    # Not getrusage(2): its peak begins with that of the process which called execve(2), and a worker of the tests is large.
    print(next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")), flush=True)
    end(code)
os._exit = tell
main_program()
"""


def looked_at(reference: str, around: Mapping[str, str]) -> tuple[int, str, int]:
    """(exit code, standard error, peak memory) of ``gpucheck snapshot --image``."""
    ran = subprocess.run(
        [sys.executable, "-c", CHILD, reference],
        env={**around, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return ran.returncode, ran.stderr, int(ran.stdout)


def streamed(folder: Path, pieces: Iterator[bytes]) -> str:
    """A layout with one layer that is too large to be held here, compressed."""
    made = Layout(folder / "layout")

    content, stored = hashlib.sha256(), hashlib.sha256()
    deflate = zlib.compressobj(1, zlib.DEFLATED, 31)
    path = made.folder / "blobs/sha256/new"
    with path.open("wb") as file:
        for piece in pieces:
            content.update(piece)
            part = deflate.compress(piece)
            stored.update(part)
            file.write(part)
        part = deflate.flush()
        stored.update(part)
        file.write(part)
    size = path.stat().st_size
    path.rename(path.with_name(stored.hexdigest()))
    said = json.loads(config([]))
    said["rootfs"]["diff_ids"] = [f"sha256:{content.hexdigest()}"]
    manifest = {
        "schemaVersion": 2,
        "config": made.descriptor("application/vnd.oci.image.config.v1+json", json.dumps(said).encode()),
        "layers": [{"mediaType": GZIP, "digest": f"sha256:{stored.hexdigest()}", "size": size}],
    }
    made.add(made.descriptor("application/vnd.oci.image.manifest.v1+json", json.dumps(manifest).encode()))
    return str(made.folder)


def empty_files(count: int) -> Iterator[bytes]:
    """Headers of so many empty files, in a thousand folders."""
    raw = bytearray(layer(("file", ""))[:512])
    batch = []
    for number in range(count):
        name = b"usr/share/doc/%04d/a-file-with-a-longer-name-%07d" % (number % 1000, number)
        raw[:100] = name.ljust(100, b"\0")
        raw[148:156] = b" " * 8
        raw[148:156] = b"%06o\0 " % sum(raw)
        batch.append(bytes(raw))
        if len(batch) == 2000:
            yield b"".join(batch)
            batch = []
    yield b"".join(batch) + bytes(1024)


def test_a_million_empty_files(tmp_path: Path, around: Mapping[str, str]) -> None:
    code, said, memory = looked_at(streamed(tmp_path, empty_files(999_000)), around)
    assert (code, said) == (0, "")
    assert memory < LIMIT, f"{memory >> 20} MB"


def test_more_than_a_million_are_refused(
    tmp_path: Path, around: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "MAX_NAMES", 100)
    with pytest.raises(ImageError, match=r"more than 100 files, or 128 MB of names: it is not read"):
        open_image(streamed(tmp_path, empty_files(101)), cache=False, surroundings=around)


def test_a_gzip_bomb(tmp_path: Path, around: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is made small here; with the real one the same takes a minute."""
    monkeypatch.setattr(indexing, "BOMB", 64 << 20)
    header = layer(member("zeros", size=1 << 40))[:512]

    def pieces() -> Iterator[bytes]:
        yield header
        for _ in range(80):
            yield bytes(1 << 20)

    with pytest.raises(ImageError, match="unpacks to more than 100 times its size"):
        open_image(streamed(tmp_path, pieces()), cache=False, surroundings=around)


def noise(size: int) -> Iterator[bytes]:
    block = os.urandom(1 << 16)
    while size > 0:
        yield block[: min(size, len(block))]
        size -= len(block)


def elf(**fields: int) -> bytearray:
    """A header of 64 bits with program and section headers where the fields say."""
    values = {"phoff": 64, "shoff": 0, "phnum": 2, "shnum": 0, "shstrndx": 0, **fields}
    ident = b"\x7fELF\2\1\1".ljust(16, b"\0")
    head = struct.pack(
        "<HHIQQQIHHHHHH", 3, 62, 1, 0, values["phoff"], values["shoff"], 0, 64, 56, values["phnum"], 64, values["shnum"], values["shstrndx"],
    )  # fmt: skip
    return bytearray(ident + head)


def test_large_libraries_take_no_memory(tmp_path: Path, around: Mapping[str, str]) -> None:
    """Three of 400 MB, whose dynamic sections are in the middle."""

    def pieces() -> Iterator[bytes]:
        for number in range(3):
            size = 400 << 20
            head = elf()
            head += struct.pack("<IIQQQQQQ", 1, 4, 0, 0, 0, size, size, 4096)
            head += struct.pack("<IIQQQQQQ", 2, 4, 200 << 20, 200 << 20, 0, 512, 512, 8)
            yield layer(member(f"usr/lib/lib{number}.so", size=size))[:512]
            yield bytes(head)
            yield from noise(size - len(head))
        yield bytes(1024)

    code, said, memory = looked_at(streamed(tmp_path, pieces()), around)
    assert (code, said) == (0, "")
    assert memory < LIMIT, f"{memory >> 20} MB"


@pytest.mark.parametrize(
    "content",
    [
        b"\x7fELF",
        bytes(elf()),
        bytes(elf(phoff=1 << 62)) + bytes(70_000),
        bytes(elf(shoff=64, shnum=65535, shstrndx=65534)) + bytes(70_000),
        bytes(elf(phnum=65535)) + bytes(70_000),
        bytes(elf()) + struct.pack("<IIQQQQQQ", 2, 4, 1 << 60, 0, 0, 1 << 60, 0, 8) + bytes(70_000),
        b"\x7fELF\2\1\1" + os.urandom(100_000),
    ],
)
def test_corrupt_elf_files(content: bytes, tmp_path: Path, around: Mapping[str, str]) -> None:
    reference = layout(
        tmp_path, layer(("usr/lib/libcuda.so.1", content), ("bin/sh", content), ("etc/os-release", "ID=x\n"))
    )
    code, said, _ = looked_at(reference, around)
    assert (code, said) == (0, "")


def random_elf(size: int) -> bytes:
    return bytes(elf()) + os.urandom(size)


def test_many_libraries_are_kept_within_bounds(
    tmp_path: Path, around: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is above the bound is not zeros and not a guess: it is an error that says so."""
    monkeypatch.setattr(indexing, "MAX_KEPT", 100_000)
    files = [(f"lib/lib{number}.so", random_elf(50_000)) for number in range(5)]
    with open_image(layout(tmp_path, layer(*files)), cache=False, surroundings=around) as image:
        assert image.system.read("/lib/lib0.so", 60_000) == files[0][1]
        with pytest.raises(OSError, match="this part of the file was not kept when its layer was read"):
            image.system.read("/lib/lib4.so", 100)


def test_a_read_outside_of_what_is_kept(tmp_path: Path, around: Mapping[str, str]) -> None:
    data = b"plain text" * 10_000
    with open_image(
        layout(tmp_path, layer(("srv/data.bin", data), ("srv/x.conf", data), ("bin/script", b"#!/bin/sh\n" + data))),
        cache=False,
        surroundings=around,
    ) as image:
        assert image.system.read("/srv/x.conf", 50, 99_990) == data[99_990:]
        assert image.system.read("/srv/data.bin", 50, 100_000) == b""
        assert image.system.read("/bin/script", 100) == (b"#!/bin/sh\n" + data)[:100]
        for path, offset in (("/srv/data.bin", 0), ("/bin/script", 50_000), ("/bin/script", 16_300)):
            with pytest.raises(OSError, match="was not kept") as refused:
                image.system.read(path, 100, offset)
            assert refused.value.filename == path


def test_devices_are_only_named(tmp_path: Path, around: Mapping[str, str]) -> None:
    made = layer(
        member("dev/nvidia0", type=tarfile.CHRTYPE, devmajor=195, devminor=0, mode=0o666),
        member("dev/sda", type=tarfile.BLKTYPE),
    )
    with open_image(layout(tmp_path, made), cache=False, surroundings=around) as image:
        assert image.system.status("/dev/nvidia0").device == (195, 0)
        with pytest.raises(OSError, match="not a regular file"):
            image.system.read("/dev/nvidia0")


def test_names_that_are_no_utf8(tmp_path: Path, around: Mapping[str, str]) -> None:
    name = os.fsdecode(b"lib/\xff\xfe.conf")
    with open_image(layout(tmp_path, layer((name, "x"), format=tarfile.GNU_FORMAT)), surroundings=around) as image:
        assert image.system.names("/lib") == (os.fsdecode(b"\xff\xfe.conf"),)
        assert image.system.read(f"/{name}") == b"x"


def test_hundreds_of_layers(tmp_path: Path, around: Mapping[str, str]) -> None:
    layers = [layer((f"etc/{number}.conf", str(number)), (f"etc/.wh.{number - 1}.conf", "")) for number in range(400)]
    with open_image(layout(tmp_path, *layers), surroundings=around) as image:
        assert image.system.names("/etc") == ("399.conf",)
        assert image.layer_of("/etc/399.conf") == 399


def test_a_document_of_a_gigabyte(tmp_path: Path, around: Mapping[str, str]) -> None:
    made = Layout(tmp_path / "layout")
    with (made.folder / "index.json").open("wb") as file:
        file.truncate(1 << 30)
    code, said, memory = looked_at(str(made.folder), around)
    assert code == 2
    assert said.count("\n") == 1 and "index.json is larger than 4 MB" in said
    assert memory < 100 << 20


def test_indexes_that_name_each_other(tmp_path: Path, around: Mapping[str, str]) -> None:
    """A digest cannot be its own, but there can be many levels."""
    made = Layout(tmp_path / "layout")
    entry = made.image((layer(("x", "")),))
    for _ in range(10):
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]}
        entry = made.descriptor("application/vnd.oci.image.index.v1+json", json.dumps(index).encode())
    made.entries = []
    made.add(entry)
    with pytest.raises(ImageError, match="more than 4 indexes that name each other"):
        open_image(str(made.folder), surroundings=around)


def test_a_sparse_file_of_100_gb(tmp_path: Path, around: Mapping[str, str]) -> None:
    with (tmp_path / "sparse.conf").open("wb") as file:
        file.write(b"start")
        file.truncate(100 << 30)
    data = subprocess.run(
        ["tar", "-S", "--format=pax", "-C", str(tmp_path), "-c", "sparse.conf"], check=True, capture_output=True
    ).stdout
    started = time.monotonic()
    with open_image(layout(tmp_path, data), cache=False, surroundings=around) as image:
        assert image.system.status("/sparse.conf").size == 100 << 30
        with pytest.raises(OSError, match="was not kept"):
            image.system.read("/sparse.conf", 5)
    assert time.monotonic() - started < 60


@pytest.mark.parametrize("spoil", [lambda data: data[:-700], lambda data: data[:500], lambda data: b""])
def test_a_truncated_archive(spoil: Callable[[bytes], bytes], tmp_path: Path, around: Mapping[str, str]) -> None:
    made = Layout(tmp_path / "layout")
    made.image((layer(("a", os.urandom(3000))),))
    tar = made.tar(tmp_path / "x.tar")
    tar.write_bytes(spoil(tar.read_bytes()))
    code, said, _ = looked_at(f"oci-archive:{tar}", around)
    assert code == 2 or tar.stat().st_size > 3000
    assert said.count("\n") <= 1 and "Traceback" not in said
