"""Copies of the driver's and the toolkit's libraries on disk."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from gpucheck import kb
from gpucheck.elf import ElfError, find, read_elf
from gpucheck.elf.resolution import considered, there
from gpucheck.elf.sections import read_forward_compatibility
from gpucheck.facts import Choice, Compat, Distributed, Library, Python
from gpucheck.kb.packages import wheels_with
from gpucheck.system import System
from gpucheck.versions import CudaVersion

#: The toolkit's link-time stubs are tens of kilobytes, drivers tens of megabytes.
STUB_SIZE: Final = 1 << 20


def choice(system: System, soname: str) -> Choice:
    """What the dynamic linker gives a program that opens ``soname``, and where it looks before."""
    try:
        found = find(system, soname)
    except (ElfError, OSError) as error:
        return Choice(soname, None, "unknown", (str(error),))
    skipped = tuple((candidate.path, candidate.skipped) for candidate in there(found.candidates))
    return Choice(soname, found.path, found.how, considered(found), skipped, found.fatal or "")


def ptx_compiler(system: System, libcuda: Choice) -> Choice:
    """What libcuda gets when it opens its compiler of PTX by name; a file beside it counts, too, however that is found."""
    name = "libnvidia-ptxjitcompiler.so.1"
    found = choice(system, name)
    real = system.resolve(libcuda.path) if libcuda.path else None
    beside = f"{real.rpartition('/')[0]}/{name}" if real else ""
    if found.path is None and beside and system.resolve(beside):
        return Choice(name, beside, "beside libcuda", found.considered)
    return found


def folders(system: System, variable: str) -> tuple[str, ...]:
    """The absolute folders in a search path variable."""
    return tuple(part.rstrip("/") for part in system.env.get(variable, "").split(":") if part.startswith("/"))


def driver_copies(system: System, soname: str, chosen: Choice) -> tuple[Library, ...]:
    """Every copy of a driver library: the one that the linker takes first, then those in known places."""
    stem = soname.removesuffix(".1")
    places = [(folder, "driver") for folder in folders(system, "LD_LIBRARY_PATH")]
    places += [(folder, row.kind) for row in kb.driver_places() for folder in system.glob(row.pattern)]
    paths = [(chosen.path, "driver")] if chosen.path else []
    for folder, kind in places:
        # A development link alone (libcuda.so) is how stubs and WSL copies come; the numbered name is preferred.
        there = [name for name in names(system, folder) if name.startswith(stem)]
        numbered = [name for name in there if re.fullmatch(r"\.\d{3}\.\d[\d.]*", name[len(stem) :])]
        paths += [(f"{folder}/{name}", kind) for name in (soname, stem, *numbered) if name in there]
    kinds = {name: kind for name, kind in reversed(paths) if kind != "driver"}
    found: dict[str, Library] = {}
    for path, kind in paths:
        real = system.resolve(path)
        if real is None or real in found:
            continue
        library = driver_library(system, soname, path, real, kinds.get(path, kind))
        if library is not None:
            found[real] = library
    return tuple(found.values())


def driver_library(system: System, soname: str, path: str, real: str, kind: str) -> Library | None:
    """One copy; its version is in the name of the real file: libcuda.so.535.261.03."""
    try:
        size = system.status(real).size
    except OSError:
        return None
    version = re.search(r"\.so\.(\d{3}\.\d+(?:\.\d+)?)$", real)
    if kind == "driver":
        if "/stubs/" in path or "/stubs/" in real or (size < STUB_SIZE and not version and is_elf(system, real)):
            kind = "stub"
        elif "/compat/" in path or "/compat/" in real:
            kind = "compat"
        elif "/wsl/" in real:
            kind = "wsl"
        elif "/tegra/" in real:
            kind = "tegra"
    return Library(soname, path, real, kind, version[1] if version else "", "", size, machine(system, real))


#: e_machine in elf(5), as ``uname -m`` spells it.
MACHINES: Final = {3: "i686", 21: "ppc64le", 40: "armv7l", 62: "x86_64", 183: "aarch64"}


def machine(system: System, path: str) -> str:
    """For which processor a library is, from its header; '' where it does not tell."""
    try:
        header = system.read(path, 20)
    except OSError:
        return ""
    return MACHINES.get(int.from_bytes(header[18:20], "little"), "") if header[:4] == b"\x7fELF" else ""


def broken_links(system: System) -> tuple[str, ...]:
    """Names of driver libraries, in the folders of the platforms, whose link leads to nothing: ``PATH -> TARGET``."""
    found = []
    for folder in dict.fromkeys(folder for row in kb.driver_places() for folder in system.glob(row.pattern)):
        for path in (f"{folder}/libcuda.so.1", f"{folder}/libnvidia-ml.so.1"):
            try:
                target = system.link(path)
            except OSError:
                continue
            if system.resolve(path) is None:
                found.append(f"{path} -> {target}")
    return tuple(found)


def is_elf(system: System, path: str) -> bool:
    """Whether a file starts as ELF files do."""
    try:
        return system.read(path, 4) == b"\x7fELF"
    except OSError:
        return False


def compat(system: System, copies: tuple[Library, ...]) -> tuple[Compat, ...]:
    """What cuda-compat copies say of themselves in their ELF note."""
    found = []
    for library in copies:
        if library.kind != "compat":
            continue
        try:
            note = read_forward_compatibility(system, read_elf(system, library.real))
        except (ElfError, OSError):
            continue
        if note and (cuda := CudaVersion.parse(note.cuda)):
            found.append(Compat(library.path, cuda, note.drivers, note.devices))
    return tuple(found)


def toolkit(
    system: System, environments: tuple[Python, ...], installed: tuple[Distributed, ...]
) -> tuple[Library, ...]:
    """Every copy of a CUDA library: in Python environments, in toolkits, on the search path."""
    owners = {(dist.location, dist.name): dist for dist in installed}
    order = {row.stem: position for position, row in enumerate(kb.sonames())}
    found: dict[str, tuple[int, Library]] = {}
    for folder, kind in toolkit_folders(system, environments):
        for name in names(system, folder):
            stem, so, number = name.partition(".so.")
            path = f"{folder}/{name}"
            if not so or stem not in order or (real := system.resolve(path)) is None or real in found:
                continue
            owner = _owner(owners, path, stem) if kind == "wheel" else ""
            try:
                size = system.status(real).size
            except OSError:
                continue
            number = real.rsplit(".so.", 1)[-1]
            version = owner.rsplit(" ", 1)[-1] if owner else number if "." in number else ""
            found[real] = (order[stem], Library(name, path, real, kind, version, owner, size))
    return tuple(library for _, library in sorted(found.values(), key=lambda row: row[0]))


def names(system: System, folder: str) -> tuple[str, ...]:
    """The names in a folder; none where it cannot be listed."""
    try:
        return system.names(folder)
    except OSError:
        return ()


def toolkit_folders(system: System, environments: tuple[Python, ...]) -> tuple[tuple[str, str], ...]:
    """(folder, ``wheel`` or ``toolkit``) where CUDA libraries may lie."""
    wheels = [
        (folder, "wheel")
        for environment in environments
        for packages in environment.packages
        for pattern in ("nvidia/*/lib", "torch/lib")
        for folder in system.glob(f"{packages}/{pattern}")
    ]
    prefixes = [
        (f"{environment.prefix}/lib", "toolkit") for environment in environments if environment.prefix.startswith("/")
    ]
    variables = [(folder, "toolkit") for folder in folders(system, "LD_LIBRARY_PATH")]
    homes = [(f"{home}/lib64", "toolkit") for name in ("CUDA_HOME", "CUDA_PATH") for home in folders(system, name)]
    rows = [(folder, "toolkit") for row in kb.toolkit_places() for folder in system.glob(row.pattern)]
    return tuple(dict.fromkeys((*wheels, *variables, *homes, *prefixes, *rows)))


#: Folders below site-packages/nvidia and the middle of the names of the distributions that fill them.
_OWNERS: Final = {
    "libcudart": "cuda-runtime",
    "libcublas": "cublas",
    "libcublasLt": "cublas",
    "libcudnn": "cudnn",
    "libnccl": "nccl",
    "libnvrtc": "cuda-nvrtc",
    "libnvJitLink": "nvjitlink",
    "libcufft": "cufft",
    "libcurand": "curand",
    "libcusolver": "cusolver",
    "libcusparse": "cusparse",
    "libcusparseLt": "cusparselt",
    "libcupti": "cuda-cupti",
    "libcufile": "cufile",
    "libnvshmem_host": "nvshmem",
}


def _owner(owners: dict[tuple[str, str], Distributed], path: str, stem: str) -> str:
    """The distribution that a wheel's library came with, as ``name version``; '' when two could have written it.

    CUDA 13 wheels carry no suffix and share nvidia/cu13/lib; older ones are nvidia-NAME-cuNN. cuDNN, NCCL and NVSHMEM
    keep folders of their own, which the -cu12 and -cu13 wheels both write.
    """
    packages, _, below = path.rpartition("/nvidia/")
    middle = _OWNERS.get(stem)
    if not middle or not below:
        return ""
    candidates = [
        dist
        for (location, name), dist in owners.items()
        if location == packages and re.fullmatch(rf"nvidia-{middle}(-cu\d+)?", name)
    ]
    if below.startswith("cu13/"):
        candidates = [dist for dist in candidates if not re.search(r"-cu1[12]$", dist.name)]
    elif len(candidates) > 1:
        candidates = (
            [dist for dist in candidates if re.search(r"-cu1[12]$", dist.name)]
            if middle not in ("cudnn", "nccl", "nvshmem", "cusparselt")
            else []
        )
        # Of two CUDA majors in one folder the name tells: libcudart.so.11.0 is that of -cu11.
        shippers = {row.wheel for row in wheels_with(path.rpartition("/")[2])}
        candidates = [dist for dist in candidates if dist.name in shippers] or candidates
    return f"{candidates[0].name} {candidates[0].version}" if len(candidates) == 1 else ""


def runtimes(libraries: tuple[Library, ...]) -> Iterator[Library]:
    """The libcudart copies among the libraries."""
    return (library for library in libraries if library.soname.startswith("libcudart.so."))
