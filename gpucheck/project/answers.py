"""The answers file of Copier, in the flat form that Copier writes: one ``key: scalar`` a line, long scalars folded."""

from __future__ import annotations

import re

from gpucheck.facts import Seen, Unseen, Why
from gpucheck.project.text import without_credentials

#: What is recorded of it. Other answers are the user's own words.
TELLING = ("_commit", "_src_path", "base_image", "ci", "image_registry", "ml_library", "project_type")
_KEY = re.compile(r"([A-Za-z_]\w*):(?:\s+(.*))?")


def parse_answers(text: Seen[str]) -> Seen[tuple[tuple[str, str], ...]] | Unseen:
    """The answers that matter, sorted by name. UNREADABLE, with the line, for any other YAML than the flat form."""
    found: dict[str, str] = {}
    key = ""
    for number, line in enumerate(text.value.splitlines(), 1):
        match = _KEY.fullmatch(line)
        if not line.strip() or line.startswith("#") or line == "---":
            continue
        if match:
            key = match[1]
            found[key] = (match[2] or "").strip()
        elif key and line.startswith(" ") and not _nested(found[key], line):
            found[key] += " " + line.strip()
        else:
            place = f"{text.source}:{number}"
            return Unseen(
                Why.UNREADABLE, (place,), f"{place}: not in the form that Copier writes, one `name: value` a line"
            )
    return Seen(
        tuple((name, without_credentials(_scalar(found[name]))) for name in TELLING if name in found), text.source
    )


def _nested(value: str, line: str) -> bool:
    return not value and (line.lstrip().startswith("- ") or _KEY.fullmatch(line.strip()) is not None)


def _scalar(value: str) -> str:
    """The text of a plain or quoted scalar (YAML 1.2, sections 7.3.1 and 7.3.2)."""
    if len(value) >= 2 and value[0] == value[-1] == "'":
        return value[1:-1].replace("''", "'")
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return re.sub(r'\\(["\\/])', r"\1", value[1:-1])
    return value
