"""What the GPU frameworks here would load: by a quick look where that suffices, else by the model of the dynamic linker."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from gpucheck import kb
from gpucheck.elf import ElfError
from gpucheck.facts import (
    Absent,
    Framework,
    Late,
    Libc,
    Library,
    Loaded,
    Loads,
    Misfit,
    Packages,
    Preload,
    Python,
    Seen,
    Unseen,
    Why,
)
from gpucheck.kb.packages import wheels
from gpucheck.markers import release
from gpucheck.probes.libraries import folders
from gpucheck.probes.python import parse_assignments, search_path
from gpucheck.probes.suspicion import is_known, suspicion
from gpucheck.probes.text import read_text
from gpucheck.record import replace
from gpucheck.system import NotKept, System

if TYPE_CHECKING:
    from gpucheck.elf.closure import Closure
    from gpucheck.elf.resolution import Resolution
    from gpucheck.libs.interpreter import Interpreter
    from gpucheck.libs.targets import Installed

#: Libraries whose version starts with that of the toolkit that they come with.
OF_TOOLKIT: Final = ("libcublas.", "libcublasLt.", "libcudart.", "libnvrtc.", "libnvJitLink.")
#: From this glibc on, an error within a constructor outlives dlopen(3): cuDNN 8.7 takes it for its own (pytorch#97041).
KEEPS_ERRORS: Final = (2, 34)
#: What stands for programs that are no Python frameworks.
ANY_PROGRAM: Final = "any program"
#: Of which it is known what their import opens by name: kb/imports.toml and kb/dlopens.toml.
FOLLOWED: Final = (
    r"torch|tensorflow|jax|xgboost(-cu12)?|onnxruntime-gpu|cupy-cuda1[123]x|ctranslate2|llama-cpp-python|lightgbm"
)


def loads(
    system: System,
    environments: Sequence[Python],
    frameworks: tuple[Framework, ...],
    libraries: tuple[Library, ...],
    packages: Seen[Packages] | Unseen,
    libc: Seen[Libc] | Unseen,
) -> Seen[tuple[Loads, ...]] | Unseen:
    """What each GPU framework would load; ABSENT when there is none."""
    found = []
    for framework in frameworks:
        if not framework.gpu or not re.fullmatch(FOLLOWED, framework.name):
            continue
        why = suspicion(system, framework, libraries, packages, libc)
        if not why:
            found.append(Loads(framework.name, framework.version, framework.location, "", (), (), (), ()))
            continue
        try:
            found.append(_followed(system, environments, framework, libraries, why, libc))
        except (ElfError, OSError) as error:
            unread = (str(error),)
            found.append(Loads(framework.name, framework.version, framework.location, why, (), (), (), unread))
    found += programs(system, environments, libraries)
    if not found:
        return Unseen(
            Why.ABSENT, tuple(path for each in environments for path in each.packages), "no GPU framework is installed"
        )
    return Seen(tuple(found), "the model of the dynamic linker")


# -- the whole ---------------------------------------------------------------------------------------------------------


def _followed(
    system: System,
    environments: Sequence[Python],
    framework: Framework,
    libraries: tuple[Library, ...],
    why: str,
    libc: Seen[Libc] | Unseen,
) -> Loads:
    from gpucheck.libs.imports import import_closure
    from gpucheck.libs.targets import find_distribution
    from gpucheck.probes.orders import late

    here = [
        replace(each, packages=search_path(each, environments))
        for each in environments
        if framework.location in each.packages
    ]
    target = find_distribution(system, framework.name, here)
    if target is None:
        raise ElfError(framework.location, f"no list of files of {framework.name}")
    interpreter = _interpreter(system, target, environments)
    closure = import_closure(system, target, interpreter)
    missing = tuple(_missing(system, closure, libraries))
    if not (isinstance(libc, Seen) and release(libc.value.version) >= KEEPS_ERRORS):
        missing = tuple(each for each in missing if each.soname != "libnvrtc.so")
    if framework.name.startswith("cupy-"):
        missing = tuple(_missing_of_cupy(system, framework, closure, missing, libraries))
    if framework.name == "tensorflow":
        missing = tuple(_missing_of_tensorflow(system, framework, closure, missing, libraries))
    if framework.name == "jax":
        missing = (*missing, *_missing_of_jax(system, framework, closure, missing, libraries))
    found = _summary(system, framework.name, framework.version, framework.location, why, closure, missing, libraries)
    others = _by_plain_name(system, framework, found, libraries)
    if framework.name == "tensorflow":
        others = _listed(system, framework, interpreter, found, libraries)
    after: tuple[Late, ...] = ()
    if framework.name == "torch" and not interpreter.process.linker.musl:
        after = tuple(late(system, target, interpreter, _interpreter(system, target, environments)))
    return replace(found, libraries=(*found.libraries, *others), late=after)


def _by_plain_name(
    system: System, framework: Framework, found: Loads, libraries: tuple[Library, ...]
) -> Iterator[Loaded]:
    """What a framework opens by name without looking into the wheels, where somebody else's copy comes first.

    CuPy before 14 takes NCCL so; jax before it preloaded its wheels' libraries had RUNPATH to them, which LD_LIBRARY_PATH precedes.
    """
    from gpucheck.elf import find

    names: tuple[str, ...] = ()
    if framework.name.startswith("cupy-") and release(framework.version) < (14,):
        names = ("libnccl.so.2",)
    text = read_text(system, _plugin(framework)) if framework.name == "jax" else None
    if text is not None and "_load_nvidia_libraries" not in (text.value if isinstance(text, Seen) else ""):
        parts = ("cublas", "cudnn", "cufft", "cusolver", "cusparse")
        names = tuple(row.soname for row in wheels() if row.cuda == framework.cuda_major and row.library in parts)
    known = {each.soname for each in found.libraries}
    versions = {library.real: library for library in libraries}
    for name in dict.fromkeys(names):
        outcome = find(system, name) if name not in known else None
        if outcome is None or not outcome.path or (framework.name == "jax" and outcome.how != "LD_LIBRARY_PATH"):
            continue
        own = next((each.path for each in libraries if each.soname == name and each.path.startswith(f"{framework.location}/")), "")  # fmt: skip
        yield _loaded(system, name, outcome, versions, {name: own})


def _summary(
    system: System,
    name: str,
    version: str,
    location: str,
    why: str,
    closure: Closure,
    missing: tuple[Absent, ...],
    libraries: tuple[Library, ...],
) -> Loads:
    versions = {library.real: library for library in libraries}
    hidden = {each.soname: each.path for each in reversed(closure.shadowed)}
    stems = tuple(f"{row.stem}.so." for row in kb.sonames())
    got = {each.soname.rsplit("/", 1)[-1]: each for each in reversed(closure.resolutions) if each.path and not each.fatal and each.how != "resident"}  # fmt: skip
    loaded = tuple(
        _loaded(system, soname, each, versions, hidden)
        for soname, each in sorted(got.items())
        if soname.startswith((*stems, "libcudnn_", "libnvrtc-builtins.", "libstdc++.so"))
    )
    return Loads(
        name,
        version,
        location,
        why,
        loaded,
        missing,
        (*_misfits(closure), *_nccl_misfits(system, closure)),
        (*closure.unread, *(each.fatal for each in closure.missing if each.fatal and _is_stump(system, each))),
    )


def programs(system: System, environments: Sequence[Python], libraries: tuple[Library, ...]) -> Iterator[Loads]:
    """What any program gets of the CUDA libraries in the folders of LD_LIBRARY_PATH and of a conda environment.

    Only how they fit each other is of interest: what a folder lacks, nobody may need.
    """
    from gpucheck.elf import Process, find_native_linker
    from gpucheck.elf.closure import opened_by_rows, summarize
    from gpucheck.elf.dlopens import follow
    from gpucheck.elf.search import working_directory

    searched = folders(system, "LD_LIBRARY_PATH")
    places = (*searched, *(f"{each}/lib" for each in folders(system, "CONDA_PREFIX")))
    chosen = [each for each in libraries if each.kind == "toolkit" and each.path.rpartition("/")[0] in places]
    if not chosen:
        return
    try:
        process = Process(system, find_native_linker(system), cwd=working_directory(system))
        for library in chosen:
            process.dlopen(library.soname if library.path.rpartition("/")[0] in searched else library.path)
        followed = follow(process)
        closure = summarize(process, "any program", opened_by_rows(followed), followed.unread)
    except NotKept as error:
        yield Loads(ANY_PROGRAM, "", "", "the search path leads to CUDA libraries", (), (), (), (str(error),))
        return
    except (ElfError, OSError):
        return
    found = _summary(system, ANY_PROGRAM, "", "", "the search path leads to CUDA libraries", closure, (), libraries)
    # What lies in one folder was installed together.
    apart = tuple(each for each in found.misfits if _folder(system, each.requester) != _folder(system, each.path))
    yield replace(found, misfits=apart)


def _folder(system: System, path: str) -> str:
    return (system.resolve(path) or path).rpartition("/")[0]


def _missing_of_cupy(
    system: System, framework: Framework, closure: Closure, missing: tuple[Absent, ...], libraries: tuple[Library, ...]
) -> Iterator[Absent]:
    """13 opens NVRTC by its plain name from Python, so that no RPATH and no wheel's folder helps (cupy#8317); 14 asks
    cuda-pathfinder, which looks into the wheels. What the modules are linked with is in the closure.
    """
    from gpucheck.elf import find

    version = release(framework.version)
    by_pathfinder = version >= (14,)
    yield from (each for each in missing if not (by_pathfinder and each.copies))
    found = {each.soname for each in closure.resolutions if each.path and not each.fatal}
    known = {each.soname for each in missing}
    opened = {"nvrtc", *(("cublas",) if by_pathfinder else ())}
    if not any(each.soname.startswith("libcublas.so.") for each in closure.resolutions):
        opened |= {"cublas", "cudart"}
    for row in wheels():
        if (
            row.cuda != framework.cuda_major
            or row.library not in opened
            or row.soname in known
            or find(system, row.soname).path
        ):
            continue
        copies = tuple(each.path for each in libraries if each.soname == row.soname)
        plain = row.library == "nvrtc" and (13,) <= version < (14,)
        # From 13.2 on CUDA_PATH is looked into.
        homes = folders(system, "CUDA_PATH") if version >= (13, 2) else ()
        if plain and any(path.startswith(f"{home}/") for home in homes for path in copies):
            continue
        if plain or (row.soname not in found and not copies):
            yield Absent(
                row.soname,
                f"{framework.location}/cupy",
                "compiling a kernel" if row.library == "nvrtc" else "import",
                "",
                copies,
            )


def _missing_of_tensorflow(
    system: System, framework: Framework, closure: Closure, missing: tuple[Absent, ...], libraries: tuple[Library, ...]
) -> Iterator[Absent]:
    """It makes the names out of the versions that it was built with (tsl/platform/default/dso_loader.cc), and build_info.py tells
    them. A name that it does not ask for is not missing.
    """
    from gpucheck.elf import find

    asked = _asked_by_tensorflow(system, framework)
    found = {each.soname for each in closure.resolutions if each.path and not each.fatal}
    known = {each.soname for each in closure.resolutions}
    stems = tuple(f"{name.partition('.so')[0]}." for name in asked)
    yield from (
        each for each in missing if each.soname in asked or not each.soname.startswith((*stems, "libcublasLt."))
    )
    # Its wheels name the folders of the nvidia-* wheels in their RPATH from 2.14 on.
    in_wheels = release(framework.version) >= (2, 14)
    for name in asked:
        if name in known or name in found or find(system, name).path:
            continue
        copies = [each.path for each in libraries if each.soname == name]
        if not (in_wheels and any(path.startswith(f"{framework.location}/") for path in copies)):
            yield Absent(name, framework.evidence, "listing devices", "", tuple(copies))


#: What jax's plugin asks for its version before it registers itself, by its own name for it, and that in kb/wheels.toml.
CHECKED: Final = {"CUDA": "cudart", "cuDNN": "cudnn", "cuFFT": "cufft", "cuPTI": "cupti", "cuBLAS": "cublas", "cuSPARSE": "cusparse"}  # fmt: skip


def _plugin(framework: Framework) -> str:
    """jax's module for CUDA."""
    return f"{framework.location}/jax_plugins/xla_cuda{framework.cuda_major}/__init__.py"


def _missing_of_jax(
    system: System, framework: Framework, closure: Closure, missing: tuple[Absent, ...], libraries: tuple[Library, ...]
) -> Iterator[Absent]:
    """The plugin opens them by name, and one that does not answer ends in "Unable to load cuDNN. Is it installed?" and the CPU:
    _check_cuda_versions in its __init__.py. Its wheels' folders are looked into before; a copy elsewhere may be found by a RUNPATH.
    """
    from gpucheck.elf import find

    text = read_text(system, _plugin(framework))
    said = text.value if isinstance(text, Seen) else ""
    # Lines that are commented out are left out.
    calls = re.findall(r"^ +(?:\w+ = )?_version_check\(\s*\"(\w+)\"", said, re.MULTILINE)
    asked = {CHECKED.get(name) for name in calls}
    found = {each.soname.rsplit("/", 1)[-1] for each in closure.resolutions if each.path and not each.fatal}
    rows = [row for row in wheels() if row.cuda == framework.cuda_major and row.library in asked]
    for library in dict.fromkeys(row.library for row in rows):
        # One for each major of cuDNN: whichever is there may be the one that is asked for.
        names = dict.fromkeys(row.soname for row in rows if row.library == library)
        known = {*found, *(each.soname for each in missing), *(each.soname for each in libraries)}
        if known.isdisjoint(names) and not any(find(system, name).path for name in names):
            yield Absent(list(names)[-1], _plugin(framework), "first use of a GPU", "", ())


def _asked_by_tensorflow(system: System, framework: Framework) -> list[str]:
    text = read_text(system, framework.evidence)
    said = parse_assignments(text.value) if isinstance(text, Seen) else {}
    cudnn = said.get("cudnn_version", "9").partition(".")[0]
    asked = [
        row.soname
        for row in wheels()
        if row.cuda == framework.cuda_major and row.library in ("cudart", "cublas", "cufft", "cusparse")
    ]
    return [*dict.fromkeys(asked), f"libcudnn.so.{cudnn}"]


def _listed(
    system: System, framework: Framework, interpreter: Interpreter, found: Loads, libraries: tuple[Library, ...]
) -> Iterator[Loaded]:
    """What TensorFlow opens when it lists devices, as far as no row of the table says so of this build."""
    process = interpreter.process
    caller = next((item for item in process.objects if "/libtensorflow_framework.so" in item.path), None)
    known = {each.soname for each in found.libraries}
    versions = {library.real: library for library in libraries}
    for name in _asked_by_tensorflow(system, framework) if caller else ():
        outcome = process.would_open(name, caller) if name not in known else None
        if outcome and outcome.path and not outcome.fatal and outcome.how != "resident":
            yield _loaded(system, name, outcome, versions, {})


def _is_stump(system: System, each: Resolution) -> bool:
    """A file that is shorter than an ELF header (64 bytes) and not empty is no library that was cut off in a copy."""
    try:
        return "/" in each.soname and each.path is None and 0 < system.status(each.soname).size < 64
    except OSError:
        return False


def _interpreter(system: System, target: Installed, environments: Sequence[Python]) -> Interpreter:
    """The process that imports it; where neither Python nor ld.so is there to be read, one as its libraries ask for."""
    from gpucheck.elf import Process, find_linker, read_elf
    from gpucheck.elf.search import working_directory
    from gpucheck.libs.interpreter import Interpreter, start_interpreter

    try:
        return start_interpreter(system, target.environment, environments)
    except ElfError:
        if not target.libraries:
            raise
        linker = find_linker(system, read_elf(system, target.libraries[0]))
        return Interpreter(None, Process(system, linker, cwd=working_directory(system)), "", "")


def _loaded(
    system: System, soname: str, each: Resolution, versions: dict[str, Library], hidden: dict[str, str]
) -> Loaded:
    path = each.path or ""
    real = system.resolve(path) or path
    number = real.rsplit(".so.", 1)[-1]
    version = versions[real].version if real in versions else number if number.count(".") >= 2 else ""
    if not version and soname.startswith(OF_TOOLKIT) and (home := re.search(r"/cuda-(\d+\.\d+)/", real)):
        version = home[1]
    return Loaded(soname, path, each.how, version, hidden.get(each.soname, ""))


def _is_driver(soname: str) -> bool:
    from gpucheck.kb.traced import libraries

    file = soname.rsplit("/", 1)[-1]
    return any(row.kind == "driver" and fnmatchcase(file, row.pattern) for row in libraries())


def _missing(system: System, closure: Closure, libraries: tuple[Library, ...]) -> Iterator[Absent]:
    """What is needed and not found, once each; what the driver brings is judged elsewhere."""
    when = {id(each.resolution): each.when for each in closure.opened}
    seen: set[str] = set()
    current = "load"
    by_id = {id(each): each for each in closure.missing}
    for each in closure.resolutions:
        if each.edge == "dlopen":
            current = when.get(id(each), "load")
        if id(each) not in by_id or each.soname in seen:
            continue
        if ("/" in each.soname and not each.fatal and not each.path) or _is_stump(system, each):
            # A part of the package itself: its list of files tells whether it should be there (package-files-missing).
            continue
        named = is_known(each.soname) or each.soname.startswith("libnvrtc-builtins.so.")
        if each.edge == "dlopen" and "/" not in each.soname and not named:
            # A part of the package that it opens by name; not every build of every version has it.
            continue
        # A file that is there, and fails for want of another one: that one is listed by itself.
        if each.path or _is_driver(each.soname) or (each.fatal and _is_driver(each.fatal.partition(":")[0])):
            continue
        seen.add(each.soname)
        odd = next((c for c in each.candidates if not c.skipped.startswith(("not there", "no such directory"))), None)
        why = each.fatal or (f"{odd.path}: {odd.skipped}" if odd else "")
        requester = (system.resolve(each.requester) or each.requester) if each.requester else ""
        copies = tuple(library.path for library in libraries if library.soname == each.soname)
        if each.soname.endswith(".so") and "/" not in each.soname:
            copies = _numbered(system, each.soname, requester, libraries)
        yield Absent(each.soname, requester, current, why, copies)


def _numbered(system: System, name: str, requester: str, libraries: tuple[Library, ...]) -> tuple[str, ...]:
    """The files that a name without a number could be a link to: ``libnvrtc.so.11.2``, or ``libnvrtc-672ee683.so.11.2`` of a bundle."""
    beside = system.glob(f"{requester.rpartition('/')[0]}/{name[:-3]}*.so.*") if requester else ()
    known = (library.path for library in libraries if library.soname.startswith(f"{name}."))
    return tuple(dict.fromkeys((*(path for path in beside if "builtins" not in path), *known)))


def _misfits(closure: Closure) -> Iterator[Misfit]:
    """What files lack of each other, once for each pair of files."""
    hows = {each.path: each.how for each in reversed(closure.resolutions) if each.path and each.how != "resident"}
    seen = set()
    for lack in closure.lacks:
        key = (lack.requester, lack.path, lack.symbol is None)
        if key in seen:
            continue
        seen.add(key)
        yield Misfit(
            lack.requester,
            lack.soname or "",
            lack.path or "",
            lack.version or "",
            lack.symbol or "",
            lack.message,
            hows.get(lack.path or "", ""),
        )


def _nccl_misfits(system: System, closure: Closure) -> Iterator[Misfit]:
    """The first function that a framework calls and the NCCL that it gets does not have: NCCL's symbols carry no versions, and
    all CUDA majors share its name, so that an older copy is taken (ncclCommRegister: pytorch#119932).
    """
    from gpucheck.elf import read_elf
    from gpucheck.elf.lookup import Exports
    from gpucheck.elf.symbols import read_symbols

    for each in closure.resolutions:
        if not (each.soname.startswith("libnccl.so.") and each.edge == "needed" and each.path and each.requester):
            continue
        try:
            provider = next(one for one in closure.resolutions if one.path == each.path and one.how != "resident")
            exports = Exports(system, read_elf(system, each.path))
            for wanted in read_symbols(system, read_elf(system, each.requester)).undefined:
                if wanted.name.startswith("nccl") and not wanted.weak and not exports.define(wanted.name):
                    message = f"{each.requester}: undefined symbol: {wanted.name}"
                    yield Misfit(each.requester, each.soname, each.path, "", wanted.name, message, provider.how)
                    return
        except NotKept:
            raise
        except (ElfError, OSError, StopIteration):
            continue


# -- what is preloaded -------------------------------------------------------------------------------------------------


def preloads(system: System) -> Seen[tuple[Preload, ...]] | Unseen:
    """What LD_PRELOAD and /etc/ld.so.preload put into every process, as far as a name in them cannot be loaded or is there."""
    from gpucheck.elf.linker import find_native_linker
    from gpucheck.elf.process import Process
    from gpucheck.elf.search import working_directory

    asked = [(name, "LD_PRELOAD") for name in re.split("[ :]", system.env.get("LD_PRELOAD", "")) if name]
    try:
        text = system.read("/etc/ld.so.preload").decode("utf-8", "surrogateescape")
        asked += [(name, "/etc/ld.so.preload") for line in text.splitlines() for name in re.split(r"[ \t:]+", line.partition("#")[0]) if name]  # fmt: skip
    except NotKept as error:
        return Unseen(Why.UNREADABLE, ("/etc/ld.so.preload",), str(error))
    except OSError:
        pass
    if not asked:
        return Seen((), "LD_PRELOAD, /etc/ld.so.preload")
    found = []
    try:
        for name, source in asked:
            process = Process(system, find_native_linker(system), cwd=working_directory(system))
            outcome = process.dlopen(name)
            odd = next((each for each in outcome.candidates if each.skipped != "no such directory"), None)
            why = (
                outcome.fatal or (odd.skipped if odd else "not there") if outcome.path is None or outcome.fatal else ""
            )
            found.append(Preload(name, source, outcome.path or "", why))
    except (ElfError, OSError) as error:
        return Unseen(Why.UNREADABLE, ("LD_PRELOAD",), str(error))
    return Seen(tuple(found), "LD_PRELOAD, /etc/ld.so.preload")
