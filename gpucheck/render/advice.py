"""What ``gpucheck recommend`` prints: the builds that run on all nodes, or why none does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from gpucheck.compat import builds
from gpucheck.compat.recommend import Advice, Choice
from gpucheck.render.matrix import MARKS
from gpucheck.render.printable import printable
from gpucheck.render.text import BOLD, painter, paragraph

SCHEMA = 1


def render(advice: Advice, format: str, colour: bool) -> str:
    """As ``text`` or ``json``."""
    if format == "json":
        return json.dumps(document(advice), indent=2, ensure_ascii=False) + "\n"
    return "\n".join(_lines(advice, colour)) + "\n"


def document(advice: Advice) -> dict[str, object]:
    """As a JSON-able object."""
    return {
        "schema": SCHEMA,
        "command": "recommend",
        "library": advice.library,
        "nodes": [{"node": node.name, "facts": str(node)} for node in advice.nodes],
        "choices": [
            {
                "build": choice.name,
                "version": choice.build.version,
                "variant": choice.build.variant,
                "cuda": choice.build.cuda,
                "index": builds.index(choice.build),
                "base_image": builds.base_image(choice.build),
                "verdicts": [verdict.value for verdict in choice.verdicts],
                "gives_up": list(choice.gives_up),
                "source": choice.build.reference,
            }
            for choice in advice.choices
        ],
        "apart": [{"node": node.name, "build": build or None} for node, build in advice.apart],
    }


def _lines(advice: Advice, colour: bool) -> Iterator[str]:
    paint = painter(colour)
    yield paint(f"gpucheck recommend: {advice.library}", BOLD)
    yield ""
    for node in advice.nodes:
        yield f"  {printable(str(node))}"
    yield ""
    if not advice.choices:
        yield paint(f"No build of {advice.library} is known that runs on all of them. Each by itself:", BOLD)
        for node, build in advice.apart:
            yield f"    {printable(node.name):<24} {build or 'none that is known'}"
        yield ""
        yield "Split the nodes into pools with an image each, or change a driver: try --driver with another version."
        return
    for choice in advice.choices:
        yield from _choice(choice)
        yield ""
    yield f"First choice: pip install {_install(advice.choices[0])}"


def _choice(choice: Choice) -> Iterator[str]:
    worst = max(choice.verdicts, key=lambda verdict: list(MARKS).index(verdict))
    yield f"{MARKS[worst][0]} {choice.name}  (CUDA {choice.build.cuda})"
    yield from paragraph("from", builds.index(choice.build))
    yield from paragraph("base", builds.base_image(choice.build))
    for index, lost in enumerate(choice.gives_up):
        yield from paragraph("" if index else "gives up", printable(lost))
    yield from paragraph("seen", choice.build.reference)


def _install(choice: Choice) -> str:
    """As the library's own documentation installs it: JAX's plugin comes by an extra of jax."""
    where, name = builds.index(choice.build), builds.distribution(choice.build)
    if match := re.fullmatch(r"jax-(cuda\d+)-plugin", name):
        return f"'jax[{match[1]}]=={'.'.join(choice.build.version.split('.')[:3])}'"
    extra = f"[{choice.build.extra}]" if choice.build.extra else ""
    named = f"{name}{extra}=={choice.build.version}"
    quoted = f"'{named}'" if extra else named
    return quoted + (f" --index-url {where}" if where.startswith("https://") else "")
