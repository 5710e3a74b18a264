"""The witnesses of a run: LD_DEBUG of the dynamic linker, and strace."""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Literal

from gpucheck.record import dataclass
from gpucheck.trace.program import Program

Witness = Literal["ld-debug", "strace"]
BACKENDS = ("auto", "ld-debug", "strace", "both")

#: ``?``: not on every architecture (aarch64 has no open). -D keeps the command our own child. strace(1)
STRACE = ("-D", "-f", "-q", "-e", "trace=?open,openat,execve,?execveat", "-e", "signal=none")
#: strace 5.3 and newer: only these calls stop the program.
FILTER = "--seccomp-bpf"
#: strace writes its last lines while we learn of the command's end.
LAST_LINES = 2.0
#: More than this of one log is not read: 200 times what torch makes of it.
MAX_LOG = 64 << 20


@dataclass(frozen=True, slots=True)
class Plan:
    """Who watches, and why others do not."""

    witnesses: tuple[Witness, ...]
    strace: tuple[str, ...]
    """strace and its options, when it watches."""
    notes: tuple[str, ...]


def plan(backend: str, program: Program, env: Mapping[str, str]) -> Plan:
    """The witnesses for a program. What cannot watch is left out, with a note; the command runs in any case."""
    notes: list[str] = []
    wanted: list[Witness] = []
    if backend in ("auto", "ld-debug", "both"):
        refusal = _no_ld_debug(program)
        if refusal:
            notes.append(refusal)
        if program.kind in ("glibc", "other"):
            wanted.append("ld-debug")
    if backend in ("strace", "both") or not wanted:
        strace, refusal = find_strace(env)
        if strace:
            return Plan((*wanted, "strace"), strace, (*notes, *_privilege_lost(program)))
        notes.append(f"strace does not watch: {refusal}")
        if backend == "strace" and program.kind in ("glibc", "other"):
            wanted.append("ld-debug")
    return Plan(tuple(wanted), (), tuple(notes))


def _no_ld_debug(program: Program) -> str | None:
    if program.kind == "musl":
        return f"{program.interpreted} runs with musl, whose dynamic linker has no LD_DEBUG; only strace sees what it opens"
    if program.kind == "static":
        return f"{program.interpreted} is statically linked: no dynamic linker that could tell; only strace sees what it opens"
    if program.privileged:
        return (
            f"{program.interpreted}: {program.privileged}, so the dynamic linker ignores LD_DEBUG; "
            "what it loads is not seen, what it starts may be"
        )
    return None


def _privilege_lost(program: Program) -> tuple[str, ...]:
    if not program.privileged:
        return ()
    return (f"{program.interpreted}: {program.privileged}; under strace it runs without these privileges",)


def find_strace(env: Mapping[str, str]) -> tuple[tuple[str, ...], str]:
    """strace with the options that it knows and that work here; or nothing, and why."""
    found = next(
        (
            path
            for folder in env.get("PATH", os.defpath).split(os.pathsep)
            if os.access(path := os.path.join(folder or ".", "strace"), os.X_OK) and os.path.isfile(path)
        ),
        None,
    )
    if found is None:
        return (), "it is not installed (its package is strace)"
    import subprocess

    said = ""
    for options in ((FILTER, *STRACE), STRACE):
        try:
            tried = subprocess.run(
                [found, *options, "-o", os.devnull, found, "-V"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=10,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return (), f"{found}: {error}"
        said = tried.stderr.decode(errors="replace").strip()
        if tried.returncode == 0 and "PTRACE" not in said:
            return (found, *options), ""
        if "PTRACE" in said or "ptrace" in said:
            return (), f"ptrace is refused here ({said.splitlines()[0]})"
    return (), f"{found} fails: {(said.splitlines() or ['no message'])[0]}"


#: Where the logs may lie; /tmp is not writable where the root file system is read-only, /dev/shm is memory.
PLACES = ("/tmp", "/var/tmp", "/dev/shm")
#: A default access control list with every permission for everybody: ``posix_acl_xattr.h`` of Linux, version 2.
ANYBODY = struct.pack("<I" + "HHI" * 3, 2, 0x01, 7, 0xFFFFFFFF, 0x04, 7, 0xFFFFFFFF, 0x20, 7, 0xFFFFFFFF)


def _new_place() -> str:
    refused: OSError | None = None
    for place in (os.environ.get("TMPDIR"), *PLACES):
        if place:
            path = os.path.join(os.path.abspath(place), f"gpucheck-trace-{os.urandom(8).hex()}")
            try:
                os.mkdir(path, 0o700)
                return path
            except OSError as error:
                refused = refused or OSError(error.errno, error.strerror, place)
    assert refused is not None
    raise refused


class Logs:
    """A folder for what the witnesses write, gone afterwards.

    When ld.so cannot open its file it writes to the program's standard output (elf/rtld.c). So a program that becomes
    another user, as the entry points of containers do, must be able to create its file, and to go on in the one that it
    has. Nobody else learns the folder's name.
    """

    def __init__(self, chosen: Plan) -> None:
        """Makes the folder. Raises ``OSError``, with the first place that was tried, when there is none for it."""
        self.plan = chosen
        self.outer = _new_place()
        self.folder = self.new_folder()
        self.left: tuple[int, ...] = ()
        """Processes that the command left behind, and that these files must outlive."""
        # Without it files are made with the umask of the command: 0644, which another user cannot append to.
        with contextlib.suppress(OSError):
            os.setxattr(self.folder, "system.posix_acl_default", ANYBODY)
        os.chmod(self.folder, 0o733)
        os.chmod(self.outer, 0o711)

    def __enter__(self) -> Logs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import shutil

        if not self.left:
            shutil.rmtree(self.outer, ignore_errors=True)

    def find_left(self) -> tuple[int, ...]:
        """The processes that have the folder in their environment still: once it is gone, the next program that they start
        would write into its own standard output.
        """
        name = os.fsencode(self.outer)
        found = []
        for entry in os.listdir("/proc") if os.path.isdir("/proc") else ():
            if entry.isdigit():
                # Of another user, or gone by now.
                with contextlib.suppress(OSError), open(f"/proc/{entry}/environ", "rb") as file:
                    if name in file.read():
                        found.append(int(entry))
        self.left = tuple(sorted(found))
        return self.left

    def new_folder(self) -> str:
        """An empty folder beside the logs, for another witness."""
        folder = os.path.join(self.outer, os.urandom(8).hex())
        os.mkdir(folder, 0o700)
        return folder

    def command(
        self, path: str, command: Sequence[str], env: Mapping[str, str], added: Mapping[str, str]
    ) -> tuple[str, list[str], dict[str, str]]:
        """(file, argv, environment) of what is started. ``added``: variables for the command alone."""
        added = dict(added)
        if "ld-debug" in self.plan.witnesses:
            added |= {"LD_DEBUG": "libs,files", "LD_DEBUG_OUTPUT": f"{self.folder}/ld"}
        if not self.plan.strace:
            return path, list(command), {**env, **added}
        settings = [word for name, value in added.items() for word in ("-E", f"{name}={value}")]
        strace = [*self.plan.strace, "-o", f"{self.folder}/strace", *settings, "--", *command]
        return strace[0], strace, dict(env)

    def loader_logs(self) -> tuple[str, ...]:
        """The files of the dynamic linker, one a process, in the order in which they were begun."""
        paths = [os.path.join(self.folder, name) for name in os.listdir(self.folder) if name.startswith("ld.")]
        return tuple(
            sorted(paths, key=lambda path: int(suffix) if (suffix := path.rsplit(".", 1)[-1]).isdigit() else 0)
        )

    def strace_log(self, pid: int) -> str | None:
        """The file of strace, when it has written how the command ended; None where strace does not watch."""
        if not self.plan.strace:
            return None
        path = os.path.join(self.folder, "strace")
        deadline = time.monotonic() + LAST_LINES
        end = (b"\n%d " % pid, b"+++ ")
        while time.monotonic() < deadline:
            try:
                with open(path, "rb") as file:
                    file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
                    tail = b"\n" + file.read()
            except OSError:
                return None
            if any(line.startswith(end[0][1:]) and end[1] in line for line in tail.split(b"\n")):
                break
            time.sleep(0.005)
        return path


def read_lines(path: str, longest: int) -> Iterator[str]:
    """The lines of a log; of a very long one its first part. Raises ``OSError``."""
    left = MAX_LOG
    # The command could have put anything there: never wait for a pipe, never follow a link.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(descriptor, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return
        whole = True
        while left > 0 and (line := file.readline(longest)):
            left -= len(line)
            if whole:
                yield line
            whole = line.endswith("\n")
