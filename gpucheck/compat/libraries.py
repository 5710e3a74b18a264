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
    refused: Reasons
    """Why its driver does not drive a GPU, or may not."""
    architecture: str


@dataclass(frozen=True, slots=True)
class Use:
    """Whether a node's containers get the cuda-compat of an image, and how it fares there."""

    holds: bool | None
    because: str
    libcuda: needs.Libcuda | None = None
    """That of cuda-compat, where it may be used."""
    fault: Reason | None = None
    """Why it does not work, or may not."""


NO_USE = Use(False, "there is no cuda-compat in the image")


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
    gpus = node.gpus or ()
    driver = None if node.driven else node.driver
    refused = tuple([reason for gpu in gpus if driver and (reason := needs.driven(gpu, driver))])
    return Hardware(gpus, node.driver, refused, node.architecture)


def use(forward: ForwardDriver | None, node: Node) -> Use:
    """What becomes of an image's cuda-compat on a node."""
    if forward is None:
        return NO_USE
    used = uses_compat(forward, node.driver, node.toolkit, node.mode)
    if used.holds is False:
        return Use(False, used.because)
    return Use(used.holds, used.because, _compat(forward), compat_works(forward, node.driver, node.gpus or ()))


def libraries(wanted: Wants | None, host: needs.Libcuda | None, machine: Hardware, used: Use) -> Reasons:
    """What is to be said of the libraries of an image on a node, in order."""
    if wanted is None:
        return ()
    if used.holds is False:
        return _with(wanted, host, machine) if host else ()
    newer = _forward(wanted, used, machine)
    if used.holds or host is None:
        return newer if used.holds else ()
    return _either(_with(wanted, host, machine), newer, used.because)


def _forward(wanted: Wants, used: Use, machine: Hardware) -> Reasons:
    fault, theirs = used.fault, used.libcuda
    if fault and (fault.verdict is Verdict.INCOMPATIBLE or theirs is None):
        return _together("", fault)
    newer = _with(wanted, theirs, machine) if theirs else ()
    return _together("", fault, *newer) if fault else newer


@remembered
def _compat(forward: ForwardDriver) -> needs.Libcuda | None:
    implemented = compat_implements(forward)
    return needs.Libcuda(forward.version, implemented, True) if implemented else None


def _with(wanted: Wants, libcuda: needs.Libcuda, machine: Hardware) -> Reasons:
    started = _started(wanted, libcuda)
    covered = _covered(wanted, machine.gpus)
    if covered is None:
        covered = _compiled(wanted, machine.gpus, libcuda)
    if not (started or machine.refused or covered):
        return ()
    found = (*started, *machine.refused, *covered)
    build = ""
    if wanted.main and any(reason.verdict is Verdict.INCOMPATIBLE for reason in found):
        build = instead(wanted.main, libcuda, machine.gpus, machine.architecture)
    return _together(build, *found)


@remembered
def _started(wanted: Wants, libcuda: needs.Libcuda) -> Reasons:
    return tuple(reason for demand in wanted.demands if (reason := needs.starts(demand, libcuda)))


@remembered
def _covered(wanted: Wants, gpus: tuple[NodeGpu, ...]) -> Reasons | None:
    """None where it depends on the libcuda that has to compile."""
    if any(needs.compiles(code, gpus) for code in wanted.code):
        return None
    return _compiled(wanted, gpus, None)


@remembered
def _compiled(wanted: Wants, gpus: tuple[NodeGpu, ...], libcuda: needs.Libcuda | None) -> Reasons:
    return tuple(
        reason
        for code in wanted.code
        for reason in needs.covered(code, gpus, libcuda, any(code is one for one in wanted.deciding))
    )


@remembered
def _together(build: str, *reasons: Reason) -> Reasons:
    """In order. ``build``: the other way out beside changing the node; '' for none."""
    return ordered([_also(reason, build) for reason in reasons] if build else reasons)


@remembered
def _also(reason: Reason, build: str) -> Reason:
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
