"""Where text goes."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

from gpucheck.cli.options import refuse

if TYPE_CHECKING:
    from gpucheck.finding import Report


def show(report: Report, command: str, format: str, output: str | None, no_color: bool) -> None:
    """Render a report to standard output or a file."""
    from gpucheck.render import render

    write(render(report, command, format, has_colour(output, no_color)), output)


def has_colour(output: str | None, no_color: bool) -> bool:
    """Whether the text goes to a terminal that shows colours: https://no-color.org."""
    return (
        output is None
        and not no_color
        and sys.stdout.isatty()
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM") != "dumb"
    )


def write(text: str, output: str | None) -> None:
    """To a file, or to standard output."""
    # A name may hold bytes that are no UTF-8 and a terminal may know less: what it cannot show is escaped, never an error.
    if output is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        sys.stdout.write(text)
        return
    try:
        with open(output, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError as error:
        refuse(f"--output {output}: {error.strerror}")
