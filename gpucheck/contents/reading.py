"""From an opened image and its snapshot to what is in it."""

from __future__ import annotations

from collections.abc import Sequence

from gpucheck.contents.code import Found, find_code
from gpucheck.contents.labels import speaks_of_gpus
from gpucheck.contents.libraries import find_copies, find_winners, is_toolkit_library, named
from gpucheck.contents.records import Contents, Folder, LayerSize, NamedLibrary
from gpucheck.elf.configuration import read_configuration
from gpucheck.facts import Snapshot
from gpucheck.images.manifest import ARCHITECTURES
from gpucheck.images.opening import Image
from gpucheck.libs.targets import Installed, find_all
from gpucheck.record import dataclass
from gpucheck.system import System

#: As ``uname -m`` says it: an image without a dynamic linker has only its config to tell.
MACHINES = {name: machine for machine, name in ARCHITECTURES.items()}


@dataclass(frozen=True, slots=True)
class Reading:
    """What is in an image, with what the contract needs besides."""

    contents: Contents
    code: tuple[Found, ...]
    whole: bool
    """Whether all files that may hold GPU code could be read."""


def read(image: Image, snapshot: Snapshot) -> Reading:
    """Look at libraries, GPU code and layers. Never raises for what it finds: what cannot be read is in ``unread``."""
    system = image.system
    installed = tuple(find_all(system, snapshot.pythons))
    owners = {path: f"{each.name} {each.version}".rstrip() for each in installed for path in each.libraries}
    copies = find_copies(system, snapshot, owners, image.layer_of)
    unread: list[str] = []
    code = find_code(
        system,
        image.codes,
        installed,
        [copy.real for found in copies.values() for copy in found if copy.kind in ("toolkit", "wheel")],
        unread,
    )
    winners, lost = find_winners(system, snapshot, list(copies), tuple(_importing(installed, code)))
    libraries = named(copies, winners)
    return Reading(
        Contents(
            reference=image.reference,
            digest=image.digest,
            architecture=snapshot.host.architecture or MACHINES.get(image.architecture, image.architecture),
            user=image.config.user,
            entrypoint=tuple(image.config.entrypoint),
            command=tuple(image.config.cmd),
            labels=tuple((name, value) for name, value in sorted(image.config.labels.items()) if speaks_of_gpus(name)),
            layers=_layers(image, libraries, code),
            folders=search_folders(system),
            libraries=libraries,
            code=tuple(entry.code for entry in code),
            unread=tuple(dict.fromkeys((*unread, *lost))),
        ),
        code,
        whole=not unread,
    )


def _importing(installed: Sequence[Installed], code: Sequence[Found]) -> list[Installed]:
    """The distributions whose imports load CUDA: those with GPU code of their own, but for NVIDIA's libraries."""
    owners = {entry.code.owner for entry in code if not is_toolkit_library(entry.code.path)}
    return [
        each
        for each in installed
        if f"{each.name} {each.version}".rstrip() in owners and not each.name.startswith("nvidia-")
    ]


def search_folders(system: System) -> tuple[Folder, ...]:
    """Where the dynamic linker looks besides its default directories, in order."""
    listed = system.env.get("LD_LIBRARY_PATH", "")
    variable = [Folder(part or "(the current directory)", "LD_LIBRARY_PATH") for part in listed.split(":")]
    return (*(variable if listed else ()), *(Folder(path, where) for path, where in read_configuration(system)))


def _layers(image: Image, libraries: Sequence[NamedLibrary], code: Sequence[Found]) -> tuple[LayerSize, ...]:
    sizes = {copy.real: copy.size for library in libraries for copy in library.copies}
    for entry in code:
        real = image.system.resolve(entry.code.path) or entry.code.path
        sizes.setdefault(real, image.system.status(real).size)
    cuda: dict[int | None, int] = {}
    for real, size in sizes.items():
        layer = image.layer_of(real)
        cuda[layer] = cuda.get(layer, 0) + size
    return tuple(
        LayerSize(layer.digest, layer.created_by, layer.size, layer.unpacked, cuda.get(number, 0))
        for number, layer in enumerate(image.layers)
    )
