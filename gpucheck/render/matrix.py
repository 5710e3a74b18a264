"""Images against nodes for a person: the nodes, the matrix, and a paragraph for each reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gpucheck.compat.cell import Cell
from gpucheck.compat.table import Column, Table
from gpucheck.finding import Verdict
from gpucheck.render.printable import printable
from gpucheck.render.text import BOLD, CYAN, DIM, GREEN, RED, WIDTH, YELLOW, Paint, painter, paragraph, wrapped

#: Told apart without colour.
MARKS = {
    Verdict.COMPATIBLE: ("✓", GREEN),
    Verdict.CONDITIONAL: ("!", YELLOW),
    Verdict.INCOMPATIBLE: ("✗", RED),
    Verdict.UNKNOWN: ("?", CYAN),
}
WORDS = {
    Verdict.COMPATIBLE: "compatible",
    Verdict.CONDITIONAL: "conditional: works, with limits",
    Verdict.INCOMPATIBLE: "incompatible",
    Verdict.UNKNOWN: "unknown: not enough is known",
}
#: Columns of an image's name; of longer ones the end is shown, where the tag is.
NAME = 36
#: More nodes than these are shown together where every image fares alike on them.
MANY = 6
#: Cells that a paragraph names.
CELLS = 6
#: Paragraphs that are printed, the heaviest first; JSON and the HTML page have them all.
PARAGRAPHS = 20


def render_matrix(table: Table, colour: bool) -> str:
    """At most ``WIDTH`` columns, where words allow."""
    paint = painter(colour)
    columns = table.columns(len(table.nodes) > MANY)
    lines = [paint(title(table), BOLD), "", *_nodes(columns), ""]
    lines += _matrix(table, columns, paint)
    lines += ["", "  ".join(f"{paint(mark, code)} {WORDS[verdict]}" for verdict, (mark, code) in MARKS.items()), ""]
    reasons = table.reasons()
    for reason, cells in reasons[:PARAGRAPHS]:
        mark, code = MARKS[reason.verdict]
        note = reason.verdict is Verdict.COMPATIBLE
        head = wrapped(f"{'i' if note else mark} {printable(reason.summary)}", "", "  ")
        lines += [paint(line, f"{BOLD};{CYAN if note else code}") for line in head[:-1]]
        lines += [paint(head[-1], f"{BOLD};{CYAN if note else code}") + f"  [{reason.rule}]"]
        lines += paragraph("because", printable(reason.cause))
        for index, evidence in enumerate(reason.evidence):
            lines += paragraph("" if index else "seen", printable(f"{evidence.fact}  ({evidence.source})"))
        if reason.remedy:
            lines += paragraph("do", printable(reason.remedy))
        lines += [*paragraph("where", _where(cells, columns)), ""]
    if len(reasons) > PARAGRAPHS:
        lines += [f"And {len(reasons) - PARAGRAPHS} more reasons; all of them: --format html or json", ""]
    lines += _verdict(table, paint)
    return "\n".join(lines) + "\n"


def title(table: Table) -> str:
    """``gpucheck compat: 3 images on 5 nodes, what if driver=580``."""
    images, nodes = len(table.images), len(table.nodes)
    return f"gpucheck compat: {images} image{'s' if images != 1 else ''} on {nodes} node{'s' if nodes != 1 else ''}" + (
        f", what if {printable(', '.join(table.changes))}" if table.changes else ""
    )


def _nodes(columns: Sequence[Column]) -> Iterator[str]:
    width = max(len(column.label) for column in columns)
    for column in columns:
        first = column.nodes[0]
        facts = str(first)
        named = printable(f"{facts}  ({first.name})" if "=" not in first.name.partition(",")[0] else facts)
        more = f", and {len(column.nodes) - 1} more on which all is the same" if len(column.nodes) > 1 else ""
        yield from wrapped(f"{column.label:<{width}}  {named}{more}", "  ", " " * (width + 4))


def _matrix(table: Table, columns: Sequence[Column], paint: Paint) -> Iterator[str]:
    """In blocks of as many columns as fit."""
    names = [_short(printable(contract.image)) for contract in table.images]
    first = max(len(name) for name in names)
    texts = [[_cell(cell) for cell in column.cells] for column in columns]
    widths = [max(len(column.label), *map(len, cells)) for column, cells in zip(columns, texts)]
    start = 0
    while start < len(columns):
        end, used = start + 1, first + 4 + widths[start]
        while end < len(columns) and used + 2 + widths[end] <= WIDTH:
            used += 2 + widths[end]
            end += 1
        if start:
            yield ""
        block = range(start, end)
        yield f"  {'':<{first}}  {'  '.join(columns[i].label.ljust(widths[i]) for i in block)}".rstrip()
        for row, name in enumerate(names):
            cells = [paint(texts[i][row].ljust(widths[i]), MARKS[columns[i].cells[row].verdict][1]) for i in block]
            yield f"  {name:<{first}}  {'  '.join(cells)}".rstrip()
        start = end


def _cell(cell: Cell) -> str:
    """``✗ driver-too-old +1``; a note in parentheses: ``✓ (needs-no-gpu)``."""
    mark = MARKS[cell.verdict][0]
    rules = list(dict.fromkeys(reason.rule for reason in cell.deciding))
    if not rules:
        return mark
    more = f" +{len(rules) - 1}" if len(rules) > 1 else ""
    return f"{mark} ({rules[0]})" if cell.verdict is Verdict.COMPATIBLE else f"{mark} {rules[0]}{more}"


def _short(name: str) -> str:
    return name if len(name) <= NAME else "…" + name[-(NAME - 1) :]


def _where(cells: Sequence[tuple[str, str]], columns: Sequence[Column]) -> str:
    """``vllm:0.15 on A, C; trainer:2 on A``; of many only the first."""
    labels = {node.name: column.label for column in columns for node in column.nodes}
    images: dict[str, dict[str, None]] = {}
    for image, node in cells:
        images.setdefault(image, {})[labels[node]] = None
    parts = [f"{printable(image)} on {', '.join(found)}" for image, found in images.items()]
    return "; ".join(parts[:CELLS]) + (f"; and {len(parts) - CELLS} more images" if len(parts) > CELLS else "")


def _verdict(table: Table, paint: Paint) -> Iterator[str]:
    code = MARKS[table.verdict][1]
    counts = ", ".join(f"{count} {verdict.value}" for verdict, count in table.counts.items() if count)
    yield "Verdict: " + paint(table.verdict.value, f"{BOLD};{code}") + f" ({counts})"
    worst = next((reason for reason, _ in table.reasons() if reason.verdict is not Verdict.COMPATIBLE), None)
    if worst:
        yield paint(f"More on a reason: gpucheck explain {worst.rule}", DIM)
