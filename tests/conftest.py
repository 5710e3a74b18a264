"""What all tests share."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tests.disposable import MINE

# The day by which rows are called old, 2026-11-24: golden output must not change because time passes.
os.environ.setdefault("SOURCE_DATE_EPOCH", "1795478400")

# A shell without job control starts background jobs with SIGINT ignored, and so would be every program that a test runs.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Remove the images that tests of this run gave a name of its own, also those of a test that was ended in its middle."""
    if hasattr(session.config, "workerinput"):
        return  # A worker of xdist: others may still use them.
    try:
        listed = subprocess.run(["docker", "images", "--format={{.Repository}}:{{.Tag}}", f"--filter=reference={MINE.format('*')}"], capture_output=True, text=True, check=False)  # fmt: skip
    except OSError:
        return
    # By name: an image that has other names, too, stays.
    if images := listed.stdout.split():
        subprocess.run(["docker", "image", "rm", *images], capture_output=True, check=False)
