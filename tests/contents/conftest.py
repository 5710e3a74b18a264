"""The engine, gpucheck as one file, and the images that the tests share."""

from __future__ import annotations

import pytest

from ci.engine import Engine
from tests.contents.workshop import Shop
from tests.images.conftest import engine, once, pyz, upstream

__all__ = ["engine", "once", "pyz", "upstream"]


@pytest.fixture(scope="session")
def shop(engine: Engine, upstream: str) -> Shop:
    """Builds the images; each is built once on a machine."""
    return Shop(engine)
