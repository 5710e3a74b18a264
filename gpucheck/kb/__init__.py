"""The knowledge base: rows of facts about the outside world, each with its source and the date it was checked.

One TOML file an area, read when first asked for: most runs need few of them. What every run needs is here; toolkits,
capabilities, framework builds and so on have a module each, with the rows and what follows from them by construction.

In a file, ``[sources]`` gives short names to URLs, and ``[every.TABLE]`` the values that all rows of a table have which do
not say otherwise.
"""

from __future__ import annotations

import os
import pkgutil
import sys
from collections.abc import Sequence
from datetime import date, timedelta
from functools import cache
from itertools import pairwise
from typing import Any, TypeVar

from gpucheck.record import dataclass, fields
from gpucheck.versions import ComputeCapability, CudaVersion, DriverVersion

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


#: What is older says so where it is used: NVIDIA makes a driver branch and two CUDA releases in this time.
AGE = timedelta(days=180)


def today() -> date:
    """The day by which age is judged; SOURCE_DATE_EPOCH, where it is set, makes it the same in every run.

    Source: https://reproducible-builds.org/specs/source-date-epoch/
    """
    fixed = os.environ.get("SOURCE_DATE_EPOCH", "")
    # 1970-01-01 is day 719163 of the calendar that date.fromordinal counts.
    return date.fromordinal(719163 + int(fixed) // 86400) if fixed.isdigit() else date.today()


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What every row has."""

    source: str
    """The URL where the fact is written."""
    checked: date
    measured: str = ""
    """How it was measured; '' where the source alone says it."""
    confidence: str = ""
    """``low`` where sources contradict each other or the fact was only concluded; then ``note`` says why."""
    note: str = ""

    @property
    def reference(self) -> str:
        """For evidence: the source, how old the look at it is, and whether it is doubtful."""
        doubt = f", {self.confidence} confidence" if self.confidence else ""
        old = f", more than {AGE.days} days ago" if today() - self.checked > AGE else ""
        return f"{self.source} (checked {self.checked}{old}{doubt})"


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverPlace(Row):
    """A folder where driver libraries lie."""

    pattern: str
    kind: str
    platform: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolkitPlace(Row):
    """A folder where CUDA libraries lie."""

    pattern: str
    platform: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Family(Row):
    """All runtimes of one CUDA major start on drivers from the floor on (minor-version compatibility)."""

    cuda_major: int
    driver_floor: DriverVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch(Row):
    """A driver branch and the CUDA version that its libcuda implements."""

    branch: int
    cuda: CudaVersion
    end_of_support: str
    """``2028-06``; '' where NVIDIA names none."""
    designation: str = ""
    """``LTS`` long-term support, ``PB`` production branch, ``NFB`` new feature branch, ``legacy``; '' where not known."""
    without_gpu: int | None = None
    """What cuInit returns on a machine without a GPU, where that is not CUDA_ERROR_NO_DEVICE (100)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Code(Row):
    """A result code and what it tells."""

    code: int
    name: str
    meaning: str
    runtime: str = ""
    """The name of the same code in the runtime API; '' where it is the same or there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Soname(Row):
    """A toolkit library by the start of its file name."""

    stem: str
    library: str
    telling_major: bool
    """Whether the number after ``.so.`` is the CUDA major."""


R = TypeVar("R", bound=Row)


class BadRow(ValueError):
    """A row of a table that is wrong; the message names the file, the row and what is wrong."""


def load(
    file: str, table: str, kind: type[R], key: Sequence[str] = (), grows: Sequence[tuple[str, str]] = ()
) -> tuple[R, ...]:
    """The rows of a table.

    No two rows may have the same values in ``key``. Of each pair in ``grows`` the second value must not fall where the
    first one rises: a newer driver branch never supports less. Raises ``BadRow``.
    """
    content = _read(file)
    if not isinstance(content.get(table), list):
        raise BadRow(f"{file}.toml: no table {table}")
    every, sources = content.get("every", {}).get(table, {}), content.get("sources", {})
    types = _types(kind)
    rows = tuple(
        _row(kind, types, {**every, **row}, sources, f"{file}.toml: {table} {index + 1}")
        for index, row in enumerate(content[table])
    )
    _refuse_twins(rows, key, f"{file}.toml: {table}")
    for low, high in grows:
        _refuse_falls(rows, low, high, f"{file}.toml: {table}")
    return rows


@cache
def _read(file: str) -> dict[str, Any]:
    try:
        tables: dict[str, Any] = tomllib.loads((pkgutil.get_data(__name__, f"{file}.toml") or b"").decode())
    except tomllib.TOMLDecodeError as error:
        raise BadRow(f"{file}.toml: {error}") from None
    return tables


_VERSIONS = {
    "DriverVersion": DriverVersion.parse,
    "CudaVersion": CudaVersion.parse,
    "ComputeCapability": ComputeCapability.parse,
}


def _types(kind: type[Row]) -> dict[str, str]:
    """The types of a row's fields; annotations are strings here (PEP 563): "int", "DriverVersion", "tuple[int, ...]"."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        found.update(base.__dict__.get("__annotations__", {}))
    return {name: expected.removesuffix(" | None") for name, expected in found.items()}


def _row(kind: type[R], types: dict[str, str], row: dict[str, Any], sources: dict[str, str], place: str) -> R:
    values: dict[str, Any] = {}
    for name, optional in fields(kind).items():
        if name not in row:
            if not optional:
                raise BadRow(f"{place}: no {name}")
            continue
        expected = types[name]
        if expected.startswith("tuple["):
            expected = expected.removeprefix("tuple[").removesuffix(", ...]")
            given = row[name]
            values[name] = tuple(_value(expected, value) for value in given) if isinstance(given, list) else None
            wrong = values[name] is None or None in values[name]
        else:
            values[name] = _value(expected, row[name])
            wrong = values[name] is None
        if wrong:
            raise BadRow(f"{place}: {name} = {row[name]!r} is no {types[name]}")
    if unknown := sorted(row.keys() - values.keys()):
        raise BadRow(f"{place}: unknown {', '.join(unknown)}")
    if "://" not in values["source"]:
        if values["source"] not in sources:
            raise BadRow(f"{place}: source = {values['source']!r} is no URL and no name in [sources]")
        values["source"] = sources[values["source"]]
    return kind(**values)


def _value(expected: str, value: object) -> object:
    """The value of a field; None for one of another type."""
    if expected in _VERSIONS:
        return _VERSIONS[expected](value) if isinstance(value, str) else None
    return value if type(value).__name__ == expected else None


def _refuse_twins(rows: Sequence[Row], key: Sequence[str], place: str) -> None:
    seen: dict[tuple[object, ...], int] = {}
    for index, row in enumerate(rows) if key else ():
        values = tuple(getattr(row, name) for name in key)
        if values in seen:
            named = ", ".join(f"{name} = {value}" for name, value in zip(key, values))
            raise BadRow(
                f"{place} {seen[values] + 1} and {place.split()[-1]} {index + 1} contradict each other: both are {named}"
            )
        seen[values] = index


def _refuse_falls(rows: Sequence[Row], low: str, high: str, place: str) -> None:
    """Rows without one of the values say nothing about the order."""
    named = [(getattr(row, low), getattr(row, high), index) for index, row in enumerate(rows)]
    ordered = sorted((entry for entry in named if None not in entry), key=lambda entry: entry[:2])
    for (low_1, high_1, first), (low_2, high_2, second) in pairwise(ordered):
        if low_1 < low_2 and high_2 < high_1:
            raise BadRow(
                f"{place} {first + 1} and {place.split()[-1]} {second + 1} contradict each other: "
                f"{low} rises from {low_1} to {low_2}, {high} falls from {high_1} to {high_2}"
            )


def stale(rows: Sequence[Row], on: date | None = None) -> str:
    """One line of evidence when a table's oldest look at its sources is older than ``AGE``; '' otherwise.

    It does not hold the day ``on`` (default: today), so that output is the same from run to run.
    """
    oldest = min(row.checked for row in rows)
    if (on or today()) - oldest <= AGE:
        return ""
    return f"the knowledge base was last compared with its sources on {oldest}, more than {AGE.days} days ago; newer releases may be missing"


@cache
def driver_places() -> tuple[DriverPlace, ...]:
    """Where driver libraries lie, by platform."""
    return load("places", "driver", DriverPlace)


@cache
def toolkit_places() -> tuple[ToolkitPlace, ...]:
    """Where CUDA libraries lie, by platform."""
    return load("places", "toolkit", ToolkitPlace)


@cache
def families() -> dict[int, Family]:
    """Driver floors by CUDA major."""
    rows = load("drivers", "family", Family, ["cuda_major"], [("cuda_major", "driver_floor")])
    return {row.cuda_major: row for row in rows}


@cache
def branches() -> dict[int, Branch]:
    """Driver branches by their number."""
    return {row.branch: row for row in load("drivers", "branch", Branch, ["branch"], [("branch", "cuda")])}


@cache
def cuda_codes() -> dict[int, Code]:
    """Result codes of the driver API; the runtime's are the same numbers where they matter here."""
    return {row.code: row for row in load("codes", "cuda", Code, ["code"])}


@cache
def nvml_codes() -> dict[int, Code]:
    """Result codes of NVML."""
    return {row.code: row for row in load("codes", "nvml", Code, ["code"])}


@cache
def sonames() -> tuple[Soname, ...]:
    """Toolkit libraries that are looked for."""
    return load("libraries", "soname", Soname, ["stem"])


def driver_cuda(driver: DriverVersion) -> tuple[CudaVersion, str] | None:
    """The CUDA version that a driver's libcuda implements, and the row's reference; None for an unknown branch.

    What follows for a branch that is not known: ``gpucheck.kb.drivers``.
    """
    row = branches().get(driver.branch)
    return (row.cuda, row.reference) if row else None
