"""The kernel's side of the driver: modules that are loaded, their version and parameters, the kernel log."""

from __future__ import annotations

import re
from typing import Final

from gpucheck.facts import Kernel, KernelDriver, KernelMessage, Seen, Unseen, Why
from gpucheck.probes import modules
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
    "ib_umad",
)
PARAMETERS: Final = ("nvidia_uvm/uvm_disable_hmm",)


def kernel(system: System) -> Kernel:
    """Never fails: what cannot be seen is Unseen."""
    files = modules.files(system)
    if not sees_kernel(system):
        return Kernel(NO_KERNEL, NO_KERNEL, files, NO_KERNEL, NO_KERNEL, NO_KERNEL)
    release = read_text(system, "/proc/sys/kernel/osrelease")
    return Kernel(
        loaded(system),
        driver(system),
        files,
        parameters(system),
        majors(system),
        messages(system),
        modules.dkms(system, release.value.strip() if isinstance(release, Seen) else ""),
        modules.bans(system),
        modules.firmware(system),
        suspends(system),
        enforcement(system),
        modules.unsupported(system, files),
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


def suspends(system: System) -> Seen[int] | Unseen:
    """Completed suspends since the machine was started (kernel, Documentation/ABI/testing/sysfs-power, from 5.4 on)."""
    text = read_text(system, "/sys/power/suspend_stats/success", 64)
    if isinstance(text, Unseen):
        return text
    if not text.value.strip().isdigit():
        return Unseen(Why.UNREADABLE, (text.source,), f"no number: {text.value!r:.40}")
    return Seen(int(text.value), text.source)


def enforcement(system: System) -> Seen[str] | Unseen:
    """Whether the kernel refuses unsigned modules without Secure Boot: kernel_lockdown(7), or module.sig_enforce.

    The chosen level of lockdown is in brackets: ``none [integrity] confidentiality``.
    """
    lockdown = read_text(system, "/sys/kernel/security/lockdown", 256)
    if isinstance(lockdown, Seen) and (level := re.search(r"\[(integrity|confidentiality)\]", lockdown.value)):
        return Seen(f"lockdown: {level[1]}", lockdown.source)
    forced = read_text(system, "/sys/module/module/parameters/sig_enforce", 16)
    if isinstance(forced, Seen):
        return Seen("sig_enforce = Y" if forced.value.strip() == "Y" else "", forced.source)
    return forced if isinstance(lockdown, Unseen) else Seen("", lockdown.source)


def majors(system: System) -> Seen[tuple[str, ...]] | Unseen:
    """The character drivers that are registered: ``195 nvidia`` lines of /proc/devices."""
    text = read_text(system, "/proc/devices")
    if isinstance(text, Unseen):
        return text
    return Seen(tuple(re.findall(r"^\s*\d+ (nvidia\S*)$", text.value, re.MULTILINE)), text.source)


#: Lines by the NVIDIA modules, nouveau's probe and the loader's refusals of a module.
_TELLING = (
    "nvrm", "nvidia", "nouveau", "loading of unsigned module", "module verification failed", "module with unavailable key",
    "key was rejected",
)  # fmt: skip


def parse_messages(text: str) -> tuple[KernelMessage, ...]:
    """The telling lines of a kernel log, the newest 200, without priority and time stamp."""
    whole = text.lower()
    if not any(word in whole for word in _TELLING):
        return ()
    # A record of /dev/kmsg holds the line breaks of its message as \\x0a.
    whole = text.replace("\\x0a", "\n")
    lines = [line for line in whole.splitlines() if any(word in line.lower() for word in _TELLING)][-200:]
    found = []
    for line in lines:
        body = re.sub(r"^(<\d+>)?(\d+,\d+,\d+,[^;]*;)?\s*(\[\s*[\d.]+\]\s*)?", "", line).rstrip()
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
