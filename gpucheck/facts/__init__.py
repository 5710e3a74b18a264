"""What was seen of a system: a frozen, JSON-able Snapshot. Probes write it, rules read it, nothing else passes between.

Its records are in the modules beside, by subject; all are imported from here.
"""

from __future__ import annotations

from gpucheck.facts.driver import Call, Choice, Compat, Cuda, Difference, Gpu, Library, Nvml, Runtime
from gpucheck.facts.installed import (
    Absent,
    Cached,
    DriverPart,
    Late,
    Loaded,
    Loads,
    Lost,
    Misfit,
    Need,
    NumberReader,
    Overlap,
    Packages,
    Preload,
    Shadow,
    Stack,
    Tool,
    Unbuilt,
    Wheel,
)
from gpucheck.facts.machine import (
    Ban,
    DeviceNode,
    Distribution,
    Dkms,
    Hidden,
    Host,
    Kernel,
    KernelDriver,
    KernelMessage,
    Libc,
    ModuleFile,
    Network,
    PciDevice,
    Processor,
)
from gpucheck.facts.project import (
    Asking,
    Compose,
    ComposeService,
    Dockerfile,
    DockerVariable,
    Index,
    Install,
    Lock,
    Locked,
    Project,
    Pyproject,
    Requirement,
    RequirementsFile,
    Workload,
)
from gpucheck.facts.seen import Seen, Unseen, Why
from gpucheck.facts.surroundings import (
    CodeFolder,
    Container,
    ContainerRuntime,
    Distributed,
    FalseLabel,
    Framework,
    Imported,
    Kubernetes,
    Mps,
    Program,
    Python,
    Service,
    SystemPackage,
    Toolchain,
    ToolkitHome,
)
from gpucheck.record import dataclass

__all__ = [
    "NO_PROJECT",
    "SCHEMA",
    "Absent",
    "Asking",
    "Ban",
    "Cached",
    "Call",
    "Choice",
    "CodeFolder",
    "Compat",
    "Compose",
    "ComposeService",
    "Container",
    "ContainerRuntime",
    "Cuda",
    "DeviceNode",
    "Difference",
    "Distributed",
    "Distribution",
    "Dkms",
    "DockerVariable",
    "Dockerfile",
    "DriverPart",
    "FalseLabel",
    "Framework",
    "Gpu",
    "Hidden",
    "Host",
    "Imported",
    "Index",
    "Install",
    "Kernel",
    "KernelDriver",
    "KernelMessage",
    "Kubernetes",
    "Late",
    "Libc",
    "Library",
    "Loaded",
    "Loads",
    "Lock",
    "Locked",
    "Lost",
    "Misfit",
    "ModuleFile",
    "Mps",
    "Need",
    "Network",
    "NumberReader",
    "Nvml",
    "Overlap",
    "Packages",
    "PciDevice",
    "Preload",
    "Processor",
    "Program",
    "Project",
    "Pyproject",
    "Python",
    "Requirement",
    "RequirementsFile",
    "Runtime",
    "Seen",
    "Service",
    "Shadow",
    "Snapshot",
    "Stack",
    "SystemPackage",
    "Tool",
    "Toolchain",
    "ToolkitHome",
    "Unbuilt",
    "Unseen",
    "Wheel",
    "Why",
    "Workload",
]

#: Counts up when a field changes its meaning; a snapshot of another number is refused.
SCHEMA = 1

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
    ptx_compiler: Choice | None = None
    """What ``libnvidia-ptxjitcompiler.so.1`` gives, which libcuda opens to compile PTX; None where it was not looked up."""

    locked_memory: Seen[int] | Unseen = Unseen(Why.NOT_APPLICABLE, (), "no limit was looked at")
    """Bytes that a process may lock in memory, where that is limited (``ulimit -l``)."""
    network: Seen[Network] | Unseen = Unseen(Why.NOT_APPLICABLE, (), "no network was looked at")
    processor: Seen[Processor] | Unseen = Unseen(Why.NOT_APPLICABLE, (), "the processor was not looked at")
    hidden: Seen[tuple[Hidden, ...]] | Unseen = Unseen(
        Why.NOT_APPLICABLE, (), "nothing that hides a GPU was looked for"
    )
    code_folders: Seen[tuple[CodeFolder, ...]] | Unseen = Unseen(Why.NOT_APPLICABLE, (), "no mount table was looked at")
    toolchain: Seen[Toolchain] | Unseen = Unseen(Why.NOT_APPLICABLE, (), "no compiler was looked for")
    compiling: tuple[tuple[str, str], ...] = ()
    """(name, version) of distributions that compile CUDA code as they run."""
    programs: tuple[Program, ...] = ()
    shadows: tuple[Shadow, ...] = ()
    unbuilt: tuple[Unbuilt, ...] = ()
    stacks: Seen[tuple[Stack, ...]] | Unseen = Unseen(Why.NOT_APPLICABLE, (), "no stack was looked at")
    """Looked at where the C library refuses them."""
    driver_parts: tuple[DriverPart, ...] = ()
    number_readers: tuple[NumberReader, ...] = ()
    loader: Seen[str] | Unseen = Unseen(Why.NOT_APPLICABLE, (), "no interpreter was looked at")
    """The dynamic linker that the interpreter names (PT_INTERP)."""

    def variable(self, name: str) -> str | None:
        """An environment variable; None when it is not set."""
        return dict(self.environment).get(name)
