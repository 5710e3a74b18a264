"""The CUDA runtime against the driver."""

from __future__ import annotations

from collections.abc import Iterator

from gpucheck import kb
from gpucheck.facts import Framework, Runtime, Seen, Snapshot, Unseen
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.kb import drivers
from gpucheck.record import dataclass
from gpucheck.rules import reading
from gpucheck.rules.causes import REFUSING
from gpucheck.rules.rule import CannotTell, Layer, rule
from gpucheck.versions import CudaVersion


@dataclass(frozen=True, slots=True)
class Demand:
    """Something that brings a CUDA runtime and so needs a driver."""

    name: str
    major: int
    version: CudaVersion | None
    source: str
    refusal: str
    """What a real call answered when the driver was too old: ``cudaGetDeviceCount = 35 (...)``; '' when none was made."""

    @property
    def cuda(self) -> str:
        """``13.2``, or ``13`` where only the major is known."""
        return str(self.version or self.major)


def demands(snapshot: Snapshot) -> tuple[Demand, ...]:
    """GPU frameworks, or where there is none the libcudart copies themselves."""
    found = [
        _of_framework(snapshot, framework)
        for framework in snapshot.frameworks
        if framework.gpu and framework.cuda_major
    ]
    if not any(framework.gpu for framework in snapshot.frameworks):
        found += [_of_runtime(runtime) for runtime in snapshot.runtimes if _major(runtime)]
    return tuple(found)


def _of_framework(snapshot: Snapshot, framework: Framework) -> Demand:
    runtime = next((runtime for runtime in snapshot.runtimes if _major(runtime) == framework.cuda_major), None)
    return Demand(
        f"{framework.name} {framework.version}",
        framework.cuda_major or 0,
        framework.cuda,
        framework.evidence,
        _refusal(runtime) if runtime else "",
    )


def _of_runtime(runtime: Runtime) -> Demand:
    return Demand(
        f"{runtime.library.soname}", _major(runtime) or 0, runtime.cuda, runtime.library.path, _refusal(runtime)
    )


def _major(runtime: Runtime) -> int | None:
    if runtime.cuda:
        return runtime.cuda.major
    # libcudart's soname number is its CUDA major, and 11.0 for every 11.x.
    number = runtime.library.soname.removeprefix("libcudart.so.").split(".")[0]
    return int(number) if number.isdigit() else None


#: cudaErrorInsufficientDriver. With cudaDriverGetVersion = 0 it means that no libcuda was loaded, not an old driver.
INSUFFICIENT = 35


def _refusal(runtime: Runtime) -> str:
    if (
        isinstance(runtime.count, Seen)
        and runtime.count.value.code == INSUFFICIENT
        and isinstance(runtime.driver, Seen)
        and runtime.driver.value
    ):
        return reading.spell(runtime.count.value)
    return ""


@rule(Layer.RUNTIME)
def driver_too_old(snapshot: Snapshot) -> Iterator[Complaint]:
    """The driver is too old for the CUDA major that a library was built with: error 35.

    A CUDA runtime starts on every driver of its own major's family or newer: CUDA 11 from 450.80.02, 12 from 525.60.13,
    13 from 580.65.06 on. An older driver makes cudaGetDeviceCount return 35 (cudaErrorInsufficientDriver). The same code comes
    when no libcuda is loaded at all; then cudaDriverGetVersion gives 0, and that is another finding.

    Confirm: `nvidia-smi` prints the CUDA version that the driver supports; compare with `torch.version.cuda`.
    Remedy: update the host's driver, or install a build for an older CUDA.
    Reference: https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
    """
    wanting = demands(snapshot)
    if not wanting:
        return
    supported = reading.supported_cuda(snapshot)
    if supported is None:
        if reading.no_kernel(snapshot):
            raise CannotTell("the driver is the host's; these are only files")
        if isinstance(snapshot.cuda, Unseen):
            return
        raise CannotTell(
            "the driver's CUDA version is not known", ("cuDriverGetVersion", "/proc/driver/nvidia/version")
        )
    implemented, source = supported
    known = reading.driver_version(snapshot)
    for demand in wanting:
        # Minor-version compatibility begins with CUDA 11: runtimes of CUDA 10.2 and older need a driver of their version.
        family = kb.families().get(demand.major)
        if implemented.at_least and _accepts(implemented.at_least, demand, minor=family is not None):
            continue
        cuda = implemented.at_most
        if cuda is None or _accepts(cuda, demand, minor=family is not None):
            raise CannotTell(
                f"the driver's branch is not known: it implements CUDA {implemented}, {demand.name} needs CUDA {demand.cuda}",
                (source,),
            )
        floor = f"{family.driver_floor} or newer" if family else _first_branch(demand)
        yield Complaint(
            Severity.ERROR,
            f"The driver is too old for {demand.name}: it supports CUDA {cuda}, the library needs CUDA {demand.cuda}"
            + (" (error 35)" if demand.refusal else ""),
            f"CUDA {demand.major if family else demand.cuda} needs driver {floor}"
            + (f"; this is {known[0]}." if known else ".")
            + _does_not_refuse(demand),
            (
                Evidence(f"CUDA {cuda} is the newest that the driver supports", source),
                Evidence(f"{demand.name} is built with CUDA {demand.cuda}", demand.source),
                *([Evidence(demand.refusal, "a call in a child process")] if demand.refusal else []),
                *([Evidence(f"CUDA {demand.major} needs {family.driver_floor}", family.reference)] if family else []),
            ),
            f"Update {'the NVIDIA driver of Windows' if snapshot.host.wsl else f'the host{chr(39)}s driver to {floor}'}, or install a build for CUDA {cuda.major}{_older_build(demand, cuda)}",
            decisive=bool(demand.refusal),
        )


def _accepts(cuda: CudaVersion, demand: Demand, *, minor: bool) -> bool:
    """Whether a driver for ``cuda`` takes a runtime; ``minor``: any of its own CUDA major."""
    return demand.major <= cuda.major and (minor or demand.version is None or demand.version <= cuda)


def _first_branch(demand: Demand) -> str:
    row = next((row for row in kb.branches().values() if demand.version and row.cuda >= demand.version), None)
    return f"of branch {row.branch} or newer" if row else "newer"


def _does_not_refuse(demand: Demand) -> str:
    unrefusing = demand.version in drivers.unrefusing()
    return (
        f" The runtime of CUDA {demand.version} starts all the same; what is called next fails." if unrefusing else ""
    )


def _older_build(demand: Demand, cuda: CudaVersion) -> str:
    if demand.name.startswith("torch ") and cuda.major >= 11:
        index = {11: "cu118", 12: "cu126"}.get(cuda.major)
        return f": pip install torch --index-url https://download.pytorch.org/whl/{index}" if index else ""
    if demand.name.startswith("jax "):
        return f": pip install 'jax[cuda{cuda.major}]'"
    if demand.name.startswith("cupy-"):
        return f": pip install cupy-cuda{cuda.major}x"
    return ""


@rule(Layer.RUNTIME)
def driver_older_than_build(snapshot: Snapshot) -> Iterator[Complaint]:
    """The library is built with a newer CUDA of the same major than the driver supports: it works, with limits.

    This is minor-version compatibility. Code that was compiled for the GPU (SASS) runs. Not possible are just-in-time
    compilation of PTX made by the newer toolkit (error 222) and functions that only a newer driver has (error 36).

    Confirm: `nvidia-smi` prints a CUDA version below `torch.version.cuda`.
    Remedy: none needed where only precompiled kernels are used; else a driver of the build's CUDA version.
    Reference: https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
    """
    supported = reading.supported_cuda(snapshot)
    if supported is None:
        if reading.no_kernel(snapshot) and demands(snapshot):
            raise CannotTell("the driver is the host's; these are only files")
        return
    implemented, source = supported
    known = reading.driver_version(snapshot)
    for demand in demands(snapshot):
        cuda = implemented.at_most
        if demand.version is None or cuda is None or demand.major != cuda.major or demand.version <= cuda:
            continue
        family = kb.families().get(demand.major)
        if family and known and known[0] < family.driver_floor:
            continue
        row = next((row for row in kb.branches().values() if row.cuda >= demand.version), None)
        yield Complaint(
            Severity.WARNING,
            f"{demand.name} works on this driver with limits: CUDA {demand.version} on a driver for CUDA {cuda}",
            "Minor-version compatibility: precompiled kernels run; PTX of the newer toolkit is not compiled (error 222), and "
            "functions that only a newer driver has are refused (error 36).",
            (
                Evidence(f"CUDA {cuda} is the newest that the driver supports", source),
                Evidence(f"built with CUDA {demand.version}", demand.source),
                *(
                    [Evidence(f"CUDA {demand.major} starts from {family.driver_floor} on", family.reference)]
                    if family
                    else []
                ),
            ),
            f"Use CUDA {cuda}, or install the cuda-compat package of this JetPack: a Jetson's driver comes with it"
            if isinstance(snapshot.host.tegra, Seen)
            else "Nothing, unless you meet error 222 or 36; then update the driver"
            + (f" to branch {row.branch} or newer." if row else "."),
        )


@rule(Layer.RUNTIME, follows=("driver-too-old", *REFUSING, "gpu-unreached"))
def runtime_refused(snapshot: Snapshot) -> Iterator[Complaint]:
    """A CUDA runtime on this system finds no usable GPU: cudaGetDeviceCount fails.

    This is the symptom that programs show; where its cause was found, this is folded under it. Code 35 with
    cudaDriverGetVersion = 0 means that no libcuda could be loaded, not that a driver is too old.

    Confirm: call cudaGetDeviceCount of the library that the finding names.
    Remedy: by the code, see the finding's text.
    Reference: https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html
    """
    wanted = {demand.major for demand in demands(snapshot)}
    for runtime in snapshot.runtimes:
        if not isinstance(runtime.count, Seen) or runtime.count.value.code == 0:
            continue
        call = runtime.count.value
        no_libcuda = isinstance(runtime.driver, Seen) and runtime.driver.value is None
        row = kb.cuda_codes().get(call.code)
        used = not wanted or _major(runtime) in wanted
        yield Complaint(
            reading.absence(snapshot) if used else Severity.NOTE,
            f"{runtime.library.soname} finds no usable GPU: {reading.spell(call)}",
            "It could load no libcuda.so.1 (cudaDriverGetVersion gives 0); the driver is not too old, it is not there."
            if call.code == INSUFFICIENT and no_libcuda
            else (row.meaning[0].upper() + row.meaning[1:] + ".")
            if row
            else "The knowledge base has no meaning for this code.",
            (
                Evidence(reading.spell(call), runtime.library.path),
                *(
                    [Evidence(f"cudaDriverGetVersion: {runtime.driver.value or 'none (0)'}", runtime.library.path)]
                    if isinstance(runtime.driver, Seen)
                    else []
                ),
            ),
            "Follow the cause named above; without one, look at: nvidia-smi and sudo dmesg | grep -iE 'nvrm|xid'",
        )
