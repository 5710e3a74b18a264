"""``gpucheck-fake-driver``: build the fake driver, lay it out with a script, run programs on it."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated, NoReturn, Optional

import typer

from gpucheck.fakedriver import library, tables

app = typer.Typer(
    name="gpucheck-fake-driver",
    help="A fake libcuda.so.1 and libnvidia-ml.so.1 that answer what a script says (docs/fake-driver.md).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Gpu = Annotated[
    Optional[list[str]], typer.Option("--gpu", help="A GPU, or several: H100, H100:2, none; repeatable. Default: H100")
]
Driver = Annotated[Optional[str], typer.Option("--driver", help="The driver's version, as 580.95.05")]
Cuda = Annotated[Optional[str], typer.Option("--cuda", help="Its CUDA version, as 13.0; by default that of the branch")]
Set = Annotated[
    Optional[list[str]], typer.Option("--set", help="KEY=VALUE: a line of the script, as cuInit=999; repeatable")
]
ScriptFile = Annotated[Optional[str], typer.Option("--script", help="Start from this script file")]
Compiler = Annotated[str, typer.Option("--cc", help="The C compiler; default: cc, gcc or clang")]
Folder = Annotated[Optional[str], typer.Option("--into", help="The folder to put it in; default: a place in the cache")]


def refuse(message: str) -> NoReturn:
    """Say in one line what is wrong with the input, and exit with 2."""
    print(f"gpucheck-fake-driver: {message}", file=sys.stderr)
    raise typer.Exit(2)


def compose(
    gpus: list[str] | None,
    driver: str | None,
    cuda: str | None,
    lines: list[str] | None,
    file: str | None,
) -> str:
    """The text of a script, from the options of a command."""
    try:
        text = Path(file).read_text(encoding="utf-8") if file else ""
    except (OSError, UnicodeDecodeError) as error:
        refuse(f"--script {file}: {error}")
    if text and not text.endswith("\n"):
        text += "\n"
    if not file or gpus:
        text += "".join(f"gpu = {gpu}\n" for gpu in gpus or ["H100"])
    if driver:
        text += f"driver = {driver}\n"
    if cuda:
        text += f"cuda = {cuda}\n"
    for line in lines or []:
        key, equals, value = line.partition("=")
        if not equals:
            refuse(f"--set {line}: write it as KEY=VALUE, for example --set cuInit=999")
        text += f"{key} = {value}\n"
    return text


def lay_out(folder: Path, text: str, compiler: str) -> dict[str, str]:
    """A driver with this script in a folder; ends the program where that cannot be."""
    try:
        return library.lay_out(folder, text, library.build(compiler))
    except library.BadScript as error:
        refuse(_named(str(error), folder, text))
    except library.CannotBuild as error:
        refuse(str(error))


def _named(problem: str, folder: Path, text: str) -> str:
    """The problem with the line that it is about: who wrote options knows nothing of the file made of them."""
    rest = problem.removeprefix(f"{folder / library.FILE}:").lstrip()
    number, colon, reason = rest.partition(": ")
    if colon and number.isdigit():
        return f"{text.splitlines()[int(number) - 1]}: {reason}"
    return rest


@app.command()
def build(into: Folder = None, compiler: Compiler = "") -> None:
    """Compile the two libraries and print their folder."""
    try:
        print(library.build(compiler, folder=Path(into) if into else None))
    except library.CannotBuild as error:
        refuse(str(error))


@app.command()
def gpus() -> None:
    """List the GPUs that a script can name."""
    for model in tables.models():
        print(f"{model.key:<12} {model.capability:>5}  {model.memory:>6} MiB  {model.name}")


@app.command()
def check(path: Annotated[str, typer.Argument(help="The script file")], compiler: Compiler = "") -> None:
    """Say whether a script is understood."""
    try:
        library.check(Path(path), library.build(compiler))
    except (library.BadScript, library.CannotBuild) as error:
        refuse(str(error))


@app.command()
def env(
    into: Annotated[str, typer.Option("--into", help="The folder to put the driver in")],
    gpu: Gpu = None,
    driver: Driver = None,
    cuda: Cuda = None,
    set: Set = None,
    script: ScriptFile = None,
    compiler: Compiler = "",
) -> None:
    """Lay a driver out in a folder and print the variables that make programs use it, for ``eval`` in a shell."""
    import shlex

    for name, value in lay_out(Path(into), compose(gpu, driver, cuda, set, script), compiler).items():
        print(f"export {name}={shlex.quote(os.path.abspath(value))}")


@app.command(context_settings={"ignore_unknown_options": False})
def run(
    command: Annotated[list[str], typer.Argument(help="The program and its arguments, after --")],
    gpu: Gpu = None,
    driver: Driver = None,
    cuda: Cuda = None,
    set: Set = None,
    script: ScriptFile = None,
    log: Annotated[Optional[str], typer.Option("--log", help="Append each call to this file")] = None,
    compiler: Compiler = "",
) -> None:
    """Run a program on a driver that is made for it, and exit as it does."""
    import subprocess

    with tempfile.TemporaryDirectory(prefix="fake-driver-") as folder:
        added = lay_out(Path(folder), compose(gpu, driver, cuda, set, script), compiler)
        if log:
            added[library.LOG] = os.path.abspath(log)
        try:
            status = subprocess.run(command, env=library.environment(added), check=False).returncode
        except OSError as error:
            refuse(f"{command[0]}: {error.strerror}")
    # As a shell says it: 128 and the signal's number.
    raise typer.Exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    app()
