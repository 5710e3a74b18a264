"""Importing a framework for real, in a child process that is watched and has a deadline."""

from __future__ import annotations

import os
import signal
import sys
import tempfile

from gpucheck.facts import Imported, Seen, Unseen, Why
from gpucheck.system import Local, Ran


def imported(name: str, interpreter: str | None, deadline: float) -> Seen[Imported] | Unseen:
    """What comes of ``import NAME``: in the interpreter or environment that was named, else the first on PATH.

    The driver and runtime calls that it makes are watched where that is possible (gpucheck.trace.calls): the first that
    failed is part of the answer. UNREADABLE when no interpreter can be started.
    """
    from gpucheck.trace.calls import Refusal, diagnose, prepare, read

    python = find_python(interpreter)
    with tempfile.TemporaryDirectory(prefix="gpucheck-") as folder:
        additions = prepare(os.environ, folder)
        watched = not isinstance(additions, Refusal)
        env = {**os.environ, **additions} if not isinstance(additions, Refusal) else dict(os.environ)
        try:
            ran = Local(env).start(python, "-c", f"import {name}", timeout=deadline).finish()
        except OSError as error:
            return Unseen(Why.UNREADABLE, (python,), f"{python}: {error.strerror}")
        diagnosis = diagnose(read(folder)) if watched else None
    call = diagnosis.summary if diagnosis else ""
    return Seen(Imported(name, python, trouble(ran, deadline), call), f"{python} -c 'import {name}'")


def find_python(interpreter: str | None) -> str:
    """The interpreter to run: one that is named, one of an environment, the first on PATH, gpucheck's own."""
    if interpreter is not None:
        return os.path.join(interpreter, "bin", "python") if os.path.isdir(interpreter) else interpreter
    folders = [
        os.path.join(os.environ[name], "bin") for name in ("VIRTUAL_ENV", "CONDA_PREFIX") if os.environ.get(name)
    ]
    for folder in (*folders, *os.environ.get("PATH", "").split(":")):
        for name in ("python3", "python"):
            if folder and os.access(os.path.join(folder, name), os.X_OK):
                return os.path.join(folder, name)
    return sys.executable


def trouble(ran: Ran, deadline: float) -> str:
    """'' when the import succeeded, else how it ended, with the last line that it wrote."""
    if ran.status == 0:
        return ""
    if ran.status is None:
        return f"does not end within {deadline:g} s"
    if ran.status < 0:
        try:
            return f"is killed by {signal.Signals(-ran.status).name}"
        except ValueError:
            return f"is killed by signal {-ran.status}"
    last = ran.stderr.strip().splitlines()[-1:]
    return "fails: " + (last[0][:400] if last else f"exit status {ran.status}")
