"""Images against nodes as one result: what is shown, and what the exit code says."""

from __future__ import annotations

from collections.abc import Sequence

from gpucheck.compat.cell import Cell, Reason
from gpucheck.compat.judge import matrix
from gpucheck.compat.node import Node
from gpucheck.contract import Contract
from gpucheck.finding import Verdict
from gpucheck.record import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """A node, or several on which every image fares alike."""

    label: str
    """``A``, ``B``, ... ``AA``."""
    nodes: tuple[Node, ...]
    cells: tuple[Cell, ...]
    """Of its first node, one for each image."""


@dataclass(frozen=True, slots=True)
class Table:
    """A judged matrix."""

    images: tuple[Contract, ...]
    nodes: tuple[Node, ...]
    rows: tuple[tuple[Cell, ...], ...]
    changes: tuple[str, ...]
    """What was set for the sake of argument: ``driver=580``."""

    @property
    def verdict(self) -> Verdict:
        """``incompatible`` when any cell is, else ``unknown`` when any is, else ``conditional``, else ``compatible``."""
        found = {cell.verdict for row in self.rows for cell in row}
        for one in (Verdict.INCOMPATIBLE, Verdict.UNKNOWN, Verdict.CONDITIONAL):
            if one in found:
                return one
        return Verdict.COMPATIBLE

    def exit_code(self, strict: bool = False) -> int:
        """0 fine (``conditional`` too unless ``strict``), 1 an image that fails on a node, 3 could not tell."""
        return self.verdict.exit_code(strict)

    @property
    def counts(self) -> dict[Verdict, int]:
        """How many cells have each verdict."""
        found = dict.fromkeys(Verdict, 0)
        for row in self.rows:
            for cell in row:
                found[cell.verdict] += 1
        return found

    def columns(self, join: bool) -> tuple[Column, ...]:
        """The nodes; with ``join`` those on which every image has the same verdict for the same rules are one column."""
        groups: dict[object, list[int]] = {}
        for index in range(len(self.nodes)):
            column = tuple((row[index].verdict, tuple(r.rule for r in row[index].deciding)) for row in self.rows)
            groups.setdefault(column if join else index, []).append(index)
        return tuple(
            Column(
                label(number),
                tuple(self.nodes[index] for index in members),
                tuple(row[members[0]] for row in self.rows),
            )
            for number, members in enumerate(groups.values())
        )

    def reasons(self) -> tuple[tuple[Reason, tuple[tuple[str, str], ...]], ...]:
        """Each distinct reason with the cells, as (image, node), that it decides or is a note of; the heaviest first."""
        found: dict[tuple[object, ...], tuple[Reason, list[tuple[str, str]]]] = {}
        for contract, row in zip(self.images, self.rows):
            for node, cell in zip(self.nodes, row):
                for reason in cell.reasons:
                    key = (reason.rule, reason.verdict, reason.summary, reason.cause, reason.remedy)
                    found.setdefault(key, (reason, []))[1].append((contract.image, node.name))
        from gpucheck.compat.cell import WEIGHTS

        heavy = sorted(found.values(), key=lambda entry: (WEIGHTS[entry[0].verdict], -len(entry[1])))
        return tuple((reason, tuple(dict.fromkeys(cells))) for reason, cells in heavy)


def label(number: int) -> str:
    """0 is ``A``, 25 ``Z``, 26 ``AA``: as columns of a spreadsheet."""
    text = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        text = chr(ord("A") + rest) + text
    return text


def tabulate(images: Sequence[Contract], nodes: Sequence[Node], changes: Sequence[str] = ()) -> Table:
    """Judge every image on every node."""
    return Table(tuple(images), tuple(nodes), matrix(images, nodes), tuple(changes))
