"""A repository: checked, started, updated."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gpucheck.cli.look import look_at_project
from gpucheck.cli.options import (
    Data,
    Format,
    FromSnapshot,
    NoColor,
    Output,
    Strict,
    Template,
    TemplateVersion,
    check_format,
    parse_pairs,
    refuse,
)
from gpucheck.cli.output import show


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
    from gpucheck.render import FORMATS
    from gpucheck.rules import RULES, Layer

    check_format(format, FORMATS)
    rules = tuple(rule for rule in RULES if rule.layer is Layer.PROJECT)
    report = engine.judge(look_at_project(path, snapshot), rules)
    show(report, "project", format, output, no_color)
    raise typer.Exit(report.exit_code(strict))


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
