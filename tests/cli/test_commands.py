"""The commands as a user types them: output, exit codes, and one line for bad input."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from gpucheck.codec import encode
from gpucheck.compat.reasons import REASONS
from gpucheck.facts import Imported
from gpucheck.rules import RULES
from tests.machines import answers, bare, gpu, healthy, torch
from tests.roots import DEBIAN, TORCH, make_root

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schema/report.json").read_text())


def gpucheck(*arguments: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LD_", "CUDA_", "NVIDIA_", "NO_COLOR"))
    }
    return subprocess.run(
        [sys.executable, "-m", "gpucheck", *arguments],
        env={**clean, **env},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )


def saved(path: Path, snapshot: object) -> str:
    path.write_text(json.dumps(encode(snapshot)))
    return str(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("doctor", "--root", "/no/such/root"), "--root /no/such/root: No such file or directory"),
        (("doctor", "--root", "/etc/passwd"), "--root /etc/passwd: Not a directory"),
        (("doctor", "--snapshot", "/no/such/file"), "--snapshot /no/such/file: No such file or directory"),
        (
            ("doctor", "--snapshot", "{not-json}"),
            "--snapshot {not-json}: not JSON (Expecting value: line 1 column 1 (char 0))",
        ),
        (
            ("doctor", "--snapshot", "{other-schema}"),
            "--snapshot {other-schema}: schema 99, this gpucheck reads 1; take it again with: gpucheck snapshot -o FILE",
        ),
        (
            ("doctor", "--snapshot", "{no-snapshot}"),
            "--snapshot {no-snapshot}: schema None, this gpucheck reads 1; take it again with: gpucheck snapshot -o FILE",
        ),
        (("doctor", "--snapshot", "{broken}"), "--snapshot {broken}: snapshot: no 'tool'"),
        (("doctor", "--snapshot", "{binary}"), "--snapshot {binary}: not JSON ("),
        (("doctor", "--snapshot", "{deep}"), "--snapshot {deep}: not JSON ("),
        (("doctor", "--snapshot", "x", "--root", "/"), "--snapshot and --root exclude each other"),
        (("doctor", "--env", "A=1"), "--env goes with --root or --image: a live system has its own environment"),
        (("doctor", "--root", "/", "--env", "A"), "--env A: expected NAME=VALUE"),
        (
            ("doctor", "--import", "torch; import os"),
            "--import torch; import os: expected the name of a module, such as torch",
        ),
        (
            ("doctor", "--import", "x", "--root", "/"),
            "--import runs something: it goes with this machine, not with --root, --image or --snapshot",
        ),
        (("doctor", "--format", "xml"), "--format xml: choose one of text, json, junit, sarif, html"),
        (
            ("doctor", "--root", "{root}", "--output", "/no/such/folder/x"),
            "--output /no/such/folder/x: No such file or directory",
        ),
        (
            ("explain", "libcuda-is-stab"),
            "no rule 'libcuda-is-stab'; did you mean libcuda-is-stub? List all: gpucheck explain",
        ),
        (("doctor", "--python", "/no/such/python"), "--python /no/such/python: there is no interpreter or environment"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    (tmp_path / "not-json").write_text("hello")
    (tmp_path / "other-schema").write_text('{"schema": 99}')
    (tmp_path / "no-snapshot").write_text("[1, 2]")
    (tmp_path / "broken").write_text('{"schema": 1}')
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x80")
    (tmp_path / "deep").write_text("[" * 100_000)
    make_root(tmp_path / "root", DEBIAN)
    names = {f"{{{path.name}}}": str(path) for path in tmp_path.iterdir()}
    for name, path in names.items():
        arguments = tuple(argument.replace(name, path) for argument in arguments)
        message = message.replace(name, path)
    before = sorted(tmp_path.rglob("*"))
    ran = gpucheck(*arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith(f"gpucheck: {message}") and ran.stderr.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("imag",), "no such command 'imag'. Did you mean 'image'? (see: gpucheck --help)"),
        (
            ("image",),
            "image: REF is missing: a name in an engine or a registry, an archive, an OCI layout or a folder (see: gpucheck image --help)",
        ),
        (
            ("recommend",),
            "recommend: --library is missing: torch, jax, ...: gpucheck kb builds (see: gpucheck recommend --help)",
        ),
        (("image", "x", "y"), "image: got unexpected extra argument(s) (y) (see: gpucheck image --help)"),
        (("doctor", "--nonsense"), "doctor: no such option: --nonsense (see: gpucheck doctor --help)"),
        (("doctor", "--timeout", "0"), "doctor: invalid value for '--timeout': 0"),
    ],
)
def test_words_that_make_no_command_get_one_line_that_says_what_to_type(words: tuple[str, ...], message: str) -> None:
    ran = gpucheck(*words)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith(f"gpucheck: {message}") and ran.stderr.count("\n") == 1


def test_without_words_the_help_is_shown() -> None:
    ran = gpucheck()
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "image     " in ran.stderr and "Error" not in ran.stderr


def test_exit_codes_tell_the_verdict(tmp_path: Path) -> None:
    limits = healthy(frameworks=(torch("2.7.1+cu128"),), cuda=answers(cuda="12.2", gpus=(gpu(),)), runtimes=())
    from tests.machines import NOT_APPLICABLE

    for name, snapshot, plain, strict in (
        ("fine", healthy(), 0, 0),
        ("limits", limits, 0, 1),
        ("broken", bare(), 1, 1),
        ("unknown", healthy(cuda=NOT_APPLICABLE, frameworks=(), runtimes=()), 3, 3),
    ):
        file = saved(tmp_path / name, snapshot)
        assert gpucheck("doctor", "--snapshot", file).returncode == plain
        assert gpucheck("doctor", "--snapshot", file, "--strict").returncode == strict


def test_a_live_run_is_valid_identical_and_can_be_judged_again(tmp_path: Path) -> None:
    first = gpucheck("doctor", "--format", "json")
    second = gpucheck("doctor", "--format", "json", "--output", str(tmp_path / "report.json"))
    assert (second.stdout, (tmp_path / "report.json").read_text()) == ("", first.stdout)
    document = json.loads(first.stdout)
    jsonschema.validate(document, SCHEMA)
    assert {outcome["rule"] for outcome in document["outcomes"]} == {rule.id for rule in RULES}
    again = gpucheck("doctor", "--format", "json", "--snapshot", str(tmp_path / "report.json"))
    assert json.loads(again.stdout)["findings"] == document["findings"]


def test_a_snapshot_is_what_doctor_sees(tmp_path: Path) -> None:
    root = make_root(tmp_path / "root", {**DEBIAN, **TORCH})
    taken = gpucheck("snapshot", "--root", root, "--env", "NVIDIA_VISIBLE_DEVICES=all")
    assert taken.returncode == 0
    piped = gpucheck("doctor", "--snapshot", "-", "--format", "json", stdin=taken.stdout)
    direct = gpucheck("doctor", "--root", root, "--env", "NVIDIA_VISIBLE_DEVICES=all", "--format", "json")
    assert piped.stdout == direct.stdout
    assert json.loads(direct.stdout)["verdict"] == "compatible"


def test_explain_lists_all_rules_and_prints_one() -> None:
    listed = gpucheck("explain")
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [
        *(rule.id for rule in RULES),
        *REASONS,
    ]
    one = gpucheck("explain", "libcuda-is-stub")
    assert one.stdout.startswith(
        "libcuda-is-stub (user driver)\n\nThe toolkit's link-time stub is loaded instead of the driver's libcuda: cuInit = 34.\n"
    )
    assert "Remedy: remove every */stubs entry" in one.stdout


def test_there_are_no_colours_in_a_pipe() -> None:
    assert "\x1b" not in gpucheck("doctor").stdout


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    ran = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m gpucheck explain | head -n 1"], capture_output=True, text=True, check=False
    )
    assert ran.stdout.startswith("no-gpu") and "Traceback" not in ran.stderr


def test_the_version_is_printed() -> None:
    assert re.fullmatch(r"gpucheck \d+\.\d+\.\d+\n", gpucheck("--version").stdout)


def test_the_doctor_imports_no_framework_and_no_heavy_library() -> None:
    script = "import sys; sys.argv = ['gpucheck', 'doctor']\nfrom gpucheck.cli import run\ntry: run()\nexcept SystemExit: pass\nprint(*sorted(m for m in sys.modules if '.' not in m))"
    loaded = (
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        .stdout.splitlines()[-1]
        .split()
    )
    assert "typer" in loaded
    assert not {
        "torch",
        "tensorflow",
        "jax",
        "kubernetes",
        "docker",
        "copier",
        "rich",
        "jinja2",
        "pydantic",
        "yaml",
        "asyncio",
        "ctypes",
    } & set(loaded)


@pytest.mark.parametrize(
    ("source", "trouble"),
    [
        ("import os; os.kill(os.getpid(), 11)", "is killed by SIGSEGV"),
        (
            "raise ImportError('libx.so.1: cannot open shared object file')",
            "fails: ImportError: libx.so.1: cannot open shared object file",
        ),
        ("x = 1", ""),
    ],
)
def test_an_import_that_fails_or_crashes_is_evidence(tmp_path: Path, source: str, trouble: str) -> None:
    (tmp_path / "strange.py").write_text(source)
    ran = gpucheck("doctor", "--import", "strange", "--format", "json", PYTHONPATH=str(tmp_path))
    document = json.loads(ran.stdout)
    jsonschema.validate(document, SCHEMA)
    assert document["snapshot"]["imported"]["value"]["trouble"] == trouble
    assert ("import-fails" in document["root_causes"]) == bool(trouble)


def test_an_import_that_hangs_is_ended(tmp_path: Path) -> None:
    (tmp_path / "strange.py").write_text("import time; time.sleep(600)")
    found = imported_in(tmp_path)
    assert found.trouble == "does not end within 2 s"


def imported_in(folder: Path) -> Imported:
    script = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); from gpucheck.probes.imports import imported\n"
        "from gpucheck.codec import encode; print(json.dumps(encode(imported('strange', sys.executable, 2.0))))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return Imported(**json.loads(ran.stdout)["value"])
