"""The reader of strace's output: real lines of strace 6.1, and those that only busy programs make."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpucheck.trace.system_calls import SystemCall, parse, unescape
from tests.trace.commands import strace


def read(*lines: str) -> list[tuple[int, str, str, str]]:
    found = parse((f"{line}\n" for line in lines), lambda name, path: True)
    return [(call.thread, call.name, call.path, call.error) for call in found]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            '5214  execve("/usr/bin/env", ["env", "python3", "t.py"], 0x7fffbabf1b18 /* 39 vars */) = 0',
            (5214, "exec", "/usr/bin/env", ""),
        ),
        (
            '5214  execve("/usr/local/go/bin/bash", ["bash"], 0x7ffdd5104bf0 /* 39 vars */) = -1 ENOENT (No such file or directory)',
            (5214, "exec", "/usr/local/go/bin/bash", "ENOENT"),
        ),
        (
            '5630  openat(AT_FDCWD, "/proc/self/maps", O_RDONLY|O_CLOEXEC) = 3',
            (5630, "open", "/proc/self/maps", ""),
        ),
        (
            '5630  openat(AT_FDCWD</tmp>, "/dev/null", O_RDWR|O_CLOEXEC) = 3</dev/null<char 1:3>>',
            (5630, "open", "/dev/null", ""),
        ),
        ('726   open("/proc/self/environ", O_RDONLY)    = 3', (726, "open", "/proc/self/environ", "")),
        (
            '1  openat(AT_FDCWD, "/dev/nvidiactl", O_RDWR) = -1 EPERM (Operation not permitted)',
            (1, "open", "/dev/nvidiactl", "EPERM"),
        ),
        (
            '1  openat(AT_FDCWD, "/tmp/a\\"b\\\\c) = 3", O_WRONLY|O_CREAT, 0666) = -1 EACCES (Permission denied)',
            (1, "open", '/tmp/a"b\\c) = 3', "EACCES"),
        ),
        ('1  openat(AT_FDCWD, "/tmp/\\303\\244", O_RDONLY) = 3', (1, "open", "/tmp/ä", "")),
        ('1  openat(7, "/absolute", O_RDONLY) = 3', (1, "open", "/absolute", "")),
        (
            '1  openat(AT_FDCWD, "x", O_RDONLY) = ? ERESTARTSYS (To be restarted if SA_RESTART is set)',
            (1, "open", "x", "?"),
        ),
        ('1  execve("/bin/true", ["true"], 0x0 /* 0 vars */) = ?', (1, "exec", "/bin/true", "?")),
    ],
)
def test_lines(line: str, expected: tuple[int, str, str, str]) -> None:
    assert read(line) == [expected]


@pytest.mark.parametrize(
    "line",
    [
        "5220  +++ exited with 0 +++",
        "5220  --- SIGCHLD {si_signo=SIGCHLD} ---",
        '1  openat(7, "relative", O_RDONLY) = 3',
        '1  openat(AT_FDCWD, "cut off',
        '1  openat(AT_FDCWD, "name", O_RDONLY',
        '1  openat(AT_FDCWD, "abbreviated"..., O_RDONLY) = 3',
        "1  openat(AT_FDCWD, 0x7fff, O_RDONLY) = -1 EFAULT (Bad address)",
        "",
    ],
)
def test_lines_that_tell_nothing(line: str) -> None:
    assert read(line) == []


def test_calls_that_are_interrupted_by_other_threads() -> None:
    assert read(
        '10 openat(AT_FDCWD, "/dev/nvidia0", O_RDWR|O_CLOEXEC <unfinished ...>',
        '11 openat(AT_FDCWD, "/x/libcuda.so.1", O_RDONLY|O_CLOEXEC <unfinished ...>',
        "10 <... openat resumed>)             = -1 ENXIO (No such device or address)",
        "11 <... openat resumed>)             = 5",
        '12 execve("/sbin/ldconfig", ["/sbin/ldconfig", "-p"], 0x55 /* 40 vars */ <unfinished ...>',
        "12 <... execve resumed>)             = 0",
        "13 <... openat resumed>)             = 3",
    ) == [
        (10, "open", "/dev/nvidia0", "ENXIO"),
        (11, "open", "/x/libcuda.so.1", ""),
        (12, "exec", "/sbin/ldconfig", ""),
    ]


def test_a_process_that_ends_in_a_call() -> None:
    assert read('10 openat(AT_FDCWD, "/dev/nvidia0", O_RDWR <unfinished ...>', "10 +++ killed by SIGKILL +++") == [
        (10, "open", "/dev/nvidia0", "?")
    ]


def test_only_what_is_relevant_is_kept() -> None:
    calls = parse(
        ['1  openat(AT_FDCWD, "/a", O_RDONLY) = 3\n', '1  openat(AT_FDCWD, "/b", O_RDONLY) = 3\n'],
        lambda name, path: path == "/b",
    )
    assert calls == (SystemCall(1, "open", "/b", ""),)


names = st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name and b"/" not in name)


@given(names)
def test_unescape_undoes_what_strace_does(name: bytes) -> None:
    def quote(byte: int, following: int | None) -> str:
        # print_quoted_string_ex of strace's util.c, without -x.
        named = {9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}
        if byte in named:
            return named[byte]
        if 0x20 <= byte < 0x7F:
            return chr(byte)
        wide = following is not None and 0x30 <= following <= 0x37
        return f"\\{byte:03o}" if wide else f"\\{byte:o}"

    quoted = "".join(quote(byte, following) for byte, following in zip(name, [*name[1:], None]))
    assert os.fsencode(unescape(quoted)) == name


def test_odd_names_through_the_real_strace(tmp_path: Path) -> None:
    wanted = [
        f'{tmp_path}/a"b',
        f"{tmp_path}/back\\slash",
        f"{tmp_path}/new\nline1",
        f"{tmp_path}/ä",
        f"{tmp_path}/\t) = 3",
    ]
    code = "import os, sys\nfor name in sys.argv[1:]:\n    os.path.exists(name) or open(name, 'w').close()"
    log = tmp_path / "log"
    subprocess.run(
        [
            strace(),
            "-f",
            "-o",
            str(log),
            "-e",
            "trace=openat",
            "-e",
            "signal=none",
            sys.executable,
            "-c",
            code,
            *wanted,
        ],
        check=True,
    )
    with log.open(encoding="utf-8", errors="surrogateescape") as lines:
        found = [call.path for call in parse(lines, lambda name, path: path.startswith(f"{tmp_path}/"))]
    assert found == wanted
