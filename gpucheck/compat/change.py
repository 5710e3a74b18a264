"""What-if: the same image with another build of a library."""

from __future__ import annotations

from gpucheck.compat.builds import code_of, newest_first, spelled
from gpucheck.contract import Contract, NeededRuntime
from gpucheck.kb import frameworks
from gpucheck.record import replace


class BadChange(ValueError):
    """A change that cannot be made; the message says why, and what there is."""


def set_library(contract: Contract, library: str, build: str) -> Contract:
    """The contract with a library in another build: ``torch``, ``2.9.0+cu128``. Raises ``BadChange``."""
    if library not in frameworks.libraries():
        raise BadChange(
            f"--set {library}={build}: no such fact; known: driver, gpu, toolkit, mode, arch, cuda, and {_libraries()}"
        )
    row = frameworks.build(library, build)
    if row is None or not row.cuda:
        known = [spelled(row) for row in newest_first(library)]
        raise BadChange(f"--set {library}={build}: no such GPU build is known; the newest are {', '.join(known[:4])}")
    code = code_of(row, contract.architecture)
    runtimes = tuple(
        runtime for runtime in contract.runtimes if not runtime.owner.startswith((f"{library} ", "nvidia-cuda-runtime"))
    )
    if code.cuda:
        runtimes += (NeededRuntime(code.cuda, f"--set {library}={build}", f"{library} {code.version}"),)
    others = tuple(part for part in contract.code if part.name != library)
    return replace(contract, code=(code, *others), runtimes=runtimes, gpu=True)


def _libraries() -> str:
    return ", ".join(frameworks.libraries())
