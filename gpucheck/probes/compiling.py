"""What is compiled where: the toolchain of torch's extensions, compiled parts that are missing, executable stacks.

Beside it: parts of the driver that packages open, and programs of their own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Final

from gpucheck.elf import ElfError, find, read_elf
from gpucheck.elf.stack import wants_executable_stack
from gpucheck.facts import (
    Distributed,
    DriverPart,
    Libc,
    NumberReader,
    Program,
    Python,
    Seen,
    Stack,
    Toolchain,
    Unbuilt,
    Unseen,
    Why,
)
from gpucheck.kb import compiled
from gpucheck.markers import release
from gpucheck.probes.python import telling
from gpucheck.probes.text import read_text
from gpucheck.probes.tools import on_path, program_cuda
from gpucheck.system import NotKept, System
from gpucheck.versions import CudaVersion

# -- torch.utils.cpp_extension -----------------------------------------------------------------------------------------


def toolchain(system: System, installed: tuple[Distributed, ...]) -> Seen[Toolchain] | Unseen:
    """What torch.utils.cpp_extension would compile with: ABSENT without torch or without nvcc.

    Source: torch/utils/cpp_extension.py, _find_cuda_home: CUDA_HOME or CUDA_PATH, else nvcc on PATH, else /usr/local/cuda.
    """
    if not any(dist.name == "torch" for dist in installed):
        return Unseen(Why.ABSENT, (), "torch is not installed")
    named = system.env.get("CUDA_HOME") or system.env.get("CUDA_PATH") or ""
    found = on_path(system, "nvcc")
    home = named or (found.rsplit("/bin/", 1)[0] if "/bin/" in found else "/usr/local/cuda")
    nvcc = f"{home}/bin/nvcc"
    if not home.startswith("/") or not system.resolve(nvcc):
        return Unseen(Why.ABSENT, (nvcc,), "there is no nvcc")
    cuda = _toolkit_version(system, home) or program_cuda(system, nvcc)
    if cuda is None:
        return Unseen(Why.UNREADABLE, (nvcc,), f"{nvcc} does not tell its version")
    compiler = system.env.get("NVCC_CCBIN") or system.env.get("CC") or on_path(system, "gcc")
    if compiler and not compiler.startswith("/"):
        compiler = on_path(system, compiler)
    header = next(
        (
            path
            for path in (
                f"{home}/include/crt/host_config.h",
                *system.glob(f"{home}/targets/*-linux/include/crt/host_config.h"),
            )
            if system.resolve(path)
        ),
        "",
    )
    text = read_text(system, header) if header else None
    limit = (
        re.search(r"gcc versions later than (\d+)(?:\.\d+)? are not supported", text.value)
        if isinstance(text, Seen)
        else None
    )
    newest = int(limit[1]) if limit else None
    return Seen(Toolchain(nvcc, cuda, compiler, gcc_version(system, compiler), newest, header), nvcc)


def _toolkit_version(system: System, home: str) -> CudaVersion | None:
    text = read_text(system, f"{home}/version.json", 1 << 16)
    try:
        return CudaVersion.parse(str(json.loads(text.value)["cuda"]["version"])) if isinstance(text, Seen) else None
    except (ValueError, KeyError, TypeError):
        return None


def gcc_version(system: System, compiler: str) -> int | None:
    """The major version of a gcc by its name (Debian: ``x86_64-linux-gnu-gcc-13``), else by the one folder of libgcc for it.

    None where neither tells: another compiler, or several versions beside each other.
    """
    real = (system.resolve(compiler) or "") if compiler else ""
    if match := re.search(r"-?(?:gcc|g\+\+)-(\d+)$", real):
        return int(match[1])
    if not re.fullmatch(r"/usr/bin/(?:gcc|g\+\+|[\w.]+-(?:linux|redhat-linux)(?:-gnu)?-gcc)", real):
        return None
    versions = {
        int(match[1])
        for path in system.glob("/usr/lib/gcc/*/*/crtbegin.o")
        if (match := re.search(r"/(\d+)(?:\.[\d.]+)?/crtbegin\.o$", path))
    }
    return versions.pop() if len(versions) == 1 else None


# -- packages ----------------------------------------------------------------------------------------------------------


def compiling(system: System, installed: tuple[Distributed, ...]) -> tuple[tuple[str, str], ...]:
    """Packages that compile CUDA code as they run, and were not installed with compiled code."""
    rows = {row.distribution: row for row in compiled.jit()} if installed else {}
    return tuple(
        (dist.name, dist.version)
        for dist in installed
        if (row := rows.get(dist.name)) and not system.glob(f"{dist.location}/{row.built}")
    )


def unbuilt(system: System, installed: tuple[Distributed, ...]) -> tuple[Unbuilt, ...]:
    """Packages whose code imports a compiled module that was not built when they were installed."""
    found = []
    for row in compiled.unbuilt() if installed else ():
        for dist in installed:
            if dist.name != row.distribution or not system.resolve(f"{dist.location}/{row.importer}"):
                continue
            if not system.glob(f"{dist.location}/{row.module.replace('.', '/')}*.so"):
                found.append(
                    Unbuilt(dist.name, dist.version, dist.location, row.module, f"{dist.location}/{row.importer}")
                )
    return tuple(found)


#: glibc refuses to load such a library from this version on: its NEWS for 2.41.
REFUSING: Final = (2, 41)
#: Of a package; the one that is loaded first is among them.
MAX_LIBRARIES: Final = 40


def stacks(
    system: System, environments: Sequence[Python], installed: tuple[Distributed, ...], libc: Seen[Libc] | Unseen
) -> Seen[tuple[Stack, ...]] | Unseen:
    """Libraries of installed packages that ask for an executable stack, where glibc does not give it."""
    if not isinstance(libc, Seen):
        return libc
    if libc.value.kind != "glibc" or not libc.value.version or release(libc.value.version) < REFUSING:
        return Unseen(Why.NOT_APPLICABLE, (libc.source,), f"{libc.value.kind} {libc.value.version} gives such a stack")
    from gpucheck.libs.targets import find_distribution

    found = []
    for dist in telling(installed):
        # NVIDIA's own are linked without; there are many of them.
        if dist.name.startswith("nvidia-"):
            continue
        here = [each for each in environments if dist.location in each.packages]
        try:
            target = find_distribution(system, dist.name, here)
        except NotKept:
            continue
        for path in target.libraries[:MAX_LIBRARIES] if target else ():
            try:
                if wants_executable_stack(system, path):
                    found.append(Stack(f"{dist.name} {dist.version}", path))
                    break
            except (ElfError, OSError):
                continue
    return Seen(tuple(found), "program headers")


def driver_parts(system: System, installed: tuple[Distributed, ...]) -> tuple[DriverPart, ...]:
    """What installed packages open of the driver beside libcuda."""
    names = {dist.name: dist for dist in installed}
    found = []
    for row in compiled.parts() if installed else ():
        if dist := names.get(row.distribution):
            path = opencl_driver(system) if row.part == "nvidia.icd" else _library(system, row.part)
            found.append(DriverPart(f"{dist.name} {dist.version}", row.part, path))
    return tuple(found)


def opencl_driver(system: System) -> str:
    """The file by which OpenCL's loader knows a driver; any driver's, for programs may mean another one than NVIDIA's.

    Source: https://github.com/KhronosGroup/OpenCL-ICD-Loader (OCL_ICD_VENDORS), https://github.com/OCL-dev/ocl-icd
    """
    named = system.env.get("OCL_ICD_VENDORS") or system.env.get("OPENCL_VENDOR_PATH") or ""
    folders = [named.rstrip("/")] if named.startswith("/") else ["/etc/OpenCL/vendors"]
    prefix = system.env.get("CONDA_PREFIX", "")
    folders += [f"{prefix}/etc/OpenCL/vendors"] if prefix else []
    for folder in folders:
        if folder.endswith(".icd") and system.resolve(folder):
            return folder
        for path in system.glob(f"{folder}/*.icd"):
            return path
    # pyopencl's wheels take pocl's from site-packages.
    return next(
        (
            path
            for place in ("/usr", prefix, system.env.get("VIRTUAL_ENV", ""))
            if place
            for path in system.glob(f"{place}/lib/python3*/site-packages/pyopencl/.libs/*.icd")
        ),
        "",
    )


def _library(system: System, soname: str) -> str:
    try:
        return find(system, soname).path or ""
    except (ElfError, OSError):
        return ""


def number_readers(system: System, installed: tuple[Distributed, ...]) -> tuple[NumberReader, ...]:
    """Packages that take only numbers in CUDA_VISIBLE_DEVICES; looked for where it holds something else."""
    value = system.env.get("CUDA_VISIBLE_DEVICES", "")
    if not re.search(r"(?:GPU|MIG)-", value):
        return ()
    found: dict[str, NumberReader] = {}
    for row in compiled.numbers():
        for dist in installed:
            if dist.name != row.distribution:
                continue
            text = read_text(system, f"{dist.location}/{row.file}")
            if isinstance(text, Seen) and row.text in text.value:
                found.setdefault(dist.location, NumberReader(dist.name, dist.version, f"{dist.location}/{row.file}"))
    return tuple(found.values())


# -- programs ----------------------------------------------------------------------------------------------------------

OLLAMA: Final = ("/usr/local/bin/ollama", "/usr/bin/ollama", "/bin/ollama")


def programs(system: System) -> tuple[Program, ...]:
    """ollama, where its libraries lie beside it (0.5.8 and later): ``lib/ollama/libggml-cpu-*.so`` and ``cuda_v12/libggml-cuda.so``.

    Source: https://github.com/ollama/ollama/blob/main/ml/path.go
    """
    path = next((path for path in OLLAMA if system.resolve(path)), "")
    if not path:
        return ()
    real = system.resolve(path) or path
    for folder in dict.fromkeys(
        (f"{real.rsplit('/bin/', 1)[0]}/lib/ollama", "/usr/lib/ollama", "/usr/local/lib/ollama")
    ):
        if system.glob(f"{folder}/libggml-cpu*.so"):
            backends = (*_backends(system, folder),)
            return (Program("ollama", path, folder, backends),)
    return ()


def _backends(system: System, folder: str) -> Iterator[str]:
    for pattern in ("libggml-cuda*.so", "*/libggml-cuda*.so", "libggml-hip*.so", "*/libggml-hip*.so", "libggml-vulkan*.so", "*/libggml-vulkan*.so"):  # fmt: skip
        yield from system.glob(f"{folder}/{pattern}")


# -- the interpreter ---------------------------------------------------------------------------------------------------


def loader(system: System, environments: Sequence[Python]) -> Seen[str] | Unseen:
    """The dynamic linker that the first environment's interpreter names, after links."""
    from gpucheck.libs.interpreter import interpreters

    tried = []
    for path in interpreters(system, environments[:1]):
        tried.append(path)
        try:
            found = read_elf(system, path).interpreter
        except (ElfError, OSError):
            continue
        if found:
            return Seen(found, path)
    return Unseen(Why.ABSENT, tuple(tried), "no interpreter was found")
