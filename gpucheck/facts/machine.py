"""The machine, its GPUs on the bus and its kernel: records of the Snapshot."""

from __future__ import annotations

from gpucheck.facts.seen import Seen, Unseen, Why
from gpucheck.record import dataclass
from gpucheck.versions import DriverVersion


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
    iommu: str = ""
    """How the IOMMU treats what it reads and writes: ``identity``, ``DMA``, ``DMA-FQ``; '' where no IOMMU does."""
    subsystem: str = ""
    """PCI subsystem device id in hexadecimal, ``1482``."""


@dataclass(frozen=True, slots=True)
class Hidden:
    """Something that keeps a GPU off the bus."""

    kind: str
    """``udev rule`` or ``thunderbolt``."""
    name: str
    """The rule's setting, or the enclosure: ``Razer Core X Chroma``."""
    place: str


@dataclass(frozen=True, slots=True)
class Processor:
    """The processor, as the kernel shows it."""

    model: str
    avx: bool
    virtual: bool
    """A hypervisor is below: it decides which instructions are shown."""


@dataclass(frozen=True, slots=True)
class Network:
    """What processes on several GPUs or machines talk over."""

    interfaces: tuple[str, ...]
    rdma: tuple[str, ...]
    """InfiniBand and RoCE devices that this process may open: ``mlx5_0``."""


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
    built_for: str = ""
    """The kernel release in its version magic; '' when the file does not tell."""


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
    unsupported: Ban | None = None
    """The setting by which SUSE's modprobe refuses the nvidia module, which the distribution does not support; None: it does not."""


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
