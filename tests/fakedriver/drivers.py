"""Fake drivers for tests, and programs that run on them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from gpucheck.fakedriver import library
from tests.cache import runtime_environment
from tests.needs import missing

#: What each version's wheel calls its libcudart.
RUNTIMES = {"11.8.89": "libcudart.so.11.0", "12.9.79": "libcudart.so.12", "13.5.37": "libcudart.so.13"}

#: Before each program: say() collects what it prints as JSON; call() says each call's code.
PRELUDE = """
import ctypes, json, sys
from ctypes import byref, c_int, c_size_t, c_void_p, c_char_p, create_string_buffer
def say(value):
    print(json.dumps(value), flush=True)
"""


@cache
def built() -> Path:
    """The libraries, compiled; without a compiler the test is skipped."""
    try:
        return library.build()
    except library.CannotBuild as error:
        missing("the fake driver", str(error))


def environment(folder: Path, script: str, **variables: str) -> dict[str, str]:
    """The variables that make a program use a driver with this script; nothing of the machine's own CUDA settings."""
    base = {name: value for name, value in os.environ.items() if not name.startswith(("LD_", "CUDA_", "NVIDIA_"))}
    return {**library.environment(library.lay_out(folder, script, built()), base), **variables}


def run(script: str, program: str, *arguments: str, python: str = sys.executable, **variables: str) -> list[Any]:
    """What a Python program says on a driver with this script."""
    with tempfile.TemporaryDirectory() as folder:
        ran = subprocess.run(
            [python, "-c", PRELUDE + program, *arguments],
            env=environment(Path(folder), script, **variables),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def runtime(version: str) -> str:
    """The path of a real libcudart."""
    (found,) = runtime_environment(version).glob(f"lib/python*/site-packages/nvidia/*/lib/{RUNTIMES[version]}")
    return str(found)
