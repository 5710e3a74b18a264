"""Cases of rules about hardware, kernel, containers, environment and Kubernetes: (rule, what, snapshot, status)."""

from __future__ import annotations

from gpucheck.facts import Snapshot
from gpucheck.finding import Status
from tests.rules import container_cases, hardware_cases, kernel_cases, library_cases, setting_cases

CASES: list[tuple[str, str, Snapshot, Status]] = [
    *hardware_cases.CASES,
    *kernel_cases.CASES,
    *container_cases.CASES,
    *library_cases.CASES,
    *setting_cases.CASES,
]

#: Rules whose facts are always known.
ALWAYS_KNOWN: set[str] = library_cases.ALWAYS_KNOWN | setting_cases.ALWAYS_KNOWN
