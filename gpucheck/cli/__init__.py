"""The program: finds the command that is asked for, runs it and exits. Nothing here knows about GPUs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer._click.exceptions import NoArgsIsHelpError, UsageError  # Typer has no public names for them.
from typer.core import TyperGroup

from gpucheck import __version__

#: Where the function of each command is, in the order in which help lists them.
COMMANDS = {
    "doctor": "gpucheck.cli.doctor:doctor",
    "project": "gpucheck.cli.project:project",
    "image": "gpucheck.cli.image:image",
    "compat": "gpucheck.cli.compat:compat",
    "recommend": "gpucheck.cli.compat:recommend",
    "libs": "gpucheck.cli.loading:libs",
    "trace": "gpucheck.cli.loading:trace",
    "snapshot": "gpucheck.cli.doctor:snapshot",
    "explain": "gpucheck.cli.knowledge:explain",
    "kb": "gpucheck.cli.knowledge:knowledge",
    "new": "gpucheck.cli.project:new",
    "update": "gpucheck.cli.project:update",
    "agent": "gpucheck.cli.agent:agent",
}


def find(name: str) -> Callable[..., None]:
    """The function of a command. A command that is not asked for is not imported."""
    module, _, function = COMMANDS[name].partition(":")
    found: Callable[..., None] = getattr(import_module(module), function)
    return found


class Program(TyperGroup):
    """The commands; what is wrong with the words that were typed is said in one line, with what to do, and ends with 2."""

    def main(self, *words: Any, **settings: Any) -> NoReturn:
        """Run what was typed; ends with ``SystemExit``."""
        try:
            status = super().main(*words, **{**settings, "standalone_mode": False})
        except NoArgsIsHelpError as error:
            error.show()
            status = error.exit_code
        except UsageError as error:
            print(f"gpucheck: {complain(error)}", file=sys.stderr)
            status = error.exit_code
        except typer.Abort:
            status = 1
        sys.exit(status)


def complain(error: UsageError) -> str:
    """What is wrong with the words that were typed, and where to read on."""
    command = error.ctx.info_name or "" if error.ctx and error.ctx.parent else ""
    what = error.format_message().rstrip(".")
    what = f"{what[:1].lower()}{what[1:]}"
    asked = getattr(error, "param", None)
    if asked and what.startswith("missing "):
        name = asked.metavar if asked.param_type_name == "argument" else asked.opts[0]
        what = f"{name} is missing: {asked.help[:1].lower()}{asked.help[1:]}"
    return f"{command}{': ' if command else ''}{what} (see: gpucheck {command}{' ' if command else ''}--help)"


def version(asked: bool) -> None:
    """Print the version and exit."""
    if asked:
        print(f"gpucheck {__version__}")
        raise typer.Exit


def main(
    version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version")
    ] = False,
) -> None:
    """Will this code reach a GPU here, and if not, why and what is the fix?"""


def program(words: Sequence[str]) -> typer.Typer:
    """The program for what was typed: with the command that is asked for, or with all of them.

    Making ten commands ready where one is asked for takes a tenth of the doctor's time.
    """
    app = typer.Typer(
        name="gpucheck",
        cls=Program,
        help="Will this code reach a GPU here, and if not, why and what is the fix?",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(main)
    asked = next((word for word in words if not word.startswith("-")), "")
    for name in (asked,) if asked in COMMANDS else COMMANDS:
        # What follows the first word of a traced command is the command's own.
        settings = {"allow_interspersed_args": False} if name == "trace" else {}
        app.command(name, context_settings=settings)(find(name))
    return app


def run() -> None:
    """Run the command that was typed; ends with ``SystemExit``."""
    try:
        program(sys.argv[1:])()
    except BrokenPipeError:
        # The reader of a pipe went away, as head(1) does: point the file descriptor elsewhere, so that the flush at exit works.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def main_program() -> NoReturn:
    """As ``run``, without taking the program apart at its end, which is a third of the doctor's time."""
    code: int | str | None = 0
    try:
        run()
    except SystemExit as end:
        code = end.code
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = 1
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)
