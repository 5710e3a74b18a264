"""No test here reads the user's own cache, credentials or engine settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest


@pytest.fixture
def around(tmp_path: Path) -> Mapping[str, str]:
    """Surroundings in which nothing is configured."""
    (tmp_path / "home").mkdir()
    return {"HOME": str(tmp_path / "home"), "PATH": "/usr/local/bin:/usr/bin:/bin"}
