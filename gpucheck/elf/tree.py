"""A closure as text: the tree with how each file was found, then what is wrong with it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpucheck.elf.closure import Closure, Opened
from gpucheck.elf.resolution import Resolution, considered

#: The C and C++ runtime, which every program has: not shown unless something is wrong with it.
RUNTIME = re.compile(r"(ld-linux.*|lib(c|m|dl|rt|pthread|util|gcc_s|stdc\+\+)|linux-vdso.*)\.so\b.*|libc\.musl.*")


def render(closure: Closure, *, everything: bool = False) -> str:
    """The whole text. ``everything``: also requests for what was already loaded, and the C and C++ runtime."""
    opened = {id(each.resolution): each for each in closure.opened}
    children: dict[str | None, list[Resolution]] = {}
    for each in closure.resolutions:
        children.setdefault(each.requester, []).append(each)
    lines = [closure.target, *_branches(closure.target, children, opened, "", everything)]
    hidden = {each.path for each in closure.resolutions if each.path and not _shown(each, everything)}
    if not everything and (runtime := sum(1 for path in hidden if path and RUNTIME.fullmatch(path.rsplit("/", 1)[-1]))):
        lines.append(f"({runtime} libraries of the C and C++ runtime are not shown)")
    for block in (_missing(closure, opened), _lacks(closure), _shadowed(closure), closure.unread):
        if paragraph := list(block):
            lines += ["", *paragraph]
    return "\n".join(lines) + "\n"


def how(resolution: Resolution) -> str:
    """``RPATH of libtorch.so``, ``LD_LIBRARY_PATH``, ``default directory``, ..."""
    if resolution.how in ("RPATH", "RUNPATH") and resolution.owner:
        return f"{resolution.how} of {_name(resolution.owner)}"
    return {"default": "default directory", "resident": "already loaded"}.get(resolution.how, resolution.how)


def _branches(
    path: str,
    children: dict[str | None, list[Resolution]],
    opened: dict[int, Opened],
    indent: str,
    everything: bool,
    depth: int = 0,
) -> Iterator[str]:
    shown = [each for each in children.get(path, ()) if _shown(each, everything)]
    for number, each in enumerate(shown, 1):
        last = number == len(shown)
        yield f"{indent}{'└── ' if last else '├── '}{_line(each, opened.get(id(each)))}"
        if each.path and each.how != "resident" and depth < 200:
            further = indent + ("    " if last else "│   ")
            yield from _branches(each.path, children, opened, further, everything, depth + 1)


def _shown(resolution: Resolution, everything: bool) -> bool:
    if everything or resolution.path is None or resolution.fatal:
        return True
    return resolution.how != "resident" and not RUNTIME.fullmatch(_name(resolution.soname))


def _line(resolution: Resolution, opened: Opened | None) -> str:
    edge = (
        f" ({resolution.edge}: {opened.when})"
        if opened
        else ""
        if resolution.edge == "needed"
        else f" ({resolution.edge})"
    )
    if resolution.path is None:
        absent = "not found" if resolution.fatal is None else "cannot be loaded"
        return f"{resolution.soname}{edge}: {absent}{', which is normal' if opened and not opened.required else ''}"
    broken = f": {resolution.fatal}" if resolution.fatal else ""
    return f"{resolution.soname}{edge} => {resolution.path} [{how(resolution)}]{broken}"


def _missing(closure: Closure, opened: dict[int, Opened]) -> Iterator[str]:
    """Each missing name once, with who asks for it and every place that was passed over."""
    by_name: dict[str, list[Resolution]] = {}
    for each in closure.missing:
        if each.path is None:
            by_name.setdefault(each.soname, []).append(each)
    for soname, asked in by_name.items():
        first = asked[0]
        others = list(dict.fromkeys(_name(each.requester) for each in asked[1:] if each.requester))
        also = f" (also {', '.join(others)})" if others else ""
        verb = "opened by" if first.edge == "dlopen" else "needed by"
        yield f"{soname} is not there; {verb} {first.requester or 'the program'}{also}. Looked at, in this order:"
        for number, line in enumerate(considered(first), 1):
            yield f"  {number}. {line}"
        if id(first) in opened:
            yield f"  (known from {opened[id(first)].source})"


def _lacks(closure: Closure) -> Iterator[str]:
    for lack in closure.lacks:
        yield lack.message
        if lack.path and lack.symbol:
            yield f"  {lack.soname} is {lack.path}, which does not define it"


def _shadowed(closure: Closure) -> Iterator[str]:
    for each in closure.shadowed:
        if not RUNTIME.fullmatch(each.soname):
            yield f"{each.soname}: {each.by} hides {each.path} ({each.how})"


def _name(path: str) -> str:
    return path.rsplit("/", 1)[-1]
