"""Compare tables of the knowledge base with the wheels that they speak of.

python -m ci.knowledge torch jax        rewrite the rows of the newest 6 releases, and add newer ones
python -m ci.knowledge --check wheels   print what would change and exit with 1
python -m ci.knowledge --all torch      all rows, not only the newest
"""

from __future__ import annotations

import argparse
import difflib
import sys
from datetime import date
from pathlib import Path

from ci.knowledge.derivation import DERIVATIONS, Derivation
from ci.knowledge.index import NotThere, numbers, release
from ci.knowledge.rows import Row, merge, parse_row, rewrite

FOLDER = Path(__file__).resolve().parents[2] / "gpucheck" / "kb"
NEWEST = 6


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m ci.knowledge", description=__doc__.splitlines()[0])
    parser.add_argument("table", nargs="+", choices=sorted(DERIVATIONS))
    parser.add_argument("--check", action="store_true", help="print what would change, write nothing")
    parser.add_argument("--all", action="store_true", help=f"all rows, not only those of the newest {NEWEST} releases")
    parser.add_argument("--only", default="", metavar="WORD", help="only rows whose line holds this")
    options = parser.parse_args()
    different = False
    for name in options.table:
        path = FOLDER / f"{DERIVATIONS[name].file}.toml"
        before = path.read_text(encoding="utf-8")
        try:
            after, compared, problems = derive(DERIVATIONS[name], before, options.all, options.only)
        except NotThere as error:
            print(f"{name}: {error}; is the package index reachable?", file=sys.stderr)
            return 3
        for problem in problems:
            print(f"{name}: not compared: {problem}", file=sys.stderr)
        print(f"{name}: {compared} rows compared with their wheels", file=sys.stderr)
        if before == after:
            continue
        different = True
        if options.check:
            lines = difflib.unified_diff(before.splitlines(), after.splitlines(), path.name, "wheels", "", "", 0, "")
            print("\n".join(lines))
        else:
            path.write_text(after, encoding="utf-8")
            print(f"{name}: rewrote {path.name}; look at git diff")
    return 1 if different and options.check else 0


def derive(derivation: Derivation, text: str, everything: bool, only: str) -> tuple[str, int, list[str]]:
    """The file's text by what the wheels say, the number of rows that were compared, and what could not be read."""
    inside = text.partition(f"\n{derivation.table} = [\n")[2].partition("\n]\n")[0]
    rows = [(line, parse_row(line)) for line in inside.splitlines()]
    chosen = [row for line, row in rows if only in line and derivation.distribution(row)]
    problems: list[str] = []
    if not everything and not only:
        chosen = newest_of(derivation, chosen)
    compared = 0

    def change(row: Row) -> Row:
        nonlocal compared
        if row not in chosen:
            return row
        try:
            derived = derivation.derive(row, release(derivation.distribution(row), derivation.version(row)))
        except NotThere as error:
            problems.append(str(error))
            return row
        compared += 1
        return merge(row, derived)

    added = [] if only else derivation.missing([row for _, row in rows], problems)
    compared += len(added)
    added = [{**row, "checked": date.today()} for row in added]
    return rewrite(text, derivation.table, change, added), compared, problems


def newest_of(derivation: Derivation, rows: list[Row]) -> list[Row]:
    """The rows of the newest releases of each distribution."""
    chosen = []
    for distribution in dict.fromkeys(derivation.distribution(row) for row in rows):
        mine = [row for row in rows if derivation.distribution(row) == distribution]
        releases = sorted({derivation.version(row) for row in mine}, key=numbers)[-NEWEST:]
        chosen += [row for row in mine if derivation.version(row) in releases]
    return chosen


if __name__ == "__main__":
    sys.exit(main())
