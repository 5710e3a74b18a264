"""What the GPU frameworks here would load: by a quick look where that suffices, else by the model of the dynamic linker."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from gpucheck import kb
from gpucheck.elf import ElfError
from gpucheck.facts import Framework, Library, Python, Seen, Unseen, Why
from gpucheck.installed import Absent, Loaded, Loads, Misfit, Need, Packages, Preload
from gpucheck.markers import satisfies
from gpucheck.probes.libraries import folders, names
from gpucheck.system import System

if TYPE_CHECKING:
    from gpucheck.elf.closure import Closure
    from gpucheck.elf.resolution import Resolution
    from gpucheck.libs.interpreter import Interpreter
    from gpucheck.libs.targets import Installed

#: Of these all is followed in any case: it takes 30 ms, that of torch 250 ms.
SMALL: Final = ("onnxruntime-gpu", "xgboost", "xgboost-cu12", "ctranslate2", "llama-cpp-python")
#: Names that a folder on LD_LIBRARY_PATH can replace for everybody, besides the CUDA libraries.
COMMON: Final = ("libstdc++.so", "libgcc_s.so", "libgomp.so")


def loads(
    system: System,
    environments: Sequence[Python],
    frameworks: tuple[Framework, ...],
    libraries: tuple[Library, ...],
    packages: Seen[Packages] | Unseen,
) -> Seen[tuple[Loads, ...]] | Unseen:
    """What each GPU framework would load; ABSENT when there is none."""
    found = []
    for framework in frameworks:
        if not framework.gpu:
            continue
        why = suspicion(system, framework, packages)
        if not why:
            found.append(Loads(framework.name, framework.version, framework.location, "", (), (), (), ()))
            continue
        try:
            found.append(_followed(system, environments, framework, libraries, why))
        except (ElfError, OSError) as error:
            unread = (str(error),)
            found.append(Loads(framework.name, framework.version, framework.location, why, (), (), (), unread))
    if not found:
        return Unseen(
            Why.ABSENT, tuple(path for each in environments for path in each.packages), "no GPU framework is installed"
        )
    return Seen(tuple(found), "the model of the dynamic linker")


# -- the quick look ----------------------------------------------------------------------------------------------------


def suspicion(system: System, framework: Framework, packages: Seen[Packages] | Unseen) -> str:
    """Why all that a framework loads has to be followed; '' when its own wheels are complete and nothing hides them."""
    for variable in ("LD_LIBRARY_PATH", "LD_PRELOAD"):
        if variable == "LD_PRELOAD" and system.env.get(variable):
            return "LD_PRELOAD is set"
        for folder in folders(system, variable):
            hiding = next((name for name in names(system, folder) if _is_known(name)), "")
            if hiding:
                return f"{variable} leads to {hiding} in {folder}"
    if framework.name in SMALL:
        return "it is small"
    if isinstance(packages, Unseen):
        return "its packages were not seen"
    needs = own_needs(packages.value, framework)
    if not any(need.name.startswith(("nvidia-", "cuda-toolkit")) for need in needs):
        return "no wheel requires its CUDA libraries"
    lost = next((each for each in packages.value.lost if each.location == framework.location), None)
    if lost:
        return f"{lost.owner} has no {lost.file}"
    overlap = next((each for each in packages.value.overlaps if each.location == framework.location), None)
    if overlap:
        return f"{' and '.join(overlap.owners)} own the same files"
    for need in needs:
        if not need.version:
            return f"{need.name} is not installed"
        if need.specifier and satisfies(need.version, need.specifier) is not True:
            return f"{need.name} is {need.version}, not {need.specifier}"
    return ""


def _is_known(name: str) -> bool:
    return name.startswith(COMMON) or any(name.startswith(f"{row.stem}.so") for row in kb.sonames())


#: Distributions whose requirements count as those of a framework.
PARTS: Final = {"jax": r"jax-cuda\d+-(plugin|pjrt)|jaxlib"}


def own_needs(packages: Packages, framework: Framework) -> tuple[Need, ...]:
    """What a framework requires of GPU packages, and what those require. The plugin's extra for CUDA counts if it is asked for."""
    reached = {framework.name}
    if framework.name in PARTS:
        reached |= {wheel.name for wheel in packages.wheels if re.fullmatch(PARTS[framework.name], wheel.name)}
    found: dict[Need, None] = {}
    while True:
        more = [
            need
            for need in packages.needs
            if need.location == framework.location
            and need.by.rsplit(" ", 1)[0] in reached
            and need not in found
            and re.match(r"nvidia-|cuda-toolkit", need.name)
            and (not need.extra or need.version)
        ]
        if not more:
            return tuple(found)
        found.update(dict.fromkeys(more))
        reached |= {need.name for need in more}


# -- the whole ---------------------------------------------------------------------------------------------------------


def _followed(
    system: System, environments: Sequence[Python], framework: Framework, libraries: tuple[Library, ...], why: str
) -> Loads:
    from gpucheck.libs.imports import import_closure
    from gpucheck.libs.targets import find_distribution

    here = [each for each in environments if framework.location in each.packages]
    target = find_distribution(system, framework.name, here)
    if target is None:
        raise ElfError(framework.location, f"no list of files of {framework.name}")
    interpreter = _interpreter(system, target, environments)
    closure = import_closure(system, target, interpreter)
    versions = {library.real: library for library in libraries}
    hidden = {each.soname: each.path for each in reversed(closure.shadowed)}
    stems = tuple(f"{row.stem}.so." for row in kb.sonames())
    got = {each.soname.rsplit("/", 1)[-1]: each for each in reversed(closure.resolutions) if each.path and not each.fatal and each.how != "resident"}  # fmt: skip
    loaded = tuple(
        _loaded(system, soname, each, versions, hidden)
        for soname, each in got.items()
        if soname.startswith((*stems, "libcudnn_", "libstdc++.so"))
    )
    return Loads(
        framework.name,
        framework.version,
        framework.location,
        why,
        loaded,
        tuple(_missing(system, closure, libraries)),
        (*_misfits(closure), *_nccl_misfits(system, closure)),
        (*closure.unread, *(each.fatal for each in closure.missing if each.fatal and _is_stump(system, each))),
    )


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
    return Loaded(soname, path, each.how, version, hidden.get(each.soname, ""))


def _is_driver(soname: str) -> bool:
    from gpucheck.trace.names import libraries

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
        if each.edge == "dlopen" and "/" not in each.soname and not _is_known(each.soname):
            # A part of the package that it opens by name; not every build of every version has it.
            continue
        # A file that is there, and fails for want of another one: that one is listed by itself.
        if each.path or _is_driver(each.soname) or (each.fatal and _is_driver(each.fatal.partition(":")[0])):
            continue
        seen.add(each.soname)
        odd = next((c for c in each.candidates if not c.skipped.startswith(("not there", "no such directory"))), None)
        why = each.fatal or (f"{odd.path}: {odd.skipped}" if odd else "")
        copies = tuple(library.path for library in libraries if library.soname == each.soname)
        requester = (system.resolve(each.requester) or each.requester) if each.requester else ""
        yield Absent(each.soname, requester, current, why, copies)


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
