"""The machine that gpucheck runs on."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
from collections.abc import Mapping

from gpucheck.system.files import Rootfs, read_regular, status_of
from gpucheck.system.protocol import Identity, Ran, Status

#: A process in an uninterruptible system call does not even die of SIGKILL: after this many seconds it is left behind.
ABANDON = 1.0


class Local(Rootfs):
    """This machine, this process's environment, live: programs may be run."""

    live = True

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        super().__init__("/", os.environ if env is None else env)
        c_library = os.confstr("CS_GNU_LIBC_VERSION") or ""
        self.identity = Identity(
            os.uname().machine,
            c_library.removeprefix("glibc ") if c_library.startswith("glibc ") else "",
            os.geteuid(),
            tuple(sorted({os.getegid(), *os.getgroups()})),
        )

    def resolve(self, path: str) -> str | None:
        try:
            return os.path.realpath(path, strict=True)
        except OSError:
            return None

    def status(self, path: str, *, follow: bool = True) -> Status:
        return status_of(os.stat(path, follow_symlinks=follow))

    def read(self, path: str, limit: int = 1 << 20, offset: int = 0) -> bytes:
        return read_regular(path, path, limit, offset)

    def link(self, path: str) -> str:
        return os.readlink(path)

    def attributes(self, path: str) -> tuple[str, ...]:
        try:
            return tuple(sorted(os.listxattr(path)))
        except OSError:
            return ()

    def names(self, directory: str) -> tuple[str, ...]:
        return tuple(sorted(os.listdir(directory)))

    def open_error(self, path: str) -> str:
        try:
            os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError as error:
            return errno.errorcode.get(error.errno or 0, "EIO")
        return ""

    def kernel_log(self) -> str:
        """/dev/kmsg gives one record a read and EAGAIN at the end (kernel, Documentation/ABI/testing/dev-kmsg)."""
        fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        records = []
        try:
            for _ in range(1 << 16):
                try:
                    records.append(os.read(fd, 8192))
                except BlockingIOError:
                    break
                except BrokenPipeError:
                    continue
        finally:
            os.close(fd)
        return b"".join(records).decode(errors="replace")

    def start(self, *argv: str, timeout: float) -> Child:
        return Child(argv, timeout, self.env)


class Child:
    """A child process in a session of its own, with a deadline."""

    def __init__(self, argv: tuple[str, ...], timeout: float, env: Mapping[str, str]) -> None:
        self._deadline = time.monotonic() + timeout
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(env),
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )

    def send(self, text: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(text)
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # It ended; what it said until then is read by finish().

    def finish(self) -> Ran:
        process = self._process
        try:
            stdout, stderr = process.communicate(timeout=max(0.0, self._deadline - time.monotonic()))
        except subprocess.TimeoutExpired as late:
            # The whole session: a driver call can leave helpers (nvidia-modprobe) that hold the pipes open.
            os.killpg(process.pid, signal.SIGKILL)
            try:
                stdout, stderr = process.communicate(timeout=ABANDON)
            except subprocess.TimeoutExpired:
                stdout, stderr = _text(late.stdout), _text(late.stderr)
            return Ran(None, stdout, stderr)
        return Ran(process.returncode, stdout, stderr)


def _text(partial: bytes | str | None) -> str:
    return partial.decode(errors="replace") if isinstance(partial, bytes) else partial or ""
