"""Names of images that only one run of the tests uses: they are removed at its end, and another run has other names."""

from __future__ import annotations

import os
from uuid import uuid4

#: With the run's own suffix, which the workers of xdist inherit.
MINE = "gpu-capable-test-run/{}:" + os.environ.setdefault("GPU_CAPABLE_TEST_RUN", uuid4().hex[:12])


def disposable(what: str) -> str:
    """A name for an image of this run."""
    return MINE.format(f"{what}-{os.getpid()}")
