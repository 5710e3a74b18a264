"""The libraries that user code imports."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpucheck.facts import Framework, Seen, Snapshot, Unseen, Why
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.kb.capabilities import capabilities, runs
from gpucheck.kb.frameworks import builds
from gpucheck.kb.toolkits import knows_ptx
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
    "lightgbm": "pip install --no-binary lightgbm lightgbm --config-settings=cmake.define.USE_CUDA=ON (needs the CUDA toolkit), into this interpreter",
    "paddlepaddle": "pip uninstall paddlepaddle && pip install paddlepaddle-gpu -i https://www.paddlepaddle.org.cn/packages/stable/cu126/",
    "llama-cpp-python": "CMAKE_ARGS=-DGGML_CUDA=on pip install --force-reinstall --no-cache-dir llama-cpp-python (needs the CUDA toolkit)",
    "onnxruntime": "pip uninstall onnxruntime && pip install onnxruntime-gpu",
}
#: PyPI's wheels for aarch64 are CPU builds or for servers; a Jetson needs those that are made for its JetPack.
INSTALL_JETSON = "Install the {} wheel for this JetPack from https://pypi.jetson-ai-lab.io"


@rule(Layer.FRAMEWORK, follows=("user-packages-hide-others", "gpu-build-in-other-environment", "packages-share-files"))
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
            INSTALL_JETSON.format(framework.name)
            if isinstance(snapshot.host.tegra, Seen)
            else INSTALL_GPU.get(framework.name, f"Install a GPU build of {framework.name}"),
        )


@rule(
    Layer.FRAMEWORK,
    follows=(
        "wheel-for-other-machine", "packages-share-files", "package-files-missing", "c-library-too-old", "libraries-do-not-fit",
        "library-parts-mixed", "library-missing", "requirement-unmet", "extension-of-other-torch", "jax-plugin-mismatch", "known-bad-pair",
    ),
)  # fmt: skip
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
    dropped = tuple(_dropped(snapshot))
    yield from dropped
    known = [framework for framework in snapshot.frameworks if framework.gpu and framework.architectures]
    if not known:
        if any(framework.gpu is not False for framework in snapshot.frameworks) and not dropped:
            raise CannotTell("the files of the framework do not tell its architectures")
        return
    gpus = reading.capable(snapshot)
    if not gpus:
        raise CannotTell("no GPU's compute capability is known")
    for framework in known:
        uncovered = [(gpu, capability) for gpu, capability in gpus if not _running(framework, capability)]
        if not uncovered:
            continue
        gpu, capability = uncovered[0]
        covered = [other for other in gpus if other not in uncovered]
        yield Complaint(
            # Programs that choose their GPU go on; which one they choose is not seen.
            Severity.ERROR if not covered or uncovered[0][0].index == 0 else Severity.WARNING,
            f"{framework.name} {framework.version} has no code for {gpu.name} (compute capability {capability})",
            "Neither its machine code nor its PTX can run there: kernel launches fail with 209, no kernel image.",
            (
                Evidence(f"built for {' '.join(framework.architectures)}", framework.evidence),
                *(Evidence(f"GPU {each.index}: {its}", "driver") for each, its in uncovered),
                *(Evidence(f"GPU {each.index}: {its} is covered", "driver") for each, its in covered),
            ),
            _covering(framework, capability)
            + (
                f"; or use the others only: export CUDA_VISIBLE_DEVICES={','.join(str(each.index) for each, _ in covered)}"
                if covered
                else ""
            ),
        )


def _dropped(snapshot: Snapshot) -> Iterator[Complaint]:
    """Builds of which only the CUDA major is known: a toolkit that dropped a GPU makes neither machine code nor PTX for it."""
    for framework in snapshot.frameworks:
        if not framework.gpu or framework.architectures or not framework.cuda_major:
            continue
        for gpu, capability in reading.capable(snapshot):
            row = capabilities().get(capability)
            if row and row.last_toolkit and row.last_toolkit.major < framework.cuda_major:
                yield Complaint(
                    Severity.ERROR,
                    f"{framework.name} {framework.version} has no code for {gpu.name} (compute capability {capability})",
                    f"It is built with CUDA {framework.cuda_major}, and CUDA {row.last_toolkit} is the last that compiles for this GPU.",
                    (
                        Evidence(f"built with CUDA {framework.cuda_major}", framework.evidence),
                        Evidence(f"GPU {gpu.index}: {capability}", "driver"),
                        Evidence(f"CUDA {row.last_toolkit} is the last for {capability}", row.reference),
                    ),
                    f"Install a build of {framework.name} for CUDA {row.last_toolkit.major}",
                )
                break


def _running(framework: Framework, capability: ComputeCapability) -> list[str]:
    """The targets of a build that can run on a GPU."""
    return [target for target in framework.architectures if TARGET.fullmatch(target) and runs(target, capability)]


def _covering(framework: Framework, capability: ComputeCapability) -> str:
    """Which build to install: by what toolkits and the known builds cover."""
    row = capabilities().get(capability)
    known = [
        build
        for build in (builds("torch") if framework.name == "torch" else ())
        if any(runs(f"sm_{sm.major}{sm.minor}", capability) for sm in build.sm)
    ]
    if row and not row.last_toolkit:
        # The oldest CUDA that knows the GPU asks the least of the driver.
        known = [build for build in known if build.cuda_version == row.first_toolkit] or known
    if known:
        same = (
            "--force-reinstall torch"
            if framework.version.startswith(known[-1].version)
            else f"torch=={known[-1].version}"
        )
        return f"pip install {same} --index-url https://download.pytorch.org/whl/{known[-1].variant}"
    span = f" (CUDA {row.first_toolkit} to {row.last_toolkit or 'the newest'} can make it)" if row else ""
    return f"Install a build of {framework.name} with sm_{capability.major}{capability.minor}{span}"


TARGET = re.compile(r"(sm|compute)_\d{2,3}[af]?")


@rule(Layer.FRAMEWORK, follows=("driver-too-old", "gpu-not-covered-by-build"))
def ptx_newer_than_driver(snapshot: Snapshot) -> Iterator[Complaint]:
    """The library has only PTX for this GPU, of a newer CUDA than the driver compiles: error 222.

    On a driver of the same CUDA major and an older minor (minor-version compatibility) machine code runs, PTX does not: the
    driver does not know its version. A build without machine code for the GPU depends on PTX alone.

    Confirm: `torch.cuda.get_arch_list()` has no sm_ entry for the GPU; the call fails with CUDA_ERROR_UNSUPPORTED_PTX_VERSION.
    Remedy: update the driver, or install a build with machine code for the GPU.
    Reference: https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
    """
    gpus = reading.capable(snapshot)
    supported = reading.supported_cuda(snapshot)
    known = [framework for framework in snapshot.frameworks if framework.gpu and framework.architectures]
    if not known and any(framework.gpu is not False for framework in snapshot.frameworks):
        raise CannotTell("the files of the framework do not tell its architectures")
    for framework in known:
        if not framework.cuda:
            continue
        if not gpus or not supported:
            raise CannotTell("neither a GPU's compute capability nor the driver's CUDA version is known")
        for gpu, capability in gpus:
            running = _running(framework, capability)
            if not running or any(target.startswith("sm_") for target in running):
                continue
            judged = knows_ptx(framework.cuda, supported[0], "the driver")
            if judged.holds is not False:
                continue
            yield Complaint(
                Severity.ERROR,
                f"{framework.name} {framework.version} has only PTX for {gpu.name}, newer than the driver compiles (error 222)",
                f"{judged.evidence[0].upper()}{judged.evidence[1:]}.",
                (
                    Evidence(
                        f"built for {' '.join(framework.architectures)} with CUDA {framework.cuda}", framework.evidence
                    ),
                    Evidence(
                        f"GPU {gpu.index}: {capability}, for which only {' '.join(running)} can be compiled", "driver"
                    ),
                    Evidence(f"the driver implements CUDA {supported[0]}", supported[1]),
                ),
                f"Update the driver to one for CUDA {framework.cuda}, or: {_covering(framework, capability)}",
            )
            break
