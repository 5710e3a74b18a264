"""The only door to the world: every probe reads a :class:`System` and nothing else."""

from gpucheck.system.files import Rootfs
from gpucheck.system.local import Local
from gpucheck.system.protocol import Identity, NotLive, Ran, Running, Status, System

__all__ = ["Identity", "Local", "NotLive", "Ran", "Rootfs", "Running", "Status", "System"]
