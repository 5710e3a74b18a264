"""What was seen of a system: a frozen, JSON-able Snapshot. Probes write it, rules read it, nothing else passes between."""

from __future__ import annotations

from enum import Enum
from typing import Generic, TypeVar

from gpucheck.installed import Cached, Loads, Packages, Preload, Tool
from gpucheck.record import dataclass
from gpucheck.versions import ComputeCapability, CudaVersion, DriverVersion

#: Counts up when a field changes its meaning; a snapshot of another number is refused.
SCHEMA = 1

T = TypeVar("T")


class Why(str, Enum):
    """Why a fact is not known."""

    ABSENT = "absent"
    """Looked in all the places named: it is not there."""
    UNREADABLE = "unreadable"
    """It may be there, but could not be looked at (permission, a broken file, no answer in time)."""
    NOT_APPLICABLE = "not-applicable"
    """It cannot be seen from here: an image has no kernel, files answer no driver call."""


@dataclass(frozen=True, slots=True)
class Seen(Generic[T]):
    """A fact and where it came from."""

    value: T
    source: str


@dataclass(frozen=True, slots=True)
class Unseen:
    """A fact that is not known. Never a pass."""

    why: Why
    tried: tuple[str, ...]
    """The files read, the calls made."""
    detail: str = ""


# -- the machine -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Distribution:
    """From os-release(5)."""

    id: str
    version: str
    name: str


@dataclass(frozen=True, slots=True)
class Libc:
    """``glibc`` or ``musl`` and its version ('' when the files do not tell)."""

    kind: str
    version: str


@dataclass(frozen=True, slots=True)
class Host:
    """Where this is."""

    live: bool
    architecture: str
    """As in ``uname -m``: ``x86_64``, ``aarch64``."""
    kernel: Seen[str] | Unseen
    distribution: Seen[Distribution] | Unseen
    libc: Seen[Libc] | Unseen
    wsl: bool
    """Windows Subsystem for Linux 2."""
    tegra: Seen[str] | Unseen
    """The release line of a Jetson."""
    uid: int | None
    groups: tuple[int, ...]
    secure_boot: Seen[bool] | Unseen


# -- hardware and kernel -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PciDevice:
    """An NVIDIA function on the PCI bus."""

    address: str
    """``0000:01:00.0``."""
    device: str
    """PCI device id in hexadecimal, ``2330``."""
    kind: str
    """``gpu`` (class 03), ``nvswitch`` (class 0680) or ``other`` (audio, USB)."""
    driver: str | None
    """The kernel driver that holds it, for example ``nvidia``, ``nouveau`` or ``vfio-pci``."""
    lost: bool
    """The configuration space reads all ones: the device does not answer."""
    model: str
    """The product's name as the loaded driver gives it; '' where no driver does."""


@dataclass(frozen=True, slots=True)
class KernelDriver:
    """The loaded nvidia module."""

    version: DriverVersion
    flavour: str
    """``open`` or ``proprietary``."""


@dataclass(frozen=True, slots=True)
class ModuleFile:
    """An nvidia kernel module on disk, loaded or not."""

    kernel: str
    """The kernel release whose tree it is in."""
    path: str
    version: str
    signer: str
    """'' when the file carries no signature, ``signed`` when it does, ``unknown`` when it is compressed or unreadable."""
    name: str = "nvidia"
    """``nvidia`` or ``nvidia_uvm``."""
    flavour: str = ""
    """``open`` or ``proprietary`` by its licence; '' when the file does not tell."""


@dataclass(frozen=True, slots=True)
class KernelMessage:
    """A line of the kernel log that speaks of the GPU driver."""

    text: str
    xid: int | None


@dataclass(frozen=True, slots=True)
class Dkms:
    """What DKMS, or akmods, left of building the driver's modules."""

    versions: tuple[str, ...]
    """Drivers whose source is registered."""
    built: tuple[str, ...]
    """Kernels for which a module was built."""
    headers: bool
    """Whether the running kernel's headers are where a build looks for them."""
    log: str
    """The build log of a failed build; '' where there is none."""
    error: str
    """The first error in it."""


@dataclass(frozen=True, slots=True)
class Ban:
    """A setting that keeps a kernel module from being loaded."""

    module: str
    setting: str
    """The line of modprobe.d(5) or the word of the kernel's command line."""
    place: str


@dataclass(frozen=True, slots=True)
class Kernel:
    """The kernel's side of the driver."""

    modules: Seen[tuple[str, ...]] | Unseen
    """Loaded modules that matter: nvidia, nvidia_uvm, nouveau, ..."""
    driver: Seen[KernelDriver] | Unseen
    files: Seen[tuple[ModuleFile, ...]] | Unseen
    parameters: Seen[tuple[tuple[str, str], ...]] | Unseen
    """Module parameters, such as ``("uvm_disable_hmm", "N")``."""
    majors: Seen[tuple[str, ...]] | Unseen
    """Names in /proc/devices that start with nvidia."""
    messages: Seen[tuple[KernelMessage, ...]] | Unseen
    dkms: Seen[Dkms] | Unseen = Unseen(Why.NOT_APPLICABLE, (), "DKMS was not looked at")
    bans: Seen[tuple[Ban, ...]] | Unseen = Unseen(Why.NOT_APPLICABLE, (), "modprobe.d was not looked at")
    """Of the nvidia modules and nouveau."""
    firmware: Seen[tuple[str, ...]] | Unseen = Unseen(Why.NOT_APPLICABLE, (), "/lib/firmware was not looked at")
    """Driver versions whose GSP firmware is on disk."""
    suspends: Seen[int] | Unseen = Unseen(Why.NOT_APPLICABLE, (), "the count of suspends was not looked at")
    """How often the machine was suspended since it was started."""
    enforcement: Seen[str] | Unseen = Unseen(Why.NOT_APPLICABLE, (), "lockdown was not looked at")
    """What but Secure Boot makes the kernel refuse unsigned modules: ``lockdown: integrity``, ``sig_enforce = Y``; '' nothing."""


@dataclass(frozen=True, slots=True)
class DeviceNode:
    """A device file and what opening it gives."""

    path: str
    present: bool
    mode: int
    uid: int
    gid: int
    number: tuple[int, int] | None
    error: str
    """'' when it opens, else the errno's name: ENOENT, EACCES, EPERM, ENXIO, ...; '?' when it was not opened; ``not a device``
    when a file or a folder has its name."""


# -- libraries ---------------------------------------------------------------------------------------------------------


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


# -- what the driver answers -------------------------------------------------------------------------------------------


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


# -- Python, environment, surroundings ---------------------------------------------------------------------------------


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


# -- a project's repository --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Requirement:
    """A dependency as somebody wrote it."""

    name: str
    """In its one spelling (PEP 503)."""
    extras: tuple[str, ...]
    specifier: str
    """``>=2.11``; '' for any version."""
    marker: str
    """The condition after the semicolon (PEP 508)."""
    group: str
    """``dependencies``, ``extra NAME``, ``group NAME`` or the path of a requirements file."""
    index: str
    """The URL of the index that its author names for it; '' where none is named."""
    source: str
    """``pyproject.toml:12``."""
    alternatives: tuple[str, ...] = ()
    """Further indexes that may win: pip takes the newest version of all of them."""


@dataclass(frozen=True, slots=True)
class Index:
    """A package index that the project names; its URL is without credentials."""

    name: str
    url: str
    role: str
    """``default`` (instead of PyPI), ``explicit`` (only for packages that name it) or ``extra`` (beside PyPI)."""
    source: str


@dataclass(frozen=True, slots=True)
class Pyproject:
    """What pyproject.toml says of dependencies; of these only the ones that matter here."""

    name: str
    python: Seen[str] | None
    """requires-python."""
    dependencies: int
    """How many there are in all."""
    requirements: tuple[Requirement, ...]
    indexes: tuple[Index, ...]
    torch_backend: Seen[str] | None
    """torch-backend under [tool.uv.pip]."""


@dataclass(frozen=True, slots=True)
class RequirementsFile:
    """A requirements file of pip, with what it includes."""

    path: str
    pinned: bool
    """Every line names an exact version."""
    requirements: tuple[Requirement, ...]


@dataclass(frozen=True, slots=True)
class Locked:
    """A package in a lock file that Linux on x86-64 gets."""

    name: str
    version: str
    index: str
    groups: tuple[str, ...]
    """How it is reached, as in Requirement; empty when the lock file does not tell."""
    needs: tuple[str, ...]
    """The packages among its own dependencies that matter here: ``nvidia-cuda-runtime 13.0.96``."""
    markers: tuple[str, ...]
    """It is for these environments alone, any of them (versions of Python, mostly)."""
    source: str


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock file; of its packages only the ones that matter here."""

    kind: str
    """``uv.lock``, ``poetry.lock``, ``pylock.toml``, or the path of a requirements file that pins all."""
    size: int
    """How many packages it has."""
    packages: tuple[Locked, ...]


@dataclass(frozen=True, slots=True)
class Install:
    """A command in a Dockerfile that installs Python packages."""

    command: str
    """``uv sync``, ``pip install``, ..."""
    groups: tuple[str, ...]
    """What it installs of the project, as in Requirement; ``*`` for all of them."""
    requirements: tuple[Requirement, ...]
    """What it installs by name."""
    source: str


@dataclass(frozen=True, slots=True)
class DockerVariable:
    """A variable that a Dockerfile sets for programs in the image."""

    name: str
    value: str
    source: str


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """The image that a Dockerfile builds when no stage is asked for: its last stage."""

    path: str
    base: str
    """The image that the last stage comes from, through other stages, with the defaults of ARG filled in."""
    unresolved: str
    """Why base cannot be told; '' when it can."""
    source: str
    """The line of FROM (or of the ARG that names the image)."""
    variables: tuple[DockerVariable, ...]
    """Those that matter here."""
    installs: tuple[Install, ...]


@dataclass(frozen=True, slots=True)
class Project:
    """A repository, read and never executed. Paths are relative to its folder."""

    day: str
    """When it was looked at, ``2026-11-24``: some images go out of support."""
    pyproject: Seen[Pyproject] | Unseen
    requirements: tuple[Seen[RequirementsFile] | Unseen, ...]
    lock: Seen[Lock] | Unseen
    dockerfiles: tuple[Seen[Dockerfile] | Unseen, ...]
    answers: Seen[tuple[tuple[str, str], ...]] | Unseen
    """What the project's template was told, as far as it matters here, sorted by name."""
    ci: tuple[tuple[str, str], ...]
    """Continuous integration: (name, file)."""


@dataclass(frozen=True, slots=True)
class FalseLabel:
    """A label of an image that what is in the image contradicts."""

    label: str
    said: str
    seen: str
    source: str


NO_PROJECT = Unseen(Why.NOT_APPLICABLE, (), "no project was looked at")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that the rules may know."""

    schema: int
    tool: str
    """The gpucheck that looked."""
    host: Host
    pci: Seen[tuple[PciDevice, ...]] | Unseen
    kernel: Kernel
    nodes: Seen[tuple[DeviceNode, ...]] | Unseen
    nvml: Seen[Nvml] | Unseen
    cuda: Seen[Cuda] | Unseen
    libcuda: Choice
    libcuda_copies: tuple[Library, ...]
    nvml_copies: tuple[Library, ...]
    compat: tuple[Compat, ...]
    runtimes: tuple[Runtime, ...]
    libraries: tuple[Library, ...]
    pythons: tuple[Python, ...]
    frameworks: tuple[Framework, ...]
    distributions: tuple[Distributed, ...]
    environment: tuple[tuple[str, str], ...]
    """The variables that matter, in order of name."""
    container: Seen[Container] | Unseen
    runtime: Seen[ContainerRuntime] | Unseen
    kubernetes: Seen[Kubernetes] | Unseen
    project: Seen[Project] | Unseen = NO_PROJECT
    shared_memory: Seen[int] | Unseen = Unseen(Why.NOT_APPLICABLE, (), "no mount table was looked at")
    """Bytes that /dev/shm may hold, where its mount limits them."""
    differences: Seen[tuple[Difference, ...]] | Unseen = Unseen(Why.NOT_APPLICABLE, (), "no command was traced")
    """Of a traced command: prediction against observation."""
    imported: Seen[Imported] | Unseen = Unseen(Why.NOT_APPLICABLE, (), "no import was asked for")
    system_packages: Seen[tuple[SystemPackage, ...]] | Unseen = Unseen(
        Why.NOT_APPLICABLE, (), "no package database was looked at"
    )
    """Packages of the driver."""
    services: Seen[tuple[Service, ...]] | Unseen = Unseen(Why.NOT_APPLICABLE, (), "no service was looked at")
    mps: Seen[Mps] | Unseen = Unseen(Why.NOT_APPLICABLE, (), "the MPS directory was not looked at")
    modprobe: Seen[int] | Unseen = Unseen(Why.NOT_APPLICABLE, (), "nvidia-modprobe was not looked for")
    """The mode of nvidia-modprobe, which makes device nodes and must be setuid root for that."""
    toolkit_homes: tuple[ToolkitHome, ...] = ()
    broken_links: tuple[str, ...] = ()
    """Names of driver libraries that lead nowhere: ``/usr/lib/libcuda.so.1 -> libcuda.so.535.54.03``."""
    driver_mounts: Seen[tuple[str, ...]] | Unseen = Unseen(Why.NOT_APPLICABLE, (), "no mount table was looked at")
    """Files and folders of a driver that are mounted here, as a container engine does."""
    address_space: Seen[int] | Unseen = Unseen(Why.NOT_APPLICABLE, (), "no limit was looked at")
    """Bytes that a process may map, where that is limited (``ulimit -v``)."""
    libcuda_unversioned: Choice | None = None
    """What ``libcuda.so`` gives, which some libraries open; looked up where it is known to go wrong (WSL2)."""
    packages: Seen[Packages] | Unseen = Unseen(Why.NOT_APPLICABLE, (), "no package was looked into")
    loads: Seen[tuple[Loads, ...]] | Unseen = Unseen(Why.NOT_APPLICABLE, (), "no framework was looked into")
    """What each GPU framework would load."""
    extensions: Seen[tuple[Loads, ...]] | Unseen = Unseen(Why.NOT_APPLICABLE, (), "no extension was looked into")
    """What the extensions of torch lack."""
    tools: Seen[tuple[Tool, ...]] | Unseen = Unseen(Why.NOT_APPLICABLE, (), "no tool was looked for")
    cached: Seen[tuple[Cached, ...]] | Unseen = Unseen(Why.NOT_APPLICABLE, (), "the linker's cache was not looked at")
    """GPU libraries in /etc/ld.so.cache."""
    preloads: Seen[tuple[Preload, ...]] | Unseen = Unseen(Why.NOT_APPLICABLE, (), "preloading was not looked at")
    labels: Seen[tuple[FalseLabel, ...]] | Unseen = Unseen(Why.NOT_APPLICABLE, (), "no image's labels were looked at")
    """Of an image: those of its labels that are not true."""

    def variable(self, name: str) -> str | None:
        """An environment variable; None when it is not set."""
        return dict(self.environment).get(name)
