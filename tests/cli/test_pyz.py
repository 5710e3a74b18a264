"""gpucheck as one file, under every Python that this machine has, with nothing installed."""

from __future__ import annotations

import glob
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.needs import missing

PYZ = Path(__file__).parents[2] / "dist" / "gpucheck.pyz"


def pythons() -> list[str]:
    """Interpreters of 3.10 and newer: this one, those on PATH, those of pyenv; one of each version."""
    names = [sys.executable, *(shutil.which(f"python3.{minor}") or "" for minor in range(10, 16))]
    names += glob.glob(os.path.expanduser("~/.pyenv/versions/3.*/bin/python3"))
    found: dict[str, str] = {}
    for name in filter(None, names):
        asked = subprocess.run(
            [name, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True,
            text=True,
            check=False,
        )
        version = asked.stdout.strip()
        if asked.returncode == 0 and tuple(map(int, version.split("."))) >= (3, 10):
            found.setdefault(version, name)
    return [found[version] for version in sorted(found)]


@pytest.mark.parametrize("python", pythons())
def test_one_file_runs_with_nothing_installed(python: str, tmp_path: Path) -> None:
    if not PYZ.exists():
        missing("gpucheck as one file", "run: make pyz")
    shutil.copy(PYZ, tmp_path / "gpucheck.pyz")
    ran = subprocess.run(
        [python, "-I", "-S", "gpucheck.pyz", "doctor", "--format", "json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode in (0, 1, 3), ran.stderr
    report = json.loads(ran.stdout)
    assert report["snapshot"]["schema"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["gpucheck.pyz"]


def test_one_file_is_small_and_pure() -> None:
    if not PYZ.exists():
        missing("gpucheck as one file", "run: make pyz")
    with zipfile.ZipFile(PYZ) as archive:
        names = archive.namelist()
    assert PYZ.stat().st_size < 1 << 20
    assert not [
        name
        for name in names
        if name.endswith((".so", ".pyc")) or name.split("/")[0] in ("rich", "pydantic", "kubernetes")
    ]


def test_a_python_that_is_too_old_is_told_so() -> None:
    old = next(iter(glob.glob(os.path.expanduser("~/.pyenv/versions/3.[6-9].*/bin/python3"))), None) or shutil.which(
        "python3.9"
    )
    if old is None:
        missing("a Python before 3.10", "install one, for example with pyenv")
    ran = subprocess.run([old, str(PYZ)], capture_output=True, text=True, check=False)
    assert ran.stderr.startswith("gpucheck needs Python 3.10 or newer; this is 3.")
    assert ran.returncode == 1
