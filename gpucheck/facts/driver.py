"""GPU libraries on disk, and what the driver answers: records of the Snapshot."""

from __future__ import annotations

from gpucheck.facts.seen import Seen, Unseen
from gpucheck.record import dataclass
from gpucheck.versions import ComputeCapability, CudaVersion, DriverVersion


@dataclass(frozen=True, slots=True)
class Library:
    """A copy of a GPU library on disk."""

    soname: str
    path: str
    """As found."""
    real: str
    """After links."""
    kind: str
    """For libcuda: ``driver``, ``stub``, ``compat``, ``wsl`` or ``tegra``; for others ``toolkit`` or ``wheel``."""
    version: str
    """From the file name or the package that owns it; '' when neither tells."""
    owner: str
    """``nvidia-cublas 13.1.2`` for a file of a Python distribution, else ''."""
    size: int
    machine: str = ""
    """Of a driver library: as in ``uname -m``, for which processor it is; '' when its header does not tell."""


@dataclass(frozen=True, slots=True)
class Compat:
    """What a cuda-compat libcuda says of itself in its ELF note ``.note.cuda.fwd_compatibility``."""

    path: str
    cuda: CudaVersion
    drivers: tuple[int, ...]
    """Branches of the host's driver that it works on."""
    brands: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """What the dynamic linker gives a plain process that opens a library by name."""

    soname: str
    path: str | None
    how: str
    considered: tuple[str, ...]
    """``place: why not``, in order."""
    skipped: tuple[tuple[str, str], ...] = ()
    """(path, why) of the files of that name that are there and were passed over: ``32-bit``, ``for aarch64``, ..."""
    fatal: str = ""
    """Why the file cannot be loaded, as far as files tell: something that it needs is missing."""


@dataclass(frozen=True, slots=True)
class Call:
    """A driver or runtime call and its result code."""

    name: str
    code: int


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as CUDA or NVML shows it."""

    index: int
    name: str
    uuid: str
    capability: ComputeCapability | None
    memory: int | None
    """Bytes."""
    brand: int | None = None
    """nvmlBrandType_t."""
    mig: bool | None = None
    compute_mode: int | None = None
    """nvmlComputeMode_t."""
    processes: int | None = None
    """Compute processes that hold a context."""
    ecc_errors: int | None = None
    """Uncorrected, volatile."""
    remap_pending: bool | None = None
    remap_failed: bool | None = None
    context: int | None = None
    """The result code of making a context on it."""
    instances: int | None = None
    """MIG compute instances, where MIG is on."""
    fabric: int | None = None
    """nvmlGpuFabricState_t."""
    virtualization: int | None = None
    """nvmlGpuVirtualizationMode_t."""
    licensed: bool | None = None
    """Of a virtual GPU: whether it has its licence."""
    bus: str = ""
    """The PCI address, as NVML gives it."""
    mig_pending: bool | None = None
    """MIG as it will be after the next reset."""
    holders: tuple[tuple[int, int | None], ...] = ()
    """(process id, bytes on this GPU) of the first of these processes; the ids are the host's."""


@dataclass(frozen=True, slots=True)
class Nvml:
    """What NVML answered in a child process."""

    library: str
    calls: tuple[Call, ...]
    driver: DriverVersion | None
    cuda: CudaVersion | None
    gpus: tuple[Gpu, ...]
    trouble: str
    """'' when it answered to the end, else how it ended: ``killed by SIGSEGV in nvmlInit_v2``."""
    count: int | None = None
    """How many GPUs it says there are."""
    slow: tuple[str, ...] = ()
    """Questions about a GPU that took seconds: ``nvmlDeviceGetMemoryInfo``."""
    confidential: bool | None = None
    """Confidential computing is on."""
    ready: bool | None = None
    """With it: whether the GPUs take work."""


@dataclass(frozen=True, slots=True)
class Cuda:
    """What libcuda answered in a child process."""

    library: str
    """The file that the process mapped."""
    calls: tuple[Call, ...]
    """In order, up to and with the first that failed."""
    cuda: CudaVersion | None
    """From cuDriverGetVersion, which works before cuInit."""
    gpus: tuple[Gpu, ...]
    trouble: str
    """'' when it answered to the end, else how it ended: ``no answer within 10 s in cuInit``."""
    count: int | None = None
    """From cuDeviceGetCount."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """A libcudart on disk and what it answered in a child process."""

    library: Library
    cuda: CudaVersion | None
    """Its own version, from cudaRuntimeGetVersion or, unloaded, from its file."""
    driver: Seen[CudaVersion | None] | Unseen
    """What cudaDriverGetVersion gives: None is 0, no libcuda could be loaded."""
    count: Seen[Call] | Unseen
    """cudaGetDeviceCount."""
    trouble: str


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the dynamic linker did not do what gpucheck predicts."""

    soname: str
    requester: str | None
    predicted: str
    observed: str
