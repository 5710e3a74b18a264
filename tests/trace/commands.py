"""Running ``gpucheck trace`` as a whole process, and small programs and libraries to run it on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema

from tests.needs import missing

ROOT = Path(__file__).resolve().parents[2]

#: The command as a program of its own; options are those of ``run``, as JSON.
DRIVER = """
import json, sys
from gpucheck.trace.command import run
sys.exit(run(sys.argv[2:], **json.loads(sys.argv[1])))
"""

#: dlopens its arguments in order; @NAME looks up a symbol, =NAME prints an environment variable, !N exits with N.
OPENER = """
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] == '@') { printf("%s %s\\n", argv[i], dlsym(RTLD_DEFAULT, argv[i] + 1) ? "there" : "missing"); continue; }
        if (argv[i][0] == '!') return atoi(argv[i] + 1);
        printf("%s %s\\n", argv[i], dlopen(argv[i], RTLD_NOW) ? "ok" : dlerror());
        fflush(stdout);
    }
    return 0;
}
"""


@dataclass(frozen=True)
class Traced:
    """A finished ``gpucheck trace``."""

    status: int
    stdout: str
    stderr: str
    document: dict[str, Any]

    def resolution(self, soname: str, requester: str | None = None) -> dict[str, Any]:
        """The one record for a name (the end of one)."""
        found = [
            each
            for each in self.document["resolutions"]
            if each["soname"].endswith(soname) and (requester is None or str(each["requester"]).endswith(requester))
        ]
        assert len(found) == 1, found
        return found[0]


def argv(*command: str, python: str = sys.executable, **options: object) -> list[str]:
    """The argument list of a traced command."""
    return [python, "-c", DRIVER, json.dumps(options), *command]


def environment(**variables: str) -> dict[str, str]:
    """A small environment that finds gpucheck."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {**kept, "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8", **variables}


def trace(
    *command: str,
    folder: Path,
    input: str = "",
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    prefix: Sequence[str] = (),
    python: str = sys.executable,
    **options: object,
) -> Traced:
    """Trace a command; the report is read as JSON from a file in ``folder``."""
    report = folder / "trace.json"
    done = subprocess.run(
        [*prefix, *argv(*command, python=python, format="json", output=str(report), **options)],
        input=input,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd or folder,
        env=environment(**(env or {})),
        check=False,
    )
    text = report.read_text() if report.exists() else ""
    return Traced(done.returncode, done.stdout, done.stderr, conforming(text) if text else {})


SCHEMA = jsonschema.Draft202012Validator(json.loads((ROOT / "docs/schema/trace.json").read_text()))


def conforming(text: str) -> dict[str, Any]:
    """A document that follows the published schema."""
    document: dict[str, Any] = json.loads(text)
    SCHEMA.validate(document)
    return document


def compiler() -> str:
    """A C compiler."""
    found = shutil.which("gcc") or shutil.which("cc")
    if found is None:
        missing("gpucheck trace of compiled programs", "install a C compiler (apt install gcc libc6-dev)")
    return found


def build_opener(folder: Path, *, flags: Sequence[str] = ()) -> Path:
    """The program that opens its arguments."""
    target = folder / "opener"
    subprocess.run([compiler(), "-x", "c", "-", "-o", str(target), *flags], input=OPENER, text=True, check=True)
    return target


def build_library(path: Path, code: str = "", *flags: str) -> Path:
    """A library whose SONAME is its file name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [
            compiler(), "-shared", "-fPIC", "-x", "c", "-", "-x", "none", "-o", str(path),
            f"-Wl,-soname,{path.name}", "-Wl,--no-as-needed", *flags,
        ],
        input=code or "int answer = 42;",
        text=True,
        check=True,
    )  # fmt: skip
    return path


def strace() -> str:
    """strace, when it is there and may trace."""
    found = shutil.which("strace")
    if found is None:
        missing("gpucheck trace with strace", "apt-get install strace")
    return found
