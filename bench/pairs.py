"""Whole processes, measured in pairs: A B A B ..., so that a change in the machine's speed meets both."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence


def cost(
    command: Sequence[str], env: Mapping[str, str] | None = None, status: int | None = None
) -> tuple[float, float]:
    """Wall-clock and processor time of one run, in seconds; its output is thrown away.

    ``status``: how it must end; None: that is its own business.
    """
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    ended = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env, check=False)
    took, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if status is not None and ended.returncode != status:
        raise RuntimeError(f"{' '.join(command)} ended with {ended.returncode}, not {status}")
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def seconds(command: Sequence[str], env: Mapping[str, str] | None = None, status: int | None = None) -> float:
    """Wall-clock time of one run."""
    return cost(command, env, status)[0]


def ratio(name: str, command: Sequence[str], peer_name: str, peer: Sequence[str], limit: str, runs: int = 15) -> float:
    """Print and return the median of command / peer over ``runs`` pairs, after one pair that warms the caches."""
    pairs = [(seconds(command), seconds(peer)) for _ in range(runs + 1)][1:]
    median = statistics.median(ours / theirs for ours, theirs in pairs)
    ours, theirs = (statistics.median(column) * 1000 for column in zip(*pairs))
    print(f"{name:<34} {ours:8.1f} ms   {peer_name:<34} {theirs:8.1f} ms   ratio {median:7.3f}   (limit {limit})")
    return median


def python_of(environment: str) -> str:
    """The interpreter of an environment's folder."""
    return os.path.join(environment, "bin", "python")


def say_missing(what: str, how: str) -> None:
    """One line for a benchmark that cannot run here."""
    print(f"not measured: {what}; to measure it: {how}", file=sys.stderr)
