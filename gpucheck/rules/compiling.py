"""Packages that compile CUDA code where they are installed or run, and what they lack for that."""

from __future__ import annotations

from collections.abc import Iterator

from gpucheck.facts import Snapshot, Toolchain
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.kb import compiled
from gpucheck.markers import release
from gpucheck.rules import reading
from gpucheck.rules.packages import installs
from gpucheck.rules.rule import Layer, rule, seen


def _compiles(snapshot: Snapshot, toolchain: Toolchain | None) -> Iterator[tuple[compiled.JitRow, str]]:
    """Packages that compile as they run, with their version; none where there is no compiler to judge."""
    if toolchain is None:
        return
    for row in compiled.jit():
        for name, version in snapshot.compiling:
            if name == row.distribution:
                yield row, f"{name} {version}"


@rule(Layer.FRAMEWORK)
def compiler_for_other_cuda(snapshot: Snapshot) -> Iterator[Complaint]:
    """The nvcc here is of another CUDA major than torch, and a package that compiles as it runs refuses that.

    DeepSpeed builds its operators when they are first used, with the toolkit of CUDA_HOME, and stops with "Installed CUDA version X
    does not match the version torch was compiled with" where the majors differ.

    Confirm: `nvcc --version`; `python -c "import torch; print(torch.version.cuda)"`; `ds_report`.
    Remedy: a toolkit of torch's CUDA major (CUDA_HOME), or torch for the toolkit's.
    Reference: https://github.com/deepspeedai/DeepSpeed/blob/master/op_builder/builder.py (assert_no_cuda_mismatch)
    """
    toolchain = seen(snapshot.toolchain, None)
    torch = next((each for each in snapshot.frameworks if each.name == "torch" and each.cuda_major), None)
    if toolchain is None or torch is None or toolchain.cuda.major == torch.cuda_major:
        return
    for row, name in _compiles(snapshot, toolchain):
        if not row.refuses or snapshot.variable(row.unless) not in (None, "", "0"):
            continue
        cuda = torch.cuda or torch.cuda_major
        yield Complaint(
            Severity.WARNING,
            f"{name} compiles with nvcc of CUDA {toolchain.cuda}, and torch {torch.version} is built with {cuda}: it refuses",
            f"It builds its operators as they are first used, and stops where the CUDA majors differ: {row.symptom}.",
            (
                Evidence(f"nvcc of CUDA {toolchain.cuda}", toolchain.nvcc),
                Evidence(f"torch {torch.version} with CUDA {cuda}", torch.evidence),
            ),
            f"Install the toolkit of CUDA {cuda} and: export CUDA_HOME=/usr/local/cuda-{cuda}; or torch for CUDA {toolchain.cuda.major} "
            f"(pip install torch --index-url https://download.pytorch.org/whl/cu{str(toolchain.cuda).replace('.', '')})",
        )


@rule(Layer.FRAMEWORK, follows=("compiler-for-other-cuda",))
def host_compiler_too_new(snapshot: Snapshot) -> Iterator[Complaint]:
    """The system's gcc is newer than nvcc takes, and a package compiles CUDA code as it runs.

    Each toolkit's header host_config.h refuses newer versions of gcc: "unsupported GNU version! gcc versions later than 13 are not
    supported". Rolling distributions are ahead of it.

    Confirm: `gcc --version`; `grep -A2 'GNUC__ >' $CUDA_HOME/include/crt/host_config.h`.
    Remedy: an older gcc beside it, named by NVCC_PREPEND_FLAGS="-ccbin g++-13" or CC and CXX, or a newer toolkit.
    Reference: https://docs.nvidia.com/cuda/cuda-installation-guide-linux/index.html#host-compiler-support-policy
    """
    toolchain = seen(snapshot.toolchain, None)
    if (
        toolchain is None
        or toolchain.version is None
        or toolchain.newest is None
        or toolchain.version <= toolchain.newest
    ):
        return
    flags = " ".join(snapshot.variable(name) or "" for name in ("NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS"))
    if "ccbin" in flags or "allow-unsupported-compiler" in flags:
        return
    for _, name in _compiles(snapshot, toolchain):
        newest = toolchain.newest
        yield Complaint(
            Severity.WARNING,
            f"{name} compiles CUDA code as it runs, and nvcc {toolchain.cuda} takes gcc up to {newest}, not gcc {toolchain.version}",
            f"nvcc says: unsupported GNU version! gcc versions later than {newest} are not supported.",
            (Evidence(f"gcc {toolchain.version}", toolchain.compiler), Evidence(f"up to {newest}", toolchain.header)),
            f"Install gcc-{newest} and g++-{newest}, then: export CC=gcc-{newest} CXX=g++-{newest} "
            f"NVCC_PREPEND_FLAGS='-ccbin g++-{newest}'; or a newer toolkit",
        )
        return


#: From then on the headers that CuPy brings need the toolkit's beside them.
NEEDING: tuple[int, ...] = (12, 2)


@rule(Layer.FRAMEWORK, follows=("library-missing", "toolkit-home-wrong"))
def cuda_headers_missing(snapshot: Snapshot) -> Iterator[Complaint]:
    """CuPy finds no CUDA headers: its kernels cannot be compiled.

    It compiles nearly all of its kernels as they run, with NVRTC, and from CUDA 12.2 on the headers that it brings include the toolkit's. Images
    of the kind `runtime` and systems with the libraries alone have none: "cannot open source file vector_types.h".

    Confirm: `python -c "import cupy; cupy.arange(3) + 1"`; `ls /usr/local/cuda/include/vector_types.h`.
    Remedy: `pip install nvidia-cuda-runtime-cu12` (for CUDA 13: nvidia-cuda-runtime), or the toolkit's package cuda-cudart-dev.
    Reference: https://github.com/cupy/cupy/issues/8466
    """
    for tool in seen(snapshot.tools, ()) or ():
        if tool.kind != "cuda-headers" or tool.path:
            continue
        major = 13 if "cuda13x" in tool.user else 12
        compilers = [copy for copy in snapshot.libraries if copy.soname == f"libnvrtc.so.{major}" and copy.version]
        if (
            not compilers
            or not reading.gpu_here(snapshot)
            or any(release(copy.version)[:2] < NEEDING for copy in compilers)
        ):
            continue
        framework = next((each for each in snapshot.frameworks if tool.user == f"{each.name} {each.version}"), None)
        wheel = "nvidia-cuda-runtime" if major == 13 else "nvidia-cuda-runtime-cu12"
        yield Complaint(
            Severity.ERROR,
            f"{tool.user} finds no CUDA headers (vector_types.h): its kernels cannot be compiled",
            "It compiles its kernels as they run, with headers that include the toolkit's.",
            (
                Evidence("vector_types.h is not there", ", ".join(tool.tried[:4])),
                Evidence(f"libnvrtc {compilers[0].version}", compilers[0].path),
            ),
            f"{installs(snapshot, framework.location if framework else '', wheel)}, or: apt-get install -y cuda-cudart-dev-{'-'.join(compilers[0].version.split('.')[:2])}",
        )


@rule(Layer.FRAMEWORK, follows=("framework-is-cpu-build", "package-files-missing"))
def extension_without_cuda_part(snapshot: Snapshot) -> Iterator[Complaint]:
    """A package was installed without its compiled part, because no CUDA toolkit was there.

    Their setup.py builds the CUDA operators only where it finds nvcc (CUDA_HOME) and a GPU build of torch, and goes on without a word where it
    does not: in docker build, or in pip's isolated build environment.

    Confirm: `find $(python -c "import site; print(site.getsitepackages()[0])") -name '_C*.so' -o -name '_ext*.so'`.
    Remedy: install it again where nvcc is, with CUDA_HOME set and --no-build-isolation.
    Reference: https://github.com/IDEA-Research/GroundingDINO/issues/230
    """
    rows = {(row.distribution, row.module): row for row in compiled.unbuilt()}
    for each in snapshot.unbuilt:
        row = rows.get((each.name, each.module))
        if row is None:
            continue
        yield Complaint(
            Severity.WARNING,
            f"{each.name} {each.version} was installed without its compiled part {each.module}: {row.without}",
            "No CUDA toolkit was found when it was installed.",
            (
                Evidence(f"no {each.module.replace('.', '/')}*.so", each.location),
                Evidence(f"imports {each.module}", each.importer),
            ),
            "Where nvcc is (an image -devel, or a toolkit of torch's CUDA version): export CUDA_HOME=/usr/local/cuda && pip install --force-reinstall "
            f"--no-deps --no-build-isolation {row.install}",
        )


@rule(Layer.FRAMEWORK)
def program_without_gpu_part(snapshot: Snapshot) -> Iterator[Complaint]:
    """ollama is installed without its libraries for GPUs: it runs on the CPU.

    It loads libggml-cuda.so from lib/ollama beside its binary. Distributions package that apart (Arch: ollama-cuda), and an archive
    that was unpacked in part leaves it out. Its log says "no compatible GPUs were discovered".

    Confirm: `ls /usr/lib/ollama /usr/local/lib/ollama`; `journalctl -u ollama | grep -i "inference compute"`.
    Remedy: install the package for CUDA, or ollama again as a whole.
    Reference: https://github.com/ollama/ollama/blob/main/docs/gpu.mdx
    """
    for program in snapshot.programs:
        if program.backends or not reading.gpu_here(snapshot):
            continue
        yield Complaint(
            Severity.WARNING,
            f"{program.name} is installed without its libraries for GPUs: it runs on the CPU",
            "It has only those for the CPU beside it.",
            (Evidence("no libggml-cuda.so", program.folder), Evidence(program.name, program.path)),
            "Arch: sudo pacman -S ollama-cuda; elsewhere install it again as a whole: curl -fsSL https://ollama.com/install.sh | sh",
        )


@rule(
    Layer.USER_DRIVER,
    follows=("libcuda-missing", "libcuda-off-loader-path", "compute-capability-not-granted", "libcuda-in-image"),
)
def driver_part_missing(snapshot: Snapshot) -> Iterator[Complaint]:
    """A package here opens a part of the driver that is not here: video decoding, or OpenCL.

    The container toolkit mounts the driver's libraries by capability: libnvcuvid and libnvidia-encode come with `video` only. OpenCL's
    loader finds a driver by a file in /etc/OpenCL/vendors, which the toolkit does not write and an image must bring.

    Confirm: `ldconfig -p | grep -E 'nvcuvid|nvidia-opencl'`; `ls /etc/OpenCL/vendors`.
    Remedy: NVIDIA_DRIVER_CAPABILITIES=compute,utility,video; for OpenCL write /etc/OpenCL/vendors/nvidia.icd.
    Reference: https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html#driver-capabilities
    """
    lacking = [part for part in snapshot.driver_parts if not part.path]
    if not lacking or not snapshot.libcuda.path or reading.no_kernel(snapshot) or not reading.gpu_here(snapshot):
        return
    known = reading.driver_version(snapshot)
    branch = known[0].branch if known else "<branch>"
    granted = snapshot.variable("NVIDIA_DRIVER_CAPABILITIES")
    for part in lacking:
        if part.part == "nvidia.icd":
            yield Complaint(
                Severity.WARNING,
                f"{part.user} finds no OpenCL driver: nothing is in /etc/OpenCL/vendors",
                "The container toolkit mounts NVIDIA's OpenCL library but not the file that names it to OpenCL's loader."
                if reading.in_container(snapshot)
                else "OpenCL's loader finds a driver by a file there.",
                (Evidence("no .icd file", "/etc/OpenCL/vendors"),),
                "mkdir -p /etc/OpenCL/vendors && echo libnvidia-opencl.so.1 > /etc/OpenCL/vendors/nvidia.icd (in the image's Dockerfile)"
                if reading.in_container(snapshot)
                else f"Install the driver's OpenCL (Ubuntu: sudo apt install libnvidia-compute-{branch}), which brings /etc/OpenCL/vendors/nvidia.icd",
            )
            continue
        yield Complaint(
            Severity.ERROR,
            f"{part.user} needs {part.part}, which is not here",
            (
                f"NVIDIA_DRIVER_CAPABILITIES={granted} does not name video."
                if granted
                else "A container gets the driver's video libraries only when it asks for the capability video."
            )
            if reading.in_container(snapshot)
            else "The driver's packages for video are not installed.",
            (
                Evidence(f"{part.part} is not found", "the dynamic linker's search"),
                *([Evidence(f"NVIDIA_DRIVER_CAPABILITIES={granted}", "environment")] if granted else []),
            ),
            "docker run -e NVIDIA_DRIVER_CAPABILITIES=compute,utility,video ... (or ENV in the image)"
            if reading.in_container(snapshot)
            else f"Ubuntu: sudo apt install libnvidia-decode-{branch} libnvidia-encode-{branch}; Debian: sudo apt install libnvcuvid1 libnvidia-encode1",
        )
        return
