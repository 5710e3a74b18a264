"""The words in which the rules of a dynamic linker are written down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from gpucheck.elf.linker import Linker
from gpucheck.elf.reader import Elf
from gpucheck.elf.resolution import Edge, How
from gpucheck.record import dataclass
from gpucheck.system.protocol import System

if TYPE_CHECKING:
    from gpucheck.elf.cache import Cache


class Object:
    """A loaded file (glibc: ``struct link_map``; musl: ``struct dso``)."""

    __slots__ = ("elf", "index", "lists", "loader", "main", "origin", "path")

    def __init__(
        self, elf: Elf, path: str, origin: str, index: int, loader: Object | None, *, main: bool = False
    ) -> None:
        self.elf = elf
        self.path = path
        self.origin = origin
        """$ORIGIN: the directory of the path by which it was found, links and all."""
        self.index = index
        """Its place in the link map."""
        self.loader = loader
        """The object that caused it to be loaded; None for the program, and in glibc for what dlopen opened."""
        self.main = main
        self.lists: dict[str, tuple[str, ...]] = {}
        """Directories of RPATH and RUNPATH, split and expanded once."""


@dataclass(frozen=True, slots=True)
class Step:
    """One place in the search order: directories, or one file, or neither and the reason."""

    how: How
    directories: tuple[str, ...] = ()
    file: str | None = None
    owner: str | None = None
    note: str | None = None
    skip: str | None = None
    """Why ``file`` is not even opened."""


@dataclass(frozen=True, slots=True)
class Skip:
    """A file that the linker passes over."""

    why: str
    ends_list: bool = False
    """Whether the rest of this list of directories is passed over too."""


class Fatal(Exception):
    """The linker gives up here. ``str()`` says why, in its own words where it has some."""


class State(Protocol):
    """What the rules may ask about the process."""

    system: System
    linker: Linker
    env: Mapping[str, str]
    cwd: str
    secure: bool
    configuration: bool
    main: Object | None
    linker_object: Object | None
    objects: list[Object]
    names: dict[str, Object]
    library_path: tuple[str, ...]

    def cache(self) -> Cache | str:
        """The cache, or why there is none."""
        ...


class Rules(Protocol):
    """How one C library's dynamic linker searches."""

    def library_path(self, state: State) -> tuple[str, ...]:
        """The directories of LD_LIBRARY_PATH; asked again once the program is known, for $ORIGIN."""
        ...

    def preloads(self, state: State) -> tuple[tuple[str, How, str | None], ...]:
        """(name, how, file that says so) of what is loaded before the needed libraries."""
        ...

    def loader_of(self, state: State, requester: Object | None, edge: Edge) -> Object | None:
        """The ``loader`` of a new object."""
        ...

    def name(self, state: State, name: str, requester: Object | None, edge: Edge) -> str:
        """The name that is really looked for. Raises ``Fatal``."""
        ...

    def resident(self, state: State, name: str) -> Object | None:
        """The loaded object that answers to a name."""
        ...

    def steps(self, state: State, name: str, requester: Object | None, edge: Edge) -> Iterator[Step]:
        """The places to look at, in order. Raises ``Fatal``."""
        ...

    def open(self, state: State, path: str) -> Elf | Skip:
        """What becomes of one existing or missing file. Raises ``Fatal``."""
        ...

    def hints(self, state: State, name: str) -> Iterator[str]:
        """What else is worth saying of a name that was not found."""
        ...
