"""The libraries of an image against libcuda and GPUs of a node, with whichever libcuda its containers get."""

from __future__ import annotations

from gpucheck.compat import needs
from gpucheck.compat.builds import instead
from gpucheck.compat.cell import WEIGHTS, Reason, Reasons, ordered, sentence, verdict
from gpucheck.compat.node import Node, NodeGpu
from gpucheck.compat.remember import remembered
from gpucheck.compat.routes import compat_implements, compat_works, uses_compat
from gpucheck.contract import Contract, ForwardDriver, GpuCode
from gpucheck.finding import Verdict
from gpucheck.record import dataclass, replace
from gpucheck.versions import DriverVersion


@dataclass(frozen=True, slots=True)
class Wants:
    """What the libraries of an image want."""

    demands: tuple[needs.Demand, ...]
    code: tuple[GpuCode, ...]
    deciding: tuple[GpuCode, ...]
    """The code without which the image is of no use."""
    main: str
    """The library that user code imports; '' when there is none."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """What of a node decides beside its libcuda."""

    gpus: tuple[NodeGpu, ...]
    driver: DriverVersion | None
    driven: bool
    architecture: str


@dataclass(frozen=True, slots=True)
class Route:
    """What decides which libcuda a container gets."""

    driver: DriverVersion | None
    toolkit: str
    mode: str


def wants(contract: Contract) -> Wants | None:
    """None for an image that needs no GPU."""
    if contract.gpu is False:
        return None
    main = tuple(code for code in contract.code if needs.is_main(code))
    packages = main or tuple(code for code in contract.code if not code.name.startswith(("/", "nvidia-")))
    deciding = packages or tuple(code for code in contract.code if not _of_toolkit(code.name))
    return Wants(needs.demands(contract), contract.code, deciding, main[0].name if main else "")


def _of_toolkit(name: str) -> bool:
    return name.startswith("nvidia-") or "/cuda" in name


def own_libcuda(node: Node) -> needs.Libcuda | None:
    """The node's; None when its driver is not known."""
    implemented = node.implemented
    return needs.Libcuda(node.driver, implemented, False) if implemented else None


def hardware(node: Node) -> Hardware:
    """Its GPUs and what drives them."""
    return Hardware(node.gpus or (), node.driver, node.driven, node.architecture)


def route(node: Node) -> Route:
    """How its containers get a driver."""
    return Route(node.driver, node.toolkit, node.mode)


def libraries(
    wanted: Wants | None, forward: ForwardDriver | None, host: needs.Libcuda | None, machine: Hardware, way: Route
) -> Reasons:
    """What is to be said of the libraries of an image on a node."""
    if wanted is None:
        return ()
    if forward is None:
        return _with(wanted, host, machine) if host else ()
    used = uses_compat(forward, way.driver, way.toolkit, way.mode)
    if used.holds is False:
        return _with(wanted, host, machine) if host else ()
    newer = _forward(wanted, forward, machine)
    if used.holds or host is None:
        return newer if used.holds else ()
    return _either(_with(wanted, host, machine), newer, used.because)


@remembered
def _forward(wanted: Wants, forward: ForwardDriver, machine: Hardware) -> Reasons:
    fault = compat_works(forward, machine.driver, machine.gpus)
    theirs = _compat(forward)
    if fault and (fault.verdict is Verdict.INCOMPATIBLE or theirs is None):
        return (fault,)
    newer = _with(wanted, theirs, machine) if theirs else ()
    return ordered((fault, *newer)) if fault else newer


@remembered
def _compat(forward: ForwardDriver) -> needs.Libcuda | None:
    implemented = compat_implements(forward)
    return needs.Libcuda(forward.version, implemented, True) if implemented else None


@remembered
def _with(wanted: Wants, libcuda: needs.Libcuda, machine: Hardware) -> Reasons:
    found = list(_started(wanted, libcuda))
    if machine.driver and not machine.driven:
        found += [reason for gpu in machine.gpus if (reason := needs.driven(gpu, machine.driver))]
    found += _covered(wanted, machine.gpus, libcuda)
    if not found:
        return ()
    if wanted.main and any(reason.verdict is Verdict.INCOMPATIBLE for reason in found):
        build = instead(wanted.main, libcuda, machine.gpus, machine.architecture)
        found = [_also(reason, build) for reason in found] if build else found
    return _together(*found)


@remembered
def _started(wanted: Wants, libcuda: needs.Libcuda) -> Reasons:
    return tuple(reason for demand in wanted.demands if (reason := needs.starts(demand, libcuda)))


@remembered
def _covered(wanted: Wants, gpus: tuple[NodeGpu, ...], libcuda: needs.Libcuda) -> Reasons:
    return tuple(
        reason
        for code in wanted.code
        for reason in needs.covered(code, gpus, libcuda, any(code is one for one in wanted.deciding))
    )


@remembered
def _together(*reasons: Reason) -> Reasons:
    return ordered(reasons)


@remembered
def _also(reason: Reason, build: str) -> Reason:
    """The other way out beside changing the node."""
    if reason.rule not in ("driver-too-old", "gpu-not-covered-by-build", "ptx-newer-than-driver"):
        return reason
    return replace(reason, remedy=f"{reason.remedy}; or in the image: {build}")


@remembered
def _either(own: Reasons, newer: Reasons, because: str) -> Reasons:
    """The verdict where it is not known which libcuda a container gets: where both lead to the same, that."""
    verdicts = verdict(own), verdict(newer)
    if (verdicts[0] is Verdict.INCOMPATIBLE) == (verdicts[1] is Verdict.INCOMPATIBLE):
        return own if WEIGHTS[verdict(own)] <= WEIGHTS[verdict(newer)] else newer
    bad, good = (own, newer) if verdicts[0] is Verdict.INCOMPATIBLE else (newer, own)
    with_own = f"with the node's own libcuda {'it fails' if bad is own else 'it works'}"
    with_compat = f"with the image's cuda-compat {'it works' if bad is own else 'it fails'}"
    unknown = Reason(
        "toolkit-not-known",
        Verdict.UNKNOWN,
        f"{with_own}, {with_compat}",
        f"{sentence(because)} What fails: {bad[0].summary}.",
        (*bad[0].evidence, *(good[0].evidence if good else ())),
        "Say the node's container toolkit and mode: toolkit=1.18,mode=cdi (nvidia-ctk --version prints it)",
    )
    return (unknown,)
