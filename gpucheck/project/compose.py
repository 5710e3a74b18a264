"""Compose files, as far as it matters: which service builds which image, and whether it asks for a GPU.

Source: https://github.com/compose-spec/compose-spec/blob/main/spec.md (deploy.resources.reservations.devices, gpus, runtime, devices)
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Final

from gpucheck.facts import Compose, ComposeService, Seen, Unseen, Why

#: What asks for a GPU, or may by what it refers to: a request for devices, an anchor, another file.
ASKS: Final = re.compile(
    r"capabilities:.*gpu|^\s*-\s*[\"']?gpu[\"']?\s*$|^\s*gpus\s*:|runtime:\s*[\"']?nvidia|nvidia\.com/gpu|/dev/nvidia|driver:\s*[\"']?(?:nvidia|cdi)"
    r"|^\s*<<\s*:|^\s*extends\s*:|:\s*\*\w",
    re.MULTILINE,
)


def parse_compose(text: Seen[str]) -> Seen[Compose] | Unseen:
    """Services in YAML's block style, which people write; UNREADABLE where `services` is written in another one."""
    lines = [(number, re.sub(r"\s+#.*$", "", line).rstrip()) for number, line in enumerate(text.value.splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line.strip() and not line.lstrip().startswith("#")]
    start = next((index for index, (_, line) in enumerate(lines) if re.match(r"services\s*:", line)), None)
    if start is None:
        return Seen(Compose(text.source, ()), text.source)
    number, head = lines[start]
    if head.partition(":")[2].strip():
        place = f"{text.source}:{number}"
        return Unseen(Why.UNREADABLE, (place,), f"{place}: services are not written as a block")
    return Seen(Compose(text.source, tuple(_services(text.source, lines[start + 1 :]))), text.source)


def _services(source: str, lines: list[tuple[int, str]]) -> Iterator[ComposeService]:
    depth = len(lines[0][1]) - len(lines[0][1].lstrip()) if lines else 0
    found: list[tuple[int, str, list[str]]] = []
    for number, line in lines:
        indent = len(line) - len(line.lstrip())
        if indent == 0:
            break
        if indent == depth and (match := re.fullmatch(r"[\"']?([\w.-]+)[\"']?\s*:(.*)", line.strip())):
            found.append((number, match[1], [match[2]]))
        elif found:
            found[-1][2].append(line)
    for number, name, body in found:
        yield _service(name, "\n".join(body), f"{source}:{number}")


def _service(name: str, body: str, source: str) -> ComposeService:
    image = _value(body, "image")
    build = re.search(r"^(\s*)build\s*:[ \t]*(.*)$", body, re.MULTILINE)
    dockerfile = ""
    if build:
        context, file = _plain(build[2]), "Dockerfile"
        if not context:
            context, file = _value(body, "context") or ".", _value(body, "dockerfile") or "Dockerfile"
        dockerfile = posixpath.normpath(posixpath.join(context, file))
    return ComposeService(name, image, dockerfile, ASKS.search(body) is not None, source)


def _value(body: str, key: str) -> str:
    match = re.search(rf"^\s*{key}\s*:[ \t]*(.*)$", body, re.MULTILINE)
    return _plain(match[1]) if match else ""


def _plain(text: str) -> str:
    return text.strip().strip("\"'")
