"""pyproject.toml: the [project] table, dependency groups (PEP 735), and what uv and Poetry keep there about indexes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gpucheck.facts import Index, Pyproject, Requirement, Seen, Unseen
from gpucheck.markers import holds
from gpucheck.probes.python import canonical
from gpucheck.project.requirements import index_tag, parse_requirement, tells
from gpucheck.project.text import array, parse_toml, place, string, table, without_credentials
from gpucheck.record import replace

#: What PyTorch's own indexes are asked for; other packages that they mirror come from there too.
PYTORCH = ("torch", "torchvision", "torchaudio")


def parse_pyproject(text: Seen[str]) -> Seen[Pyproject] | Unseen:
    """The text of a pyproject.toml. UNREADABLE for what is no TOML."""
    document = parse_toml(text)
    if isinstance(document, Unseen):
        return document
    project, tool = table(document.value.get("project")), table(document.value.get("tool"))
    uv, poetry = table(tool.get("uv")), table(tool.get("poetry"))
    indexes = (*_uv_indexes(uv, text), *_poetry_indexes(poetry, text))
    written = [*_standard(document.value, text), *_of_poetry(poetry, text, indexes)]
    python = string(project.get("requires-python")) or string(table(poetry.get("dependencies")).get("python"))
    sources = {canonical(name): entries for name, entries in table(uv.get("sources")).items()}
    backend = string(table(uv.get("pip")).get("torch-backend"))
    return Seen(
        Pyproject(
            name=string(project.get("name")) or string(poetry.get("name")),
            python=Seen(python, place(text, "python", python)) if python else None,
            dependencies=len(written),
            requirements=tuple(
                requirement
                for written_here in written
                if tells(written_here.name)
                for requirement in _with_index(written_here, sources.get(written_here.name), indexes, bool(uv))
            ),
            indexes=indexes,
            torch_backend=Seen(backend, place(text, "torch-backend")) if backend else None,
        ),
        place(text, "name", string(project.get("name")) or "name"),
    )


def _standard(document: Mapping[str, Any], text: Seen[str]) -> Iterator[Requirement]:
    project = table(document.get("project"))
    named = [("dependencies", project.get("dependencies"))]
    named += [(f"extra {canonical(name)}", rows) for name, rows in table(project.get("optional-dependencies")).items()]
    named += [(f"group {canonical(name)}", rows) for name, rows in table(document.get("dependency-groups")).items()]
    named += [("group dev", table(table(document.get("tool")).get("uv")).get("dev-dependencies"))]
    for group, rows in named:
        for row in array(rows):
            requirement = parse_requirement(string(row), group, place(text, string(row).replace('"', '\\"')))
            if requirement:
                yield requirement


def _of_poetry(poetry: Mapping[str, Any], text: Seen[str], indexes: tuple[Index, ...]) -> Iterator[Requirement]:
    """https://python-poetry.org/docs/dependency-specification/: a version with carets, or a table with version, extras, source."""
    urls = {index.name: index.url for index in indexes}
    named = [("dependencies", poetry.get("dependencies")), ("group dev", poetry.get("dev-dependencies"))]
    named += [
        (f"group {canonical(name)}", table(group).get("dependencies"))
        for name, group in table(poetry.get("group")).items()
    ]
    for group, rows in named:
        for name, value in table(rows).items():
            if name == "python":
                continue
            row = table(value)
            yield Requirement(
                canonical(name),
                tuple(sorted(canonical(string(extra)) for extra in array(row.get("extras")))),
                string(row.get("version")) or string(value),
                string(row.get("markers")),
                group,
                urls.get(string(row.get("source")), ""),
                place(text, name, "="),
            )


def _uv_indexes(uv: Mapping[str, Any], text: Seen[str]) -> Iterator[Index]:
    """https://docs.astral.sh/uv/concepts/indexes/"""
    for row in map(table, array(uv.get("index"))):
        role = "default" if row.get("default") is True else "explicit" if row.get("explicit") is True else "extra"
        yield _index(string(row.get("name")), string(row.get("url")), role, text)
    pip = table(uv.get("pip"))
    for url in (string(uv.get("index-url")), string(pip.get("index-url"))):
        if url:
            yield _index("", url, "default", text)
    for url in map(string, (*array(uv.get("extra-index-url")), *array(pip.get("extra-index-url")))):
        yield _index("", url, "extra", text)


def _poetry_indexes(poetry: Mapping[str, Any], text: Seen[str]) -> Iterator[Index]:
    """https://python-poetry.org/docs/repositories/: sources are primary (instead of PyPI), supplemental or explicit."""
    for row in map(table, array(poetry.get("source"))):
        role = {"supplemental": "extra", "explicit": "explicit"}.get(string(row.get("priority")), "default")
        yield _index(string(row.get("name")), string(row.get("url")), role, text)


def _index(name: str, url: str, role: str, text: Seen[str]) -> Index:
    return Index(name, without_credentials(url), role, place(text, url))


def _with_index(
    requirement: Requirement, entries: object, indexes: tuple[Index, ...], uv: bool
) -> Iterator[Requirement]:
    """The requirement with the index that [tool.uv.sources] or else the order of the indexes gives it on Linux.

    https://docs.astral.sh/uv/concepts/projects/dependencies/#dependency-sources: one entry or several, each for a marker,
    an extra or a group. Without an entry uv takes the first index that has the package.
    """
    named = {index.name: index.url for index in indexes if index.name}
    found = False
    for entry in map(table, entries if isinstance(entries, list) else [entries]):
        url = named.get(string(entry.get("index")), "") or string(entry.get("url"))
        for kind in ("extra", "group"):
            if entry.get(kind) is not None and requirement.group != f"{kind} {canonical(string(entry[kind]))}":
                url = ""
        if url and holds(string(entry.get("marker"))) is not False:
            found = True
            yield replace(requirement, index=without_credentials(url))
    if not found:
        general = next((index.url for index in indexes if index.role == "default"), "")
        extra = tuple(index.url for index in indexes if index.role == "extra")
        torch = next((url for url in extra if uv and requirement.name in PYTORCH and index_tag(url)), "")
        yield requirement if requirement.index else replace(requirement, index=torch or general, alternatives=extra)
