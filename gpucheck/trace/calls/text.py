"""Calls for a person: what explains the end, then the calls in order, then the totals."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Collection, Iterator

from gpucheck.render.text import BOLD, DIM, MARKS, RED, WIDTH, Paint
from gpucheck.trace.calls.decoding import decode, describe
from gpucheck.trace.calls.diagnosis import diagnose, is_failure
from gpucheck.trace.calls.records import Call, CallTrace, Process
from gpucheck.trace.calls.summary import Total, summarise

#: Lines of calls of one process, and of totals, without ``show_all``.
LINES, TOTALS = 40, 12


def render(trace: CallTrace, colour: bool, show_all: bool, killed: Collection[int] = ()) -> str:
    """The report; ``show_all`` for each call on a line of its own. ``killed`` as for ``diagnose``."""
    return "\n".join(_lines(trace, _paint if colour else _plain, show_all, killed)) + "\n"


def _paint(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m"


def _plain(text: str, code: str) -> str:
    return text


def _lines(trace: CallTrace, paint: Paint, show_all: bool, killed: Collection[int]) -> Iterator[str]:
    yield from _head(trace, paint, killed)
    for process in trace.processes:
        yield ""
        yield paint(f"calls of process {process.id}: {_command(process)}", BOLD)
        yield from _calls(process, paint, show_all)
    totals = summarise(trace)
    if totals:
        yield ""
        yield paint("all calls by function", BOLD)
        yield from _totals(totals, paint, show_all)
    for process in trace.processes:
        if process.unwatched:
            yield f"process {process.id}: {process.unwatched} more functions were handed out and not watched, the table was full"
    for trouble in trace.trouble:
        yield f"not read: {trouble}"


def _head(trace: CallTrace, paint: Paint, killed: Collection[int]) -> Iterator[str]:
    diagnosis = diagnose(trace, killed)
    if diagnosis:
        mark, tint = MARKS["error"]
        yield f"{paint(mark, tint)} {paint(diagnosis.summary, BOLD)}"
        if diagnosis.because:
            yield from textwrap.wrap(
                f"because: {diagnosis.because}",
                WIDTH,
                initial_indent="  ",
                subsequent_indent="    ",
                break_long_words=False,
                break_on_hyphens=False,
            )
        for seen in diagnosis.seen:
            yield f"  seen: {seen}"
    elif trace.processes:
        calls = sum(function.calls for process in trace.processes for function in process.functions)
        mark, tint = MARKS["ok" if calls else "absent"]
        said = f"no call failed, of {calls}" if calls else "no call was made into the libraries that were opened"
        yield f"{paint(mark, tint)} {said}"
    elif trace.watched:
        mark, tint = MARKS["absent"]
        count = "1 process" if len(trace.watched) == 1 else f"{len(trace.watched)} processes"
        yield f"{paint(mark, tint)} no call was made: none of {count} opened libcuda, libcudart or libnvidia-ml"
    else:
        mark, tint = MARKS["unknown"]
        yield f"{paint(mark, tint)} no call was seen: no process loaded the library that watches them"


def _command(process: Process) -> str:
    return textwrap.shorten(shlex.join(process.command) or "?", WIDTH - 30, placeholder=" ...")


def _calls(process: Process, paint: Paint, show_all: bool) -> Iterator[str]:
    if not process.calls:
        yield "  none"
        return
    begin = process.calls[0].start
    threads = {thread: index for index, thread in enumerate(dict.fromkeys(call.thread for call in process.calls))}
    yield paint(f"  {'start':>12} {'took':>10}  " + ("thread  " if len(threads) > 1 else "") + "call", DIM)
    groups = list(_groups(process.calls, show_all))
    shown = groups if show_all or len(groups) <= LINES else groups[:LINES]
    for group in shown:
        call = group[0]
        failed = is_failure(call.function, call.result) or call.duration is None
        took = "" if call.duration is None else _time(sum(one.duration or 0 for one in group))
        thread = f"{threads[call.thread]:<8}" if len(threads) > 1 else ""
        text = describe(call) if len(group) == 1 else f"{describe(_general(call))} x{len(group)}"
        text = paint(text, RED) if failed else text
        yield f"  {_time(call.start - begin):>12} {took:>10}  {thread}{'  ' * call.depth}{text}"
    if len(groups) > len(shown):
        yield f"  ... and {sum(len(group) for group in groups[LINES:])} more; --all shows them"
    counted = sum(function.calls for function in process.functions) - len(process.calls)
    if counted > 0:
        yield f"  {counted} further calls were counted and not noted one by one"


def _groups(calls: tuple[Call, ...], show_all: bool) -> Iterator[tuple[Call, ...]]:
    """Runs of calls of one function with one result."""
    group: list[Call] = []
    for call in calls:
        if group and (show_all or _kind(call) != _kind(group[0])):
            yield tuple(group)
            group = []
        group.append(call)
    if group:
        yield tuple(group)


def _kind(call: Call) -> tuple[object, ...]:
    return (call.function, call.result, call.thread, call.depth, call.duration is None, call.asked == "")


def _general(call: Call) -> Call:
    """The call without what differs within a group."""
    return Call(call.function, call.library, call.thread, call.start, call.duration, call.result, None, "", call.depth)


def _totals(totals: tuple[Total, ...], paint: Paint, show_all: bool) -> Iterator[str]:
    yield paint(f"  {'calls':>12} {'took':>10}  function", DIM)
    shown = totals if show_all else totals[:TOTALS]
    for total in shown:
        codes = ", ".join(f"{count} x {decode(total.function, code)}" for code, count in total.codes)
        pending = total.calls - total.returned
        notes = [codes] if codes else []
        notes += [f"{pending} did not return"] if pending else []
        yield f"  {total.calls:>12} {_time(total.nanoseconds):>10}  {total.function}" + (
            f": {'; '.join(notes)}" if notes else ""
        )
    if len(totals) > len(shown):
        yield f"  ... and {len(totals) - len(shown)} more functions; --all shows them"


def _time(nanoseconds: int) -> str:
    if nanoseconds < 1000:
        return f"{nanoseconds} ns"
    if nanoseconds < 1000_000:
        return f"{nanoseconds / 1000:.1f} us"
    if nanoseconds < 1000_000_000:
        return f"{nanoseconds / 1000_000:.1f} ms"
    return f"{nanoseconds / 1000_000_000:.2f} s"
