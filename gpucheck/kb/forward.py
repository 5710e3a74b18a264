"""Forward compatibility: the package cuda-compat-X-Y on an installed driver, by branch and kind of GPU."""

from __future__ import annotations

from functools import cache

from gpucheck import kb
from gpucheck.kb.capabilities import capabilities
from gpucheck.kb.drivers import implemented_cuda
from gpucheck.kb.judgement import Judgement
from gpucheck.record import dataclass
from gpucheck.versions import ComputeCapability, CudaVersion, DriverVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Package(kb.Row):
    """A package cuda-compat-X-Y: a newer user-mode driver for an older installed one."""

    cuda: CudaVersion
    branches: tuple[int, ...]
    """The driver branches below it on which NVIDIA supports it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Library(kb.Row):
    """A libcuda that came in a package."""

    cuda: CudaVersion
    libcuda: DriverVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Brand(kb.Row):
    """An NVML brand, which decides whether a GPU may use forward compatibility."""

    brand: int
    name: str
    supported: str
    """``yes``, ``no`` (error 804), ``some`` (selected products) or ``unknown``."""
    word: str = "unknown"
    """What ``brand=`` in ``NVIDIA_REQUIRE_*`` compares with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Jetson(kb.Row):
    """The CUDA upgrade packages of a JetPack release."""

    jetpack: str
    cuda: CudaVersion
    """What JetPack brings."""
    packages: tuple[CudaVersion, ...]
    """What may be installed above it; installation fails on another JetPack."""


@cache
def packages() -> dict[CudaVersion, Package]:
    """Packages by their CUDA version."""
    return {row.cuda: row for row in kb.load("forward", "package", Package, ["cuda"])}


@cache
def libraries() -> tuple[Library, ...]:
    """The versions of libcuda that were seen in packages."""
    return kb.load("forward", "library", Library, ["libcuda"], [("cuda", "libcuda")])


@cache
def brands() -> dict[int, Brand]:
    """Brands by their NVML number."""
    return {row.brand: row for row in kb.load("forward", "brand", Brand, ["brand"])}


@cache
def jetsons() -> tuple[Jetson, ...]:
    """Upgrade packages by JetPack release."""
    return kb.load("forward", "jetson", Jetson, ["jetpack"], [("jetpack", "cuda")])


def package_works(cuda: CudaVersion, driver: DriverVersion) -> Judgement:
    """Whether cuda-compat of a CUDA version works over an installed driver, as far as the driver decides.

    A package that is not newer than the driver does not: the two libcuda are a pair that the kernel module refuses (803).
    A newer one is supported on the branches of NVIDIA's matrix; on others it may work, nobody promises it.

    Source: https://docs.nvidia.com/deploy/cuda-compatibility/forward-compatibility.html
    """
    native = implemented_cuda(driver)
    if native.reaches(cuda):
        because = f"driver {driver} implements CUDA {native}, so cuda-compat for {cuda} is not newer"
        return Judgement(False, because, native.reference, native.extrapolated)
    row = packages().get(cuda)
    if row and driver.branch in row.branches:
        return Judgement(True, f"NVIDIA supports cuda-compat for {cuda} on branch {driver.branch}", row.reference)
    nearest = row or packages()[max(packages())]
    because = (
        f"NVIDIA does not name branch {driver.branch} as a base of cuda-compat for {cuda}"
        if row
        else f"cuda-compat for {cuda} is not known"
    )
    return Judgement(None, because, nearest.reference, row is None or native.extrapolated)


def gpu_may(cuda: CudaVersion, brand: int, capability: ComputeCapability | None = None) -> Judgement:
    """Whether a GPU may use cuda-compat of a CUDA version: by its NVML brand (804), and known to its libcuda (100).

    The libcuda of a package is that of the branch which implements its CUDA, so it no longer knows the GPUs that this
    branch dropped (seen on a K80 with cuda-compat 11.5; concluded for others).
    """
    row = capabilities().get(capability) if capability else None
    if row and row.last_branch and (last := kb.branches().get(row.last_branch)) and last.cuda < cuda:
        because = (
            f"the libcuda of cuda-compat for {cuda} no longer knows {capability}: branch {row.last_branch} is the last"
        )
        return Judgement(False, because, row.reference, True)
    known = brands().get(brand)
    if known is None:
        return Judgement(None, f"NVML brand {brand} is not known", brands()[max(brands())].reference, True)
    return Judgement(
        {"yes": True, "no": False}.get(known.supported),
        f"forward compatibility for {known.name}: {known.supported}",
        known.reference,
    )
