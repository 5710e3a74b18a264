"""What ``gpucheck image`` reports beside the snapshot: the key ``image`` of its JSON."""

from __future__ import annotations

from gpucheck.elf.fatbin import Target
from gpucheck.record import dataclass


@dataclass(frozen=True, slots=True)
class LayerSize:
    """A layer of an image."""

    digest: str
    created_by: str
    """The command that made it, as the image's history has it; '' when it has none."""
    size: int | None
    """Bytes as stored, compressed or not; None where that is not told (a Docker Engine)."""
    unpacked: int | None
    cuda: int
    """Bytes of CUDA's libraries and of libraries with GPU code in it."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A library of CUDA on disk."""

    path: str
    real: str
    """After links."""
    version: str
    """Of the package that owns it or in its file name; '' when neither tells."""
    owner: str
    """``nvidia-cublas 13.1.2`` for a file of a Python distribution, else ''."""
    kind: str
    """``toolkit`` or ``wheel``; ``driver``, ``stub``, ``compat``, ``wsl`` or ``tegra`` for the driver's."""
    size: int
    layer: int | None
    """The number of the layer that it is in, from 0; None where there are no layers."""


@dataclass(frozen=True, slots=True)
class Winner:
    """Which file somebody gets by the name of a library."""

    requester: str
    """``a program``, ``Python`` (through ctypes), or the distribution that is imported: ``torch 2.9.0``."""
    path: str | None
    """As the dynamic linker names it; None: nothing is found."""
    real: str | None
    """After links: one of the copies."""
    how: str
    """``RPATH of libtorch_cuda.so``, ``LD_LIBRARY_PATH``, ``ld.so.cache``, ..."""


@dataclass(frozen=True, slots=True)
class NamedLibrary:
    """A library by the name that programs ask for."""

    soname: str
    copies: tuple[Copy, ...]
    winners: tuple[Winner, ...]
    wasted: int
    """Bytes of the copies beyond the largest one."""


@dataclass(frozen=True, slots=True)
class Code:
    """GPU code in a file."""

    path: str
    owner: str
    """``torch 2.9.0``, or '' for a file that no Python distribution owns."""
    containers: int
    """How many fat binaries it has, about one for each translation unit."""
    targets: tuple[Target, ...]
    served: tuple[str, ...]
    """The targets that the file as a whole is there for."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that the dynamic linker looks into."""

    path: str
    source: str
    """``LD_LIBRARY_PATH`` or the file that names it."""


@dataclass(frozen=True, slots=True)
class NodeNeed:
    """One thing that the image needs of a node, in words."""

    what: str
    """``driver, native``, ``GPU``, ``C library``, ..."""
    text: str
    source: str
    """What it rests on: a row's reference, a file, a variable; '' where that is the image itself."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in an image."""

    reference: str
    """As it was named."""
    digest: str
    """Of its manifest; '' when it has none (a folder)."""
    architecture: str
    """As in ``uname -m``."""
    user: str
    """'' is root."""
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    labels: tuple[tuple[str, str], ...]
    """Those that speak of GPUs: ``gpu-capable.*`` and ``com.nvidia.*``; sorted by name."""
    layers: tuple[LayerSize, ...]
    folders: tuple[Folder, ...]
    libraries: tuple[NamedLibrary, ...]
    code: tuple[Code, ...]
    unread: tuple[str, ...]
    """What could not be read, one line each."""
    needs: tuple[NodeNeed, ...] = ()
    """The contract in words."""

    @property
    def wasted(self) -> int:
        """Bytes of CUDA libraries that are there twice."""
        return sum(library.wasted for library in self.libraries)
