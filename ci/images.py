"""Builds the images of the matrix with the Docker Engine and judges what was built.

python -m ci.images list          the rows and the images' full names
python -m ci.images build test    what ``make images`` does
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

from ci.contract import (
    AGENT,
    CONTRACT,
    Check,
    judge_agent,
    judge_configuration,
    judge_contract,
    judge_doctor,
    judge_files,
    judge_libraries,
    judge_python,
)
from ci.engine import Engine, EngineError, find_engine
from ci.matrix import BASES, Image, MatrixError, load
from gpucheck import __version__

ROOT = Path(__file__).resolve().parent.parent

#: Made by ``make pyz``; the base images carry it.
PYZ = Path("dist/gpucheck.pyz")

#: Made by ``make wheel``; it is installed into the agent's image.
WHEEL = Path(f"dist/gpu_capable-{__version__}-py3-none-any.whl")

#: Taken over from the environment, where set, by name: their values stay out of our command lines. Docker predefines
#: the proxies (https://docs.docker.com/build/building/variables/#proxy-arguments), the index is pip's own variable.
PASSED = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "PIP_INDEX_URL")

#: What a careful cluster allows: no network, no writable root, no capability. And no driver, where there is one: the
#: image itself is judged. NVIDIA_VISIBLE_DEVICES=void makes the NVIDIA runtime behave like runc.
CONFINED = ("--rm", "--network=none", "--read-only", "--cap-drop=ALL", "--env=NVIDIA_VISIBLE_DEVICES=void")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. 0: done, every promise kept; 1: a build failed or a promise is broken; 2: it cannot start."""
    options = _parse(arguments)
    try:
        matrix = load(ROOT / "base-images", date.today())
        named = {matrix.reference(row, __version__, options.tag_prefix): row for row in matrix.select(options.only)}
        ca = _find_ca(options.ca)
        engine = find_engine() if set(options.actions) != {"list"} else None
        for row in named.values() if "build" in options.actions else ():
            carried, target = (PYZ, "pyz") if row.family in BASES else (WHEEL, "wheel")
            if not (ROOT / carried).is_file():
                raise EngineError(f"{carried} is missing; make it first: make {target}")
    except (MatrixError, EngineError) as error:
        print(f"images: {error}", file=sys.stderr)
        return 2
    if "list" in options.actions:
        rows = [(name, row.upstream, row.eol.isoformat(), row.title) for name, row in named.items()]
        _print_table(("image", "upstream", "end of life", "title"), rows)
    if engine is None:
        return 0
    _say(f"{engine.client}, Docker Engine {engine.version}")
    if "build" in options.actions:
        for name, row in named.items():
            _say(f"building {name}" + (f", trusting {ca}" if ca else ""))
            if engine.build(build_arguments(row, name, options.upstream, ca)) or not _label(engine, row, name):
                _say(f"{name} was not built; docker's lines above say why")
                return 1
    if "test" not in options.actions:
        return 0
    checks = [(name, check) for name, row in named.items() for check in judge(engine, row, name)]
    _print_table(
        ("image", "promise", "result"), [(name, check.promise, check.complaint or "kept") for name, check in checks]
    )
    return 1 if any(check.complaint for _, check in checks) else 0


def _label(engine: Engine, image: Image, name: str) -> bool:
    """Give a base image its contract, which is known when its files are: gpucheck reads them. Whether that was done."""
    if image.family not in BASES:
        return True
    before = engine.run("image", "inspect", "--format", "{{.Id}}", name).stdout.strip()
    asked = _ask_gpucheck(ROOT / PYZ, name, "--format", "labels")
    lines = [line for line in asked.stdout.splitlines() if line.startswith(("FROM ", f"LABEL {CONTRACT}="))]
    if asked.returncode or len(lines) != 2:
        _say(f"{name} has no contract: {asked.stderr.strip() or 'gpucheck gives none'}")
        return False
    if engine.build(["--tag", name], "\n".join(lines) + "\n"):
        return False
    # The one without it has no name any more.
    engine.run("image", "rm", before)
    return True


def _ask_gpucheck(pyz: Path, name: str, *options: str) -> subprocess.CompletedProcess[str]:
    """gpucheck as one file under this Python, of an image in the engine: the host needs nothing installed."""
    return subprocess.run(
        [sys.executable, str(pyz), "image", f"docker:{name}", *options], capture_output=True, text=True, check=False
    )


def build_arguments(image: Image, name: str, upstream: str | None, ca: Path | None) -> list[str]:
    """What ``docker build`` is given for one row. The CA bundle is a build secret: no layer and no history holds it."""
    values = {
        "UPSTREAM": upstream or image.upstream,
        "PYTHON": image.python,
        "GPU": "true" if image.gpu else "false",
        "NAME": image.name,
        "TITLE": image.title,
        "FAMILY": image.family,
        "EOL": image.eol.isoformat(),
        "VERSION": __version__,
        "REVISION": _read_revision(),
    }
    if image.gpu:
        values |= {"CUDA": str(image.cuda), "DRIVER_FLOOR": str(image.driver_floor)}
    arguments = ["--tag", name, "--file", str(ROOT / "base-images" / "images" / image.directory / "Dockerfile")]
    for argument, value in values.items():
        arguments += ["--build-arg", f"{argument}={value}"]
    for variable in PASSED:
        if os.environ.get(variable):
            arguments += ["--build-arg", variable]
    if ca:
        arguments += ["--secret", f"id=ca,src={ca}"]
    return [*arguments, str(ROOT)]


def judge(engine: Engine, image: Image, name: str) -> tuple[Check, ...]:
    """Every promise of one built image: by its configuration, in a confined container, and by its files alone."""
    inspected = engine.run("image", "inspect", "--format", "{{json .Config}}", name)
    if inspected.returncode:
        return (Check("built", f"it is not; build it: python -m ci.images build --only {image.name}"),)
    configuration = json.loads(inspected.stdout)
    python = engine.run("run", *CONFINED, name, "python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
    doctor = engine.run("run", *CONFINED, name, "gpucheck", "doctor", "--format", "json")
    return (
        *judge_configuration(image, __version__, configuration),
        judge_python(image, python.returncode, python.stdout),
        judge_doctor(doctor.returncode, doctor.stdout, doctor.stderr),
        *(_judge_agent(engine, name) if image.family == "agent" else ()),
        *_judge_exported(engine, image, name, configuration.get("Env") or ()),
    )


def _judge_agent(engine: Engine, name: str) -> Iterator[Check]:
    for promise, command, beginning in AGENT:
        ran = engine.run("run", *CONFINED, name, *command)
        yield judge_agent(promise, beginning, ran.returncode, ran.stdout, ran.stderr)


def _judge_exported(engine: Engine, image: Image, name: str, env: Sequence[str]) -> Iterator[Check]:
    with tempfile.TemporaryDirectory(prefix="gpu-capable-") as root:
        try:
            paths = engine.export(name, root)
        except EngineError as error:
            yield Check("files", str(error))
            return
        if image.family != "toolkit":
            yield judge_libraries(paths)
        if image.family not in BASES:
            return
        given = [part for entry in env for part in ("--env", entry)]
        # The pyz that the image carries, under this Python: the host needs nothing installed.
        pyz = Path(root, "usr/local/bin/gpucheck")
        asked = subprocess.run(
            [sys.executable, str(pyz), "doctor", "--root", root, *given, "--format", "json"],
            capture_output=True,
            text=True,
            check=False,
        )
        yield judge_files(asked.returncode, asked.stdout, asked.stderr)
        for promise, option in (("labels suffice", "--labels-only"), ("labels are true", "--verify-labels")):
            asked = _ask_gpucheck(pyz, name, option)
            yield judge_contract(promise, asked.returncode, asked.stdout + asked.stderr)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ci.images", description="Build and judge the images.")
    parser.add_argument("actions", nargs="+", choices=("list", "build", "test"), metavar="list|build|test")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this row alone; repeatable")
    parser.add_argument("--upstream", metavar="REF", help="build on this image instead of the rows' own")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="CA bundle for the build; SSL_CERT_FILE unless told")
    parser.add_argument("--tag-prefix", default="gpu-capable", metavar="PREFIX", help="name images PREFIX/NAME:VERSION")
    return parser.parse_args(arguments)


def _find_ca(told: Path | None) -> Path | None:
    """A shell that needs a CA bundle of its own has SSL_CERT_FILE set (OpenSSL's variable), and so do its builds."""
    usual = os.environ.get("SSL_CERT_FILE")
    ca = told or (Path(usual) if usual else None)
    if ca and not ca.is_file():
        raise EngineError(f"the CA bundle {ca} is no file; name one with --ca")
    return ca.resolve() if ca else None


def _read_revision() -> str:
    """The commit, marked when the tree is not what was committed; "unknown" outside of a repository."""
    git = shutil.which("git")
    if not git:
        return "unknown"
    asked = subprocess.run(
        [git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() or "unknown"


def _say(line: str) -> None:
    print(f"images: {line}", file=sys.stderr)


def _print_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    sys.exit(main())
