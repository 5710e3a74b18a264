"""Judge images against nodes: pure, and each part of an image against each part of a node once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from gpucheck.compat import alone, container
from gpucheck.compat.cell import Cell, Reason, Reasons, ordered, verdict
from gpucheck.compat.libraries import Hardware, Use, hardware, libraries, own_libcuda, use, wants
from gpucheck.compat.needs import Libcuda, unused_runtimes
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
    parts = [
        (part.judge, _numbered(map(part.of_contract, contracts)), _numbered(map(part.of_node, nodes))) for part in PARTS
    ]
    kinds = _numbered(zip(*(of_contracts for _, of_contracts, _ in parts)))
    places = _numbered(zip(*(of_nodes for _, _, of_nodes in parts)))
    hosts, machines = shared(map(own_libcuda, nodes)), shared(map(hardware, nodes))
    wanted, forwards = shared(map(wants, contracts)), shared(contract.forward for contract in contracts)
    answered: list[dict[tuple[int, int], Reasons]] = [{} for _ in parts]
    judged: dict[int, dict[int, _Answers]] = {}
    # Answers are shared between cells, so their identities tell cells apart faster than their texts.
    alike: dict[tuple[Reasons, ...], _Answers] = {}
    joined: dict[tuple[int, int], Cell] = {}
    columns: dict[int, list[tuple[int, int, Use]]] = {}
    for row, (contract, kind, want, forward) in enumerate(zip(contracts, kinds, wanted, forwards)):
        if id(forward) not in columns:
            used = [use(forward, node) for node in nodes]
            spots = _numbered(map(_spot, hosts, machines, used))
            columns[id(forward)] = list(zip(places, spots, used))
        cells = []
        known = judged.setdefault(kind, {})
        rests: dict[int, Reasons] = {}
        for column, (place, spot, how) in enumerate(columns[id(forward)]):
            answers = known.get(place)
            if answers is None:
                found = []
                for memory, (judge_part, of_contracts, of_nodes) in zip(answered, parts):
                    key = of_contracts[row], of_nodes[column]
                    reasons = memory.get(key)
                    if reasons is None:
                        reasons = memory[key] = tuple(judge_part(contract, nodes[column]))
                    found.append(reasons)
                whole = tuple(found)
                answers = alike.get(whole)
                if answers is None:
                    answers = alike[whole] = _Answers(*_decide(whole))
                known[place] = answers
            rest = rests.get(spot)
            if rest is None:
                rest = rests[spot] = libraries(want, hosts[column], machines[column], how)
            cell = joined.get((id(answers), id(rest)))
            if cell is None:
                cell = joined[id(answers), id(rest)] = _cell(answers, rest)
            cells.append(cell)
        yield tuple(cells)


def _spot(host: Libcuda | None, machine: Hardware, used: Use) -> Hashable:
    """What ``libraries`` looks at of a node, as numbers: without cuda-compat in use, it makes no difference how one is chosen."""
    return id(host), id(machine), used.holds, used.because if used.holds is None else ""


@dataclass(frozen=True, slots=True)
class _Answers:
    """What the parts say of an image on a node."""

    reasons: Reasons
    final: bool
    """Of an image that cannot start or load a driver anywhere nothing further is said: one root cause."""


def _decide(parts: Sequence[Reasons]) -> tuple[Reasons, bool]:
    if sure := [one for reasons in parts[:FIRST] for one in reasons if one.verdict is Verdict.INCOMPATIBLE]:
        return ordered(sure), True
    return tuple(reason for reasons in parts for reason in reasons), False


def _cell(answers: _Answers, rest: Reasons) -> Cell:
    # What ``libraries`` says is in order.
    found = answers.reasons if answers.final else ordered((*answers.reasons, *rest)) if answers.reasons else rest
    return Cell(verdict(found), found)


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
        lambda n: (n.driver, n.cuda, n.gpus, n.mode),
    ),
    Part(_if_gpu(alone.unused), lambda c: (c.gpu is False, unused_runtimes(c)), lambda n: (n.driver, n.cuda)),
)
