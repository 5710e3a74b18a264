"""The kernel's side of the driver: modules loaded and on disk, their version and parameters, the kernel log."""

from __future__ import annotations

import re
from typing import Final

from gpucheck.elf import ElfError, read_elf
from gpucheck.elf.sections import read_sections
from gpucheck.facts import Kernel, KernelDriver, KernelMessage, ModuleFile, Seen, Unseen, Why
from gpucheck.probes.text import NO_KERNEL, read_text, sees_kernel
from gpucheck.system import System
from gpucheck.versions import DriverVersion

MODULES: Final = (
    "nvidia",
    "nvidia_uvm",
    "nvidia_modeset",
    "nvidia_drm",
    "nvidia_peermem",
    "nouveau",
    "nova_core",
    "nvgpu",
    "vfio_pci",
)
PARAMETERS: Final = ("nvidia_uvm/uvm_disable_hmm",)


def kernel(system: System) -> Kernel:
    """Never fails: what cannot be seen is Unseen."""
    if not sees_kernel(system):
        return Kernel(NO_KERNEL, NO_KERNEL, module_files(system), NO_KERNEL, NO_KERNEL, NO_KERNEL)
    return Kernel(
        loaded(system),
        driver(system),
        module_files(system),
        parameters(system),
        majors(system),
        messages(system),
    )


def loaded(system: System) -> Seen[tuple[str, ...]] | Unseen:
    """The modules that matter, from /proc/modules (the first word of each line)."""
    text = read_text(system, "/proc/modules")
    if isinstance(text, Unseen):
        return text
    names = {line.split(" ", 1)[0] for line in text.value.splitlines()}
    return Seen(tuple(name for name in MODULES if name in names), text.source)


def parse_driver(text: str) -> KernelDriver | None:
    """From /proc/driver/nvidia/version.

    ``NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.161.08  Sat Feb 24 22:51:41 UTC 2024``, and for the open
    flavour ``NVIDIA UNIX Open Kernel Module for x86_64  570.133.20  Release Build ...``.
    """
    match = re.search(r"NVRM version:.*?Kernel Module.*?\s(\d{3}\.\d+(?:\.\d+)?)\s", text + " ")
    version = DriverVersion.parse(match[1]) if match else None
    return KernelDriver(version, "open" if "Open Kernel Module" in text else "proprietary") if version else None


def driver(system: System) -> Seen[KernelDriver] | Unseen:
    """The loaded nvidia module, which speaks through /proc/driver/nvidia/version or /sys/module/nvidia/version."""
    text = read_text(system, "/proc/driver/nvidia/version")
    if isinstance(text, Seen):
        found = parse_driver(text.value)
        return (
            Seen(found, text.source)
            if found
            else Unseen(Why.UNREADABLE, (text.source,), f"no version in {text.value!r:.120}")
        )
    plain = read_text(system, "/sys/module/nvidia/version", 64)
    if isinstance(plain, Seen) and (version := DriverVersion.parse(plain.value.strip())):
        return Seen(KernelDriver(version, "unknown"), plain.source)
    return Unseen(text.why, (*text.tried, "/sys/module/nvidia/version"), text.detail)


def module_files(system: System) -> Seen[tuple[ModuleFile, ...]] | Unseen:
    """nvidia.ko in the module tree of any kernel."""
    found: dict[str, ModuleFile] = {}
    trees = system.glob("/lib/modules/*") or system.glob("/usr/lib/modules/*")
    for tree in trees:
        for path in (path for place in MODULE_FOLDERS for path in system.glob(f"{tree}/{place}/nvidia*.ko*")):
            name = path.rsplit("/", 1)[-1].split(".ko")[0]
            real = system.resolve(path) or path
            if name in ("nvidia", "nvidia-current") and real not in found:
                version, signer = read_module(system, real)
                found[real] = ModuleFile(tree.rsplit("/", 1)[-1], path, version, signer)
    if not trees:
        return Unseen(Why.ABSENT, ("/lib/modules",), "no module tree")
    return Seen(tuple(sorted(found.values(), key=lambda file: file.path)), "/lib/modules")


#: Where DKMS, the .run installer, kmods of RPM distributions and prebuilt packages put the module below a kernel's tree.
MODULE_FOLDERS: Final = (
    "updates/dkms",
    "updates",
    "extra",
    "extra/nvidia",
    "weak-updates/nvidia",
    "kernel/drivers/video",
    "kernel/drivers/video/nvidia",
    "kernel/nvidia*",
    "misc",
    "video",
    "nvidia/current",
)


#: What the kernel build appends to a signed module; kernel, Documentation/admin-guide/module-signing.rst.
SIGNATURE: Final = b"~Module signature appended~\n"


def read_module(system: System, path: str) -> tuple[str, str]:
    """(version, signer) of a module: its .modinfo section and the end of the file; '' where they do not tell.

    The signer's name is inside a PKCS#7 message; that there is one is what matters. A compressed module (.xz, .zst) is
    not unpacked: that takes seconds, and its package tells the version.
    """
    if not path.endswith(".ko"):
        return "", "unknown"
    try:
        elf = read_elf(system, path)
        (place,) = [section for section in read_sections(system, elf) if section.name == ".modinfo"]
        strings = system.read(path, min(place.size, 1 << 20), place.offset).split(b"\0")
        tail = system.read(path, len(SIGNATURE), system.status(path).size - len(SIGNATURE))
    except (ElfError, OSError, ValueError):
        return "", "unknown"
    version = next((text[8:].decode(errors="replace") for text in strings if text.startswith(b"version=")), "")
    return version, "signed" if tail == SIGNATURE else ""


def parameters(system: System) -> Seen[tuple[tuple[str, str], ...]] | Unseen:
    """Module parameters from sysfs, and the nvidia module's own from /proc/driver/nvidia/params (``Name: value`` lines)."""
    found = []
    for name in PARAMETERS:
        module, parameter = name.split("/")
        text = read_text(system, f"/sys/module/{module}/parameters/{parameter}", 256)
        if isinstance(text, Seen):
            found.append((parameter, text.value.strip()))
    text = read_text(system, "/proc/driver/nvidia/params")
    if isinstance(text, Seen):
        found += re.findall(r"^(\w+): (\S+)$", text.value, re.MULTILINE)
    if not found:
        return Unseen(Why.ABSENT, ("/sys/module/nvidia*/parameters", "/proc/driver/nvidia/params"))
    return Seen(tuple(sorted(found)), "/proc/driver/nvidia/params")


def majors(system: System) -> Seen[tuple[str, ...]] | Unseen:
    """The character drivers that are registered: ``195 nvidia`` lines of /proc/devices."""
    text = read_text(system, "/proc/devices")
    if isinstance(text, Unseen):
        return text
    return Seen(tuple(re.findall(r"^\s*\d+ (nvidia\S*)$", text.value, re.MULTILINE)), text.source)


#: Lines by the NVIDIA modules, nouveau's probe and the loader's refusals of a module.
_TELLING = ("nvrm", "nvidia", "nouveau", "loading of unsigned module", "module verification failed")


def parse_messages(text: str) -> tuple[KernelMessage, ...]:
    """The telling lines of a kernel log, the newest 200, without priority and time stamp."""
    whole = text.lower()
    if not any(word in whole for word in _TELLING):
        return ()
    lines = [line for line in text.splitlines() if any(word in line.lower() for word in _TELLING)][-200:]
    found = []
    for line in lines:
        body = re.sub(r"^(<\d+>)?(\d+,\d+,\d+,[^;]*;)?\s*(\[\s*[\d.]+\]\s*)?", "", line)
        xid = re.search(r"NVRM: Xid \([^)]*\): (\d+)", body)
        found.append(KernelMessage(body, int(xid[1]) if xid else None))
    return tuple(found)


def messages(system: System) -> Seen[tuple[KernelMessage, ...]] | Unseen:
    """The kernel log: a saved dmesg in a root, else the ring buffer, which containers may not read (CAP_SYSLOG)."""
    for path in ("/var/log/dmesg", "/var/log/kern.log"):
        if not system.live and isinstance(text := read_text(system, path), Seen):
            return Seen(parse_messages(text.value), path)
    if not system.live:
        return Unseen(Why.ABSENT, ("/var/log/dmesg", "/var/log/kern.log"))
    try:
        # A record may go on with lines of key=value pairs, which begin with a space.
        return Seen(parse_messages(system.kernel_log()), "/dev/kmsg")
    except OSError as error:
        return Unseen(Why.UNREADABLE, ("/dev/kmsg",), f"the kernel log is not readable here: {error.strerror}")
