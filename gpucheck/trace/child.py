"""A command that runs as if nobody watched: same terminal, same process group, same signals, its own exit status."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections.abc import Callable, Mapping, Sequence

from gpucheck.record import dataclass

#: What a person or a supervisor sends to the process that it knows, which is this one.
FORWARDED = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
    signal.SIGALRM,
)
#: si_code of a signal from the terminal (SI_KERNEL, sigaction(2)): the whole process group has got it already.
SI_KERNEL = 0x80


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    pid: int
    status: int
    """The exit status, as a shell gives it: 128 and the number when a signal ended it."""
    signal: str
    """``SIGSEGV``, or ''."""
    dumped: bool
    """Whether it left a core dump."""


def run(
    path: str, command: Sequence[str], env: Mapping[str, str], meanwhile: Callable[[], None] = lambda: None
) -> Ended:
    """Start a program and wait for its end. What is sent to this process meanwhile goes to it.

    ``meanwhile``: short work to do once it runs; signals wait for it. Raises ``OSError`` when it cannot be started.
    """
    waited = {signal.SIGCHLD, *FORWARDED}
    # A parent that ignores SIGCHLD hands that down, and then nothing can be waited for: wait(2).
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    try:
        pid = _spawn(path, command, env, mask)
        meanwhile()
        while True:
            got = signal.sigwaitinfo(waited)
            if got.si_signo != signal.SIGCHLD:
                if got.si_code != SI_KERNEL:
                    _send(pid, got.si_signo)
                continue
            # As process 1 of a container this process is the parent of orphans too.
            while True:
                try:
                    ended, status = os.waitpid(-1, os.WNOHANG)
                except ChildProcessError:
                    ended = 0
                if ended == pid:
                    return _ended(pid, status)
                if ended == 0:
                    break
    finally:
        # The Ctrl-C that ended the command shall not end the report on it.
        while signal.sigtimedwait(FORWARDED, 0):
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _spawn(path: str, command: Sequence[str], env: Mapping[str, str], mask: set[signal.Signals | int]) -> int:
    # Python ignores these two; the command shall find what a shell gives it.
    defaults = [signal.SIGPIPE, signal.SIGXFSZ]
    try:
        return os.posix_spawn(path, list(command), env, setsigmask=mask, setsigdef=defaults)
    except OSError as error:
        if error.errno != errno.ENOEXEC or _is_elf(path):
            raise
        # A script without a first line that names its interpreter: execvp(3).
        shell = "/bin/sh"
        return os.posix_spawn(shell, [shell, path, *command[1:]], env, setsigmask=mask, setsigdef=defaults)


def _is_elf(path: str) -> bool:
    """A program for another machine; shells too run other files that the kernel does not know, but not these."""
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError:
        return False


def _send(pid: int, number: int) -> None:
    # It may have ended, or have become another user's.
    with contextlib.suppress(OSError):
        os.kill(pid, number)


def _ended(pid: int, status: int) -> Ended:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        return Ended(pid, 128 + number, name, os.WCOREDUMP(status))
    return Ended(pid, os.waitstatus_to_exitcode(status), "", False)
