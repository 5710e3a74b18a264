"""The libraries that user code imports."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpucheck.facts import Framework, Seen, Snapshot, Unseen, Why
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.rules import reading
from gpucheck.rules.rule import CannotTell, Layer, need, rule
from gpucheck.versions import ComputeCapability

INSTALL_GPU = {
    "torch": "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu126 (or cu130: by the driver)",
    "tensorflow": "pip install 'tensorflow[and-cuda]'",
    "tensorflow-cpu": "pip uninstall tensorflow-cpu && pip install 'tensorflow[and-cuda]'",
    "jax": "pip install 'jax[cuda13]' (driver 580 or newer) or 'jax[cuda12]'",
    "xgboost-cpu": "pip uninstall xgboost-cpu && pip install xgboost",
    "xgboost": "pip install --force-reinstall xgboost",
    "onnxruntime": "pip uninstall onnxruntime && pip install onnxruntime-gpu",
}


@rule(Layer.FRAMEWORK)
def framework_is_cpu_build(snapshot: Snapshot) -> Iterator[Complaint]:
    """A library is installed in a build without GPU code, where a GPU is meant to be used.

    pip took the CPU wheel: from a mirror or an index for CPU builds, for an architecture without GPU wheels, or because a
    lock file pins it. No driver or toolkit can change that.

    Confirm: torch: `torch.version.cuda` is None; tensorflow: build_info has is_cuda_build False; jax: no jax-cuda*-plugin.
    Remedy: install the GPU build of the library.
    Reference: https://pytorch.org/get-started/locally/
    """
    here = reading.gpu_here(snapshot)
    declared = reading.declares_gpu(snapshot) if reading.no_kernel(snapshot) else ""
    builds = [framework for framework in snapshot.frameworks if framework.gpu is False]
    if not builds:
        if any(framework.gpu is None for framework in snapshot.frameworks):
            raise CannotTell(
                "the files of a framework do not tell how it was built",
                tuple(framework.evidence for framework in snapshot.frameworks if framework.gpu is None),
            )
        return
    if not here and not declared:
        return
    others = any(framework.gpu for framework in snapshot.frameworks)
    # onnxruntime and numpy-like helpers are often there for the CPU beside a GPU framework.
    for framework in builds:
        yield Complaint(
            Severity.WARNING if others else Severity.ERROR,
            f"{framework.name} {framework.version} is a CPU build: it cannot use the GPU",
            "The wheel that was installed holds no GPU code.",
            (
                Evidence(f"{framework.name} {framework.version} without CUDA", framework.evidence),
                Evidence(f"{declared}={snapshot.variable(declared)} says that this image is for GPUs", "environment")
                if declared
                else Evidence(f"GPU here: {here}", "hardware"),
            ),
            INSTALL_GPU.get(framework.name, f"Install a GPU build of {framework.name}"),
        )


@rule(Layer.FRAMEWORK, follows=("jax-plugin-mismatch",))
def import_fails(snapshot: Snapshot) -> Iterator[Complaint]:
    """Importing the library fails, crashes or does not end.

    Asked for with `gpucheck doctor --import NAME`, which imports the library in a child process with a deadline. A missing or
    wrong library raises ImportError; a plugin of another version or a broken driver can end the process or block it.

    Confirm: `gpucheck trace -- python -c "import NAME"` shows what was loaded, from where and why.
    Remedy: follow the text of the error; `gpucheck libs NAME` names the library that is missing or the wrong copy.
    Reference: ld.so(8)
    """
    if isinstance(snapshot.imported, Unseen) and snapshot.imported.why is Why.NOT_APPLICABLE:
        return  # No import was asked for.
    found = need(snapshot.imported)
    if not found.trouble:
        return
    yield Complaint(
        Severity.ERROR,
        f"import {found.name} {found.trouble}",
        "This is what a program that uses it meets.",
        (
            Evidence(f"import {found.name} {found.trouble}", found.python),
            *([Evidence(found.call, "calls into driver and runtime")] if found.call else []),
        ),
        f"gpucheck libs {found.name}, and: gpucheck trace -- {found.python} -c 'import {found.name}'",
        decisive=True,
    )


@rule(Layer.FRAMEWORK)
def jax_plugin_mismatch(snapshot: Snapshot) -> Iterator[Complaint]:
    """jaxlib and the CUDA plugin are of different versions: JAX falls back to the CPU or crashes.

    jaxlib, jax-cudaNN-plugin and jax-cudaNN-pjrt are released together and must be equal; loose pins let pip mix them.

    Confirm: `pip list | grep jax`.
    Remedy: `pip install -U "jax[cuda13]"` (or cuda12), which pins all of them.
    Reference: https://docs.jax.dev/en/latest/installation.html
    """
    by_place: dict[str, dict[str, str]] = {}
    for dist in snapshot.distributions:
        by_place.setdefault(dist.location, {})[dist.name] = dist.version
    for location, versions in by_place.items():
        jaxlib = versions.get("jaxlib")
        if jaxlib is None:
            continue
        others = {
            name: version
            for name, version in versions.items()
            if re.fullmatch(r"jax-cuda\d+-(plugin|pjrt)", name) and _release(version) != _release(jaxlib)
        }
        if others:
            major = re.sub(r"\D", "", next(iter(others)))
            yield Complaint(
                Severity.ERROR,
                f"jaxlib {jaxlib} and "
                + ", ".join(f"{name} {version}" for name, version in sorted(others.items()))
                + " do not belong together",
                "The plugin registers nothing with a jaxlib of another version, or crashes in it.",
                (
                    Evidence(f"jaxlib {jaxlib}", location),
                    *(Evidence(f"{name} {version}", location) for name, version in sorted(others.items())),
                ),
                f"pip install -U 'jax[cuda{major}]'",
            )


def _release(version: str) -> tuple[str, ...]:
    """0.9.0.1 is a patch of the package of 0.9.0: the plugin of 0.9.0 fits."""
    return tuple(version.split("+")[0].split(".")[:3])


@rule(Layer.FRAMEWORK)
def gpu_not_covered_by_build(snapshot: Snapshot) -> Iterator[Complaint]:
    """The library holds no code for this GPU's compute capability: "no kernel image is available" (209).

    A build carries machine code (SASS) for the capabilities that it was compiled for. Code for X.y runs on X.z with
    z >= y, not on another major; PTX (compute_XY) is compiled for any later GPU at load time. Without either, every kernel
    launch fails, while is_available() says True.

    Confirm: `python -c "import torch; print(torch.cuda.get_arch_list())"` against the GPU's compute capability.
    Remedy: a build made with a CUDA version that knows the GPU.
    Reference: https://docs.nvidia.com/cuda/cuda-programming-guide/05-appendices/compute-capabilities.html
    """
    gpus = [gpu for gpu in reading.answering_gpus(snapshot) if gpu.capability]
    builds = [framework for framework in snapshot.frameworks if framework.gpu and framework.architectures]
    if not builds:
        if any(framework.gpu for framework in snapshot.frameworks):
            raise CannotTell("the files of the framework do not tell its architectures")
        return
    if not gpus:
        raise CannotTell("no GPU's compute capability is known")
    tegra = isinstance(snapshot.host.tegra, Seen)
    for framework in builds:
        for gpu in gpus:
            if gpu.capability and not covers(framework, gpu.capability, tegra):
                yield Complaint(
                    Severity.ERROR,
                    f"{framework.name} {framework.version} has no code for {gpu.name} (compute capability {gpu.capability})",
                    "Neither its machine code nor its PTX can run there: kernel launches fail with 209, no kernel image.",
                    (
                        Evidence(f"built for {' '.join(framework.architectures)}", framework.evidence),
                        Evidence(f"GPU {gpu.index}: {gpu.capability}", "driver"),
                    ),
                    f"Install a build of {framework.name} for a CUDA version that knows sm_{gpu.capability.major}{gpu.capability.minor}"
                    + (
                        ": pip install -U torch --index-url https://download.pytorch.org/whl/cu128"
                        if framework.name == "torch" and gpu.capability.major >= 10
                        else ""
                    ),
                )


def covers(framework: Framework, capability: ComputeCapability, tegra: bool) -> bool:
    """Whether code for one of the architectures runs on the capability.

    SASS: same major, minor not above (not promised between desktop and Tegra, so there the minor must be equal). PTX:
    any not above. Suffix a: that capability alone; f: the same major, minor not below.
    Source: CUDA Programming Guide, appendix "Compute Capabilities", and NVIDIA's binary compatibility note.
    """
    for name in framework.architectures:
        match = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", name)
        if not match:
            continue
        built = ComputeCapability(int(match[2]), int(match[3]))
        if match[4] == "a":
            fits = built == capability
        elif match[4] == "f" or match[1] == "sm":
            fits = built.major == capability.major and built.minor <= capability.minor
            fits = fits and not (tegra and match[1] == "sm" and built != capability)
        else:
            fits = built <= capability
        if fits:
            return True
    return False
