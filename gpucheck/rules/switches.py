"""Environment variables that switch something off or on in CUDA and its frameworks."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpucheck.facts import Framework, Snapshot
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.rules import reading
from gpucheck.rules.rule import CannotTell, Layer, rule


def _on(value: str | None) -> bool:
    return (value or "").strip().lower() in ("1", "true", "yes", "on")


@rule(Layer.ENVIRONMENT, follows=("no-gpu",))
def jax_platform_excludes_gpu(snapshot: Snapshot) -> Iterator[Complaint]:
    """JAX_PLATFORMS keeps JAX off the GPU.

    JAX starts only the platforms that JAX_PLATFORMS (formerly JAX_PLATFORM_NAME) names. With `cpu` it uses no GPU, whatever is
    installed; with a name that it does not know it fails.

    Confirm: `python -c "import jax; print(jax.devices())"` prints CpuDevice.
    Remedy: unset it, or JAX_PLATFORMS=cuda (cuda,cpu to fall back).
    Reference: https://docs.jax.dev/en/latest/faq.html
    """
    builds = [framework for framework in snapshot.frameworks if framework.name == "jax" and framework.gpu is not False]
    for name in ("JAX_PLATFORMS", "JAX_PLATFORM_NAME"):
        value = snapshot.variable(name)
        if not value or not builds:
            continue
        if builds[0].gpu is None:
            raise CannotTell("the files of jax do not tell how it was built", (builds[0].evidence,))
        if {"cuda", "gpu"} & {part.strip().lower() for part in value.split(",")}:
            continue
        yield Complaint(
            Severity.ERROR if reading.gpu_here(snapshot) else Severity.WARNING,
            f"{name}={value} keeps JAX off the GPU",
            "JAX starts only the platforms that it names.",
            (
                Evidence(f"{name}={value}", "environment"),
                Evidence(f"jax {builds[0].version} is a build for GPUs", builds[0].evidence),
            ),
            f"unset {name} (or: export JAX_PLATFORMS=cuda)",
        )


@rule(Layer.ENVIRONMENT)
def numba_cuda_disabled(snapshot: Snapshot) -> Iterator[Complaint]:
    """NUMBA_DISABLE_CUDA or NUMBA_ENABLE_CUDASIM keeps Numba's kernels off the GPU.

    The first disables CUDA in Numba; the second runs kernels in a simulator on the CPU, for debugging: correct, and
    thousands of times slower.

    Confirm: `python -c "from numba import cuda; print(cuda.is_available())"`.
    Remedy: unset the variable.
    Reference: https://numba.readthedocs.io/en/stable/reference/envvars.html#gpu-support
    """
    for name, effect in (
        ("NUMBA_DISABLE_CUDA", "It disables CUDA in Numba."),
        ("NUMBA_ENABLE_CUDASIM", "Kernels run in a simulator on the CPU."),
    ):
        if _on(snapshot.variable(name)):
            yield Complaint(
                Severity.WARNING,
                f"{name} keeps Numba's kernels off the GPU",
                effect,
                (Evidence(f"{name}={snapshot.variable(name)}", "environment"),),
                f"unset {name}",
            )


def _gpu_builds(snapshot: Snapshot) -> list[Framework]:
    return [framework for framework in snapshot.frameworks if framework.gpu]


@rule(Layer.ENVIRONMENT)
def ptx_compilation_forced(snapshot: Snapshot) -> Iterator[Complaint]:
    """CUDA_FORCE_PTX_JIT is set: code that was compiled for the GPU is ignored, and everything is compiled from PTX.

    The variable is for testing. Start-up takes minutes, and libraries that carry no PTX fail with "no kernel image is
    available for execution on the device" (209).

    Confirm: `echo $CUDA_FORCE_PTX_JIT`.
    Remedy: unset it.
    Reference: https://docs.nvidia.com/cuda/cuda-programming-guide/05-appendices/environment-variables.html
    """
    if not _on(snapshot.variable("CUDA_FORCE_PTX_JIT")):
        return
    builds = _gpu_builds(snapshot)
    if builds and not any(framework.architectures for framework in builds):
        raise CannotTell(
            "the files do not tell whether the libraries carry PTX", tuple(build.evidence for build in builds)
        )
    bare = [
        framework
        for framework in builds
        if framework.architectures and not any(target.startswith("compute_") for target in framework.architectures)
    ]
    yield Complaint(
        Severity.ERROR if bare else Severity.WARNING,
        "CUDA_FORCE_PTX_JIT ignores the code that was compiled for the GPU"
        + (f": {bare[0].name} has no PTX to compile instead" if bare else ""),
        "Everything is compiled from PTX when the program starts; libraries without PTX fail with error 209.",
        (
            Evidence(f"CUDA_FORCE_PTX_JIT={snapshot.variable('CUDA_FORCE_PTX_JIT')}", "environment"),
            *(
                Evidence(f"{build.name} {build.version}: {', '.join(build.architectures)}", build.evidence)
                for build in bare
            ),
        ),
        "unset CUDA_FORCE_PTX_JIT",
    )


@rule(Layer.ENVIRONMENT)
def ptx_compilation_disabled(snapshot: Snapshot) -> Iterator[Complaint]:
    """CUDA_DISABLE_PTX_JIT is set: a library that has only PTX for this GPU cannot run on it.

    With the variable the driver compiles nothing. On a GPU that is newer than a library's machine code, PTX is all that
    would run, and kernels fail with 221 or 209.

    Confirm: `echo $CUDA_DISABLE_PTX_JIT`; the library's architectures against the GPU's compute capability.
    Remedy: unset it, or install a build with machine code for the GPU.
    Reference: https://docs.nvidia.com/cuda/cuda-programming-guide/05-appendices/environment-variables.html
    """
    name = next((name for name in ("CUDA_DISABLE_PTX_JIT", "CUDA_DISABLE_JIT") if _on(snapshot.variable(name))), "")
    if not name:
        return
    from gpucheck.kb.capabilities import runs

    gpus = [gpu for gpu in reading.answering_gpus(snapshot) if gpu.capability]
    builds = [framework for framework in _gpu_builds(snapshot) if framework.architectures]
    if not gpus or not builds:
        raise CannotTell("no GPU answers, or the files do not tell what the libraries' code covers")
    for framework in builds:
        machine = [target for target in framework.architectures if re.fullmatch(r"sm_\d{2,3}[af]?", target)]
        for gpu in gpus:
            if gpu.capability is None or any(runs(target, gpu.capability) for target in machine):
                continue
            yield Complaint(
                Severity.ERROR,
                f"{name} is set, and {framework.name} has only PTX for {gpu.name} ({gpu.capability})",
                "The driver would have to compile it, which the variable forbids.",
                (
                    Evidence(f"{name}={snapshot.variable(name)}", "environment"),
                    Evidence(
                        f"{framework.name} {framework.version}: {', '.join(framework.architectures)}",
                        framework.evidence,
                    ),
                ),
                f"unset {name}",
            )
            break


@rule(Layer.ENVIRONMENT)
def launches_made_blocking(snapshot: Snapshot) -> Iterator[Complaint]:
    """CUDA_LAUNCH_BLOCKING is set: every kernel is waited for.

    It makes errors appear where they happen, for debugging, and costs much of the speed. NCCL may hang with it.

    Confirm: `echo $CUDA_LAUNCH_BLOCKING`.
    Remedy: unset it outside of debugging.
    Reference: https://docs.nvidia.com/cuda/cuda-programming-guide/05-appendices/environment-variables.html
    """
    if _on(snapshot.variable("CUDA_LAUNCH_BLOCKING")):
        yield Complaint(
            Severity.NOTE,
            "CUDA_LAUNCH_BLOCKING makes every kernel launch wait: for debugging only",
            "It makes errors appear where they happen, and costs much of the speed.",
            (Evidence(f"CUDA_LAUNCH_BLOCKING={snapshot.variable('CUDA_LAUNCH_BLOCKING')}", "environment"),),
            "unset CUDA_LAUNCH_BLOCKING",
        )


@rule(Layer.ENVIRONMENT)
def toolkit_home_wrong(snapshot: Snapshot) -> Iterator[Complaint]:
    """CUDA_HOME or CUDA_PATH leads to no toolkit, or to one of another CUDA major than torch is built with.

    Programs that compile (torch's C++ extensions, CuPy, flash-attn, XLA) look for nvcc, headers and libdevice there. Wheels
    that are only run do not need it.

    Confirm: `ls $CUDA_HOME/bin/nvcc`; `$CUDA_HOME/bin/nvcc --version` against `torch.version.cuda`.
    Remedy: set it to the toolkit of the build's CUDA version, or unset it.
    Reference: https://docs.pytorch.org/docs/stable/cpp_extension.html
    """
    torch = next(
        (framework for framework in snapshot.frameworks if framework.name == "torch" and framework.cuda_major), None
    )
    for home in snapshot.toolkit_homes:
        if not home.exists:
            yield Complaint(
                Severity.WARNING,
                f"{home.variable}={home.path} is not there",
                "Programs that compile look for nvcc and headers there.",
                (Evidence(f"{home.variable}={home.path}", "environment"), Evidence("no such folder", home.path)),
                f"unset {home.variable}, or set it to a toolkit: ls -d /usr/local/cuda*",
            )
        elif torch and home.version and home.version.split(".")[0] != str(torch.cuda_major):
            yield Complaint(
                Severity.NOTE,
                f"{home.variable} is a toolkit of CUDA {home.version}, and torch {torch.version} is built with {torch.cuda or torch.cuda_major}",
                "torch runs with its own libraries; compiling an extension for it stops with a version mismatch.",
                (
                    Evidence(f"CUDA {home.version}", f"{home.path}/version.json"),
                    Evidence(f"torch {torch.version}", torch.evidence),
                ),
                f"Where you compile: set {home.variable} to a toolkit of CUDA {torch.cuda_major}",
            )


@rule(Layer.ENVIRONMENT)
def allocator_option_unknown(snapshot: Snapshot) -> Iterator[Complaint]:
    """PYTORCH_CUDA_ALLOC_CONF has an option that the installed torch does not know.

    torch reads it when it first takes memory on the GPU, and stops at an option from a newer version: "Unrecognized CachingAllocator
    option".

    Confirm: `python -c "import torch; torch.zeros(1).cuda()"`.
    Remedy: take the option out, or a newer torch.
    Reference: https://docs.pytorch.org/docs/stable/notes/cuda.html#optimizing-memory-usage-with-pytorch-cuda-alloc-conf
    """
    from gpucheck.kb.compiled import options
    from gpucheck.markers import release

    value = snapshot.variable("PYTORCH_CUDA_ALLOC_CONF") or ""
    builds = [each for each in snapshot.frameworks if each.name == "torch" and each.gpu]
    if not value or not builds:
        return
    names = {part.partition(":")[0].strip() for part in value.split(",")}
    for row in options():
        if row.option not in names or release(builds[0].version) >= release(row.first):
            continue
        yield Complaint(
            Severity.ERROR,
            f"PYTORCH_CUDA_ALLOC_CONF sets {row.option}, which torch {builds[0].version} does not know: it stops at the first use of the GPU",
            f"torch {row.first} is the first with it; an older one says: Unrecognized CachingAllocator option: {row.option}.",
            (
                Evidence(f"PYTORCH_CUDA_ALLOC_CONF={value}", "environment"),
                Evidence(f"torch {builds[0].version}", builds[0].evidence),
                Evidence(f"since torch {row.first}", row.reference),
            ),
            f"unset PYTORCH_CUDA_ALLOC_CONF (or take {row.option} out of it), or install torch {row.first} or newer",
        )


@rule(Layer.ENVIRONMENT, follows=("libcuda-is-stub", "driver-version-mismatch"))
def preload_replaces_driver(snapshot: Snapshot) -> Iterator[Complaint]:
    """LD_PRELOAD puts a copy of a driver library before everything else.

    A preloaded libcuda or libnvidia-ml is the one that every program gets, whatever the linker would find: one of another
    driver, a stub, or a shim of a GPU-sharing system.

    Confirm: `echo $LD_PRELOAD`; `grep libcuda /proc/$$/maps`.
    Remedy: take it out of LD_PRELOAD.
    Reference: ld.so(8), LD_PRELOAD
    """
    entries = [part for part in re.split(r"[:\s]+", snapshot.variable("LD_PRELOAD") or "") if part]
    driver = [part for part in entries if re.match(r"(libcuda|libnvidia-ml)\.so", part.rsplit("/", 1)[-1])]
    if driver:
        yield Complaint(
            Severity.WARNING if reading.reached(snapshot) else Severity.ERROR,
            f"LD_PRELOAD puts {driver[0]} before the driver's own library",
            "Every program gets it instead of the one that the dynamic linker would find.",
            (Evidence(f"LD_PRELOAD={snapshot.variable('LD_PRELOAD')}", "environment"), *reading.calls(snapshot)),
            f"Remove {driver[0]} from LD_PRELOAD",
        )


@rule(Layer.ENVIRONMENT)
def extensions_built_for_other_gpus(snapshot: Snapshot) -> Iterator[Complaint]:
    """TORCH_CUDA_ARCH_LIST names no architecture whose code runs on this GPU.

    torch compiles C++ and CUDA extensions for the architectures in the list, at build time and when a program compiles one as it runs.
    Left over from an image that was built for other GPUs, it makes extensions that fail with "no kernel image is available".

    Confirm: `echo $TORCH_CUDA_ARCH_LIST` against `nvidia-smi --query-gpu=compute_cap --format=csv`.
    Remedy: unset it (torch then takes the GPU that is there), or add the GPU's capability.
    Reference: https://docs.pytorch.org/docs/stable/cpp_extension.html
    """
    value = snapshot.variable("TORCH_CUDA_ARCH_LIST")
    # "8.0;8.6+PTX 9.0a"; names such as "Ampere" are left alone.
    entries = re.findall(r"(?:^|[;, ])\s*(\d+)\.(\d)([af]?)(\+PTX)?(?=[;, ]|$)", value or "")
    if not entries:
        return
    from gpucheck.kb.capabilities import runs

    targets = [f"sm_{major}{minor}{suffix}" for major, minor, suffix, _ in entries]
    targets += [f"compute_{major}{minor}" for major, minor, _, ptx in entries if ptx]
    gpus = [gpu for gpu in reading.answering_gpus(snapshot) if gpu.capability]
    if not gpus:
        raise CannotTell("no GPU answers, so its compute capability is not known")
    for gpu in gpus:
        if gpu.capability and not any(runs(target, gpu.capability) for target in targets):
            yield Complaint(
                Severity.WARNING,
                f"TORCH_CUDA_ARCH_LIST={value}: extensions that are compiled here do not run on {gpu.name} ({gpu.capability})",
                "torch compiles extensions for the architectures in the list alone.",
                (
                    Evidence(f"TORCH_CUDA_ARCH_LIST={value}", "environment"),
                    Evidence(f"GPU {gpu.index} has compute capability {gpu.capability}", "driver"),
                ),
                f"unset TORCH_CUDA_ARCH_LIST, or add {gpu.capability} to it",
            )
            return
