"""Projects that are installed and run for real, as a user does it: by their scripts."""

from __future__ import annotations

import csv
import ctypes
import http.client
import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from .source import TYPES, replace
from .tools import run


def reaches_gpu() -> bool:
    """Does the driver's own library answer on this machine?"""
    try:
        return ctypes.CDLL("libcuda.so.1").cuInit(0) == 0
    except OSError:
        return False


#: What a project says of gpucheck on a machine without it.
ABSENT = "gpucheck is not here, so nothing was checked"


@pytest.mark.parametrize(
    ("project_type", "library"),
    [("library", "none"), ("batch-job", "none"), ("service", "none"), ("batch-job", "xgboost")],
)
def test_its_own_checks_pass(start, laptop, project_type, library):
    project = start({"project_type": project_type, "ml_library": library, "base_image": "cpu"})
    ran = run("scripts/check.sh", "-rs", cwd=project, env=laptop)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "All checks passed!" in ran.stdout
    assert " failed" not in ran.stdout
    assert f"{ABSENT}; to check: uvx --from '" in ran.stdout
    assert (project / "uv.lock").is_file()
    if project_type == "library":
        assert list((project / "dist").glob("*.whl"))


def test_in_ci_the_lock_file_must_fit(start, laptop):
    project = start({"ml_library": "none"})
    assert run("uv", "lock", cwd=project, env=laptop).returncode == 0
    replace(project / "pyproject.toml", '"numpy>=2"', '"numpy>=2,<2.4"')
    ran = run("scripts/check.sh", cwd=project, env={**laptop, "CI": "true"})
    assert ran.returncode != 0
    assert "needs to be updated" in ran.stderr


def test_the_tests_for_a_gpu_fail_where_there_is_none(start, laptop):
    """Selected by -m gpu they must not pass, or be skipped, on a machine without a GPU."""
    if reaches_gpu():
        pytest.skip("this machine reaches a GPU")
    ran = run("scripts/check.sh", "-m", "gpu", cwd=start({"ml_library": "none"}), env=laptop)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "1 failed" in ran.stdout


def test_a_library_shows_where_it_computes(start, laptop):
    ran = run("scripts/run.sh", cwd=start({"ml_library": "none"}), env=laptop)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[0] == (
        "device: cpu (cpu), this project has no GPU library yet; NumPy computes on the CPU"
    )
    assert ran.stdout.splitlines()[1].endswith("computed on cpu")


def test_a_job_runs_on_its_example(start, laptop):
    project = start({"project_type": "batch-job", "ml_library": "xgboost", "base_image": "cpu"})
    ran = run("scripts/run.sh", cwd=project, env=laptop)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.splitlines()[-1] == "build/predictions.csv: 5 rows, computed on cpu"
    with (project / "build" / "predictions.csv").open() as stream:
        for row in csv.DictReader(stream):
            assert float(row["prediction"]) == pytest.approx(3 * float(row["a"]) - 2 * float(row["b"]) + 1, abs=0.2)
    required = run("scripts/run.sh", cwd=project, env={**laptop, "GPU_REQUIRED": "1"})
    assert required.returncode == 3
    assert required.stderr.splitlines()[-1].startswith("GPU_REQUIRED=1 and no GPU: xgboost ")


def test_a_job_that_is_stopped_leaves_nothing_half_written(start, laptop, tmp_path):
    project = start({"project_type": "batch-job", "ml_library": "none"})
    assert run("uv", "sync", cwd=project, env=laptop).returncode == 0
    source, folder = tmp_path / "in.csv", tmp_path / "out"
    folder.mkdir()
    # A pipe that never ends: the job is stopped in the middle of its input.
    os.mkfifo(source)
    command = [project / ".venv/bin/python", "-m", "my_gpu_project", "--input", source, "--output", folder / "out.csv"]
    with subprocess.Popen([*command, "--batch-size", "1"], env=laptop, stderr=subprocess.PIPE, text=True) as job:
        assert job.stderr is not None
        with source.open("w") as stream:
            stream.write("a,b\n" + "1,2\n" * 5000)
            stream.flush()
            while "1 rows" not in job.stderr.readline():
                assert job.poll() is None
            assert [path.suffix for path in folder.iterdir()] == [".part"]
            job.send_signal(signal.SIGTERM)
            job.stderr.read()
            assert job.wait(timeout=60) == 128 + signal.SIGTERM
    assert list(folder.iterdir()) == []


def test_a_service_answers(start, laptop):
    project = start({"project_type": "service", "ml_library": "none"})
    assert run("uv", "sync", cwd=project, env=laptop).returncode == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen(
        [project / "scripts/run.sh"], env={**laptop, "PORT": str(port)}, stderr=subprocess.PIPE, text=True
    ) as service:
        assert service.stderr is not None
        while "Uvicorn running" not in (line := service.stderr.readline()):
            assert line, "the service ended"
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/predict", json.dumps({"rows": [[0.5, 0.5]]}), {"Content-Type": "application/json"})
        answer = json.loads(connection.getresponse().read())
        connection.close()
        service.terminate()
        service.stderr.read()
        service.wait(timeout=60)
    assert answer == {"predictions": [pytest.approx(1.5)], "device": "cpu"}


def test_a_service_that_requires_a_gpu_does_not_start_without(start, laptop):
    project = start({"project_type": "service", "ml_library": "none"})
    ran = run("scripts/run.sh", cwd=project, env={**laptop, "GPU_REQUIRED": "1", "PORT": "0"})
    assert ran.returncode != 0
    assert "GPU_REQUIRED=1 and no GPU: this project has no GPU library yet" in ran.stderr


@pytest.mark.parametrize("project_type", TYPES)
def test_without_gpucheck_the_doctor_says_so_in_one_line_and_goes_on(start, laptop, repository, project_type):
    ran = run("scripts/doctor.sh", cwd=start({"project_type": project_type}), env=laptop)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == f"{ABSENT}; to check: uvx --from '{repository}' gpucheck doctor\n"


@pytest.mark.parametrize(
    ("source", "package"),
    [
        ("gh:example/templates", "git+https://github.com/example/templates"),
        ("https://git.example.com/ml/templates.git", "git+https://git.example.com/ml/templates.git"),
        ("git+ssh://git@git.example.com/ml/templates", "git+ssh://git@git.example.com/ml/templates"),
    ],
)
def test_the_doctor_says_how_to_get_gpucheck_from_the_templates_source(start, laptop, source, package):
    project = start({})
    answers = (project / ".copier-answers.yml").read_text()
    kept = [line for line in answers.splitlines() if not line.startswith("_src_path")]
    (project / ".copier-answers.yml").write_text("\n".join([*kept, f"_src_path: {source}"]) + "\n")
    ran = run("scripts/doctor.sh", cwd=project, env=laptop)
    assert ran.stdout == f"{ABSENT}; to check: uvx --from '{package}' gpucheck doctor\n"


def test_the_doctor_points_to_the_single_file_when_the_source_is_no_address(start, laptop):
    project = start({})
    (project / ".copier-answers.yml").unlink()
    ran = run("scripts/doctor.sh", cwd=project, env=laptop)
    assert ran.stdout == (
        f"{ABSENT}; make gpucheck.pyz in the template's checkout with 'make pyz' and set GPUCHECK to its path\n"
    )


@pytest.mark.parametrize("how", ["on PATH", "a command", "a single file"])
def test_the_doctor_runs_the_gpucheck_that_is_there(start, laptop, tmp_path, how):
    """It passes the arguments and the exit code on."""
    project = start({})
    body = "import sys; print('gpucheck', *sys.argv[1:]); sys.exit(1)\n"
    if how == "on PATH":
        command = tmp_path / "bin" / "gpucheck"
        command.write_text(f"#!{sys.executable}\n{body}")
        command.chmod(0o755)
        env = laptop
    else:
        file = tmp_path / ("gpucheck.pyz" if how == "a single file" else "tool.py")
        file.write_text(body)
        env = {**laptop, "GPUCHECK": str(file) if how == "a single file" else f"{sys.executable} {file}"}
    ran = run("scripts/doctor.sh", "project", "--format", "json", cwd=project, env=env)
    assert (ran.returncode, ran.stdout) == (1, "gpucheck project --format json\n")
    assert run("scripts/doctor.sh", cwd=project, env=env).stdout == "gpucheck doctor\n"


@pytest.mark.parametrize(("code", "outcome"), [(0, "1 passed"), (1, "1 failed"), (2, "1 skipped"), (3, "1 skipped")])
def test_what_gpucheck_says_of_the_project_is_a_test_of_the_project(start, laptop, tmp_path, code, outcome):
    project = start({"ml_library": "none"})
    command = tmp_path / "bin" / "gpucheck"
    command.write_text(f'#!/bin/sh\necho "asked for $*"\nexit {code}\n')
    command.chmod(0o755)
    ran = run("scripts/check.sh", "-rsf", "tests/test_gpucheck.py", cwd=project, env=laptop)
    assert outcome in ran.stdout, ran.stdout + ran.stderr
    assert ("asked for project" in ran.stdout) == (code != 0)
