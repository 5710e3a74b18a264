"""Which libcuda a container gets: the node's, or the newer one of cuda-compat that the image carries."""

from __future__ import annotations

from gpucheck.compat.cell import Reason, sentence
from gpucheck.compat.node import NodeGpu, numbers
from gpucheck.compat.remember import remembered
from gpucheck.contract import ForwardDriver
from gpucheck.finding import Evidence, Verdict
from gpucheck.kb.drivers import Implemented, implemented_cuda
from gpucheck.kb.forward import brands, gpu_may, package_works
from gpucheck.kb.judgement import Judgement
from gpucheck.versions import CudaVersion, DriverVersion

HOOK = (
    "https://github.com/NVIDIA/nvidia-container-toolkit/blob/v1.20.0/cmd/nvidia-cdi-hook/cudacompat/cuda-elf-header.go"
)
CLI = "https://github.com/NVIDIA/libnvidia-container/blob/main/src/cli/compat_mode.c"

#: GeForce, TITAN and their RTX lines: nvmlBrandType_t in nvml.h.
CONSUMER = (5, 6, 15, 16)


@remembered
def uses_compat(forward: ForwardDriver, driver: DriverVersion | None, toolkit: str, mode: str) -> Judgement:
    """Whether a container gets the image's cuda-compat.

    Where only the toolkit finds it: in legacy mode nvidia-container-cli takes it when its branch is newer than the node's; with CDI the
    toolkit's hook does so in 1.18 and 1.19, and from 1.20 on takes what is newer and names the node's branch in its ELF note. The hook
    came into the 1.17 line, so for CDI with 1.17 or an unknown version it cannot be told. Nobody but the toolkit looks for it.
    """
    if forward.route != "toolkit":
        always = forward.route == "always"
        return Judgement(
            always,
            forward.because or f"the image's own search order {'finds' if always else 'misses'} it",
            forward.path,
        )
    if mode in ("gke", "none"):
        return Judgement(
            False, "only NVIDIA's container toolkit looks for cuda-compat, and this node does not use it", HOOK
        )
    if driver is None or forward.version is None or mode == "csv":
        return Judgement(None, "it cannot be told whether the toolkit takes the image's cuda-compat", HOOK)
    newer_branch = driver.branch < forward.version.branch
    by_branch = Judgement(
        newer_branch,
        f"the toolkit takes the image's cuda-compat ({forward.version}) when its branch is newer than that of driver {driver}",
        CLI if mode == "legacy" else HOOK,
    )
    if mode == "legacy":
        return by_branch
    by_note = by_branch
    if forward.branches:
        listed = driver.branch in forward.branches
        newer = forward.version > driver and not _within(driver, forward.version)
        names = ", ".join(map(str, forward.branches))
        by_note = Judgement(
            listed and newer,
            f"the toolkit takes cuda-compat {forward.version} when it is newer than driver {driver} and its note names the branch ({names})",
            HOOK,
        )
    if mode == "cdi" and toolkit:
        if numbers(toolkit) >= (1, 20):
            return by_note
        if numbers(toolkit) >= (1, 18):
            return by_branch
    if not by_branch.holds and not by_note.holds:
        return by_branch
    return Judgement(None, "whether the toolkit takes the image's cuda-compat depends on its version and mode", HOOK)


def _within(driver: DriverVersion, version: DriverVersion) -> bool:
    """Whether of a driver only the branch is known, and the version is of this branch."""
    return "." not in driver.text and driver.branch == version.branch


def compat_implements(forward: ForwardDriver) -> Implemented | None:
    """The CUDA that the image's cuda-compat implements."""
    if forward.cuda:
        return Implemented(forward.cuda, forward.cuda, forward.path)
    return implemented_cuda(forward.version) if forward.version else None


@remembered
def compat_works(
    forward: ForwardDriver, driver: DriverVersion | None, gpus: tuple[NodeGpu, ...] | None
) -> Reason | None:
    """Why the image's cuda-compat does not work over a node's driver and GPUs, or may not; None when it does.

    The pair of versions is refused with 803, the kind of GPU with 804. A library of the driver's own version is no pair: it works.
    """
    if driver is None:
        return None
    refused: list[str] = []
    doubts: list[str] = []
    sources: list[Evidence] = []
    named = f"cuda-compat {forward.version or '(version unknown)'} of the image" + (
        f" (CUDA {forward.cuda})" if forward.cuda else ""
    )
    if forward.version is not None and forward.version == driver and "." in driver.text:
        return None
    if forward.version is not None and _within(driver, forward.version):
        doubts.append(f"of the node's driver only the branch {driver} is known")
    elif forward.version is not None and forward.version < driver:
        refused.append(f"it is older than the node's driver {driver}: 803")
    if forward.branches and driver.branch not in forward.branches:
        refused.append(
            f"its note does not name branch {driver.branch}, but {', '.join(map(str, forward.branches))}: 803"
        )
    if not forward.branches and forward.cuda and not refused:
        judged = package_works(forward.cuda, driver)
        sources.append(Evidence(judged.evidence, judged.reference))
        if not judged.holds:
            (refused if judged.holds is False and forward.version is None else doubts).append(judged.because)
    for gpu in gpus or ():
        _judge_gpu(gpu, forward, refused, doubts, sources)
    if not refused and not doubts:
        return None
    drop = "in the image: take the compat folder out of LD_LIBRARY_PATH and /etc/ld.so.conf.d"
    if forward.route == "toolkit":
        drop = 'in the image: rm -r /usr/local/cuda*/compat; or on the node: cuda-compat-mode = "disabled" in the toolkit\'s config.toml'
    older = forward.version is not None and forward.version < driver
    fix = drop[0].upper() + drop[1:] if older else f"On the node: driver {_branch_of(forward)} or newer; or {drop}"
    return Reason(
        "cuda-compat-refused",
        Verdict.INCOMPATIBLE if refused else Verdict.UNKNOWN,
        f"{named} {'cannot work' if refused else 'may not work'} on driver {driver}",
        sentence("; ".join(refused or doubts)),
        (Evidence(f"{named}: {forward.because}" if forward.because else named, forward.path), *sources),
        fix if refused else "Say the exact driver and GPU of the node, or try it on one node first",
    )


def _judge_gpu(
    gpu: NodeGpu, forward: ForwardDriver, refused: list[str], doubts: list[str], sources: list[Evidence]
) -> None:
    row = brands().get(gpu.brand) if gpu.brand is not None else None
    if gpu.brand in CONSUMER:
        refused.append(f"{gpu.name} is no data-center GPU: 804")
        if row:
            sources.append(Evidence(f"forward compatibility for {row.name}: {row.supported}", row.reference))
        return
    if forward.brands and gpu.brand is not None and gpu.brand not in forward.brands:
        doubts.append(f"its note does not name the NVML brand of {gpu.name} ({row.name if row else gpu.brand})")
    elif gpu.brand is None:
        doubts.append(f"the NVML brand of {gpu.name} is not known, and only some may use it")
    elif row and row.supported == "some":
        doubts.append(f"of {row.name} only selected products may use it, and NVIDIA names no list")
        sources.append(Evidence(f"forward compatibility for {row.name}: some products", row.reference))
    if forward.cuda and gpu.capability and gpu.brand is not None:
        judged = gpu_may(forward.cuda, gpu.brand, gpu.capability)
        if judged.holds is False and judged.extrapolated:
            doubts.append(judged.because)
            sources.append(Evidence(judged.evidence, judged.reference))


def _branch_of(forward: ForwardDriver) -> str:
    from gpucheck import kb

    wanted = forward.cuda or CudaVersion(99, 0)
    row = next((row for row in kb.branches().values() if row.cuda >= wanted), None)
    return str(row.branch if row else forward.version.branch if forward.version else "?")
