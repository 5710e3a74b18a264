"""The call that explains the end: the first that failed, or the one that was due and never came."""

from __future__ import annotations

from collections.abc import Collection

from gpucheck.record import dataclass
from gpucheck.trace.calls.decoding import decode, describe, library_of, meaning_of
from gpucheck.trace.calls.records import Call, CallTrace, Process
from gpucheck.versions import CudaVersion

#: cudaErrorInsufficientDriver (driver_types.h).
INSUFFICIENT_DRIVER = 35

#: Results other than 0 that are answers, not failures: by the start of the function's name, and its codes (None: all).
ANSWERS: tuple[tuple[str, frozenset[int] | None], ...] = (
    # Look-ups: runtimes ask for all that they know, older drivers do not have it all (measured: 12.9 on 535).
    ("cuGetProcAddress", None),
    ("cudaGetDriverEntryPoint", None),
    ("cuGetExportTable", None),
    # They repeat what an earlier call returned (CUDA Runtime API, Error Handling).
    ("cudaGetLastError", None),
    ("cudaPeekAtLastError", None),
    # cudaErrorNotReady, CUDA_ERROR_NOT_READY: "not actually an error" (driver_types.h); polling gives millions.
    ("cu", frozenset((600,))),
    # Whether CUDA knows a pointer, whether there is a context: INVALID_VALUE and INVALID_CONTEXT are how it says no.
    ("cuPointerGetAttribute", frozenset((1,))),
    ("cuCtxGetDevice", frozenset((201,))),
    # NVML_ERROR_NOT_SUPPORTED, NVML_ERROR_INSUFFICIENT_SIZE: what a device lacks, how much room an answer needs (nvml.h).
    ("nvml", frozenset((3, 7))),
)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What heads the output."""

    kind: str
    """``failed``: a call returned an error; ``missing``: a call that was due never came; ``unreturned``: the process ended
    within a call."""
    function: str
    """The call that failed, never came or did not return."""
    result: int | None
    """Its result; for a missing call the result of the call that should have made it."""
    summary: str
    because: str
    """'' when the tables do not know the code."""
    seen: tuple[str, ...]
    """The evidence: calls and libraries."""
    process: int


def is_failure(function: str, result: int | None) -> bool:
    """Whether a result tells that something went wrong."""
    # 10000 is cudaErrorApiFailureBase; more is what a function that returns no code left in the register.
    if not result or not 0 < result <= 10000:
        return False
    return not any(function.startswith(start) and (codes is None or result in codes) for start, codes in ANSWERS)


def diagnose(trace: CallTrace, killed: Collection[int] = ()) -> Diagnosis | None:
    """The first failing call or the call that never came, of the process where it happened first; None when all went well.

    ``killed``: processes that a signal ended; in them a call that did not return comes first.
    """
    found = [diagnosis for process in trace.processes if (diagnosis := _of_process(process, process.id in killed))]
    kinds = ("unreturned", "failed", "missing") if killed else ("failed", "missing", "unreturned")
    # min keeps the order of time among equals.
    return min(found, key=lambda item: (kinds.index(item[0].kind), item[1]))[0] if found else None


def _of_process(process: Process, killed: bool) -> tuple[Diagnosis, int] | None:
    unreturned = _unreturned(process)
    if unreturned and killed:
        return unreturned
    # By their end: the call within a call fails first.
    failures = [call for call in process.calls if call.duration is not None and is_failure(call.function, call.result)]
    first = min(failures, key=_end, default=None)
    if first and first.result == INSUFFICIENT_DRIVER and first.function.startswith("cuda"):
        return _refused(process, first) or _failed(process, first)
    if first:
        return _failed(process, first)
    return _silent(process) or unreturned


def _end(call: Call) -> int:
    return call.start + (call.duration or 0)


def _failed(process: Process, call: Call) -> tuple[Diagnosis, int]:
    within = [
        outer
        for outer in process.calls
        if outer.thread == call.thread
        and outer.depth < call.depth
        and outer.start <= call.start
        and _end(outer) >= _end(call)
    ]
    seen = [f"{describe(call)}, in {call.library}"]
    seen += [f"called by {describe(outer)}, in {outer.library}" for outer in reversed(within)]
    meaning, reference = meaning_of(call.function, call.result or 0)
    summary = f"{call.function} is the first call that fails: {decode(call.function, call.result or 0)}"
    because = f"{meaning} [{reference}]" if meaning else ""
    return Diagnosis("failed", call.function, call.result, summary, because, tuple(seen), process.id), _end(call)


def _refused(process: Process, call: Call) -> tuple[Diagnosis, int] | None:
    """The runtime returns 35 before it initialises the driver: there is none, or it asked for its version and thought it too old."""
    if any(function.name == "cuInit" and function.calls for function in process.functions):
        return None
    seen = [f"{describe(call)}, in {call.library}"]
    version = _version(process)
    if version is None:
        if any(library_of(path).startswith("libcuda.so") for path in process.libraries):
            return None
        summary = "cuInit never came: no libcuda was loaded, so no driver call was made"
        because = f"{library_of(call.library)} found no libcuda.so.1 that it could load; the driver is not too old, it is not there"
        return Diagnosis("missing", "cuInit", call.result, summary, because, tuple(seen), process.id), _end(call)
    seen.insert(0, f"{describe(version)}, in {version.library}")
    summary = f"cuInit never came: {library_of(call.library)} asked for the driver's version and went no further"
    because = (
        f"the driver supports CUDA {CudaVersion.from_code(version.value or 0)}, which is too old for {library_of(call.library)}: "
        f"{call.function} returns {decode(call.function, call.result or 0)} without asking the driver for a device"
    )
    return Diagnosis("missing", "cuInit", call.result, summary, because, tuple(seen), process.id), _end(call)


def _version(process: Process) -> Call | None:
    return next((call for call in process.calls if call.function == "cuDriverGetVersion" and call.value), None)


def _silent(process: Process) -> tuple[Diagnosis, int] | None:
    """No call failed, but the driver was asked for its version alone: a runtime within another library does so, whose calls
    are not seen."""
    version = _version(process)
    if version is None or any(function.name == "cuInit" and function.calls for function in process.functions):
        return None
    summary = "cuInit never came: the driver was asked for its version and nothing else"
    because = (
        f"a CUDA runtime that accepts the driver calls cuInit next; the driver supports CUDA {CudaVersion.from_code(version.value or 0)}. "
        "The runtime's own calls are not seen: it is linked into a library, or the dynamic linker is older than glibc 2.35"
    )
    return Diagnosis(
        "missing", "cuInit", None, summary, because, (f"{describe(version)}, in {version.library}",), process.id
    ), _end(version)


def _unreturned(process: Process) -> tuple[Diagnosis, int] | None:
    """The last call that began, when it has not returned: other threads may wait in a call while a program ends well."""
    last = process.calls[-1] if process.calls else None
    if last is None or last.duration is not None:
        return None
    summary = f"{last.function} did not return: the process ended within it"
    return Diagnosis(
        "unreturned", last.function, None, summary, "", (f"{describe(last)}, in {last.library}",), process.id
    ), last.start
