"""What gpucheck knows: its rules and its tables."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from gpucheck.cli.options import PLAIN_FORMATS, Output, PlainFormat, check_format, refuse
from gpucheck.cli.output import write


def explain(
    rule: Annotated[Optional[str], typer.Argument(help="The id of a rule; without it, all are listed")] = None,
) -> None:
    """Say what a rule means and what to do.

    Why it happens, how to confirm it, the remedy, a reference.
    """
    from gpucheck.compat.reasons import REASONS
    from gpucheck.rules import RULES

    if rule is None:
        listed = {**{known.id: known.documentation for known in RULES}, **REASONS}
        width = max(map(len, listed))
        for id, text in listed.items():
            print(f"{id:<{width}}  {text.splitlines()[0]}")
        return
    found = next((known for known in RULES if known.id == rule), None)
    if found is None and rule in REASONS:
        print(f"{rule} (gpucheck compat)\n\n{REASONS[rule]}")
        return
    if found is None:
        import difflib

        close = difflib.get_close_matches(rule, [*(known.id for known in RULES), *REASONS], 1)
        refuse(f"no rule {rule!r}" + (f"; did you mean {close[0]}?" if close else "") + " List all: gpucheck explain")
    print(f"{found.id} ({found.layer.value})\n\n{found.documentation}")
    if found.follows:
        print(f"\nFolded under, when they fire: {', '.join(found.follows)}")


def knowledge(
    words: Annotated[Optional[list[str]], typer.Argument(metavar="[TABLE] [WORD]...")] = None,
    format: PlainFormat = "text",
    output: Output = None,
) -> None:
    """List and search the knowledge base.

    Every row has its source and the date it was checked.
    """
    from gpucheck.kb.command import NothingFound, list_tables, search

    check_format(format, PLAIN_FORMATS)
    try:
        write(search(words, format) if words else list_tables(format), output)
    except NothingFound as error:
        refuse(str(error))
