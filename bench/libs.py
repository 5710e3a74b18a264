"""How long ``gpucheck libs`` takes as a whole process, more than an interpreter that does nothing.

Measured on torch's libraries, in an environment of its own that holds gpucheck's core and nothing else, as ``uvx`` makes it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.pairs import python_of, say_missing, seconds
from bench.startup import ROOT, cache

RUNS = 15
LIMIT = 200


def main() -> None:
    torch = os.environ.get("GPU_CAPABLE_TORCH") or str(cache() / "torch")
    library = next(Path(torch).glob("lib/python3*/site-packages/torch/lib/libtorch_cuda.so"), None)
    if library is None:
        say_missing("gpucheck libs on torch", "run: ci/setup/torch.sh")
        return
    with tempfile.TemporaryDirectory() as folder:
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, folder, "--clear"], check=True)
        python = python_of(folder)
        install = [*uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python, str(ROOT)]
        subprocess.run(install, check=True)
        gpucheck = os.path.join(folder, "bin", "gpucheck")
        more("gpucheck libs libtorch_cuda.so", [gpucheck, "libs", str(library)], python, str(LIMIT))
        more("gpucheck libs torch", [gpucheck, "libs", "torch", "--python", torch], python, "none")
        more("gpucheck libs", [gpucheck, "libs", "--python", torch], python, "none")


def more(name: str, command: list[str], python: str, limit: str) -> None:
    """Print the median of both over pairs of runs, and of their difference in milliseconds."""
    pairs = [(seconds(command), seconds([python, "-c", "pass"])) for _ in range(RUNS + 1)][1:]
    ours, bare = (statistics.median(column) * 1000 for column in zip(*pairs))
    difference = statistics.median(one - other for one, other in pairs) * 1000
    print(
        f"{name:<34} {ours:8.1f} ms   {'python -c pass':<34} {bare:8.1f} ms   {difference:6.1f} ms more (limit {limit})"
    )


if __name__ == "__main__":
    main()
