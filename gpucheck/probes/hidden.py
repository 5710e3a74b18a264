"""What keeps a GPU off the bus: udev rules that remove it, a Thunderbolt enclosure that nobody authorised."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from gpucheck.facts import Hidden, PciDevice, Seen, Unseen, Why
from gpucheck.probes.text import NO_KERNEL, read_text, sees_kernel
from gpucheck.system import System

#: udev(7): of files with one name the first folder's wins.
RULES: Final = ("/etc/udev/rules.d", "/run/udev/rules.d", "/usr/local/lib/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d")  # fmt: skip
THUNDERBOLT: Final = "/sys/bus/thunderbolt/devices"


def hidden(system: System, pci: Seen[tuple[PciDevice, ...]] | Unseen) -> Seen[tuple[Hidden, ...]] | Unseen:
    """Looked for only where the bus shows no NVIDIA GPU."""
    if not sees_kernel(system):
        return NO_KERNEL
    if isinstance(pci, Seen) and any(device.kind == "gpu" for device in pci.value):
        return Unseen(Why.NOT_APPLICABLE, (), "a GPU is on the bus")
    return Seen((*_rules(system), *_enclosures(system)), "udev and Thunderbolt")


def parse_rules(text: str) -> tuple[str, ...]:
    """Lines of a udev rules file that remove NVIDIA's display devices (PCI class 03) as they appear.

    ``ACTION=="add", SUBSYSTEM=="pci", ATTR{vendor}=="0x10de", ATTR{class}=="0x03[0-9]*", ATTR{remove}="1"``
    """
    return tuple(
        line.strip()
        for line in text.splitlines()
        if not line.lstrip().startswith("#")
        and re.search(r'ATTRS?\{vendor\}=="0x10de"', line)
        and re.search(r'ATTR\{remove\}="1"', line)
        and not re.search(r'ATTRS?\{class\}=="0x(?!03)', line)
    )


def _rules(system: System) -> Iterator[Hidden]:
    paths: dict[str, str] = {}
    for folder in RULES:
        for path in system.glob(f"{folder}/*.rules"):
            paths.setdefault(path.rsplit("/", 1)[-1], path)
    for path in sorted(paths.values()):
        text = read_text(system, path)
        if isinstance(text, Seen) and (lines := parse_rules(text.value)):
            yield Hidden("udev rule", lines[0], path)


def _enclosures(system: System) -> Iterator[Hidden]:
    """Kernel, Documentation/ABI/testing/sysfs-bus-thunderbolt: ``authorized`` is 0 until a person or boltd allows the device."""
    for path in system.glob(f"{THUNDERBOLT}/*/authorized"):
        state = read_text(system, path, 16)
        if not isinstance(state, Seen) or state.value.strip() != "0":
            continue
        folder = path.rsplit("/", 1)[0]
        words = [read_text(system, f"{folder}/{name}", 128) for name in ("vendor_name", "device_name")]
        name = " ".join(word.value.strip() for word in words if isinstance(word, Seen))
        yield Hidden("thunderbolt", name or folder.rsplit("/", 1)[-1], path)
