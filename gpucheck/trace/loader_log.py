"""What the dynamic linker of glibc writes when LD_DEBUG=libs,files is set: ld.so(8). Pure.

The words are those of glibc's elf/dl-load.c, dl-open.c, dl-init.c and dl-error.c. Every line begins with the process; a
search path is written in pieces, so lines of a process and of its forked child can lie inside one another.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Literal

from gpucheck.elf.resolution import Edge, How
from gpucheck.record import dataclass, replace

#: Bounds for a log that is not what it should be. Real processes stay far below: torch looks for 150 names.
MAX_LINE = 1 << 16
MAX_TEXT = 3 * 4096
"""A line with two paths; only search paths are longer."""
MAX_IMAGES = 5_000
MAX_REQUESTS = 5_000
MAX_ATTEMPTS = 2_000
MAX_LOADED = 20_000
MAX_NESTED = 500


@dataclass(frozen=True, slots=True)
class Attempt:
    """A file that ld.so tried to open."""

    path: str
    how: How
    owner: str | None
    """The file whose RPATH or RUNPATH it came from, as ld.so says: the first that named this directory, which need not
    be the one whose list was being searched (``fillin_rpath`` shares directories)."""


@dataclass(frozen=True, slots=True)
class Request:
    """A name that was searched for, or a loaded library that was opened again."""

    soname: str
    requester: str | None
    """As ld.so names it: a path, or argv[0] for the program. None where ld.so does not say."""
    edge: Edge
    outcome: Literal["loaded", "resident", "open"]
    """``open``: ld.so says no more; it was not found, or the last file tried is one that was loaded already."""
    path: str | None
    """For ``open``: the loaded library that was opened next, by this call or by another one."""
    attempts: tuple[Attempt, ...] = ()
    """All files that were tried, the loaded one too."""
    dropped: int = 0
    """Attempts beyond the limit."""
    fatal: str | None = None
    """Why opening it failed although the file was found."""


@dataclass(frozen=True, slots=True)
class Image:
    """A program in a process: another exec(3) makes another image, a fork makes one that goes on where it was."""

    pid: int
    program: str
    """argv[0]."""
    forked: bool
    requests: tuple[Request, ...]
    """Those that are relevant, in order."""
    opened: tuple[tuple[str, str], ...]
    """(name, caller) of every dlopen(3) that searched, in order, relevant or not."""
    library_path: tuple[str, ...]
    """The directories of LD_LIBRARY_PATH, as far as a search went through them."""
    last_error: str | None
    """What ld.so complained of as the last thing that it said: the program did not start, or died of it."""


class _Search:
    """A request that is being searched."""

    __slots__ = ("attempts", "cached", "dropped", "edge", "how", "last", "owner", "relevant", "requester", "soname")

    def __init__(self, soname: str, requester: str, edge: Edge, relevant: bool) -> None:
        self.soname = soname
        self.requester = requester
        self.edge: Edge = edge
        self.relevant = relevant
        self.attempts: list[Attempt] = []
        self.dropped = 0
        self.how: How = "path"
        self.owner: str | None = None
        self.cached = False
        self.last = ""


class _Image:
    """An image that is being read."""

    __slots__ = (
        "error",
        "forked",
        "library_path",
        "loaded",
        "nested",
        "opened",
        "pid",
        "program",
        "requests",
        "search",
        "started",
    )

    def __init__(self, pid: int, parent: _Image | None = None) -> None:
        self.pid = pid
        self.program: str = parent.program if parent else ""
        self.forked = parent is not None
        self.started: bool = parent.started if parent else False
        # Shared with a forked child: it only serves to tell a library from a program.
        self.loaded: set[str] = parent.loaded if parent else set()
        self.library_path: tuple[str, ...] = parent.library_path if parent else ()
        self.requests: list[Request] = []
        self.opened: list[tuple[str, str]] = []
        self.nested: list[tuple[str, int | None]] = []
        """Calls of dlopen that have mapped their file and not ended yet: (path, index in requests)."""
        self.search: _Search | None = None
        self.error: str | None = None

    def freeze(self) -> Image:
        return Image(
            self.pid,
            self.program,
            self.forked,
            tuple(self.requests),
            tuple(self.opened),
            self.library_path,
            self.error,
        )


_TAG = re.compile(r" *(\d{1,10}):\t")
#: Tags are 10 columns wide (``_dl_debug_vdprintf``), process numbers at most 7 digits.
_INSIDE = re.compile(r" {3,9}(\d{1,7}):\t")
#: What ld.so tries below each directory before the directory itself.
HWCAPS = re.compile(r"/(glibc-hwcaps/[^/:]+|tls(/[^/:]+)*|x86_64(/x86_64)?|haswell(/[^/:]+)*)$")


def parse(lines: Iterable[str], relevant: Callable[[str], bool]) -> tuple[Image, ...]:
    """The log of one process, which is one file. Of what is not ``relevant`` (by name or path) only what tells who asked
    is kept. Never raises for what the lines are.
    """
    reader = _Reader(relevant)
    for line in lines:
        tag = _TAG.match(line)
        if tag is None:
            continue
        text = line[tag.end() :].rstrip("\n")
        if ":\t" not in text:
            reader.read(int(tag[1]), text)
            continue
        # In the middle of a line: another process wrote while this one was writing a search path.
        first, *others = _INSIDE.split(text)
        reader.read(int(tag[1]), first)
        for pid, part in zip(others[::2], others[1::2]):
            reader.read(int(pid), part)
    return reader.images()


def _plain(text: str) -> str:
    """A file without the number of its namespace: ``libc.so.6 [0]``."""
    return text.rpartition(" [")[0]


class _Reader:
    def __init__(self, relevant: Callable[[str], bool]) -> None:
        self.relevant = relevant
        self.current: dict[int, _Image] = {}
        self.done: list[_Image] = []

    def images(self) -> tuple[Image, ...]:
        for image in self.done:
            self._settle(image)
        return tuple(image.freeze() for image in self.done)

    def read(self, pid: int, text: str) -> None:
        """One line without its tag."""
        if not text or (len(text) > MAX_TEXT and not text.startswith(" search path=")):
            return
        image = self.current.get(pid)
        if image is None:
            if len(self.current) >= MAX_IMAGES:
                return
            # A process that did not begin with exec: forked by the last one that wrote here.
            parent = next(reversed(self.current.values()), None)
            image = self._enter(_Image(pid, parent))
        if text.startswith("  trying file="):
            self._try(image, text[14:])
        elif text.startswith("file="):
            self._file(image, text[5:])
        elif text.startswith(" search "):
            self._place(image, text)
        elif text.startswith("opening file="):
            self._end_of_open(image, _plain(text[13:].rpartition("; direct_opencount=")[0]))
        elif text.startswith(("calling init: ", "calling fini: ")):
            self._settle(image)
            image.error = None
        elif text.startswith("initialize program: "):
            self._settle(image)
            image.program = text[20:]
        elif text.startswith("transferring control: "):
            image.started = True
        elif text.endswith(("(fatal)", "(continued)")):
            name, error, what = text.rpartition(" (")[0].partition(": error: ")
            if error:
                image.error = f"{name}: {what.partition(': ')[2] or what}"

    def _file(self, image: _Image, text: str) -> None:
        name, separator, what = text.partition("];  ")
        name = name.rpartition(" [")[0]
        # A symbol was found in a loaded library: nothing was searched (elf/dl-lookup.c).
        if not separator or what.endswith("(relocation dependency)"):
            return
        if what == "generating link map":
            self._load(image, name)
        elif what == "destroying link map":
            self._fail(image, name)
        elif what.startswith("needed by "):
            self._begin(image, name, "needed", _plain(what[10:]))
        elif what.startswith("dynamically loaded by "):
            self._begin(image, name, "dlopen", _plain(what[22:]))

    def _enter(self, image: _Image) -> _Image:
        self.current.pop(image.pid, None)
        self.current[image.pid] = image
        if len(self.done) < MAX_IMAGES:
            self.done.append(image)
        return image

    def _begin(self, image: _Image, soname: str, edge: Edge, requester: str) -> None:
        self._settle(image)
        # At run time a library needs something when it was just loaded; anything else that needs is a new program.
        if edge == "needed" and image.started and (requester == image.program or requester not in image.loaded):
            image = self._enter(_Image(image.pid))
        if not image.program:
            image.program = requester
        image.error = None
        image.search = _Search(soname, requester, edge, self.relevant(soname))
        if edge == "dlopen" and len(image.opened) < MAX_REQUESTS:
            image.opened.append((soname, requester))

    def _place(self, image: _Image, text: str) -> None:
        search = image.search
        if search is None:
            return
        if text.startswith(" search cache="):
            search.how, search.owner, search.cached = "ld.so.cache", None, True
        elif text.endswith(")"):
            path, _, source = text[13:-1].rpartition("\t\t(")
            kind, own, owner = source.partition(" from file ")
            if own:
                search.how, search.owner = "RPATH" if kind == "RPATH" else "RUNPATH", owner or image.program
                return
            search.owner = None
            # A default directory that is searched before the cache is one that LD_LIBRARY_PATH names too.
            search.how = "default" if search.cached else "LD_LIBRARY_PATH"
            if not search.cached and not image.library_path:
                places = (place for place in path.split(":") if not HWCAPS.search(place))
                image.library_path = tuple(dict.fromkeys(places))

    def _try(self, image: _Image, path: str) -> None:
        search = image.search
        if search is None:
            return
        search.last = path
        if len(search.attempts) < MAX_ATTEMPTS:
            search.attempts.append(Attempt(path, search.how, search.owner))
        else:
            search.dropped += 1

    def _load(self, image: _Image, name: str) -> None:
        search, image.search = image.search, None
        if search is None:
            return
        path = name if "/" in name else search.last or name
        if len(image.loaded) < MAX_LOADED:
            image.loaded.add(path)
        index = self._record(image, search, "loaded", path)
        if search.edge == "dlopen" and len(image.nested) < MAX_NESTED:
            image.nested.append((path, index))

    def _end_of_open(self, image: _Image, path: str) -> None:
        for position in range(len(image.nested) - 1, -1, -1):
            if image.nested[position][0] == path:
                del image.nested[position:]
                self._settle(image)
                return
        search, image.search = image.search, None
        if search is not None:
            self._record(image, search, "open", path or None)
            if search.relevant:
                return
        if path and self.relevant(path):
            again = Request(path.rsplit("/", 1)[-1], None, "dlopen", "resident", path)
            if len(image.requests) < MAX_REQUESTS and again not in image.requests[-50:]:
                image.requests.append(again)

    def _fail(self, image: _Image, path: str) -> None:
        search = image.search
        self._settle(image)
        for position in range(len(image.nested) - 1, -1, -1):
            opened, index = image.nested[position]
            if opened == path:
                del image.nested[position:]
                reason = image.error
                if reason is None and search is not None and search.edge == "needed":
                    reason = f"{search.soname}: cannot open shared object file, needed by {search.requester}"
                if index is not None and reason:
                    image.requests[index] = replace(image.requests[index], fatal=reason)
                break
        image.loaded.discard(path)
        image.error = None

    def _settle(self, image: _Image) -> None:
        """The search that goes on is over without a word about its outcome."""
        search, image.search = image.search, None
        if search is not None:
            self._record(image, search, "open", None)

    def _record(
        self, image: _Image, search: _Search, outcome: Literal["loaded", "resident", "open"], path: str | None
    ) -> int | None:
        if not (search.relevant or (path and self.relevant(path))) or len(image.requests) >= MAX_REQUESTS:
            return None
        attempts = tuple(search.attempts)
        if not attempts and "/" in search.soname:
            attempts = (Attempt(search.soname, "path", None),)
        image.requests.append(
            Request(search.soname, search.requester, search.edge, outcome, path, attempts, search.dropped)
        )
        return len(image.requests) - 1
