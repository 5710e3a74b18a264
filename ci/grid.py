"""Real drivers x real CUDA runtimes, without a GPU, against what gpucheck predicts from their files: ``python -m ci.grid``.

Each runtime is loaded over each driver in a process of its own and asked for its version, the driver's and the number of
devices. The prediction is the doctor's with no call made: its probes look at the same files and environment, its rules
judge. Compared are the code of cudaGetDeviceCount, the CUDA version of the driver, the runtime's own version, and the cause.

``ci/setup/drivers.sh all`` and ``ci/setup/runtimes.sh all`` fetch what is not in the cache. Prints a table, and each pair
where they differ; exits with 1 when there is one. ``--markdown FILE`` writes the page docs/grid.md.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from gpucheck import kb
from gpucheck.engine import judge
from gpucheck.kb import drivers
from gpucheck.probes.observation import observe
from gpucheck.rules import reading
from gpucheck.system import Local
from gpucheck.system.local import Child
from gpucheck.versions import CudaVersion

ROOT = Path(__file__).resolve().parent.parent

#: The causes that a pair can have; without one the runtime accepts the driver and finds no device (100).
CAUSES = ("libcuda-missing", "libcuda-for-other-processor", "libcuda-unloadable", "driver-too-old")

#: Run with the driver on LD_LIBRARY_PATH: says what each library answers, each in a child, so that none finds what another
#: left loaded. Of gpucheck it uses nothing.
WITNESS = """
import ctypes, os, sys
def ask(library, *names):
    said = {}
    try:
        opened = ctypes.CDLL(library)
    except OSError as error:
        return {"dlopen": str(error)}
    for name in names:
        number = ctypes.c_int(-1)
        said[name] = (getattr(opened, name)(ctypes.byref(number)), number.value)
    return said
questions = [("libcuda.so.1", "cuDriverGetVersion")]
# Before CUDA 12 cudaRuntimeGetVersion initialises the driver, and fails with it.
questions += [(path, "cudaDriverGetVersion", "cudaRuntimeGetVersion", "cudaGetDeviceCount") for path in sys.argv[1:]]
for question in questions:
    child = os.fork()
    if child == 0:
        os.write(1, (ascii((question[0], ask(*question))) + "\\n").encode())
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if status:
        os.write(1, (ascii((question[0], {"died": status})) + "\\n").encode())
"""


@dataclass(frozen=True)
class Driver:
    """A driver's libraries in a folder; none: the machine without one."""

    name: str
    folder: Path | None

    @property
    def environment(self) -> dict[str, str]:
        """Ours, with nothing else that changes which libcuda is found."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LD_", "CUDA_", "NVIDIA_"))}
        if self.folder is None:
            return kept
        (library,) = self.folder.glob("usr/lib/*-linux-gnu/nvidia/*/libcuda.so.1")
        # libnvidia-fatbinaryloader lies beside the folder nvidia.
        return {**kept, "LD_LIBRARY_PATH": f"{library.parent}:{library.parent.parent.parent}"}


@dataclass(frozen=True)
class Runtime:
    """A libcudart in the folder of an environment."""

    version: str
    folder: Path

    @property
    def library(self) -> Path:
        (found,) = {path.resolve() for path in self.folder.glob("lib/**/libcudart.so.*")}
        return found


@dataclass(frozen=True)
class Answer:
    """What a pair answers, or is predicted to."""

    code: int
    """cudaGetDeviceCount."""
    driver: str
    """The driver's CUDA version; '' when no libcuda can be loaded."""
    runtime: str
    """The runtime's CUDA version."""
    cause: str
    """One of ``CAUSES``, with the library that is lacking where one is; '' when the runtime accepts the driver."""


@dataclass(frozen=True)
class Pair:
    """A cell of the grid."""

    driver: str
    runtime: str
    measured: Answer
    predicted: Answer

    @property
    def right(self) -> bool:
        return self.measured == self.predicted


class Silent(Local):
    """This machine, where no child process can be started: the doctor's probes see files and environment alone."""

    def start(self, *argv: str, timeout: float) -> Child:
        raise OSError(1, "no call is made", argv[0])


def fetch(script: str, *names: str) -> dict[str, Path]:
    """The folders that a script of ci/setup prints, by name; what is not in the cache is fetched."""
    ran = subprocess.run(
        [ROOT / "ci/setup" / script, *names], check=True, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL
    )
    return {name: Path(folder) for name, folder in (line.split(maxsplit=1) for line in ran.stdout.splitlines())}


def measure(driver: Driver, runtimes: Sequence[Runtime]) -> Iterator[Answer]:
    """What each runtime really answers over the driver."""
    paths = [str(runtime.library) for runtime in runtimes]
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", WITNESS, *paths],
        env=driver.environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    said: dict[str, dict[str, object]] = dict(map(ast.literal_eval, ran.stdout.splitlines()))
    refused = str(said["libcuda.so.1"].get("dlopen", ""))
    for runtime, path in zip(runtimes, paths):
        answer = said[path]
        code, version, own = (
            _pair(answer, name) for name in ("cudaGetDeviceCount", "cudaDriverGetVersion", "cudaRuntimeGetVersion")
        )
        cuda = CudaVersion.from_code(version[1])
        cause = ""
        if code[0] == 35:
            cause = "driver-too-old" if cuda else _cause_of(driver, refused)
        yield Answer(
            code[0],
            str(cuda or ""),
            # Before CUDA 12 it says its version only where it can start; then the one in its name is believed.
            str(CudaVersion.from_code(own[1]) if own[0] == 0 else CudaVersion.parse(runtime.version)),
            cause,
        )


def _pair(said: Mapping[str, object], name: str) -> tuple[int, int]:
    found = said.get(name)
    return found if isinstance(found, tuple) else (-1, 0)


def _cause_of(driver: Driver, refused: str) -> str:
    """From the real linker's words: glibc names the library that is not found, and not always why."""
    lacking = re.match(r"(\S+): cannot open shared object file", refused)
    if lacking and not lacking[1].startswith("libcuda.so"):
        return f"libcuda-unloadable: {lacking[1]}"
    return "libcuda-unloadable" if driver.folder else "libcuda-missing"


def predict(driver: Driver, runtime: Runtime) -> Answer:
    """What the doctor says of the same files when it may call nothing."""
    snapshot = observe(Silent(driver.environment), str(runtime.folder))
    found = {finding.rule: finding for finding in judge(snapshot).everything()}
    cause = next((cause for cause in CAUSES if cause in found), "")
    (copy,) = snapshot.runtimes
    own = str(copy.cuda or "")
    if cause.startswith("libcuda"):
        if cause == "libcuda-for-other-processor":
            # ld.so passes such files over, and says no more than that it found none: for it, this is the same.
            return Answer(35, "", own, "libcuda-unloadable")
        lacking = re.search(r"needs (\S+), which is not found", found[cause].summary)
        return Answer(35, "", own, f"{cause}: {lacking[1]}" if lacking else cause)
    version, supported = reading.driver_version(snapshot), reading.supported_cuda(snapshot)
    if version is None or supported is None:
        return Answer(-1, "", own, "the driver's version is not known")
    if cause and copy.cuda not in drivers.unrefusing():
        return Answer(35, str(supported[0]), own, cause)
    # There is no GPU here, which the driver finds when the runtime initialises it.
    branch = kb.branches().get(version[0].branch)
    return Answer((branch and branch.without_gpu) or 100, str(supported[0]), own, "")


def row(driver: Driver, runtimes: Sequence[Runtime]) -> tuple[Pair, ...]:
    """All runtimes over one driver."""
    return tuple(
        Pair(driver.name, runtime.version, measured, predict(driver, runtime))
        for runtime, measured in zip(runtimes, measure(driver, runtimes))
    )


def compare(drivers: Sequence[Driver], runtimes: Sequence[Runtime], processes: int = 1) -> tuple[Pair, ...]:
    """The grid, driver by driver."""
    with ProcessPoolExecutor(processes) as pool:
        rows = pool.map(row, drivers, [runtimes] * len(drivers))
        return tuple(pair for pairs in rows for pair in pairs)


def table(pairs: Sequence[Pair]) -> list[list[str]]:
    """Runtimes down, drivers across; a code each, with what it was predicted to be where that differs."""
    drivers, runtimes = (list(dict.fromkeys(names)) for names in zip(*((pair.driver, pair.runtime) for pair in pairs)))
    cells = {(pair.driver, pair.runtime): pair for pair in pairs}
    heads = {pair.driver: pair.measured.driver or "none" for pair in pairs}
    lines = [["driver", *drivers], ["its CUDA", *(heads[driver] for driver in drivers)]]
    for runtime in runtimes:
        found = (cells[driver, runtime] for driver in drivers)
        lines.append([runtime, *(f"{pair.measured.code}" + ("" if pair.right else "!") for pair in found)])
    return lines


def summary(pairs: Sequence[Pair]) -> str:
    """One line: how many, and how many agree."""
    drivers, runtimes = ({getattr(pair, name) for pair in pairs} for name in ("driver", "runtime"))
    right = sum(pair.right for pair in pairs)
    return (
        f"{len(drivers)} drivers x {len(runtimes)} runtimes = {len(pairs)} pairs; predicted right: {right}/{len(pairs)}"
    )


def page(pairs: Sequence[Pair], on: date) -> str:
    """docs/grid.md."""
    lines = table(pairs)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rows = ["| " + " | ".join(cell.rjust(width) for cell, width in zip(line, widths)) + " |" for line in lines]
    rows.insert(1, "|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|")
    unloadable = sorted({(pair.driver, pair.measured.cause) for pair in pairs if "unloadable" in pair.measured.cause})
    causes = [f"- `{driver}`: {cause}" for driver, cause in unloadable]
    return PAGE.format(on=on, summary=summary(pairs), table="\n".join(rows), causes="\n".join(causes))


PAGE = textwrap.dedent("""\
    # Real drivers and real runtimes

    Every CUDA runtime (`libcudart`) here was loaded over every driver here, on a machine without a GPU, and asked for the number
    of devices. Before that, `gpucheck` said from the files alone what would come: the code, the CUDA version of the driver, the
    version of the runtime, and the cause with the library that is lacking, where one is.

    **{summary}**, on {on}, by `make grid` (`python -m ci.grid`; a part of it is in the tests).

    The cells are what `cudaGetDeviceCount` returned: 100 (cudaErrorNoDevice) where the runtime accepts the driver, 35
    (cudaErrorInsufficientDriver) where it does not, or where no libcuda can be loaded. Two oddities are rows of the knowledge base:
    the runtime of CUDA 11.2 refuses no driver by its version and returns what cuInit does, and cuInit of branch 390 without a GPU is
    999 (unknown error) instead of 100. A `!` marks a wrong prediction.

    {table}

    Drivers that do not load here:

    {causes}

    The drivers come from Debian's non-free component (`ci/setup/drivers.sh`): a branch is its newest version in Debian, `-alone`
    lacks a package that its libcuda needs, `-i386` and `-arm64` are for other machines. The runtimes come from the package index,
    11.2 from Debian and 10.2 from a wheel of torchvision (`ci/setup/runtimes.sh`). Nothing of them is in this repository.
    """)


def main() -> int:
    """Fetch, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drivers", default="all", metavar="NAME,...", help="as in ci/setup/drivers.sh (default: all)")
    parser.add_argument(
        "--runtimes", default="all", metavar="VERSION,...", help="as in ci/setup/runtimes.sh (default: all)"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, metavar="N", help="how many at once")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the page too")
    arguments = parser.parse_args()
    fetched = fetch("drivers.sh", *arguments.drivers.split(","))
    columns = [Driver("none", None), *(Driver(name, folder) for name, folder in fetched.items())]
    runtimes = [
        Runtime(version, folder) for version, folder in fetch("runtimes.sh", *arguments.runtimes.split(",")).items()
    ]
    pairs = compare(columns, runtimes, arguments.processes)
    lines = table(pairs)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths)))
    for pair in pairs:
        if not pair.right:
            print(f"driver {pair.driver}, runtime {pair.runtime}: predicted {pair.predicted}, measured {pair.measured}")
    print(summary(pairs))
    if arguments.markdown:
        arguments.markdown.write_text(page(pairs, date.today()))
    return 0 if all(pair.right for pair in pairs) else 1


if __name__ == "__main__":
    sys.exit(main())
