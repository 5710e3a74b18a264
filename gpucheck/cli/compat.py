"""Images against nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Optional

import typer

from gpucheck.cli.look import Place, describe_image, open_layers
from gpucheck.cli.options import (
    PLAIN_FORMATS,
    Format,
    ForPlatform,
    NoCache,
    NoColor,
    NodeOption,
    Output,
    PlainFormat,
    PlainHttp,
    Set,
    Strict,
    check_format,
    refuse,
)
from gpucheck.cli.output import has_colour, write

if TYPE_CHECKING:
    from gpucheck.contract import Contract


def compat(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE...", help="Images as gpucheck image takes them, or files that it wrote with --format json"
        ),
    ],
    node: NodeOption = None,
    platform: ForPlatform = None,
    plain_http: PlainHttp = False,
    no_cache: NoCache = False,
    sets: Set = None,
    format: Format = "text",
    output: Output = None,
    strict: Strict = False,
    no_color: NoColor = False,
) -> None:
    """Say on which nodes an image will reach a GPU.

    Before anything is pulled or scheduled, with the reason and the smallest change that would make it work.
    """
    from gpucheck.compat.command import BadInput, compare
    from gpucheck.render import MATRIX_FORMATS, render_matrix

    check_format(format, MATRIX_FORMATS)
    if not node:
        refuse(
            "compat: name a node: --node driver=550.54.15,gpu=A100, a snapshot file, or a cloud's node image (gpucheck kb clouds)"
        )

    def look(reference: str) -> Contract:
        from gpucheck.contents.command import find_contract

        return find_contract(
            reference,
            lambda: describe_image(reference, platform, plain_http),
            lambda: open_layers(Place(None, [], reference, platform, plain_http, no_cache), {}),
        )

    try:
        table = compare(images, look, node, sets or [])
    except BadInput as error:
        refuse(str(error))
    write(render_matrix(table, format, has_colour(output, no_color)), output)
    raise typer.Exit(table.exit_code(strict))


def recommend(
    library: Annotated[str, typer.Option("--library", help="torch, jax, ...: gpucheck kb builds")],
    gpu: Annotated[
        Optional[str], typer.Option("--gpu", help="The GPUs that it must run on, all of them: H100,V100")
    ] = None,
    driver: Annotated[Optional[str], typer.Option("--driver", help="The nodes' driver: 535, 550.54.15")] = None,
    node: NodeOption = None,
    format: PlainFormat = "text",
    output: Output = None,
    no_color: NoColor = False,
) -> None:
    """Name the newest builds that run on given GPUs and drivers.

    With the index and the base image, and what each choice gives up.
    """
    from gpucheck.compat.command import BadInput, recommendation
    from gpucheck.render.advice import render

    check_format(format, PLAIN_FORMATS)
    try:
        advice = recommendation(library, gpu, driver, node or [])
    except BadInput as error:
        refuse(str(error))
    write(render(advice, format, has_colour(output, no_color)), output)
    raise typer.Exit(0 if advice.choices else 1)
