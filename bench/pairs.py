"""Whole processes, measured in pairs: A B A B ..., so that a change in the machine's speed meets both."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence


def seconds(command: Sequence[str], env: Mapping[str, str] | None = None) -> float:
    """Wall-clock time of one run; its output is thrown away, its exit status is its own business."""
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env, check=False)
    return time.perf_counter() - start


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
