"""What an image needs of a node: enough to judge it against any node without the image itself. JSON both ways.

``gpucheck image`` writes it, image labels carry it, ``gpucheck compat`` judges it.
"""

from __future__ import annotations

from gpucheck.record import dataclass
from gpucheck.versions import CudaVersion, DriverVersion

#: Counts up when a field changes its meaning.
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class NeededRuntime:
    """A CUDA runtime in the image, linked as a library or built into one."""

    cuda: CudaVersion
    path: str
    """The file that has it."""
    owner: str
    """``nvidia-cuda-runtime 13.0.96``, ``torch 2.9.0+cu130``; '' for a file that no package owns."""


@dataclass(frozen=True, slots=True)
class GpuCode:
    """The code for GPUs of one package, or of one library that no package owns."""

    name: str
    """``torch``; else the path of the library."""
    version: str
    cuda: CudaVersion | None
    """The CUDA that it was built with; None when the files do not tell."""
    cuda_major: int | None
    targets: tuple[str, ...]
    """``sm_80``, ``compute_90``: what *all* of its kernels are there for; empty when the files do not tell."""
    evidence: str
    """The file that says so."""


@dataclass(frozen=True, slots=True)
class ForwardDriver:
    """A cuda-compat libcuda in the image."""

    path: str
    version: DriverVersion | None
    cuda: CudaVersion | None
    branches: tuple[int, ...]
    """Of the node's driver that it works on, from its ELF note; empty when it has none."""
    brands: tuple[int, ...]
    """NVML brands, from its ELF note."""
    route: str
    """``always``: the image's own search order gives it before the node's libcuda, for the reason in ``because``;
    ``toolkit``: where NVIDIA's container toolkit looks for it and decides; ``never``: neither finds it."""
    because: str


@dataclass(frozen=True, slots=True)
class Contract:
    """The needs of one image."""

    schema: int
    image: str
    """As it was named."""
    digest: str
    """Of its manifest, ``sha256:...``; '' when it has none (a folder)."""
    architecture: str
    """As in ``uname -m``."""
    gpu: bool | None
    """Whether anything in it is for GPUs; None when that cannot be told."""
    runtimes: tuple[NeededRuntime, ...]
    code: tuple[GpuCode, ...]
    forward: ForwardDriver | None
    """The cuda-compat that counts: the first that is found."""
    requirements: tuple[tuple[str, str], ...]
    """``NVIDIA_REQUIRE_*``, ``NVIDIA_DISABLE_REQUIRE`` and ``CUDA_VERSION`` as set, sorted by name."""
    capabilities: str | None
    """``NVIDIA_DRIVER_CAPABILITIES`` as set."""
    visible_devices: str | None
    """``NVIDIA_VISIBLE_DEVICES`` as set."""
    library_path: str | None
    """``LD_LIBRARY_PATH`` as set."""
    libc: str
    """``glibc 2.41``, ``musl 1.2.5``; '' when the files do not tell."""
    broken: tuple[str, ...] = ()
    """The rules whose errors hold whatever the node is: the root causes in the image itself."""
    limits: tuple[str, ...] = ()
    """The rules whose warnings hold whatever the node is."""
