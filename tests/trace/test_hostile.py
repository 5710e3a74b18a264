"""Input that is not what it should be: no exception, bounded memory and time."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from gpucheck.kb.traced import is_library
from gpucheck.trace import loader_log, system_calls
from gpucheck.trace.lookup import Trace
from gpucheck.trace.merge import merge
from gpucheck.trace.text import render

LOADER = [
    "file=libcuda.so.1 [0];  needed by a [0]",
    "file=libcuda.so.1 [0];  dynamically loaded by b [0]",
    "file=/x/libcudart.so.12 [0];  dynamically loaded by libcuda.so.1 [0]",
    "file=libcuda.so.1 [0];  generating link map",
    "file=/x/libcudart.so.12 [0];  generating link map",
    "file=libcuda.so.1 [0];  destroying link map",
    "find library=libcuda.so.1 [0]; searching",
    " search path=/a:/b/glibc-hwcaps/x86-64-v4:\t\t(RPATH from file x)",
    " search path=/a\t\t(LD_LIBRARY_PATH)",
    " search path=\t\t(system search path)",
    " search cache=/etc/ld.so.cache",
    "  trying file=/a/libcuda.so.1",
    "  trying file=",
    "opening file=/a/libcuda.so.1 [0]; direct_opencount=1",
    "opening file= [0]; direct_opencount=2",
    "calling init: /a/libcuda.so.1",
    "calling fini: /a/libcuda.so.1 [0]",
    "initialize program: a",
    "transferring control: a",
    "a: error: symbol lookup error: undefined symbol: cuInit (fatal)",
]
SYSTEM = [
    'openat(AT_FDCWD, "/a/libcuda.so.1", O_RDONLY|O_CLOEXEC) = 3',
    'openat(AT_FDCWD, "/b/libcuda.so.1", O_RDONLY|O_CLOEXEC) = -1 ENOENT (No such file or directory)',
    'openat(AT_FDCWD, "/dev/nvidiactl", O_RDWR <unfinished ...>',
    "<... openat resumed>) = -1 ENXIO (No such device or address)",
    'execve("/sbin/ldconfig", ["/sbin/ldconfig"], 0x55 /* 1 var */) = 0',
    "+++ exited with 0 +++",
]


class NoFiles:
    """Files of which nothing is known."""

    def why(self, path: str) -> str:
        return "" if "b" in path else "not there"

    def same(self, one: str, other: str) -> bool:
        return one == other

    def needed(self, path: str) -> tuple[str, ...]:
        return ()


pids = st.sampled_from(("1", "22", "4194304", "99999999999999"))
noise = st.text(st.characters(codec="utf-8"), max_size=60)
loader_lines = st.builds("{:>10}:\t{}".format, pids, st.sampled_from(LOADER) | noise) | noise
system_lines = st.builds("{} {}".format, pids, st.sampled_from(SYSTEM) | noise) | noise


@settings(max_examples=400, deadline=None)
@given(st.lists(loader_lines, max_size=60), st.lists(system_lines, max_size=60))
def test_any_sequence_of_lines_makes_a_report(loader: list[str], system: list[str]) -> None:
    images = loader_log.parse(loader, is_library)
    calls = system_calls.parse(system, lambda name, path: True)
    for some in (images, ()):
        for errors in (calls, None):
            seen = merge(some, errors, NoFiles(), lambda name: name)
            trace = Trace(
                ("x",), 0, "", 0.0, ("ld-debug",), (), seen.processes, seen.lookups, seen.devices, seen.helpers
            )
            for everything in (False, True):
                assert render(trace, everything=everything, colour=everything).startswith(
                    "gpucheck trace" if not everything else "\x1b[1mgpucheck trace"
                )
            assert all(0 <= lookup.process < max(len(seen.processes), 1) for lookup in seen.lookups)


def _measure(lines: Iterator[str], kind: str) -> tuple[float, int]:
    tracemalloc.start()
    started = time.perf_counter()
    if kind == "loader":
        loader_log.parse(lines, is_library)
    else:
        system_calls.parse(lines, lambda name, path: True)
    seconds = time.perf_counter() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return seconds, peak


def test_long_logs_take_bounded_memory() -> None:
    def loader() -> Iterator[str]:
        for number in range(40_000):
            yield f"{number:>10}:\tfile=libcuda{number}.so.1 [0];  dynamically loaded by {number} [0]\n"
            yield f"{number:>10}:\tfile=/{number}/libcudart.so.1 [0];  generating link map\n"

    def system() -> Iterator[str]:
        for number in range(40_000):
            yield f'{number} openat(AT_FDCWD, "/{number}/libcuda.so", O_RDONLY <unfinished ...>\n'

    for lines, kind in ((loader(), "loader"), (system(), "system")):
        _, peak = _measure(lines, kind)
        assert peak < 64 << 20, (kind, peak)


def test_long_lines_take_linear_time() -> None:
    for kind, line in (
        ("loader", " " * 5 + "1:\t search path=" + "/a:" * 20_000 + "\t\t(LD_LIBRARY_PATH)"),
        ("loader", "1:\t" + "x: error: " * 6_000),
        ("loader", "1:\tfile=" + " [0];  needed by " * 4_000),
        ("loader", "1:\t" + " " * 60_000 + "2"),
        ("loader", ("1:\t search path=" + "   9:\t" * 9_000)),
        ("system", '1 openat(AT_FDCWD, "' + "\\" * 60_001 + '" = -1 E'),
        ("system", '1 openat(AT_FDCWD, "a", ' + ") = " * 15_000),
        ("system", "1 <... openat resumed>" + ") " * 30_000),
    ):
        seconds, _ = _measure(iter([line] * 3), kind)
        assert seconds < 2, (line[:40], seconds)
