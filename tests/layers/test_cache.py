"""Layers are remembered by their content, and a bad memory is none."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from gpucheck.images import cache
from gpucheck.images.archive import Folder
from gpucheck.images.index import MAGIC
from gpucheck.images.opening import open_image
from tests.layers.workshop import Layout, layer, layout, sha256

BASE = layer(("etc/os-release", "ID=base\n"), ("lib/", ""), ("many.conf", os.urandom(30_000).hex()))
APP = layer(("app.conf", "app\n"), ("a", "-> app.conf"), ("h", "=> app.conf"))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which blobs were read as layers."""
    seen: list[str] = []
    pieces = Folder.pieces

    def watched(self: Folder, name: str) -> Iterator[bytes]:
        seen.append(name)
        return pieces(self, name)

    monkeypatch.setattr(Folder, "pieces", watched)
    return seen


def files(reference: str, around: Mapping[str, str], *, remember: bool = True) -> dict[str, bytes]:
    with open_image(reference, cache=remember, surroundings=around) as image:
        return {path: image.system.read(path) for path in ("/etc/os-release", "/many.conf")}


def folder(around: Mapping[str, str]) -> Path:
    return Path(around["HOME"], ".cache/gpucheck/layers")


def test_what_was_read_is_not_read_again(tmp_path: Path, around: Mapping[str, str], read: list[str]) -> None:
    reference = layout(tmp_path, BASE, APP)
    first = files(reference, around)
    assert len(read) == 2
    assert files(reference, around) == first
    assert len(read) == 2
    assert {path.name for path in folder(around).iterdir()} == {sha256(each).replace(":", "-") for each in (BASE, APP)}
    assert (
        folder(around).stat().st_mode & 0o777,
        {path.stat().st_mode & 0o777 for path in folder(around).iterdir()},
    ) == (
        0o700,
        {0o600},
    )


def test_a_second_image_on_the_same_base(tmp_path: Path, around: Mapping[str, str], read: list[str]) -> None:
    files(layout(tmp_path / "one", BASE, APP), around)
    del read[:]
    files(layout(tmp_path / "two", BASE, layer(("other.conf", "x"))), around)
    assert len(read) == 1


def test_without_the_cache_nothing_is_written(tmp_path: Path, around: Mapping[str, str], read: list[str]) -> None:
    reference = layout(tmp_path, BASE)
    assert files(reference, around, remember=False) == files(reference, around, remember=False)
    assert len(read) == 2
    assert not folder(around).exists()


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other", "head"])
def test_a_damaged_entry_is_read_anew_and_replaced(
    damage: str, tmp_path: Path, around: Mapping[str, str], read: list[str]
) -> None:
    reference = layout(tmp_path, BASE)
    expected = files(reference, around)
    (entry,) = folder(around).iterdir()
    whole = entry.read_bytes()
    spoiled = {
        "cut": whole[:-100],
        "flipped": whole[: len(whole) // 2] + bytes((whole[len(whole) // 2] ^ 1,)) + whole[len(whole) // 2 + 1 :],
        "empty": b"",
        "other": b"something else entirely" * 100,
        "head": whole.replace(MAGIC, b"x" * len(MAGIC)),
    }
    entry.write_bytes(spoiled[damage])
    assert files(reference, around) == expected
    assert len(read) == 2
    assert entry.read_bytes() == whole
    files(reference, around)
    assert len(read) == 2


def test_a_cache_that_cannot_be_written(tmp_path: Path, around: Mapping[str, str]) -> None:
    Path(around["HOME"], ".cache").write_text("a file")
    assert files(layout(tmp_path, BASE), around)


def test_the_least_recently_used_go_first(
    tmp_path: Path, around: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "MAX_SIZE", 80_000)
    layers = {name: layer(("etc/os-release", name), ("many.conf", os.urandom(16_000).hex())) for name in "abc"}
    for name, content in layers.items():
        files(layout(tmp_path / name, content), around)
        for age, path in enumerate(sorted(folder(around).iterdir(), key=lambda path: -path.stat().st_mtime)):
            os.utime(path, (1000 - 100 * age, 1000 - 100 * age))
    kept = list(folder(around).iterdir())
    assert sum(path.stat().st_size for path in kept) <= 80_000
    assert sha256(layers["c"]).replace(":", "-") in {path.name for path in kept}


def test_a_layout_may_change_its_compression(tmp_path: Path, around: Mapping[str, str], read: list[str]) -> None:
    """It is the content that is remembered."""
    files(layout(tmp_path / "one", BASE), around)
    made = Layout(tmp_path / "two")
    made.image((BASE,), stored={0: ("application/vnd.oci.image.layer.v1.tar", BASE)})
    files(str(made.folder), around)
    assert len(read) == 1
