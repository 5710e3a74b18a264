"""This machine, a root, an image or a snapshot: judged, or written down."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from gpucheck.cli.look import Place, look, what_if
from gpucheck.cli.options import (
    Env,
    Format,
    ForPlatform,
    FromImage,
    FromSnapshot,
    NoCache,
    NoColor,
    Output,
    PlainHttp,
    PythonOption,
    Root,
    Set,
    Strict,
    Timeout,
    check_format,
    refuse,
)
from gpucheck.cli.output import show, write

#: Seconds that importing a framework may take at least: gigabytes are read from a cold disk.
IMPORT_TIMEOUT = 120.0


def doctor(
    format: Format = "text",
    output: Output = None,
    root: Root = None,
    image: FromImage = None,
    platform: ForPlatform = None,
    plain_http: PlainHttp = False,
    no_cache: NoCache = False,
    env: Env = None,
    snapshot: FromSnapshot = None,
    python: PythonOption = None,
    imports: Annotated[
        Optional[str],
        typer.Option("--import", metavar="NAME", help="Import this module too, in a child process with a deadline"),
    ] = None,
    timeout: Timeout = 30.0,
    sets: Set = None,
    strict: Strict = False,
    no_color: NoColor = False,
) -> None:
    """Name the root cause of a missing GPU.

    Looks at every layer from the GPU to the ML library.
    """
    from gpucheck.render import FORMATS

    check_format(format, FORMATS)
    if imports is not None and (root, image, snapshot) != (None, None, None):
        refuse("--import runs something: it goes with this machine, not with --root, --image or --snapshot")
    if imports is not None and not all(part.isidentifier() for part in imports.split(".")):
        refuse(f"--import {imports}: expected the name of a module, such as torch")
    where = Place(root, env or [], image, platform, plain_http, no_cache)
    seen = look(where, snapshot, python, timeout)
    if imports is not None:
        from gpucheck.probes.imports import imported
        from gpucheck.record import replace

        seen = replace(seen, imported=imported(imports, python, max(timeout, IMPORT_TIMEOUT)))
    from gpucheck.engine import judge

    report = judge(what_if(seen, sets) if sets else seen)
    show(report, "doctor", format, output, no_color)
    raise typer.Exit(report.exit_code(strict))


def snapshot(
    output: Output = None,
    root: Root = None,
    image: FromImage = None,
    platform: ForPlatform = None,
    plain_http: PlainHttp = False,
    no_cache: NoCache = False,
    env: Env = None,
    python: PythonOption = None,
    timeout: Timeout = 30.0,
) -> None:
    """Write everything that is seen as JSON.

    For a bug report, a fixture, or to judge elsewhere with --snapshot.
    """
    import json

    from gpucheck.codec import encode

    where = Place(root, env or [], image, platform, plain_http, no_cache)
    write(json.dumps(encode(look(where, None, python, timeout)), indent=2, ensure_ascii=False) + "\n", output)
