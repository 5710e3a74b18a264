"""What the dynamic linker does with the libraries."""

from __future__ import annotations

from collections.abc import Iterator

from gpucheck.facts import Library, Loaded, Loads, Seen, Snapshot, Unseen, Why
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.markers import release
from gpucheck.rules.rule import CannotTell, Layer, need, rule, seen


@rule(Layer.LIBRARIES)
def loading_differs_from_prediction(snapshot: Snapshot) -> Iterator[Complaint]:
    """The dynamic linker did not do what `gpucheck libs` predicts.

    `gpucheck trace` compares what a command really loaded with what the model of the dynamic linker and the table of
    libraries that are opened by name say. A difference is about gpucheck, or about files or variables that changed while
    the command ran; what the trace lists is what really happened.

    Confirm: run the command again with `gpucheck trace`.
    Remedy: report it with `gpucheck trace --format json --output trace.json -- COMMAND`.
    Reference: ld.so(8)
    """
    if isinstance(snapshot.differences, Unseen) and snapshot.differences.why is Why.NOT_APPLICABLE:
        return  # No command was traced: there is nothing to compare.
    differences = need(snapshot.differences)
    if not differences:
        return
    count = len(differences)
    yield Complaint(
        Severity.NOTE,
        f"The dynamic linker did not do what gpucheck libs predicts, for {count} {'library' if count == 1 else 'libraries'}",
        "Either gpucheck's model of the dynamic linker or its table of what is opened by name is wrong, or files or "
        "variables changed while the command ran. What is listed above is what really happened.",
        tuple(
            Evidence(
                f"{each.soname}, asked for by {each.requester or 'somebody'}: predicted {each.predicted}",
                f"seen: {each.observed}",
            )
            for each in differences[:8]
        ),
        "Nothing needs to be repaired here. Report it to gpucheck with: gpucheck trace --format json --output trace.json -- COMMAND",
    )


@rule(Layer.LIBRARIES, follows=("libraries-do-not-fit", "library-parts-mixed", "library-older-than-required"))
def import_order_decides(snapshot: Snapshot) -> Iterator[Complaint]:
    """Two packages find different copies of one library, and the one that is imported first decides which is used.

    The dynamic linker keeps one file for each name (SONAME). When tensorflow or cupy takes libcublas or libnccl from the system and
    torch or jax has a newer one in its wheels, importing the first one first gives the second one the older copy: "undefined
    symbol: ncclCommRegister", "Outdated cuBLAS installation", a crash - and all is well in the other order. In the same way torch
    may make the system's libstdc++ the one of all that is imported later, while the environment has a newer one: "version
    `GLIBCXX_3.4.20' not found".

    Confirm: import them in both orders; `gpucheck trace -- python -c "import cupy, torch"`.
    Remedy: import the one with the newer copy first, or take the older copy off the search path.
    Reference: https://github.com/rapidsai/cugraph/issues/4465
    """
    loads = seen(snapshot.loads, ()) or ()
    late = [(each, module) for each in loads for module in each.late]
    for each, module in late[:3]:
        folder = module.alone.rpartition("/")[0]
        yield Complaint(
            Severity.WARNING,
            f"{module.name} fails when it is imported after {each.name}: {module.soname} has no {module.version} then",
            f"{each.name} makes {module.path} the one that every later library gets; by itself {module.name} gets {module.alone}.",
            (
                Evidence(f"{module.path}: version `{module.version}' not found", f"required by {module.module}"),
                Evidence(f"{module.soname} that it gets alone", module.alone),
            ),
            f"import {module.name} before {each.name}, or make both take the newer one: "
            f"export LD_LIBRARY_PATH={folder}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}",
        )
    for each in loads:
        other = next((one for one in loads if one.location == each.location and one.name != each.name and one.location), None)  # fmt: skip
        older = [(part, wheel) for part in each.libraries for wheel in _newer(snapshot, each, part)] if other else []
        if not other or not older:
            continue
        part, wheel = older[0]
        yield Complaint(
            Severity.WARNING,
            f"{each.name} takes {part.soname} {part.version} from the system, {other.name} has {wheel.version}: "
            "which is used depends on what is imported first",
            "A process keeps one file for each name; the older one may lack what the other framework needs.",
            (
                *(Evidence(f"{each.name} gets {one.soname} {one.version} by {one.how}", one.path) for one, _ in older[:4]),
                Evidence(f"{wheel.owner or wheel.soname} for {other.name}", wheel.path),
            ),
            f"import {_module(other)} and use its GPU before {_module(each)}, or take the older copies away ({part.path.rpartition('/')[0]})"
            + (", or install tensorflow-cpu where TensorFlow needs no GPU" if each.name == "tensorflow" else ""),
        )  # fmt: skip
        return
    for each in loads:
        if each.unread:
            raise CannotTell(f"what {each.name} loads could not be followed: {each.unread[0]}", each.unread)


@rule(Layer.LIBRARIES)
def executable_stack_refused(snapshot: Snapshot) -> Iterator[Complaint]:
    """A library asks for an executable stack, which glibc gives no longer: it cannot be loaded.

    From 2.41 on dlopen refuses such a library: "cannot enable executable stack as shared object requires: Invalid argument". It is a mark
    in the file's program headers (PT_GNU_STACK), mostly set by mistake; newer builds leave it out.

    Confirm: `readelf -lW FILE | grep GNU_STACK` shows RWE; `ldd --version`.
    Remedy: a newer version of the package; else clear the mark (`patchelf --clear-execstack FILE`).
    Reference: https://sourceware.org/glibc/wiki/Release/2.41, https://github.com/OpenNMT/CTranslate2/issues/1849
    """
    if isinstance(snapshot.stacks, Unseen) and snapshot.stacks.why is Why.NOT_APPLICABLE:
        return  # This C library gives such a stack.
    stacks = need(snapshot.stacks)
    # glibc.rtld.execstack=2 brings the old behaviour back.
    if not stacks or "glibc.rtld.execstack=2" in (snapshot.variable("GLIBC_TUNABLES") or ""):
        return
    for stack in stacks:
        yield Complaint(
            Severity.ERROR,
            f"{stack.owner} asks for an executable stack ({stack.path.rsplit('/', 1)[-1]}), which this glibc refuses: it cannot be loaded",
            "dlopen says: cannot enable executable stack as shared object requires.",
            (
                Evidence("PT_GNU_STACK: RWE", stack.path),
                Evidence(
                    "glibc 2.41 or newer",
                    snapshot.host.libc.source if isinstance(snapshot.host.libc, Seen) else "glibc",
                ),
            ),
            f"pip install -U {stack.owner.split(' ')[0]}; or: patchelf --clear-execstack {stack.path} (also execstack -c); "
            "or: export GLIBC_TUNABLES=glibc.rtld.execstack=2",
        )


def _newer(snapshot: Snapshot, loads: Loads, part: Loaded) -> list[Library]:
    """The wheels' copy of a library that a framework takes from the system, where the wheels' is newer."""
    if part.how not in ("LD_LIBRARY_PATH", "ld.so.cache", "ld.so.conf", "default") or not part.version:
        return []
    own = [
        library
        for library in snapshot.libraries
        if library.soname == part.soname and library.path.startswith(f"{loads.location}/") and library.version
    ][:1]
    return [library for library in own if release(part.version)[:3] < release(library.version)[:3]]


def _module(loads: Loads) -> str:
    """``cupy`` of cupy-cuda12x."""
    return loads.name.partition("-")[0]
