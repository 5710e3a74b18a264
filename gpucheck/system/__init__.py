"""The only door to the world: every probe reads a :class:`System` and nothing else."""

from gpucheck.system.files import Rootfs, remembering
from gpucheck.system.local import Local
from gpucheck.system.protocol import Identity, NotKept, NotLive, Ran, Readable, Running, Status, System

__all__ = [
    "Identity",
    "Local",
    "NotKept",
    "NotLive",
    "Ran",
    "Readable",
    "Rootfs",
    "Running",
    "Status",
    "System",
    "remembering",
]
