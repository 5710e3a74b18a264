"""Judge images against nodes: pure, and each part of an image against each part of a node once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

from gpucheck.compat import container, needs
from gpucheck.compat.builds import instead
from gpucheck.compat.cell import Cell, Reason, Reasons, ordered, verdict
from gpucheck.compat.node import Node
from gpucheck.compat.routes import compat_implements, compat_works, uses_compat
from gpucheck.contract import Contract
from gpucheck.finding import Evidence, Verdict
from gpucheck.kb.gpus import nearest
from gpucheck.record import dataclass, replace


def judge(contract: Contract, node: Node) -> Cell:
    """The verdict on one image on one node."""
    found = _ordered_parts(tuple(part.judge(contract, node)) for part in PARTS)
    return Cell(contract.image, node.name, verdict(found), found)


def _ordered_parts(parts: Iterable[Reasons]) -> Reasons:
    """Of an image that cannot start or load a driver anywhere nothing further is said: one root cause."""
    found: list[Reason] = []
    for number, reasons in enumerate(parts):
        found += reasons
        if number == FIRST - 1 and any(reason.verdict is Verdict.INCOMPATIBLE for reason in found):
            break
    return ordered(found)


def matrix(contracts: Sequence[Contract], nodes: Sequence[Node]) -> tuple[tuple[Cell, ...], ...]:
    """All cells, a row for each image. What two images or two nodes have in common is judged once."""
    judged: list[dict[tuple[int, int], Reasons]] = [{} for _ in PARTS]
    joined: dict[tuple[int, ...], tuple[Verdict, Reasons]] = {}
    left = [_numbered(part.of_contract(contract) for contract in contracts) for part in PARTS]
    right = [_numbered(part.of_node(node) for node in nodes) for part in PARTS]
    rows = []
    for i, contract in enumerate(contracts):
        row = []
        for j, node in enumerate(nodes):
            parts = []
            for part, known, mine, theirs in zip(PARTS, judged, left, right):
                key = (mine[i], theirs[j])
                reasons = known.get(key)
                if reasons is None:
                    reasons = known[key] = tuple(part.judge(contract, node))
                parts.append(reasons)
            whole = tuple(parts)
            # Reasons are shared between cells, so their identities tell them apart faster than their texts.
            identity = tuple(map(id, whole))
            end = joined.get(identity)
            if end is None:
                found = _ordered_parts(whole)
                end = joined[identity] = (verdict(found), found)
            row.append(Cell(contract.image, node.name, *end))
        rows.append(tuple(row))
    return tuple(rows)


def _numbered(keys: Iterator[Hashable]) -> list[int]:
    """Equal keys get one number: comparing numbers is cheap."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(key, len(numbers)) for key in keys]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the judgement, and what of image and node it looks at."""

    judge: Callable[[Contract, Node], Iterator[Reason]]
    of_contract: Callable[[Contract], Hashable]
    of_node: Callable[[Node], Hashable]


# -- the parts ---------------------------------------------------------------------------------------------------------


def _image(contract: Contract, node: Node) -> Iterator[Reason]:
    """What holds whatever the node is."""
    for rule in contract.broken:
        yield Reason(
            rule,
            Verdict.INCOMPATIBLE,
            f"the image itself is broken: {rule}",
            "Its own parts contradict each other, on any node.",
            (Evidence(f"root cause {rule}", "gpucheck image"),),
            f"See what is wrong and what to do: gpucheck image {contract.image or 'REF'}; gpucheck explain {rule}",
        )
    if contract.gpu is False:
        yield Reason(
            "needs-no-gpu", Verdict.COMPATIBLE, "the image needs no GPU", "Nothing in it is for GPUs: it runs on the CPU of any node.", (), ""
        )  # fmt: skip
    elif contract.libc.startswith("musl"):
        yield Reason(
            "image-is-musl",
            Verdict.INCOMPATIBLE,
            f"the image is built on {contract.libc}: the driver's libraries cannot be loaded in it",
            "libcuda is built for glibc, and comes from the node as it is.",
            (Evidence(f"C library {contract.libc}", "files of the image"),),
            "A base image with glibc: debian:trixie-slim, ubuntu:24.04, or one of ours (gpu-capable/cuda13)",
        )
    elif not contract.runtimes and not contract.code:
        sure = contract.gpu is True
        yield Reason(
            "needs-not-known",
            Verdict.COMPATIBLE if sure else Verdict.UNKNOWN,
            "no CUDA library was found in the image" + ("" if sure else ", and it does not say whether it needs a GPU"),
            "It asks for a GPU, and brings nothing whose needs could be judged; what is added to it decides."
            if sure
            else "A program may carry CUDA where it is not seen.",
            (),
            ""
            if sure
            else "Look into it with: gpucheck image REF, or say that it is for GPUs (ENV NVIDIA_VISIBLE_DEVICES=all)",
        )


def _node(contract: Contract, node: Node) -> Iterator[Reason]:
    """What is wrong with the node, or not known of it, for any image that wants a GPU."""
    for trouble in node.trouble:
        yield Reason(
            trouble.rule,
            Verdict.INCOMPATIBLE,
            f"the node itself has a fault: {trouble.summary}",
            "No container reaches its GPUs as long as this is so.",
            (Evidence(trouble.summary, node.source),),
            f"On the node: {trouble.remedy}",
        )
    if node.gpus == () and not node.trouble:
        yield Reason(
            "no-gpu", Verdict.INCOMPATIBLE, "the node has no NVIDIA GPU", "The image needs one.",
            (Evidence("no GPU", node.source),), "A node with a GPU",
        )  # fmt: skip
        return
    if node.driver is None and node.cuda is None:
        yield Reason(
            "driver-not-known", Verdict.UNKNOWN, "the node's driver is not known", "Everything depends on it.",
            (Evidence("no driver version", node.source),),
            "Say it with driver=VERSION (nvidia-smi on the node prints it), or take a snapshot there: gpucheck snapshot -o FILE",
        )  # fmt: skip
    nameless = [gpu.name for gpu in node.gpus or () if gpu.capability is None]
    if node.gpus is None or nameless:
        close = [name for unknown in nameless for name in nearest(unknown)]
        yield Reason(
            "gpu-not-known",
            Verdict.UNKNOWN,
            f"nothing is known of the GPU {', '.join(nameless)}" if nameless else "the node's GPU is not known",
            "Whether the image has code for it cannot be told.",
            (Evidence(f"GPU {', '.join(nameless)}" if nameless else "no GPU is named", node.source),),
            "Say it by its name or its compute capability: gpu=A100 or gpu=8.0"
            + (f"; names like it: {', '.join(dict.fromkeys(close))}" if close else ""),
        )


def _libraries(contract: Contract, node: Node) -> Iterator[Reason]:
    """The libraries against libcuda and GPUs, with whichever libcuda the container gets."""
    host = node.implemented
    own = _with(contract, node, needs.Libcuda(node.driver, host, False)) if host else ()
    forward = contract.forward
    if forward is None:
        return iter(own)
    used = uses_compat(forward, node.driver, node.toolkit, node.mode)
    if used.holds is False:
        return iter(own)
    theirs = compat_implements(forward)
    fault = compat_works(forward, node.driver, node.gpus)
    newer = _with(contract, node, needs.Libcuda(forward.version, theirs, True)) if theirs else own
    if fault:
        newer = ordered([fault, *(() if fault.verdict is Verdict.INCOMPATIBLE else newer)])
    if used.holds:
        return iter(newer)
    if host is None:
        return iter(())
    return _either(own, newer, used.because)


def _with(contract: Contract, node: Node, libcuda: needs.Libcuda) -> Reasons:
    found: list[Reason] = []
    for demand in needs.demands(contract):
        if reason := needs.starts(demand, libcuda):
            found.append(reason)
    if node.driver and not node.driven:
        found += [reason for gpu in node.gpus or () if (reason := needs.driven(gpu, node.driver))]
    main = [code for code in contract.code if needs.is_main(code)]
    packages = main or [code for code in contract.code if not code.name.startswith(("/", "nvidia-"))]
    deciding = packages or [code for code in contract.code if not _of_toolkit(code.name)]
    for code in contract.code:
        found += needs.covered(code, node.gpus or (), libcuda, code in deciding)
    if main and any(reason.verdict is Verdict.INCOMPATIBLE for reason in found):
        build = instead(main[0].name, libcuda, node.gpus or (), node.architecture)
        found = [_also(reason, build) for reason in found] if build else found
    return ordered(found)


def _also(reason: Reason, build: str) -> Reason:
    """The other way out beside changing the node."""
    if reason.rule not in ("driver-too-old", "gpu-not-covered-by-build", "ptx-newer-than-driver"):
        return reason
    return replace(reason, remedy=f"{reason.remedy}; or in the image: {build}")


def _of_toolkit(name: str) -> bool:
    return name.startswith("nvidia-") or "/cuda" in name


def _either(own: Reasons, newer: Reasons, because: str) -> Iterator[Reason]:
    """The verdict where it is not known which libcuda a container gets: where both lead to the same, that."""
    verdicts = verdict(own), verdict(newer)
    if (verdicts[0] is Verdict.INCOMPATIBLE) == (verdicts[1] is Verdict.INCOMPATIBLE):
        worse = own if ordered_weight(own) <= ordered_weight(newer) else newer
        yield from worse
        return
    bad, good = (own, newer) if verdicts[0] is Verdict.INCOMPATIBLE else (newer, own)
    with_own = f"with the node's own libcuda {'it fails' if bad is own else 'it works'}"
    with_compat = f"with the image's cuda-compat {'it works' if bad is own else 'it fails'}"
    yield Reason(
        "toolkit-not-known",
        Verdict.UNKNOWN,
        f"{with_own}, {with_compat}",
        f"{because[0].upper()}{because[1:]}. What fails: {bad[0].summary}.",
        (*bad[0].evidence, *(good[0].evidence if good else ())),
        "Say the node's container toolkit and mode: toolkit=1.18,mode=cdi (nvidia-ctk --version prints it)",
    )


def ordered_weight(reasons: Reasons) -> int:
    """How heavy the heaviest is."""
    from gpucheck.compat.cell import WEIGHTS

    return WEIGHTS[verdict(reasons)]


def _unused(contract: Contract, node: Node) -> Iterator[Reason]:
    """A second CUDA in the image that decides nothing is worth a word where the driver is too old for it."""
    host = node.implemented
    for cuda in needs.unused_runtimes(contract) if host else ():
        if host and host.at_most and host.at_most.major < cuda.major:
            yield Reason(
                "runtime-not-used", Verdict.COMPATIBLE, f"the image also has CUDA {cuda}, which does not start on CUDA {host}",
                "What is judged here does not use it; a program of your own that does would fail with 35.", (), "",
            )  # fmt: skip


def _if_gpu(part: Callable[[Contract, Node], Iterator[Reason]]) -> Callable[[Contract, Node], Iterator[Reason]]:
    """Parts that matter to images which want a GPU."""

    def judge(contract: Contract, node: Node) -> Iterator[Reason]:
        return part(contract, node) if contract.gpu is not False else iter(())

    return judge


#: Parts that decide alone when they say no: the image itself, and its architecture.
FIRST = 2

PARTS = (
    Part(
        _image,
        lambda c: (c.image if c.broken else "", c.broken, c.gpu, c.libc[:4], bool(c.runtimes or c.code)),
        lambda n: (),
    ),
    Part(container.architecture, lambda c: c.architecture, lambda n: (n.architecture, n.source)),
    Part(_if_gpu(_node), lambda c: c.gpu is False, lambda n: (n.trouble, n.gpus, n.driver, n.cuda, n.source)),
    Part(
        _if_gpu(container.surroundings),
        lambda c: (c.gpu is False, c.capabilities, c.visible_devices, c.library_path),
        lambda n: (n.mode, n.source),
    ),
    Part(
        _if_gpu(container.requirement),
        lambda c: (c.gpu is False, c.requirements),
        lambda n: (n.driver, n.cuda, n.gpus, n.mode, n.source),
    ),
    Part(
        _if_gpu(_libraries),
        lambda c: (c.gpu is False, c.runtimes, c.code, c.forward),
        lambda n: (n.driver, n.cuda, n.gpus, n.toolkit, n.mode, n.driven, n.architecture),
    ),
    Part(_if_gpu(_unused), lambda c: (c.gpu is False, c.runtimes, c.code), lambda n: (n.driver, n.cuda)),
)
