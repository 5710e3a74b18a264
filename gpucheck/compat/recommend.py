"""The newest builds of a library that run on all of some nodes, and what each choice gives up."""

from __future__ import annotations

from collections.abc import Sequence

from gpucheck.compat import builds
from gpucheck.compat.cell import WEIGHTS
from gpucheck.compat.judge import judge
from gpucheck.compat.node import Node
from gpucheck.contract import SCHEMA, Contract, NeededRuntime
from gpucheck.finding import Verdict
from gpucheck.kb.frameworks import Build
from gpucheck.record import dataclass


@dataclass(frozen=True, slots=True)
class Choice:
    """A build that runs on all nodes."""

    build: Build
    verdicts: tuple[Verdict, ...]
    """On each node."""
    gives_up: tuple[str, ...]

    @property
    def name(self) -> str:
        """``torch 2.14.1+cu126``."""
        return f"{builds.distribution(self.build)} {builds.spelled(self.build)}"


@dataclass(frozen=True, slots=True)
class Advice:
    """What is recommended, or why nothing is."""

    library: str
    nodes: tuple[Node, ...]
    choices: tuple[Choice, ...]
    """The newest of each CUDA, the best first; empty when no build runs on all nodes."""
    apart: tuple[tuple[Node, str], ...]
    """When there is none: the newest build for each node and each kind of its GPUs alone, '' where there is none."""


def contract_of(row: Build, architecture: str) -> Contract:
    """What an image with nothing but this build would need."""
    code = builds.code_of(row, architecture)
    runtimes = (NeededRuntime(code.cuda, row.reference, code.name),) if code.cuda else ()
    return Contract(
        SCHEMA, f"{row.library} {builds.spelled(row)}", "", architecture, True, runtimes, (code,), None, (), None, None,
        "/usr/local/nvidia/lib64", "",
    )  # fmt: skip


def advise(library: str, nodes: Sequence[Node]) -> Advice:
    """The newest build of each CUDA that surely runs on all nodes."""
    found: dict[str, Choice] = {}
    newest = builds.newest_first(library)
    for row in newest:
        if row.cuda in found:
            continue
        verdicts = tuple(_verdict(row, node) for node in nodes)
        if all(verdict in (Verdict.COMPATIBLE, Verdict.CONDITIONAL) for verdict in verdicts):
            found[row.cuda] = Choice(row, verdicts, _gives_up(row, newest[0], verdicts, nodes))
    # Of one version, what is certain comes first.
    versions = list(dict.fromkeys(row.version for row in newest))
    choices = _worth_it(
        tuple(
            sorted(
                found.values(), key=lambda choice: (versions.index(choice.build.version), bool(choice.build.confidence))
            )
        )
    )
    apart = () if choices else tuple((alone, _newest(newest, alone)) for node in nodes for alone in _each(node))
    return Advice(library, tuple(nodes), choices, apart)


def _worth_it(choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
    """Without those that give up something and gain nothing against one before them."""
    kept: list[Choice] = []
    for choice in choices:
        better = (
            all(WEIGHTS[mine] <= WEIGHTS[theirs] for mine, theirs in zip(choice.verdicts, one.verdicts))
            and (one.build.pypi or not choice.build.pypi)
            and (choice.build.confidence or not one.build.confidence)
            for one in kept
        )
        if not any(better):
            kept.append(choice)
    return tuple(kept)


def _verdict(row: Build, node: Node) -> Verdict:
    """A node of several GPUs counts as served only when each of them is."""
    if row.driver and node.driver and node.driver.branch < row.driver.branch:
        return Verdict.INCOMPATIBLE
    cell = judge(contract_of(row, node.architecture), node)
    part = any(reason.rule == "gpu-not-covered-by-build" for reason in cell.reasons)
    return Verdict.INCOMPATIBLE if part else cell.verdict


def _each(node: Node) -> list[Node]:
    from gpucheck.record import replace

    return [replace(node, name=str(gpu), gpus=(gpu,)) for gpu in node.gpus or ()] or [node]


def _newest(rows: Sequence[Build], node: Node) -> str:
    row = next((row for row in rows if _verdict(row, node) in (Verdict.COMPATIBLE, Verdict.CONDITIONAL)), None)
    return f"{builds.distribution(row)} {builds.spelled(row)} ({builds.index(row)})" if row else ""


def _gives_up(row: Build, newest: Build, verdicts: Sequence[Verdict], nodes: Sequence[Node]) -> tuple[str, ...]:
    found = []
    if row.version != newest.version:
        found.append(f"{newest.version} is the newest; this is the last that runs on all of them with CUDA {row.cuda}")
    limited = [str(node.driver) for node, verdict in zip(nodes, verdicts) if verdict is Verdict.CONDITIONAL]
    if limited:
        found.append(
            f"newer than driver {', '.join(dict.fromkeys(limited))}: PTX of its toolkit is not compiled there (222), nor newer driver functions (36)"
        )
    if not row.pypi and builds.index(row) != "PyPI":
        found.append("not on PyPI: an index of its own in every install command and lock file")
    if row.confidence:
        found.append(f"not certain: {row.note}")
    return tuple(found)
