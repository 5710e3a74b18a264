"""gpucheck project as a user runs it: whole outputs, formats, exit codes, bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from gpucheck import __version__
from tests.project.folders import (
    CUDA13_IMAGE,
    TORCH12,
    TORCH13,
    TORCH_CPU,
    from_index,
    pyproject,
    write,
)

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"

ANSWERS = (
    "_commit: v0.1.0\n_src_path: https://example.com/gpu-capable.git\nbase_image: cuda13\nproject_type: batch-job\n"
)
FITS = {
    "pyproject.toml": pyproject("torch>=2.11", "numpy>=2"),
    "uv.lock": TORCH13,
    "Dockerfile": "ARG BASE_IMAGE=gpu-capable/cuda13:0.1.0\n\nFROM ${BASE_IMAGE} AS build\nRUN uv sync --frozen --no-dev\n\n"
    "FROM ${BASE_IMAGE}\nCOPY --from=build /app /app\n",
    ".copier-answers.yml": ANSWERS,
    "Jenkinsfile": "",
}
STALE = {
    "pyproject.toml": pyproject("torch>=2.11", more=from_index("cu130")),
    "uv.lock": TORCH_CPU,
    "Dockerfile": CUDA13_IMAGE + 'ENV CUDA_VISIBLE_DEVICES=""\n',
}
DOUBLED = {
    "pyproject.toml": pyproject("torch"),
    "uv.lock": TORCH12,
    "Dockerfile": "FROM nvidia/cuda:12.8.1-cudnn-devel-ubuntu22.04\nRUN uv sync --frozen\n",
}
BROKEN = {"pyproject.toml": '[project]\nname = "demo\n', "Dockerfile": "ARG BASE\nFROM ${BASE}\n"}


def golden(name: str) -> str:
    """A recorded output; remedies name our images in the version of this gpucheck."""
    return (GOLDEN / f"{name}.txt").read_text().replace("@VERSION@", __version__)


def run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gpucheck", "project", *arguments],
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("name", "files", "code"), [("fits", FITS, 0), ("stale", STALE, 1), ("doubled", DOUBLED, 0), ("broken", BROKEN, 3)]
)
def test_whole_output(name: str, files: dict[str, str], code: int, tmp_path: Path) -> None:
    found = run(cwd=write(tmp_path, files))
    assert (found.stdout, found.stderr, found.returncode) == (golden(name), "", code)


def test_the_example_in_the_documentation_is_what_is_printed(tmp_path: Path) -> None:
    files = {**STALE, "Dockerfile": "FROM gpu-capable/cuda13:0.1.0\nRUN uv sync --frozen --no-dev\n"}
    found = run(cwd=write(tmp_path, files))
    assert f"$ gpucheck project\n{found.stdout}```" in (ROOT / "docs/project.md").read_text()


def test_nothing_to_judge_says_what_was_looked_for(tmp_path: Path) -> None:
    found = run(str(tmp_path))
    assert found.returncode == 3
    assert found.stdout == golden("nothing")


def test_strict_makes_a_warning_a_failure(tmp_path: Path) -> None:
    write(tmp_path, DOUBLED)
    assert run(str(tmp_path), "--strict").returncode == 1


def test_json_follows_the_schema_and_is_a_snapshot(tmp_path: Path) -> None:
    write(tmp_path / "p", STALE)
    found = run(str(tmp_path / "p"), "--format", "json")
    document = json.loads(found.stdout)
    jsonschema.validate(document, json.loads((ROOT / "docs/schema/report.json").read_text()))
    assert (document["command"], document["verdict"], document["root_causes"]) == (
        "project",
        "incompatible",
        ["wheel-index-contradicts-lock", "environment-hides-gpu-in-dockerfile"],
    )
    assert document["snapshot"]["host"]["live"] is False
    (tmp_path / "report.json").write_text(found.stdout)
    again = run("--snapshot", str(tmp_path / "report.json"))
    assert (again.stdout, again.returncode) == (run(str(tmp_path / "p")).stdout, 1)


def test_no_credentials_and_no_other_answers_in_a_snapshot(tmp_path: Path) -> None:
    secret = "hunter2"
    write(
        tmp_path,
        {
            "pyproject.toml": pyproject("torch", more=from_index("cpu").replace("https://", f"https://user:{secret}@")),
            "requirements.txt": f"--index-url https://user:{secret}@example.com/simple\ntorch\n",
            "Dockerfile": f"FROM debian:12\nENV PIP_TOKEN={secret} CUDA_SECRET={secret}\nRUN pip install torch -i https://u:{secret}@x/y\n",
            ".copier-answers.yml": f"_src_path: https://u:{secret}@example.com/t.git\nauthor: {secret}\n",
            "uv.lock": TORCH13.replace("https://pypi.org", f"https://u:{secret}@pypi.org"),
        },
    )
    found = run(str(tmp_path), "--format", "json")
    assert '"torch"' in found.stdout
    assert secret not in found.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("/nowhere",), "/nowhere: No such file or directory; name the project's folder: gpucheck project FOLDER"),
        (("{file}",), "{file}: not a folder; name the project's folder: gpucheck project FOLDER"),
        (("--format", "yaml"), "--format yaml: choose one of "),
        (("--snapshot", "{file}"), "--snapshot {file}: not JSON "),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text(pyproject("torch"))
    found = run(*(argument.format(file=file) for argument in arguments))
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith(f"gpucheck: {message.format(file=file)}")
    assert found.stderr.count("\n") == 1


def test_a_snapshot_of_a_machine_is_refused(tmp_path: Path) -> None:
    from gpucheck.codec import encode
    from tests.machines import healthy

    (tmp_path / "x.json").write_text(json.dumps(encode(healthy())))
    found = run("--snapshot", str(tmp_path / "x.json"))
    assert (found.returncode, found.stderr) == (
        2,
        f"gpucheck: --snapshot {tmp_path}/x.json: no project was looked at; make one with: gpucheck project --format json -o FILE\n",
    )


def test_a_project_is_not_executed(tmp_path: Path) -> None:
    write(tmp_path, {**FITS, "setup.py": "open('executed', 'w')\n", "sitecustomize.py": "open('executed', 'w')\n"})
    before = sorted(tmp_path.iterdir())
    assert run(str(tmp_path)).returncode == 0
    assert sorted(tmp_path.iterdir()) == before
