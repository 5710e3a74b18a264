"""The text of a table: one row a line, so that a change of a row is a change of one line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import date
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Row = dict[str, Any]


def spell(value: object) -> str:
    """A value in TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(spell(item) for item in value)}]"
    return str(value) if isinstance(value, int | date) else json.dumps(value, ensure_ascii=False)


def spell_row(row: Row) -> str:
    """The line of a row."""
    return f"  {{ {', '.join(f'{name} = {spell(value)}' for name, value in row.items())} }},"


def parse_row(line: str) -> Row:
    """The row of a line."""
    row: Row = tomllib.loads(f"row = {line.strip().rstrip(',')}")["row"]
    return row


def rewrite(text: str, table: str, change: Callable[[Row], Row], added: list[Row]) -> str:
    """The text of a file in which each row of a table is ``change(row)``, and new rows are at its end.

    A row that did not change keeps its line as it is. Raises ``ValueError`` when the text has no such table.
    """
    lines, inside, written = text.splitlines(), False, []
    if f"{table} = [" not in lines:
        raise ValueError(f"no table {table}, one row a line")
    for line in lines:
        if inside and line == "]":
            written += [spell_row(row) for row in added]
            inside = False
        elif inside and line.startswith("  { "):
            row = parse_row(line)
            changed = change(dict(row))
            line = line if changed == row else spell_row(changed)
        inside = inside or line == f"{table} = ["
        written.append(line)
    return "\n".join(written) + "\n"


def merge(row: Row, derived: Row) -> Row:
    """A row with the values that were derived; one that is empty there goes away."""
    merged = {name: value for name, value in row.items() if name not in derived or derived[name]}
    for name, value in derived.items():
        if not value:
            continue
        if name in merged:
            merged[name] = value
        else:
            # Before what every row ends with.
            end: Row = {
                last: merged.pop(last) for last in ("source", "measured", "confidence", "note") if last in merged
            }
            merged = {**merged, name: value, **end}
    return merged
