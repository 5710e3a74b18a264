"""Compute capabilities: which toolkits and drivers know a GPU, and which code runs on it."""

from __future__ import annotations

import re
from functools import cache, lru_cache

from gpucheck import kb
from gpucheck.kb.judgement import Judgement
from gpucheck.record import dataclass
from gpucheck.versions import ComputeCapability, CudaVersion, DriverVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability(kb.Row):
    """A compute capability."""

    capability: ComputeCapability
    architecture: str
    products: tuple[str, ...]
    first_toolkit: CudaVersion
    last_toolkit: CudaVersion | None = None
    """None: the newest toolkit still compiles for it."""
    last_branch: int | None = None
    """The last driver branch that drives it; None: the newest does, or the driver is Jetson's own."""
    tegra: bool = False
    """On a Tegra chip: no binary promise between it and other GPUs, and its driver comes with JetPack."""
    a_toolkit: CudaVersion | None = None
    """The first toolkit with the target ``sm_XYa``, for this capability alone."""
    f_toolkit: CudaVersion | None = None
    """The first toolkit with the target ``sm_XYf``, for its family."""
    family: tuple[ComputeCapability, ...] = ()
    """Where code for ``sm_XYf`` runs."""
    now: ComputeCapability | None = None
    """The number that the same chip has in newer toolkits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Product(kb.Row):
    """A GPU that needs a newer driver than others of its capability."""

    product: str
    driver: DriverVersion


@cache
def capabilities() -> dict[ComputeCapability, Capability]:
    """Rows by capability."""
    return {row.capability: row for row in kb.load("capabilities", "capability", Capability, ["capability"])}


@cache
def products() -> tuple[Product, ...]:
    """GPUs with a driver floor of their own."""
    return kb.load("capabilities", "product", Product, ["product"])


def code_runs(target: str, capability: ComputeCapability) -> Judgement:
    """Whether code for a target (``sm_86``, ``compute_90``, ``sm_90a``, ``compute_100f``) can run on a GPU.

    Machine code runs on the same major with an equal or higher minor, and not between Tegra and other GPUs; PTX on every
    capability not below; ``a`` on that capability alone; ``f`` on its family. Whether the driver compiles the PTX is
    another question: ``toolkits.compiles_ptx``. Raises ``ValueError`` for a target of another form.

    Source: https://docs.nvidia.com/cuda/cuda-programming-guide/05-appendices/compute-capabilities.html
    """
    match = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", target)
    if not match:
        raise ValueError(f"{target} is no target; targets look like sm_90, compute_90, sm_90a or sm_100f")
    known = capabilities()
    built = ComputeCapability(int(match[2]), int(match[3]))
    row, gpu = known.get(built), known.get(capability)
    if row and row.now and match[4]:
        built = row.now
    same_major = built.major == capability.major and built <= capability
    if match[4] == "a":
        holds, because = built == capability, f"{target} is code for {built} alone"
    elif match[4] == "f":
        family = row.family if row and gpu else ()
        holds = capability in family if family else same_major
        because = (
            f"{target} runs on {', '.join(str(member) for member in family)}"
            if family
            else f"{target} runs on its family"
        )
    elif match[1] == "compute":
        holds, because = built <= capability, f"PTX for {built} is compiled for any GPU that is not older"
    else:
        promised = built == capability or not ((row and row.tegra) or (gpu and gpu.tegra))
        holds = same_major and promised
        because = f"machine code for {built} runs on {built.major}.x with x >= {built.minor}"
        if same_major and not promised:
            because = "machine code is not promised to run between Tegra and other GPUs"
    reference = (gpu or row or known[max(known)]).reference
    return Judgement(holds, because, reference, gpu is None or row is None)


@lru_cache(4096)
def runs(target: str, capability: ComputeCapability) -> bool:
    """Whether ``code_runs``, for those who ask of every target of every build: there are some dozens, asked for a thousand times."""
    return bool(code_runs(target, capability).holds)


def toolkit_compiles(cuda: CudaVersion, capability: ComputeCapability) -> Judgement:
    """Whether a toolkit can make machine code for a GPU."""
    row = capabilities().get(capability)
    if row is None:
        newest = capabilities()[max(capabilities())]
        return Judgement(None, f"compute capability {capability} is not known", newest.reference, True)
    if cuda < row.first_toolkit:
        return Judgement(False, f"CUDA {row.first_toolkit} is the first for {capability}", row.reference)
    if row.last_toolkit and cuda > row.last_toolkit:
        return Judgement(False, f"CUDA {row.last_toolkit} is the last for {capability}", row.reference)
    from gpucheck.kb.toolkits import toolkits

    span = f"{row.first_toolkit} to {row.last_toolkit}" if row.last_toolkit else f"{row.first_toolkit} and newer"
    return Judgement(True, f"CUDA {span} compile for {capability}", row.reference, cuda > max(toolkits()))


def driver_drives(branch: int, capability: ComputeCapability) -> Judgement:
    """Whether drivers of a branch drive a GPU.

    Too new: the branch came before the one that implements the GPU's first toolkit. That is only certain when the branch
    implements an older CUDA major: drivers have known GPUs before a toolkit did.
    """
    row = capabilities().get(capability)
    if row is None:
        newest = capabilities()[max(capabilities())]
        return Judgement(None, f"compute capability {capability} is not known", newest.reference, True)
    if row.tegra:
        return Judgement(None, f"the driver of {capability} comes with JetPack", row.reference)
    if row.last_branch and branch > row.last_branch:
        return Judgement(False, f"branch {row.last_branch} is the last that drives {capability}", row.reference)
    implementing = next((known.branch for known in kb.branches().values() if known.cuda >= row.first_toolkit), None)
    if implementing is None or branch < implementing:
        return Judgement(
            None, f"CUDA {row.first_toolkit} is the first for {capability}, branch {branch} is older", row.reference
        )
    return Judgement(
        True,
        f"CUDA {row.first_toolkit} is the first for {capability}, and branch {implementing} implements it",
        row.reference,
        branch not in kb.branches(),
    )
