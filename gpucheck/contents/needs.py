"""What an image needs of a node: its contract, and the same in words with the rows that they rest on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from gpucheck import contract, kb
from gpucheck.compat.needs import Demand, demands
from gpucheck.contents.code import together
from gpucheck.contents.labels import requirements
from gpucheck.contents.reading import Reading
from gpucheck.contents.records import NodeNeed
from gpucheck.contract import Contract, ForwardDriver, GpuCode, NeededRuntime
from gpucheck.elf.configuration import read_configuration
from gpucheck.facts import Framework, Library, Seen, Snapshot
from gpucheck.finding import Report, Severity
from gpucheck.kb.capabilities import capabilities, runs
from gpucheck.kb.forward import brands, packages
from gpucheck.kb.toolkits import exact_driver
from gpucheck.rules import reading
from gpucheck.system import System
from gpucheck.versions import ComputeCapability, CudaVersion, DriverVersion

#: What NVIDIA's container toolkit looks at, in the image: cudacompat in nvidia-container-toolkit, cmd/nvidia-cdi-hook.
TOOLKIT_FOLDER = "/usr/local/cuda/compat"
#: Where the driver's libraries are mounted, by architecture: in Debian's layout where there is one, else in /usr/lib64.
MOUNTED = re.compile(r"/(usr/)?lib(/[a-z0-9_]+-linux-gnu|64)?")


def contract_of(found: Reading, snapshot: Snapshot, report: Report, system: System) -> Contract:
    """The contract of an image. Pure but for the search path, which is read again."""
    contents = found.contents
    libc = snapshot.host.libc
    code = tuple(_code(found, snapshot))
    return Contract(
        schema=contract.SCHEMA,
        image=contents.reference,
        digest=contents.digest,
        architecture=contents.architecture,
        gpu=_for_gpus(found, snapshot),
        runtimes=tuple(
            NeededRuntime(runtime.cuda, runtime.library.path, runtime.library.owner)
            for runtime in snapshot.runtimes
            if runtime.cuda
        ),
        code=code,
        forward=_forward(snapshot, system),
        requirements=requirements(system.env),
        capabilities=system.env.get("NVIDIA_DRIVER_CAPABILITIES"),
        visible_devices=system.env.get("NVIDIA_VISIBLE_DEVICES"),
        library_path=system.env.get("LD_LIBRARY_PATH"),
        libc=f"{libc.value.kind} {libc.value.version}".rstrip() if isinstance(libc, Seen) else "",
        broken=tuple(dict.fromkeys(finding.rule for finding in report.roots)),
        limits=tuple(dict.fromkeys(each.rule for each in report.everything() if each.severity is Severity.WARNING)),
    )


def _for_gpus(found: Reading, snapshot: Snapshot) -> bool | None:
    contents = found.contents
    driver = ("libcuda.so.1", "libnvidia-ml.so.1")
    if contents.code or any(framework.gpu for framework in snapshot.frameworks):
        return True
    if any(library.soname not in driver for library in contents.libraries):
        return True
    # An image that asks for GPUs and has nothing for them: its programs are where nobody looked, or come later.
    if not found.whole or reading.declares_gpu(snapshot) or any(each.gpu is None for each in snapshot.frameworks):
        return None
    return False


#: The distributions that a framework's GPU code is in, where it is not in the framework's own.
PARTS = {"jax": r"jax-cuda\d+-(plugin|pjrt)"}


def _code(found: Reading, snapshot: Snapshot) -> Iterator[GpuCode]:
    """Frameworks first; a framework whose files hold no GPU code is there too: its build tells the CUDA that it needs."""
    of_files = {owner: (path, targets) for owner, path, targets in together(found.code)}
    taken: set[str] = set()
    for framework in snapshot.frameworks:
        if framework.gpu is False:
            continue
        parts = [owner for owner in of_files if _belongs(owner, framework)]
        taken.update(parts)
        # The part with most targets speaks for all: a plugin's small modules are built for the same ones.
        path, targets = max((of_files[owner] for owner in parts), key=lambda part: len(part[1]), default=("", ()))
        if framework.gpu or targets:
            yield GpuCode(
                framework.name,
                framework.version,
                framework.cuda,
                framework.cuda_major,
                targets or framework.architectures,
                path or framework.evidence,
            )
    for owner, (path, targets) in of_files.items():
        if owner not in taken:
            name, _, version = (owner, "", "") if owner.startswith("/") else owner.rpartition(" ")
            yield GpuCode(name, version, None, None, targets, path)


def _belongs(owner: str, framework: Framework) -> bool:
    name = owner.rpartition(" ")[0]
    return name == framework.name or re.fullmatch(PARTS.get(framework.name, r"(?!)"), name) is not None


def _forward(snapshot: Snapshot, system: System) -> ForwardDriver | None:
    """The cuda-compat that counts: what the search finds first, then what the toolkit finds, then any."""
    order = ("always", "toolkit", "never")
    found = [
        (*_route(library, snapshot, system), library) for library in snapshot.libcuda_copies if library.kind == "compat"
    ]
    if not found:
        return None
    route, because, library = min(found, key=lambda entry: order.index(entry[0]))
    note = next((note for note in snapshot.compat if note.path in (library.path, library.real)), None)
    return ForwardDriver(
        library.path,
        DriverVersion.parse(library.version),
        note.cuda if note else None,
        note.drivers if note else (),
        note.brands if note else (),
        route,
        because,
    )


def _route(library: Library, snapshot: Snapshot, system: System) -> tuple[str, str]:
    """(route, because): ld.so(8) and ldconfig(8); the driver that is mounted comes after what is searched before its folder."""
    folder = library.path.rpartition("/")[0]
    for place in (snapshot.variable("LD_LIBRARY_PATH") or "").split(":"):
        if place and system.resolve(place) == system.resolve(folder):
            return "always", f"LD_LIBRARY_PATH names {place}"
    for place, source in read_configuration(system):
        if system.resolve(place) == system.resolve(folder):
            return "always", f"{source} names {place}"
        if MOUNTED.fullmatch(place):
            break
    looked_at = system.resolve(TOOLKIT_FOLDER)
    if looked_at is not None and library.real.startswith(f"{looked_at}/"):
        return "toolkit", f"it is in {TOOLKIT_FOLDER}, where NVIDIA's container toolkit looks"
    return "never", f"{folder} is in no search path, and NVIDIA's container toolkit looks in {TOOLKIT_FOLDER} alone"


# -- in words ----------------------------------------------------------------------------------------------------------


def needs_of(needed: Contract) -> tuple[NodeNeed, ...]:
    """The contract in words."""
    if needed.gpu is False:
        return (NodeNeed("GPU", "none: nothing in it is for GPUs", ""),)
    return (
        *_architecture(needed),
        *(need for demand in _demands(needed) for need in _driver(needed, demand)),
        *_gpus(needed.code),
        *_libc(needed),
        *_capabilities(needed),
    )


def _architecture(needed: Contract) -> Iterator[NodeNeed]:
    if needed.architecture:
        yield NodeNeed("machine", needed.architecture, "")


def _demands(needed: Contract) -> tuple[Demand, ...]:
    """What is built with the newest CUDA of each major: older ones of that major need no more."""
    newest: dict[int, Demand] = {}
    for demand in demands(needed):
        known = newest.get(demand.major)
        if known is None or (demand.cuda is not None and (known.cuda is None or known.cuda < demand.cuda)):
            newest[demand.major] = demand
    return tuple(newest[major] for major in sorted(newest))


def _driver(needed: Contract, demand: Demand) -> Iterator[NodeNeed]:
    cuda = demand.cuda
    wanted = f"CUDA {demand.version} ({demand})"
    if cuda and (native := exact_driver(cuda)):
        yield NodeNeed("driver, native", f"{native[0]} or newer, for all of {wanted}", native[1])
    if family := kb.families().get(demand.major):
        newer = f"; what is new in {cuda} (its PTX, its functions) needs a newer one" if cuda and cuda.minor else ""
        yield NodeNeed(
            "driver, minor versions",
            f"{family.driver_floor} or newer: {wanted} starts and its machine code runs{newer}",
            family.reference,
        )
    yield from _forward_need(needed, cuda, demand.major)


def _forward_need(needed: Contract, cuda: CudaVersion | None, major: int) -> Iterator[NodeNeed]:
    forward = needed.forward
    if forward and forward.cuda and forward.cuda.major >= major:
        kinds = [brands()[number] for number in forward.brands if number in brands()]
        names = ", ".join(row.name for row in kinds if row.supported in ("yes", "some"))
        yield NodeNeed(
            "driver, cuda-compat",
            f"branch {_words(forward.branches)} with the cuda-compat {forward.version or ''} in the image".replace(
                "  ", " "
            )
            + (f", on GPUs of the kinds {names}" if names else ", on data-center GPUs")
            + {
                "always": f"; it is always used: {forward.because}",
                "toolkit": "; NVIDIA's container toolkit decides",
                "never": f"; but nothing finds it: {forward.because}",
            }[forward.route],
            f"ELF note of {forward.path}",
        )
    elif cuda and (row := packages().get(cuda)) and row.branches:
        yield NodeNeed(
            "driver, cuda-compat",
            f"branch {_words(row.branches)} with the package cuda-compat-{cuda.major}-{cuda.minor}, on data-center GPUs; "
            "it is not in the image",
            row.reference,
        )


def _words(numbers: Sequence[int]) -> str:
    return (
        ", ".join(map(str, numbers[:-1])) + (" or " if len(numbers) > 1 else "") + str(numbers[-1]) if numbers else "?"
    )


def _gpus(code: Sequence[GpuCode]) -> Iterator[NodeNeed]:
    for each in code:
        name = f"{each.name} {each.version}".rstrip()
        if not each.targets:
            yield NodeNeed("GPU", f"{name}: its files do not tell", each.evidence)
            continue
        machine = [target for target in each.targets if target.startswith("sm_")]
        ptx = [target for target in each.targets if target.startswith("compute_")]
        by_machine = _served(machine)
        by_ptx = [capability for capability in _served(ptx) if capability not in by_machine]
        text = f"{name}: {_spell(by_machine)} by machine code" if by_machine else f"{name}: no machine code"
        # PTX without a suffix is compiled for every GPU that is not older, those to come too.
        if any(target[-1] not in "af" for target in ptx):
            maker = f" of CUDA {each.cuda}" if each.cuda else ""
            text += f"; {_spell(by_ptx)}{' and ' * bool(by_ptx)}later ones by PTX{maker}, which the driver must know"
        else:
            text += f"; {_spell(by_ptx)} by PTX" if by_ptx else "; no PTX, so no later GPU"
        yield NodeNeed("GPU", text, each.evidence)


def _served(targets: Sequence[str]) -> list[ComputeCapability]:
    # Numbers that chips have no more (10.1 is 11.0 now) are left out.
    return [
        capability
        for capability, row in sorted(capabilities().items())
        if row.now is None and any(runs(target, capability) for target in targets)
    ]


def _spell(served: Sequence[ComputeCapability]) -> str:
    return " ".join(map(str, served))


def _libc(needed: Contract) -> Iterator[NodeNeed]:
    if needed.libc.startswith("glibc"):
        yield NodeNeed(
            "C library",
            f"{needed.libc} is in the image; the driver's libraries need 2.9 on x86_64, 2.17 on aarch64",
            "the symbol versions of libcuda 340 to 555",
        )
    elif needed.libc:
        yield NodeNeed("C library", f"{needed.libc}: the driver's libraries are made for glibc and do not load", "")


def _capabilities(needed: Contract) -> Iterator[NodeNeed]:
    granted = needed.capabilities
    if granted is None:
        yield NodeNeed(
            "capabilities",
            "compute, utility: NVIDIA_DRIVER_CAPABILITIES is not set, and these are what the toolkit then grants",
            "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html#driver-capabilities",
        )
    else:
        yield NodeNeed("capabilities", granted or "none", "NVIDIA_DRIVER_CAPABILITIES")
    if needed.visible_devices is None:
        yield NodeNeed("devices", "asked for when it is started: NVIDIA_VISIBLE_DEVICES is not set", "")
    for name, value in needed.requirements:
        if name.startswith("NVIDIA_REQUIRE_"):
            yield NodeNeed("requirement", f"{value} (CDI does not check it)", name)
