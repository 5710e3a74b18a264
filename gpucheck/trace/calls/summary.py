"""Calls by function: what a long run leaves."""

from __future__ import annotations

from gpucheck.record import dataclass
from gpucheck.trace.calls.records import CallTrace


@dataclass(frozen=True, slots=True)
class Total:
    """All calls of functions of one name, in all processes."""

    function: str
    calls: int
    returned: int
    nanoseconds: int
    errors: int
    codes: tuple[tuple[int, int], ...]
    """(result code, how often), the most frequent first; of the first few different codes."""


def summarise(trace: CallTrace) -> tuple[Total, ...]:
    """Functions that were called, the one that took longest first."""
    sums: dict[str, tuple[int, int, int, int]] = {}
    codes: dict[str, dict[int, int]] = {}
    for process in trace.processes:
        for function in process.functions:
            if not function.calls:
                continue
            calls, returned, nanoseconds, errors = sums.get(function.name, (0, 0, 0, 0))
            sums[function.name] = (
                calls + function.calls,
                returned + function.returned,
                nanoseconds + function.nanoseconds,
                errors + function.errors,
            )
            counts = codes.setdefault(function.name, {})
            for code, count in function.codes:
                counts[code] = counts.get(code, 0) + count
    totals = [
        Total(name, *numbers, tuple(sorted(codes[name].items(), key=lambda item: (-item[1], item[0]))))
        for name, numbers in sums.items()
    ]
    return tuple(sorted(totals, key=lambda total: (-total.nanoseconds, total.function)))
