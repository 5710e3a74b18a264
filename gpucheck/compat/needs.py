"""What the libraries of an image need of libcuda and of the GPUs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpucheck import kb
from gpucheck.compat.cell import Reason, sentence
from gpucheck.compat.node import NodeGpu
from gpucheck.compat.remember import remembered, remembered_by_value
from gpucheck.contract import Contract, GpuCode
from gpucheck.finding import Evidence, Verdict
from gpucheck.kb import frameworks
from gpucheck.kb.capabilities import code_runs, driver_drives, products
from gpucheck.kb.drivers import Implemented, runtime_starts
from gpucheck.kb.judgement import Judgement
from gpucheck.kb.toolkits import compiles_ptx
from gpucheck.record import dataclass
from gpucheck.versions import ComputeCapability, CudaVersion, DriverVersion


@dataclass(frozen=True, slots=True)
class Libcuda:
    """The libcuda that a container gets."""

    version: DriverVersion | None
    """Of the library; the node's driver, or the image's cuda-compat."""
    implemented: Implemented
    compat: bool

    def __str__(self) -> str:
        """``driver 550.54.15 (CUDA 12.4)``."""
        name = f"cuda-compat {self.version or ''}".rstrip() if self.compat else f"driver {self.version or '(unknown)'}"
        return f"{name} (CUDA {self.implemented})"


@dataclass(frozen=True, slots=True)
class Demand:
    """A CUDA that something in the image was built with; what shares one is judged together."""

    names: tuple[str, ...]
    major: int
    cuda: CudaVersion | None
    source: str

    @property
    def version(self) -> str:
        """``13.0``, or ``13`` where only the major is known."""
        return str(self.cuda or self.major)

    def __str__(self) -> str:
        """``torch 2.9.1+cu130 and 2 others``."""
        others = len(self.names) - 1
        return self.names[0] + (f" and {others} other{'s' if others > 1 else ''}" if others else "")


def is_main(code: GpuCode) -> bool:
    """Whether it is a library that user code imports, which decides for the image; others are parts or accessories."""
    return code.name in frameworks.libraries() or code.name.startswith(("cupy", "jax-cuda", "tensorflow", "tensorrt"))


def demands(contract: Contract) -> tuple[Demand, ...]:
    """The CUDA versions that the image's packages are built with; where no package has one, of its runtimes.

    A runtime beside a framework is often another that nobody loads: a toolkit below wheels. It is no demand.
    """
    found: dict[tuple[int, CudaVersion | None], list[tuple[str, str]]] = {}
    packages = [
        code for code in contract.code if not code.name.startswith(("/", "nvidia-")) and (code.cuda or code.cuda_major)
    ]
    main = [code for code in packages if is_main(code)] or packages
    for code in main:
        major = code.cuda.major if code.cuda else code.cuda_major or 0
        found.setdefault((major, code.cuda), []).append((f"{code.name} {code.version}".strip(), code.evidence))
    for runtime in () if main else contract.runtimes:
        name = f"the CUDA runtime {runtime.path.rpartition('/')[2]}"
        found.setdefault((runtime.cuda.major, runtime.cuda), []).append((name, runtime.owner or runtime.path))
    return tuple(
        Demand(tuple(dict.fromkeys(name for name, _ in named)), major, cuda, named[0][1])
        for (major, cuda), named in found.items()
    )


def unused_runtimes(contract: Contract) -> tuple[CudaVersion, ...]:
    """Runtimes of another major than what decides."""
    majors = {demand.major for demand in demands(contract)}
    return tuple(dict.fromkeys(runtime.cuda for runtime in contract.runtimes if runtime.cuda.major not in majors))


# -- the driver --------------------------------------------------------------------------------------------------------


def newest_of(driver: DriverVersion) -> DriverVersion:
    """Of a branch alone (``535``) the newest driver: such a node is taken for a maintained one."""
    return driver if "." in driver.text else DriverVersion(f"{driver.branch}.999.99")


@remembered
def starts(demand: Demand, libcuda: Libcuda) -> Reason | None:
    """Why a runtime does not start on a libcuda, or only with limits; None when nothing is to be said."""
    judged = _runtime(demand.cuda, demand.major, libcuda)
    limited = demand.cuda and demand.cuda.major >= 11 and not libcuda.implemented.reaches(demand.cuda)
    if judged.holds and not limited:
        return None
    family = kb.families().get(demand.major)
    facts = (
        Evidence(f"{demand} is built with CUDA {demand.version}", demand.source),
        Evidence(f"{libcuda}", libcuda.implemented.reference),
        Evidence(judged.evidence, judged.reference),
    )
    if judged.holds is not True:
        floor = f"{family.driver_floor} or newer" if family else f"one that implements CUDA {demand.version}"
        return Reason(
            "driver-too-old",
            Verdict.INCOMPATIBLE if judged.holds is False else Verdict.UNKNOWN,
            f"{libcuda} {'is' if judged.holds is False else 'may be'} too old for {demand} (CUDA {demand.version})",
            f"{sentence(judged.because)} On an older one its runtime answers 35."
            if judged.holds is False
            else "The driver is of the right CUDA major, but below the oldest that NVIDIA names for it; nobody promises that it works.",
            facts,
            f"On the node: driver {floor}",
        )
    row = next((row for row in kb.branches().values() if demand.cuda and row.cuda >= demand.cuda), None)
    return Reason(
        "driver-older-than-build",
        Verdict.CONDITIONAL,
        f"{demand} (CUDA {demand.cuda}) works on {libcuda} with limits",
        "Minor-version compatibility: precompiled kernels run; PTX of the newer toolkit is not compiled (error 222), and "
        "functions that only a newer driver has are refused (error 36).",
        facts,
        f"Nothing, unless you meet error 222 or 36; then driver {row.branch if row else 'of a newer branch'} or newer on the node",
    )


@remembered
def _runtime(cuda: CudaVersion | None, major: int, libcuda: Libcuda) -> Judgement:
    """Whether the runtime of a CUDA starts on a libcuda."""
    wanted = cuda or CudaVersion(major, 0)
    if libcuda.version:
        judged = runtime_starts(wanted, newest_of(libcuda.version))
    else:
        judged = Judgement(_by_majors(wanted, libcuda.implemented), f"{libcuda}", libcuda.implemented.reference)
    # What libcuda itself answered counts more than its branch.
    if judged.holds is not True and not libcuda.implemented.extrapolated and libcuda.implemented.reaches(wanted):
        judged = Judgement(True, f"{libcuda}", libcuda.implemented.reference)
    return judged


def _by_majors(cuda: CudaVersion, implemented: Implemented) -> bool | None:
    if implemented.reaches(cuda):
        return True
    newest = implemented.at_most
    return None if newest is None else newest.major >= cuda.major >= 11


# -- the GPU -----------------------------------------------------------------------------------------------------------


@remembered
def driven(gpu: NodeGpu, driver: DriverVersion) -> Reason | None:
    """Why a driver does not drive a GPU, or may not."""
    if gpu.capability is None:
        return None
    judged = driver_drives(driver.branch, gpu.capability)
    evidence = (
        Evidence(f"{gpu.name} has compute capability {gpu.capability}", gpu.source),
        Evidence(judged.evidence, judged.reference),
    )
    if judged.holds is False:
        return Reason(
            "gpu-not-supported-by-driver",
            Verdict.INCOMPATIBLE,
            f"driver {driver} no longer drives {gpu}",
            sentence(judged.because),
            evidence,
            f"On the node: a driver of the {judged.because.partition(' is the last')[0]}",
        )
    row = next((row for row in products() if _is_product(gpu, row.product)), None)
    if row and newest_of(driver) < row.driver:
        floor, named = (
            str(row.driver),
            (*evidence[:1], Evidence(f"{row.product} needs driver {row.driver}", row.reference)),
        )
    elif judged.holds is None and "JetPack" not in judged.because:
        floor, named = "of a newer branch", evidence
    else:
        return None
    return Reason(
        "gpu-not-supported-by-driver",
        Verdict.UNKNOWN,
        f"whether driver {driver} drives {gpu} is not known",
        sentence(named[-1].fact),
        named,
        f"Look at nvidia-smi on the node, or take driver {floor} or newer"
        if row
        else f"Look at nvidia-smi on the node, or take a driver {floor}",
    )


def _is_product(gpu: NodeGpu, product: str) -> bool:
    from gpucheck.kb import gpus

    row = gpus.find(gpu.name)
    return bool(row and any(re.search(rf"\b{re.escape(name)}\b", product) for name in row.names))


@dataclass(frozen=True, slots=True)
class Coverage:
    """How the code of a package gets onto a kind of GPU."""

    how: str
    """``sass``, ``ptx``, ``none`` or ``unknown``."""
    judgement: Judgement | None
    targets: tuple[str, ...]
    source: str


_code_runs = remembered_by_value(code_runs)


@remembered
def coverage(code: GpuCode, capability: ComputeCapability) -> Coverage:
    """By the targets that were read from the files; where these do not tell, by the build's row in the knowledge base."""
    targets, source = code.targets, code.evidence
    row = None if targets else _row(code)
    if row:
        targets = tuple(
            [f"sm_{sm.major}{sm.minor}" for sm in row.sm] + [f"compute_{sm.major}{sm.minor}" for sm in row.ptx]
        )
        source = row.reference
        if not targets and row.lowest:
            held = capability >= row.lowest
            judged = Judgement(held, f"{code.name} {code.version} is for {row.lowest} and newer", row.reference)
            return Coverage("sass" if held else "none", judged, (), source)
    best: tuple[str, Judgement] | None = None
    unread = False
    for target in targets:
        try:
            judged = _code_runs(target, capability)
        except ValueError:
            unread = True
            continue
        if judged.holds:
            how = "sass" if target.startswith("sm_") else "ptx"
            if best is None or how == "sass":
                best = (how, judged)
    if best:
        return Coverage(*best, targets, source)
    # A row may be silent about PTX, which would run on any newer GPU.
    silent = not code.targets and row is not None and not row.ptx_known
    return Coverage("unknown" if unread or silent or not targets else "none", None, targets, source)


def _row(code: GpuCode) -> frameworks.Build | None:
    """The build's row: of one version there may be several, for different CUDA."""
    release, _, local = code.version.partition("+")
    rows = [row for row in frameworks.builds(code.name) if row.version == release and local in ("", row.variant)]
    fitting = [row for row in rows if code.cuda_major in row.cuda_majors and code.cuda in (None, row.cuda_version)]
    return next(iter(fitting), None)


@remembered
def _coverages(code: GpuCode, gpus: tuple[NodeGpu, ...]) -> tuple[tuple[NodeGpu, Coverage], ...]:
    return tuple((gpu, coverage(code, gpu.capability)) for gpu in gpus if gpu.capability)


def compiles(code: GpuCode, gpus: tuple[NodeGpu, ...]) -> bool:
    """Whether libcuda has to compile code of a package for a GPU."""
    return any(how.how == "ptx" for _, how in _coverages(code, gpus))


@remembered
def covered(code: GpuCode, gpus: tuple[NodeGpu, ...], libcuda: Libcuda | None, decides: bool) -> tuple[Reason, ...]:
    """What the code of a package says of a node's GPUs.

    ``libcuda``: None where it has nothing to compile. ``decides``: without the package the image is of no use.
    """
    found = _coverages(code, gpus)
    if all(how.how == "sass" for _, how in found):
        return ()
    name = f"{code.name} {code.version}".strip()
    worst = Verdict.INCOMPATIBLE if decides else Verdict.CONDITIONAL
    reasons = []
    bare = [(gpu, how) for gpu, how in found if how.how == "none"]
    if bare:
        served = [str(gpu) for gpu, how in found if how.how != "none"]
        reasons.append(_not_covered(name, code, bare, served, worst))
    if decides and (unread := [str(gpu) for gpu, how in found if how.how == "unknown"]):
        reasons.append(
            Reason(
                "code-not-known",
                Verdict.UNKNOWN,
                f"for which GPUs {name} has code is not known",
                f"Neither its files nor the knowledge base tell whether it runs on {', '.join(unread)}.",
                (Evidence(f"no architectures were found in {name}", code.evidence),),
                f"Look at the list of {code.name} itself (torch: torch.cuda.get_arch_list()), or try it on one node",
            )
        )
    compiled = [gpu for gpu, how in found if how.how == "ptx"]
    if compiled and libcuda:
        reasons += _compiled(
            name, code, compiled, libcuda, worst if len(compiled) == len(found) else Verdict.CONDITIONAL
        )
    return tuple(reasons)


def _not_covered(
    name: str, code: GpuCode, bare: list[tuple[NodeGpu, Coverage]], served: list[str], worst: Verdict
) -> Reason:
    first = bare[0][1]
    listed = ", ".join(str(gpu) for gpu, _ in bare)
    built = " ".join(first.targets)
    return Reason(
        "gpu-not-covered-by-build",
        Verdict.CONDITIONAL if served else worst,
        f"{name} has no code for {listed}" + (f"; it runs on {', '.join(served)} of the same node" if served else ""),
        "Neither its machine code nor its PTX can run there: kernel launches fail with 209, no kernel image.",
        (
            Evidence(
                f"built for {built}" if built else first.judgement.because if first.judgement else "", first.source
            ),
            *(Evidence(f"{gpu.name} has compute capability {gpu.capability}", gpu.source) for gpu, _ in bare),
        ),
        f"A build of {code.name} with code for "
        + ", ".join(sorted({f"sm_{g.capability.major}{g.capability.minor}" for g, _ in bare if g.capability}))
        + (", or give the container only the GPUs that it has code for" if served else ""),
    )


def _compiled(name: str, code: GpuCode, gpus: list[NodeGpu], libcuda: Libcuda, worst: Verdict) -> Iterator[Reason]:
    """PTX: the driver must know the version in which the build's toolkit wrote it."""
    listed = ", ".join(str(gpu) for gpu in gpus)
    major = code.cuda.major if code.cuda else code.cuda_major
    if code.cuda and libcuda.version and not libcuda.compat:
        judged = compiles_ptx(code.cuda, newest_of(libcuda.version))
    elif code.cuda:
        judged = Judgement(
            libcuda.implemented.reaches(code.cuda),
            f"{libcuda}, the PTX is of CUDA {code.cuda}",
            libcuda.implemented.reference,
        )
    else:
        newer = major is not None and libcuda.implemented.reaches(CudaVersion(major + 1, 0))
        judged = Judgement(newer or None, "the CUDA that wrote the PTX is not known", code.evidence)
    evidence = (
        Evidence(f"only PTX of {name} fits {listed}", code.evidence),
        Evidence(judged.evidence, judged.reference),
    )
    if judged.holds:
        yield Reason(
            "ptx-compiled-at-start",
            Verdict.COMPATIBLE,
            f"{name} is compiled for {listed} when it starts",
            "It has no machine code for that GPU; the driver compiles its PTX, once, which takes minutes for large libraries.",
            evidence,
            "",
        )
        return
    row = next((row for row in kb.branches().values() if code.cuda and row.cuda >= code.cuda), None)
    yield Reason(
        "ptx-newer-than-driver",
        worst if judged.holds is False else Verdict.UNKNOWN,
        f"{libcuda} {'cannot' if judged.holds is False else 'may not be able to'} compile the code of {name} for {listed}",
        "It has no machine code for that GPU, and its PTX was written by a newer toolkit than the driver knows: error 222.",
        evidence,
        f"On the node: driver {row.branch if row else 'of a newer branch'} or newer; or a build of {code.name} with machine code for that GPU",
    )
