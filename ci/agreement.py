"""What imports really load against what ``gpucheck libs`` predicts: ``python -m ci.agreement [NAME ...]``.

The witnesses are the dynamic linker itself (LD_DEBUG=files says who asks for what) and /proc/self/maps at the end of the
import (which files it became; in a root folder without /proc, the files that the linker initializes). Two questions are
asked of each environment:

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
from gpucheck.kb.traced import is_library
from gpucheck.libs.imports import belonging, import_closure
from gpucheck.libs.interpreter import start_interpreter
from gpucheck.libs.targets import Installed, find_target
from gpucheck.probes.python import pythons
from gpucheck.system import Local, Rootfs, System


@dataclass(frozen=True)
class Case:
    """An environment, and what is run in it."""

    setup: str
    """What fetches it: a script of ci/setup and its argument."""
    target: str
    code: str
    """The import, and where something is loaded at first use only, that use."""
    driver: int | None = None
    """The branch of the real driver libraries on LD_LIBRARY_PATH."""
    root: bool = False
    """Whether it is a root folder; then it is run in a chroot."""


CUPY = "import cupy; from cupy.cuda import cublas, cusparse, cusolver, curand, cufft; cupy.cuda.cufft"
CASES = {
    "torch": Case("torch.sh", "torch", "import torch"),
    "torch, driver 550": Case("torch.sh", "torch", "import torch; torch.cuda.is_available()", 550),
    "Debian's torch": Case("debian-torch.sh", "torch", "import torch", root=True),
    "onnxruntime-gpu": Case("wheels.sh onnxruntime-gpu", "onnxruntime", "import onnxruntime"),
    "cupy": Case("wheels.sh cupy", "cupy", "import cupy"),
    "cupy, in use": Case("wheels.sh cupy", "cupy", CUPY),
    "cupy, driver 535": Case("wheels.sh cupy", "cupy", CUPY, 535),
    "jax": Case("wheels.sh jax", "jax", "import jax; jax.devices()"),
    "jax, driver 550": Case("wheels.sh jax", "jax", "import jax; jax.devices()", 550),
    "tensorflow": Case("wheels.sh tensorflow", "tensorflow", "import tensorflow"),
    "xgboost": Case("wheels.sh xgboost", "xgboost", "import xgboost"),
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


class Place:
    """Where a case is: on this machine, or in a root folder."""

    def __init__(self, case: Case) -> None:
        """Raises ``FileNotFoundError`` with what fetches the case, when it was not fetched."""
        folder = cache() / case.setup.replace(".sh ", "/").removesuffix(".sh")
        if not (folder / "complete").exists() or (case.root and os.geteuid() != 0):
            raise FileNotFoundError(f"{case.setup}, and compare as root (chroot)" if case.root else case.setup)
        self.root = folder if case.root else None
        self.python = "/usr/bin/python3" if case.root else str(folder / "bin/python")
        env = {name: value for name, value in os.environ.items() if not name.startswith(("LD_", "CUDA_", "PYTHON"))}
        if case.root:
            env["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
        if case.driver:
            library = next((cache() / "drivers" / str(case.driver)).glob("usr/lib/*/nvidia/*/libcuda.so.1"), None)
            if library is None:
                raise FileNotFoundError(f"drivers.sh {case.driver}")
            env["LD_LIBRARY_PATH"] = str(library.parent)
        self.env = env
        self.system: System = Rootfs(str(folder), env) if case.root else Local(env)

    def real(self, path: str) -> str:
        """The path without links."""
        return self.system.resolve(path) or path

    def observe(self, code: str) -> Observed:
        """Run code in a child with the dynamic linker's log on."""
        root = self.root
        with tempfile.TemporaryDirectory(dir=root / "tmp" if root else None) as folder:
            inside = folder if root is None else f"/{Path(folder).relative_to(root)}"
            # chroot and env become the interpreter, so that its process id is the child's; they themselves are not watched.
            within = [] if root is None else ["chroot", str(root)]
            watched = ["env", "LD_DEBUG=files", f"LD_DEBUG_OUTPUT={inside}/log"]
            child = subprocess.Popen(
                [*within, *watched, self.python, "-c", code + (MAPS if root is None else "")],
                env=self.env,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            printed, _ = child.communicate(timeout=300)
            lines = Path(folder, f"log.{child.pid}").read_text(errors="replace").splitlines()
        if child.returncode:
            raise SystemExit(f"{self.python} -c {code!r} ended with {child.returncode}")
        opened: list[tuple[str, str]] = []
        needed: set[tuple[str, str]] = set()
        files: set[str] = set()
        for line in lines:
            if found := re.search(r"file=(.*) \[\d+\];  dynamically loaded by (.*) \[\d+\]$", line):
                opened.append((found[1], found[2]))
            elif found := re.search(r"file=(.*) \[\d+\];  needed by (.*) \[\d+\]$", line):
                needed.add((found[1], self.real(found[2])))
            elif root and (found := re.search(r"calling init: (/.*)$", line)):
                files.add(found[1])
        files |= {line.removeprefix("MAPPED ") for line in printed.splitlines() if line.startswith("MAPPED ")}
        libraries = {self.real(path) for path in files if re.search(r"\.so(\.|$)", path.rsplit("/", 1)[-1])}
        return Observed(tuple(opened), frozenset(needed), frozenset(libraries))

    def replay(self, seen: Observed) -> Iterator[Resolution]:
        """What the model makes of the same calls of dlopen."""
        process = start(self.system, self.python)
        for name, caller in seen.opened:
            real = self.real(caller)
            process.dlopen(name, next((item for item in process.objects if self.real(item.path) == real), process.main))
        yield from process.resolutions

    def predict(self, target: str) -> tuple[Installed, Closure]:
        """What ``gpucheck libs TARGET`` says."""
        found = find_target(self.system, target, pythons(self.system, self.python))
        assert isinstance(found, Installed), found
        return found, import_closure(self.system, found, start_interpreter(self.system, found.environment))


def compare(case: Case) -> Agreement:
    """Observe, replay, predict, compare. Raises ``FileNotFoundError`` when something was not fetched."""
    place = Place(case)
    seen = place.observe(case.code)
    astray = tuple(astray_needed(place, seen))
    installed, closure = place.predict(case.target)

    said = {place.real(each.path) for each in closure.resolutions if each.path and not each.fatal}
    names = {os.path.basename(name) for name, _ in seen.opened}
    paths = {place.real(name) for name, _ in seen.opened if "/" in name}
    by_dlopen = {path for path in seen.files if path in paths or os.path.basename(path) in names}
    own = {place.real(path) for each in belonging(place.system, installed) for path in each.libraries}
    relevant = {path for path in seen.files if path in own or is_library(path)}
    ours = by_dlopen & relevant
    return Agreement(
        len(seen.files),
        (len(seen.needed) - len(astray), len(seen.needed)),
        (len(ours & said), len(ours)),
        (len(by_dlopen & said), len(by_dlopen)),
        (len(relevant & said), len(relevant)),
        (*astray, *wrong_predictions(place, seen, closure)),
    )


def astray_needed(place: Place, seen: Observed) -> Iterator[str]:
    """Every DT_NEEDED entry for which the replayed model finds another file than the process."""
    paths = {
        (each.soname, place.real(each.requester)): place.real(each.path)
        for each in place.replay(seen)
        if each.path and each.requester and each.edge == "needed"
    }
    names = {os.path.basename(file) for file in seen.files}
    for name, requester in sorted(seen.needed):
        path = paths.get((name, requester))
        if path not in seen.files and not (path is None and name not in names):
            yield f"{name}, needed by {requester}: the model says {path}, which is not mapped"


def wrong_predictions(place: Place, seen: Observed, closure: Closure) -> Iterator[str]:
    """What ``gpucheck libs`` says and the process contradicts."""
    by_name = {os.path.basename(path): path for path in seen.files}
    modules = {id(each.resolution) for each in closure.opened if each.when.startswith("import ")}
    for each in closure.resolutions:
        if each.path and not each.fatal and id(each) not in modules:
            # Extension modules have names of their own in each package.
            path = place.real(each.path)
            mapped = by_name.get(os.path.basename(path), path)
            if mapped != path:
                yield f"{each.soname}: predicted {path}, mapped is {mapped}"
    for opening in closure.opened:
        each = opening.resolution
        if opening.when == "import" and each.path and not each.fatal and place.real(each.path) not in seen.files:
            yield f"{each.soname}: predicted to be loaded by the import, and is not"
    for each in closure.missing:
        if each.path is None and (other := by_name.get(os.path.basename(each.soname))):
            yield f"{each.soname}: predicted to be missing, mapped is {other}"
    yield from (lack.message for lack in closure.lacks)


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
