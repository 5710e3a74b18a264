"""What gpucheck trace costs: import torch under it, against the plain run and against strace -f.

Measured in an environment of its own, as in startup.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.pairs import python_of, ratio, say_missing
from bench.startup import ROOT, cache

#: Pairs for the line with a limit of a tenth: single runs of import torch differ by more than that.
RUNS, FEW = 21, 5


def main() -> None:
    torch = python_of(os.environ.get("GPU_CAPABLE_TORCH") or str(cache() / "torch"))
    if not Path(torch).exists():
        say_missing("gpucheck trace of import torch", "run: ci/setup/torch.sh")
        return
    plain = [torch, "-c", "import torch"]
    with tempfile.TemporaryDirectory() as folder:
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, folder, "--clear"], check=True)
        subprocess.run(
            [*uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python_of(folder), str(ROOT)],
            check=True,
        )
        traced = [os.path.join(folder, "bin", "gpucheck"), "trace", "--", *plain]
        ratio("gpucheck trace, import torch", traced, "python -c 'import torch'", plain, "1.10", RUNS)
        if shutil.which("strace") is None:
            say_missing("gpucheck trace against strace", "apt-get install strace")
            return
        strace = ["strace", "-f", "-o", os.devnull, *plain]
        ratio("strace -f, import torch", strace, "python -c 'import torch'", plain, "none", FEW)
        ratio("gpucheck trace, import torch", traced, "strace -f", strace, "1", FEW)
        both = [*traced[:2], "--backend", "both", *traced[2:]]
        ratio("gpucheck trace --backend both", both, "strace -f", strace, "none", FEW)


if __name__ == "__main__":
    main()
