"""The knowledge base: rows of facts about the outside world, each with its source and the date it was checked.

One TOML file a table, read when first asked for: most runs need few of them.
"""

from __future__ import annotations

import pkgutil
import sys
from datetime import date
from functools import cache
from typing import Any, TypeVar

from gpucheck.record import dataclass, fields
from gpucheck.versions import CudaVersion, DriverVersion

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What every row has."""

    source: str
    checked: date

    @property
    def reference(self) -> str:
        """For evidence: the source and how old the look at it is."""
        return f"{self.source} (checked {self.checked})"


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
    measured: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Code(Row):
    """A result code and what it tells."""

    code: int
    name: str
    meaning: str


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


def load(file: str, table: str, kind: type[R]) -> tuple[R, ...]:
    """The rows of a table. Raises ``BadRow``."""
    types = _types(kind)
    return tuple(
        _row(kind, types, row, f"{file}.toml: {table} {index + 1}") for index, row in enumerate(_read(file)[table])
    )


@cache
def _read(file: str) -> dict[str, Any]:
    tables: dict[str, Any] = tomllib.loads((pkgutil.get_data(__name__, f"{file}.toml") or b"").decode())
    return tables


_PARSERS = {"DriverVersion": DriverVersion.parse, "CudaVersion": CudaVersion.parse}


def _types(kind: type[Row]) -> dict[str, str]:
    """The types of a row's fields; annotations are strings here (PEP 563): "int", "DriverVersion", ..."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        found.update(base.__dict__.get("__annotations__", {}))
    return found


def _row(kind: type[R], types: dict[str, str], row: dict[str, Any], place: str) -> R:
    values: dict[str, Any] = {}
    for name, optional in fields(kind).items():
        if name not in row:
            if not optional:
                raise BadRow(f"{place}: no {name}")
            continue
        expected = types[name]
        value = _PARSERS[expected](row[name]) if expected in _PARSERS else row[name]
        if type(value).__name__ != expected:
            raise BadRow(f"{place}: {name} = {row[name]!r} is no {expected}")
        values[name] = value
    if unknown := sorted(row.keys() - values.keys()):
        raise BadRow(f"{place}: unknown {', '.join(unknown)}")
    return kind(**values)


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
    return {row.cuda_major: row for row in load("drivers", "family", Family)}


@cache
def branches() -> dict[int, Branch]:
    """Driver branches by their number."""
    return {row.branch: row for row in load("drivers", "branch", Branch)}


@cache
def cuda_codes() -> dict[int, Code]:
    """Result codes of the driver API; the runtime's are the same numbers where they matter here."""
    return {row.code: row for row in load("codes", "cuda", Code)}


@cache
def nvml_codes() -> dict[int, Code]:
    """Result codes of NVML."""
    return {row.code: row for row in load("codes", "nvml", Code)}


@cache
def sonames() -> tuple[Soname, ...]:
    """Toolkit libraries that are looked for."""
    return load("libraries", "soname", Soname)


def driver_cuda(driver: DriverVersion) -> tuple[CudaVersion, str] | None:
    """The CUDA version that a driver's libcuda implements, and the row's reference; None for an unknown branch."""
    row = branches().get(driver.branch)
    return (row.cuda, row.reference) if row else None
