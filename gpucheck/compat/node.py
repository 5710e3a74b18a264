"""A node as images are judged against it: driver, GPUs, and how its containers get them."""

from __future__ import annotations

import re

from gpucheck.facts import Seen, Snapshot
from gpucheck.finding import Finding
from gpucheck.kb import gpus
from gpucheck.kb.drivers import Implemented, implemented_cuda
from gpucheck.record import dataclass
from gpucheck.versions import ComputeCapability, CudaVersion, DriverVersion

#: Who puts the driver into a container. ``legacy``: nvidia-container-cli, called by the hook (``docker run --gpus``); ``cdi``:
#: CDI specifications, written ahead or by the runtime itself (jit-cdi); ``csv``: the lists of files on a Jetson; ``gke``: Google's device
#: plugin mounts a folder; ``none``: nobody.
MODES = ("cdi", "legacy", "csv", "gke", "none")


@dataclass(frozen=True, slots=True)
class NodeGpu:
    """A kind of GPU on a node."""

    name: str
    capability: ComputeCapability | None
    brand: int | None
    """nvmlBrandType_t; None where it is not known."""
    source: str

    def __str__(self) -> str:
        """``A100-SXM4-80GB (8.0)``."""
        return f"{self.name} ({self.capability})" if self.capability else self.name


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong on the node itself, whatever the image is."""

    rule: str
    summary: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Node:
    """A node, or a kind of node. What nobody told is None or ''."""

    name: str
    driver: DriverVersion | None
    gpus: tuple[NodeGpu, ...] | None
    """Each kind once; empty: there is none; None: not known."""
    architecture: str
    """As in ``uname -m``."""
    toolkit: str = ""
    """The version of the NVIDIA container toolkit."""
    mode: str = ""
    """One of ``MODES``; '' where it is not known."""
    cuda: CudaVersion | None = None
    """What its libcuda answered; None: that of the driver's branch counts."""
    driven: bool = False
    """The driver was seen to list these GPUs, so it drives them."""
    trouble: tuple[Trouble, ...] = ()
    source: str = ""
    """Where this is from: a file, the words that were typed, a row of the knowledge base."""

    @property
    def implemented(self) -> Implemented | None:
        """The CUDA that its driver implements; None when the driver is not known."""
        if self.cuda:
            return Implemented(self.cuda, self.cuda, f"cuDriverGetVersion in {self.source}")
        return implemented_cuda(self.driver) if self.driver else None

    def __str__(self) -> str:
        """``driver 550.54.15 (CUDA 12.4), A100-SXM4-80GB (8.0), toolkit 1.18 (cdi)``."""
        implemented = self.implemented
        parts = [
            (f"driver {self.driver or 'unknown'}") + (f" (CUDA {implemented})" if implemented else ""),
            "GPU unknown"
            if self.gpus is None
            else "no GPU"
            if not self.gpus
            else " + ".join(str(gpu) for gpu in self.gpus),
        ]
        if self.toolkit or self.mode:
            told = " ".join(part for part in ("toolkit" if self.toolkit else "", self.toolkit) if part)
            parts.append(f"{told} ({self.mode})" if told and self.mode else told or self.mode)
        if self.architecture != "x86_64":
            parts.append(self.architecture or "architecture unknown")
        return ", ".join(parts)


def named_gpu(text: str, source: str) -> NodeGpu:
    """A GPU by a name, or by its compute capability alone: ``L40S``, ``8.9``, ``sm_89``. An unknown name has none."""
    bare = re.fullmatch(r"sm_(\d+)(\d)", text)
    if capability := ComputeCapability.parse(f"{bare[1]}.{bare[2]}" if bare else text):
        return NodeGpu(text, capability, None, source)
    row = gpus.find(text)
    return NodeGpu(text, row.capability if row else None, row.brand if row else None, row.reference if row else source)


def default_mode(toolkit: str) -> str:
    """The mode of a toolkit that was not configured otherwise: its runtime is CDI since 1.18, legacy before.

    Source: NVIDIA/nvidia-container-toolkit, CHANGELOG of 1.18.0-rc.1 ("Default to jit-cdi mode").
    """
    if not toolkit:
        return ""
    return "cdi" if numbers(toolkit) >= (1, 18) else "legacy"


def numbers(version: str) -> tuple[int, ...]:
    """(1, 18, 0) of ``1.18.0~rc.1``."""
    return tuple(int(part) for part in re.findall(r"\d+", re.split(r"[-~]", version)[0]))


def default_architecture(found: tuple[NodeGpu, ...] | None) -> str:
    """That of the CPU a GPU is built together with; for all others x86_64, as long as nobody says otherwise."""
    rows = [row for gpu in found or () if (row := gpus.find(gpu.name)) and row.machine]
    return rows[0].machine if rows else "x86_64"


def of_snapshot(snapshot: Snapshot, name: str, source: str) -> Node:
    """The node in a snapshot that was taken on it (``gpucheck snapshot``)."""
    from gpucheck.rules import reading

    known = reading.driver_version(snapshot)
    listed = _listed(snapshot)
    cuda = snapshot.cuda.value.cuda if isinstance(snapshot.cuda, Seen) else None
    # A cuda-compat libcuda in front of the driver's answers for itself, not for the node.
    chosen = reading.chosen_libcuda(snapshot)
    if chosen and chosen.kind == "compat":
        cuda = None
    if cuda is None and isinstance(snapshot.nvml, Seen):
        cuda = snapshot.nvml.value.cuda
    toolkit = snapshot.runtime.value.toolkit_version if isinstance(snapshot.runtime, Seen) else ""
    return Node(
        name,
        known[0] if known else None,
        listed,
        snapshot.host.architecture,
        toolkit,
        _mode(snapshot),
        cuda,
        bool(reading.answering_gpus(snapshot)),
        tuple(Trouble(root.rule, root.summary, root.remedy) for root in _node_roots(snapshot)),
        source,
    )


def _listed(snapshot: Snapshot) -> tuple[NodeGpu, ...] | None:
    """The kinds of GPUs that driver or PCI bus lists; NVML's word on brands beside CUDA's on capabilities."""
    from gpucheck.rules import reading

    brands = {gpu.name: gpu.brand for gpu in (snapshot.nvml.value.gpus if isinstance(snapshot.nvml, Seen) else ())}
    found: dict[str, NodeGpu] = {}
    for gpu in reading.answering_gpus(snapshot):
        row = gpus.find(gpu.name)
        brand = gpu.brand if gpu.brand is not None else brands.get(gpu.name)
        if brand is None and row:
            brand = row.brand
        found[gpu.name] = NodeGpu(gpu.name, gpu.capability or (row.capability if row else None), brand, "driver")
    if found:
        return tuple(found.values())
    if not isinstance(snapshot.pci, Seen):
        return None
    for device in reading.pci_gpus(snapshot):
        model = device.model or f"10de:{device.device}"
        found[model] = named_gpu(model, "PCI bus")
    return tuple(found.values())


def _mode(snapshot: Snapshot) -> str:
    """Only what its files show; '' where they do not tell."""
    if isinstance(snapshot.host.tegra, Seen):
        return "csv"
    if any(copy.path.startswith("/home/kubernetes/bin/nvidia/") for copy in snapshot.libcuda_copies):
        return "gke"
    if not isinstance(snapshot.runtime, Seen) or isinstance(snapshot.container, Seen):
        return ""
    found = snapshot.runtime.value
    if found.toolkit:
        return default_mode(found.toolkit_version)
    if found.cdi:
        return "cdi"
    return "none" if found.engines and not isinstance(snapshot.kubernetes, Seen) else ""


#: Rules that speak of the node and of no process on it: a container meets the same.
_OF_THE_NODE = ("device-node-missing", "device-without-driver", "driver-does-not-answer")


def _node_roots(snapshot: Snapshot) -> tuple[Finding, ...]:
    from gpucheck.engine import judge
    from gpucheck.rules import RULES, Layer

    # In a container the devices are the container's.
    inside = isinstance(snapshot.container, Seen)
    rules = tuple(
        rule
        for rule in RULES
        if rule.layer in (Layer.HARDWARE, Layer.KERNEL) or (rule.id in _OF_THE_NODE and not inside)
    )
    return judge(snapshot, rules).roots
