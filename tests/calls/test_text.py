"""The report, as whole text, and what heads it."""

from __future__ import annotations

import pytest

from gpucheck.trace.calls import Call, CallTrace, Function, Process, diagnose, diagnosis, summarise
from gpucheck.trace.calls.decoding import decode, name_of
from gpucheck.trace.calls.diagnosis import is_failure
from gpucheck.trace.calls.log import nest
from gpucheck.trace.calls.text import render


@pytest.fixture(autouse=True)
def one_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables change, and their references age."""
    meaning = "no CUDA device found: no GPU, no /dev/nvidia* in the container, CUDA_VISIBLE_DEVICES empty"
    monkeypatch.setattr(diagnosis, "meaning_of", lambda *_: (meaning, "https://example.com/codes (checked 2026-11-23)"))


CUDA, CUDART, NVML = "/drv/libcuda.so.1", "/env/lib/libcudart.so.12", "/drv/libnvidia-ml.so.1"
MS = 1_000_000


def call(
    function: str,
    start: int,
    duration: int | None,
    result: int | None = 0,
    *,
    value: int | None = None,
    asked: str = "",
    thread: int = 7,
) -> Call:
    library = NVML if function.startswith("nvml") else CUDART if function.startswith("cuda") else CUDA
    return Call(function, library, thread, start, duration, result if duration is not None else None, value, asked, 0)


def process(
    *calls: Call, number: int = 7, extra: tuple[Function, ...] = (), libraries: tuple[str, ...] = (CUDART, CUDA)
) -> Process:
    names = dict.fromkeys(call.function for call in calls)
    functions = []
    for name in names:
        of = [call for call in calls if call.function == name]
        codes: dict[int, int] = {}
        for one in of:
            if one.result:
                codes[one.result] = codes.get(one.result, 0) + 1
        functions.append(
            Function(
                name,
                of[0].library,
                len(of),
                sum(one.duration is not None for one in of),
                sum(one.duration or 0 for one in of),
                sum(codes.values()),
                tuple(codes.items()),
            )
        )
    return Process(
        number, 1, ("python", "-c", "import torch"), 0, libraries, nest(list(calls)), (*functions, *extra), 0
    )


def trace(*processes: Process) -> CallTrace:
    return CallTrace(tuple(item.id for item in processes), processes, ())


NO_DEVICE = (
    call("cudaGetDeviceCount", 0, 15 * MS, 100),
    call("cuGetProcAddress_v2", 10, 300, asked="cuInit", value=2000),
    call("cuGetProcAddress_v2", 400, 200, asked="cuGetProcAddress", value=11030),
    call("cuGetExportTable", 900, 100, 1),
    call("cuDriverGetVersion", 1000, 5000, value=12020),
    call("cuInit", 7000, 14 * MS, 100),
)

REPORT = """\
✗ cuInit is the first call that fails: 100 CUDA_ERROR_NO_DEVICE
  because: no CUDA device found: no GPU, no /dev/nvidia* in the container, CUDA_VISIBLE_DEVICES
    empty [https://example.com/codes (checked 2026-11-23)]
  seen: cuInit = 100 CUDA_ERROR_NO_DEVICE, in /drv/libcuda.so.1
  seen: called by cudaGetDeviceCount = 100 cudaErrorNoDevice, in /env/lib/libcudart.so.12

calls of process 7: python -c 'import torch'
         start       took  call
          0 ns    15.0 ms  cudaGetDeviceCount = 100 cudaErrorNoDevice
         10 ns     500 ns    cuGetProcAddress_v2 = 0 x2
        900 ns     100 ns    cuGetExportTable = 1 CUDA_ERROR_INVALID_VALUE
        1.0 us     5.0 us    cuDriverGetVersion = 0 (12020: CUDA 12.2)
        7.0 us    14.0 ms    cuInit = 100 CUDA_ERROR_NO_DEVICE

all calls by function
         calls       took  function
             1    15.0 ms  cudaGetDeviceCount: 1 x 100 cudaErrorNoDevice
             1    14.0 ms  cuInit: 1 x 100 CUDA_ERROR_NO_DEVICE
             1     5.0 us  cuDriverGetVersion
             2     500 ns  cuGetProcAddress_v2
             1     100 ns  cuGetExportTable: 1 x 1 CUDA_ERROR_INVALID_VALUE
"""


def test_the_first_failing_call_heads_the_report() -> None:
    assert render(trace(process(*NO_DEVICE)), False, False) == REPORT


def test_all_calls_have_a_line_each_with_what_they_asked_for() -> None:
    shown = render(trace(process(*NO_DEVICE)), False, True)
    assert "   cuGetProcAddress_v2(cuInit) = 0\n" in shown
    assert "   cuGetProcAddress_v2(cuGetProcAddress) = 0\n" in shown


def test_colour_adds_nothing_but_colour() -> None:
    import re

    shown = render(trace(process(*NO_DEVICE)), True, False)
    assert "\x1b[31m✗\x1b[0m" in shown
    assert re.sub(r"\x1b\[\d+m", "", shown) == REPORT


def test_a_driver_too_old_is_the_call_that_never_came() -> None:
    seen = trace(process(call("cudaGetDeviceCount", 0, 900, 35), call("cuDriverGetVersion", 100, 300, value=11040)))
    found = diagnose(seen)
    assert found
    assert (found.kind, found.function, found.result) == ("missing", "cuInit", 35)
    assert found.summary == "cuInit never came: libcudart.so.12 asked for the driver's version and went no further"
    assert found.because == (
        "the driver supports CUDA 11.4, which is too old for libcudart.so.12: "
        "cudaGetDeviceCount returns 35 cudaErrorInsufficientDriver without asking the driver for a device"
    )
    assert found.seen == (
        f"cuDriverGetVersion = 0 (11040: CUDA 11.4), in {CUDA}",
        f"cudaGetDeviceCount = 35 cudaErrorInsufficientDriver, in {CUDART}",
    )


def test_the_same_code_without_a_driver_is_another_cause() -> None:
    found = diagnose(trace(process(call("cudaGetDeviceCount", 0, 900, 35), libraries=(CUDART,))))
    assert found
    assert found.summary == "cuInit never came: no libcuda was loaded, so no driver call was made"
    assert (
        found.because
        == "libcudart.so.12 found no libcuda.so.1 that it could load; the driver is not too old, it is not there"
    )


def test_a_runtime_within_a_library_is_told_by_its_silence() -> None:
    asked = Function("cuInit", CUDA, 0, 0, 0, 0, ())
    found = diagnose(trace(process(call("cuDriverGetVersion", 100, 300, value=12020), extra=(asked,))))
    assert found
    assert (found.kind, found.function, found.result) == ("missing", "cuInit", None)
    assert found.summary == "cuInit never came: the driver was asked for its version and nothing else"
    fine = process(call("cuDriverGetVersion", 100, 300, value=12020), call("cuInit", 500, 300))
    assert diagnose(trace(fine)) is None
    assert render(trace(fine), False, False).startswith("✓ no call failed, of 2\n")


@pytest.mark.parametrize(
    ("function", "result", "failure"),
    [
        ("cuInit", 100, True),
        ("cuInit", 0, False),
        ("cuInit", None, False),
        ("cuGetProcAddress_v2", 500, False),
        ("cuGetExportTable", 1, False),
        ("cudaGetLastError", 100, False),
        ("cuStreamQuery", 600, False),
        ("cudaEventQuery", 600, False),
        ("cudaEventQuery", 700, True),
        ("cuPointerGetAttributes", 1, False),
        ("cuPointerGetAttributes", 201, True),
        ("nvmlInit_v2", 9, True),
        ("nvmlDeviceGetTemperature", 3, False),
        ("cuSomething", 0xFFFFF000, False),
        ("cuSomething", 20000, False),
    ],
)
def test_what_counts_as_a_failure(function: str, result: int | None, failure: bool) -> None:
    assert is_failure(function, result) == failure


def test_the_first_is_by_end_and_the_earliest_process_wins() -> None:
    late = process(call("cuInit", 5 * MS, 10, 999), number=8)
    early = process(call("cudaMalloc", 0, 4 * MS, 2), call("cuMemAlloc_v2", 100, 3 * MS, 2), number=9)
    found = diagnose(trace(late, early))
    assert found and (found.process, found.function) == (9, "cuMemAlloc_v2")


def test_a_call_in_another_thread_contains_nothing() -> None:
    calls = nest(
        [call("cudaMalloc", 0, 1000, thread=1), call("cuInit", 10, 20, thread=2), call("cuCtxCreate", 20, 30, thread=1)]
    )
    assert [(item.function, item.depth) for item in calls] == [("cudaMalloc", 0), ("cuInit", 0), ("cuCtxCreate", 1)]


def test_a_process_killed_within_a_call() -> None:
    seen = trace(process(call("nvmlInit_v2", 0, 10, 9), call("cuInit", 100, None)))
    failed = diagnose(seen)
    killed = diagnose(seen, killed=[7])
    assert failed and killed
    assert (failed.function, killed.function) == ("nvmlInit_v2", "cuInit")
    assert killed.summary == "cuInit did not return: the process ended within it"
    # A thread that waits while others go on and the program ends well.
    waiting = trace(process(call("cuStreamSynchronize", 0, None, thread=1), call("cuInit", 100, 5, thread=2)))
    assert diagnose(waiting) is None


def test_totals_are_over_all_processes() -> None:
    totals = summarise(
        trace(process(*NO_DEVICE), process(call("cuInit", 0, 5, 999), call("cuInit", 9, 5, 100), number=8))
    )
    total = next(total for total in totals if total.function == "cuInit")
    assert (total.calls, total.returned, total.errors, total.codes) == (3, 3, 3, ((100, 2), (999, 1)))
    assert [total.function for total in totals][:2] == ["cudaGetDeviceCount", "cuInit"]


def test_long_runs_are_cut_and_say_so() -> None:
    many = [call(f"cuF{number}", 10 * number, 5) for number in range(50)]
    counted = Function("cuBusy", CUDA, 1_000_000, 1_000_000, 5 * 10**9, 0, ())
    shown = render(trace(process(*many, extra=(counted,))), False, False)
    assert (
        "  ... and 10 more; --all shows them\n  1000000 further calls were counted and not noted one by one\n" in shown
    )
    assert "       1000000     5.00 s  cuBusy\n" in shown
    assert "  ... and 39 more functions; --all shows them\n" in shown
    assert "more" not in render(trace(process(*many, extra=(counted,))), False, True).replace("no more", "")


def test_threads_are_told_apart() -> None:
    shown = render(trace(process(call("cuInit", 0, 50, thread=41), call("cuInit", 10, 5, thread=42))), False, False)
    assert "          0 ns      50 ns  0       cuInit = 0\n         10 ns       5 ns  1       cuInit = 0\n" in shown


def test_codes_have_the_names_of_their_interface() -> None:
    assert [name_of(function, 100) for function in ("cuInit", "cudaMalloc", "nvmlInit_v2")] == [
        "CUDA_ERROR_NO_DEVICE",
        "cudaErrorNoDevice",
        "",
    ]
    assert [name_of(function, 0) for function in ("cuInit", "cudaMalloc", "nvmlInit_v2")] == [
        "CUDA_SUCCESS",
        "cudaSuccess",
        "NVML_SUCCESS",
    ]
    assert decode("nvmlInit_v2", 9) == "9 NVML_ERROR_DRIVER_NOT_LOADED"
    assert decode("cuInit", 4711) == "4711"
