"""Cases of rules about the kernel: modules on disk and loaded, what they drive, versions, the fabric."""

from __future__ import annotations

from gpucheck.facts import Ban, Dkms, Seen, Service, Snapshot, SystemPackage
from gpucheck.finding import Status
from gpucheck.record import replace
from tests.machines import (
    ABSENT,
    DOCKER,
    UNREADABLE,
    answers,
    bare,
    driver_library,
    gpu,
    healthy,
    image,
    loaded,
    messages,
    module_file,
    node,
    nvml_answers,
    pci,
    with_host,
    with_kernel,
)

FAIL, PASS, UNKNOWN = Status.FAIL, Status.PASS, Status.UNKNOWN

RUNNING = "6.8.0-40-generic"
FILES = Seen((module_file(),), "/lib/modules")
MISSING_UVM = Seen(
    (node("/dev/nvidia-uvm", "ENOENT", present=False), node("/dev/nvidia0"), node("/dev/nvidiactl")), "/dev"
)


def unloaded(**changes: object) -> Snapshot:
    """A GPU on the bus, no module loaded."""
    return with_kernel(bare(pci=Seen((pci(None),), "/sys/bus/pci/devices")), **changes)


def device(id: str, driver: str | None = "nvidia") -> Seen[object]:
    """A GPU on the bus by its PCI device id."""
    return Seen((replace(pci(driver), device=id),), "/sys/bus/pci/devices")


def undriven(flavour: str = "open", version: str = "580.95.05", id: str = "2330", **changes: object) -> Snapshot:
    """The module is loaded, and neither CUDA nor NVML lists a GPU."""
    snapshot = healthy(pci=device(id, None), cuda=answers(("cuInit", 100)), nvml=nvml_answers(driver=version))
    kernel = {"driver": loaded(version, flavour), "messages": UNREADABLE, **changes}
    return with_kernel(snapshot, **kernel)


def dkms(**changes: object) -> Seen[Dkms]:
    """What DKMS left of a driver that it did not build for the running kernel."""
    return Seen(replace(Dkms(("470.256.02",), ("6.5.0-15-generic",), True, "", ""), **changes), "/var/lib/dkms")


def ban(setting: str = "blacklist nvidia", module: str = "nvidia") -> Seen[tuple[Ban, ...]]:
    """A line in modprobe.d."""
    return Seen((Ban(module, setting, "/etc/modprobe.d/blacklist.conf"),), "modprobe.d")


def mismatch(**changes: object) -> Snapshot:
    """The libraries are of 580.95.05, the module that is loaded is older."""
    snapshot = healthy(nvml=nvml_answers(18), cuda=answers(("cuInit", 803)))
    return with_kernel(replace(snapshot, **changes), driver=loaded("580.65.06"))


def fabric(*services: Service, **changes: object) -> Snapshot:
    """cuInit = 802 on a machine with NVSwitches."""
    switches = Seen((pci(), pci("nvidia-nvswitch", kind="nvswitch")), "/sys/bus/pci/devices")
    return healthy(**{"cuda": answers(("cuInit", 802)), "pci": switches, "services": Seen(services, "/run"), **changes})


OPEN_REFUSES = messages(
    "NVRM: The NVIDIA GPU 0000:01:00.0 (PCI ID: 10de:1436)",
    "NVRM: installed in this system is not supported by open",
    "NVRM: nvidia.ko because it does not include the required GPU System Processor (GSP).",
)
NEEDS_OPEN = messages(
    "NVRM: The NVIDIA GPU 0000:02:00.0 (PCI ID: 10de:2c58)",
    "NVRM: installed in this system requires use of the NVIDIA open kernel modules.",
    "NVRM: GPU 0000:02:00.0: RmInitAdapter failed! (0x22:0x56:884)",
)
LEGACY = messages(
    "NVRM: The NVIDIA NVIDIA GeForce GTX 1050 GPU installed in this system is",
    "NVRM:  supported through the NVIDIA 580.xx Legacy drivers. Please",
    "NVRM:  visit http://www.nvidia.com/object/unix.html for more",
)
TOO_NEW = messages(
    "NVRM: The NVIDIA GPU 0000:01:00.0 (PCI ID: 10de:25a0)",
    "NVRM: installed in this system is not supported by the",
    "NVRM: NVIDIA 520.56.06 driver release.",
)
CC = replace(nvml_answers(gpus=(gpu(),)).value, confidential=True, ready=False)

CASES: list[tuple[str, str, Snapshot, Status]] = [
    ("kernel-module-not-built", "headers are missing", unloaded(dkms=dkms(headers=False)), FAIL),
    (
        "kernel-module-not-built",
        "the build fails",
        unloaded(dkms=dkms(log="/var/lib/dkms/nvidia/470.256.02/build/make.log", error="nv-mmap.c:1: error: x")),
        FAIL,
    ),
    ("kernel-module-not-built", "built by DKMS", unloaded(dkms=dkms(built=(RUNNING,)), files=FILES), PASS),
    ("kernel-module-not-built", "never installed", unloaded(), PASS),
    (
        "kernel-module-not-built",
        "only nvidia_uvm is",
        unloaded(files=Seen((replace(module_file("6.5.0-15-generic"), name="nvidia_uvm"),), "/lib/modules")),
        PASS,
    ),
    (
        "kernel-module-unsigned",
        "lockdown",
        unloaded(
            files=Seen((module_file(signer=""),), "/lib"),
            enforcement=Seen("lockdown: integrity", "/sys/kernel/security/lockdown"),
        ),
        FAIL,
    ),
    (
        "kernel-module-unsigned",
        "nothing enforces it",
        unloaded(files=Seen((module_file(signer=""),), "/lib"), enforcement=Seen("", "/sys/kernel/security/lockdown")),
        PASS,
    ),
    ("kernel-module-banned", "blacklisted", unloaded(files=FILES, bans=ban()), FAIL),
    (
        "kernel-module-banned",
        "on the command line",
        unloaded(files=FILES, bans=Seen((Ban("nvidia", "module_blacklist=nvidia", "/proc/cmdline"),), "modprobe.d")),
        FAIL,
    ),
    ("kernel-module-banned", "nouveau is", unloaded(files=FILES, bans=ban("blacklist nouveau", "nouveau")), PASS),
    (
        "kernel-module-banned",
        "and not built either",
        unloaded(files=Seen((module_file("6.5"),), "/"), bans=ban()),
        PASS,
    ),
    ("kernel-module-banned", "loaded all the same", with_kernel(healthy(), bans=ban()), PASS),
    ("kernel-module-banned", "not looked at", unloaded(files=FILES), UNKNOWN),
    (
        "kernel-driver-not-loaded",
        "half installed",
        replace(
            unloaded(), system_packages=Seen((SystemPackage("nvidia-driver-580", "580.95.05-1", "unpacked"),), "dpkg")
        ),
        FAIL,
    ),
    ("kernel-driver-not-loaded", "only the libraries", replace(unloaded(), libcuda_copies=(driver_library(),)), FAIL),
    ("kernel-module-flavour-wrong", "the open one refuses", undriven(messages=OPEN_REFUSES), FAIL),
    ("kernel-module-flavour-wrong", "the open one is needed", undriven("proprietary", messages=NEEDS_OPEN), FAIL),
    ("kernel-module-flavour-wrong", "Blackwell, by its id", undriven("proprietary", id="2b85"), FAIL),
    ("kernel-module-flavour-wrong", "Pascal, by its id", undriven("open", id="15f8"), FAIL),
    ("kernel-module-flavour-wrong", "Hopper goes with both", undriven("proprietary"), PASS),
    ("kernel-module-flavour-wrong", "it works", with_kernel(healthy(pci=device("2b85")), driver=loaded()), PASS),
    (
        "kernel-module-flavour-wrong",
        "the log speaks of another time",
        with_kernel(healthy(), messages=OPEN_REFUSES),
        PASS,
    ),
    ("kernel-module-flavour-wrong", "an image", image(), UNKNOWN),
    ("gpu-not-supported-by-driver", "legacy", undriven(version="595.58.03", id="1c8d", messages=LEGACY), FAIL),
    ("gpu-not-supported-by-driver", "too new", undriven(version="520.56.06", id="25a0", messages=TOO_NEW), FAIL),
    ("gpu-not-supported-by-driver", "Kepler on 535, by its id", undriven("proprietary", "535.161.08", "102d"), FAIL),
    ("gpu-not-supported-by-driver", "Ada on 470, by its id", undriven("proprietary", "470.256.02", "2684"), FAIL),
    ("gpu-not-supported-by-driver", "Volta on 580", undriven("proprietary", "580.95.05", "1db6"), PASS),
    ("gpu-not-supported-by-driver", "it works", healthy(), PASS),
    ("gpu-not-supported-by-driver", "an image", image(), UNKNOWN),
    (
        "gsp-firmware-missing",
        "of another version",
        undriven(firmware=Seen(("575.57.08",), "/lib/firmware/nvidia")),
        FAIL,
    ),
    (
        "gsp-firmware-missing",
        "the driver says so",
        undriven(
            firmware=ABSENT,
            messages=messages(
                "nvidia 0000:01:00.0: Direct firmware load for nvidia/580.95.05/gsp_ga10x.bin failed with error -2"
            ),
        ),
        FAIL,
    ),
    ("gsp-firmware-missing", "there", undriven(firmware=Seen(("580.95.05",), "/lib/firmware/nvidia")), PASS),
    ("gsp-firmware-missing", "kept elsewhere", undriven(firmware=ABSENT), PASS),
    ("gsp-firmware-missing", "it works", healthy(), PASS),
    ("gsp-firmware-missing", "in a container", replace(undriven(), container=DOCKER), UNKNOWN),
    (
        "gpu-not-initialised",
        "power cables",
        undriven(
            messages=messages(
                "NVRM: GPU 0000:01:00.0: GPU does not have the necessary power cables connected.",
                "NVRM: GPU 0000:01:00.0: RmInitAdapter failed! (0x24:0x1c:1603)",
            )
        ),
        FAIL,
    ),
    (
        "gpu-not-initialised",
        "no address space",
        undriven(
            messages=messages(
                "NVRM: This PCI I/O region assigned to your NVIDIA device is invalid:",
                "NVRM: BAR1 is 0M @ 0x0 (PCI:0000:56:00.0)",
            )
        ),
        FAIL,
    ),
    (
        "gpu-not-initialised",
        "one of two",
        with_kernel(
            healthy(pci=Seen((pci(), replace(pci(None), address="0000:56:00.0")), "/sys")),
            messages=messages("NVRM: GPU 0000:56:00.0: RmInitAdapter failed! (0x62:0x65:1792)"),
        ),
        FAIL,
    ),
    (
        "gpu-not-initialised",
        "no interrupt, and the module gave up",
        with_kernel(
            bare(pci=Seen((pci(None),), "/sys")),
            messages=messages(
                "NVRM: Can't find an IRQ for your NVIDIA card!", "NVRM: None of the NVIDIA devices were initialized."
            ),
        ),
        FAIL,
    ),
    (
        "gpu-not-initialised",
        "never loaded",
        with_kernel(bare(pci=Seen((pci(None),), "/sys")), messages=messages()),
        PASS,
    ),
    ("gpu-not-initialised", "the log may not be read", undriven(), FAIL),
    ("gpu-not-initialised", "the log says nothing", undriven(messages=messages()), PASS),
    ("gpu-not-initialised", "kept for a virtual machine", healthy(pci=Seen((pci(), pci("vfio-pci")), "/sys")), PASS),
    ("gpu-not-initialised", "it works", healthy(), PASS),
    ("gpu-not-initialised", "an image", image(), UNKNOWN),
    (
        "driver-version-mismatch",
        "the module on disk is old too",
        with_kernel(mismatch(), files=Seen((replace(module_file(), version="580.65.06"),), "/lib")),
        FAIL,
    ),
    (
        "driver-version-mismatch",
        "mounted from a host that was upgraded",
        mismatch(container=DOCKER, driver_mounts=Seen((driver_library().real,), "/proc/mounts")),
        FAIL,
    ),
    (
        "kernel-module-not-built",
        "prebuilt for the old kernel",
        replace(
            unloaded(files=Seen((module_file("6.8.0-31-generic"),), "/lib/modules")),
            system_packages=Seen(
                (SystemPackage("linux-modules-nvidia-580-server-open-6.8.0-31-generic", "6.8.0-31.31", "installed"),),
                "/var/lib/dpkg/status",
            ),
        ),
        FAIL,
    ),
    (
        "driver-version-mismatch",
        "two drivers side by side",
        mismatch(
            libcuda_copies=(
                driver_library(),
                driver_library(version="580.65.06", path="/usr/lib64/libcuda.so.1"),
            )
        ),
        FAIL,
    ),
    (
        "uvm-module-missing",
        "only nvidia is on disk",
        with_kernel(
            healthy(cuda=answers(("cuInit", 999)), nodes=MISSING_UVM),
            modules=Seen(("nvidia",), "/proc/modules"),
            files=FILES,
        ),
        FAIL,
    ),
    (
        "uvm-module-missing",
        "on disk and not loaded",
        with_kernel(
            healthy(cuda=answers(("cuInit", 999)), nodes=MISSING_UVM),
            modules=Seen(("nvidia",), "/proc/modules"),
            files=Seen((module_file(), replace(module_file(), name="nvidia_uvm")), "/lib/modules"),
        ),
        PASS,
    ),
    ("uvm-module-missing", "loaded", healthy(), PASS),
    (
        "uvm-module-missing",
        "in a container",
        with_kernel(
            healthy(cuda=answers(("cuInit", 999)), container=DOCKER), modules=Seen(("nvidia",), "/proc/modules")
        ),
        UNKNOWN,
    ),
    (
        "uvm-not-working",
        "the helper is not setuid",
        healthy(nodes=MISSING_UVM, cuda=answers(("cuInit", 999)), modprobe=Seen(0o755, "/usr/bin/nvidia-modprobe")),
        FAIL,
    ),
    (
        "uvm-not-working",
        "suspended twice",
        with_kernel(healthy(cuda=answers(("cuInit", 999))), suspends=Seen(2, "/sys/power/suspend_stats/success")),
        FAIL,
    ),
    (
        "uvm-not-working",
        "never suspended: another cause",
        with_kernel(healthy(cuda=answers(("cuInit", 999))), suspends=Seen(0, "/sys/power/suspend_stats/success")),
        PASS,
    ),
    ("confidential-gpu-not-ready", "not ready", healthy(nvml=Seen(CC, "NVML"), cuda=answers(("cuInit", 802))), FAIL),
    ("confidential-gpu-not-ready", "ready", healthy(nvml=Seen(replace(CC, ready=True), "NVML")), PASS),
    ("confidential-gpu-not-ready", "no NVML", bare(), UNKNOWN),
    ("fabric-not-ready", "not installed", fabric(Service("nvidia-fabricmanager", False, False)), FAIL),
    ("fabric-not-ready", "not running", fabric(Service("nvidia-fabricmanager", True, False)), FAIL),
    (
        "fabric-not-ready",
        "of another version",
        fabric(
            Service("nvidia-fabricmanager", True, True),
            system_packages=Seen((SystemPackage("nvidia-fabricmanager-580", "580.65.06-1", "installed"),), "dpkg"),
        ),
        FAIL,
    ),
    ("wsl-without-gpu", "WSL 1", with_host(bare(), wsl=True, kernel=Seen("4.4.0-19041-Microsoft", "/proc")), FAIL),
    ("wsl-without-gpu", "no device", with_host(bare(), wsl=True), FAIL),
    ("wsl-without-gpu", "there", with_host(healthy(nodes=Seen((node("/dev/dxg"),), "/dev")), wsl=True), PASS),
    (
        "wsl-without-gpu",
        "Windows keeps it back",
        with_host(
            bare(nodes=Seen((node("/dev/dxg"),), "/dev"), nvml=nvml_answers(17), cuda=answers(("cuInit", 100))),
            wsl=True,
        ),
        FAIL,
    ),
    (
        "wsl-without-gpu",
        "another code",
        with_host(
            bare(nodes=Seen((node("/dev/dxg"),), "/dev"), nvml=nvml_answers(9), cuda=answers(("cuInit", 100))), wsl=True
        ),
        PASS,
    ),
    ("wsl-without-gpu", "not WSL", bare(), PASS),
    ("wsl-without-gpu", "devices not seen", with_host(bare(nodes=UNREADABLE), wsl=True), UNKNOWN),
]
