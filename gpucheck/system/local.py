"""The machine that gpucheck runs on."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping

from gpucheck.system.files import Rootfs, Status, read_regular, status_of
from gpucheck.system.protocol import Ran, TimedOut


class Local(Rootfs):
    """This machine, this process's environment, live: programs may be run."""

    live = True

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        super().__init__("/", os.environ if env is None else env)

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

    def names(self, directory: str) -> tuple[str, ...]:
        return tuple(sorted(os.listdir(directory)))

    def run(self, *argv: str, timeout: float, stdin: str = "", env: Mapping[str, str] | None = None) -> Ran:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(self.env if env is None else env),
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        try:
            stdout, stderr = child.communicate(stdin, timeout)
        except subprocess.TimeoutExpired:
            # The whole session: a driver call can leave helpers (nvidia-modprobe) that hold the pipes open.
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
            raise TimedOut(argv, timeout) from None
        return Ran(child.returncode, stdout, stderr)
