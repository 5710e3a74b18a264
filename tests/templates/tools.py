"""The commands that the tests run on a project, and the environment they get."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.needs import missing


def find_tool(name: str, untested: str) -> str:
    """A command of this environment or of the machine."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    return found or missing(untested, f"pip install the package that has {name}: pip install --group dev")


def run(*command: str, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, at most ten minutes."""
    given = None if env is None else dict(env)
    return subprocess.run(command, cwd=cwd, env=given, capture_output=True, text=True, timeout=600, check=False)


def make_laptop(folder: Path) -> dict[str, str]:
    """The environment of a user without gpucheck: uv and the system's commands, none of this test run's own variables."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "uv").symlink_to(Path(find_tool("uv", "a project with its own environment")).resolve())
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST", "COV", "GPU", "VIRTUAL_ENV", "PYTHON")) and name not in ("CI", "TAG")
    }
    python = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    if sys.version_info < (3, 11):
        python = "3.11"
    return {**kept, "PATH": f"{folder}:/usr/bin:/bin", "UV_PYTHON": python, "UV_NO_PROGRESS": "1"}
