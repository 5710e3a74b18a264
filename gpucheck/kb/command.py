"""What ``gpucheck kb`` prints: the tables, one table, or the rows that hold some words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from importlib import import_module
from typing import Any

from gpucheck import kb
from gpucheck.kb import (
    capabilities,
    clouds,
    compiled,
    drivers,
    forward,
    frameworks,
    gpus,
    imports,
    kernel_log,
    packages,
    pairs,
    toolkits,
    traced,
    xids,
)
from gpucheck.record import dataclass, fields
from gpucheck.versions import ComputeCapability, CudaVersion, DriverVersion

SCHEMA = 1


class NothingFound(ValueError):
    """No row holds the words; the message says so, and what to do."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the knowledge base as it is listed."""

    name: str
    title: str
    key: tuple[str, ...]
    """The fields that name a row."""
    load: Callable[[], Sequence[kb.Row] | Mapping[Any, kb.Row]]

    @property
    def rows(self) -> tuple[kb.Row, ...]:
        """The rows, in the order of the file. Raises ``BadRow``."""
        found = self.load()
        return tuple(found.values()) if isinstance(found, Mapping) else tuple(found)


def _builds() -> tuple[kb.Row, ...]:
    return tuple(row for library in frameworks.libraries() for row in frameworks.builds(library))


def _of(module: str, function: str) -> Callable[[], Sequence[kb.Row] | Mapping[Any, kb.Row]]:
    """The rows that another part of gpucheck keeps; it is imported when they are asked for."""

    def load() -> Sequence[kb.Row] | Mapping[Any, kb.Row]:
        found: Callable[[], Sequence[kb.Row] | Mapping[Any, kb.Row]]
        found = getattr(import_module(f"gpucheck.{module}"), function)
        return found()

    return load


TABLES = (
    Table("branches", "driver branches: CUDA, end of support", ("branch",), kb.branches),
    Table("families", "the driver from which a CUDA major starts", ("cuda_major",), kb.families),
    Table("toolkits", "CUDA minors: driver branch, PTX ISA", ("cuda",), toolkits.toolkits),
    Table("unrefusing", "CUDA runtimes that do not refuse an old driver", ("cuda",), drivers.unrefusing),
    Table("releases", "CUDA releases: exact driver, bundled driver", ("version",), toolkits.releases),
    Table(
        "capabilities",
        "compute capabilities: GPUs, toolkits, drivers, targets",
        ("capability",),
        capabilities.capabilities,
    ),
    Table("gpus", "GPUs by name: capability, NVML brand", ("names",), gpus.gpus),
    Table("products", "GPUs that need a newer driver than their kind", ("product",), capabilities.products),
    Table("compat", "cuda-compat packages and their base branches", ("cuda",), forward.packages),
    Table("compat-libraries", "libcuda versions in cuda-compat packages", ("libcuda",), forward.libraries),
    Table("brands", "NVML brands that may use cuda-compat", ("brand",), forward.brands),
    Table("jetsons", "CUDA upgrade packages by JetPack", ("jetpack",), forward.jetsons),
    Table("builds", "builds of frameworks: CUDA, cuDNN, architectures", ("library", "version", "variant"), _builds),
    Table("pairs", "versions that are known not to work together", ("library", "versions", "other"), pairs.pairs),
    Table("cudnn", "cuDNN support matrices", ("first", "cuda"), frameworks.cudnn),
    Table("sonames", "toolkit libraries that are looked for", ("stem",), kb.sonames),
    Table("wheels", "wheels that ship a library", ("soname", "wheel"), packages.wheels),
    Table("packages", "system packages that ship a library", ("soname", "package"), packages.system_packages),
    Table("dlopens", "what libraries open by name at run time", ("opener", "opens"), _of("elf.dlopens", "rows")),
    Table("imports", "what importing a distribution loads", ("distribution",), imports.rows),
    Table("import-parts", "distributions that import each other", ("distribution",), imports.parts),
    Table("cuda-codes", "result codes of the CUDA driver and runtime", ("code",), kb.cuda_codes),
    Table("nvml-codes", "result codes of NVML", ("code",), kb.nvml_codes),
    Table("xids", "faults that the kernel driver logs", ("xid",), xids.xids),
    Table("xid-actions", "what the words in NVIDIA's Xid catalogue mean", ("action",), xids.actions),
    Table("kernel-log", "what the driver logs of a GPU that it cannot start", ("pattern",), kernel_log.lines),
    Table("kernel-codes", "status codes in RmInitAdapter failed", ("name",), kernel_log.statuses),
    Table("generations", "GPUs by PCI device id: drivers, kind of module", ("first",), kernel_log.generations),
    Table("kernel-symbols", "other modules whose symbols the driver uses", ("beginning",), kernel_log.symbols),
    Table("unbuilt", "packages that install without their CUDA part", ("distribution", "module"), compiled.unbuilt),
    Table("compiling", "packages that compile CUDA code as they run", ("distribution",), compiled.jit),
    Table("driver-parts", "what packages open of the driver", ("distribution", "part"), compiled.parts),
    Table("numbers", "packages that take GPUs by number alone", ("distribution", "file"), compiled.numbers),
    Table("allocator", "options of torch's allocator by version", ("option",), compiled.options),
    Table("clouds", "cloud node images and their drivers, by preset", ("preset",), clouds.node_images),
    Table("traced-libraries", "libraries that gpucheck trace reports", ("pattern",), traced.libraries),
    Table("traced-devices", "files that gpucheck trace reports", ("pattern",), traced.devices),
    Table("traced-extras", "modules whose import may fail", ("pattern",), traced.extras),
    Table("traced-helpers", "programs that GPU libraries start", ("name",), traced.helpers),
    Table("driver-places", "folders where driver libraries lie", ("pattern",), kb.driver_places),
    Table("toolkit-places", "folders where CUDA libraries lie", ("pattern",), kb.toolkit_places),
    Table("images", "our base images", ("name",), _of("project.images", "ours")),
    Table("bases", "public base images without CUDA", ("repository",), _of("project.images", "bases")),
)


def list_tables(format: str = "text") -> str:
    """All tables: how many rows, when they were compared with their sources, and what is in them."""
    counted = [(table, table.rows) for table in TABLES]
    if format == "json":
        tables = [
            {
                "table": table.name,
                "title": table.title,
                "rows": len(rows),
                "oldest": str(min(row.checked for row in rows)),
                "newest": str(max(row.checked for row in rows)),
                "stale": bool(kb.stale(rows)),
            }
            for table, rows in counted
        ]
        return json.dumps({"schema": SCHEMA, "tables": tables}, indent=2) + "\n"
    width = max(len(table.name) for table in TABLES)
    lines = [f"{'TABLE':<{width}}  ROWS  CHECKED     WHAT"]
    for table, rows in counted:
        old = " (old)" if kb.stale(rows) else ""
        lines.append(f"{table.name:<{width}}  {len(rows):>4}  {min(row.checked for row in rows)}  {table.title}{old}")
    lines += ["", "One table: gpucheck kb TABLE. Rows that hold all words: gpucheck kb [TABLE] WORD ..."]
    return "\n".join(lines) + "\n"


def search(words: Sequence[str], format: str = "text") -> str:
    """The rows that hold all words; a first word that is a table's name means that table. Raises ``NothingFound``.

    Upper and lower case are the same. A number is found as a whole or as the start of a version: ``12.8`` finds 12.8 and
    12.8.1, not 12.89. ``sm_90`` finds compute capability 9.0, ``R580`` branch 580, a file name the patterns that fit it.
    """
    named = next((table for table in TABLES if words and table.name == words[0].lower()), None)
    wanted = [_pattern(word) for word in (words[1:] if named else words)]
    found = [
        (table, row)
        for table in ((named,) if named else TABLES)
        for row in table.rows
        if all(_holds(table, row, word, pattern) for word, pattern in zip(words[1:] if named else words, wanted))
    ]
    if not found:
        where = f"the table {named.name}" if named else "the knowledge base"
        raise NothingFound(
            f"no row of {where} holds {' and '.join(words[1:] if named else words)}; the tables: gpucheck kb"
        )
    if format == "json":
        rows = [{"table": table.name, **_plain(row)} for table, row in found]
        return json.dumps({"schema": SCHEMA, "rows": rows}, indent=2, ensure_ascii=False) + "\n"
    return "\n".join(_spell(table, row) for table, row in found) + "\n"


def _pattern(word: str) -> re.Pattern[str]:
    if match := re.fullmatch(r"(?:sm|compute)_(\d+)(\d)[af]?", word):
        word = f"{match[1]}.{match[2]}"
    elif re.fullmatch(r"[rR]\d{3}", word):
        word = word[1:]
    escaped = re.escape(word)
    return re.compile(rf"(?<![\d.]){escaped}(?!\d)" if re.fullmatch(r"[\d.]+", word) else escaped, re.IGNORECASE)


def _holds(table: Table, row: kb.Row, word: str, pattern: re.Pattern[str]) -> bool:
    for name, value in _plain(row).items():
        if name in ("source", "checked"):
            continue
        for text in value if isinstance(value, list) else (value,):
            if pattern.search(str(text)) or ("*" in str(text) and fnmatchcase(word, str(text))):
                return True
    return bool(pattern.search(table.name))


def _plain(row: kb.Row) -> dict[str, object]:
    """The fields of a row that say something, as JSON has them."""
    found: dict[str, object] = {}
    for name in fields(type(row)):
        value = getattr(row, name)
        if isinstance(value, tuple):
            value = [str(item) if isinstance(item, _VERSIONS) else item for item in value]
        elif not isinstance(value, (bool, int)) and value is not None:
            value = str(value)
        if value not in (None, "", []):
            found[name] = value
    return found


_VERSIONS = (DriverVersion, CudaVersion, ComputeCapability)
#: Printed on lines of their own.
_BELOW = ("source", "checked", "measured", "confidence", "note")


def _spell(table: Table, row: kb.Row) -> str:
    """``table KEY  field: value; ...``, and below it the note, how it was measured and where it is from."""
    plain = _plain(row)
    key = " ".join(str(plain[name]) for name in table.key if name in plain)
    values = "; ".join(
        f"{name.replace('_', ' ')}: {_text(value)}"
        for name, value in plain.items()
        if name not in (*table.key, *_BELOW)
    )
    lines = [f"{table.name} {key}  {values}".rstrip()]
    if row.note:
        lines.append(f"    {row.note}")
    if row.measured:
        lines.append(f"    measured: {row.measured}")
    return "\n".join([*lines, f"    {row.reference}"])


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
