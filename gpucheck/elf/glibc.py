"""Where glibc's ld.so looks. Function names in this file's comments are those of glibc's elf/dl-load.c."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from typing import NoReturn

from gpucheck.elf.cache import Cache
from gpucheck.elf.configuration import PATH as CONFIGURATION
from gpucheck.elf.configuration import read_configuration
from gpucheck.elf.linker import Linker
from gpucheck.elf.objects import Fatal, Object, Skip, State, Step
from gpucheck.elf.reader import MACHINES, Elf, ElfError, Header, read_elf, read_header
from gpucheck.elf.resolution import Edge, How
from gpucheck.elf.tokens import absolute, directories, expand
from gpucheck.system.protocol import NotKept

PRELOAD_FILE = "/etc/ld.so.preload"
ELFOSABI_SYSV, ELFOSABI_GNU = 0, 3


class Glibc:
    """``_dl_map_object`` and what it calls."""

    def library_path(self, state: State) -> tuple[str, ...]:
        """Semicolons separate too; $ORIGIN is the program's; nothing in secure mode (``_dl_init_paths``)."""
        text = state.env.get("LD_LIBRARY_PATH", "")
        if not text or state.secure:
            return ()
        origin = state.main.origin if state.main else None
        parts = (expand(part, origin, state.linker) if part else "" for part in re.split("[:;]", text))
        # An element that is empty only after expansion is dropped, one that was empty is the current directory.
        return directories(parts, state.cwd)

    def preloads(self, state: State) -> tuple[tuple[str, How, str | None], ...]:
        """LD_PRELOAD is split at spaces and colons; in secure mode names with a slash are ignored (elf/rtld.c,
        ``handle_preload_list``). /etc/ld.so.preload is split at white space and colons, ``#`` starts a comment.
        """
        found: list[tuple[str, How, str | None]] = []
        for name in re.split("[ :]", state.env.get("LD_PRELOAD", "")):
            if name and not (state.secure and "/" in name):
                found.append((name, "LD_PRELOAD", None))
        try:
            text = state.system.read(PRELOAD_FILE).decode("utf-8", "surrogateescape")
        except NotKept:
            raise
        except OSError:
            text = ""
        text = "\n".join(line.partition("#")[0] for line in text.split("\n"))
        found += [(name, "ld.so.preload", PRELOAD_FILE) for name in re.split("[ \t\n:]+", text) if name]
        return tuple(found)

    def loader_of(self, state: State, requester: Object | None, edge: Edge) -> Object | None:
        """dlopen borrows the caller's paths only for the search: ``__RTLD_CALLMAP``."""
        return None if edge == "dlopen" else requester

    def name(self, state: State, name: str, requester: Object | None, edge: Edge) -> str:
        """Tokens in DT_NEEDED, DT_AUXILIARY and DT_FILTER (``expand_dst`` in elf/dl-deps.c)."""
        if "$" not in name or edge not in ("needed", "filter") or requester is None:
            return name
        if state.secure and expand(name, "", state.linker) != name:
            raise Fatal("DST not allowed in SUID/SGID programs")
        expanded = expand(name, requester.origin, state.linker)
        if not expanded:
            raise Fatal("empty dynamic string token substitution")
        return expanded

    def resident(self, state: State, name: str) -> Object | None:
        """By any name under which it was asked for, by its path, or by its SONAME (``_dl_name_match_p``)."""
        return state.main if not name else state.names.get(name)

    def steps(self, state: State, name: str, requester: Object | None, edge: Edge) -> Iterator[Step]:
        """The order of ld.so(8). What is passed over comes as a step with a note."""
        if "/" in name:
            expanded = expand(name, requester.origin, state.linker, secure=state.secure) if requester else name
            yield Step("path", file=absolute(expanded, state.cwd)) if expanded else Step("path", note="empty path")
            return
        yield from self._rpath_steps(state, requester)
        if state.library_path:
            yield Step("LD_LIBRARY_PATH", state.library_path)
        elif state.secure and state.env.get("LD_LIBRARY_PATH"):
            yield Step("LD_LIBRARY_PATH", note="LD_LIBRARY_PATH: ignored in a set-user-ID program")
        else:
            yield Step("LD_LIBRARY_PATH", note="LD_LIBRARY_PATH: not set")
        yield from self._runpath_steps(state, requester)
        nodeflib = bool(requester and requester.elf.nodeflib)
        if edge == "preload" and state.secure:
            yield Step("ld.so.cache", note="ld.so.cache: not used to preload into a set-user-ID program")
        else:
            yield self._cache_step(state, name, nodeflib)
        if nodeflib and requester:
            yield Step("default", note=f"default directories: {requester.path} is linked with -z nodeflib")
        else:
            yield Step("default", state.linker.directories)

    def open(self, state: State, path: str) -> Elf | Skip:
        """``open_verify``: another class or machine is passed over, anything else that is wrong is fatal."""
        linker = state.linker
        try:
            elf = read_elf(state.system, path)
        except FileNotFoundError:
            return Skip("not there")
        except PermissionError:
            return Skip("permission denied")
        except IsADirectoryError:
            raise Fatal("cannot read file data: Is a directory") from None
        except NotKept:
            raise
        except OSError as error:
            # open_path goes on after ENOENT and EACCES only.
            return Skip(error.strerror or str(error), error.errno not in (errno.ENOENT, errno.EACCES, errno.ENOTDIR))
        except ElfError as error:
            try:
                broken = read_header(state.system, path)
            except (OSError, ElfError):
                raise Fatal(error.reason) from None
            return verdict(linker, broken) or fail(error.reason)
        return verdict(linker, elf) or elf

    def hints(self, state: State, name: str) -> Iterator[str]:
        """A file in a directory of ld.so.conf that the cache does not know: ldconfig has not run since it came."""
        if "/" in name or not isinstance(state.cache(), Cache):
            return
        for directory, where in read_configuration(state.system):
            path = f"{directory}/{name}"
            # One for another machine would not get into the cache for this one.
            try:
                fits = isinstance(self.open(state, path), Elf)
            except Fatal:
                fits = False
            if fits:
                yield f"ld.so.conf: {path} is there ({where} lists it), but not in the cache (ldconfig makes it anew)"

    def _rpath_steps(self, state: State, requester: Object | None) -> Iterator[Step]:
        """RPATH of the requester, of what loaded it, and so on, and of the program; only without a RUNPATH."""
        main = state.main
        chain = list(chain_of(requester))
        if main is not None and main not in chain:
            chain.append(main)
        if requester is not None and requester.elf.runpath is not None:
            for item in chain:
                if item.elf.rpath:
                    yield Step("RPATH", note=f"RPATH of {item.path}: not used, {requester.path} has a RUNPATH")
            return
        for item in chain:
            if item.elf.rpath and item.elf.runpath is None:
                yield Step("RPATH", self._list(state, item, "RPATH", item.elf.rpath), owner=item.path)

    def _runpath_steps(self, state: State, requester: Object | None) -> Iterator[Step]:
        if requester is None:
            return
        if requester.elf.runpath:
            found = self._list(state, requester, "RUNPATH", requester.elf.runpath)
            yield Step("RUNPATH", found, owner=requester.path)
        for item in chain_of(requester.loader):
            if item.elf.runpath:
                yield Step("RUNPATH", note=f"RUNPATH of {item.path}: not inherited")

    def _cache_step(self, state: State, name: str, nodeflib: bool) -> Step:
        cache = state.cache()
        linker = state.linker
        if isinstance(cache, Cache):
            file = cache.lookup(name, linker.hwcaps, linker.isa, linker.legacy_bits)
            if file is None:
                return Step("ld.so.cache", note=f"ld.so.cache: no {name} in it")
            if nodeflib and file.startswith(tuple(f"{directory}/" for directory in linker.directories)):
                skip = "in a default directory, which -z nodeflib rules out"
                return Step("ld.so.cache", file=file, owner=cache.path, skip=skip)
            return Step("ld.so.cache", file=file, owner=cache.path)
        if not state.configuration:
            return Step("ld.so.cache", note=f"ld.so.cache: {cache}")
        found = tuple(directory for directory, _ in read_configuration(state.system))
        if nodeflib:
            found = tuple(directory for directory in found if directory not in linker.directories)
        return Step("ld.so.conf", found, owner=CONFIGURATION, note=f"ld.so.cache: {cache}")

    def _list(self, state: State, item: Object, tag: str, text: str) -> tuple[str, ...]:
        found = item.lists.get(tag)
        if found is None:
            parts = []
            for part in text.split(":"):
                expanded = expand(part, item.origin, state.linker, secure=state.secure, main=item.main)
                parts.append(expanded if expanded or not part else None)
            found = item.lists[tag] = directories(parts, state.cwd)
        return found


def chain_of(item: Object | None) -> Iterator[Object]:
    """An object, what caused it to be loaded, and so on."""
    while item is not None:
        yield item
        item = item.loader


def verdict(linker: Linker, file: Elf | Header) -> Skip | None:
    """The checks of ``open_verify`` in their order: class, byte order, ABI, machine; None for a file of our kind."""
    if file.bits != linker.bits:
        return Skip(f"{file.bits}-bit")
    # Debian and Ubuntu look at the machine before all else (their patch any/unsubmitted-ldso-machine-mismatch), and
    # they are those with multiarch directories. The number is read in ld.so's own byte order.
    number = file.machine if file.little == linker.little else file.machine >> 8 | (file.machine & 0xFF) << 8
    debian = any("-linux-gnu" in directory for directory in linker.directories)
    other = Skip(f"for {MACHINES.get(file.machine, f'machine {file.machine}')}") if number != linker.machine else None
    if debian and other:
        return other
    if file.little != linker.little:
        fail(f"ELF file data encoding not {'little' if linker.little else 'big'}-endian")
    if file.abi not in (ELFOSABI_SYSV, ELFOSABI_GNU):
        fail("ELF file OS ABI invalid")
    return other


def fail(reason: str) -> NoReturn:
    raise Fatal(reason)
