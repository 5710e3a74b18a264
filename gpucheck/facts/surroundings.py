"""Python, environment and what is around the process: records of the Snapshot."""

from __future__ import annotations

from gpucheck.record import dataclass
from gpucheck.versions import CudaVersion


@dataclass(frozen=True, slots=True)
class Python:
    """An interpreter environment whose packages were looked at."""

    prefix: str
    version: str
    packages: tuple[str, ...]
    """The site-packages folders."""
    chosen_by: str


@dataclass(frozen=True, slots=True)
class Framework:
    """A GPU library for Python, read from its files."""

    name: str
    """The distribution: ``torch``."""
    version: str
    """As installed, with its local part: ``2.7.1+cu126``."""
    location: str
    gpu: bool | None
    """Built for GPUs; None when the files do not tell."""
    cuda: CudaVersion | None
    cuda_major: int | None
    """Known for more builds than the full version."""
    architectures: tuple[str, ...]
    """``sm_80``, ``compute_90``: what its code covers; empty when the files do not tell."""
    evidence: str


@dataclass(frozen=True, slots=True)
class Imported:
    """A module that was imported for real, in a child process."""

    name: str
    python: str
    trouble: str
    """'' when it succeeded, else how it ended: ``is killed by SIGSEGV``, ``fails: ImportError: ...``."""
    call: str
    """The first failing call into driver or runtime, or the one that never came; '' when none was seen."""


@dataclass(frozen=True, slots=True)
class Distributed:
    """An installed Python distribution that matters here."""

    name: str
    version: str
    location: str


@dataclass(frozen=True, slots=True)
class Container:
    """The container that this is."""

    kind: str
    """``docker``, ``podman``, ``kubernetes``, ``singularity``, ``lxc`` or ``container``."""
    evidence: str


@dataclass(frozen=True, slots=True)
class ContainerRuntime:
    """The NVIDIA container toolkit and the engine's settings, as the host's files show them."""

    toolkit: str
    """Path of nvidia-container-runtime, nvidia-ctk or the hook; '' when none is there."""
    toolkit_version: str
    engines: tuple[str, ...]
    """``docker``, ``containerd``, ``podman``, ``docker (snap)``."""
    docker_runtimes: tuple[str, ...]
    """From daemon.json."""
    cdi: tuple[str, ...]
    """CDI specifications."""
    no_cgroups: bool | None
    cdi_drivers: tuple[str, ...] = ()
    """Driver versions whose files the CDI specifications name."""
    cdi_refresh: bool = False
    """The toolkit's service that writes them anew at boot is installed."""
    hook: str = ""
    """Path of nvidia-container-runtime-hook, which ``docker run --gpus`` calls; '' when it is not there."""
    handlers: tuple[str, ...] = ()
    """Runtimes in the settings of containerd, CRI-O, k3s, RKE2 and MicroK8s: ``nvidia``, ``runc``."""
    settings: tuple[str, ...] = ()
    """The files that they are from."""
    library_version: str = ""
    """Of libnvidia-container."""
    cgroups: int | None = None
    """1 or 2: the version of control groups that holds the devices."""
    docker_default: str = ""
    """"default-runtime" in daemon.json; '' when it is not set: Docker then takes runc."""
    ldconfig: str = ""
    """The host's ldconfig that the toolkit's settings name and that is not there; '' when it is, or when none is named."""
    rootless: str = ""
    """The file that shows that this user's docker is rootless; '' when it is not."""
    podman: str = ""
    """Its version; '' when no package database tells."""
    cdi_versions: tuple[tuple[str, str], ...] = ()
    """(path, version of the specification's format) of NVIDIA's CDI specifications."""
    misplaced: tuple[str, ...] = ()
    """Runtimes in sections that containerd does not read in a file of this version: ``nvidia``."""


@dataclass(frozen=True, slots=True)
class Kubernetes:
    """What a pod or a node shows of its cluster."""

    in_pod: bool
    node: str
    namespace: str
    kubelet: bool = False
    """A kubelet runs from these files: this is a node."""
    plugins: tuple[str, ...] | None = None
    """Sockets of device plugins; None when the kubelet's folder cannot be read."""
    resources: tuple[str, ...] = ()
    """What plugins registered: ``nvidia.com/gpu``, ``nvidia.com/mig-1g.10gb``."""
    validations: tuple[str, ...] | None = None
    """What the GPU Operator says is ready: ``driver-ready``; None where it is not at work."""


@dataclass(frozen=True, slots=True)
class SystemPackage:
    """A package of the driver or its surroundings, as the distribution's database has it."""

    name: str
    version: str
    state: str
    """``installed``, or what dpkg says of one that is not: ``half-configured``, ``unpacked``, ..."""


@dataclass(frozen=True, slots=True)
class Service:
    """A daemon of the driver's, by its files."""

    name: str
    """``nvidia-fabricmanager``, ``nvidia-gridd``, ``nvidia-persistenced``."""
    installed: bool
    running: bool


@dataclass(frozen=True, slots=True)
class Mps:
    """The pipe directory of the multi-process service."""

    directory: str
    uid: int
    control: bool
    """The control daemon's socket is there."""
    running: bool | None
    """Whether the daemon lives; None where its process cannot be seen from here."""
    blocked: str
    """The folder on the way that this user may not enter; '' when there is none."""


@dataclass(frozen=True, slots=True)
class ToolkitHome:
    """Where a variable says that the CUDA toolkit is."""

    variable: str
    path: str
    exists: bool
    version: str
    """Of the toolkit there; '' when its files do not tell."""


@dataclass(frozen=True, slots=True)
class Toolchain:
    """What torch.utils.cpp_extension compiles CUDA code with."""

    nvcc: str
    cuda: CudaVersion
    compiler: str
    """The host compiler that nvcc takes."""
    version: int | None
    """The major version of that gcc; None when the files do not tell."""
    newest: int | None
    """The newest major version of gcc that nvcc's own header takes; None when it does not tell."""
    header: str
    """That header."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program of its own (no Python package) that does its work on a GPU through libraries beside it."""

    name: str
    path: str
    folder: str
    """Where it looks for them."""
    backends: tuple[str, ...]
    """Those for GPUs that are there."""


@dataclass(frozen=True, slots=True)
class CodeFolder:
    """A folder in which a framework puts compiled code, which is then loaded from there."""

    user: str
    variable: str
    """The variable that moves it."""
    path: str
    mount: str
    options: str
    """Of the mount: ``rw,nosuid,nodev,noexec``."""


@dataclass(frozen=True, slots=True)
class FalseLabel:
    """A label of an image that what is in the image contradicts."""

    label: str
    said: str
    seen: str
    source: str
