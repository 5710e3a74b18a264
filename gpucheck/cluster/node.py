"""The node under a pod, as the agent's container sees it."""

from __future__ import annotations

import os
from typing import Final

from gpucheck.system import Rootfs

#: What a container's own /proc and /sys show of the kernel, not of the container's processes: proc(5), sysfs(5). None of
#: it is in a namespace, so the pod needs neither mounted from the host, which would show it all processes of the node.
KERNEL: Final = (
    "/proc/cmdline",
    "/proc/devices",
    "/proc/driver",
    "/proc/modules",
    "/proc/sys/kernel/osrelease",
    "/proc/version",
    "/sys",
)

#: On merged-/usr systems these are links into /usr, which alone is mounted:
#: https://systemd.io/THE_CASE_FOR_THE_USR_MERGE
MERGED: Final = ("/bin", "/lib", "/lib32", "/lib64", "/sbin")


#: Where the GPU Operator's driver container keeps the device nodes that the host's /dev does not have:
#: https://github.com/NVIDIA/gpu-operator, cmd/nvidia-validator (driver root and dev root).
DRIVER_DEVICES: Final = "/run/nvidia/driver/dev"


class Node(Rootfs):
    """A node through read-only mounts below a folder; executes nothing.

    What is not mounted there but can be known nevertheless is taken from where it is the same.
    """

    def names(self, directory: str) -> tuple[str, ...]:
        found = super().names(directory)
        if directory != "/dev" or any(name.startswith("nvidia") for name in found) or not self.exists(DRIVER_DEVICES):
            return found
        return tuple(sorted({*found, *(name for name in super().names(DRIVER_DEVICES) if name.startswith("nvidia"))}))

    def outside(self, path: str) -> str | None:
        """Where a file of the node is for this process, links followed; None when nothing is there."""
        inside = self.resolve(path)
        return None if inside is None else self._outside(inside, path)

    def _outside(self, inside: str, shown: str) -> str:
        place = super()._outside(inside, shown)
        if inside.startswith("/dev/nvidia") and not os.path.lexists(place):
            return super()._outside(DRIVER_DEVICES + inside.removeprefix("/dev"), shown)
        for known in MERGED:
            if inside == known or inside.startswith(known + "/"):
                return place if os.path.lexists(self.root + known) else super()._outside("/usr" + inside, shown)
        if any(inside == known or inside.startswith(known + "/") for known in KERNEL):
            mounted = "/sys" if inside.startswith("/sys") else "/proc/version"
            return place if os.path.lexists(self.root + mounted) else inside
        # A folder on the way to one of them.
        if any(known.startswith(inside + "/") for known in KERNEL) and not os.path.lexists(place):
            return inside
        return place
