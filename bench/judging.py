"""How long judging takes: one snapshot, and the whole corpus; looking is not part of it."""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gpucheck.engine import judge
from gpucheck.facts import Snapshot
from tests.corpus.grade import fixtures, look

#: Milliseconds for one snapshot.
LIMIT = 20
RUNS = 20


def main() -> None:
    found = [(fixture.id, look(fixture)) for kind in ("faults", "unseen", "healthy") for fixture in fixtures(kind)]
    judge(found[0][1])  # reads the tables of the knowledge base
    times = {id: milliseconds(snapshot) for id, snapshot in found}
    slowest = max(times, key=lambda id: times[id])
    print(
        f"{'judging one snapshot':<34} {statistics.median(times.values()):8.2f} ms   "
        f"{f'slowest of {len(times)}: {slowest}':<34} {times[slowest]:8.2f} ms   ratio {times[slowest] / LIMIT:7.3f}   (limit 1: {LIMIT} ms)"
    )
    print(f"{'judging the whole corpus':<34} {sum(times.values()):8.1f} ms   {len(times)} snapshots")


def milliseconds(snapshot: Snapshot) -> float:
    """The median of some runs."""
    runs = []
    for _ in range(RUNS):
        start = time.perf_counter()
        judge(snapshot)
        runs.append((time.perf_counter() - start) * 1000)
    return statistics.median(runs)


if __name__ == "__main__":
    main()
