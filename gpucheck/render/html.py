"""One page that needs nothing else: no script, no font, no request. Light and dark by what the reader's system says."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Iterator
from html import escape

from gpucheck.compat.cell import Cell, Reason
from gpucheck.compat.node import Node
from gpucheck.compat.table import Column, Table
from gpucheck.contract import Contract
from gpucheck.finding import Evidence, Finding, Report, Status, Verdict
from gpucheck.render.printable import printable
from gpucheck.render.stack import Line, stack
from gpucheck.render.text import MARKS, title

#: The class of a verdict's colours, and its mark, which tells it without them.
VERDICTS = {
    Verdict.COMPATIBLE: ("ok", "✓"),
    Verdict.CONDITIONAL: ("warning", "!"),
    Verdict.INCOMPATIBLE: ("error", "✗"),
    Verdict.UNKNOWN: ("unknown", "?"),
}
#: More nodes than these are shown together where every image fares alike on them.
MANY = 8


def text(value: object) -> str:
    """Whatever it is, as text in a page."""
    return escape(printable(str(value)))


# -- a report ----------------------------------------------------------------------------------------------------------


def render(report: Report, command: str, colour: bool) -> str:
    """The verdict, the stack, what is wrong, and what could not be judged."""
    style, mark = VERDICTS[report.verdict]
    body = [
        f"<h1>{text(title(report, command))}</h1>",
        f'<div class="counts"><span class="pill {style}">{mark} {report.verdict.value}</span></div>',
    ]
    if command != "project":
        body += ['<h2>The stack</h2><div class="stack">', *map(_line, stack(report)), "</div>"]
    if report.findings:
        body += ["<h2>Findings</h2>", *map(_finding, report.findings)]
    unknown = [outcome for outcome in report.outcomes if outcome.status in (Status.UNKNOWN, Status.CRASH)]
    if unknown:
        # Of an image that is half of the rules, for one of two reasons.
        why: dict[str, list[str]] = {}
        for one in unknown:
            why.setdefault(one.error, []).append(f"<code>{text(one.rule)}</code>")
        rows = "".join(f"<tr><th>{text(error)}</th><td>{', '.join(rules)}</td></tr>" for error, rules in why.items())
        body.append(f'<h2>Not judged</h2><div class="scroll"><table><tbody>{rows}</tbody></table></div>')
    return _page(title(report, command), body)


def _line(line: Line) -> str:
    return (
        f'<div><span class="mark {line.state}">{MARKS[line.state][0]}</span><span class="soft">{text(line.name)}</span>'
        f'<span class="fact">{text(line.fact)}</span></div>'
    )


def _finding(finding: Finding) -> str:
    so = [f"{text(below.summary)} <code>{text(below.rule)}</code>" for below in _below(finding)]
    style = finding.severity.value
    return _card(
        style,
        MARKS[style][0],
        finding.rule,
        finding.summary,
        finding.cause,
        finding.evidence,
        finding.remedy,
        ("so", so),
    )


def _below(finding: Finding) -> Iterator[Finding]:
    for below in finding.consequences:
        yield below
        yield from _below(below)


# -- images against nodes ----------------------------------------------------------------------------------------------


def render_matrix(table: Table, colour: bool) -> str:
    """The matrix, a card for each reason, and what is known of each image and node."""
    columns = table.columns(len(table.nodes) > MANY)
    reasons = table.reasons()
    anchors = {_key(reason): f"reason-{number}" for number, (reason, _) in enumerate(reasons)}
    body = [
        f"<h1>{text(_title(table))}</h1>",
        f'<div class="counts">{"".join(_count(verdict, count) for verdict, count in table.counts.items())}</div>',
        "<h2>Images on nodes</h2>",
        *_matrix(table, columns, anchors),
    ]
    if reasons:
        body.append("<h2>Why, and what to do</h2>")
    body += [_reason(reason, cells, columns, anchors[_key(reason)]) for reason, cells in reasons]
    body += ['<h2>Nodes</h2><div class="stacks">', *(_node(column) for column in columns), "</div>"]
    body += ['<h2>Images</h2><div class="stacks">', *map(_image, table.images), "</div>"]
    return _page(_title(table), body)


Key = tuple[str, Verdict, str, str, str]


def _key(reason: Reason) -> Key:
    """What tells reasons apart for a reader."""
    return (reason.rule, reason.verdict, reason.summary, reason.cause, reason.remedy)


def _title(table: Table) -> str:
    images, nodes = len(table.images), len(table.nodes)
    what_if = f", what if {', '.join(table.changes)}" if table.changes else ""
    return f"gpucheck compat: {images} image{'s' * (images != 1)} on {nodes} node{'s' * (nodes != 1)}{what_if}"


def _count(verdict: Verdict, count: int) -> str:
    style, mark = VERDICTS[verdict]
    return f'<span class="pill {style if count else "absent"}">{mark} {count} {verdict.value}</span>'


def _matrix(table: Table, columns: Iterable[Column], anchors: dict[Key, str]) -> Iterator[str]:
    heads = "".join(f'<th scope="col">{column.label}<small>{text(_head(column))}</small></th>' for column in columns)
    yield f'<div class="scroll"><table><thead><tr><td></td>{heads}</tr></thead><tbody>'
    for row, contract in enumerate(table.images):
        cells = "".join(_cell(column.cells[row], anchors) for column in columns)
        yield f'<tr><th scope="row">{text(contract.image)}</th>{cells}</tr>'
    yield "</tbody></table></div>"


def _head(column: Column) -> str:
    """``550.54.15, A100``: enough to know a node again."""
    first = column.nodes[0]
    gpus = "GPU unknown" if first.gpus is None else " + ".join(gpu.name for gpu in first.gpus) or "no GPU"
    more = f", and {len(column.nodes) - 1} like it" if len(column.nodes) > 1 else ""
    return f"{first.driver or 'driver unknown'}, {gpus}{more}"


def _cell(cell: Cell, anchors: dict[Key, str]) -> str:
    style, mark = VERDICTS[cell.verdict]
    rules = list(dict.fromkeys(reason.rule for reason in cell.deciding))
    more = f" +{len(rules) - 1}" if len(rules) > 1 else ""
    inner = f"<b>{mark} {cell.verdict.value}</b>" + (
        f"<small>{'i ' * (cell.verdict is Verdict.COMPATIBLE)}{text(rules[0])}{more}</small>" if rules else ""
    )
    if not cell.deciding:
        return f'<td class="cell"><span class="{style}">{inner}</span></td>'
    anchor = anchors[_key(cell.deciding[0])]
    return f'<td class="cell"><a class="{style}" href="#{anchor}">{inner}</a></td>'


def _reason(reason: Reason, cells: tuple[tuple[str, str], ...], columns: Iterable[Column], anchor: str) -> str:
    labels = {node.name: column.label for column in columns for node in column.nodes}
    images: dict[str, dict[str, None]] = {}
    for image, node in cells:
        images.setdefault(image, {})[labels[node]] = None
    where = [f"{text(image)} on {', '.join(found)}" for image, found in images.items()]
    style, mark = VERDICTS[reason.verdict]
    if reason.verdict is Verdict.COMPATIBLE:
        style, mark = "note", "i"
    return _card(
        style, mark, reason.rule, reason.summary, reason.cause, reason.evidence, reason.remedy, ("where", where), anchor
    )


def _node(column: Column) -> str:
    first: Node = column.nodes[0]
    gpus = "not known" if first.gpus is None else ", ".join(map(str, first.gpus)) or "none"
    implemented = first.implemented
    lines = [
        ("GPU", gpus),
        ("driver", f"{first.driver or 'not known'}" + (f", CUDA {implemented}" if implemented else "")),
        (
            "toolkit",
            " ".join(part for part in (first.toolkit, f"({first.mode})" if first.mode else "") if part) or "not known",
        ),
        ("architecture", first.architecture),
        ("from", first.source),
    ]
    more = f" and {len(column.nodes) - 1} more like it" if len(column.nodes) > 1 else ""
    return _facts(f"{column.label}: {first.name}{more}", lines)


def _image(contract: Contract) -> str:
    code = [
        f"{part.name} {part.version}".strip()
        + (f" (CUDA {part.cuda or part.cuda_major})" if part.cuda or part.cuda_major else "")
        for part in contract.code
    ]
    forward = contract.forward
    lines = [
        ("libraries", ", ".join(code) or "none"),
        ("CUDA runtime", ", ".join(dict.fromkeys(str(runtime.cuda) for runtime in contract.runtimes)) or "none"),
        (
            "cuda-compat",
            f"{forward.version or '?'} (CUDA {forward.cuda or '?'}), {forward.route}" if forward else "none",
        ),
        ("C library", contract.libc or "not known"),
        ("architecture", contract.architecture or "not known"),
    ]
    return _facts(contract.image, lines)


def _facts(name: str, lines: Iterable[tuple[str, str]]) -> str:
    rows = "".join(
        f'<div><span class="soft">{text(word)}</span><span class="fact">{text(fact)}</span></div>'
        for word, fact in lines
    )
    return f'<section><h3>{text(name)}</h3><div class="stack">{rows}</div></section>'


# -- shared ------------------------------------------------------------------------------------------------------------


def _card(
    style: str, mark: str, rule: str, summary: str, cause: str, evidence: Iterable[Evidence], remedy: str,
    last: tuple[str, list[str]], anchor: str = "",
) -> str:  # fmt: skip
    seen = "".join(f'<li>{text(one.fact)} <span class="soft">({text(one.source)})</span></li>' for one in evidence)
    rows = f"<dt>because</dt><dd>{text(cause)}</dd>"
    rows += f"<dt>seen</dt><dd><ul>{seen}</ul></dd>" if seen else ""
    rows += f"<dt>do</dt><dd><strong>{text(remedy)}</strong></dd>" if remedy else ""
    word, found = last
    rows += f"<dt>{word}</dt><dd><ul>{''.join(f'<li>{one}</li>' for one in found)}</ul></dd>" if found else ""
    name = f' id="{anchor}"' if anchor else ""
    return (
        f'<section class="card is-{style}"{name}><h3><span class="pill {style}">{mark}</span> {text(summary)} '
        f'<code class="soft">{text(rule)}</code></h3><dl>{rows}</dl></section>'
    )


def _page(name: str, body: Iterable[str]) -> str:
    style = (pkgutil.get_data(__name__, "html.css") or b"").decode().strip()
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            # An empty icon: a browser would ask the server for one.
            '<link rel="icon" href="data:,">',
            f"<title>{text(name)}</title>\n<style>\n{style}\n</style>\n</head>\n<body>\n<main>",
            *body,
            "</main>\n</body>\n</html>\n",
        ]
    )
