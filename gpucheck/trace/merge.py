"""What the witnesses wrote, as one ``Trace``: relative names made whole, outcomes settled, errors joined to attempts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from gpucheck.elf.reader import Elf, ElfError, read_elf
from gpucheck.elf.resolution import Candidate
from gpucheck.kb.traced import helper, is_device, is_library, is_optional
from gpucheck.record import dataclass, replace
from gpucheck.system.protocol import System
from gpucheck.trace.loader_log import Image, Request
from gpucheck.trace.lookup import Device, Lookup, ProcessSeen, Started
from gpucheck.trace.system_calls import SystemCall

WORDS = {
    "ENOENT": "not there",
    "ENOTDIR": "not there",
    "EACCES": "permission denied",
    "EPERM": "not permitted",
    "ELOOP": "too many links",
    "EMFILE": "too many open files",
    "ENFILE": "too many open files in the system",
}


class Files(Protocol):
    """What is asked of the files after the run."""

    def why(self, path: str) -> str:
        """Why a file that was tried was passed over; '' when nothing is wrong with it."""
        ...

    def same(self, one: str, other: str) -> bool:
        """Whether two names are one file."""
        ...

    def needed(self, path: str) -> tuple[str, ...]:
        """The DT_NEEDED names of a file; none when it cannot be read."""
        ...


class LocalFiles:
    """The files of a system, as they are now."""

    def __init__(self, system: System, program: str) -> None:
        self.system = system
        self.program = self._elf(program)
        self._reasons: dict[str, str] = {}
        self._folders: dict[str, bool] = {}

    def why(self, path: str) -> str:
        if path not in self._reasons:
            self._reasons[path] = self._look(path)
        return self._reasons[path]

    def _look(self, path: str) -> str:
        try:
            elf = read_elf(self.system, path)
        except (FileNotFoundError, NotADirectoryError):
            return self._absence(path)
        except PermissionError:
            return "permission denied"
        except OSError as error:
            return error.strerror or str(error)
        except ElfError as error:
            return error.reason
        if self.program and elf.bits != self.program.bits:
            return f"{elf.bits}-bit"
        if self.program and elf.machine != self.program.machine:
            return f"for {elf.architecture}"
        return ""

    def _absence(self, path: str) -> str:
        folder = path.rpartition("/")[0] or "/"
        if folder not in self._folders:
            try:
                self._folders[folder] = self.system.status(folder).kind == "directory"
            except OSError:
                self._folders[folder] = False
        if not self._folders[folder]:
            return "no such directory"
        try:
            return f"a dangling link to {self.system.link(path)}"
        except OSError:
            return "not there"

    def same(self, one: str, other: str) -> bool:
        try:
            return self.system.status(one).identity == self.system.status(other).identity
        except OSError:
            return False

    def needed(self, path: str) -> tuple[str, ...]:
        elf = self._elf(path)
        return elf.needed if elf else ()

    def _elf(self, path: str) -> Elf | None:
        try:
            return read_elf(self.system, path)
        except (OSError, ElfError):
            return None


@dataclass(frozen=True, slots=True)
class Seen:
    """What both witnesses told of one run."""

    processes: tuple[ProcessSeen, ...]
    lookups: tuple[Lookup, ...]
    devices: tuple[Device, ...]
    helpers: tuple[Started, ...]


def merge(
    images: Sequence[Image],
    calls: Sequence[SystemCall] | None,
    files: Files,
    locate: Callable[[str], str],
) -> Seen:
    """``images``: of the dynamic linker's logs. ``calls``: of strace, None when it did not watch. ``locate``: the path for
    a program or a library as ld.so names it (argv[0], a relative path).
    """
    errors = {call.path: call.error for call in calls or () if call.name == "open"}
    processes = [ProcessSeen(image.pid, locate(image.program), image.forked, image.last_error) for image in images]
    lookups: list[Lookup] = []
    for index, image in enumerate(images):
        for request in image.requests:
            lookups += _lookups(request, image, index, files, errors, locate)
    if not images and calls:
        processes, lookups = _without_loader(calls, files)
    return Seen(
        tuple(processes),
        tuple(_unite(lookups)),
        _devices(calls or ()),
        _helpers(calls or ()),
    )


def _lookups(
    request: Request,
    image: Image,
    index: int,
    files: Files,
    errors: Mapping[str, str],
    locate: Callable[[str], str],
) -> Iterator[Lookup]:
    attempts = [
        replace(attempt, path=locate(attempt.path)) if "/" in attempt.path else attempt for attempt in request.attempts
    ]
    path, how, owner = request.path and locate(request.path), "resident", None
    if request.outcome == "open":
        last = attempts[-1].path if attempts else None
        opened, path = path, None
        if last and not files.why(last):
            if opened and files.same(last, opened):
                path = opened
            elif request.edge == "needed":
                # The search ended at a file that is well: it was loaded already, under another name.
                path = last
        if opened and path != opened and is_library(opened):
            # It is another call's library, which was opened again.
            yield Lookup(opened.rsplit("/", 1)[-1], None, opened, "resident", "dlopen", (), None, None, index, 1, False)
    elif request.outcome == "loaded" and attempts:
        how, owner = attempts[-1].how, attempts[-1].owner
    if path is None:
        how = "not found"
    passed = attempts[:-1] if path and attempts and how != "resident" else attempts
    requester = locate(request.requester) if request.requester else None
    yield Lookup(
        request.soname,
        requester,
        path,
        how,
        request.edge,
        tuple(
            Candidate(each.path, _skipped(each.path, errors, files), each.how) for each in passed if each.path != path
        ),
        locate(owner) if owner else None,
        request.fatal,
        index,
        1,
        is_optional(request.soname, requester, request.edge),
    )


def _skipped(path: str, errors: Mapping[str, str], files: Files) -> str:
    error = errors.get(path)
    if error:
        return f"{WORDS.get(error, 'cannot be opened')} ({error})"
    return files.why(path) or "passed over"


def _unite(lookups: Sequence[Lookup]) -> Iterator[Lookup]:
    """One record for each process, requester and name; a later success counts more than an earlier failure."""
    found: dict[tuple[int, str | None, str], Lookup] = {}
    for lookup in lookups:
        key = (lookup.process, lookup.requester, lookup.soname)
        known = found.get(key)
        if known is None:
            found[key] = lookup
            continue
        keep = lookup if _weight(lookup) > _weight(known) else known
        found[key] = replace(keep, times=known.times + lookup.times)
    # That a library was opened again, by somebody, says nothing where it is known who opened it.
    told = {(each.process, each.path) for each in found.values() if each.requester}
    return (each for each in found.values() if each.requester or (each.process, each.path) not in told)


def _weight(lookup: Lookup) -> int:
    """What tells more of several outcomes of one question."""
    if lookup.path is None or lookup.fatal:
        return 0 if lookup.path is None else 1
    return 2 if lookup.how == "resident" else 3


def _without_loader(calls: Sequence[SystemCall], files: Files) -> tuple[list[ProcessSeen], list[Lookup]]:
    """From strace alone: which names were looked for and found. Who asked is known where a loaded file names it."""
    processes: list[ProcessSeen] = []
    at: dict[int, int] = {}
    lookups: list[Lookup] = []
    loaded: dict[int, list[str]] = {}
    pending: dict[tuple[int, str], list[Candidate]] = {}
    for call in calls:
        if call.name == "exec":
            if not call.error:
                at[call.thread] = len(processes)
                processes.append(ProcessSeen(call.thread, call.path, False, None))
                loaded[len(processes) - 1] = [call.path]
            continue
        if call.thread not in at:
            # A thread, or a forked process, of the program that is known last.
            at[call.thread] = max(len(processes) - 1, 0)
            if not processes:
                processes.append(ProcessSeen(call.thread, "?", True, None))
                loaded[0] = []
        index = at[call.thread]
        name = call.path.rsplit("/", 1)[-1]
        if call.error:
            if is_library(name):
                pending.setdefault((index, name), []).append(
                    Candidate(call.path, f"{WORDS.get(call.error, 'cannot be opened')} ({call.error})", "path")
                )
            continue
        if ".so" not in name:
            continue
        if is_library(name):
            candidates = tuple(pending.pop((index, name), ()))
            lookups.append(_found(name, call.path, index, candidates, loaded[index], files))
        if len(loaded[index]) < 5000:
            loaded[index].append(call.path)
    for (index, name), candidates_left in pending.items():
        lookups.append(_found(name, None, index, tuple(candidates_left), loaded[index], files))
    return processes, lookups


def _found(
    name: str, path: str | None, index: int, candidates: tuple[Candidate, ...], loaded: Sequence[str], files: Files
) -> Lookup:
    requester = next((file for file in loaded if name in files.needed(file)), None)
    edge = "needed" if requester else "dlopen"
    how = "unknown" if path else "not found"
    optional = is_optional(name, requester, edge)
    return Lookup(name, requester, path, how, edge, candidates, None, None, index, 1, optional)


def _devices(calls: Sequence[SystemCall]) -> tuple[Device, ...]:
    found: dict[tuple[str, str], int] = {}
    for call in calls:
        if call.name == "open" and is_device(call.path):
            found[call.path, call.error] = found.get((call.path, call.error), 0) + 1
    return tuple(Device(path, error, times, "strace") for (path, error), times in found.items())


def _helpers(calls: Sequence[SystemCall]) -> tuple[Started, ...]:
    """Programs are looked for along PATH: a failure counts only when none was started."""
    found: dict[tuple[str, str], Started] = {}
    for call in calls:
        row = helper(call.path) if call.name == "exec" else None
        if row is None:
            continue
        known = found.get((call.path, call.error))
        found[call.path, call.error] = Started(call.path, row.why, call.error, known.times + 1 if known else 1)
    started = {each.path.rsplit("/", 1)[-1] for each in found.values() if not each.error}
    return tuple(each for each in found.values() if not each.error or each.path.rsplit("/", 1)[-1] not in started)
