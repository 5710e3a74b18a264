"""The library for AArch64, with a real dynamic linker of that architecture under qemu."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ci.native import zig
from tests.calls.test_calling_convention import CALLER, ODD, SAID, seventy
from tests.calls.test_processes import DRIVER, START
from tests.calls.workshop import counts, environment, named, plain, watch
from tests.needs import missing

#: Debian's libc6-arm64-cross.
ROOT = Path("/usr/aarch64-linux-gnu")


@pytest.fixture
def qemu() -> list[str]:
    if shutil.which("qemu-aarch64") is None or not (ROOT / "lib" / "ld-linux-aarch64.so.1").exists():
        missing("calls of an AArch64 program", "apt install qemu-user libc6-arm64-cross")
    return ["qemu-aarch64", "-L", str(ROOT)]


def build(path: Path, source: str, *options: str) -> Path:
    code = path.with_suffix(".c")
    code.write_text(source)
    subprocess.run(
        [*zig(), "-target", "aarch64-linux-gnu.2.17", "-O1", "-w", str(code), *options, "-o", str(path)], check=True
    )
    return path


def test_arguments_and_results_of_every_class_pass_through(tmp_path: Path, qemu: list[str]) -> None:
    build(tmp_path / "libcuda.so.1", seventy(ODD), "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1")
    caller = build(tmp_path / "caller", seventy(CALLER), "-ldl")
    command = [*qemu, "-E", f"LD_LIBRARY_PATH={tmp_path}", str(caller)]
    alone = plain(command, environment())
    assert (alone.returncode, alone.stdout) == (3, SAID)
    # qemu itself is watched as well, with the library of this machine.
    ran = watch(command, environment(), tmp_path / "log")
    assert (ran.status, ran.stdout, ran.stderr) == (3, SAID, "")
    assert sum(counts(ran.process).values()) == 18
    assert [call.result for call in named(ran.process, "cuTwelve")] == [12]
    assert [(call.result, call.depth) for call in named(ran.process, "cuNested")] == [(7, 1)]


def test_threads_and_a_forked_child(tmp_path: Path, qemu: list[str]) -> None:
    build(tmp_path / "libcuda.so.1", DRIVER, "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1")
    caller = build(
        tmp_path / "caller",
        START
        + r"""
        static void *work(void *p) { long wrong = 0; for (int i = 0; i < 2000; i++) wrong += GET("cuAdd")(20000, i) != 20000 + i; return (void *)wrong; }
        int main(void) {
            OPEN;
            pthread_t id[4]; void *wrong; long sum = 0;
            for (long i = 0; i < 4; i++) pthread_create(&id[i], 0, work, 0);
            for (int i = 0; i < 4; i++) pthread_join(id[i], &wrong), sum += (long)wrong;
            printf("%ld\n", sum); fflush(stdout);
            if (!fork()) { GET("cuFails")(100); _exit(0); }
            wait(0);
        }
        """,
        "-ldl",
        "-lpthread",
    )
    ran = watch([*qemu, "-E", f"LD_LIBRARY_PATH={tmp_path}", str(caller)], environment(), tmp_path / "log")
    assert (ran.status, ran.stdout, ran.stderr) == (0, "0\n", "")
    parent, child = ran.trace.processes
    assert (counts(parent), counts(child)) == ({"cuAdd": 8000}, {"cuFails": 1})
    assert child.parent == parent.id
