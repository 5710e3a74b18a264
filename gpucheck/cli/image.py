"""What is in an image."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from gpucheck.cli.look import Place, describe_image, open_layers
from gpucheck.cli.options import (
    ForPlatform,
    NoCache,
    NoColor,
    Output,
    PlainHttp,
    PythonOption,
    Strict,
    check_format,
    parse_pairs,
    refuse,
)
from gpucheck.cli.output import has_colour, write


def image(
    reference: Annotated[
        str,
        typer.Argument(metavar="REF", help="A name in an engine or a registry, an archive, an OCI layout or a folder"),
    ],
    format: Annotated[
        str, typer.Option("--format", help="text, json, junit, sarif, html, or labels: a Dockerfile that sets them")
    ] = "text",
    output: Output = None,
    platform: ForPlatform = None,
    plain_http: PlainHttp = False,
    no_cache: NoCache = False,
    env: Annotated[
        Optional[list[str]], typer.Option("--env", help="NAME=VALUE over the image's own; repeatable")
    ] = None,
    python: PythonOption = None,
    labels_only: Annotated[
        bool, typer.Option("--labels-only", help="Judge by the image's config alone; no layer is read")
    ] = False,
    verify_labels: Annotated[
        bool, typer.Option("--verify-labels", help="Compare its labels with what is in it")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Small layers and the GPU code of all libraries too")
    ] = False,
    strict: Strict = False,
    no_color: NoColor = False,
) -> None:
    """Say what is in an image and what it needs of a node.

    Libraries, GPU code, which copies win; drivers and GPUs that it runs on. Executes nothing from it.
    """
    from gpucheck.contents import command as contents

    check_format(format, contents.FORMATS)
    if labels_only and (verify_labels or format not in ("text", "json") or env or python):
        refuse("--labels-only looks into no layer: it goes with --format text or json, and --platform")
    if verify_labels and format not in ("text", "json"):
        refuse("--verify-labels compares labels: it goes with --format text or json")
    colour = format == "text" and has_colour(output, no_color)
    if labels_only:
        answer = contents.run_labels_only(
            describe_image(reference, platform, plain_http), format=format, strict=strict, colour=colour
        )
    else:
        pairs = parse_pairs("--env", env or [])
        opened = open_layers(Place(None, [], reference, platform, plain_http, no_cache), pairs)
        if python is not None and opened.system.resolve(python) is None:
            refuse(f"--python {python}: there is no interpreter or environment in the image")
        if verify_labels:
            answer = contents.run_verify_labels(opened, format=format, python=python)
        else:
            answer = contents.run(
                opened, format=format, strict=strict, colour=colour, everything=everything, python=python
            )
    write(answer.text, output)
    raise typer.Exit(answer.status)
