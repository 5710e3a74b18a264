"""The static prediction against what was seen: a difference is a finding about gpucheck, or about a file that changed."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from gpucheck.elf import Resolution, start
from gpucheck.elf.dlopens import rows
from gpucheck.facts import Difference
from gpucheck.kb.traced import is_library
from gpucheck.record import dataclass, replace
from gpucheck.system.protocol import System
from gpucheck.trace.loader_log import Image
from gpucheck.trace.lookup import Lookup


@dataclass(frozen=True, slots=True)
class Prediction:
    """What ``gpucheck.elf`` says of a process, told only what the program itself decides: the calls of dlopen."""

    resolutions: tuple[Resolution, ...]


def predict(
    system: System,
    program: str,
    image: Image,
    names: Mapping[str, str],
    env: Mapping[str, str],
    cwd: str,
) -> Prediction:
    """Replay the dlopen calls of a process on the static model of its dynamic linker.

    ``names``: paths for what ld.so calls by argv[0]. Raises ``ElfError`` or ``OSError`` for the program itself.
    """
    env = {name: value for name, value in env.items() if name != "LD_LIBRARY_PATH"}
    if image.library_path:
        # As the process had it: a wrapper script may have set it.
        env["LD_LIBRARY_PATH"] = ":".join(image.library_path)
    process = start(system, program, env=env, cwd=cwd)
    for name, caller in image.opened:
        path = names.get(caller, caller)
        opener = next((item for item in process.objects if item.path in (path, caller)), None)
        process.dlopen(name, opener)
    return Prediction(tuple(process.resolutions))


def foresees(opener: str, name: str) -> bool:
    """Whether ``kb/dlopens.toml`` knows that a library opens another by this name."""
    file = opener.rsplit("/", 1)[-1]
    return any(
        # A pattern with a slash speaks of the end of the path.
        (fnmatchcase(opener, f"*/{row.opener}") if "/" in row.opener else fnmatchcase(file, row.opener))
        and fnmatchcase(name, re.sub(r"\{\w+\}", "*", row.opens))
        for row in rows()
    )


def explain(lookups: Sequence[Lookup], prediction: Prediction) -> tuple[Lookup, ...]:
    """Say whose list it was: where directories are shared ld.so names the first owner (``Attempt.owner``), the model knows
    the real one. Only where both found the same file.
    """
    known: dict[tuple[str | None, str], Resolution] = {}
    for each in prediction.resolutions:
        if each.how != "resident":
            known.setdefault((each.requester, each.soname), each)
    explained = []
    for lookup in lookups:
        match = known.get((lookup.requester, lookup.soname))
        if match and match.path and _same(match.path, lookup.path) and lookup.how not in ("resident", "not found"):
            lookup = replace(lookup, how=match.how, owner=match.owner)
        explained.append(lookup)
    return tuple(explained)


def compare(predicted: Prediction, observed: Sequence[Lookup]) -> tuple[Difference, ...]:
    """Every GPU library for which the model and the dynamic linker do not agree. Pure."""
    differences: list[Difference] = []
    outcomes: dict[tuple[str | None, str], Resolution] = {}
    for each in predicted.resolutions:
        key = (each.requester, each.soname)
        if key not in outcomes or outcomes[key].how == "resident":
            outcomes[key] = each
    for lookup in observed:
        if lookup.requester is None:
            continue
        forecast = outcomes.get((lookup.requester, lookup.soname))
        seen = lookup.path if lookup.path and not lookup.fatal else None
        if forecast is None:
            differences.append(Difference(lookup.soname, lookup.requester, "not asked for", seen or "not found"))
        else:
            said = None if forecast.fatal else forecast.path
            # What lacks a symbol is found all the same: the search was right.
            found = lookup.path if lookup.fatal and not forecast.fatal else seen
            if not _same(said, found):
                differences.append(
                    Difference(lookup.soname, lookup.requester, said or "not found", found or "not found")
                )
        opener = lookup.requester
        if lookup.edge == "dlopen" and is_library(opener) and not foresees(opener, lookup.soname):
            differences.append(Difference(lookup.soname, opener, "not known to be opened by it", "opened"))
    seen_paths = {posixpath.normpath(lookup.path) for lookup in observed if lookup.path}
    for each in predicted.resolutions:
        if each.path is None or each.how in ("resident", "target") or each.fatal or not is_library(each.path):
            continue
        if posixpath.normpath(each.path) not in seen_paths:
            differences.append(Difference(each.soname, each.requester, each.path, "not loaded"))
    return tuple(dict.fromkeys(differences))


def _same(one: str | None, other: str | None) -> bool:
    if one is None or other is None:
        return one is other
    return posixpath.normpath(one) == posixpath.normpath(other)
