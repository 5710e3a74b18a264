"""``gpucheck trace -- COMMAND...``: run it, then say what it looked for and what the doctor thinks of that."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial

from gpucheck.trace.child import run as run_child
from gpucheck.trace.program import NotRunnable, Program, find_program, why_not_started
from gpucheck.trace.watch import BACKENDS, Logs, Plan, plan


def run(
    command: Sequence[str],
    *,
    backend: str = "auto",
    output: str | None = None,
    format: str = "text",
    show_all: bool = False,
    colour: bool | None = None,
    calls: bool = False,
) -> int:
    """Run a command and report to standard error, or to the file ``output``.

    ``colour``: None asks the terminal. ``calls``: watch the calls of driver, runtime and NVML too. The exit status is the
    command's own, as a shell gives it; 127 and 126 when it cannot be started; 2 for options that make no sense.
    """
    if backend not in BACKENDS:
        return _refuse(f"--backend {backend}: choose one of {', '.join(BACKENDS)}")
    if format not in ("text", "json"):
        return _refuse(f"--format {format}: choose one of text, json")
    if not command:
        return _refuse("no command to run; name it: gpucheck trace -- COMMAND [ARGUMENT]...")
    if output is not None and (complaint := _unwritable(output)):
        return _refuse(complaint)
    try:
        program = find_program(command[0], os.environ)
    except NotRunnable as error:
        print(f"gpucheck: {error}", file=sys.stderr)
        return error.status
    chosen = plan(backend, program, os.environ)
    if colour is None:
        colour = output is None and _is_coloured()
    try:
        logs = Logs(chosen)
    except OSError as error:
        return _refuse(
            f"{error.filename}: no folder for the logs: {error.strerror}; set TMPDIR to one that can be written"
        )
    with logs:
        folder, added, notes = _watch_calls(program, logs) if calls else (None, {}, ())
        if "LD_DEBUG" in os.environ and "ld-debug" in chosen.witnesses:
            notes += ("LD_DEBUG was set: the trace has its own value",)
        nothing = logs.new_folder()
        started = time.monotonic()
        try:
            ended = run_child(
                *logs.command(program.path, command, os.environ, added), meanwhile=partial(_load, nothing)
            )
        except OSError as error:
            print(f"gpucheck: {command[0]}: {why_not_started(program, error)}", file=sys.stderr)
            return 126
        seconds = time.monotonic() - started
        if left := logs.find_left():
            numbers = ", ".join(map(str, left[:8]))
            notes += (f"still running: {numbers}; what they do now is not in this report, and {logs.outer} stays",)
        chosen = Plan(chosen.witnesses, chosen.strace, (*chosen.notes, *notes))
        try:
            from gpucheck.trace.report import Run, report

            text = report(Run(tuple(command), program, chosen, ended, seconds, folder), logs, format, show_all, colour)
        except Exception as defect:
            # The command's exit status is worth more than the report.
            text = f"gpucheck: the report failed: {type(defect).__name__}: {defect}\n"
    _write(text, output)
    return ended.status


def _watch_calls(program: Program, logs: Logs) -> tuple[str | None, Mapping[str, str], tuple[str, ...]]:
    """The folder that calls are written to, the variables that make it so, and what stands against it."""
    from gpucheck.trace.calls import Refusal, obstacle, prepare

    folder = logs.new_folder()
    prepared = prepare(os.environ, folder)
    if isinstance(prepared, Refusal):
        return None, {}, (f"calls are not watched: {prepared.reason}",)
    reason = obstacle(program)
    return folder, prepared, (f"calls are not watched: {reason}",) if reason else ()


def _load(nothing: str) -> None:
    """Load the code and the tables of the report while the command runs, on a processor that it may leave idle.

    ``nothing``: an empty folder, which the probes look at and the rules judge, for the sake of what is loaded by that.
    """
    import gpucheck.trace.report  # noqa: F401
    from gpucheck import kb
    from gpucheck.elf import dlopens
    from gpucheck.engine import judge
    from gpucheck.kb import pairs, traced
    from gpucheck.probes import observe
    from gpucheck.system import Rootfs

    judge(observe(Rootfs(nothing)))
    for table in (dlopens.rows, pairs.pairs, kb.cuda_codes, kb.nvml_codes):
        table()
    traced.is_library("")
    traced.is_optional("", "", "dlopen")


def _is_coloured() -> bool:
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _unwritable(path: str) -> str | None:
    """Why the report cannot go there: said before the command runs for an hour."""
    try:
        with open(path, "a", encoding="utf-8"):
            return None
    except OSError as error:
        return f"--output {path}: {error.strerror}"


def _write(text: str, output: str | None) -> None:
    # File names need not be UTF-8: what is not goes out escaped.
    data = text.encode("utf-8", "backslashreplace")
    try:
        if output is not None:
            with open(output, "wb") as file:
                file.write(data)
            return
        sys.stderr.flush()
        while data:
            data = data[os.write(sys.stderr.fileno(), data) :]
    except OSError as error:
        if output is not None:
            print(f"gpucheck: --output {output}: {error.strerror}", file=sys.stderr)


def _refuse(message: str) -> int:
    print(f"gpucheck: {message}", file=sys.stderr)
    return 2
