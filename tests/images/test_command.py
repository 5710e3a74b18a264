"""``python -m ci.images`` and the set-up scripts: what they refuse, in one line, with exit code 2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ci.engine import Engine
from gpucheck import __version__
from tests.images.conftest import ROOT


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ci.images", *arguments],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )


def test_list() -> None:
    done = run("list", "--only", "cuda13", PATH="/nonexistent")
    assert (done.returncode, done.stderr) == (0, "")
    name = f"gpu-capable/cuda13:{__version__}"
    assert done.stdout == (
        f"{'image':{len(name)}}  upstream            end of life  title\n"
        f"{name}  debian:trixie-slim  2028-08-09   CUDA 13 from wheels, Python 3.13\n"
    )


@pytest.mark.parametrize(
    ("arguments", "env", "message"),
    [
        (["list", "--only", "cuda99"], {}, 'there is no image "cuda99"; the matrix has: cpu, cuda13, agent'),
        (["build", "--ca", "no.pem"], {}, "the CA bundle no.pem is no file; name one with --ca"),
        (["build"], {"SSL_CERT_FILE": "gone.pem"}, "the CA bundle gone.pem is no file; name one with --ca"),
        (
            ["build", "test"],
            {"PATH": "/nonexistent"},
            "there is no docker command on PATH; install a Docker Engine: ci/setup/docker-engine.sh",
        ),
    ],
)
def test_what_cannot_start_is_one_line(arguments: list[str], env: dict[str, str], message: str) -> None:
    done = run(*arguments, **env)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"images: {message}\n")


def test_no_engine_answers(engine: Engine) -> None:
    """The real client, pointed at a socket where nobody listens."""
    done = run("test", DOCKER_HOST="unix:///nonexistent/docker.sock", SSL_CERT_FILE="")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("images: no Docker Engine answers (") and done.stderr.count("\n") == 1
    assert done.stderr.endswith("); start one: ci/setup/docker-engine.sh\n")


def test_an_image_that_was_not_built(engine: Engine) -> None:
    done = run("test", "--only", "cpu", "--tag-prefix", "gpu-capable-never-built")
    name = f"gpu-capable-never-built/cpu:{__version__}"
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"{'image':{len(name)}}  promise  result",
        f"{name}  built    it is not; build it: python -m ci.images build --only cpu",
    ]


def test_the_engine_script_leaves_a_running_engine_alone(engine: Engine) -> None:
    done = subprocess.run([ROOT / "ci/setup/docker-engine.sh"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"docker-engine: version {engine.version} answers already\n"


def test_the_debian_script_leaves_an_image_alone(upstream: str) -> None:
    done = subprocess.run([ROOT / "ci/setup/debian-image.sh", "trixie"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", f"debian-image: {upstream} is there already\n")


def test_the_debian_script_needs_an_engine(engine: Engine) -> None:
    env = {**os.environ, "DOCKER_HOST": "unix:///nonexistent/docker.sock"}
    done = subprocess.run([ROOT / "ci/setup/debian-image.sh"], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "debian-image: no Docker Engine answers; start one with ci/setup/docker-engine.sh\n"


@pytest.mark.parametrize("script", sorted(ROOT.glob("ci/setup/*.sh")), ids=lambda path: path.name)
def test_shellcheck(script: Path) -> None:
    done = subprocess.run([find_tool("shellcheck"), script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize(
    "dockerfile", sorted(ROOT.glob("base-images/images/*/Dockerfile")), ids=lambda path: path.parent.name
)
def test_hadolint(dockerfile: Path) -> None:
    done = subprocess.run([find_tool("hadolint"), dockerfile], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def find_tool(name: str) -> str:
    """A command of the development dependencies, which is beside this Python."""
    return os.path.join(os.path.dirname(sys.executable), name)
