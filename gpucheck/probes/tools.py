"""What frameworks compile kernels with: ptxas, nvcc, a C compiler, libdevice, libnvvm; and the linker's cache that Triton asks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from gpucheck import kb
from gpucheck.elf import ElfError, find, find_native_linker
from gpucheck.elf.cache import read_cache
from gpucheck.facts import Cached, Distributed, Python, Seen, Tool, Unseen, Why
from gpucheck.markers import release
from gpucheck.probes.libraries import folders
from gpucheck.probes.text import read_text
from gpucheck.system import System
from gpucheck.versions import CudaVersion

#: Distributions under which Triton comes.
TRITON: Final = ("triton", "pytorch-triton", "triton-nightly")


def tools(
    system: System,
    environments: Sequence[Python],
    installed: tuple[Distributed, ...],
    cache: Seen[tuple[Cached, ...]] | Unseen,
) -> Seen[tuple[Tool, ...]] | Unseen:
    """The tools of Triton, XLA, FlashInfer and numba, for those of them that are installed; ABSENT when none is."""
    found: list[Tool] = []
    for dist in installed:
        if dist.name in TRITON and system.resolve(f"{dist.location}/triton"):
            found += _triton(system, dist, cache, environments)
        if dist.name == "flashinfer-python" and not _has(installed, dist.location, "flashinfer-jit-cache"):
            found.append(_nvcc(system, dist))
        if dist.name == "numba" and system.resolve(f"{dist.location}/numba/cuda"):
            found.append(_libnvvm(system, dist, environments))
        if dist.name in ("tensorflow", "jax") and (
            dist.name == "tensorflow" or _has(installed, dist.location, r"jax-cuda\d+-plugin")
        ):
            found.append(_libdevice(system, dist))
        if re.fullmatch(r"cupy-cuda1[23]x", dist.name) and release(dist.version) >= WITHOUT_HEADERS:
            found.append(_headers(system, dist))
    if not found:
        return Unseen(Why.ABSENT, (), "nothing is installed that compiles kernels")
    return Seen(tuple(found), "the files of what compiles kernels")


def _has(installed: tuple[Distributed, ...], location: str, name: str) -> bool:
    return any(dist.location == location and re.fullmatch(name, dist.name) for dist in installed)


def _first(system: System, places: Sequence[str]) -> str:
    return next(
        (
            path
            for place in places
            for path in (system.glob(place) if "*" in place else (place,))
            if system.resolve(path)
        ),
        "",
    )


def on_path(system: System, *programs: str) -> str:
    """A program on PATH, or where PATH is not known (an image without one) in the usual folders."""
    path = system.env.get("PATH") or "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return _first(system, [f"{folder}/{name}" for name in programs for folder in path.split(":") if folder])


# -- Triton ------------------------------------------------------------------------------------------------------------


def _triton(
    system: System, dist: Distributed, cache: Seen[tuple[Cached, ...]] | Unseen, environments: Sequence[Python]
) -> Iterator[Tool]:
    """Source: triton/runtime/build.py, triton/backends/nvidia/driver.py and compiler.py; older: triton/common/."""
    user, home = f"{dist.name} {dist.version}", f"{dist.location}/triton"
    chosen = system.env.get("TRITON_PTXAS_PATH", "")
    places = [chosen] if chosen else [f"{home}/backends/nvidia/bin/ptxas", f"{home}/common/../third_party/cuda/bin/ptxas", f"{home}/third_party/cuda/bin/ptxas"]  # fmt: skip
    path = _first(system, places) or ("" if chosen else on_path(system, "ptxas"))
    yield Tool("ptxas", user, path, program_cuda(system, path), tuple(places))
    blackwell = f"{home}/backends/nvidia/bin/ptxas-blackwell"
    if not chosen and system.resolve(blackwell):
        yield Tool("ptxas-blackwell", user, blackwell, program_cuda(system, blackwell), (blackwell,))
    compiler = system.env.get("CC") or on_path(system, "gcc", "clang", "cc")
    yield Tool("compiler", user, compiler, None, ("CC", "gcc and clang on PATH"))
    include = [f"{each.prefix.rstrip('/')}/include/python{each.version}*/Python.h" for each in environments if dist.location in each.packages]  # fmt: skip
    version = next((each.version for each in environments if dist.location in each.packages), "")
    include += [
        path for home in _homes(system, environments) for path in (f"{home}/include/python{version}*/Python.h",)
    ]
    yield Tool("header", user, _first(system, include), None, tuple(include))
    yield from _libcuda_for_triton(system, dist, cache)


def _homes(system: System, environments: Sequence[Python]) -> Iterator[str]:
    """The prefixes of the interpreters that virtual environments come from (PEP 405), and the system's."""
    for environment in environments:
        text = read_text(system, f"{environment.prefix.rstrip('/')}/pyvenv.cfg")
        if isinstance(text, Seen) and (home := re.search(r"^home\s*=\s*(\S+)/bin/?\s*$", text.value, re.MULTILINE)):
            yield home[1]
            # A link of a link: /opt/python/bin/python3 may be one to /usr/bin.
            real = system.resolve(f"{home[1]}/bin/python3") or ""
            if "/bin/" in real:
                yield real.rsplit("/bin/", 1)[0]
    yield from ("/usr", "/usr/local")


TOOL_RELEASE: Final = re.compile(rb"release (\d+\.\d+), V\d")


def program_cuda(system: System, path: str) -> CudaVersion | None:
    """Of ptxas or nvcc: ``Cuda compilation tools, release 12.8, V12.8.93`` in its constants."""
    if not path:
        return None
    from gpucheck.elf import read_elf
    from gpucheck.elf.sections import read_sections

    try:
        for section in read_sections(system, read_elf(system, path)):
            if section.name != ".rodata":
                continue
            if found := system.search(path, TOOL_RELEASE, section.offset, section.size, b"release "):
                return CudaVersion.parse(found.decode())
    except (ElfError, OSError):
        pass
    return None


def _libcuda_for_triton(system: System, dist: Distributed, cache: Seen[tuple[Cached, ...]] | Unseen) -> Iterator[Tool]:
    """Triton links its launcher with libcuda and takes the folder from the linker's cache, not from where libcuda is loaded.

    Up to 3.1 it wants a file libcuda.so in such a folder, newer ones link with libcuda.so.1; both fall back to LD_LIBRARY_PATH.
    """
    user, home = f"{dist.name} {dist.version}", f"{dist.location}/triton"
    texts = [read_text(system, f"{home}/{name}") for name in ("backends/nvidia/driver.py", "common/build.py", "runtime/build.py")]  # fmt: skip
    code = "".join(text.value for text in texts if isinstance(text, Seen))
    name = "libcuda.so.1" if re.search(r"os\.path\.join\(path, ['\"]libcuda\.so\.1['\"]\)", code) else "libcuda.so"
    if chosen := system.env.get("TRITON_LIBCUDA_PATH"):
        yield Tool("libcuda", user, _first(system, [f"{chosen}/{name}"]), None, ("TRITON_LIBCUDA_PATH",))
        return
    if any(isinstance(text, Unseen) and text.why is Why.UNREADABLE for text in texts):
        return
    if not code and release(dist.version) >= (2, 2):
        # Where it looks changed from version to version since then, and only its code tells.
        return
    entries = cache.value if isinstance(cache, Seen) else ()
    places = [each.path.rpartition("/")[0] for each in entries if each.soname.startswith("libcuda.so")]
    if not places and "LD_LIBRARY_PATH" in code:
        places = list(folders(system, "LD_LIBRARY_PATH"))
    tried = tuple(f"{folder}/{name}" for folder in dict.fromkeys(places))
    yield Tool("libcuda", user, _first(system, tried), None, tried or ("ldconfig -p",))


# -- XLA ---------------------------------------------------------------------------------------------------------------


#: Up to then CuPy's wheels bring all of the headers that their kernels include: cupy/cupy#8466.
WITHOUT_HEADERS: Final = (13, 3)


def _headers(system: System, dist: Distributed) -> Tool:
    """The toolkit's headers that each of CuPy's kernels includes.

    Source: cupy/_environment.py (_get_include_dir_from_conda_or_wheel, get_cuda_path), cupy/cuda/compiler.py
    """
    roots = [root for name in ("CUDA_PATH", "CUDA_HOME") for root in folders(system, name)]
    nvcc = on_path(system, "nvcc")
    roots += [nvcc.rsplit("/bin/", 1)[0]] if "/bin/" in nvcc else []
    places = [f"{root}/include/vector_types.h" for root in (*roots, "/usr/local/cuda", "/opt/cuda")]
    places += [f"{dist.location}/nvidia/{part}/include/vector_types.h" for part in ("cuda_runtime", "cu13", "cu12")]
    places += ["/usr/include/vector_types.h"]
    places += [f"{root}/targets/*/include/vector_types.h" for root in (*folders(system, "CONDA_PREFIX"), "/opt/conda")]
    return Tool("cuda-headers", f"{dist.name} {dist.version}", _first(system, places), None, tuple(places))


def _libdevice(system: System, dist: Distributed) -> Tool:
    """XLA reads libdevice.10.bc from a CUDA folder; the wheels bring it in nvidia-cuda-nvcc and nvidia-nvvm.

    Source: xla/tsl/platform/default/cuda_root_path.cc (CandidateCudaRoots), https://openxla.org/xla/flags_guidance
    """
    roots = [match[1] for match in re.finditer(r"--xla_gpu_cuda_data_dir=(\S+)", system.env.get("XLA_FLAGS", ""))]
    roots += [f"{dist.location}/nvidia/cuda_nvcc", f"{dist.location}/nvidia/cu13", f"{dist.location}/nvidia/cuda_nvvm"]
    roots += [root for name in ("CUDA_HOME", "CUDA_DIR", "CONDA_PREFIX") for root in folders(system, name)]
    roots += ["/usr/local/cuda", "/usr/local/cuda-*", "/opt/cuda", "/usr/lib/cuda", "/usr/lib/nvidia-cuda-toolkit", "."]
    places = [f"{root}/nvvm/libdevice/libdevice*.bc" for root in roots if root.startswith("/")]
    places += [f"{root}/libdevice/libdevice*.bc" for root in roots if root.startswith("/usr/lib")]
    return Tool("libdevice", f"{dist.name} {dist.version}", _first(system, places), None, tuple(places))


# -- FlashInfer, numba -------------------------------------------------------------------------------------------------


def _nvcc(system: System, dist: Distributed) -> Tool:
    """FlashInfer's get_cuda_path and build: flashinfer/jit/cpp_ext.py of 0.6.4. Without its cache of compiled kernels it builds them."""
    user = f"{dist.name} {dist.version}"
    if chosen := system.env.get("FLASHINFER_NVCC"):
        return Tool("nvcc", user, _first(system, [chosen]), None, (f"FLASHINFER_NVCC={chosen}",))
    home = system.env.get("CUDA_HOME") or system.env.get("CUDA_PATH")
    if not home and (path := on_path(system, "nvcc")):
        return Tool("nvcc", user, path, None, ())
    place = f"{home or '/usr/local/cuda'}/bin/nvcc"
    return Tool("nvcc", user, _first(system, [place]), None, (place, *(() if home else ("nvcc on PATH",))))


def _libnvvm(system: System, dist: Distributed, environments: Sequence[Python]) -> Tool:
    """What numba compiles for GPUs with: numba/cuda/cuda_paths.py of 0.57.1; numba-cuda also looks into NVIDIA's wheels."""
    homes = [home for name in ("CUDA_HOME", "CUDA_PATH") for home in folders(system, name)][:1] or ["/usr/local/cuda"]
    roots = [f"{each.prefix.rstrip('/')}/{place}" for each in environments if dist.location in each.packages for place in ("lib", "nvvm/lib64")]  # fmt: skip
    roots += [f"{home}/nvvm/lib64" for home in homes]
    roots += [f"{dist.location}/nvidia/{place}" for place in ("cuda_nvcc/nvvm/lib64", "cu13/lib", "cu13/nvvm/lib64")]
    places = [f"{root}/libnvvm.so*" for root in roots]
    path = _first(system, places)
    if not path:
        try:
            path = find(system, "libnvvm.so").path or ""
        except (ElfError, OSError):
            path = "unknown"
    return Tool("libnvvm", f"{dist.name} {dist.version}", path, None, tuple(places))


# -- the linker's cache ------------------------------------------------------------------------------------------------


def cached(system: System) -> Seen[tuple[Cached, ...]] | Unseen:
    """The GPU libraries in /etc/ld.so.cache, and whether their files are there."""
    try:
        linker = find_native_linker(system)
        if linker.musl:
            return Unseen(Why.NOT_APPLICABLE, (), "musl has no cache")
        cache = read_cache(system, linker.machine, linker.bits)
        stems = tuple(f"{row.stem}.so" for row in kb.sonames())
        entries = list(cache.entries(("libcuda.so", "libnvidia-ml.so", *stems)))
    except FileNotFoundError:
        return Unseen(Why.ABSENT, ("/etc/ld.so.cache",), "/etc/ld.so.cache is not there (ldconfig makes it)")
    except (ElfError, OSError) as error:
        return Unseen(Why.UNREADABLE, ("/etc/ld.so.cache",), str(error))
    found = dict.fromkeys((each.soname, each.path) for each in entries)
    return Seen(
        tuple(Cached(soname, path, system.resolve(path) is not None) for soname, path in found), "/etc/ld.so.cache"
    )
