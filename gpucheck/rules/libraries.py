"""CUDA libraries that frameworks load: missing, not fitting each other, hidden by other copies."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpucheck.facts import Absent, Library, Loaded, Loads, Misfit, Need, Seen, Snapshot, Unseen
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.kb.packages import Wheel, wheels_with
from gpucheck.markers import release
from gpucheck.rules import reading
from gpucheck.rules.packages import installs, older
from gpucheck.rules.rule import CannotTell, Layer, need, rule, seen

#: What comes with the C library and the compiler, by the families of their symbol versions.
C_LIBRARIES = r"GLIBC|GLIBCXX|CXXABI|GCC"
#: Lists of the dynamic linker that somebody else than the library's makers decides about.
FOREIGN = ("LD_LIBRARY_PATH", "LD_PRELOAD", "ld.so.preload", "ld.so.cache", "ld.so.conf")


def followed(snapshot: Snapshot) -> tuple[Loads, ...]:
    """What frameworks would load; none where none is installed. Raises ``CannotTell``."""
    return seen(snapshot.loads, ()) or ()


def titled(loads: Loads) -> str:
    """``torch 2.9.1``; what is no framework has no version."""
    return f"{loads.name} {loads.version}".rstrip()


def refuse_unread(loads: tuple[Loads, ...]) -> None:
    """End as UNKNOWN where a file could not be looked into."""
    for each in loads:
        if each.unread:
            raise CannotTell(f"what {each.name} loads could not be followed: {each.unread[0]}", each.unread)


def take_away(how: str, path: str) -> str:
    """How to make the dynamic linker pass over a copy."""
    folder = path.rpartition("/")[0]
    if how in ("ld.so.cache", "ld.so.conf") and folder.startswith(("/lib", "/usr/lib")):
        return f"Remove or update the package that has {path} (dpkg -S {path}, or rpm -qf)"
    return {
        "LD_LIBRARY_PATH": f"Take {folder} out of LD_LIBRARY_PATH (or: unset LD_LIBRARY_PATH)",
        "LD_PRELOAD": "unset LD_PRELOAD",
        "ld.so.preload": f"Remove {path} from /etc/ld.so.preload",
        "ld.so.cache": f"Remove {folder} from /etc/ld.so.conf.d and run: sudo ldconfig",
        "ld.so.conf": f"Remove {folder} from /etc/ld.so.conf.d and run: sudo ldconfig",
    }.get(how, "")


def place(loaded: Loaded) -> Evidence:
    """Which file a name gives."""
    version = f" {loaded.version}" if loaded.version else ""
    return Evidence(f"{loaded.soname}{version}, found by {loaded.how}", loaded.path)


@rule(
    Layer.LIBRARIES,
    follows=("wheel-for-other-machine", "packages-share-files", "package-files-missing", "requirement-unmet", "loader-cache-stale"),
)  # fmt: skip
def library_missing(snapshot: Snapshot) -> Iterator[Complaint]:
    """A framework needs a CUDA library that the dynamic linker does not find.

    Some wheels bring no CUDA libraries unless an extra asks for them (tensorflow, onnxruntime-gpu, cupy), some are linked
    against what a toolkit installs. Python frameworks then often go on with the CPU, and say so in one line of a log:
    "Cannot dlopen some GPU libraries", "Failed to create CUDAExecutionProvider". A library of another CUDA major has
    another name and does not help.

    Confirm: `gpucheck libs NAME` lists every place that was looked at.
    Remedy: install the extra that brings the libraries, or make the folder that has them known.
    Reference: https://www.tensorflow.org/install/pip
    """
    loads = followed(snapshot)
    for each in loads:
        if each.missing:
            yield _missing(snapshot, each)
    if not any(each.missing for each in loads):
        refuse_unread(loads)


def _missing(snapshot: Snapshot, loads: Loads) -> Complaint:
    first = loads.missing[0]
    names = ", ".join(_file(each.soname) for each in loads.missing[:3])
    more = f" and {len(loads.missing) - 3} more" if len(loads.missing) > 3 else ""
    preloadable = loads.name == "onnxruntime-gpu" and all(each.copies for each in loads.missing)
    mistaken = _mistaken(snapshot, loads)
    cause = f"{_file(first.requester)} asks for it ({first.when}); it is in no folder that the dynamic linker searches."
    later = _asked_later(loads)
    if mistaken:
        cause = (
            f"{loads.name} then opens the first file in {mistaken.path.rpartition('/')[0]} that has the name without its number, "
            f"and {_file(mistaken.path)} of {mistaken.owner or 'another CUDA'} has it too."
        )
    if first.why:
        cause = f"What is there by that name cannot be used: {first.why}."
    elif later:
        cause = f"{cause[:-1]}. CuPy asks only when it is first used, and works without it until then."
    elif preloadable:
        cause = "The wheels that have it are installed, but nothing leads the dynamic linker to them before they are preloaded."
    severity = reading.lacking(snapshot)
    return Complaint(
        # onnxruntime.preload_dlls() and `import torch` are the documented ways; whether a program calls them is not seen.
        # Which of two files is the first depends on the order in which the file system lists them; not every program convolves.
        Severity.WARNING
        if (preloadable or later or mistaken or all(each.when in FEATURES for each in loads.missing))
        and severity is Severity.ERROR
        else severity,
        f"{titled(loads)} does not find {names}{more}",
        cause,
        (*_lost(loads.missing), *_others(loads.missing, snapshot)),
        (f"pip uninstall -y {mistaken.owner.partition(' ')[0]}" if mistaken.owner else f"Remove {mistaken.path}")
        if mistaken
        else _bring(snapshot, loads, preloadable),
        decisive=reading.import_names(snapshot, *(_file(each.soname) for each in loads.missing)),
    )


#: What programs do without the missing library.
FEATURES = ("convolutions",)

#: What CuPy imports when its name is first used, from 14 on: cupy_backends/cuda/libs/__init__.py. Seen with 14.2.0, where `import
#: cupy` and kernels work without any of them, and the first product, FFT or random number raises ImportError.
LATER = tuple(f"lib{name}.so." for name in ("cublas", "cublasLt", "cufft", "curand", "cusolver", "cusparse", "nvJitLink"))  # fmt: skip


def _asked_later(loads: Loads) -> bool:
    """Whether all that is missing is asked for by a part of the framework alone, when that is first used."""
    return (
        loads.name.startswith("cupy-")
        and release(loads.version) >= (14,)
        and all(_file(each.soname).startswith(LATER) for each in loads.missing)
    )


def _mistaken(snapshot: Snapshot, loads: Loads) -> Library | None:
    """The library of another CUDA that torch may take for the one that it lacks.

    Where its own search fails, torch opens what ``nvidia/cuda_runtime/lib/libcudart.so.*[0-9]`` and its like give in the folders
    of sys.path: _preload_cuda_deps in torch/__init__.py.
    """
    if loads.name != "torch":
        return None
    folders = {path.rpartition("/")[0] for each in loads.missing for path in each.copies}
    names = {_file(each.soname) for each in loads.missing}
    return next(
        (
            library
            for library in snapshot.libraries
            if library.kind == "wheel"
            and library.path.rpartition("/")[0] in folders
            and library.soname not in names
            and any(library.soname.partition(".so.")[0] == name.partition(".so.")[0] for name in names)
        ),
        None,
    )


def _file(soname: str) -> str:
    return soname.rsplit("/", 1)[-1]


def _lost(missing: tuple[Absent, ...]) -> Iterator[Evidence]:
    """One line for each library that asks."""
    for requester, when in dict.fromkeys((each.requester, each.when) for each in missing):
        names = [_file(each.soname) for each in missing if (each.requester, each.when) == (requester, when)]
        yield Evidence(f"{', '.join(names)}: not found ({when})", f"needed by {requester}")


def _others(missing: tuple[Absent, ...], snapshot: Snapshot) -> Iterator[Evidence]:
    """Copies that the search does not come by, and libraries of the same kind under other names."""
    for each in missing[:3]:
        name = _file(each.soname)
        if name.endswith(".so"):
            yield from (Evidence(f"{_file(path)} is there, {name} is not", path) for path in each.copies[:1])
            continue
        yield from (Evidence(f"{name} is on disk, in no folder that is searched", path) for path in each.copies[:1])
        stem = name.partition(".so")[0]
        other = next(
            (one for one in snapshot.libraries if one.soname.startswith(f"{stem}.so.") and one.soname != name), None
        )
        if not each.copies and other:
            yield Evidence(f"{other.soname} is there, another name", other.path)


#: Libraries that are looked for by name alone: the wheels' folders are not in any search path.
ALONE = ("ctranslate2", "llama-cpp-python", "lightgbm")


#: The first release of TensorFlow whose extra [and-cuda] brings the libraries; before it they are a toolkit's.
AND_CUDA = (2, 14)


def _bring(snapshot: Snapshot, loads: Loads, preloadable: bool) -> str:
    if preloadable:
        return "Call onnxruntime.preload_dlls() before the first InferenceSession (or import torch first, of the same CUDA)"
    extras = {
        "tensorflow": f"'tensorflow[and-cuda]=={loads.version}'",
        "onnxruntime-gpu": f"'onnxruntime-gpu[cuda,cudnn]=={loads.version}'",
        "cupy-cuda12x": f"'cupy-cuda12x[ctk]=={loads.version}'",
        "cupy-cuda13x": f"'cupy-cuda13x[ctk]=={loads.version}'",
    }
    if release(loads.version) < AND_CUDA:
        del extras["tensorflow"]
    copies = [path for each in loads.missing for path in each.copies]
    if _file(loads.missing[0].soname).endswith(".so") and copies:
        requester = loads.missing[0].requester
        link = f"{requester.rpartition('/')[0]}/{_file(loads.missing[0].soname)}"
        return f"ln -s {copies[0]} {link}, or install a newer {loads.name}"
    if loads.name in extras and not all(each.copies for each in loads.missing):
        return installs(snapshot, loads.location, extras[loads.name])
    if loads.missing[0].why:
        return f"Reinstall what owns it: {loads.missing[0].why.partition(':')[0]}"
    if _file(loads.missing[0].soname).startswith("libnvrtc-builtins."):
        return f"Install NVRTC as one piece: {loads.missing[0].requester} came without its built-ins; or remove it, where another one is meant"
    if copies:
        folder = copies[0].rpartition("/")[0]
        return f"export LD_LIBRARY_PATH={folder}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}, or add it to /etc/ld.so.conf.d and run: sudo ldconfig"
    wheels = dict.fromkeys(wheel.wheel for each in loads.missing for wheel in _fitting(snapshot, loads, each))
    if wheels and loads.name in ALONE:
        return f"{installs(snapshot, loads.location, ' '.join(wheels))}, and put its lib folder into LD_LIBRARY_PATH before Python starts"
    if wheels:
        return installs(snapshot, loads.location, " ".join(wheels))
    return f"Install what brings {_file(loads.missing[0].soname)}; see: gpucheck libs {loads.name}"


def _fitting(snapshot: Snapshot, loads: Loads, absent: Absent) -> list[Wheel]:
    """The wheels with a library, of the framework's CUDA major where several have it."""
    wheels = wheels_with(_file(absent.soname))
    framework = next(
        (each for each in snapshot.frameworks if each.name == loads.name and each.location == loads.location), None
    )
    fitting = [wheel for wheel in wheels if framework and wheel.cuda == framework.cuda_major]
    return (fitting or list(wheels))[:1]


@rule(Layer.LIBRARIES, follows=("packages-share-files", "wheel-for-other-machine"))
def libraries_do_not_fit(snapshot: Snapshot) -> Iterator[Complaint]:
    """A library gets a copy of another one that lacks a symbol it needs: "undefined symbol: __nvJitLink...".

    CUDA's libraries expect each other to be of one release: cuSPARSE and cuSOLVER need an nvJitLink that is not older, torch
    an NCCL that is not older. A copy that comes first on LD_LIBRARY_PATH or in the linker's cache has the right name and lacks the symbols.
    A library with RUNPATH ignores the RPATH of the program that loads it, so that LD_LIBRARY_PATH wins for it alone.

    Confirm: `gpucheck libs torch` prints the dynamic linker's error before it happens.
    Remedy: take the folder off the search path; the wheels bring what they need.
    Reference: https://github.com/pytorch/pytorch/issues/111469
    """
    loads = followed(snapshot)
    found = False
    for each in loads:
        for misfit in each.misfits[:1]:
            if not re.match(f"({C_LIBRARIES})_", misfit.version):
                found = True
                yield _misfit(snapshot, each, misfit)
    if not found:
        refuse_unread(loads)


def _misfit(snapshot: Snapshot, loads: Loads, misfit: Misfit) -> Complaint:
    requester = misfit.requester.rsplit("/", 1)[-1]
    provider = next((each for each in loads.libraries if each.path == misfit.path), None)
    what = misfit.symbol or misfit.version
    remedy = take_away(misfit.how, misfit.path)
    if not remedy:
        wheel = next((row.wheel for row in wheels_with(misfit.soname)), "")
        remedy = (
            installs(snapshot, loads.location, f"-U {wheel}")
            if wheel
            else f"Install {misfit.soname} of the release that {requester} is of"
        )
    return Complaint(
        Severity.ERROR,
        f"{titled(loads)} gets a {misfit.soname} that lacks what {requester} needs",
        f"It is of another release: {what} is not in it. Importing {loads.name}, or its first use of this library, fails.",
        (
            Evidence(misfit.message, "what the dynamic linker will say"),
            place(provider) if provider else Evidence(f"{misfit.soname}, found by {misfit.how or 'the dynamic linker'}", misfit.path),
            *([Evidence("the copy that it hides", provider.hides)] if provider and provider.hides else []),
            *([Evidence(f"LD_LIBRARY_PATH={snapshot.variable('LD_LIBRARY_PATH')}", "environment")] if misfit.how == "LD_LIBRARY_PATH" else []),
        ),
        remedy,
        decisive=reading.import_names(snapshot, misfit.symbol, misfit.soname),
    )  # fmt: skip


@rule(Layer.LIBRARIES)
def c_library_too_old(snapshot: Snapshot) -> Iterator[Complaint]:
    """A library needs a newer glibc or libstdc++ than it gets: "version `GLIBC_2.34' not found".

    Wheels name the oldest glibc that they run on in their tag: manylinux_2_28 is 2.28. pip does not install others, but
    files that are copied, images that are built in stages and conda environments get round that. An older libstdc++ that
    comes first (of conda, of a module system, through LD_LIBRARY_PATH) gives "version `GLIBCXX_3.4.32' not found".

    Confirm: `ldd --version`; `strings PATH/libstdc++.so.6 | grep GLIBCXX_ | tail -1`.
    Remedy: a newer base image or distribution, or a build for this one; for libstdc++ take the older copy off the path.
    Reference: https://peps.python.org/pep-0600/
    """
    loads = followed(snapshot)
    for each in loads:
        lacking = [one for one in each.misfits if re.match(f"({C_LIBRARIES})_", one.version)]
        # Where glibc itself is too old, an old libstdc++ is no wonder.
        misfit = next((one for one in lacking if one.soname.startswith("libc.so")), lacking[0] if lacking else None)
        if misfit:
            chosen = misfit.how in ("LD_LIBRARY_PATH", "LD_PRELOAD", "ld.so.preload")
            remedy = take_away(misfit.how, misfit.path) if chosen and "libc.so" not in misfit.soname else ""
            yield Complaint(
                Severity.ERROR,
                f"{titled(each)} needs {misfit.version}, which {misfit.soname} here does not have",
                f"{misfit.requester.rsplit('/', 1)[-1]} was built on a newer system than this one.",
                (
                    Evidence(misfit.message, "what the dynamic linker will say"),
                    Evidence(f"{misfit.soname}, found by {misfit.how or 'the dynamic linker'}", misfit.path),
                ),
                remedy
                or f"Use a newer base image or distribution (its {_family(misfit)} must have {misfit.version}), or an older {each.name}",
                decisive=reading.import_names(snapshot, misfit.version),
            )
    if isinstance(snapshot.packages, Seen) and isinstance(snapshot.host.libc, Seen):
        libc = snapshot.host.libc.value
        for wheel in snapshot.packages.value.wheels:
            floors = [match[1] for tag in wheel.tags if (match := re.search(r"-manylinux_(\d+_\d+)_\w+$", tag))]
            floor = min((release(each.replace("_", ".")) for each in floors), default=())
            if libc.kind == "glibc" and libc.version and floor > release(libc.version) and _only_manylinux(wheel.tags):
                spelled = ".".join(map(str, floor))
                yield Complaint(
                    Severity.ERROR,
                    f"{wheel.name} {wheel.version} is built for glibc {spelled}, this is {libc.version}",
                    "Its wheel was not meant for this system; the dynamic linker refuses its libraries or it crashes.",
                    (Evidence(f"built for {', '.join(wheel.tags)}", f"{wheel.location}/{wheel.name}"), Evidence(f"glibc {libc.version}", snapshot.host.libc.source)),
                    f"Use a base image with glibc {spelled} or newer, or install an older {wheel.name} with this system's pip",
                )  # fmt: skip
    elif not any(each.misfits for each in loads):
        need(snapshot.packages if isinstance(snapshot.packages, Unseen) else snapshot.host.libc)


def _family(misfit: Misfit) -> str:
    return "glibc" if misfit.version.startswith("GLIBC_") else "libstdc++"


def _only_manylinux(tags: tuple[str, ...]) -> bool:
    return all("manylinux" in tag for tag in tags)


#: Libraries that come in parts which must be of one release, by the starts of their names.
FAMILIES = {
    "cuDNN": ("libcudnn",),
    "cuBLAS": ("libcublas.", "libcublasLt."),
    "NVRTC": ("libnvrtc.", "libnvrtc-builtins."),
}


@rule(Layer.LIBRARIES, follows=("packages-share-files", "libraries-do-not-fit"))
def library_parts_mixed(snapshot: Snapshot) -> Iterator[Complaint]:
    """The parts of cuDNN or cuBLAS come from two installations.

    libcudnn.so.9 opens libcudnn_ops, libcudnn_cnn and so on by name, cuBLAS needs cuBLASLt of its own release. When a folder
    on LD_LIBRARY_PATH or in the linker's cache has some of the parts, one process gets both: CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH,
    "Could not load symbol cublasLt...", wrong results or a crash.

    Confirm: `gpucheck libs torch` shows the folder of each part.
    Remedy: keep one installation; take the other off the search path.
    Reference: https://docs.nvidia.com/deeplearning/cudnn/backend/latest/api/overview.html
    """
    loads = followed(snapshot)
    found = False
    for each in loads:
        for family, starts in FAMILIES.items():
            parts = [part for part in each.libraries if part.soname.startswith(starts)]
            versions = {_comparable(part.version) for part in parts if part.version}
            if len({part.path.rpartition("/")[0] for part in parts}) < 2 or len(versions) < 2:
                continue
            foreign = next((part for part in parts if part.how in FOREIGN), parts[0])
            other = next(part for part in parts if part.path.rpartition("/")[0] != foreign.path.rpartition("/")[0])
            found = True
            yield Complaint(
                Severity.ERROR,
                f"{titled(each)} gets the parts of {family} from two installations",
                f"They are of different releases ({foreign.version} and {other.version}), and are made to work with their own only.",
                (place(foreign), place(other)),
                take_away(foreign.how, foreign.path) or f"Remove one of them: {foreign.path} or {other.path}",
            )
    if not found:
        refuse_unread(loads)


def _comparable(version: str) -> tuple[int, ...]:
    return release(version)[:3]


@rule(Layer.LIBRARIES, follows=("libraries-do-not-fit", "library-parts-mixed"))
def library_older_than_required(snapshot: Snapshot) -> Iterator[Complaint]:
    """A copy of a CUDA library that is older than the framework requires comes before the one that was installed for it.

    The wheels bring a library of the version that the framework was built with; a system toolkit on LD_LIBRARY_PATH or in
    the linker's cache is found first. jax refuses it ("Found cuBLAS version 120205, but JAX was built against 120304"),
    torch refuses an older cuDNN, others call functions that are not there.

    Confirm: `gpucheck libs jax` shows which file each name gives; unset LD_LIBRARY_PATH and try again.
    Remedy: take the folder off the search path.
    Reference: https://github.com/jax-ml/jax/issues/18027
    """
    loads = followed(snapshot)
    needs = snapshot.packages.value.needs if isinstance(snapshot.packages, Seen) else ()
    found = False
    for each in loads:
        for part in each.libraries:
            if part.how not in FOREIGN or not part.version:
                continue
            owners = {row.wheel for row in wheels_with(part.soname)}
            wanted = next(
                (
                    one
                    for one in needs
                    if one.location == each.location
                    and one.name in owners
                    and _is_of(one, each)
                    and older(part.version, one.specifier)
                ),
                None,
            )
            if wanted is None and each.name == "jax":
                # Its plugin is built with what its wheels were then, and refuses what is older.
                wanted = _own(snapshot, each, part)
            if wanted is None:
                continue
            found = True
            yield Complaint(
                Severity.ERROR,
                f"{titled(each)} gets {part.soname} {part.version}, and requires {wanted.specifier}",
                f"{part.how} leads to an older copy" + (f", which hides the one of {wanted.name} {wanted.version}." if wanted.version else "."),
                (
                    place(part),
                    Evidence(f"{wanted.by} requires {wanted.name}{wanted.specifier}", f"METADATA in {wanted.location}"),
                    *([Evidence("the copy that it hides", part.hides)] if part.hides else []),
                ),
                take_away(part.how, part.path),
            )  # fmt: skip
            break
    if not found:
        refuse_unread(loads)


def _is_of(need: Need, loads: Loads) -> bool:
    """Whether a requirement is a framework's own, or of a part of it or of an NVIDIA wheel."""
    by = need.by.rsplit(" ", 1)[0]
    return (
        by == loads.name or by.startswith(("nvidia-", "cuda-toolkit")) or (loads.name == "jax" and by.startswith("jax"))
    )


def _own(snapshot: Snapshot, loads: Loads, part: Loaded) -> Need | None:
    """The wheel beside a framework that has a newer copy of a library, as if it were required."""
    own = next(
        (
            each
            for each in snapshot.libraries
            if each.soname == part.soname and each.path.startswith(f"{loads.location}/") and each.version and each.owner
        ),
        None,
    )
    if own is None or release(part.version)[:2] >= release(own.version)[:2]:
        return None
    name = own.owner.partition(" ")[0]
    return Need(titled(loads), loads.location, name, f">={own.version}", "", own.version)


@rule(Layer.LIBRARIES)
def loader_cache_stale(snapshot: Snapshot) -> Iterator[Complaint]:
    """The dynamic linker's cache names a GPU library whose file is gone.

    /etc/ld.so.cache is written by ldconfig. After a driver or toolkit was removed or updated by hand, or when an image's
    layer with the files is not there, it still names the old file, and the name is not found.

    Confirm: `ldconfig -p | grep -E 'libcuda|libcudart'`, and look at the files.
    Remedy: `sudo ldconfig`.
    Reference: ldconfig(8)
    """
    if reading.no_kernel(snapshot):
        # Container engines run ldconfig when a container starts; in an image the driver's files are never there.
        raise CannotTell("these are only files: ldconfig runs when a container starts")
    for entry in seen(snapshot.cached, ()) or ():
        # A file that lies elsewhere under the same name is found all the same.
        again = any(other.soname == entry.soname and other.exists for other in need(snapshot.cached))
        if entry.exists or again:
            continue
        yield Complaint(
            Severity.WARNING,
            f"The dynamic linker's cache names {entry.soname}, which is not there",
            "/etc/ld.so.cache was written when the file was there, and not since.",
            (Evidence(f"{entry.soname} => {entry.path} does not exist", "/etc/ld.so.cache"),),
            "sudo ldconfig; if the name is then missing, reinstall the package that had the file",
        )


@rule(Layer.LIBRARIES)
def preloaded_library_unusable(snapshot: Snapshot) -> Iterator[Complaint]:
    """LD_PRELOAD or /etc/ld.so.preload names a library that cannot be loaded.

    The dynamic linker prints "object '...' from LD_PRELOAD cannot be preloaded: ignored" for every program and goes on
    without it; what was to be preloaded (a driver shim, jemalloc, a vGPU library) has no effect.

    Confirm: `LD_DEBUG=libs true 2>&1 | head`.
    Remedy: correct the path, or unset the variable.
    Reference: ld.so(8)
    """
    for preload in need(snapshot.preloads):
        if preload.why:
            yield Complaint(
                Severity.WARNING,
                f"{preload.name} cannot be preloaded: {preload.why}",
                "The dynamic linker ignores it, with one line of text for every program that starts.",
                (Evidence(f"{preload.source} names {preload.name}", preload.path or preload.source),),
                f"Correct the path in {preload.source}"
                + (", or: unset LD_PRELOAD" if preload.source == "LD_PRELOAD" else ""),
            )
