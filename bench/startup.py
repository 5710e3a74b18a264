"""How long a user waits: --help and doctor against a bare interpreter, and against torch's own collect_env.

Measured in an environment of its own that holds gpucheck's core and nothing else, as ``uvx`` makes it: the development
environment has .pth files and packages that would be charged to gpucheck.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.pairs import python_of, ratio, say_missing

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, folder, "--clear"], check=True)
        python = python_of(folder)
        subprocess.run(
            [*uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python, str(ROOT)], check=True
        )
        gpucheck = os.path.join(folder, "bin", "gpucheck")
        bare = [python, "-c", "pass"]
        ratio("gpucheck --help", [gpucheck, "--help"], "python -c pass", bare, "10")
        ratio("gpucheck doctor", [gpucheck, "doctor"], "python -c pass", bare, "10, without a GPU")
        ratio(
            "gpucheck.pyz doctor", [python, str(ROOT / "dist/gpucheck.pyz"), "doctor"], "python -c pass", bare, "none"
        )
        torch = os.environ.get("GPU_CAPABLE_TORCH") or str(cache() / "torch")
        if not Path(python_of(torch)).exists():
            say_missing("doctor against torch.utils.collect_env", "run: ci/setup/torch.sh")
            return
        collect = [python_of(torch), "-m", "torch.utils.collect_env"]
        ratio(
            "gpucheck doctor, torch installed",
            [gpucheck, "doctor", "--python", torch],
            "torch.utils.collect_env",
            collect,
            "0.1",
            5,
        )


def cache() -> Path:
    chosen = os.environ.get("GPU_CAPABLE_CACHE")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpu-capable"


if __name__ == "__main__":
    main()
