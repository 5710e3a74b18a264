"""Builds of frameworks: the CUDA, cuDNN, architectures and Python of each. A file for each library with many releases."""

from __future__ import annotations

from functools import cache

from gpucheck import kb
from gpucheck.record import dataclass
from gpucheck.versions import ComputeCapability, CudaVersion, DriverVersion

#: Libraries with a file of their own; all others are in frameworks.toml.
FILES = ("torch", "tensorflow", "jax", "onnxruntime-gpu", "vllm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Build(kb.Row):
    """A build of a framework for Linux; what is '' or empty is not known or does not apply."""

    library: str
    version: str
    """``2.15.0``; ``26.02`` or ``2.1.4-3.3.0`` where one row speaks of several."""
    variant: str = ""
    """What tells builds of one version apart: ``cu126``, or the distribution, such as ``jax-cuda13-plugin``."""
    cuda: str = ""
    """``12.8``, ``12`` where only the major counts, ``12.2-12.9`` for a span."""
    pypi: bool = False
    """Whether PyPI serves it for Linux x86-64; other builds come from the project's own index."""
    cudnn: str = ""
    nccl: str = ""
    triton: str = ""
    torch: str = ""
    """The torch that it pins."""
    driver: DriverVersion | None = None
    """The oldest driver that its makers name, where that is not simply the CUDA family's floor."""
    sm: tuple[ComputeCapability, ...] = ()
    """Machine code on x86-64."""
    sm_aarch64: tuple[ComputeCapability, ...] = ()
    ptx: tuple[ComputeCapability, ...] = ()
    """PTX on x86-64; see ``ptx_known``."""
    ptx_known: bool = False
    """Whether it was read from the wheel that it has the PTX in ``ptx`` and no other."""
    lowest: ComputeCapability | None = None
    """The lowest capability that its makers name, where the architectures are not listed."""
    python: str = ""
    """Requires-Python."""
    pythons: tuple[str, ...] = ()
    """The CPython tags of its wheels, such as ``cp312``."""
    extra: str = ""
    """The extra that brings the CUDA libraries."""
    pins: tuple[str, ...] = ()
    """The CUDA libraries that it requires, as requirements."""

    @property
    def cuda_version(self) -> CudaVersion | None:
        """The CUDA version, where one minor is named."""
        return CudaVersion.parse(self.cuda)

    @property
    def cuda_majors(self) -> tuple[int, ...]:
        """The CUDA majors; empty where they are not known."""
        return tuple(dict.fromkeys(int(part.split(".")[0]) for part in self.cuda.split("-") if part))


@cache
def builds(library: str) -> tuple[Build, ...]:
    """The builds of a library that are known; empty for a library that is not known."""
    if library in FILES:
        return kb.load(library, "build", Build, ["version", "variant"])
    rows = kb.load("frameworks", "build", Build, ["library", "version", "variant"])
    return tuple(row for row in rows if row.library == library)


@cache
def libraries() -> tuple[str, ...]:
    """The libraries of which builds are known."""
    rows = kb.load("frameworks", "build", Build, ["library", "version", "variant"])
    return (*FILES, *dict.fromkeys(row.library for row in rows))


def build(library: str, version: str, variant: str = "") -> Build | None:
    """The build of an exact version; without a variant the one on PyPI. ``2.15.0+cu126`` names version and variant."""
    release, _, local = version.partition("+")
    wanted = variant or local
    for row in builds(library):
        if row.version == release and (row.variant == wanted if wanted else row.pypi):
            return row
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cudnn(kb.Row):
    """What a cuDNN release supports, from NVIDIA's support matrix."""

    first: str
    last: str
    """The releases from ``first`` to ``last`` that the matrix speaks of."""
    cuda: str
    """The CUDA versions of its build: ``12.0-12.9``."""
    driver: DriverVersion
    sm: tuple[ComputeCapability, ...]


@cache
def cudnn() -> tuple[Cudnn, ...]:
    """cuDNN's support matrices."""
    return kb.load("cudnn", "cudnn", Cudnn, ["first", "cuda"])
