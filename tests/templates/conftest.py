from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.needs import missing

from .source import make_repository
from .tools import make_laptop

Render = Callable[..., Path]


@pytest.fixture(scope="session")
def copier():
    try:
        import copier
    except ImportError:
        missing("the templates", "pip install 'gpu-capable[templates]'")
    return copier


@pytest.fixture(scope="session")
def repository(tmp_path_factory) -> Path:
    """The template as a repository, tagged v1.0.0. Tests read it; who changes it makes its own."""
    return make_repository(tmp_path_factory.mktemp("template") / "repository")


@pytest.fixture(scope="session")
def render(copier, repository, tmp_path_factory) -> Render:
    """render(answers) -> a project; the same answers give the same folder, which tests only read."""
    made: dict[tuple[tuple[str, str], ...], Path] = {}

    def render_once(answers: Mapping[str, str]) -> Path:
        key = tuple(sorted(answers.items()))
        if key not in made:
            made[key] = tmp_path_factory.mktemp("rendered") / "project"
            copier.run_copy(str(repository), made[key], dict(answers), defaults=True, quiet=True)
        return made[key]

    return render_once


@pytest.fixture
def start(copier, repository, tmp_path) -> Render:
    """start(answers) -> a project of the test's own, to change as it likes."""

    def start_one(answers: Mapping[str, str], name: str = "project", source: Path = repository) -> Path:
        copier.run_copy(str(source), tmp_path / name, dict(answers), defaults=True, quiet=True)
        return tmp_path / name

    return start_one


@pytest.fixture
def laptop(tmp_path) -> dict[str, str]:
    """The environment of a user's shell: uv is there, gpucheck is not."""
    return make_laptop(tmp_path / "bin")
