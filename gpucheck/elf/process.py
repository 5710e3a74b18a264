"""The link map of a process that does not run: what the dynamic linker would have loaded, and from where.

``Process`` holds what glibc's ld.so and musl's have in common; where each of them looks is in ``glibc.py`` and
``musl.py``.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from gpucheck.elf.cache import Cache, read_cache
from gpucheck.elf.glibc import Glibc
from gpucheck.elf.linker import Linker
from gpucheck.elf.musl import Musl
from gpucheck.elf.objects import Fatal, Object, Rules, Skip, Step
from gpucheck.elf.reader import DF_1_NOOPEN, ET_DYN, Elf, ElfError, read_elf
from gpucheck.elf.resolution import Candidate, Edge, How, Note, Resolution, there
from gpucheck.elf.tokens import absolute
from gpucheck.record import replace
from gpucheck.system.protocol import NotKept, System

#: Bounds for a malicious set of files; the largest real closures have a few hundred objects and try thousands of paths.
MAX_OBJECTS = 4096
MAX_WORK = 500_000


class Process:
    """A process in a system, as far as its dynamic linker is concerned. Executes nothing.

    Files are opened through ``system`` alone, so it may be another machine's root.
    """

    def __init__(
        self,
        system: System,
        linker: Linker,
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        secure: bool = False,
        configuration: bool | None = None,
    ) -> None:
        """``env``: the environment at its start (default: the system's). ``secure``: AT_SECURE of getauxval(3), as in a
        set-user-ID program. ``configuration``: whether ld.so.conf stands in for a missing ld.so.cache. ld.so itself
        never reads that file; but ldconfig runs when a container starts (NVIDIA's container runtime sees to it), so
        the default is yes for a root or an image and no for a live system.
        """
        self.system = system
        self.linker = linker
        self.env = system.env if env is None else env
        self.cwd = cwd
        self.secure = secure
        self.configuration = (not system.live) if configuration is None else configuration
        self.main: Object | None = None
        self.linker_object: Object | None = None
        self.objects: list[Object] = []
        """The link map."""
        self.names: dict[str, Object] = {}
        self.resolutions: list[Resolution] = []
        """Every request so far, in order."""
        self._identities: dict[tuple[int, int], Object] = {}
        self._unloaded: list[Object] = []
        self._is_directory: dict[str, bool] = {}
        self._opened: dict[str, Elf | Skip] = {}
        self._work = 0
        self._cache: Cache | str | None = None
        self._rules: Rules = Musl() if linker.musl else Glibc()
        self.library_path = self._rules.library_path(self)

    def start(self, path: str, *, by_linker: bool = False) -> None:
        """Load a program, what is preloaded into it, and all that they need.

        ``by_linker``: as ``ld.so PATH`` does it, which is how a library can be listed. Raises ``ElfError`` or
        ``OSError`` for the program itself.
        """
        path = absolute(path, self.cwd)
        elf = read_elf(self.system, path)
        # Otherwise the origin comes from /proc/self/exe, which has no links in it (glibc's dl-origin.c, musl too).
        real = path if by_linker else self.system.resolve(path) or path
        self.main = Object(elf, path, posixpath.dirname(real), 0, None, main=True)
        self.objects.append(self.main)
        if elf.soname:
            self._name(elf.soname, self.main)
        self._add_linker()
        self.library_path = self._rules.library_path(self)
        first = len(self.objects)
        for name, how, owner in self._rules.preloads(self):
            self._load(name, self.main, "preload", how, owner)
        self._load_needed([self.main, *self.objects[first:]])

    def dlopen(self, name: str, caller: Object | None = None) -> Resolution:
        """Open a library, by name or path, from the code of ``caller`` (default: the program), with what it needs.

        When something that it needs cannot be loaded, ``fatal`` says what, and nothing of it stays loaded: a later
        request for one of those names searches again.
        """
        objects, requests = len(self.objects), len(self.resolutions)
        self._load(name, caller or self.main, "dlopen")
        self._load_needed(self.objects[objects:])
        found = self.resolutions[requests]
        for lost in self.resolutions[requests + 1 :]:
            if lost.path is None:
                reason = lost.fatal or f"{lost.soname}: cannot open shared object file, needed by {lost.requester}"
                found = self.resolutions[requests] = replace(found, fatal=reason)
                self._unload(objects)
                break
        return found

    def alternatives(self, resolution: Resolution) -> tuple[tuple[str, How], ...]:
        """(path, how) of every file that the search for a name comes by, the one that it takes first.

        The others are shadowed: they would be taken if it were not there. A broken file ends the list.
        """
        known = (*self.objects, *self._unloaded)
        requester = next((item for item in known if item.path == resolution.requester), self.main)
        found: dict[tuple[int, int], tuple[str, How]] = {}
        try:
            name = self._rules.name(self, resolution.soname, requester, resolution.edge)
            for step in self._rules.steps(self, name, requester, resolution.edge):
                for single in (step,) if step.file else (replace(step, directories=(one,)) for one in step.directories):
                    hit = self._search(single, name, resolution.edge, [])
                    if hit is not None:
                        found.setdefault(self.system.status(hit[1]).identity, (hit[1], step.how))
        except NotKept:
            raise
        except (Fatal, OSError):
            pass
        return tuple(found.values())

    def odd(self, resolution: Resolution) -> tuple[Candidate, ...]:
        """The files that were passed over although something is there: 32-bit, for another machine, a dangling link, ..."""
        return there(tuple(self._look_closer(candidate) for candidate in resolution.candidates))

    def would_open(self, name: str, caller: Object | None = None) -> Resolution:
        """What ``dlopen`` would give now; nothing stays loaded."""
        objects, requests = len(self.objects), len(self.resolutions)
        found = self.dlopen(name, caller)
        self._unload(objects)
        del self.resolutions[requests:]
        return found

    def cache(self) -> Cache | str:
        """/etc/ld.so.cache, or why it cannot be used."""
        if self._cache is None:
            try:
                self._cache = read_cache(self.system, self.linker.machine, self.linker.bits)
            except FileNotFoundError:
                self._cache = "/etc/ld.so.cache is not there (ldconfig makes it)"
            except NotKept:
                raise
            except OSError as error:
                self._cache = f"/etc/ld.so.cache: {error.strerror}"
            except ElfError as error:
                self._cache = f"{error} (ldconfig makes it anew)"
        return self._cache

    def _load_needed(self, todo: list[Object]) -> None:
        """Breadth first, each object once: ``_dl_map_object_deps`` of glibc's elf/dl-deps.c, musl's ``load_deps``."""
        for item in todo:
            before = len(self.objects)
            for name in item.elf.needed:
                self._load(name, item, "needed")
            if not self.linker.musl:
                for required, name in item.elf.filters:
                    self._load(name, item, "filter", optional=not required)
            todo += self.objects[before:]

    def _load(
        self,
        asked: str,
        requester: Object | None,
        edge: Edge,
        how: How | None = None,
        owner: str | None = None,
        *,
        optional: bool = False,
    ) -> None:
        """Resolve one name, enter the new object, record the outcome. ``how``, ``owner``: said of what is preloaded."""
        self._spend()
        asker = requester.path if requester else None
        candidates: list[Candidate] = []
        notes: list[Note] = []
        fatal = None
        try:
            name = self._rules.name(self, asked, requester, edge)
            resident = self._rules.resident(self, name)
            if resident is not None:
                self.resolutions.append(Resolution(asked, asker, resident.path, "resident", edge))
                return
            for step in self._rules.steps(self, name, requester, edge):
                if step.note:
                    notes.append(Note(step.note, len(candidates)))
                found = self._search(step, name, edge, candidates)
                if found is None:
                    continue
                elf, path = found
                item = self._enter(name, elf, path, self._rules.loader_of(self, requester, edge), edge)
                if item.path != path:
                    candidates.append(Candidate(path, f"the same file as {item.path}, which is loaded", step.how))
                self.resolutions.append(
                    Resolution(
                        asked,
                        asker,
                        item.path,
                        (how or step.how) if item.path == path else "resident",
                        edge,
                        tuple(candidates),
                        owner or step.owner,
                        tuple(notes),
                    )
                )
                return
        except Fatal as error:
            fatal = str(error)
        if not optional:
            considered = tuple(self._look_closer(candidate) for candidate in candidates)
            if fatal is None:
                notes += [Note(hint, len(candidates)) for hint in self._rules.hints(self, asked)]
            self.resolutions.append(
                Resolution(asked, asker, None, "not found", edge, considered, None, tuple(notes), fatal)
            )

    def _search(self, step: Step, name: str, edge: Edge, candidates: list[Candidate]) -> tuple[Elf, str] | None:
        """Try the files of one step. Raises ``Fatal``."""
        if step.file is not None:
            found = Skip(step.skip) if step.skip else self._open(step.file)
            if isinstance(found, Elf):
                return found, step.file
            candidates.append(Candidate(step.file, found.why, step.how))
            return None
        for directory in step.directories:
            self._spend()
            stem = "" if directory == "/" else directory
            if not self._has_directory(directory):
                candidates.append(Candidate(f"{stem}/{name}", "no such directory", step.how))
                continue
            ends = False
            for path in [f"{stem}/{sub}/{name}" for sub in self._subdirectories(stem)] + [f"{stem}/{name}"]:
                found = self._open(path)
                if isinstance(found, Elf) and edge == "preload" and self.secure and not self._is_setuid(path):
                    found = Skip("not set-user-ID, which preloading into a set-user-ID program asks for")
                if isinstance(found, Elf):
                    return found, path
                candidates.append(Candidate(path, found.why, step.how))
                ends = found.ends_list
            if ends:
                return None
        return None

    def _open(self, path: str) -> Elf | Skip:
        found = self._opened.get(path)
        if found is None:
            try:
                found = self._opened[path] = self._rules.open(self, path)
            except Fatal as error:
                raise Fatal(f"{path}: {error}") from None
        return found

    def _enter(self, name: str, elf: Elf, path: str, loader: Object | None, edge: Edge) -> Object:
        """The object for an opened file: a loaded one when it is the same file, else a new one. Raises ``Fatal``.

        The checks are those of ``_dl_map_object_from_fd``.
        """
        try:
            status = self.system.status(path)
        except OSError as error:
            raise Fatal(f"{path}: {error.strerror}") from None
        known = self._identities.get(status.identity)
        if known is not None:
            self._name(name, known)
            return known
        if not elf.loads:
            raise Fatal(f"{path}: object file has no loadable segments")
        if elf.type != ET_DYN:
            raise Fatal(f"{path}: cannot dynamically load executable")
        if not elf.dynamic:
            raise Fatal(f"{path}: object file has no dynamic section")
        if elf.pie:
            raise Fatal(f"{path}: cannot dynamically load position-independent executable")
        if elf.flags_1 & DF_1_NOOPEN and edge == "dlopen":
            raise Fatal(f"{path}: shared object cannot be dlopen()ed")
        # ld.so maps what is missing and dies of SIGBUS when it touches it.
        if status.size < elf.end:
            raise Fatal(f"{path}: truncated: {status.size} bytes of {elf.end}")
        if len(self.objects) >= MAX_OBJECTS:
            raise Fatal(f"{path}: more than {MAX_OBJECTS} libraries")
        item = Object(elf, path, posixpath.dirname(path), len(self.objects), loader)
        self.objects.append(item)
        self._identities[status.identity] = item
        self._name(name, item)
        if not self.linker.musl:
            self._name(path, item)
            if elf.soname:
                self._name(elf.soname, item)
        return item

    def _add_linker(self) -> None:
        """The linker itself is resident from the start, by the name in PT_INTERP and by its SONAME."""
        path = self.linker.path
        try:
            elf = read_elf(self.system, path)
            identity = self.system.status(path).identity
        except NotKept:
            raise
        except (OSError, ElfError):
            return
        item = self.linker_object = Object(elf, path, posixpath.dirname(path), len(self.objects), self.main)
        if not self.linker.musl:
            # musl enters itself into the list when it is asked for, and knows itself by name only.
            self.objects.append(item)
            self._identities[identity] = item
            for name in (path, elf.soname):
                if name:
                    self._name(name, item)

    def _name(self, name: str, item: Object) -> None:
        """Where two objects answer to one name, the earlier one in the link map is found."""
        if self.linker.musl and "/" in name:
            return
        known = self.names.get(name)
        if known is None or known.index > item.index:
            self.names[name] = item

    def _unload(self, first: int) -> None:
        """Forget the objects from an index of the link map on."""
        self._unloaded += self.objects[first:]
        del self.objects[first:]
        self.names = {name: item for name, item in self.names.items() if item.index < first}
        self._identities = {key: item for key, item in self._identities.items() if item.index < first}

    def _subdirectories(self, stem: str) -> list[str]:
        """Those hwcap subdirectories that exist; ld.so remembers which do not, too (``open_path``)."""
        return [
            sub
            for sub in self.linker.subdirectories
            if self._has_directory(f"{stem}/{sub.partition('/')[0]}") and self._has_directory(f"{stem}/{sub}")
        ]

    def _spend(self) -> None:
        self._work += 1
        if self._work > MAX_WORK:
            raise ElfError(self.main.path if self.main else self.linker.path, f"more than {MAX_WORK} places to look at")

    def _has_directory(self, path: str) -> bool:
        known = self._is_directory.get(path)
        if known is None:
            try:
                known = self.system.status(path).kind == "directory"
            except OSError:
                known = False
            self._is_directory[path] = known
        return known

    def _is_setuid(self, path: str) -> bool:
        return bool(self.system.status(path).mode & 0o4000)

    def _look_closer(self, candidate: Candidate) -> Candidate:
        """Tell a dangling link from nothing; only for what is reported as missing."""
        if candidate.skipped != "not there":
            return candidate
        try:
            return replace(candidate, skipped=f"a dangling link to {self.system.link(candidate.path)}")
        except OSError:
            return candidate
