"""What image and node say by themselves: faults that hold whatever the other one is, and what is not known."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from gpucheck.compat import needs
from gpucheck.compat.cell import Reason
from gpucheck.compat.node import Node
from gpucheck.contract import Contract
from gpucheck.finding import Evidence, Verdict
from gpucheck.kb.gpus import nearest

#: Warnings about an image that are judged against each node: on some it is right that cuda-compat is always used.
JUDGED = ("compat-always-used",)


@cache
def _meaning(id: str) -> str:
    """The first sentence of what ``gpucheck explain`` says of a rule; '' for one of another version."""
    from gpucheck.rules import RULES

    return next((rule.documentation.split("\n", 1)[0] for rule in RULES if rule.id == id), "")


def image(contract: Contract, node: Node) -> Iterator[Reason]:
    """What holds whatever the node is."""
    for rule in contract.broken:
        yield Reason(
            rule,
            Verdict.INCOMPATIBLE,
            f"the image itself is broken: {rule}",
            f"{_meaning(rule)} That is so on any node.".lstrip(),
            (Evidence(f"root cause {rule}", "gpucheck image"),),
            f"See what is wrong and what to do: gpucheck image {contract.image or 'REF'}; gpucheck explain {rule}",
        )
    for rule in contract.limits if contract.gpu is not False else ():
        if rule in JUDGED:
            continue
        yield Reason(
            rule,
            Verdict.CONDITIONAL,
            f"the image itself has a limit: {rule}",
            f"{_meaning(rule)} That is so on any node.".lstrip(),
            (Evidence(f"warning {rule}", "gpucheck image"),),
            f"See what it means: gpucheck image {contract.image or 'REF'}; gpucheck explain {rule}",
        )
    if contract.gpu is False:
        yield Reason(
            "needs-no-gpu", Verdict.COMPATIBLE, "the image needs no GPU", "Nothing in it is for GPUs: it runs on the CPU of any node.", (), ""
        )  # fmt: skip
    elif contract.libc.startswith("musl"):
        yield Reason(
            "driver-needs-glibc",
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


def node_itself(contract: Contract, node: Node) -> Iterator[Reason]:
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


def unused(contract: Contract, node: Node) -> Iterator[Reason]:
    """A second CUDA in the image that decides nothing is worth a word where the driver is too old for it."""
    host = node.implemented
    for cuda in needs.unused_runtimes(contract) if host else ():
        if host and host.at_most and host.at_most.major < cuda.major:
            yield Reason(
                "runtime-not-used", Verdict.COMPATIBLE, f"the image also has CUDA {cuda}, which does not start on CUDA {host}",
                "What is judged here does not use it; a program of your own that does would fail with 35.", (), "",
            )  # fmt: skip
