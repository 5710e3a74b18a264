"""NVIDIA devices on the PCI bus, from sysfs."""

from __future__ import annotations

import re

from gpucheck.facts import PciDevice, Seen, Unseen, Why
from gpucheck.probes.text import NO_KERNEL, read_text, sees_kernel
from gpucheck.system import System

NVIDIA = "0x10de"
DEVICES = "/sys/bus/pci/devices"


def pci(system: System) -> Seen[tuple[PciDevice, ...]] | Unseen:
    """All functions with NVIDIA's vendor id; ABSENT when there is no PCI bus to look at."""
    if not sees_kernel(system):
        return NO_KERNEL
    try:
        addresses = system.names(DEVICES)
    except OSError as error:
        return Unseen(Why.ABSENT, (DEVICES,), f"{DEVICES}: {error.strerror}")
    found = []
    for address in addresses:
        vendor = read_text(system, f"{DEVICES}/{address}/vendor", 64)
        if isinstance(vendor, Seen) and vendor.value.strip() == NVIDIA:
            found.append(device(system, address))
    return Seen(tuple(found), DEVICES)


def device(system: System, address: str) -> PciDevice:
    """One function; class codes are of the PCI Code and ID Assignment Specification."""

    def word(name: str) -> str:
        text = read_text(system, f"{DEVICES}/{address}/{name}", 64)
        return text.value.strip().removeprefix("0x") if isinstance(text, Seen) else ""

    code = word("class")
    try:
        driver = system.link(f"{DEVICES}/{address}/driver").rsplit("/", 1)[-1]
    except OSError:
        driver = None
    try:
        lost = system.read(f"{DEVICES}/{address}/config", 4) == b"\xff\xff\xff\xff"
    except OSError:
        lost = False
    translation = read_text(system, f"{DEVICES}/{address}/iommu_group/type", 64)
    iommu = translation.value.strip() if isinstance(translation, Seen) else ""
    kind = "gpu" if code.startswith("03") else "nvswitch" if code.startswith("0680") else "other"
    name = model(system, address)
    return PciDevice(address, word("device"), kind, driver, lost, name, iommu, word("subsystem_device"))


def model(system: System, address: str) -> str:
    """From /proc/driver/nvidia/gpus/ADDRESS/information: ``Model: \t\t NVIDIA H100 80GB HBM3``."""
    text = read_text(system, f"/proc/driver/nvidia/gpus/{address}/information", 4096)
    match = re.search(r"^Model:\s*(.+?)\s*$", text.value, re.MULTILINE) if isinstance(text, Seen) else None
    return match[1] if match else ""
