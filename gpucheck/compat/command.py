"""What ``gpucheck compat`` does with its arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from gpucheck.compat import images, inventory
from gpucheck.compat.change import BadChange, set_library
from gpucheck.compat.node import Node
from gpucheck.compat.recommend import Advice, advise
from gpucheck.compat.table import Table, tabulate
from gpucheck.contract import Contract


class BadInput(ValueError):
    """What was typed cannot be judged; one line says why and what is expected."""


def compare(
    references: Sequence[str], look: Callable[[str], Contract], nodes: Sequence[str], changes: Sequence[str]
) -> Table:
    """Judge the images on the nodes, with what was set for the sake of argument; ``look`` opens an image. Raises ``BadInput``."""
    try:
        where = tuple(node for text in nodes for node in inventory.read(text))
        found = tuple(contract for reference in references for contract in images.read(reference, look))
        for change in changes:
            key, equals, value = change.partition("=")
            if not equals or not value:
                raise BadInput(f"--set {change}: expected FACT=VALUE, such as driver=580 or torch=2.9.0+cu128")
            if key in inventory.KEYS and key != "name":
                where = tuple(inventory.change(node, key, value) for node in where)
            else:
                found = tuple(set_library(contract, key, value) for contract in found)
    except (images.BadImage, inventory.BadNode, BadChange) as error:
        raise BadInput(str(error)) from None
    return tabulate(_apart(found), _named_apart(where), changes)


def recommendation(library: str, gpus: str | None, driver: str | None, nodes: Sequence[str]) -> Advice:
    """The builds of a library for GPUs and a driver, for nodes, or for both. Raises ``BadInput``."""
    from gpucheck.kb import frameworks

    if library not in frameworks.libraries():
        raise BadInput(f"--library {library}: not known; known are {', '.join(frameworks.libraries())}")
    if (gpus is None) != (driver is None):
        raise BadInput("recommend: --gpu and --driver belong together; or name nodes with --node")
    try:
        where = [node for text in nodes for node in inventory.read(text)]
        if gpus is not None:
            listed = ",".join(f"gpu={name}" for name in gpus.split(","))
            where.insert(0, inventory.typed(f"name={driver} with {gpus.replace(',', ' + ')},driver={driver},{listed}"))
    except inventory.BadNode as error:
        raise BadInput(str(error)) from None
    if not where:
        raise BadInput("recommend: say what it must run on: --gpu H100,V100 --driver 535, or --node")
    if unknown := [gpu.name for node in where for gpu in node.gpus or () if gpu.capability is None]:
        from gpucheck.kb.gpus import nearest

        close = ", ".join(nearest(unknown[0]))
        raise BadInput(f"nothing is known of the GPU {unknown[0]}" + (f"; names like it: {close}" if close else ""))
    return advise(library, _named_apart(where))


def _apart(contracts: Iterable[Contract]) -> tuple[Contract, ...]:
    """One image named twice is one row."""
    return tuple(dict.fromkeys(contracts))


def _named_apart(nodes: Iterable[Node]) -> tuple[Node, ...]:
    """Different nodes of one name get a number: cells are found by it."""
    from gpucheck.record import replace

    seen: dict[str, int] = {}
    found = []
    for node in dict.fromkeys(nodes):
        seen[node.name] = seen.get(node.name, 0) + 1
        found.append(node if seen[node.name] == 1 else replace(node, name=f"{node.name} #{seen[node.name]}"))
    return tuple(found)
