"""Where the library cannot be loaded: nothing is printed by ld.so, the command ends as it would, the reason is said."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from gpucheck.trace.calls import Refusal, obstacle, prepare, read
from gpucheck.trace.calls.text import render
from gpucheck.trace.program import find_program
from tests.calls.workshop import build, counts, environment, library, plain, watch
from tests.needs import missing

HELLO = '#include <stdio.h>\nint main(void) { puts("hello"); return 5; }'


def told(program: Path) -> str:
    """What is said of a program that cannot be watched."""
    return obstacle(find_program(str(program), dict(os.environ)))


def test_a_static_program(tmp_path: Path) -> None:
    program = build(tmp_path / "static", HELLO, "-static")
    ran = watch([program], environment(), tmp_path / "log")
    assert (ran.status, ran.stdout, ran.stderr, ran.trace.watched, ran.trace.processes) == (5, "hello\n", "", (), ())
    assert (
        told(program)
        == f"{program} is linked statically: no dynamic linker runs, so none can be asked to watch its calls"
    )


def test_a_program_for_musl(tmp_path: Path) -> None:
    if shutil.which("musl-gcc") is None:
        missing("programs of musl", "apt install musl-tools")
    program = build(tmp_path / "musl", HELLO, compiler="musl-gcc")
    ran = watch([program], environment(), tmp_path / "log")
    assert (ran.status, ran.stdout, ran.stderr, ran.trace.watched) == (5, "hello\n", "", ())
    assert told(program) == f"{program} runs with musl, whose dynamic linker has no auditing (LD_AUDIT)"


def test_a_set_user_id_program_of_another_user() -> None:
    if os.geteuid() != 0:
        missing("a set-user-ID program of another user", "run the tests as root")
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        program = build(folder / "setuid", HELLO)
        os.chown(program, 65534, 65534)
        program.chmod(0o4755)
        ran = watch([program], environment(), folder / "log")
        assert (ran.status, ran.stdout, ran.stderr, ran.trace.watched) == (5, "hello\n", "", ())
        assert told(program) == "the dynamic linker ignores LD_AUDIT: it is set-user-ID"


def test_a_32_bit_program_gets_a_library_that_declines(tmp_path: Path) -> None:
    if not os.path.exists("/lib/ld-linux.so.2"):
        missing("a 32-bit program beside a 64-bit one", "apt install gcc-multilib")
    program = build(tmp_path / "narrow", HELLO, "-m32")
    ran = watch([program], environment(), tmp_path / "log")
    assert (ran.status, ran.stdout, ran.stderr, ran.trace.watched) == (5, "hello\n", "", ())
    assert told(program) == f"{program} is a 32-bit program; calls of 64-bit programs are watched"


def test_another_auditing_library_of_the_user_keeps_its_place(tmp_path: Path) -> None:
    other = library(
        tmp_path / "other.so",
        '#include <unistd.h>\nunsigned la_version(unsigned v) { write(1, "other\\n", 6); return v; }',
    )
    library(tmp_path / "libcuda.so.1", "int cuInit(unsigned flags) { return 0; }")
    caller = build(
        tmp_path / "caller",
        '#include <dlfcn.h>\nint main(void) { return ((int (*)(int))dlsym(dlopen("libcuda.so.1", 2), "cuInit"))(0); }',
        "-ldl",
    )
    ran = watch([caller], environment(tmp_path, LD_AUDIT=str(other)), tmp_path / "log")
    assert (ran.status, ran.stdout, ran.stderr) == (0, "other\n", "")
    assert counts(ran.process) == {"cuInit": 1}


def test_children_of_a_shell_are_watched_and_nothing_is_printed(tmp_path: Path) -> None:
    ran = watch(["sh", "-c", "true; sh -c 'echo a | cat'; exit 4"], environment(), tmp_path / "log")
    assert (ran.status, ran.stdout, ran.stderr) == (4, "a\n", "")
    assert len(ran.trace.watched) >= 2
    count = len(ran.trace.watched)
    assert (
        render(ran.trace, False, False)
        == f"- no call was made: none of {count} processes opened libcuda, libcudart or libnvidia-ml\n"
    )


def test_a_folder_with_a_space_in_its_name(tmp_path: Path) -> None:
    ran = watch(["true"], environment(), tmp_path / "the log")
    assert (ran.status, ran.stderr, len(ran.trace.watched)) == (0, "", 1)


def test_nothing_was_loaded(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    assert not isinstance(prepare({}, str(folder)), Refusal)
    assert (
        render(read(str(folder)), False, False)
        == "? no call was seen: no process loaded the library that watches them\n"
    )


@pytest.mark.parametrize("name", ["with:colon", "with$dollar"])
def test_a_folder_that_ld_so_cannot_be_told_of_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    refused = prepare({}, str(folder))
    assert refused == Refusal(f"ld.so cannot be told of a folder with ':' or '$' in its name: {folder}")
    assert not list(folder.iterdir())


def test_a_folder_on_a_place_without_execution_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "noexec"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "noexec", "none", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        missing("a folder that is mounted noexec", "run the tests as root, where mount(2) is allowed")
    try:
        refused = prepare({}, str(folder))
        assert refused == Refusal(
            f"{folder} is mounted noexec, so no library in it can be loaded; TMPDIR chooses another place"
        )
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_under_a_full_disk_the_command_goes_on(tmp_path: Path) -> None:
    """A sparse file that cannot be filled would be a SIGBUS at the first call."""
    library(tmp_path / "libcuda.so.1", "int cuInit(unsigned flags) { return 7; }")
    caller = build(
        tmp_path / "caller",
        '#include <dlfcn.h>\nint main(void) { return ((int (*)(int))dlsym(dlopen("libcuda.so.1", 2), "cuInit"))(0); }',
        "-ldl",
    )
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "none", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        missing("a full disk", "run the tests as root, where mount(2) is allowed")
    try:
        ran = watch([caller], environment(tmp_path), place / "log")
        assert (ran.status, ran.stderr) == (7, "")
        assert not ran.trace.processes and len(ran.trace.trouble) == 1
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_the_plain_run_is_the_measure(tmp_path: Path) -> None:
    """What is read of the environment and of open files is the same, but for LD_AUDIT."""
    script = "import os, sys; print(sorted(n for n in os.environ if n != 'LD_AUDIT'), sorted(os.listdir('/proc/self/fd')), os.getcwd())"
    command = ["python3", "-S", "-c", script]
    alone = plain(command, environment())
    ran = watch(command, environment(), tmp_path / "log")
    assert (ran.status, ran.stdout, ran.stderr) == (alone.returncode, alone.stdout, alone.stderr)
