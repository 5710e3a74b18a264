"""A closure as text: the tree with how each file was found, then what is wrong with it. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from gpucheck.elf.closure import Closure, Opened
from gpucheck.elf.links import Lack
from gpucheck.elf.resolution import Resolution, considered

#: The C and C++ runtime, which every program has: not shown unless something is wrong with it.
RUNTIME = re.compile(r"(ld-linux.*|lib(c|m|dl|rt|pthread|util|gcc_s|stdc\+\+)|linux-vdso.*)\.so\b.*|libc\.musl.*")


NOWHERE: Mapping[str, Sequence[str]] = {}


def render(
    closure: Closure,
    *,
    everything: bool = False,
    base: str | None = None,
    normal: Callable[[str], str] = lambda soname: "",
    elsewhere: Mapping[str, Sequence[str]] = NOWHERE,
) -> str:
    """The whole text.

    ``everything``: also requests for what was already loaded, the C and C++ runtime, and extension modules that load
    nothing else. ``base``: a folder that is written as … in the tree. ``normal``: why the absence of a library says nothing
    here, '' when it does. ``elsewhere``: copies of missing libraries that the search does not come by.
    """
    tree = _Tree(closure, everything, base)
    lines = [closure.target, *([f"… is {base}"] if base else []), *tree.branches(closure.top, "")]
    hidden = {each.path for each in closure.resolutions if each.path and not _shown(each, everything)}
    if not everything and (runtime := sum(1 for path in hidden if path and RUNTIME.fullmatch(path.rsplit("/", 1)[-1]))):
        lines.append(f"({runtime} libraries of the C and C++ runtime are not shown)")
    for block in (
        _missing(closure, tree, normal, elsewhere),
        _lacks(closure, tree),
        _shadowed(closure, base),
        _oddities(closure, base),
        closure.unread,
    ):
        if paragraph := list(block):
            lines += ["", *paragraph]
    return "\n".join(lines) + "\n"


def how(resolution: Resolution) -> str:
    """``RPATH of libtorch.so``, ``LD_LIBRARY_PATH``, ``default directory``, ..."""
    if resolution.how in ("RPATH", "RUNPATH") and resolution.owner:
        return f"{resolution.how} of {_name(resolution.owner)}"
    return {"default": "default directory", "resident": "already loaded", "path": "by its path"}.get(
        resolution.how, resolution.how
    )


class _Tree:
    """The requests below those who made them."""

    def __init__(self, closure: Closure, everything: bool, base: str | None) -> None:
        self.everything = everything
        self.base = base
        self.opened = {id(each.resolution): each for each in closure.opened}
        self.children: dict[str | None, list[Resolution]] = {}
        for each in closure.resolutions:
            self.children.setdefault(each.requester, []).append(each)

    def branches(self, path: str | None, indent: str, depth: int = 0) -> Iterator[str]:
        shown = [each for each in self.children.get(path, ()) if _shown(each, self.everything)]
        plain = [each for each in shown if self._is_plain(each)]
        if len(plain) > 1:
            shown = [each for each in shown if each not in plain]
        for number, each in enumerate(shown, 1):
            last = number == len(shown) and len(plain) < 2
            yield f"{indent}{'└── ' if last else '├── '}{_line(each, self.opened.get(id(each)), self.base)}"
            if each.path and each.how != "resident" and depth < 200:
                yield from self.branches(each.path, indent + ("    " if last else "│   "), depth + 1)
        if len(plain) > 1:
            yield f"{indent}└── {len(plain)} extension modules that load nothing else"

    def shorten(self, text: str) -> str:
        """Text with the folder that is written as …"""
        return text.replace(f"{self.base}/", "…/") if self.base else text

    def _is_plain(self, each: Resolution) -> bool:
        """Whether it is an extension module of which there is nothing to say."""
        opened = self.opened.get(id(each))
        if (
            self.everything
            or opened is None
            or not opened.when.startswith("import ")
            or each.path is None
            or each.fatal
        ):
            return False
        return not any(_shown(below, False) for below in self.children.get(each.path, ()))


def _shown(resolution: Resolution, everything: bool) -> bool:
    if everything or resolution.path is None or resolution.fatal:
        return True
    return resolution.how != "resident" and not RUNTIME.fullmatch(_name(resolution.soname))


def _line(resolution: Resolution, opened: Opened | None, base: str | None) -> str:
    edge = (
        f" ({resolution.edge}: {opened.when})"
        if opened
        else ""
        if resolution.edge == "needed"
        else f" ({resolution.edge})"
    )
    name = resolution.soname
    if resolution.path is None:
        absent = "not found" if resolution.fatal is None else "cannot be loaded"
        return f"{_brief(name, base)}{edge}: {absent}{', which is normal' if opened and not opened.required else ''}"
    broken = f": {_why(resolution.fatal)}" if resolution.fatal else ""
    shown = _name(name) if name == resolution.path else name
    return f"{shown}{edge} => {_brief(resolution.path, base)} [{how(resolution)}]{broken}"


def _why(fatal: str) -> str:
    """What is wrong with a file, shortly where it is a missing library, of which more is said elsewhere."""
    name, colon, _ = fatal.partition(": cannot open shared object file, needed by ")
    return f"cannot be loaded without {name}" if colon else fatal


def _brief(path: str, base: str | None) -> str:
    return f"…{path[len(base) :]}" if base and path.startswith(f"{base}/") else path


def _missing(
    closure: Closure, tree: _Tree, normal: Callable[[str], str], elsewhere: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """Each missing name once, with who asks for it and every place that was passed over; together what looks the same."""
    by_name: dict[str, list[Resolution]] = {}
    for each in closure.missing:
        if each.path is None:
            by_name.setdefault(each.soname, []).append(each)
    alike: dict[tuple[str, ...], list[str]] = {}
    for soname, asked in by_name.items():
        first = asked[0]
        others = list(dict.fromkeys(_name(each.requester) for each in asked[1:] if each.requester))
        also = f" (also {', '.join(others)})" if others else ""
        asker = _brief(first.requester, tree.base) if first.requester else "the program"
        by = f"{'opened' if first.edge == 'dlopen' else 'needed'} by {asker}{also}"
        if (reason := normal(soname)) and not tree.everything:
            alike.setdefault((f", {reason}; {by}",), []).append(soname)
            continue
        source = f"(known from {tree.opened[id(first)].source})" if id(first) in tree.opened else ""
        places = tuple(tree.shorten(line).replace(soname, "NAME") for line in considered(first))
        alike.setdefault((f"; {by}. Looked at, in this order:", source, *places), []).append(soname)
    for (head, *rest), names in alike.items():
        yield f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} not there{head}"
        if not rest:
            continue
        source, *lines = rest
        for number, line in enumerate(lines, 1):
            yield f"  {number}. {line.replace('NAME', names[0]) if len(names) == 1 else line}"
        if source:
            yield f"  {source}"
        for copy in (each for name in names for each in elsewhere.get(name, ())):
            yield f"  There is {tree.shorten(copy)}, which the search does not come by"


def _lacks(closure: Closure, tree: _Tree) -> Iterator[str]:
    """The dynamic linker's own words for the first symbol that one file lacks in another; it stops there."""
    alike: dict[tuple[str, str | None, bool], list[Lack]] = {}
    for lack in closure.lacks:
        alike.setdefault((lack.requester, lack.path, lack.symbol is None), []).append(lack)
    for lacks in alike.values():
        first, *others = lacks
        for lack in lacks if tree.everything else (first,):
            yield lack.message
        if others and not tree.everything:
            count = len(others)
            yield f"  and {count} more {'symbol' if first.symbol else 'version'}{'' if count == 1 else 's'} (listed with --all)"
        if first.path and first.symbol:
            found = next(
                (each for each in closure.resolutions if each.path == first.path and each.how != "resident"), None
            )
            where = f" [{how(found)}]" if found else ""
            yield f"  {first.soname} is {tree.shorten(first.path)}{where}, which does not define it"


def _shadowed(closure: Closure, base: str | None) -> Iterator[str]:
    for each in closure.shadowed:
        if not RUNTIME.fullmatch(each.soname):
            yield f"{each.soname}: {_brief(each.by, base)} hides {_brief(each.path, base)} ({each.how})"


def _oddities(closure: Closure, base: str | None) -> Iterator[str]:
    for each in dict.fromkeys(closure.oddities):
        odd = each.candidate
        yield f"{each.soname}: {_brief(odd.path, base)} ({odd.how}) is passed over: {odd.skipped}"


def _name(path: str) -> str:
    return path.rsplit("/", 1)[-1]
