"""What imports really load against what ``gpucheck libs`` predicts: ``python -m ci.agreement [NAME ...]``.

The witnesses are the dynamic linker itself (LD_DEBUG=files says who asks for what) and /proc/self/maps at the end of the
import (which files it became). Two questions are asked of each environment:

1. Told only which names are opened by dlopen(3), does the model find the same file for every DT_NEEDED entry? The calls of
   dlopen are replayed; every file of the process counts, the interpreter's and those of other packages too.
2. Told nothing but the target, how many of the calls of dlopen are foreseen, and is any file foreseen wrongly: a name that
   gives another file, or a file that the import is said to load and does not?

Prints a table; exits with 1 when a DT_NEEDED entry or a prediction is wrong.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gpucheck.elf.closure import Closure
from gpucheck.elf.resolution import Resolution
from gpucheck.elf.search import start
from gpucheck.libs.imports import belonging, import_closure
from gpucheck.libs.interpreter import start_interpreter
from gpucheck.libs.targets import Installed, find_target
from gpucheck.probes.python import pythons
from gpucheck.system import Local
from gpucheck.trace.names import is_library

@dataclass(frozen=True)
class Case:
    """An environment, and what is run in it."""

    folder: str
    """Below the cache."""
    target: str
    code: str
    """The import, and where something is loaded at first use only, that use."""
    driver: int | None = None
    """The branch of the real driver libraries on LD_LIBRARY_PATH."""


CUPY = "import cupy; from cupy.cuda import cublas, cusparse, cusolver, curand, cufft; cupy.cuda.cufft"
CASES = {
    "torch": Case("torch", "torch", "import torch"),
    "torch, driver 550": Case("torch", "torch", "import torch; torch.cuda.is_available()", 550),
    "onnxruntime-gpu": Case("wheels/onnxruntime-gpu", "onnxruntime", "import onnxruntime"),
    "cupy": Case("wheels/cupy", "cupy", "import cupy"),
    "cupy, in use": Case("wheels/cupy", "cupy", CUPY),
    "cupy, driver 535": Case("wheels/cupy", "cupy", CUPY, 535),
    "jax": Case("wheels/jax", "jax", "import jax; jax.devices()"),
    "jax, driver 550": Case("wheels/jax", "jax", "import jax; jax.devices()", 550),
    "tensorflow": Case("wheels/tensorflow", "tensorflow", "import tensorflow"),
    "xgboost": Case("wheels/xgboost", "xgboost", "import xgboost"),
}
MAPS = "\nfor line in open('/proc/self/maps'):\n    if line.count('/'): print('MAPPED', line[line.index('/'):], end='')"


@dataclass(frozen=True)
class Observed:
    """A process that ran."""

    opened: tuple[tuple[str, str], ...]
    """(name, caller) of every call of dlopen, in order."""
    needed: frozenset[tuple[str, str]]
    """(name, real path of the object that needs it)."""
    files: frozenset[str]
    """The real paths of the shared objects that are mapped at the end."""


@dataclass(frozen=True)
class Agreement:
    """How prediction and observation compare."""

    files: int
    needed: tuple[int, int]
    """(DT_NEEDED entries for which the model finds a mapped file, all)."""
    gpu: tuple[int, int]
    """(foreseen, all) files opened by dlopen that are the target's own or GPU libraries."""
    opened: tuple[int, int]
    """The same of all files opened by dlopen, with the interpreter's own and those of other packages."""
    mapped: tuple[int, int]
    """(foreseen, all) of the mapped files that are the target's own or GPU libraries, however they got there."""
    wrong: tuple[str, ...]

    @property
    def right(self) -> bool:
        return not self.wrong and self.needed[0] == self.needed[1]


def cache() -> Path:
    """The folder for what takes long to fetch."""
    chosen = os.environ.get("GPU_CAPABLE_CACHE")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpu-capable"


def observe(python: str, code: str, env: dict[str, str]) -> Observed:
    """Run code in a child with the dynamic linker's log on."""
    with tempfile.TemporaryDirectory() as folder:
        log = f"{folder}/log"
        child = subprocess.Popen(
            [python, "-c", code + MAPS],
            env={**env, "LD_DEBUG": "files", "LD_DEBUG_OUTPUT": log},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        printed, _ = child.communicate(timeout=300)
        lines = Path(f"{log}.{child.pid}").read_text(errors="replace").splitlines()
    if child.returncode:
        raise SystemExit(f"{python} -c {code!r} ended with {child.returncode}")
    opened, needed = [], set()
    for line in lines:
        if found := re.search(r"file=(.*) \[\d+\];  dynamically loaded by (.*) \[\d+\]$", line):
            opened.append((found[1], found[2]))
        elif found := re.search(r"file=(.*) \[\d+\];  needed by (.*) \[\d+\]$", line):
            needed.add((found[1], os.path.realpath(found[2])))
    mapped = {line.removeprefix("MAPPED ") for line in printed.splitlines() if line.startswith("MAPPED ")}
    libraries = {os.path.realpath(path) for path in mapped if re.search(r"\.so(\.|$)", path.rsplit("/", 1)[-1])}
    return Observed(tuple(opened), frozenset(needed), frozenset(libraries))


def replay(python: str, seen: Observed, env: dict[str, str]) -> Iterator[Resolution]:
    """What the model makes of the same calls of dlopen."""
    process = start(Local(env), python, env=env)
    for name, caller in seen.opened:
        real = os.path.realpath(caller)
        item = next((item for item in process.objects if os.path.realpath(item.path) == real), process.main)
        process.dlopen(name, item)
    yield from process.resolutions


def predict(python: str, target: str, env: dict[str, str]) -> tuple[Installed, Closure]:
    """What ``gpucheck libs TARGET`` says."""
    system = Local(env)
    environments = pythons(system, python)
    found = find_target(system, target, environments)
    assert isinstance(found, Installed), found
    return found, import_closure(system, found, start_interpreter(system, found.environment))


def python_of(case: Case) -> Path:
    """The interpreter of an environment, which may not be there."""
    return cache() / case.folder / "bin/python"


def compare(case: Case) -> Agreement:
    """Observe, replay, predict, compare. Raises ``FileNotFoundError`` when something was not fetched."""
    python, target = str(python_of(case)), case.target
    env = {name: value for name, value in os.environ.items() if not name.startswith(("LD_", "CUDA_", "PYTHON"))}
    if case.driver:
        libraries = next((cache() / "drivers" / str(case.driver)).glob("usr/lib/*/nvidia/*/libcuda.so.1"), None)
        if libraries is None:
            raise FileNotFoundError(f"drivers.sh {case.driver}")
        env["LD_LIBRARY_PATH"] = str(libraries.parent)
    if not python_of(case).exists():
        raise FileNotFoundError(f"{case.folder}.sh".replace("wheels/", "wheels.sh ").removesuffix(".sh" if "/" in case.folder else ""))
    seen = observe(python, case.code, env)
    wrong: list[str] = []

    # 1. Every DT_NEEDED entry.
    paths: dict[tuple[str, str], str] = {}
    for each in replay(python, seen, env):
        if each.path and each.requester and each.edge == "needed":
            paths[each.soname, os.path.realpath(each.requester)] = os.path.realpath(each.path)
    found = 0
    for name, requester in sorted(seen.needed):
        path = paths.get((name, requester))
        mapped = any(os.path.basename(file) == name for file in seen.files)
        if path in seen.files or (path is None and not mapped):
            found += 1
        else:
            wrong.append(f"{name}, needed by {requester}: the model says {path}, which is not mapped")

    # 2. The target alone.
    installed, closure = predict(python, target, env)
    said = {os.path.realpath(each.path): each for each in closure.resolutions if each.path and not each.fatal}
    names = {os.path.basename(name) for name, _ in seen.opened}
    by_dlopen = {
        path
        for path in seen.files
        if os.path.basename(path) in names or any(os.path.realpath(name) == path for name, _ in seen.opened)
    }
    own = {os.path.realpath(path) for each in belonging(Local(env), installed) for path in each.libraries}
    relevant = {path for path in seen.files if path in own or is_library(path)}
    ours = by_dlopen & relevant

    by_name = {os.path.basename(path): path for path in seen.files}
    modules = {id(each.resolution) for each in closure.opened if each.when.startswith("import ")}
    for path, each in said.items():
        # Extension modules have names of their own in each package.
        other = by_name.get(os.path.basename(path))
        if other is not None and other != path and id(each) not in modules:
            wrong.append(f"{each.soname}: predicted {path}, mapped is {other}")
    for opening in closure.opened:
        each = opening.resolution
        if opening.when == "import" and each.path and not each.fatal and os.path.realpath(each.path) not in seen.files:
            wrong.append(f"{each.soname}: predicted to be loaded by the import, and is not")
    wrong += [lack.message for lack in closure.lacks]
    return Agreement(
        len(seen.files),
        (found, len(seen.needed)),
        (len(ours & said.keys()), len(ours)),
        (len(by_dlopen & said.keys()), len(by_dlopen)),
        (len(relevant & said.keys()), len(relevant)),
        tuple(wrong),
    )


def main() -> int:
    """Print one line for each environment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CASES))
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(CASES):
        parser.error(f"no environment {', '.join(unknown)}: choose of {', '.join(CASES)}")
    row = "{:<18} {:>5}  {:>9}  {:>14}  {:>15}  {:>10}  {:>5}"
    print(row.format("import", "files", "DT_NEEDED", "own, GPU files", "own, GPU dlopen", "all dlopen", "wrong"))
    right = True
    for name in arguments.names or CASES:
        try:
            result = compare(CASES[name])
        except FileNotFoundError as error:
            print(f"{name:<18} not compared; fetch it with: ci/setup/{error}")
            continue
        columns = (f"{a}/{b}" for a, b in (result.needed, result.mapped, result.gpu, result.opened))
        print(row.format(name, result.files, *columns, len(result.wrong)))
        for line in result.wrong:
            print(f"    {line}")
        right = right and result.right
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
