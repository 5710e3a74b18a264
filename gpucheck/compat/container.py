"""What lies between an image and a node's driver: the CPU, the container runtime, and what the image asks of it."""

from __future__ import annotations

from collections.abc import Iterator

from gpucheck import require
from gpucheck.compat.cell import Reason
from gpucheck.compat.node import Node, NodeGpu
from gpucheck.compat.remember import remembered_by_value
from gpucheck.contract import Contract
from gpucheck.finding import Evidence, Verdict
from gpucheck.kb.forward import brands

GKE_LIBRARIES = "/usr/local/nvidia/lib64"
GKE = "https://cloud.google.com/kubernetes-engine/docs/how-to/gpus#cuda"
CAPABILITIES = "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html#driver-capabilities"
UNCHECKED = "https://github.com/NVIDIA/nvidia-container-toolkit/issues/1470"


def architecture(contract: Contract, node: Node) -> Iterator[Reason]:
    """An image's programs are for one kind of CPU."""
    mine, theirs = contract.architecture, node.architecture
    if mine and theirs and mine != theirs:
        yield Reason(
            "image-for-other-architecture",
            Verdict.INCOMPATIBLE,
            f"the image is for {mine}, the node is {theirs}",
            "Its programs do not start there: exec format error.",
            (
                Evidence(f"architecture {mine}", "the image's configuration"),
                Evidence(f"architecture {theirs}", node.source),
            ),
            f"The image of the same name for {theirs} (build it with docker buildx --platform, or ask for it with --platform)",
        )


def surroundings(contract: Contract, node: Node) -> Iterator[Reason]:
    """Whether a container of the image is given driver and devices, and finds them."""
    if node.mode == "none":
        yield Reason(
            "container-toolkit-missing",
            Verdict.INCOMPATIBLE,
            "containers of this node get no GPU: it has no NVIDIA container toolkit",
            "Nobody mounts the driver's libraries and the device nodes into a container.",
            (Evidence("no container toolkit, no CDI specification", node.source),),
            "On the node: install nvidia-container-toolkit and run: sudo nvidia-ctk runtime configure --runtime=docker",
        )
    asked = contract.visible_devices
    if asked is not None and asked.strip() in ("", "void", "none"):
        yield Reason(
            "visible-devices-hides-gpus",
            Verdict.CONDITIONAL,
            f"the image asks for no GPU: NVIDIA_VISIBLE_DEVICES={asked!r}",
            "Where it is started without asking for a GPU by other means, it gets none.",
            (Evidence(f"NVIDIA_VISIBLE_DEVICES={asked!r}", "the image's environment"),),
            "Ask for GPUs when it is started (docker run --gpus all; Kubernetes: resources.limits nvidia.com/gpu), or set NVIDIA_VISIBLE_DEVICES=all in the image",
        )
    granted = [word.strip() for word in (contract.capabilities or "").split(",") if word.strip()]
    if granted and not {"compute", "all"} & set(granted):
        sure = node.mode in ("legacy", "csv")
        if sure or node.mode == "":
            yield Reason(
                "compute-capability-not-granted",
                Verdict.INCOMPATIBLE if sure else Verdict.CONDITIONAL,
                f"the image asks for driver libraries without compute: NVIDIA_DRIVER_CAPABILITIES={contract.capabilities}",
                "In legacy mode the toolkit mounts libcuda only for compute; with CDI it mounts all, whatever the variable says.",
                (
                    Evidence(f"NVIDIA_DRIVER_CAPABILITIES={contract.capabilities}", "the image's environment"),
                    Evidence("compute brings libcuda", CAPABILITIES),
                ),
                "In the image: ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility",
            )
    if node.mode == "gke" and GKE_LIBRARIES not in (contract.library_path or "").split(":"):
        yield Reason(
            "libcuda-off-loader-path",
            Verdict.INCOMPATIBLE,
            f"the dynamic linker does not find the driver that GKE mounts at {GKE_LIBRARIES}",
            "Google's device plugin mounts the folder and tells the linker nothing: only LD_LIBRARY_PATH leads there.",
            (
                Evidence(
                    f"LD_LIBRARY_PATH={contract.library_path}"
                    if contract.library_path
                    else "LD_LIBRARY_PATH is not set",
                    "the image's environment",
                ),
                Evidence(f"the driver is in {GKE_LIBRARIES}", GKE),
            ),
            f"In the image: ENV LD_LIBRARY_PATH={GKE_LIBRARIES}, or the same in the pod's env",
        )


# -- NVIDIA_REQUIRE_* --------------------------------------------------------------------------------------------------


def requirement(contract: Contract, node: Node) -> Iterator[Reason]:
    """What the image requires, where it is checked; beside it, what would be said where it is not."""
    variables = dict(contract.requirements)
    try:
        wanted = require.requirements(variables)
        answers = [(name, value, *_ask(value, node)) for name, value in wanted]
    except require.Invalid as error:
        yield from _refused("an engine does not understand what the image requires", str(error), (), node)
        return
    for name, value, answer, gpu in answers:
        if answer.holds is False:
            summary = f"the node does not meet {name} of the image"
            cause = "None of its alternatives holds: " + "; ".join(_spell(answer, node, gpu)) + "."
            yield from _refused(summary, cause, (Evidence(f"{name}={_short(value)}", "the image's environment"),), node)
        elif answer.holds is None and node.mode not in ("cdi", "gke", "none"):
            yield Reason(
                "requirement-not-met",
                Verdict.UNKNOWN,
                f"whether the node meets {name} of the image is not known",
                "It compares a fact of the node that nobody told: driver, CUDA version, or the GPU's brand or compute capability.",
                (Evidence(f"{name}={_short(value)}", "the image's environment"),),
                "Say it: --node driver=VERSION,gpu=NAME",
            )


def _refused(summary: str, cause: str, evidence: tuple[Evidence, ...], node: Node) -> Iterator[Reason]:
    checked = node.mode in ("legacy", "csv")
    told = {
        "cdi": "With CDI nobody checks it, so the container starts all the same; docker run --gpus still uses the hook, which refuses it.",
        "gke": "Nobody checks it on GKE, so the container starts all the same.",
        "": "Where nvidia-container-cli starts the container (docker run --gpus, legacy mode) it refuses; with CDI nobody checks it.",
    }.get(node.mode, "The container does not start: requirement error: unsatisfied condition.")
    if node.mode == "none":
        return
    yield Reason(
        "requirement-not-met" if checked or not node.mode else "requirement-not-checked",
        Verdict.INCOMPATIBLE if checked else Verdict.CONDITIONAL if not node.mode else Verdict.COMPATIBLE,
        summary if checked or not node.mode else f"{summary}, which is not checked there",
        f"{cause} {told}",
        (*evidence, *([] if checked else [Evidence("NVIDIA_REQUIRE_* is not evaluated with CDI", UNCHECKED)])),
        "On the node: a driver that meets it; where the image runs without (see the other reasons), start it with NVIDIA_DISABLE_REQUIRE=1"
        if checked or not node.mode
        else "",
    )


_legacy = remembered_by_value(require.legacy)


def _ask(value: str, node: Node) -> tuple[require.Answer, NodeGpu | None]:
    """The first GPU's answer that is not yes: nvidia-container-cli asks for each that the container sees."""
    gpus: tuple[NodeGpu | None, ...] = node.gpus or (None,)
    hosts = [(_host(node, gpu), gpu) for gpu in gpus]
    if node.mode == "csv":
        host, gpu = hosts[0]
        if not host.cuda or not host.arch:
            return require.Answer(None), gpu
        return require.csv(value, host.cuda, host.arch), gpu
    answered = [(_legacy(value, host), gpu) for host, gpu in hosts]
    return min(answered, key=lambda found: {False: 0, None: 1, True: 2}[found[0].holds])


def _host(node: Node, gpu: NodeGpu | None) -> require.Host:
    implemented = node.implemented
    cuda = str(implemented) if implemented and not implemented.extrapolated else ""
    driver = str(node.driver) if node.driver else ""
    if gpu is None:
        # Without a GPU the engine takes architecture and brand for right; that nobody told of the GPUs is another matter.
        unknown = "" if node.gpus is None else None
        return require.Host(cuda, driver, unknown, unknown)
    row = brands().get(gpu.brand) if gpu.brand is not None else None
    word = row.word if row else "" if gpu.brand is None else "unknown"
    return require.Host(cuda, driver, str(gpu.capability) if gpu.capability else "", word)


def _spell(answer: require.Answer, node: Node, gpu: NodeGpu | None) -> Iterator[str]:
    """Each alternative with the term that fails; those for other brands of GPU are only counted."""
    host = _host(node, gpu)
    mine = {"cuda": f"CUDA {host.cuda}", "driver": f"driver {host.driver}", "arch": f"compute capability {host.arch}"}
    brands_seen = 0
    for failure in answer.failures:
        if failure.property == "brand":
            brands_seen += 1
            continue
        whole = f" (of {failure.alternative})" if failure.alternative != failure.term else ""
        yield f"{failure.term} does not hold for {mine.get(failure.property, failure.property)}{whole}"
    if brands_seen:
        of = f" than {host.brand} ({gpu.name})" if gpu and host.brand else ""
        yield f"{brands_seen} alternative{'s are' if brands_seen > 1 else ' is'} for other brands of GPU{of}"


def _short(value: str) -> str:
    """Requirements of NVIDIA's images are up to 2,000 characters long."""
    return value if len(value) <= 160 else f"{value[:150]}... ({len(value)} characters)"
