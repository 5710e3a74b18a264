from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.elf.workshop")

from tests.elf.workshop import GLIBC, Root, Workshop, need  # noqa: E402


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled sources and stubs, shared by the tests of one process."""
    return tmp_path_factory.mktemp("objects")


@pytest.fixture
def workshop(tmp_path: Path, shared: Path) -> Workshop:
    """An empty folder to build a scenario in."""
    need("gcc", "ld")
    return Workshop(tmp_path, shared)


@pytest.fixture
def root(workshop: Workshop) -> Root:
    """A folder that becomes a root directory, with ld.so in it."""
    made = Root(workshop.here, workshop.shared)
    (made.here / "lib64").mkdir()
    shutil.copy(GLIBC, made.here / "lib64")
    return made
