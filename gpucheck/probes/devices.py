"""The device nodes of the driver, and what opening them gives."""

from __future__ import annotations

import errno
import re

from gpucheck.facts import DeviceNode, Seen, Unseen, Why
from gpucheck.probes.text import NO_KERNEL, sees_kernel
from gpucheck.system import System

#: Always asked for; /dev/nvidia0, 1, ... and the capability nodes are taken as they are found.
EXPECTED = ("/dev/nvidiactl", "/dev/nvidia-uvm")


def nodes(system: System) -> Seen[tuple[DeviceNode, ...]] | Unseen:
    """The nodes that exist and the expected ones that do not. On a live system each is opened and closed."""
    if not sees_kernel(system):
        return NO_KERNEL
    if system.resolve("/dev/null") is None:
        return Unseen(Why.NOT_APPLICABLE, ("/dev",), "these files have no /dev")
    found = [
        path
        for path in system.glob("/dev/nvidia*")
        if re.fullmatch(r"/dev/nvidia(\d+|ctl|-uvm|-modeset|-nvswitch.*)", path)
    ]
    found += system.glob("/dev/dxg") + system.glob("/dev/nvhost-gpu") + system.glob("/dev/nvmap")
    return Seen(tuple(node(system, path) for path in sorted({*found, *EXPECTED})), "/dev")


def node(system: System, path: str) -> DeviceNode:
    """One node; opening it for reading and writing is what the driver's libraries do."""
    try:
        status = system.status(path)
    except OSError as error:
        return DeviceNode(path, False, 0, 0, 0, None, errno.errorcode.get(error.errno or 0, "EIO"))
    return DeviceNode(
        path,
        True,
        status.mode,
        status.uid,
        status.gid,
        status.device,
        system.open_error(path)
        if status.kind == "char"
        # Saved files of a node may be ordinary files.
        else "not a device"
        if system.live
        else "?",
    )
