"""A project made from the template, built on our base image by a real engine, at work in its container."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ci.engine import Engine
from tests.images.conftest import PREFIX, Once
from tests.templates.source import make_repository

IMAGE = f"{PREFIX}/batch-job"


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A batch job that needs no ML library, from the working tree's template."""
    copier = pytest.importorskip("copier", reason="pip install 'gpu-capable[templates]'")
    repository = make_repository(tmp_path_factory.mktemp("template") / "repository")
    target = tmp_path_factory.mktemp("child") / "project"
    answers = {"project_type": "batch-job", "ml_library": "none", "base_image": "cpu"}
    copier.run_copy(str(repository), target, answers, defaults=True, quiet=True)
    return target


@pytest.fixture(scope="session")
def build(engine: Engine, images: dict[str, str], project: Path, once: Once) -> Callable[[str], str]:
    """Builds a stage of the project's Dockerfile on the cpu image just built; gives the image's name."""

    def make(stage: str) -> str:
        name = f"{IMAGE}:{stage}"
        ca = os.environ.get("SSL_CERT_FILE")
        done = subprocess.run(
            [
                *(engine.client, "build", "--progress", "plain", "--tag", name),
                *("--build-arg", f"BASE_IMAGE={images['cpu']}"),
                *(["--target", stage] if stage != "final" else []),
                *(["--secret", f"id=ca,src={ca}"] if ca else []),
                *(["--build-arg", "UV_DEFAULT_INDEX"] if "UV_DEFAULT_INDEX" in os.environ else []),
                str(project),
            ],
            env={**os.environ, "DOCKER_BUILDKIT": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return name

    return lambda stage: str(once(f"batch-job-{stage}", lambda: make(stage)))


def run(engine: Engine, name: str, *command: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return engine.run("run", "--rm", "--network=none", "--cap-drop=ALL", *options, name, *command)


def test_gpucheck_doctor_runs_in_the_project_s_image(engine: Engine, build: Callable[[str], str]) -> None:
    done = run(engine, build("final"), "gpucheck", "doctor", "--format", "json", options=("--read-only",))
    assert done.returncode == 1, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert (report["schema"], report["command"], report["verdict"]) == (1, "doctor", "incompatible")
    # No GPU is passed to this container; which of the two it is depends on the machine alone.
    assert report["root_causes"] in (["no-gpu"], ["gpu-not-passed-to-container"])
    assert not [outcome for outcome in report["outcomes"] if outcome["status"] == "crash"]
    assert report["snapshot"]["schema"] == 1


def test_the_contract_reaches_the_project_s_image(engine: Engine, build: Callable[[str], str]) -> None:
    inspected = engine.run("image", "inspect", "--format", "{{json .Config}}", build("final"))
    configuration = json.loads(inspected.stdout)
    assert configuration["User"] == "1000:1000"
    assert configuration["Labels"]["gpu-capable.name"] == "cpu"
    assert not [entry for entry in configuration["Env"] if entry.startswith("NVIDIA_")]


def test_the_job_works_in_its_container(
    engine: Engine, build: Callable[[str], str], project: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    # The container's user is another one than ours.
    tmp_path.chmod(0o755)
    data.chmod(0o777)
    rows = (project / "examples" / "rows.csv").read_text()
    (data / "in.csv").write_text(rows)
    done = run(engine, build("final"), options=("--read-only", f"--volume={data}:/data"))
    assert done.returncode == 0, done.stderr
    assert len((data / "out.csv").read_text().splitlines()) == len(rows.splitlines())


def test_the_project_s_tests_pass_in_its_test_image(engine: Engine, build: Callable[[str], str]) -> None:
    done = run(engine, build("test"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
