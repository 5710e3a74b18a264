"""Cases of rules about hardware, kernel, containers, environment and Kubernetes: (rule, what, snapshot, status)."""

from __future__ import annotations

from gpucheck.facts import Snapshot
from gpucheck.finding import Status

CASES: list[tuple[str, str, Snapshot, Status]] = []

#: Rules whose facts are always known.
ALWAYS_KNOWN: set[str] = set()
