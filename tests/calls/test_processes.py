"""Threads, forks, signals, execs and ends of every kind."""

from __future__ import annotations

import resource
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gpucheck.trace.calls import Refusal, diagnose, prepare, read
from tests.calls.workshop import Run, build, counts, environment, library, named, watch

DRIVER = r"""
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int cuInit(unsigned flags) { return 0; }
int cuAdd(int a, int b) { return a + b; }
int cuFails(int code) { return code; }
int cuCrash(void) { volatile int *nowhere = 0; return *nowhere; }
int cuHang(void) { for (;;) pause(); }
int cuFork(void) { return fork(); }
int cuExit(int code) { exit(code); }
int cuStop(void) { return raise(SIGUSR1); }
"""

START = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
static void *library;
#define GET(name) ((int (*)())dlsym(library, name))
#define OPEN library = dlopen("libcuda.so.1", RTLD_NOW)
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Run]:
    """Run C code with the driver's calls watched."""
    library(tmp_path / "libcuda.so.1", DRIVER)

    def start(code: str) -> Run:
        caller = build(tmp_path / "caller", START + code, "-ldl", "-pthread")
        return watch([caller], environment(tmp_path), tmp_path / "log")

    return start


def test_threads_at_once_lose_no_call_and_no_result(run: Callable[..., Run]) -> None:
    ran = run(r"""
    static int (*add)(int, int);
    static pthread_barrier_t barrier;
    static void *work(void *p) {
        long n = (long)p, wrong = 0;
        pthread_barrier_wait(&barrier);
        // Every thread asks for functions of its own too: the table is filled by all at once.
        for (int i = 0; i < 200000; i++) wrong += add(n, i) != n + i;
        for (int i = 0; i < 100; i++) wrong += GET("cuAdd")(n, i) != n + i;
        wrong += GET("cuInit")(0);
        return (void *)wrong;
    }
    int main(void) {
        OPEN; add = GET("cuAdd");
        pthread_t id[8]; void *wrong; long sum = 0;
        pthread_barrier_init(&barrier, 0, 8);
        for (long i = 0; i < 8; i++) pthread_create(&id[i], 0, work, (void *)i);
        for (int i = 0; i < 8; i++) pthread_join(id[i], &wrong), sum += (long)wrong;
        printf("%ld\n", sum);
    }
    """)
    assert (ran.status, ran.stdout) == (0, "0\n")
    assert counts(ran.process) == {"cuAdd": 8 * 200100, "cuInit": 8}
    for function in ran.process.functions:
        assert function.calls == function.returned
    assert len({call.thread for call in named(ran.process, "cuInit")}) == 8
    assert all(call.depth == 0 for call in ran.process.calls)


def test_a_forked_child_writes_a_file_of_its_own(run: Callable[..., Run]) -> None:
    ran = run(r"""
    int main(void) {
        OPEN; int (*add)() = GET("cuAdd"); add(20000, 2);
        if (!fork()) { add(20000, 4); add(20000, 6); if (!fork()) { GET("cuFails")(999); _exit(0); } wait(0); _exit(0); }
        wait(0); add(20000, 8);
        if (!fork()) _exit(0);  // calls nothing: no file
        wait(0);
    }
    """)
    parent, child, grandchild = ran.trace.processes
    assert [counts(process) for process in ran.trace.processes] == [{"cuAdd": 2}, {"cuAdd": 2}, {"cuFails": 1}]
    assert [call.result for call in parent.calls] == [20002, 20008]
    assert [call.result for call in child.calls] == [20004, 20006]
    assert (child.parent, grandchild.parent) == (parent.id, child.id)
    assert {parent.libraries, child.libraries, grandchild.libraries} == {parent.libraries}
    diagnosis = diagnose(ran.trace)
    assert diagnosis and (diagnosis.process, diagnosis.summary) == (
        grandchild.id,
        "cuFails is the first call that fails: 999 CUDA_ERROR_UNKNOWN",
    )
    # Forked children execute nothing: one process loaded the library.
    assert ran.trace.watched == (parent.id,)


def test_a_fork_within_a_call_leaves_the_call_to_the_parent(run: Callable[..., Run]) -> None:
    ran = run(r"""
    int main(void) { OPEN; int (*add)() = GET("cuAdd"); int child = GET("cuFork")(); add(1, child != 0); if (!child) _exit(0); wait(0); }
    """)
    parent, child = ran.trace.processes
    assert [(call.function, call.duration is None) for call in parent.calls] == [("cuFork", False), ("cuAdd", False)]
    assert [(call.function, call.result) for call in child.calls] == [("cuAdd", 1)]
    for function in (*parent.functions, *child.functions):
        assert function.calls == function.returned


def test_a_signal_handler_may_call(run: Callable[..., Run]) -> None:
    ran = run(r"""
    static volatile int seen;
    static void handle(int s) { seen += GET("cuAdd")(40, 2); }
    int main(void) {
        OPEN;
        char *stack = malloc(65536);
        sigaltstack(&(stack_t){ .ss_sp = stack, .ss_size = 65536 }, 0);
        sigaction(SIGUSR1, &(struct sigaction){ .sa_handler = handle, .sa_flags = SA_ONSTACK }, 0);
        printf("%d", GET("cuStop")()); printf(" %d\n", seen);
    }
    """)
    assert (ran.status, ran.stdout) == (0, "0 42\n")
    assert [(call.function, call.result, call.depth) for call in ran.process.calls] == [
        ("cuStop", 0, 0),
        ("cuAdd", 42, 1),
    ]


def test_a_crash_in_the_driver_stays_a_crash_and_names_the_call(run: Callable[..., Run]) -> None:
    ran = run('int main(void) { OPEN; GET("cuInit")(0); GET("cuFails")(100); GET("cuCrash")(); }')
    assert ran.status == -signal.SIGSEGV
    killed = diagnose(ran.trace, killed=[ran.process.id])
    assert killed and (killed.kind, killed.summary) == (
        "unreturned",
        "cuCrash did not return: the process ended within it",
    )
    # Who is not told of the signal sees the failure before it.
    failed = diagnose(ran.trace)
    assert failed and (failed.kind, failed.function, failed.result) == ("failed", "cuFails", 100)


def test_a_process_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    library(tmp_path / "libcuda.so.1", DRIVER)
    caller = build(
        tmp_path / "caller",
        START + 'int main(void) { OPEN; GET("cuInit")(0); puts("now"); fflush(stdout); GET("cuHang")(); }',
        "-ldl",
    )
    folder = tmp_path / "log"
    folder.mkdir()
    env = environment(tmp_path)
    added = prepare(env, str(folder))
    assert not isinstance(added, Refusal)
    with subprocess.Popen([caller], env={**env, **added}, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout and child.stdout.readline() == "now\n"
        # The call is entered after the line is written: it is looked for until it is there.
        deadline = time.monotonic() + 30
        while len((trace := read(str(folder))).processes[0].calls) < 2:
            assert child.poll() is None and time.monotonic() < deadline
        child.kill()
    assert [(call.function, call.result) for call in read(str(folder)).processes[0].calls] == [
        ("cuInit", 0),
        ("cuHang", None),
    ]
    diagnosis = diagnose(trace)
    assert diagnosis and diagnosis.summary == "cuHang did not return: the process ended within it"


def test_an_exit_within_a_call_and_an_exec_after_it(run: Callable[..., Run], tmp_path: Path) -> None:
    ran = run(r"""
    int main(int n, char **v) {
        OPEN;
        if (n == 1) { GET("cuAdd")(1, 2); execl(v[0], v[0], "again", (char *)0); }
        GET("cuExit")(6);
    }
    """)
    assert ran.status == 6
    first, second = ran.trace.processes
    assert first.id == second.id
    assert (first.command, second.command) == ((str(tmp_path / "caller"),), (str(tmp_path / "caller"), "again"))
    assert (counts(first), counts(second)) == ({"cuAdd": 1}, {"cuExit": 1})
    assert ran.trace.watched == (first.id, first.id)


def test_a_million_calls_are_counted_in_the_same_room(run: Callable[..., Run], tmp_path: Path) -> None:
    ran = run(r"""
    int main(void) {
        OPEN; int (*fails)() = GET("cuFails");
        long sum = 0;
        for (int i = 0; i < 1000000; i++) sum += fails(i == 500000 ? 700 : i >= 999990 ? 719 : 0);
        printf("%ld\n", sum);
    }
    """)
    assert ran.stdout == f"{700 + 719 * 10}\n"
    (function,) = ran.process.functions
    assert (function.calls, function.returned, function.errors, function.codes) == (
        1000000,
        1000000,
        11,
        ((700, 1), (719, 10)),
    )
    # The first 64, and the first failure with each code.
    assert [call.result for call in ran.process.calls] == [0] * 64 + [700, 719]
    diagnosis = diagnose(ran.trace)
    assert diagnosis and diagnosis.result == 700
    (log,) = (path for path in (tmp_path / "log").iterdir() if path.name[0].isdigit())
    assert log.stat().st_size < 1500_000


def test_more_functions_than_the_table_holds_work_unwatched(tmp_path: Path) -> None:
    names = [f"cuF{number}" for number in range(2500)]
    library(
        tmp_path / "libcuda.so.1",
        "\n".join(f"int {name}(void) {{ return {number % 7}; }}" for number, name in enumerate(names)),
    )
    caller = build(
        tmp_path / "caller",
        START
        + 'int main(void) { OPEN; long sum = 0; char n[20]; for (int i = 0; i < 2500; i++) sprintf(n, "cuF%d", i), sum += GET(n)(); printf("%ld\\n", sum); }',
        "-ldl",
    )
    ran = watch([caller], environment(tmp_path), tmp_path / "log")
    assert ran.stdout == f"{sum(number % 7 for number in range(2500))}\n"
    assert (len(ran.process.functions), ran.process.unwatched) == (2048, 452)
    assert counts(ran.process) == dict.fromkeys(names[:2048], 1)


@pytest.mark.parametrize("limit", [0, 4096, 1 << 20])
def test_a_file_size_limit_is_no_death(tmp_path: Path, limit: int) -> None:
    """setrlimit(2): who writes beyond it gets SIGXFSZ."""
    library(tmp_path / "libcuda.so.1", DRIVER)
    caller = build(
        tmp_path / "caller",
        START.replace("#include <sys/wait.h>", "#include <sys/wait.h>\n#include <sys/resource.h>")
        + f'int main(void) {{ setrlimit(RLIMIT_FSIZE, &(struct rlimit){{ {limit}, {limit} }}); OPEN; return GET("cuAdd")(1, 2); }}',
        "-ldl",
    )
    ran = watch([caller], environment(tmp_path), tmp_path / "log")
    assert (ran.status, ran.stderr, ran.trace.processes) == (3, "", ())
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != limit


def test_a_command_that_gives_up_its_privileges_or_its_environment_is_watched() -> None:
    # Not in tmp_path, whose folder is for its owner alone.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        library(folder / "libcuda.so.1", DRIVER)
        code = f'int main(void) {{ if (!getuid() && (setgid(65534) || setuid(65534))) return 9; clearenv(); library = dlopen("{folder}/libcuda.so.1", RTLD_NOW); return GET("cuAdd")(1, 2); }}'
        caller = build(folder / "caller", START + code, "-ldl")
        ran = watch([caller], environment(), folder / "log")
        assert (ran.status, counts(ran.process)) == (3, {"cuAdd": 1})


def test_a_folder_that_went_away_changes_nothing(tmp_path: Path) -> None:
    library(tmp_path / "libcuda.so.1", DRIVER)
    caller = build(
        tmp_path / "caller",
        START + f'int main(void) {{ rename("{tmp_path}/log", "{tmp_path}/away"); OPEN; return GET("cuAdd")(1, 2); }}',
        "-ldl",
    )
    folder = tmp_path / "log"
    folder.mkdir()
    env = environment(tmp_path)
    added = prepare(env, str(folder))
    assert not isinstance(added, Refusal)
    ran = subprocess.run([caller], env={**env, **added}, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (3, "")
