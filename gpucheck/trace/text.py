"""A trace for a person: the tree of what was loaded and why, what was not found, device nodes, helpers. Pure."""

from __future__ import annotations

import shlex
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence

from gpucheck.elf.resolution import Candidate
from gpucheck.elf.tree import RUNTIME
from gpucheck.render.text import WIDTH
from gpucheck.trace.loader_log import HWCAPS
from gpucheck.trace.lookup import Device, Lookup, ProcessSeen, Trace

BOLD, DIM, RED = "1", "2", "31"
#: Wider names are not aligned to.
NAME_WIDTH = 48
WITNESSES = {"ld-debug": "LD_DEBUG of the dynamic linker", "strace": "strace"}
HOW = {
    "path": "by its path",
    "default": "default directory",
    "resident": "already loaded",
    "unknown": "strace does not tell why",
}
LISTS = {"default": "default directories"}
#: More folders of one list, and more processes of one kind, are counted.
FOLDERS = 4
PROCESSES = 8


def render(trace: Trace, *, everything: bool, colour: bool) -> str:
    """The whole text. ``everything``: every attempt, requests for what was loaded already, and what is missing normally."""
    pen = _Pen(colour)
    base = None if everything else common_folder([each.path for each in trace.lookups if each.path])
    blocks = [
        list(_head(trace, pen)),
        *_trees(trace, everything, pen, base),
        list(_missing(trace, everything, pen, base)),
        list(_devices(trace.devices, pen)),
        list(_helpers(trace, pen)),
    ]
    if trace.witnesses and not trace.lookups:
        blocks.insert(1, ["It looked for no GPU library."])
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


class _Pen:
    def __init__(self, colour: bool) -> None:
        self.colour = colour

    def __call__(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and text else text


def how(lookup: Lookup) -> str:
    """``RPATH of libtorch.so``, ``LD_LIBRARY_PATH``, ``default directory``, ..."""
    if lookup.how in ("RPATH", "RUNPATH") and lookup.owner:
        return f"{lookup.how} of {_name(lookup.owner)}"
    return HOW.get(lookup.how, lookup.how)


def _head(trace: Trace, pen: _Pen) -> Iterator[str]:
    yield pen(f"gpucheck trace: {shlex.join(trace.command)}", BOLD)
    ended = f"killed by {trace.signal}, exit status {trace.status}" if trace.signal else f"exit status {trace.status}"
    count = len(trace.processes)
    programs = f"{count} program{'' if count == 1 else 's'} seen, " if count else ""
    by = " and ".join(WITNESSES[witness] for witness in trace.witnesses)
    yield f"  {ended} after {trace.seconds:.1f} s; {programs}{f'watched by {by}' if by else 'watched by nothing'}"
    for note in trace.notes:
        yield f"  {note}"
    for process in trace.processes:
        if process.last_error:
            yield f"  {pen('✗', RED)} {_name(process.program)} ({process.pid}) ended with: {process.last_error}"


def common_folder(paths: Sequence[str]) -> str | None:
    """The folder that most of the paths are below, when it is long enough to be worth an abbreviation."""
    counts: Counter[str] = Counter()
    for path in paths:
        folder = path.rpartition("/")[0]
        while folder.count("/") >= 3:
            counts[folder] += 1
            folder = folder.rpartition("/")[0]
    best = max(counts, key=lambda folder: (counts[folder] * len(folder), len(folder)), default=None)
    return best if best and counts[best] >= 3 and len(best) >= 20 else None


def _trees(trace: Trace, everything: bool, pen: _Pen, base: str | None) -> Iterator[list[str]]:
    """Each tree once, with all the processes that it was the same in: the workers of a training are many."""
    same: dict[tuple[str, ...], list[ProcessSeen]] = {}
    by_process: dict[int, list[Lookup]] = {}
    for each in trace.lookups:
        if _shown(each, trace, everything):
            by_process.setdefault(each.process, []).append(each)
    for index in sorted(by_process):
        tree = (trace.processes[index].program, *_tree(by_process[index], pen, base))
        same.setdefault(tree, []).append(trace.processes[index])
    for (program, *lines), processes in same.items():
        yield [_process(program, processes, pen), *lines]


def _tree(lookups: Sequence[Lookup], pen: _Pen, base: str | None) -> Iterator[str]:
    """One process: a library stands below the one that asked for it first."""
    paths: set[str | None] = set()
    children: dict[str | None, list[Lookup]] = {}
    for each in lookups:
        children.setdefault(each.requester if each.requester in paths else None, []).append(each)
        if each.path and each.how != "resident":
            paths.add(each.path)
    if base and any(path and path.startswith(f"{base}/") for path in paths):
        yield pen(f"… is {base}", DIM)
    yield from _branches(None, children, "", base, pen, set())


def _process(program: str, processes: Sequence[ProcessSeen], pen: _Pen) -> str:
    if len(processes) == 1:
        return f"{pen(program, BOLD)} (process {processes[0].pid}{', forked' if processes[0].forked else ''})"
    numbers = [str(process.pid) for process in processes[:PROCESSES]]
    more = f" and {len(processes) - PROCESSES} more" if len(processes) > PROCESSES else ""
    return f"{pen(program, BOLD)} (processes {', '.join(numbers)}{more})"


def _shown(lookup: Lookup, trace: Trace, everything: bool) -> bool:
    if everything:
        return True
    if lookup.path is None or lookup.fatal:
        return lookup in trace.missing
    return lookup.how != "resident" and not RUNTIME.fullmatch(_name(lookup.soname))


def _branches(
    parent: str | None,
    children: dict[str | None, list[Lookup]],
    indent: str,
    base: str | None,
    pen: _Pen,
    done: set[str | None],
) -> Iterator[str]:
    if parent in done or len(indent) > 400:
        return
    done.add(parent)
    shown = children.get(parent, [])
    labels = [_label(each, parent is None) for each in shown]
    width = max((len(label) for label in labels if len(label) <= NAME_WIDTH), default=0)
    for number, (each, label) in enumerate(zip(shown, labels), 1):
        last = number == len(shown)
        yield f"{indent}{'└── ' if last else '├── '}{label:<{width}} {_outcome(each, base, pen)}"
        if each.path and each.how != "resident":
            yield from _branches(each.path, children, indent + ("    " if last else "│   "), base, pen, done)


def _label(lookup: Lookup, top: bool) -> str:
    name = _name(lookup.soname)
    if lookup.edge == "dlopen":
        return f"{name} (dlopen{f' by {_short(lookup.requester)}' if top and lookup.requester else ''})"
    return f"{name} (needed by {_short(lookup.requester)})" if top and lookup.requester else name


def _outcome(lookup: Lookup, base: str | None, pen: _Pen) -> str:
    if lookup.path is None:
        tried = len(lookup.candidates)
        places = f", {tried} file{'' if tried == 1 else 's'} tried" if tried else ""
        return f"=> {pen('not found', RED)}{places}"
    broken = f": {pen('could not be loaded', RED)}" if lookup.fatal else ""
    return f"=> {_brief(lookup.path, base)} {pen(f'[{how(lookup)}]', DIM)}{broken}"


def _missing(trace: Trace, everything: bool, pen: _Pen, base: str | None) -> Iterator[str]:
    """Each name once, with all who asked for it."""
    by_name: dict[str, list[Lookup]] = {}
    missing = trace.missing
    for each in missing:
        by_name.setdefault(each.soname, []).append(each)
    # What could not be loaded for want of another library follows from that one.
    wanting = {each.requester for each in missing if each.path is None and each.requester}
    for asked in by_name.values():
        if all(each.fatal and each.path in wanting for each in asked):
            continue
        yield from _missing_name(asked, everything, pen, base)
    if everything:
        normal = sorted({each.soname for each in trace.lookups if each.path is None and each not in missing})
        if normal:
            yield f"Looked for and not there, which is normal: {', '.join(normal)}"


def _missing_name(asked: Sequence[Lookup], everything: bool, pen: _Pen, base: str | None) -> Iterator[str]:
    # The one that tried most: glibc does not try again what it knows not to be there.
    first = max(asked, key=lambda each: len(each.candidates))
    who = list(dict.fromkeys(_short(each.requester) for each in asked if each.requester))
    times = sum(each.times for each in asked)
    by = f"; asked for by {', '.join(who)}" if who else ""
    often = f", {times} times" if times > max(len(who), 1) else ""
    if first.fatal:
        yield f"{pen('✗', RED)} {first.soname} was found and could not be loaded{by}{often}"
        yield f"    {first.path}"
        yield f"    {first.fatal}"
        return
    yield f"{pen('✗', RED)} {first.soname} was not found{by}{often}"
    if everything:
        for number, candidate in enumerate(first.candidates, 1):
            yield f"    {number:>3}. {candidate.how}: {candidate.path}: {candidate.skipped}"
        return
    odd = [each for each in first.candidates if not each.skipped.startswith(("not there", "no such directory"))]
    for candidate in odd[:5]:
        yield f"    {candidate.path}: {candidate.skipped}"
    if first.candidates:
        files = len(first.candidates)
        listed = f"{files} file{'' if files == 1 else 's'}"
        yield from textwrap.wrap(
            f"looked in {_places(first.candidates, base)}: {listed}{', listed with --all' if files > 1 else ''}",
            WIDTH,
            initial_indent="    ",
            subsequent_indent="      ",
            break_long_words=False,
            break_on_hyphens=False,
        )


def _places(candidates: Sequence[Candidate], base: str | None) -> str:
    """The folders by the lists that led there, without their subdirectories for processors."""
    lists: dict[str, dict[str, None]] = {}
    for each in candidates:
        if each.how == "default" and "ld.so.cache" not in lists:
            # It has always been asked before; a name that it does not have leaves no trace.
            lists["ld.so.cache"] = {}
        lists.setdefault(each.how, {})[_brief(HWCAPS.sub("", each.path.rpartition("/")[0]) or "/", base)] = None
    parts = []
    for how, folders in lists.items():
        some = list(folders)[:FOLDERS]
        more = f" and {len(folders) - FOLDERS} more" if len(folders) > FOLDERS else ""
        if how == "ld.so.cache":
            parts.append("ld.so.cache")
        elif how in ("path", "unknown"):
            parts.append(f"{', '.join(some)}{more}")
        else:
            parts.append(f"{', '.join(some)}{more} ({LISTS.get(how, how)})")
    return "; ".join(parts)


def _devices(devices: Sequence[Device], pen: _Pen) -> Iterator[str]:
    if not devices:
        return
    watched = all(device.source == "strace" for device in devices)
    yield (
        "Device nodes that were opened"
        if watched
        else ("Device nodes, opened by gpucheck afterwards (--backend both shows what the command itself opens)")
    )
    width = max(len(device.path) for device in devices)
    for device in devices:
        outcome = pen(device.error, RED) if device.error else "opens"
        yield f"  {device.path:<{width}}  {outcome}{f'  {device.times} times' if device.times > 1 else ''}"


def _helpers(trace: Trace, pen: _Pen) -> Iterator[str]:
    if not trace.helpers:
        return
    yield "Programs that were started"
    width = max(len(each.path) for each in trace.helpers)
    for each in trace.helpers:
        outcome = f"  {pen(each.error, RED)}" if each.error else ""
        often = f"  {each.times} times" if each.times > 1 else ""
        yield f"  {each.path:<{width}}  {each.why}{outcome}{often}"


def _brief(path: str, base: str | None) -> str:
    return f"…{path[len(base) :]}" if base and path.startswith(f"{base}/") else path


def _name(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def _short(path: str | None) -> str:
    """A file name; of a Python extension module without the platform in it."""
    name = _name(path or "?")
    module, tag, _ = name.partition(".cpython-")
    return f"{module}.so" if tag else name
