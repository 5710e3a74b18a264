"""Commands that differ between distributions: installing the driver, its libcuda, the kernel's headers."""

from __future__ import annotations

from typing import Final

from gpucheck.facts import Seen, Snapshot

#: ID and ID_LIKE of os-release(5) by the family whose packages are meant.
FAMILIES: Final = {
    "ubuntu": "ubuntu", "pop": "ubuntu", "linuxmint": "ubuntu", "zorin": "ubuntu", "elementary": "ubuntu",
    "debian": "debian", "kali": "debian", "raspbian": "debian", "devuan": "debian",
    "fedora": "fedora",
    "rhel": "rhel", "centos": "rhel", "rocky": "rhel", "almalinux": "rhel", "ol": "rhel", "amzn": "rhel", "azurelinux": "rhel",
    "arch": "arch", "manjaro": "arch", "endeavouros": "arch", "cachyos": "arch", "garuda": "arch",
    "opensuse-leap": "suse", "opensuse-tumbleweed": "suse", "sles": "suse",
}  # fmt: skip

#: Packages of Ubuntu and Debian, of NVIDIA's repository for RPM distributions, of Arch and of NVIDIA's for SUSE.
DRIVER: Final = {
    "ubuntu": "sudo ubuntu-drivers install",
    "debian": "sudo apt install nvidia-driver (from non-free)",
    "fedora": "sudo dnf install akmod-nvidia xorg-x11-drv-nvidia-cuda (RPM Fusion)",
    "rhel": "sudo dnf install cuda-drivers (NVIDIA's repository)",
    "arch": "sudo pacman -S nvidia-open nvidia-utils",
    "suse": "sudo zypper install nvidia-compute-utils-G06 (NVIDIA's repository)",
}
LIBCUDA: Final = {
    "ubuntu": "sudo apt install libnvidia-compute-{branch}",
    "debian": "sudo apt install libcuda1 libnvidia-ml1",
    "fedora": "sudo dnf install xorg-x11-drv-nvidia-cuda-libs (RPM Fusion)",
    "rhel": "sudo dnf install nvidia-driver-cuda-libs (NVIDIA's repository)",
    "arch": "sudo pacman -S nvidia-utils",
    "suse": "sudo zypper install nvidia-compute-G06 (NVIDIA's repository)",
}
HEADERS: Final = {
    "ubuntu": "sudo apt install linux-headers-{kernel}",
    "debian": "sudo apt install linux-headers-{kernel}",
    "fedora": "sudo dnf install kernel-devel-{kernel}",
    "rhel": "sudo dnf install kernel-devel-{kernel}",
    "arch": "sudo pacman -S linux-headers (of your kernel: linux-lts-headers, ...)",
    "suse": "sudo zypper install kernel-default-devel",
}
INITRAMFS: Final = {
    "ubuntu": "sudo update-initramfs -u",
    "debian": "sudo update-initramfs -u",
    "fedora": "sudo dracut --force",
    "rhel": "sudo dracut --force",
    "arch": "sudo mkinitcpio -P",
    "suse": "sudo dracut --force",
}


def family(snapshot: Snapshot) -> str:
    """``ubuntu``, ``debian``, ``fedora``, ``rhel``, ``arch``, ``suse``; '' for others."""
    known = snapshot.host.distribution
    return FAMILIES.get(known.value.id, "") if isinstance(known, Seen) else ""


def command(snapshot: Snapshot, commands: dict[str, str], otherwise: str, **values: object) -> str:
    """The command for this distribution, with the values filled in."""
    return commands.get(family(snapshot), otherwise).format(**values)
