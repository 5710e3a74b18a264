"""What was not kept of an image's layers is unknown: never a complaint, and never a pass where there was a complaint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gpucheck.contents.libraries import find_winners
from gpucheck.engine import judge
from gpucheck.facts import Unseen, Why
from gpucheck.finding import Outcome, Status
from gpucheck.images import capture
from gpucheck.images.capture import not_kept
from gpucheck.libs.command import run
from gpucheck.libs.targets import NoTarget
from gpucheck.probes import observe
from gpucheck.system import Rootfs, System
from tests.corpus.build import build
from tests.corpus.fixture import FOLDER, read
from tests.layers.test_equality import environment, in_layers, installed_in


class Forgetful:
    """A system of which one file's content was not kept."""

    def __init__(self, system: System) -> None:
        self._system = system
        self.lost: str | None = ""
        self.asked: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._system, name)

    def _look(self, path: str) -> None:
        real = self._system.resolve(path)
        if real is not None:
            self.asked.add(real)
            if real == self.lost:
                raise not_kept(path)

    def read(self, path: str, limit: int = 1 << 20, offset: int = 0) -> bytes:
        self._look(path)
        return self._system.read(path, limit, offset)

    def search(
        self, path: str, pattern: re.Pattern[bytes], offset: int, size: int, literal: bytes = b""
    ) -> bytes | None:
        self._look(path)
        return self._system.search(path, pattern, offset, size, literal)


def outcomes(system: System) -> Mapping[str, Outcome]:
    return {outcome.rule: outcome for outcome in judge(observe(system)).outcomes}


def invented(whole: Mapping[str, Outcome], partial: Mapping[str, Outcome]) -> list[tuple[str, Status, str]]:
    """What is said of fewer bytes and was not said of all of them, but for "unknown"."""
    return [
        (rule, now.status, now.complaints[0].summary if now.complaints else "")
        for rule, now in partial.items()
        if now.status is not Status.UNKNOWN
        and (now.status, [each.summary for each in now.complaints])
        != (whole[rule].status, [each.summary for each in whole[rule].complaints])
    ]


# A healthy image, one with a driver in it, one whose CuPy does not find NVRTC; what only a running system has does not matter here.
@pytest.mark.parametrize("fixture", ["healthy/torch-image", "faults/F086", "faults/F087", "healthy/cupy-toolkit"])
def test_each_file_in_turn(fixture: str, tmp_path: Path) -> None:
    system = Forgetful(build(read(FOLDER / f"{fixture}.toml"), tmp_path))
    whole = outcomes(system)
    files = sorted(system.asked)
    assert len(files) > 20
    for path in files:
        system.lost = path
        assert invented(whole, outcomes(system)) == [], path


def test_a_library_is_not_missing(tmp_path: Path) -> None:
    """As it was: 'does not find libcublas.so.13' for a libcublas whose header lies in the part that was let go."""
    system = Forgetful(build(read(FOLDER / "faults/F087.toml"), tmp_path))
    whole = outcomes(system)["library-missing"]
    assert whole.status is Status.FAIL
    (lost,) = (path for path in system.asked if path.endswith("/libcublas.so.13"))
    system.lost = lost
    found = outcomes(system)["library-missing"]
    assert found.status is Status.UNKNOWN
    assert "was not kept when its layer was read" in found.error
    assert lost in found.error


def test_commands_say_so(tmp_path: Path) -> None:
    system = Forgetful(build(read(FOLDER / "faults/F087.toml"), tmp_path))
    snapshot = observe(system)
    (system.lost,) = (path for path in system.asked if path.endswith("/libcublas.so.13"))
    with pytest.raises(
        NoTarget, match=r"libcublas\.so\.13: this part of the file was not kept when its layer was read"
    ):
        run(system, "cupy", symbols=True)
    (system.lost,) = (path for path in system.asked if path.endswith("/ld.so.cache"))
    winners, unread = find_winners(system, snapshot, ["libcublas.so.13"], ())
    assert winners == {"libcublas.so.13": []}
    assert "was not kept" in unread[0]
    (system.lost,) = (path for path in system.asked if re.search(r"/cupy_cuda13x[^/]*/METADATA$", path))
    packages = observe(system).packages
    assert isinstance(packages, Unseen)
    assert packages.why is Why.UNREADABLE


def test_a_small_head_over_real_wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each large library nearly everything is let go; ONNX Runtime without NVIDIA's wheels is really lacking some."""
    root, env = installed_in(tmp_path / "root", environment("onnxruntime-gpu"))
    for path in (root / "usr").rglob("*"):
        # Links to the cache's files: what Debian's torch needs, and this does not.
        if not path.is_symlink() and path.is_file() and path.stat().st_size > 10 << 20:
            path.unlink()
    whole = outcomes(Rootfs(str(root), env))
    assert whole["library-missing"].status is Status.FAIL
    monkeypatch.setattr(capture, "START", 1 << 14)
    monkeypatch.setattr(capture, "END", 1 << 10)
    layers = in_layers(root, env)
    partial = outcomes(layers)
    assert invented(whole, partial) == []
    assert partial["library-missing"].status is Status.UNKNOWN
    assert "was not kept" in partial["library-missing"].error
