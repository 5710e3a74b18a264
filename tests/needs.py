"""What a test needs of the machine, and what is said when it is not there."""

import os
from typing import NoReturn

import pytest

#: Set by .ci/run: whatever cannot be tested is a failure there, not a skip.
EVERYTHING = "GPU_CAPABLE_TEST_EVERYTHING"


def missing(untested: str, how: str) -> NoReturn:
    """Skip with one line that says what was not tested and how to get it; fail where everything must run."""
    message = f"not tested: {untested}; to test it: {how}"
    if os.environ.get(EVERYTHING):
        pytest.fail(message)
    pytest.skip(message)
