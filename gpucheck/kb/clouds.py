"""Node images of managed Kubernetes services and the drivers in them. They change weekly: examples, never the truth."""

from __future__ import annotations

from functools import cache

from gpucheck import kb
from gpucheck.record import dataclass
from gpucheck.versions import DriverVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeImage(kb.Row):
    """A node image and its drivers."""

    preset: str
    """The name that ``gpucheck compat --node`` knows it by."""
    cloud: str
    service: str
    image: str
    gpu: str
    drivers: tuple[DriverVersion, ...]
    """A branch alone where the source names no more; empty where it names none."""
    label: str
    seen: str
    """When the image was seen to have it."""


@cache
def node_images() -> tuple[NodeImage, ...]:
    """All node images."""
    return kb.load("clouds", "node", NodeImage, ["preset"])
