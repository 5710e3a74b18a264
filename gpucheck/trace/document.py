"""A trace as JSON: the record of ``gpucheck libs``, and what only a run shows."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from gpucheck.codec import encode
from gpucheck.facts import SCHEMA, Difference
from gpucheck.finding import Report
from gpucheck.render import document
from gpucheck.trace.lookup import Lookup, Trace

if TYPE_CHECKING:
    from gpucheck.trace.calls import CallTrace


def build(
    trace: Trace,
    differences: tuple[Difference, ...],
    report: Report | None,
    calls: CallTrace | None = None,
    killed: Collection[int] = (),
) -> dict[str, Any]:
    """A JSON-able object. ``diagnosis`` is the document of ``gpucheck doctor``; null when it failed. ``killed``: the
    processes that a signal ended."""
    return {
        "schema": SCHEMA,
        "command": list(trace.command),
        "exit": trace.status,
        "signal": trace.signal or None,
        "seconds": round(trace.seconds, 3),
        "backend": list(trace.witnesses),
        "notes": list(trace.notes),
        "processes": [
            {"pid": each.pid, "program": each.program, "forked": each.forked, "error": each.last_error}
            for each in trace.processes
        ],
        "resolutions": [_resolution(each) for each in trace.lookups],
        "missing": list(dict.fromkeys(each.soname for each in trace.missing)),
        "devices": [
            {"path": each.path, "error": each.error or None, "times": each.times, "source": each.source}
            for each in trace.devices
        ],
        "helpers": [{"path": each.path, "error": each.error or None, "times": each.times} for each in trace.helpers],
        "differences": [
            {
                "soname": each.soname,
                "requester": each.requester,
                "predicted": each.predicted,
                "observed": each.observed,
            }
            for each in differences
        ],
        "calls": _calls(calls, killed),
        "diagnosis": document.build(report, "doctor") if report else None,
    }


def _resolution(lookup: Lookup) -> dict[str, Any]:
    return {
        "soname": lookup.soname,
        "requester": lookup.requester,
        "path": lookup.path,
        "how": lookup.how,
        "owner": lookup.owner,
        "edge": lookup.edge,
        "fatal": lookup.fatal,
        "times": lookup.times,
        "process": lookup.process,
        "optional": lookup.optional,
        "candidates": [{"path": each.path, "skipped": each.skipped, "how": each.how} for each in lookup.candidates],
    }


def _calls(calls: CallTrace | None, killed: Collection[int]) -> dict[str, Any] | None:
    if calls is None:
        return None
    from gpucheck.trace.calls import diagnose

    return {**encode(calls), "diagnosis": encode(diagnose(calls, killed))}


def render(
    trace: Trace,
    differences: tuple[Difference, ...],
    report: Report | None,
    calls: CallTrace | None = None,
    killed: Collection[int] = (),
) -> str:
    """The document as text, two spaces a level."""
    return json.dumps(build(trace, differences, report, calls, killed), indent=2, ensure_ascii=False) + "\n"
