"""The answers of ``gpucheck libs`` as JSON. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gpucheck.elf.closure import Closure
from gpucheck.elf.resolution import Resolution, considered
from gpucheck.facts import SCHEMA, Library

if TYPE_CHECKING:
    from gpucheck.libs.environment import Environment, Named


def of_closure(closure: Closure, copies: Sequence[Library], target: dict[str, str | None]) -> dict[str, Any]:
    """What a file, a name or an import loads. ``copies``: of what is missing."""
    opened = {id(each.resolution): each for each in closure.opened}
    resolutions = []
    for each in closure.resolutions:
        known = opened.get(id(each))
        resolutions.append(
            {
                **of_resolution(each),
                "when": known.when if known else None,
                "required": known.required if known else True,
                "source": known.source if known else None,
            }
        )
    return {
        "schema": SCHEMA,
        "target": target,
        "linker": closure.linker,
        "resolutions": resolutions,
        "missing": list(dict.fromkeys(each.soname for each in closure.missing if each.path is None)),
        "lacks": [
            {
                "requester": each.requester,
                "soname": each.soname,
                "path": each.path,
                "version": each.version,
                "symbol": each.symbol,
                "message": each.message,
            }
            for each in closure.lacks
        ],
        "shadowed": [
            {"soname": each.soname, "path": each.path, "how": each.how, "by": each.by} for each in closure.shadowed
        ],
        "libraries": [
            {
                "soname": soname,
                "path": None,
                "python": None,
                "copies": [{**_library(each), "how": None} for each in copies if each.soname == soname],
            }
            for soname in dict.fromkeys(each.soname for each in copies)
        ],
        "unread": list(closure.unread),
    }


def of_environment(environment: Environment, missing: tuple[str, ...], target: dict[str, str | None]) -> dict[str, Any]:
    """What the names of GPU libraries give in an environment: twice each, for a plain program and for its Python."""
    resolutions = [
        {**of_resolution(each), "when": None, "required": named.soname in missing, "source": None}
        for named in environment.libraries
        for each in (named.plain, named.python)
    ]
    return {
        "schema": SCHEMA,
        "target": target,
        "linker": environment.linker,
        "resolutions": resolutions,
        "missing": list(missing),
        "lacks": [],
        "shadowed": [
            {"soname": named.soname, "path": copy.library.path, "how": copy.how, "by": named.plain.path}
            for named in environment.libraries
            for copy in named.hidden
        ],
        "libraries": [_named(each) for each in environment.libraries],
        "unread": [],
    }


def of_resolution(resolution: Resolution) -> dict[str, Any]:
    """The record that all witnesses of loading share."""
    return {
        "soname": resolution.soname,
        "requester": resolution.requester,
        "path": resolution.path,
        "how": resolution.how,
        "owner": resolution.owner,
        "edge": resolution.edge,
        "fatal": resolution.fatal,
        "candidates": [{"path": each.path, "skipped": each.skipped, "how": each.how} for each in resolution.candidates],
        "considered": list(considered(resolution)) if resolution.path is None else [],
    }


def _named(named: Named) -> dict[str, Any]:
    return {
        "soname": named.soname,
        "path": named.plain.path,
        "python": named.python.path,
        "copies": [{**_library(copy.library), "how": copy.how or None} for copy in named.copies],
    }


def _library(library: Library) -> dict[str, Any]:
    return {
        "path": library.path,
        "real": library.real,
        "version": library.version,
        "owner": library.owner,
        "kind": library.kind,
    }


def write(document: dict[str, Any]) -> str:
    """The document as text, two spaces a level."""
    import json

    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
