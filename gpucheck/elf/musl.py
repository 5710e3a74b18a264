"""Where musl's dynamic linker looks: ``load_library`` in its ldso/dynlink.c."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from gpucheck.elf.objects import Fatal, Object, Skip, State, Step
from gpucheck.elf.reader import Elf, ElfError, read_elf
from gpucheck.elf.resolution import Edge, How
from gpucheck.elf.tokens import absolute
from gpucheck.system.protocol import NotKept

#: Names with these after ``lib`` are the linker itself, which is libc too.
RESERVED = tuple(f"lib{name}." for name in ("c", "pthread", "rt", "m", "dl", "util", "xnet"))


class Musl:
    """RPATH and RUNPATH are one thing, inherited, and come after LD_LIBRARY_PATH. There is no cache."""

    def library_path(self, state: State) -> tuple[str, ...]:
        return () if state.secure else split(state.env.get("LD_LIBRARY_PATH", ""), state.cwd)

    def preloads(self, state: State) -> tuple[tuple[str, How, str | None], ...]:
        if state.secure:
            return ()
        names = state.env.get("LD_PRELOAD", "").replace(":", " ").split()
        return tuple((name, "LD_PRELOAD", None) for name in names)

    def loader_of(self, state: State, requester: Object | None, edge: Edge) -> Object | None:
        """dlopen is always on behalf of the program, whoever calls; what is preloaded has no one above it."""
        return {"dlopen": state.main, "preload": None}.get(edge, requester)

    def name(self, state: State, name: str, requester: Object | None, edge: Edge) -> str:
        if not name:
            raise Fatal("Invalid argument")
        return name

    def resident(self, state: State, name: str) -> Object | None:
        if name.startswith(RESERVED) or name == state.linker.path:
            return state.linker_object
        return None if "/" in name else state.names.get(name)

    def steps(self, state: State, name: str, requester: Object | None, edge: Edge) -> Iterator[Step]:
        if "/" in name:
            yield Step("path", file=absolute(name, state.cwd))
            return
        if state.library_path:
            yield Step("LD_LIBRARY_PATH", state.library_path)
        else:
            yield Step("LD_LIBRARY_PATH", note="LD_LIBRARY_PATH: not set")
        item = self.loader_of(state, requester, edge)
        while item is not None:
            how: How = "RPATH" if item.elf.runpath is None else "RUNPATH"
            found = self._list(state, item)
            if found:
                yield Step(how, found, owner=item.path)
            item = item.loader
        yield Step("default", state.linker.directories)

    def open(self, state: State, path: str) -> Elf | Skip:
        """The first file that opens is taken; when it is no library for this machine, loading fails."""
        try:
            elf = read_elf(state.system, path)
        except (FileNotFoundError, NotADirectoryError):
            return Skip("not there")
        except PermissionError:
            return Skip("permission denied")
        except IsADirectoryError:
            raise Fatal("Is a directory") from None
        except NotKept:
            raise
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return Skip("File name too long")
            raise Fatal(error.strerror or str(error)) from None
        except ElfError as error:
            raise Fatal(error.reason) from None
        if elf.bits != state.linker.bits:
            raise Fatal(f"{elf.bits}-bit")
        if elf.machine != state.linker.machine:
            raise Fatal(f"for {elf.architecture}")
        return elf

    def hints(self, state: State, name: str) -> Iterator[str]:
        return iter(())

    def _list(self, state: State, item: Object) -> tuple[str, ...]:
        """``fixup_rpath``: $ORIGIN is the only token; a list with any other dollar sign is ignored as a whole."""
        found = item.lists.get("RPATH")
        if found is None:
            text = item.elf.rpath if item.elf.runpath is None else item.elf.runpath
            text = text or ""
            if "$" in text:
                if text.count("$") != text.count("$ORIGIN") + text.count("${ORIGIN}") or (state.secure and item.main):
                    text = ""
                text = text.replace("${ORIGIN}", item.origin).replace("$ORIGIN", item.origin)
            found = item.lists["RPATH"] = split(text, state.cwd)
        return found


def split(text: str, cwd: str) -> tuple[str, ...]:
    """``path_open``: colons and newlines separate, empty elements are nothing."""
    return tuple(absolute(part, cwd) for part in text.replace("\n", ":").split(":") if part)
