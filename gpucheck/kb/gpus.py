"""GPUs by name: what a name that a person types, a cloud uses or NVML writes tells of compute capability and brand."""

from __future__ import annotations

import re
from functools import cache

from gpucheck import kb
from gpucheck.record import dataclass
from gpucheck.versions import ComputeCapability


@dataclass(frozen=True, slots=True, kw_only=True)
class Named(kb.Row):
    """GPUs that share capability and brand."""

    names: tuple[str, ...]
    capability: ComputeCapability
    brand: int | None = None
    """nvmlBrandType_t; None where it was not seen."""
    machine: str = ""
    """The architecture of its CPU, as in ``uname -m``, for GPUs that are built together with one."""


@cache
def gpus() -> tuple[Named, ...]:
    """All rows."""
    return kb.load("gpus", "gpu", Named, ["names"])


#: What may follow a product's name without changing its capability: memory, form factor, edition, a slice of it.
_FURTHER = re.compile(
    r"\d+gb?|\d+gib|mega|sxm\d*|pcie|nvl\d*|hbm\d*e?|oem|ti|super|d|laptop|mobile|gpu|max|q|server|workstation|edition"
    r"|blackwell|generation|superchip|mig|\d+g|\d+[qcab]|cnx|vws|c|m"
)


@cache
def find(name: str) -> Named | None:
    """The row of a GPU: ``A100-SXM4-80GB``, ``NVIDIA H100 80GB HBM3``, ``Tesla T4``, ``nvidia-l4``; None for others."""
    words = _words(name)
    best: tuple[int, Named] | None = None
    for row in gpus():
        for known in row.names:
            start = _words(known)
            if words[: len(start)] == start and all(_FURTHER.fullmatch(word) for word in words[len(start) :]):
                best = max(best or (0, row), (len(start), row), key=lambda found: found[0])
    return best[1] if best else None


def nearest(name: str) -> tuple[str, ...]:
    """Up to three known names that look like it."""
    import difflib

    known = {" ".join(_words(name)): name for row in gpus() for name in row.names}
    return tuple(known[close] for close in difflib.get_close_matches(" ".join(_words(name)), known, 3, 0.5))


@cache
def _words(name: str) -> tuple[str, ...]:
    found = tuple(
        word for word in re.split(r"[^a-z0-9]+", name.lower()) if word not in ("", "nvidia", "tesla", "geforce", "grid")
    )
    # "RTX4090" is written without the space too.
    joined = re.fullmatch(r"(rtx|gtx)(\w?\d+)", found[0]) if found else None
    return (joined[1], joined[2], *found[1:]) if joined else found
