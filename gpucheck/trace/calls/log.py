"""Reading the files that the auditing library writes: the struct log of gpucheck/native/source/calls.c."""

from __future__ import annotations

import os
import struct

from gpucheck.record import dataclass, replace
from gpucheck.trace.calls.records import Call, CallTrace, Function, Process

MAGIC = b"gpucheck calls1\0"
HEADER, SLOT, RECORD = 8192, 144, 48
SLOTS, RECORDS, FAILURES = 2048, 16384, 4096
SIZE = HEADER + SLOTS * SLOT + (RECORDS + FAILURES) * RECORD
COMMAND, OBJECTS, OBJECT, OBJECT_SIZE = 56, 568, 16, 256
ENTERED, RETURNED = 1, 2
GETS_NUMBER = 2
#: In the folder: a line for each process that loaded the library.
PROCESSES = "processes"

#: Functions that return no status: their last 32 bits say nothing (cuda_runtime_api.h, nvml.h).
NO_STATUS = frozenset(("cudaGetErrorName", "cudaGetErrorString", "nvmlErrorString", "cudaCreateChannelDesc"))


class BadLog(ValueError):
    """A file that the library did not write, or not to its end; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class _Slot:
    function: Function
    kind: int


def read(folder: str) -> CallTrace:
    """What is in a folder that ``prepare`` made. A file that cannot be read is named in ``trouble``. Raises OSError for the
    folder itself."""
    processes: list[Process] = []
    trouble: list[str] = []
    watched: tuple[int, ...] = ()
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        try:
            if name == PROCESSES:
                with open(path, "rb") as file:
                    watched = tuple(int(line) for line in file.read(1 << 20).split() if line.isdigit())
            elif name.replace(".", "").isdigit():
                # O_NOFOLLOW: the folder may be writable for others, a link in it is not the library's.
                with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                    processes.append(parse(file.read(SIZE + 1)))
        except (OSError, BadLog) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            trouble.append(f"{name}: {reason}")
    processes.sort(key=lambda process: process.opened)
    return CallTrace(watched, tuple(processes), tuple(trouble))


def parse(data: bytes) -> Process:
    """The file of a process. Raises ``BadLog``; the process may have been killed at any point, or be alive and writing."""
    if len(data) != SIZE:
        raise BadLog(f"{len(data)} bytes, not {SIZE}")
    if not data.startswith(MAGIC):
        raise BadLog("does not begin as a record of calls does")
    number, parent, slots, unwatched, records, failures, objects, _, opened = struct.unpack_from(
        "<8IQ", data, len(MAGIC)
    )
    libraries = tuple(_text(data, OBJECTS + index * OBJECT_SIZE, OBJECT_SIZE) for index in range(min(objects, OBJECT)))
    known = [_slot(data, HEADER + index * SLOT, libraries) for index in range(min(slots, SLOTS))]
    calls: list[Call] = []
    for first, count in ((0, min(records, RECORDS)), (RECORDS, min(failures, FAILURES))):
        for index in range(first, first + count):
            call = _call(data, HEADER + SLOTS * SLOT + index * RECORD, known)
            if call:
                calls.append(call)
    command = data[COMMAND:OBJECTS].split(b"\0\0")[0].rstrip(b"\0").split(b"\0")
    return Process(
        number,
        parent,
        tuple(os.fsdecode(word) for word in command),
        opened,
        libraries,
        nest(calls),
        tuple(slot.function for slot in known if slot.function.name),
        unwatched,
    )


def _text(data: bytes, offset: int, size: int) -> str:
    return os.fsdecode(data[offset : offset + size].split(b"\0")[0])


def _slot(data: bytes, offset: int, libraries: tuple[str, ...]) -> _Slot:
    library, kind, calls, returned, nanoseconds, errors, *codes = struct.unpack_from("<2I4Q8I", data, offset + 72)
    name = _text(data, offset, 72)
    says = name not in NO_STATUS
    function = Function(
        name,
        libraries[library] if library < len(libraries) else "",
        calls,
        returned,
        nanoseconds,
        errors if says else 0,
        tuple((code, count) for code, count in zip(codes[::2], codes[1::2]) if code and says),
    )
    return _Slot(function, kind)


def _call(data: bytes, offset: int, known: list[_Slot]) -> Call | None:
    start, end, slot, thread, result, state, value, asked, _ = struct.unpack_from("<2Q4IqII", data, offset)
    if state not in (ENTERED, RETURNED) or slot >= len(known):
        return None
    function, kind = known[slot].function, known[slot].kind
    returned = state == RETURNED
    asks = known[asked - 1].function.name if returned and 0 < asked <= len(known) else ""
    gives_number = kind == GETS_NUMBER and result == 0
    return Call(
        function.name,
        function.library,
        thread,
        start,
        max(0, end - start) if returned else None,
        result if returned and function.name not in NO_STATUS else None,
        value if returned and (asks or gives_number) else None,
        asks,
        0,
    )


def nest(calls: list[Call]) -> tuple[Call, ...]:
    """Calls in order of their start, with their depth: a call contains those that begin and end in its time in its thread."""
    ordered = sorted(calls, key=lambda call: call.start)
    within: dict[int, list[float]] = {}
    found: list[Call] = []
    for call in ordered:
        ends = within.setdefault(call.thread, [])
        while ends and ends[-1] <= call.start:
            ends.pop()
        found.append(replace(call, depth=len(ends)))
        ends.append(float("inf") if call.duration is None else call.start + call.duration)
    return tuple(found)
