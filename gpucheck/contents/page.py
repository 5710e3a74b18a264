"""The report on an image for a person. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from gpucheck.contents.libraries import is_toolkit_library
from gpucheck.contents.records import Code, Contents, Copy, NamedLibrary
from gpucheck.contract import Contract
from gpucheck.facts import Framework, Seen, Snapshot
from gpucheck.finding import Report, Status, Verdict
from gpucheck.render.text import BOLD, DIM, VERDICTS, Paint, painter, show_finding, show_verdict, wrapped

#: Columns of the name before a fact.
MARGIN: Final = 26
#: Requesters that are named for a library; the others are counted.
NAMED: Final = 2
#: Layers below this part of the image are summed up.
SMALL_LAYER: Final = 100


def render(report: Report, contents: Contents, *, colour: bool, everything: bool = False) -> str:
    """The whole page. ``everything``: also small layers, and GPU code of NVIDIA's own libraries."""
    paint = painter(colour)
    lines = [paint(title(contents), BOLD), ""]
    for finding in report.findings:
        lines += [*show_finding(finding, paint), ""]
    for head, rows in (
        ("What it needs of a node", _needs(contents, paint)),
        ("What is in it", _rows(_system(report.snapshot, contents))),
        ("CUDA libraries", _libraries(contents, paint)),
        (f"Twice in it: {size(contents.wasted)} of copies", _twice(contents) if contents.wasted else ()),
        ("GPU code", _code(contents, everything)),
        ("Layers", _layers(contents, everything)),
        ("Could not be read", [f"  {line}" for line in contents.unread]),
    ):
        if block := list(rows):
            lines += [paint(head, BOLD), *block, ""]
    lines += _unknown(report)
    lines += show_verdict(report, paint)
    return "\n".join(lines) + "\n"


def render_labels(contents: Contents, contract: Contract | None, verdict: Verdict, *, colour: bool) -> str:
    """What the labels alone tell."""
    paint = painter(colour)
    lines = [paint(title(contents), BOLD), ""]
    if contract is None:
        lines += [*wrapped(f"? {contents.unread[0]}", "", "  "), ""]
    else:
        lines += [paint("What it needs of a node, by its labels", BOLD), *_needs(contents, paint), ""]
        for mark, rules in (("✗", contract.broken), ("!", contract.limits)):
            lines += [f"{mark} {rule}, whatever the node is (more: gpucheck explain {rule})" for rule in rules]
        lines += [""] if contract.broken or contract.limits else []
    lines += [paint(f"Verdict: {VERDICTS[verdict][0]}", BOLD)]
    return "\n".join(lines) + "\n"


def title(contents: Contents) -> str:
    """``gpucheck image: app:1.0, x86_64, 5,312 MB in 4 layers``."""
    total = sum(layer.unpacked or 0 for layer in contents.layers)
    layers = f"{size(total)} in {len(contents.layers)} layer{'s' * (len(contents.layers) != 1)}" if total else ""
    return "gpucheck image: " + ", ".join(part for part in (contents.reference, contents.architecture, layers) if part)


def size(count: int) -> str:
    """``1,234 MB``, as docker counts them; ``0.7 MB`` for little."""
    return f"{count / 1e6:,.0f} MB" if count >= 10_000_000 else f"{count / 1e6:.1f} MB"


def _row(name: str, text: str) -> list[str]:
    return wrapped(text, f"  {name:<{MARGIN - 2}}", " " * MARGIN) or [f"  {name}"]


def _rows(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    """A name that is the same as in the row before is not said again."""
    before = ""
    for name, text in rows:
        yield from _row("" if name == before else name, text)
        before = name


def _needs(contents: Contents, paint: Paint) -> Iterator[str]:
    before = ""
    for need in contents.needs:
        yield from _row("" if need.what == before else need.what, need.text)
        before = need.what
        if "://" in need.source:
            yield paint(f"{'':{MARGIN}}{need.source}", DIM)


def _system(snapshot: Snapshot, contents: Contents) -> Iterator[tuple[str, str]]:
    host = snapshot.host
    distribution = host.distribution.value.name if isinstance(host.distribution, Seen) else "distribution unknown"
    libc = (
        f"{host.libc.value.kind} {host.libc.value.version}".rstrip()
        if isinstance(host.libc, Seen)
        else "C library unknown"
    )
    yield "system", f"{distribution}, {libc}"
    yield "user", contents.user or "root"
    starts = " ".join((*contents.entrypoint, *contents.command))
    if starts:
        yield "starts", starts
    for python in snapshot.pythons:
        yield "Python", f"{python.version or '(version unknown)'} in {python.prefix} ({python.chosen_by})"
    for framework in snapshot.frameworks:
        yield "ML library", f"{framework.name} {framework.version}, {_build(framework)}"
    for name, value in snapshot.environment:
        if name.startswith(("NVIDIA_", "CUDA_")) or name in ("LD_PRELOAD", "LD_AUDIT"):
            yield "environment", f"{name}={value}"
    for source in dict.fromkeys(folder.source for folder in contents.folders):
        yield "search path", f"{source}: {':'.join(each.path for each in contents.folders if each.source == source)}"
    for name, value in contents.labels:
        yield "label", f"{name}={value if len(value) <= 60 else f'{value[:57]}...'}"


def _build(framework: Framework) -> str:
    if framework.gpu is False:
        return "a CPU build"
    return f"built with CUDA {framework.cuda or framework.cuda_major}" if framework.cuda_major else "build unknown"


def _libraries(contents: Contents, paint: Paint) -> Iterator[str]:
    """By folder; in each, what it has and who gets it."""
    folders: dict[str, list[tuple[NamedLibrary, Copy]]] = {}
    for library in contents.libraries:
        for copy in library.copies:
            folders.setdefault(copy.path.rpartition("/")[0], []).append((library, copy))
    rows = [(library, copy) for entries in folders.values() for library, copy in entries]
    width = max((len(library.soname) for library, _ in rows), default=0)
    number = max((len(copy.version or copy.kind) for _, copy in rows), default=0)
    for folder, entries in folders.items():
        yield f"  {folder}  {size(sum(copy.size for _, copy in entries))}"
        for library, copy in entries:
            version = copy.version or (copy.kind if copy.kind not in ("toolkit", "wheel") else "?")
            if copy.kind not in ("toolkit", "wheel", "driver") and copy.version:
                version = f"{copy.version} ({copy.kind})"
            row = f"    {library.soname:<{width}}  {version:<{number}}  {size(copy.size):>9}  "
            yield row + paint(_takers(library, copy), DIM)


def _takers(library: NamedLibrary, copy: Copy) -> str:
    takers = [winner for winner in library.winners if winner.real == copy.real]
    shown = [f"{winner.requester} [{winner.how}]" for winner in takers[:NAMED]]
    if len(takers) > NAMED:
        shown.append(f"{len(takers) - NAMED} more")
    return ", ".join(shown) or "nobody by its name"


def _twice(contents: Contents) -> Iterator[str]:
    """What is there more than once, the costliest first, with who gets which where they differ."""
    for library in sorted(contents.libraries, key=lambda each: (-each.wasted, each.soname)):
        if not library.wasted:
            continue
        versions = {copy.version for copy in library.copies}
        risk = (
            "of versions that are not told"
            if "" in versions
            else "of different versions"
            if len(versions) > 1
            else "of one version"
        )
        yield from _row(library.soname, f"{size(library.wasted)} beyond the largest of {len(library.copies)}, {risk}")
        for copy in library.copies:
            yield from _row(
                "", f"{copy.version or '(version unknown)'} in {copy.path.rpartition('/')[0]}: {_gets(library, copy)}"
            )


def _gets(library: NamedLibrary, copy: Copy) -> str:
    names = [winner.requester for winner in library.winners if winner.real == copy.real]
    return f"{', '.join(names)} {'gets' if len(names) == 1 else 'get'} it" if names else "loaded by nobody"


def _code(contents: Contents, everything: bool) -> Iterator[str]:
    """By package; of NVIDIA's own libraries only how many have code, unless all is asked for."""
    others: list[Code] = []
    by_owner: dict[str, list[Code]] = {}
    for code in contents.code:
        own = is_toolkit_library(code.path) or code.owner.startswith("nvidia-")
        if own and not everything:
            others.append(code)
        else:
            by_owner.setdefault(code.owner, []).append(code)
    for owner, codes in by_owner.items():
        for number, code in enumerate(codes):
            name = code.path.rpartition("/")[2]
            yield from _row(owner if not number else "", f"{name if owner else code.path}: {_targets(code)}")
    if others:
        yield from _row("NVIDIA's libraries", f"{len(others)} with GPU code (--all lists it)")


def _targets(code: Code) -> str:
    counted = {target.name: target.containers for target in code.targets}
    rest = [f"{name} in {number}" for name, number in counted.items() if name not in code.served]
    text = f"{' '.join(code.served)} ({code.containers} fat binar{'ies' if code.containers != 1 else 'y'}"
    return text + (f"; besides {', '.join(rest)})" if rest else ")")


def _layers(contents: Contents, everything: bool) -> Iterator[str]:
    total = sum(layer.unpacked or 0 for layer in contents.layers)
    small = 0
    for number, layer in enumerate(contents.layers):
        if not everything and total and (layer.unpacked or 0) * SMALL_LAYER < total:
            small += 1
            continue
        cuda = f", {size(layer.cuda)} of it CUDA" if layer.cuda else ""
        stored = f" ({size(layer.size)} stored)" if layer.size is not None else ""
        made = " ".join(layer.created_by.split())
        yield from _row(
            f"{number + 1:>2}  {size(layer.unpacked) if layer.unpacked is not None else '?'}",
            f"{made[:120] or layer.digest}{stored}{cuda}",
        )
    if small:
        yield from _row("", f"{small} layer{'s' * (small > 1)} below a hundredth of the image (--all lists them)")


def _unknown(report: Report) -> Iterator[str]:
    crashed = [outcome for outcome in report.outcomes if outcome.status is Status.CRASH]
    for outcome in crashed:
        yield f"? {outcome.rule}: gpucheck itself failed: {outcome.error}"
    unknown = sum(outcome.status is Status.UNKNOWN for outcome in report.outcomes)
    if unknown:
        yield from wrapped(
            f"? {unknown} rules need a node: driver, GPUs, devices. Nodes are judged with: gpucheck compat IMAGE --node NODE",
            "",
            "  ",
        )
    if crashed or unknown:
        yield ""
