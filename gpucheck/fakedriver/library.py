"""Builds the fake libraries and lays them out as a driver's are."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from gpucheck.fakedriver import tables

#: The file of each library without its version, and the C file that makes it.
LIBRARIES = {"libcuda.so": "libcuda.c", "libnvidia-ml.so": "libnvml.c"}

FLAGS = ("-std=gnu11", "-O2", "-g", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror")

#: The script's file in a laid-out driver.
FILE = "fake-driver.conf"

SCRIPT = "GPUCHECK_FAKE_DRIVER"
LOG = "GPUCHECK_FAKE_DRIVER_LOG"


class CannotBuild(Exception):
    """There is no compiler, or it did not accept the sources; one line that says so."""


class BadScript(Exception):
    """The script is not understood; one line with the place and the reason."""


def build(compiler: str = "", flags: tuple[str, ...] = (), folder: Path | None = None) -> Path:
    """Compile both libraries and return the folder with libcuda.so and libnvidia-ml.so.

    ``compiler``: a command, by default cc or gcc. ``folder``: where to put them; by default a place in the cache, where an
    earlier result of the same sources, compiler and flags is used again. Raises CannotBuild.
    """
    command = compiler.split() or [
        next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), "")
    ]
    if not command[0] or not shutil.which(command[0]):
        wanted = compiler or "cc"
        raise CannotBuild(
            f'no C compiler "{wanted}" is there: install one (apt install gcc libc6-dev) or name one with --cc'
        )
    sources = {
        entry.name: entry.read_text(encoding="utf-8") for entry in files(__package__ or "").joinpath("source").iterdir()
    }
    sources = {name: text for name, text in sources.items() if name.endswith((".c", ".h"))}
    sources.update(tables.headers(sources))
    digest = hashlib.sha256(repr((sorted(sources.items()), command, flags)).encode()).hexdigest()[:16]
    place = folder or _cache() / "fake-driver" / digest
    if folder is None and all((place / name).exists() for name in LIBRARIES):
        return place
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place) as work:
        for name, text in sources.items():
            Path(work, name).write_text(text, encoding="utf-8")
        for name, source in LIBRARIES.items():
            soname = f"-Wl,-soname,{name}.1"
            ran = subprocess.run(
                [*command, *FLAGS, *flags, soname, source, "-o", name, "-lpthread"],
                cwd=work,
                capture_output=True,
                text=True,
                check=False,
            )
            if ran.returncode:
                first = next((line for line in ran.stderr.splitlines() if "error" in line), ran.stderr.strip()[:200])
                raise CannotBuild(f"{command[0]} did not compile {source}: {first}")
        for name in LIBRARIES:
            os.replace(Path(work, name), place / name)
    return place


def lay_out(folder: Path, script: str, built: Path | None = None) -> dict[str, str]:
    """Put a driver with this script into ``folder``; return the variables that make programs use it.

    The files are named as a real driver's, ``libcuda.so.580.95.05`` with the link ``libcuda.so.1``. Raises CannotBuild,
    BadScript.
    """
    built = built or build()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    path.write_text(script, encoding="utf-8")
    check(path, built)
    version = next(
        (
            value.strip()
            for line in script.splitlines()
            for key, _, value in [line.partition("=")]
            if key.strip() == "driver"
        ),
        "580.95.05",
    )
    # A real driver has its compiler of PTX beside it; this one compiles nothing, so that nobody opens the file.
    for name, source in {**{each: each for each in LIBRARIES}, "libnvidia-ptxjitcompiler.so": "libcuda.so"}.items():
        shutil.copy2(built / source, folder / f"{name}.{version}")
        link = folder / f"{name}.1"
        link.unlink(missing_ok=True)
        link.symlink_to(f"{name}.{version}")
    return {"LD_LIBRARY_PATH": str(folder), SCRIPT: str(path)}


def environment(added: Mapping[str, str], base: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment with a laid-out driver in front of what LD_LIBRARY_PATH has already."""
    whole = dict(os.environ if base is None else base)
    before = whole.get("LD_LIBRARY_PATH", "")
    whole.update(added)
    if before:
        whole["LD_LIBRARY_PATH"] = f"{added['LD_LIBRARY_PATH']}:{before}"
    return whole


#: Run by a Python of its own, because a library reads its script once in a process.
_ASK = """
import ctypes, sys
for path in sys.argv[1:]:
    library = ctypes.CDLL(path)
    library.gpucheckFakeDriverProblem.restype = ctypes.c_char_p
    problem = library.gpucheckFakeDriverProblem()
    if problem:
        sys.stdout.buffer.write(problem)
        break
"""


def check(path: Path, built: Path | None = None) -> None:
    """Let both libraries read a script; raises BadScript with what they say of it."""
    built = built or build()
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _ASK, *(str(built / name) for name in LIBRARIES)],
        env={**os.environ, SCRIPT: str(path)},
        capture_output=True,
        check=False,
    )
    if ran.stdout:
        raise BadScript(ran.stdout.decode(errors="replace"))
    if ran.returncode:
        raise CannotBuild(f"the built libraries cannot be loaded: {ran.stderr.decode(errors='replace').strip()[-200:]}")


def _cache() -> Path:
    if chosen := os.environ.get("GPU_CAPABLE_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpu-capable"
