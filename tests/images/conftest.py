"""The Docker Engine of this machine, and the images that the tests share: each is built once in a run of the tests."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from ci.engine import Engine, EngineError, find_engine
from tests.needs import missing

ROOT = Path(__file__).resolve().parents[2]

#: One name for one checkout: two checkouts on one engine do not meet, and each run replaces the images of the last.
PREFIX = f"gpu-capable-test-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]}"

UPSTREAM = "debian:trixie-slim"

Once = Callable[[str, Callable[[], Any]], Any]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Does something once in a run, whichever worker comes first; the others get what it returned (as JSON)."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent

    def do(name: str, make: Callable[[], Any]) -> Any:
        with FileLock(folder / f"{name}.lock"):
            done = folder / f"{name}.json"
            if not done.exists():
                done.write_text(json.dumps(make()))
            return json.loads(done.read_text())

    return do


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The engine that answers here."""
    try:
        return find_engine()
    except EngineError as error:
        missing(f"whatever needs a Docker Engine ({error})", "run ci/setup/docker-engine.sh")


@pytest.fixture(scope="session")
def upstream(engine: Engine, once: Once) -> str:
    """The upstream image, made locally or pulled."""

    def find() -> bool:
        return any(engine.run(*how, UPSTREAM).returncode == 0 for how in (("image", "inspect"), ("pull",)))

    if not once("upstream", find):
        missing(f"the images: {UPSTREAM} cannot be pulled", "run ci/setup/debian-image.sh")
    return UPSTREAM


@pytest.fixture(scope="session")
def pyz(once: Once) -> Path:
    """gpucheck as one file, of the present source; and its wheel is beside it."""

    def make() -> str:
        done = subprocess.run(["make", "-C", str(ROOT), "pyz", "wheel"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return str(ROOT / "dist" / "gpucheck.pyz")

    return Path(once("pyz", make))


@pytest.fixture(scope="session")
def images(upstream: str, pyz: Path, once: Once) -> dict[str, str]:
    """The images of the matrix, built from the local upstream: row name to image name."""

    def build() -> dict[str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "ci.images", "build", "--upstream", upstream, "--tag-prefix", PREFIX],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        lines = [
            line.split()[2].rstrip(",") for line in done.stderr.splitlines() if line.startswith("images: building ")
        ]
        return {name.split("/")[-1].split(":")[0]: name for name in lines}

    found: dict[str, str] = once("images", build)
    return found
