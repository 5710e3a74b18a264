"""The commands: build a System, ask the engine, print, exit. Nothing here knows about GPUs."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, NoReturn, Optional

import typer

from gpucheck import __version__
from gpucheck.record import dataclass

if TYPE_CHECKING:
    from gpucheck.contract import Contract
    from gpucheck.facts import Snapshot
    from gpucheck.finding import Report
    from gpucheck.images.opening import Image
    from gpucheck.images.records import Described
    from gpucheck.system import System

#: Seconds that importing a framework may take at least: gigabytes are read from a cold disk.
IMPORT_TIMEOUT = 120.0

#: The commands by name, in the order in which help lists them.
COMMANDS: dict[str, Callable[..., None]] = {}


def command(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add a function to the commands."""

    def add(function: Callable[..., None]) -> Callable[..., None]:
        COMMANDS[name] = function
        return function

    return add


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


@command("doctor")
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
    check_format(format)
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


@command("project")
def project(
    path: Annotated[str, typer.Argument(help="The project's folder")] = ".",
    format: Format = "text",
    output: Output = None,
    snapshot: FromSnapshot = None,
    strict: Strict = False,
    no_color: NoColor = False,
) -> None:
    """Check a repository before it is built.

    Reads it, executes nothing, and says whether library builds, wheel indexes and base images fit each other.
    """
    from gpucheck import engine
    from gpucheck.rules import RULES, Layer

    check_format(format)
    rules = tuple(rule for rule in RULES if rule.layer is Layer.PROJECT)
    report = engine.judge(look_at_project(path, snapshot), rules)
    show(report, "project", format, output, no_color)
    raise typer.Exit(report.exit_code(strict))


@command("image")
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

    if format not in contents.FORMATS:
        refuse(f"--format {format}: choose one of {', '.join(contents.FORMATS)}")
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


@command("libs")
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

    if format not in ("text", "json"):
        refuse(f"--format {format}: choose one of text, json")
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


@command("trace")
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


@command("snapshot")
def take_snapshot(
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


@command("explain")
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


@command("new")
def new(
    project_type: Annotated[str, typer.Argument(metavar="TYPE", help="library, batch-job or service")],
    destination: Annotated[str, typer.Argument(help="A new or empty folder")],
    data: Data = None,
    template: Template = None,
    version: TemplateVersion = None,
) -> None:
    """Start a project from the templates.

    Every question has a default; answer with --data. Needs gpu-capable[templates].
    """
    from pathlib import Path

    from gpucheck.project.template import TemplateError, create, find_source

    try:
        answers = {**parse_pairs("--data", data or []), "project_type": project_type}
        made = create(template or find_source(), Path(destination), answers, version)
    except TemplateError as error:
        refuse(str(error))
    print(f"started {made.destination}" + (f" from the template's version {made.version}" if made.version else ""))
    print(f"next: cd {made.destination} && git init && git add --all && git commit -m Start && scripts/check.sh")


@command("update")
def update(
    destination: Annotated[str, typer.Argument(help="The project's folder")] = ".",
    data: Data = None,
    version: TemplateVersion = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change")] = False,
) -> None:
    """Update a project from its template.

    What was edited there stays. Needs gpu-capable[templates].
    """
    from pathlib import Path

    from gpucheck.project.template import TemplateError
    from gpucheck.project.template import update as bring

    try:
        done = bring(Path(destination), parse_pairs("--data", data or []), version, dry_run)
    except TemplateError as error:
        refuse(str(error))
    print(f"{'would update' if dry_run else 'updated'} {destination}: {done.before} -> {done.after}")
    for word, paths in (("changed", done.changed), ("removed", done.removed), ("conflict", done.conflicts)):
        for path in paths:
            print(f"  {word:<9} {path}")
    if done.conflicts:
        print("gpucheck: resolve the conflicts, then commit; to undo: git reset --hard", file=sys.stderr)
        raise typer.Exit(1)


@command("agent")
def agent(
    once: Annotated[bool, typer.Option("--once", help="Look and publish once, then exit")] = False,
    node: Annotated[str, typer.Option("--node", help="The node's name; default: $NODE_NAME")] = "",
    root: Annotated[str, typer.Option("--root", help="Where the node's root is mounted")] = "/",
    interval: Annotated[float, typer.Option("--interval", help="Seconds between two looks", min=1)] = 60.0,
) -> None:
    """Publish a node's state to Kubernetes.

    Driver, CUDA version, GPUs and verdict, as labels and a node condition. Needs gpu-capable[kubernetes].
    """
    from gpucheck.cluster.agent import run as watch

    raise typer.Exit(watch(os.environ, node=node, root=root, once=once, interval=interval))


@command("compat")
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

    if format not in MATRIX_FORMATS:
        refuse(f"--format {format}: choose one of {', '.join(MATRIX_FORMATS)}")
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


@command("recommend")
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

    if format not in ("text", "json"):
        refuse(f"--format {format}: choose one of text, json")
    try:
        advice = recommendation(library, gpu, driver, node or [])
    except BadInput as error:
        refuse(str(error))
    write(render(advice, format, has_colour(output, no_color)), output)
    raise typer.Exit(0 if advice.choices else 1)


@command("kb")
def knowledge(
    words: Annotated[Optional[list[str]], typer.Argument(metavar="[TABLE] [WORD]...")] = None,
    format: PlainFormat = "text",
    output: Output = None,
) -> None:
    """List and search the knowledge base.

    Every row has its source and the date it was checked.
    """
    from gpucheck.kb.command import NothingFound, list_tables, search

    if format not in ("text", "json"):
        refuse(f"--format {format}: choose one of text, json")
    try:
        write(search(words, format) if words else list_tables(format), output)
    except NothingFound as error:
        refuse(str(error))


# -- shared by the commands --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """Where to look, as the options say; by default this machine."""

    root: str | None
    env: list[str]
    image: str | None
    platform: str | None
    plain_http: bool
    no_cache: bool


def look(where: Place, snapshot: str | None, python: str | None, timeout: float) -> Snapshot:
    """The snapshot that the options ask for."""
    from gpucheck.probes import observe

    if snapshot is not None:
        if (where.root, where.image) != (None, None):
            refuse(f"--snapshot and {'--root' if where.root is not None else '--image'} exclude each other")
        return read_snapshot(snapshot)
    system = open_system(where)
    if python is not None and system.resolve(python) is None:
        refuse(f"--python {python}: there is no interpreter or environment")
    return observe(system, python, timeout)


def open_system(where: Place, *, live_env: bool = False) -> System:
    """This machine, an image, or the files below a folder.

    ``live_env``: variables may be added to this machine's environment.
    """
    from gpucheck.system import Local, Rootfs

    root = where.root
    if root is None and where.image is None and where.env and not live_env:
        refuse("--env goes with --root or --image: a live system has its own environment")
    pairs = parse_pairs("--env", where.env)
    if where.image is not None:
        return open_layers(where, pairs).system
    if where.platform is not None:
        refuse("--platform goes with --image")
    try:
        return Rootfs(root, pairs) if root is not None else Local({**os.environ, **pairs}) if pairs else Local()
    except OSError as error:
        refuse(f"--root {root}: {error.strerror}")


def open_layers(where: Place, env: dict[str, str]) -> Image:
    """An image with its files, which stay open until the command ends."""
    from gpucheck.images.opening import open_image
    from gpucheck.images.progress import Progress
    from gpucheck.images.records import ImageError

    if where.root is not None:
        refuse("--image and --root exclude each other")
    progress = Progress(sys.stderr)
    try:
        return open_image(
            where.image or "",
            platform=where.platform,
            env=env,
            progress=progress if sys.stderr.isatty() else None,
            cache=not where.no_cache,
            plain_http=where.plain_http,
        )
    except ImageError as error:
        refuse(str(error))
    finally:
        progress.clear()


def describe_image(reference: str, platform: str | None, plain_http: bool) -> Described:
    """An image's config, without its files."""
    from gpucheck.images.opening import read_config
    from gpucheck.images.records import ImageError

    try:
        return read_config(reference, platform=platform, plain_http=plain_http)
    except ImageError as error:
        refuse(str(error))


def what_if(snapshot: Snapshot, changes: list[str]) -> Snapshot:
    """The snapshot with some facts as they are not."""
    from gpucheck.compat import merge
    from gpucheck.compat.change import BadChange
    from gpucheck.compat.inventory import BadNode

    print(f"gpucheck: what if {', '.join(changes)}", file=sys.stderr)
    try:
        return merge.what_if(snapshot, changes)
    except (BadChange, BadNode) as error:
        refuse(str(error))


def look_at_project(path: str, snapshot: str | None) -> Snapshot:
    """The snapshot of a project's folder, or the one in a file."""
    from gpucheck.facts import NO_PROJECT
    from gpucheck.project.observation import observe_project
    from gpucheck.system import Rootfs

    if snapshot is not None:
        found = read_snapshot(snapshot)
        if found.project == NO_PROJECT:
            refuse(
                f"--snapshot {snapshot}: no project was looked at; make one with: gpucheck project --format json -o FILE"
            )
        return found
    try:
        return observe_project(Rootfs(path))
    except NotADirectoryError:
        refuse(f"{path}: not a folder; name the project's folder: gpucheck project FOLDER")
    except OSError as error:
        refuse(f"{path}: {error.strerror}; name the project's folder: gpucheck project FOLDER")


def parse_pairs(option: str, pairs: list[str]) -> dict[str, str]:
    """``NAME=VALUE`` options as a mapping."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            refuse(f"{option} {pair}: expected NAME=VALUE")
        found[name] = value
    return found


def read_snapshot(path: str) -> Snapshot:
    """A snapshot file; also the JSON of a report, which holds one."""
    import json

    from gpucheck.codec import Malformed, decode
    from gpucheck.facts import SCHEMA, Snapshot

    try:
        with sys.stdin if path == "-" else open(path, encoding="utf-8") as file:
            data = json.load(file)
    except OSError as error:
        refuse(f"--snapshot {path}: {error.strerror}")
    except (ValueError, RecursionError) as error:
        refuse(f"--snapshot {path}: not JSON ({error})")
    if isinstance(data, dict) and isinstance(data.get("snapshot"), dict):
        data = data["snapshot"]
    found = data.get("schema") if isinstance(data, dict) else None
    if found != SCHEMA:
        refuse(
            f"--snapshot {path}: schema {found!r}, this gpucheck reads {SCHEMA}; take it again with: gpucheck snapshot -o FILE"
        )
    try:
        return decode(Snapshot, data)
    except Malformed as error:
        refuse(f"--snapshot {path}: {error}")


def check_format(format: str) -> None:
    """Refuse a format that there is not."""
    from gpucheck.render import FORMATS

    if format not in FORMATS:
        refuse(f"--format {format}: choose one of {', '.join(FORMATS)}")


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


def program(words: Sequence[str]) -> typer.Typer:
    """The program for what was typed: with the command that is asked for, or with all of them.

    Making ten commands ready where one is asked for takes a tenth of the doctor's time.
    """
    app = typer.Typer(
        name="gpucheck",
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
        app.command(name, context_settings=settings)(COMMANDS[name])
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
