"""Lock files: uv.lock, poetry.lock, pylock.toml (PEP 751), and requirements files that pin everything.

Of the packages only those stay that matter here and that Linux on x86-64 gets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from gpucheck.facts import Lock, Locked, RequirementsFile, Seen, Unseen
from gpucheck.markers import holds
from gpucheck.probes.python import canonical
from gpucheck.project.requirements import tells
from gpucheck.project.text import array, parse_toml, string, table, without_credentials

_Row = Mapping[str, Any]


def parse_lock(kind: str, text: Seen[str]) -> Seen[Lock] | Unseen:
    """A lock file by its name. UNREADABLE for what is no TOML or holds no packages."""
    document = parse_toml(text)
    if isinstance(document, Unseen):
        return document
    rows = [table(row) for row in array(document.value.get("packages" if kind == "pylock.toml" else "package"))]
    lines = _lines(text)
    read = {"uv.lock": _uv, "poetry.lock": _poetry, "pylock.toml": _pylock}[kind]
    return Seen(Lock(kind, len(rows), tuple(read(rows, lines, text.source))), text.source)


def lock_of(file: RequirementsFile) -> Lock:
    """A requirements file that pins every line, as a lock."""
    packages = tuple(
        Locked(
            requirement.name,
            requirement.specifier.lstrip("= "),
            requirement.index or next(iter(requirement.alternatives), ""),
            (file.path,),
            (),
            (),
            requirement.source,
        )
        for requirement in file.requirements
        if holds(requirement.marker) is not False
    )
    return Lock(file.path, len(packages), packages)


def _lines(text: Seen[str]) -> dict[tuple[str, str], int]:
    """Where a package with a name and a version starts: the tools write both lines together."""
    lines = text.value.splitlines()
    found: dict[tuple[str, str], int] = {}
    for number, (line, following) in enumerate(pairwise(lines), 1):
        if line.startswith("name = ") and following.startswith("version = "):
            found.setdefault((line[8:-1], following[11:-1]), number)
    return found


def _locked(
    row: _Row, index: str, groups: tuple[str, ...], needs: tuple[str, ...], markers: tuple[str, ...],
    lines: dict[tuple[str, str], int], source: str,
) -> Locked:  # fmt: skip
    name, version = string(row.get("name")), string(row.get("version"))
    number = lines.get((name, version))
    return Locked(canonical(name), version, index, groups, needs, markers, f"{source}:{number}" if number else source)


# -- uv ----------------------------------------------------------------------------------------------------------------


def _uv(rows: list[_Row], lines: dict[tuple[str, str], int], source: str) -> Iterator[Locked]:
    """Walk from the project's own packages along every dependency that Linux on x86-64 has.

    Read off uv.lock, version 1: a dependency names version and source where a name alone is ambiguous; [package.optional-
    dependencies] are extras, [package.dev-dependencies] are groups.
    """
    by_name: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        by_name.setdefault(string(row.get("name")), []).append(number)
    reached: dict[tuple[int, frozenset[str]], list[str]] = {}
    for number in _own(rows):
        for group, edges in _groups(rows[number]):
            for key in _walk(rows, by_name, edges):
                groups = reached.setdefault(key, [])
                if group not in groups:
                    groups.append(group)
    for (number, extras), groups in sorted(reached.items(), key=lambda found: (found[0][0], sorted(found[0][1]))):
        row = rows[number]
        name = string(row.get("name"))
        if not tells(canonical(name)):
            continue
        edges = _edges(row, extras)
        needs = sorted(
            f"{rows[target].get('name')} {rows[target].get('version')}"
            for edge in edges
            for target in _targets(rows, by_name, edge)
            if tells(canonical(string(rows[target].get("name"))))
        )
        index = without_credentials(string(table(row.get("source")).get("registry")))
        markers = tuple(map(string, array(row.get("resolution-markers"))))
        yield _locked(row, index, tuple(groups), tuple(dict.fromkeys(needs)), markers, lines, source)


def _own(rows: list[_Row]) -> list[int]:
    local = [number for number, row in enumerate(rows) if {"editable", "virtual"} & table(row.get("source")).keys()]
    here = [
        number for number in local if "." in [string(value) for value in table(rows[number].get("source")).values()]
    ]
    return here or local


def _groups(row: _Row) -> Iterator[tuple[str, list[_Row]]]:
    yield "dependencies", [table(edge) for edge in array(row.get("dependencies"))]
    for kind, field in (("extra", "optional-dependencies"), ("group", "dev-dependencies")):
        for name, edges in table(row.get(field)).items():
            yield f"{kind} {canonical(name)}", [table(edge) for edge in array(edges)]


def _edges(row: _Row, extras: frozenset[str]) -> list[_Row]:
    optional = table(row.get("optional-dependencies"))
    found = [table(edge) for edge in array(row.get("dependencies"))]
    found += [table(edge) for extra in sorted(extras) for edge in array(optional.get(extra))]
    return found


def _targets(rows: list[_Row], by_name: dict[str, list[int]], edge: _Row) -> list[int]:
    if holds(string(edge.get("marker"))) is False:
        return []
    return [
        number
        for number in by_name.get(string(edge.get("name")), [])
        if ("version" not in edge or rows[number].get("version") == edge["version"])
        and ("source" not in edge or rows[number].get("source") == edge["source"])
        and _fits(rows[number])
    ]


def _fits(row: _Row) -> bool:
    markers = array(row.get("resolution-markers"))
    return not markers or any(holds(string(marker)) is not False for marker in markers)


def _walk(rows: list[_Row], by_name: dict[str, list[int]], edges: list[_Row]) -> set[tuple[int, frozenset[str]]]:
    """Every package that is reached, each with the extras that are asked of it."""
    wanted: dict[int, frozenset[str]] = {}
    todo = list(edges)
    while todo:
        edge = todo.pop()
        extras = frozenset(map(string, array(edge.get("extra"))))
        for target in _targets(rows, by_name, edge):
            known = wanted.get(target)
            if known is not None and extras <= known:
                continue
            wanted[target] = (known or frozenset()) | extras
            todo += _edges(rows[target], wanted[target])
    return set(wanted.items())


# -- others ------------------------------------------------------------------------------------------------------------


def _poetry(rows: list[_Row], lines: dict[tuple[str, str], int], source: str) -> Iterator[Locked]:
    """poetry.lock, version 2: groups are listed with each package, optional packages are for extras."""
    versions = {canonical(string(row.get("name"))): string(row.get("version")) for row in rows}
    for row in rows:
        marker = row.get("markers")
        if not tells(canonical(string(row.get("name")))) or (isinstance(marker, str) and holds(marker) is False):
            continue
        needs = sorted(
            f"{canonical(name)} {versions[canonical(name)]}"
            for name, wanted in table(row.get("dependencies")).items()
            if tells(canonical(name)) and canonical(name) in versions
            if holds(string(table(wanted).get("markers"))) is not False and table(wanted).get("optional") is not True
        )
        groups = tuple(
            "dependencies" if group == "main" else f"group {group}" for group in map(string, array(row.get("groups")))
        )
        index = without_credentials(string(table(row.get("source")).get("url")))
        yield _locked(row, index, () if row.get("optional") is True else groups, tuple(needs), (), lines, source)


def _pylock(rows: list[_Row], lines: dict[tuple[str, str], int], source: str) -> Iterator[Locked]:
    """https://packaging.python.org/en/latest/specifications/pylock-toml/"""
    for row in rows:
        marker = string(row.get("marker"))
        if tells(canonical(string(row.get("name")))) and holds(marker) is not False:
            index = without_credentials(string(row.get("index")))
            yield _locked(row, index, (), (), (marker,) if marker else (), lines, source)
