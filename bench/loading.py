"""How long the closure of a library takes, in process, against libtree (Debian package) as a whole process.

libtree reads the same files, without the cache, hwcaps, preloading and the record of what was passed over; it is C.
The targets are torch's own: files of up to half a gigabyte, of which a few pages are read.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.pairs import say_missing, seconds
from bench.startup import cache
from gpucheck.elf import start
from gpucheck.system import Local

RUNS = 30
LIMIT = 3


def main() -> None:
    libtree = shutil.which("libtree")
    if libtree is None:
        say_missing("the closure of a library against libtree", "apt-get install libtree")
        return
    torch = Path(os.environ.get("GPU_CAPABLE_TORCH") or cache() / "torch")
    folders = list(torch.glob("lib/python3*/site-packages/torch/lib"))
    if not folders:
        say_missing("the closure of torch's libraries against libtree", "run: ci/setup/torch.sh")
    targets = [str(folders[0] / name) for name in ("libtorch_python.so", "libtorch_cuda.so")] if folders else []
    for target in [*targets, os.path.realpath(sys.executable)]:
        if not os.path.exists(target):
            say_missing(f"the closure of {target}", "install torch's CUDA build: ci/setup/torch.sh")
            continue
        report(target, libtree)


def report(target: str, libtree: str) -> None:
    """Print one line: both medians over pairs of runs, and their ratio."""
    pairs = []
    for _ in range(RUNS + 1):
        begin = time.perf_counter()
        process = start(Local(), target)
        pairs.append((time.perf_counter() - begin, seconds([libtree, "-p", target])))
    pairs = pairs[1:]
    ours, theirs = (statistics.median(column) * 1000 for column in zip(*pairs))
    median = statistics.median(one / other for one, other in pairs)
    name = f"{os.path.basename(target)}, {len(process.objects)} files"
    print(f"{name:<34} {ours:8.1f} ms   {'libtree':<34} {theirs:8.1f} ms   ratio {median:7.3f}   (limit {LIMIT})")


if __name__ == "__main__":
    main()
