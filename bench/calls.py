"""What watching calls costs: for each call, and for a whole ``import torch``."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.pairs import python_of, say_missing, seconds
from gpucheck.trace.calls import Refusal, prepare

DRIVER = "int cuCheap(int a, int b) { return a & b; }\n"
#: Prints the nanoseconds of a call.
LOOP = r"""
#include <dlfcn.h>
#include <stdio.h>
#include <time.h>
int main(void) {
    int (*cheap)(int, int) = (int (*)(int, int))dlsym(dlopen("libcuda.so.1", RTLD_NOW), "cuCheap"), sum = 0;
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (int i = 0; i < 1000000; i++) sum |= cheap(i, 0);
    clock_gettime(CLOCK_MONOTONIC, &b);
    printf("%f\n", ((b.tv_sec - a.tv_sec) * 1e9 + (b.tv_nsec - a.tv_nsec)) / 1e6);
    return sum;
}
"""
ROUNDS = 15


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = folder / "log"
        log.mkdir()
        added = prepare(os.environ, str(log))
        if isinstance(added, Refusal):
            say_missing("calls", added.reason)
            return
        watched = {**os.environ, **added}
        per_call(folder, watched)
        import_torch(watched)


def per_call(folder: Path, watched: Mapping[str, str]) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        say_missing("the cost of a call", "install a C compiler (apt install gcc libc6-dev)")
        return
    build = [compiler, "-O2", "-x", "c", "-", "-ldl", "-o"]
    subprocess.run([*build, str(folder / "libcuda.so.1"), "-shared", "-fPIC"], input=DRIVER, text=True, check=True)
    subprocess.run([*build, str(folder / "loop")], input=LOOP, text=True, check=True)

    def nanoseconds(env: Mapping[str, str]) -> float:
        place = {**env, "LD_LIBRARY_PATH": str(folder)}
        return float(subprocess.run([folder / "loop"], env=place, capture_output=True, text=True, check=True).stdout)

    pairs = [(nanoseconds(watched), nanoseconds(os.environ)) for _ in range(ROUNDS + 1)][1:]
    ours, theirs = (statistics.median(column) for column in zip(*pairs))
    print(
        f"a call of a cheap driver function, watched {ours:8.1f} ns   plain {theirs:8.1f} ns   cost {ours - theirs:8.1f} ns   (limit none)"
    )


def import_torch(watched: Mapping[str, str]) -> None:
    torch = os.environ.get("GPU_CAPABLE_TORCH") or str(cache() / "torch")
    if not Path(python_of(torch)).exists():
        say_missing("the cost on import torch", "run: ci/setup/torch.sh")
        return
    command = [python_of(torch), "-c", "import torch; torch.cuda.is_available()"]
    compare("import torch, calls watched", command, watched, "plain", command, os.environ, "1.10")
    if strace := shutil.which("strace"):
        under = [strace, "-f", "-o", os.devnull, *command]
        compare("import torch, calls watched", command, watched, "strace -f", under, os.environ, "1", 5)
    else:
        say_missing("against strace -f", "install strace")


def compare(
    name: str,
    command: Sequence[str],
    env: Mapping[str, str],
    peer_name: str,
    peer: Sequence[str],
    peer_env: Mapping[str, str],
    limit: str,
    runs: int = ROUNDS,
) -> None:
    """As ``bench.pairs.ratio``, with an environment for each side."""
    pairs = [(seconds(command, env), seconds(peer, peer_env)) for _ in range(runs + 1)][1:]
    median = statistics.median(ours / theirs for ours, theirs in pairs)
    ours, theirs = (statistics.median(column) * 1000 for column in zip(*pairs))
    print(f"{name:<34} {ours:8.1f} ms   {peer_name:<34} {theirs:8.1f} ms   ratio {median:7.3f}   (limit {limit})")


def cache() -> Path:
    chosen = os.environ.get("GPU_CAPABLE_CACHE")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpu-capable"


if __name__ == "__main__":
    main()
