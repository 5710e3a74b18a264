"""Which docker command is taken, and what is said when none will do. Other versions are played by small scripts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ci.engine import EngineError, find_engine

Docker = Callable[..., Path]


@pytest.fixture
def docker(tmp_path: Path) -> Docker:
    """Writes a docker command that says it is of this version; gives its folder."""

    def write(name: str, version: str, buildx: bool = False, server: str = "27.5.1") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        file = folder / "docker"
        answer = f"echo {server}" if server else 'echo "Cannot connect to the Docker daemon" >&2; exit 1'
        file.write_text(
            "#!/bin/sh\n"
            'case "$1" in\n'
            f'--version) echo "{version}" ;;\n'
            f"buildx) exit {0 if buildx else 1} ;;\n"
            f"version) {answer} ;;\n"
            "esac\n"
        )
        file.chmod(0o755)
        return folder

    return write


def find(*folders: Path) -> str:
    return find_engine({"PATH": ":".join(map(str, folders))}).client


def refuse(*folders: Path) -> str:
    with pytest.raises(EngineError) as refused:
        find(*folders)
    return str(refused.value)


OLD = "Docker version 20.10.24+dfsg1, build 297e128"
NEW = "Docker version 28.2.2, build e6534b4"


def test_the_first_client_that_can_build_is_taken(docker: Docker) -> None:
    new, old = docker("new", NEW), docker("old", OLD)
    assert find(new, old) == f"{old}/docker"
    assert find(old, new) == f"{old}/docker"


def test_a_new_client_with_its_plugin_is_taken(docker: Docker) -> None:
    new, old = docker("new", NEW, buildx=True), docker("old", OLD)
    assert find(new, old) == f"{new}/docker"


def test_the_engine_s_version_is_told(docker: Docker) -> None:
    assert find_engine({"PATH": str(docker("old", OLD, server="20.10.24"))}).version == "20.10.24"


def test_none_can_build(docker: Docker) -> None:
    new, ancient, podman = (
        docker("new", NEW),
        docker("a", "Docker version 18.06.3-ce, build x"),
        docker("p", "podman version 4.3.1"),
    )
    assert refuse(new, ancient, podman) == (
        "no docker command here can build with BuildKit: "
        f"{new}/docker is version 28.2 without its buildx plugin; install docker-buildx-plugin; "
        f"{ancient}/docker is version 18.06, and BuildKit came with 18.09; "
        f"{podman}/docker is no Docker client (it says: podman version 4.3.1)"
    )


def test_no_client(tmp_path: Path) -> None:
    assert refuse(tmp_path) == (
        "there is no docker command on PATH; install a Docker Engine: ci/setup/docker-engine.sh"
    )


def test_no_engine(docker: Docker) -> None:
    assert refuse(docker("old", OLD, server="")) == (
        "no Docker Engine answers (Cannot connect to the Docker daemon); start one: ci/setup/docker-engine.sh"
    )
