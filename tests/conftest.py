"""What all tests share."""

from __future__ import annotations

import os

# The day by which rows are called old, 2026-11-24: golden output must not change because time passes.
os.environ.setdefault("SOURCE_DATE_EPOCH", "1795478400")
