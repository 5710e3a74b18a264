"""The options that commands share, and what is said of a value that cannot be."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Annotated, NoReturn, Optional

import typer

#: What a command can print that makes no report.
PLAIN_FORMATS = ("text", "json")

# typer reads annotations at run time: Optional[...] works on every Python that is supported.
Format = Annotated[str, typer.Option("--format", help="text, json, junit, sarif or html")]
PlainFormat = Annotated[str, typer.Option("--format", help="text or json")]
Output = Annotated[Optional[str], typer.Option("--output", "-o", help="Write to this file instead of standard output")]
Root = Annotated[
    Optional[str], typer.Option("--root", help="Look at the files below this folder; nothing there is executed")
]
Env = Annotated[
    Optional[list[str]], typer.Option("--env", help="NAME=VALUE in the environment of the root; repeatable")
]
FromImage = Annotated[
    Optional[str],
    typer.Option("--image", metavar="REF", help="Look into this image: a name, an archive, an OCI layout, a folder"),
]
ForPlatform = Annotated[Optional[str], typer.Option("--platform", help="Of an image for many: linux/arm64")]
PlainHttp = Annotated[bool, typer.Option("--plain-http", help="Ask the image's registry without TLS")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Read every layer of the image anew, remember none")]
FromSnapshot = Annotated[Optional[str], typer.Option("--snapshot", help="Judge this snapshot file instead of looking")]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 1 on warnings too")]
NoColor = Annotated[bool, typer.Option("--no-color", help="No colours, on a terminal too")]
PythonOption = Annotated[
    Optional[str], typer.Option("--python", help="The interpreter or environment folder whose packages to look at")
]
Timeout = Annotated[float, typer.Option("--timeout", help="Seconds that a call into the driver may take", min=0.1)]
Data = Annotated[
    Optional[list[str]], typer.Option("--data", "-d", help="NAME=VALUE: an answer to a question; repeatable")
]
NodeOption = Annotated[
    Optional[list[str]],
    typer.Option(
        "--node",
        help="driver=VERSION,gpu=NAME[,toolkit=VERSION,mode=cdi|legacy|csv|gke|none,arch=...,name=...]; a snapshot or a file or folder of many; or a cloud's node image (gpucheck kb clouds); repeatable",
    ),
]
Set = Annotated[
    Optional[list[str]],
    typer.Option("--set", metavar="FACT=VALUE", help="What if: driver=580, gpu=B200, torch=2.9.0+cu128; repeatable"),
]
Template = Annotated[Optional[str], typer.Option("--template", help="Git URL or folder of the templates")]
TemplateVersion = Annotated[Optional[str], typer.Option("--version", help="A tag or commit; default: the newest")]


def refuse(message: str) -> NoReturn:
    """Say in one line what is wrong with the input, and exit with 2."""
    print(f"gpucheck: {message}", file=sys.stderr)
    raise typer.Exit(2)


def parse_pairs(option: str, pairs: list[str]) -> dict[str, str]:
    """``NAME=VALUE`` options as a mapping."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            refuse(f"{option} {pair}: expected NAME=VALUE")
        found[name] = value
    return found


def check_format(format: str, formats: Iterable[str]) -> None:
    """Refuse a format that there is not."""
    if format not in formats:
        refuse(f"--format {format}: choose one of {', '.join(formats)}")
