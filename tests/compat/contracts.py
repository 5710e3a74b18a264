"""Contracts of images as they are published, built by hand: what each holds was read from the images' own sources."""

from __future__ import annotations

from gpucheck.compat.builds import code_of
from gpucheck.contract import SCHEMA, Contract, ForwardDriver, GpuCode, NeededRuntime
from gpucheck.kb.frameworks import build
from gpucheck.record import replace
from gpucheck.versions import CudaVersion, DriverVersion

#: ELF notes of real cuda-compat libraries, dumped from the testdata of NVIDIA/nvidia-container-toolkit v1.20.0 (575.57.08, 590.44.01);
#: those of 580.82.07 and 595.45.04 follow their pattern.
NOTES = {
    "575.57.08": ("12.9", (535, 550, 560, 565, 570, 575)),
    "580.82.07": ("13.0", (535, 550, 570, 575, 580)),
    "590.44.01": ("13.1", (535, 550, 570, 575, 580, 590)),
    "595.45.04": ("13.2", (535, 550, 570, 575, 580, 590, 595)),
}
BRANDS = (1, 2, 7, 8, 9, 10, 11, 12, 13, 14)

#: In the order of NVIDIA's images since CUDA 12.5 (gitlab.com/nvidia/container-images/cuda).
WORDS = (
    "unknown", "grid", "tesla", "nvidia", "quadro", "quadrortx", "nvidiartx", "vapps", "vpc", "vcs", "vws", "cloudgaming",
)  # fmt: skip


def required(cuda: str, *branches: int, words: tuple[str, ...] = WORDS) -> tuple[tuple[str, str], ...]:
    """NVIDIA_REQUIRE_CUDA as nvidia/cuda images have it."""
    terms = [f"brand={word},driver>={branch},driver<{branch + 1}" for branch in branches for word in words]
    return (("NVIDIA_REQUIRE_CUDA", " ".join([f"cuda>={cuda}", *terms])),)


def compat(version: str, route: str = "toolkit", because: str = "") -> ForwardDriver:
    """cuda-compat in /usr/local/cuda/compat."""
    cuda, branches = NOTES[version]
    path = f"/usr/local/cuda/compat/libcuda.so.{version}"
    return ForwardDriver(path, DriverVersion(version), CudaVersion.parse(cuda), branches, BRANDS, route, because)


def torch(version: str) -> GpuCode:
    """A build of torch, with the architectures of its row."""
    row = build("torch", version)
    assert row, version
    return replace(code_of(row), evidence="/opt/venv/lib/python3.13/site-packages/torch/lib/libtorch_cuda.so")


def runtime(cuda: str, owner: str = "") -> NeededRuntime:
    """A libcudart."""
    version = CudaVersion.parse(cuda)
    assert version
    return NeededRuntime(version, f"/usr/local/cuda-{cuda}/lib64/libcudart.so.{version.major}", owner)


def image(name: str = "app:1", *code: GpuCode, **changes: object) -> Contract:
    """An image with some libraries; environment and C library as in a plain Debian with CUDA wheels."""
    made = Contract(
        SCHEMA, name, "", "x86_64", True, (), tuple(code), None, (), "compute,utility", "all", "/usr/local/nvidia/lib64", "glibc 2.41",
    )  # fmt: skip
    return replace(made, **changes)


def nvidia_cuda(cuda: str, **changes: object) -> Contract:
    """nvidia/cuda:X-runtime with nothing on it."""
    return image(f"nvidia/cuda:{cuda}-runtime", runtimes=(runtime(cuda),), **changes)
