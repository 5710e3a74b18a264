"""Judge images against nodes: pure, and each part of an image against each part of a node once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from gpucheck.compat import alone, container
from gpucheck.compat.cell import Cell, Reason, Reasons, ordered, verdict
from gpucheck.compat.libraries import hardware, libraries, own_libcuda, route, wants
from gpucheck.compat.needs import unused_runtimes
from gpucheck.compat.node import Node
from gpucheck.compat.remember import forget, shared
from gpucheck.contract import Contract
from gpucheck.finding import Verdict
from gpucheck.record import dataclass, replace

T = TypeVar("T", bound=Hashable)


def judge(contract: Contract, node: Node) -> Cell:
    """The verdict on one image on one node."""
    return matrix((contract,), (node,))[0][0]


def matrix(contracts: Sequence[Contract], nodes: Sequence[Node]) -> tuple[tuple[Cell, ...], ...]:
    """All cells, a row for each image. What two images or two nodes have in common is judged once."""
    try:
        return tuple(_rows(*_sharing(contracts, nodes)))
    finally:
        forget()


def _rows(contracts: Sequence[Contract], nodes: Sequence[Node]) -> Iterator[tuple[Cell, ...]]:
    kinds = _numbered(tuple(part.of_contract(contract) for part in PARTS) for contract in contracts)
    places = _numbered(tuple(part.of_node(node) for part in PARTS) for node in nodes)
    columns = list(
        zip(nodes, places, shared(map(own_libcuda, nodes)), shared(map(hardware, nodes)), shared(map(route, nodes)))
    )
    wanted, forwards = shared(map(wants, contracts)), shared(contract.forward for contract in contracts)
    # Without cuda-compat in the image it makes no difference how a node's containers get a driver.
    spots = _numbered((id(host), id(machine), id(way)) for _, _, host, machine, way in columns)
    bare_spots = _numbered((id(host), id(machine)) for _, _, host, machine, _ in columns)
    judged: dict[int, dict[int, tuple[Reasons, ...]]] = {}
    # Answers are shared between cells, so their identities tell cells apart faster than their texts.
    alike: dict[tuple[Reasons, ...], tuple[Reasons, ...]] = {}
    joined: dict[tuple[int, int], Cell] = {}
    for contract, kind, want, forward in zip(contracts, kinds, wanted, forwards):
        row = []
        known = judged.setdefault(kind, {})
        rests: dict[int, Reasons] = {}
        for spot, (node, place, host, machine, way) in zip(spots if forward else bare_spots, columns):
            answers = known.get(place)
            if answers is None:
                answers = tuple(tuple(part.judge(contract, node)) for part in PARTS)
                answers = known[place] = alike.setdefault(answers, answers)
            rest = rests.get(spot)
            if rest is None:
                rest = rests[spot] = libraries(want, forward, host, machine, way)
            cell = joined.get((id(answers), id(rest)))
            if cell is None:
                found = _ordered_parts((*answers, rest))
                cell = joined[id(answers), id(rest)] = Cell(verdict(found), found)
            row.append(cell)
        yield tuple(row)


def _sharing(contracts: Sequence[Contract], nodes: Sequence[Node]) -> tuple[list[Contract], list[Node]]:
    """The same, with one object for what is equal in several: answers are remembered by identity."""
    one: dict[Hashable, Any] = {}

    def same(value: T) -> T:
        found: T = one.setdefault((type(value).__name__, value), value)
        return found

    return [
        replace(
            contract,
            code=same(tuple(same(replace(code, cuda=same(code.cuda))) for code in contract.code)),
            runtimes=tuple(replace(runtime, cuda=same(runtime.cuda)) for runtime in contract.runtimes),
            forward=same(contract.forward),
        )
        for contract in contracts
    ], [
        replace(
            node,
            driver=same(node.driver),
            gpus=same(None if node.gpus is None else tuple(map(same, node.gpus))),
            toolkit=same(node.toolkit),
            mode=same(node.mode),
            architecture=same(node.architecture),
        )
        for node in nodes
    ]


def _ordered_parts(parts: Iterable[Reasons]) -> Reasons:
    """Of an image that cannot start or load a driver anywhere nothing further is said: one root cause."""
    found: list[Reason] = []
    for number, reasons in enumerate(parts):
        found += reasons
        if number == FIRST - 1 and (sure := [one for one in found if one.verdict is Verdict.INCOMPATIBLE]):
            return ordered(sure)
    return ordered(found)


def _numbered(keys: Iterable[Hashable]) -> list[int]:
    """Equal keys get one number: comparing numbers is cheap."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(key, len(numbers)) for key in keys]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the judgement, and what of image and node it looks at."""

    judge: Callable[[Contract, Node], Iterator[Reason]]
    of_contract: Callable[[Contract], Hashable]
    of_node: Callable[[Node], Hashable]


def _if_gpu(part: Callable[[Contract, Node], Iterator[Reason]]) -> Callable[[Contract, Node], Iterator[Reason]]:
    """Parts that matter to images which want a GPU."""

    def judge(contract: Contract, node: Node) -> Iterator[Reason]:
        return part(contract, node) if contract.gpu is not False else iter(())

    return judge


#: Parts that decide alone when they say no: the image itself, and its architecture.
FIRST = 2

PARTS = (
    Part(
        alone.image,
        lambda c: (
            c.image if c.broken or c.limits else "",
            c.broken,
            c.limits,
            c.gpu,
            c.libc,
            bool(c.runtimes or c.code),
        ),
        lambda n: (),
    ),
    Part(container.architecture, lambda c: c.architecture, lambda n: (n.architecture, n.source)),
    Part(
        _if_gpu(alone.node_itself), lambda c: c.gpu is False, lambda n: (n.trouble, n.gpus, n.driver, n.cuda, n.source)
    ),
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
    Part(_if_gpu(alone.unused), lambda c: (c.gpu is False, unused_runtimes(c)), lambda n: (n.driver, n.cuda)),
)
