"""Which libraries a program gets: as it would be, and as it was."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from gpucheck.cli.look import Place, open_system
from gpucheck.cli.options import (
    PLAIN_FORMATS,
    Env,
    ForPlatform,
    FromImage,
    NoCache,
    NoColor,
    Output,
    PlainFormat,
    PlainHttp,
    PythonOption,
    Root,
    check_format,
    refuse,
)
from gpucheck.cli.output import has_colour, write


def libs(
    target: Annotated[
        Optional[str],
        typer.Argument(help="A library, a program, a Python distribution or module; none: all GPU libraries here"),
    ] = None,
    format: PlainFormat = "text",
    output: Output = None,
    root: Root = None,
    image: FromImage = None,
    platform: ForPlatform = None,
    plain_http: PlainHttp = False,
    no_cache: NoCache = False,
    env: Env = None,
    python: PythonOption = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also what is normally there, and all that was tried")
    ] = False,
    symbols: Annotated[bool, typer.Option("--symbols", help="Look for every symbol, not only the likely ones")] = False,
    no_color: NoColor = False,
) -> None:
    """Say which libraries a program or package gets, and why those.

    As the dynamic linker would decide; nothing is executed.
    """
    from gpucheck.libs.command import run as answer
    from gpucheck.libs.targets import NoTarget

    check_format(format, PLAIN_FORMATS)
    system = open_system(Place(root, env or [], image, platform, plain_http, no_cache), live_env=True)
    if python is not None and system.resolve(python) is None:
        refuse(f"--python {python}: there is no interpreter or environment")
    try:
        found = answer(
            system,
            target,
            python=python,
            format=format,
            everything=everything,
            symbols=symbols,
            colour=format == "text" and has_colour(output, no_color),
        )
    except NoTarget as error:
        refuse(str(error))
    write(found.text, output)
    raise typer.Exit(found.status)


def trace(
    words: Annotated[list[str], typer.Argument(help="The command and its arguments", metavar="-- COMMAND...")],
    backend: Annotated[
        str, typer.Option("--backend", help="auto, ld-debug, strace or both: who watches the command")
    ] = "auto",
    everything: Annotated[bool, typer.Option("--all", help="Every attempt, and what is missing normally")] = False,
    calls: Annotated[bool, typer.Option("--calls", help="The calls into driver, runtime and NVML too")] = False,
    format: PlainFormat = "text",
    output: Output = None,
    no_color: NoColor = False,
) -> None:
    """Run a command and say what it loaded, and why.

    Which GPU libraries and device nodes it looked for, where they were found, and what failed. The command runs unchanged.
    """
    from gpucheck.trace.command import run as run_traced

    raise typer.Exit(
        run_traced(
            words,
            backend=backend,
            output=output,
            format=format,
            show_all=everything,
            colour=False if no_color else None,
            calls=calls,
        )
    )
