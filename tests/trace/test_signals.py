"""Signals and the terminal: the command must not notice that somebody waits for it."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trace.commands import argv, conforming, environment, strace

#: Says that it is ready, then each signal that it gets, until SIGUSR2; then how often it got each.
LISTENER = """
import os, signal
got = []
def note(number, frame):
    got.append(signal.Signals(number).name)
    os.write(1, f"got {got[-1]}\\n".encode())
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT):
    signal.signal(number, note)
os.write(1, b"ready\\n")
while "SIGUSR2" not in got:
    signal.sigtimedwait((), 0.05)
os.write(1, f"all {' '.join(got)}\\n".encode())
"""
BACKENDS = ("ld-debug", "strace")


@pytest.mark.parametrize("backend", BACKENDS)
def test_signals_are_forwarded(tmp_path: Path, backend: str) -> None:
    if backend == "strace":
        strace()
    with subprocess.Popen(
        argv(sys.executable, "-c", LISTENER, backend=backend, output=str(tmp_path / "report")),
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGQUIT", "SIGUSR2"):
            process.send_signal(signal.Signals[name])
            assert process.stdout.readline() == f"got {name}\n"
        assert process.stdout.readline() == "all SIGTERM SIGINT SIGHUP SIGUSR1 SIGQUIT SIGUSR2\n"
        assert process.wait(60) == 0


def test_a_forwarded_signal_that_ends_the_command(tmp_path: Path) -> None:
    report = tmp_path / "report"
    with subprocess.Popen(
        argv("sh", "-c", "echo ready; exec sleep 60", format="json", output=str(report)),
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.wait(60) == 143
    assert conforming(report.read_text())["signal"] == "SIGTERM"


def _read_until(terminal: int, text: str) -> str:
    seen = b""
    while text.encode() not in seen:
        ready, _, _ = select.select([terminal], [], [], 60)
        assert ready, seen
        seen += os.read(terminal, 4096)
    return seen.decode()


@pytest.mark.parametrize("backend", BACKENDS)
def test_control_c_reaches_the_command_once(tmp_path: Path, backend: str) -> None:
    """The terminal sends it to the whole foreground group, the command and gpucheck: it must not be forwarded again."""
    if backend == "strace":
        strace()
    report = tmp_path / "report"
    command = argv(sys.executable, "-c", LISTENER, backend=backend, format="json", output=str(report))
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(command[0], command, environment())
    try:
        _read_until(terminal, "ready")
        os.write(terminal, b"\x03")
        _read_until(terminal, "got SIGINT")
        os.write(terminal, b"\x1c")
        _read_until(terminal, "got SIGQUIT")
        os.kill(pid, signal.SIGUSR2)
        assert "all SIGINT SIGQUIT SIGUSR2" in _read_until(terminal, "all ")  # fmt: skip
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        os.close(terminal)
    assert conforming(report.read_text())["exit"] == 0


def test_control_c_that_ends_the_command_leaves_the_report(tmp_path: Path) -> None:
    report = tmp_path / "report"
    command = argv("sh", "-c", "echo ready; exec sleep 60", format="json", output=str(report))
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(command[0], command, environment())
    try:
        _read_until(terminal, "ready")
        os.write(terminal, b"\x03")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    finally:
        os.close(terminal)
    assert conforming(report.read_text())["signal"] == "SIGINT"


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_command_has_the_terminal_and_the_process_group(tmp_path: Path, backend: str) -> None:
    """Reading from the terminal works, which a process in the background could not do: termios(3)."""
    if backend == "strace":
        strace()
    code = (
        "import os\n"
        "assert os.getpgid(0) == os.getpgid(os.getppid()) == os.tcgetpgrp(0) and os.isatty(1)\n"
        "print('said', input('say: '))"
    )
    command = argv(sys.executable, "-c", code, backend=backend, output=str(tmp_path / "report"))
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(command[0], command, environment())
    try:
        _read_until(terminal, "say: ")
        os.write(terminal, b"hello\n")
        _read_until(terminal, "said hello")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        os.close(terminal)


def test_stopping_and_going_on_stops_and_continues_both(tmp_path: Path) -> None:
    """Control-Z stops the foreground group; the shell, here the test, continues it."""
    code = "print('ready', flush=True); print('said', input())"
    command = argv(sys.executable, "-c", code, output=str(tmp_path / "report"))
    pid, terminal = pty.fork()
    if pid == 0:
        # A group that is orphaned is not stopped by the terminal (setpgid(2)): gpucheck must not be the session's leader.
        child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            os.tcsetpgrp(0, os.getpgrp())
            signal.signal(signal.SIGTTOU, signal.SIG_DFL)
            os.execve(command[0], command, environment())
        _, status = os.waitpid(child, os.WUNTRACED)
        os.write(1, b"stopped\n" if os.WIFSTOPPED(status) else b"ended\n")
        os.killpg(child, signal.SIGCONT)
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status))
    try:
        _read_until(terminal, "ready")
        os.write(terminal, b"\x1a")
        _read_until(terminal, "stopped")
        os.write(terminal, b"hello\n")
        _read_until(terminal, "said hello")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        os.close(terminal)


def test_what_a_shell_ignores_stays_ignored(tmp_path: Path) -> None:
    """nohup(1) hands SIGHUP down as ignored; SIGPIPE, which Python ignores for itself, is not handed down."""
    # 32 and 33 are glibc's own; whatever is started with posix_spawn(3) has them ignored until it makes a thread.
    code = "print(hex(int(next(x for x in open('/proc/self/status') if x.startswith('SigIgn'))[7:], 16) & 0x7FFFFFFF))"
    shown = [sys.executable, "-S", "-c", code]
    plain, traced = (
        subprocess.run(
            command,
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
        ).stdout
        for command in (shown, argv(*shown, output=str(tmp_path / "report")))
    )
    assert traced == plain
