"""What all tests share."""

from __future__ import annotations

import os
import signal

# The day by which rows are called old, 2026-11-24: golden output must not change because time passes.
os.environ.setdefault("SOURCE_DATE_EPOCH", "1795478400")

# A shell without job control starts background jobs with SIGINT ignored, and so would be every program that a test runs.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
