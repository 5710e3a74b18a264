"""Judging 200 images on 500 kinds of nodes from their contracts, against the limit of two seconds."""

from __future__ import annotations

import gc
import itertools
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gpucheck.compat.builds import code_of, newest_first
from gpucheck.compat.inventory import typed
from gpucheck.compat.node import Node
from gpucheck.compat.table import tabulate
from gpucheck.contract import SCHEMA, Contract, ForwardDriver, NeededRuntime
from gpucheck.finding import Verdict
from gpucheck.versions import CudaVersion, DriverVersion

IMAGES, NODES, LIMIT = 200, 500, 2.0

DRIVERS = (
    "470.256.02", "515.105.01", "525.147.05", "530.30.02", "535.161.07", "535.261.03", "545.23.08", "550.54.15", "550.144.03",
    "555.58.02", "560.35.03", "565.57.01", "570.124.06", "570.211.01", "575.57.08", "580.95.05", "580.173.02", "590.48.01", "595.71.05", "610.57.04",
)  # fmt: skip
GPUS = ("T4", "V100", "A100-SXM4-80GB", "A10G", "L4", "L40S", "H100", "RTX 4090", "B200")
RUNTIMES = ("toolkit=1.17,mode=legacy", "toolkit=1.19,mode=cdi", "mode=gke")


def images() -> tuple[Contract, ...]:
    """Builds of torch, jax and onnxruntime-gpu, half of them with cuda-compat and the requirement of NVIDIA's images."""
    rows = [row for library in ("torch", "jax", "onnxruntime-gpu") for row in newest_first(library)]
    notes = (535, 550, 560, 565, 570, 575)
    forward = ForwardDriver(
        "/usr/local/cuda/compat/libcuda.so.575.57.08", DriverVersion("575.57.08"), CudaVersion(12, 9), notes, (1, 2, 13, 14), "toolkit", "",
    )  # fmt: skip
    brands = ("unknown", "grid", "tesla", "nvidia", "quadro", "quadrortx", "nvidiartx", "vapps", "vpc", "vcs", "vws")
    wanted = "cuda>=12.9 " + " ".join(f"brand={b},driver>={n},driver<{n + 1}" for n in notes for b in brands)
    found = []
    for number, row in zip(range(IMAGES), itertools.cycle(rows)):
        code = code_of(row)
        on_cuda = number % 2 == 0
        runtimes = (NeededRuntime(code.cuda, "/opt/venv/libcudart.so", "nvidia-cuda-runtime"),) if code.cuda else ()
        found.append(
            Contract(
                SCHEMA,
                f"registry.example.com/team/image-{number}:1",
                "",
                "x86_64",
                True,
                runtimes,
                (code,),
                forward if on_cuda else None,
                (("NVIDIA_REQUIRE_CUDA", wanted),) if on_cuda else (),
                "compute,utility",
                "all",
                "/usr/local/nvidia/lib64" if number % 3 else None,
                "glibc 2.41",
            )
        )
    return tuple(found)


def nodes() -> tuple[Node, ...]:
    """Every driver with every GPU in every way of starting containers, as many as are asked for."""
    kinds = itertools.product(RUNTIMES, GPUS, DRIVERS)
    return tuple(
        typed(f"driver={driver},gpu={gpu},{how},name=node-{number}")
        for number, (how, gpu, driver) in zip(range(NODES), kinds)
    )


def main() -> None:
    found, where = images(), nodes()
    assert (len(found), len(where)) == (IMAGES, NODES)
    # Processor time: one thread computes, and what else runs on the machine is not its concern.
    gc.disable()  # As the program does: gpucheck/__main__.py.
    start = time.process_time()
    table = tabulate(found, where)
    seconds = time.process_time() - start
    cells = IMAGES * NODES
    counts = ", ".join(f"{count} {verdict.value}" for verdict, count in table.counts.items())
    assert table.counts[Verdict.COMPATIBLE] and table.counts[Verdict.INCOMPATIBLE]
    print(
        f"{f'compat: {IMAGES} images x {NODES} nodes':<34} {seconds * 1000:8.1f} ms   {seconds / cells * 1e6:.1f} us a cell; {counts}"
        f"   ratio {seconds / LIMIT:7.3f} of {LIMIT:.0f} s   (limit 1)"
    )


if __name__ == "__main__":
    main()
