"""What several rules read out of a snapshot."""

from __future__ import annotations

from gpucheck import kb
from gpucheck.facts import Call, DeviceNode, Gpu, Library, PciDevice, Seen, Service, Snapshot, SystemPackage, Why
from gpucheck.finding import Evidence, Severity
from gpucheck.kb.drivers import Implemented, implemented_cuda
from gpucheck.rules.rule import CannotTell
from gpucheck.versions import ComputeCapability, DriverVersion


def pci_gpus(snapshot: Snapshot) -> tuple[PciDevice, ...]:
    """NVIDIA GPUs on the PCI bus, as far as that was seen."""
    return (
        tuple(device for device in snapshot.pci.value if device.kind == "gpu") if isinstance(snapshot.pci, Seen) else ()
    )


def answering_gpus(snapshot: Snapshot) -> tuple[Gpu, ...]:
    """GPUs that CUDA or else NVML listed."""
    for fact in (snapshot.cuda, snapshot.nvml):
        if isinstance(fact, Seen) and fact.value.gpus:
            return fact.value.gpus
    return ()


def capable(snapshot: Snapshot) -> list[tuple[Gpu, ComputeCapability]]:
    """The GPUs whose compute capability is known, with it."""
    return [(gpu, gpu.capability) for gpu in answering_gpus(snapshot) if gpu.capability]


def reached(snapshot: Snapshot) -> bool:
    """Whether CUDA was initialised and listed a GPU: then nothing below it can be missing, whatever it looks like."""
    return cuda_code(snapshot) == 0 and isinstance(snapshot.cuda, Seen) and bool(snapshot.cuda.value.gpus)


def gpu_here(snapshot: Snapshot) -> str:
    """How a GPU is known to be here; '' when none is."""
    if gpus := answering_gpus(snapshot):
        return f"{len(gpus)} x {gpus[0].name}"
    if found := pci_gpus(snapshot):
        return f"{found[0].address} on the PCI bus"
    if snapshot.host.wsl and node(snapshot, "/dev/dxg"):
        return "/dev/dxg of WSL2"
    if tegra(snapshot):
        return "the GPU of a Jetson"
    return ""


def tegra(snapshot: Snapshot) -> bool:
    """Whether this is a Jetson, or a container on one: its files are the host's, its device nodes may be given."""
    return isinstance(snapshot.host.tegra, Seen) or any(
        node(snapshot, path) for path in ("/dev/nvhost-gpu", "/dev/nvmap")
    )


def wants_gpu(snapshot: Snapshot) -> bool:
    """False where all GPU-capable libraries are CPU builds and nothing else asks for a GPU: CPU-only by intention."""
    builds = [framework.gpu for framework in snapshot.frameworks]
    if not builds or any(gpu is not False for gpu in builds):
        return True
    return bool(gpu_here(snapshot)) or declares_gpu(snapshot) != ""


def declares_gpu(snapshot: Snapshot) -> str:
    """The variable by which an image says that it is for GPUs; '' when it does not."""
    for name in ("NVIDIA_REQUIRE_CUDA", "NVIDIA_VISIBLE_DEVICES", "CUDA_VERSION"):
        if snapshot.variable(name) not in (None, "", "void", "none"):
            return name
    return ""


def absence(snapshot: Snapshot) -> Severity:
    """How bad it is that no GPU is reached."""
    return Severity.ERROR if wants_gpu(snapshot) else Severity.NOTE


def lacking(snapshot: Snapshot) -> Severity:
    """How bad it is that a GPU build lacks what it needs for the GPU: nothing to act on where there is no GPU to use."""
    if gpu_here(snapshot) or declares_gpu(snapshot):
        return Severity.ERROR
    return Severity.WARNING if no_kernel(snapshot) else Severity.NOTE


def import_names(snapshot: Snapshot, *words: str) -> bool:
    """Whether a real import failed with one of the words in its error."""
    trouble = snapshot.imported.value.trouble if isinstance(snapshot.imported, Seen) else ""
    return any(word and word in trouble for word in words)


def node(snapshot: Snapshot, path: str) -> DeviceNode | None:
    """A device node that exists."""
    if isinstance(snapshot.nodes, Seen):
        return next((node for node in snapshot.nodes.value if node.path == path and node.present), None)
    return None


def in_container(snapshot: Snapshot) -> bool:
    """Whether this runs in a container."""
    return isinstance(snapshot.container, Seen)


def module_loaded(snapshot: Snapshot, name: str = "nvidia") -> bool | None:
    """Whether a kernel module is loaded; None when that was not seen."""
    if name == "nvidia" and isinstance(snapshot.kernel.driver, Seen):
        return True
    if isinstance(snapshot.kernel.modules, Seen):
        return name in snapshot.kernel.modules.value
    return None


def driver_version(snapshot: Snapshot) -> tuple[DriverVersion, str] | None:
    """The driver of the machine and where it was seen: the kernel's word first, then NVML's, then the libcuda file's name."""
    if isinstance(snapshot.kernel.driver, Seen):
        return snapshot.kernel.driver.value.version, snapshot.kernel.driver.source
    if isinstance(snapshot.nvml, Seen) and snapshot.nvml.value.driver:
        return snapshot.nvml.value.driver, snapshot.nvml.source
    library = chosen_libcuda(snapshot)
    if library and library.kind == "driver" and (version := DriverVersion.parse(library.version)):
        return version, library.real
    return None


def supported_cuda(snapshot: Snapshot) -> tuple[Implemented, str] | None:
    """The newest CUDA that the libcuda in use implements, and the evidence: what it answers, else its branch's row.

    For a branch that has no row it is an extrapolation from its neighbours, and the evidence says so.
    """
    if isinstance(snapshot.cuda, Seen) and (cuda := snapshot.cuda.value.cuda):
        source = f"cuDriverGetVersion of {snapshot.cuda.value.library}"
        return Implemented(cuda, cuda, source), source
    known = driver_version(snapshot)
    if known is None:
        return None
    implemented = implemented_cuda(known[0])
    return implemented, f"driver {known[0]} in {known[1]}; {implemented.reference}"


def need_search(snapshot: Snapshot) -> None:
    """Raises ``CannotTell`` where the linker's search for libcuda could not be followed: that it is not found says nothing then."""
    if snapshot.libcuda.how == "unknown":
        raise CannotTell("the dynamic linker's search could not be followed", snapshot.libcuda.considered)


def chosen_libcuda(snapshot: Snapshot) -> Library | None:
    """The libcuda that a process gets."""
    path = snapshot.libcuda.path
    return next((library for library in snapshot.libcuda_copies if path in (library.path, library.real)), None)


def cuda_code(snapshot: Snapshot, name: str = "cuInit") -> int | None:
    """The result code of a driver call; None when it was not made."""
    if isinstance(snapshot.cuda, Seen):
        return next((call.code for call in snapshot.cuda.value.calls if call.name == name), None)
    return None


def contexts(snapshot: Snapshot) -> dict[str, int]:
    """What making a context gave, by the GPU's UUID."""
    gpus = snapshot.cuda.value.gpus if isinstance(snapshot.cuda, Seen) else ()
    return {gpu.uuid: gpu.context for gpu in gpus if gpu.context is not None}


def nvml_code(snapshot: Snapshot) -> int | None:
    """The result code of nvmlInit; None when it was not called."""
    if isinstance(snapshot.nvml, Seen):
        return next((call.code for call in snapshot.nvml.value.calls if call.name == "nvmlInit_v2"), None)
    return None


def spell(call: Call) -> str:
    """``cuInit = 100 (CUDA_ERROR_NO_DEVICE)``."""
    row = (kb.nvml_codes() if call.name.startswith("nvml") else kb.cuda_codes()).get(call.code)
    # The runtime API has names of its own for the same numbers (driver_types.h).
    name = (row.runtime if call.name.startswith("cuda") else "") or row.name if row else ""
    return f"{call.name} = {call.code}" + (f" ({name})" if name and call.code else "")


def calls(snapshot: Snapshot) -> tuple[Evidence, ...]:
    """What cuInit and nvmlInit answered, as evidence."""
    found = []
    for fact, name in ((snapshot.cuda, "cuInit"), (snapshot.nvml, "nvmlInit_v2")):
        if isinstance(fact, Seen):
            found += [Evidence(spell(call), fact.source) for call in fact.value.calls if call.name == name]
    return tuple(found)


def kernel_lines(snapshot: Snapshot, *words: str) -> tuple[Evidence, ...]:
    """The newest kernel message that holds one of the words, as evidence."""
    if isinstance(snapshot.kernel.messages, Seen):
        for message in reversed(snapshot.kernel.messages.value):
            if any(word in message.text for word in words):
                return (Evidence(message.text, snapshot.kernel.messages.source),)
    return ()


def kernel_text(snapshot: Snapshot) -> str:
    """The driver's lines in the kernel log, without "NVRM:", joined by single spaces; '' when there are none to see.

    The driver breaks its messages: "installed in this system is not supported by open" / "nvidia.ko because it ...".
    """
    if not isinstance(snapshot.kernel.messages, Seen):
        return ""
    return " ".join(" ".join(message.text.replace("NVRM:", " ").split()) for message in snapshot.kernel.messages.value)


def host_gpus(snapshot: Snapshot) -> tuple[PciDevice, ...]:
    """NVIDIA GPUs on the bus of the machine itself: a container sees all of its host's there, given to it or not."""
    return () if in_container(snapshot) else pci_gpus(snapshot)


def listed(snapshot: Snapshot) -> int:
    """How many GPUs the driver lists, through CUDA or NVML, whichever sees more."""
    facts = (snapshot.cuda, snapshot.nvml)
    return max(len(fact.value.gpus) if isinstance(fact, Seen) else 0 for fact in facts)


def all_driven(snapshot: Snapshot) -> bool:
    """Whether the driver lists as many GPUs as are on the bus: then what was logged of one before is over."""
    return 0 < len(pci_gpus(snapshot)) <= listed(snapshot)


def packages(snapshot: Snapshot, beginning: str) -> tuple[SystemPackage, ...]:
    """Packages whose name begins so, as far as a database was seen."""
    if not isinstance(snapshot.system_packages, Seen):
        return ()
    return tuple(package for package in snapshot.system_packages.value if package.name.startswith(beginning))


def service(snapshot: Snapshot, name: str) -> Service | None:
    """A daemon of the driver's; None when that was not seen."""
    if not isinstance(snapshot.services, Seen):
        return None
    return next((service for service in snapshot.services.value if service.name == name), None)


def no_kernel(snapshot: Snapshot) -> bool:
    """Whether these are only files, of an image for example."""
    return not isinstance(snapshot.host.kernel, Seen) and snapshot.host.kernel.why is Why.NOT_APPLICABLE
