"""Writes ``base-images/matrix.yml`` from ``matrix.toml``, because Copier's Jinja reads YAML and no TOML.

It has the images that a project can be built on, and no other.

python -m ci.matrix_yaml            writes the file
python -m ci.matrix_yaml --check    exit code 1 when the file is not what would be written
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import date
from pathlib import Path

from ci.matrix import BASES
from gpucheck import __version__

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent


def render(matrix: str, version: str) -> str:
    """A matrix as YAML text, from its TOML text; ``version`` is the images' tag. TOMLDecodeError for no TOML."""
    document = tomllib.loads(matrix)
    rows = [row for row in document.pop("image") if row["family"] in BASES]
    lines = ["# Made from matrix.toml by `python -m ci.matrix_yaml`; do not edit."]
    lines += [f"{key}: {_show(value)}" for key, value in document.items()]
    lines += [f"version: {_show(version)}", "image:"]
    for row in rows:
        pairs = [f"{key}: {_show(value)}" for key, value in row.items()]
        lines += [("  - " if number == 0 else "    ") + pair for number, pair in enumerate(pairs)]
    return "\n".join(lines) + "\n"


def _show(value: object) -> str:
    # JSON is YAML (https://yaml.org/spec/1.2.2/#12-relation-to-json); dates stay text, which is all the templates need.
    return json.dumps(value.isoformat() if isinstance(value, date) else value, ensure_ascii=False)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m ci.matrix_yaml", description="Write base-images/matrix.yml.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the file is out of date")
    check = parser.parse_args(arguments).check
    target = ROOT / "base-images" / "matrix.yml"
    wanted = render((ROOT / "base-images" / "matrix.toml").read_text(encoding="utf-8"), __version__)
    if target.is_file() and target.read_text(encoding="utf-8") == wanted:
        return 0
    if check:
        print("base-images/matrix.yml is out of date; write it with: python -m ci.matrix_yaml", file=sys.stderr)
        return 1
    target.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
