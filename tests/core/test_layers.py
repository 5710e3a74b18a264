"""Data flows one way: which parts of gpucheck may import which, as docs/architecture.md has it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "gpucheck"

#: From the ground up: a part imports from its own floor and from those below. ``probes`` and ``libs`` ask each other: what an import would
#: load is a fact, and where its distribution lies is one too.
FLOORS = (
    ("__init__", "record", "native"),
    ("versions", "markers", "require", "system"),
    ("kb", "facts", "contract"),
    ("codec", "elf", "finding", "fakedriver"),
    ("trace/calls",),
    ("probes", "libs"),
    ("project", "images"),
    ("rules",),
    ("engine",),
    ("compat",),
    ("render",),
    ("trace", "contents", "cluster"),
    ("cli",),
    ("__main__",),
)
FLOOR = {part: number for number, floor in enumerate(FLOORS) for part in floor}


def part_of(name: str) -> str:
    """The part that a module belongs to: ``elf`` for ``elf.reader``. An import is watched as a traced command is."""
    words = name.split(".")
    watches = words[:2] in (["trace", "calls"], ["trace", "program"]) and words[:3] != ["trace", "calls", "text"]
    return "trace/calls" if watches else words[0]


def imported(file: Path) -> Iterator[str]:
    """What a module imports of gpucheck, at its top or in a function; relative imports are not used."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "gpucheck":
            yield from ("__init__" if alias.name.startswith("__") else alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gpucheck."):
            # ``from gpucheck.trace import calls`` names a module too.
            yield from (f"{node.module}.{alias.name}".removeprefix("gpucheck.") for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name.removeprefix("gpucheck.") for alias in node.names if alias.name[:9] == "gpucheck.")


FILES = sorted(file for file in PACKAGE.rglob("*.py"))


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(PACKAGE).with_suffix("").parts)


@pytest.mark.parametrize("part", sorted({part_of(name_of(file)) for file in FILES}))
def test_a_part_imports_nothing_from_above(part: str) -> None:
    wrong = {
        f"{name_of(file)} imports {name}"
        for file in FILES
        if part_of(name_of(file)) == part
        for name in imported(file)
        if FLOOR[part_of(name)] > FLOOR[part] or (part_of(name) == "fakedriver" and part != "fakedriver")
    }
    assert not wrong
