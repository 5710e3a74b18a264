"""What Triton, XLA, FlashInfer and numba compile kernels with."""

from __future__ import annotations

from collections.abc import Iterator

from gpucheck.facts import Snapshot, Tool
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.kb.capabilities import capabilities
from gpucheck.rules import reading
from gpucheck.rules.packages import installs
from gpucheck.rules.rule import Layer, rule, seen


@rule(
    Layer.FRAMEWORK,
    follows=(
        "libcuda-missing",
        "libcuda-off-loader-path",
        "wsl-libcuda-shadowed",
        "wheel-for-other-machine",
        "package-files-missing",
    ),
)
def triton_cannot_compile(snapshot: Snapshot) -> Iterator[Complaint]:
    """Triton lacks something that it compiles kernels with: ptxas, libcuda in the linker's cache, a C compiler, Python.h.

    Triton (and with it torch.compile and vLLM) compiles a kernel with its own ptxas, and a small launcher in C that is linked
    with libcuda. It takes libcuda's folder from `ldconfig -p`, not from where the process has loaded it, and older versions want
    a file libcuda.so there. Its ptxas must know the GPU. Programs that launch no Triton kernel do not notice.

    Confirm: `ldconfig -p | grep libcuda`; `python -c "import triton.runtime.driver as d; print(d.active)"`; `gcc --version`.
    Remedy: by what is missing: TRITON_LIBCUDA_PATH, TRITON_PTXAS_PATH, a C compiler and Python's headers.
    Reference: https://github.com/triton-lang/triton/issues/1981
    """
    tools = seen(snapshot.tools, ()) or ()
    by_kind = {tool.kind: tool for tool in tools}
    if "compiler" not in by_kind:
        return
    user = by_kind["compiler"].user
    ptxas = by_kind.get("ptxas")
    if ptxas and not ptxas.path:
        yield Complaint(
            Severity.WARNING,
            f"{user} has no ptxas: no kernel can be compiled",
            "It is part of Triton's wheel; other builds take it from the toolkit.",
            (Evidence("ptxas is not there", ", ".join(ptxas.tried)),),
            "export TRITON_PTXAS_PATH=/usr/local/cuda/bin/ptxas (from the package cuda-nvcc), or reinstall triton from PyPI",
        )
    yield from _old_ptxas(snapshot, by_kind)
    libcuda = by_kind.get("libcuda")
    # Without any libcuda here this is another finding; in an image it comes when the container starts.
    if libcuda and not libcuda.path and snapshot.libcuda.path and not reading.no_kernel(snapshot):
        tried = libcuda.tried[0] if libcuda.tried else ""
        name = tried.rsplit("/", 1)[-1] if tried.startswith("/") else "libcuda.so.1"
        folder = snapshot.libcuda.path.rpartition("/")[0]
        link = (
            f", or: sudo ln -s libcuda.so.1 {folder}/libcuda.so"
            if name == "libcuda.so"
            else f", or: echo {folder} | sudo tee /etc/ld.so.conf.d/nvidia.conf && sudo ldconfig"
        )
        yield Complaint(
            Severity.WARNING,
            f"{user} does not find {name}: 'libcuda.so cannot found!'",
            "It looks in the folders that `ldconfig -p` names for libcuda, and the process gets libcuda from elsewhere."
            if name == "libcuda.so.1" or not tried.startswith("/")
            else "It links with the unversioned name, which only development packages bring.",
            (
                Evidence(f"{name} is not there", ", ".join(libcuda.tried)),
                Evidence(f"libcuda.so.1, found by {snapshot.libcuda.how}", snapshot.libcuda.path),
            ),
            f"export TRITON_LIBCUDA_PATH={folder}{link}",
        )
    lacking = [tool for tool in tools if tool.kind in ("compiler", "header") and not tool.path]
    if lacking and reading.reached(snapshot):
        yield Complaint(
            Severity.NOTE,
            f"{user} cannot build its launcher: no "
            + " and no ".join("C compiler" if tool.kind == "compiler" else "Python.h" for tool in lacking),
            "torch.compile and Triton kernels need them when they first run; other code does not.",
            tuple(Evidence("not there", ", ".join(tool.tried[:3])) for tool in lacking),
            "apt-get install -y gcc python3-dev (in an image: where torch.compile or Triton is used)",
        )


def _old_ptxas(snapshot: Snapshot, by_kind: dict[str, Tool]) -> Iterator[Complaint]:
    """The ptxas that Triton takes for a GPU: the one for Blackwell from compute capability 10.0 on, where there is one."""
    for gpu, capability in reading.capable(snapshot):
        tool = by_kind.get("ptxas-blackwell") if capability.major >= 10 else None
        tool = tool or by_kind.get("ptxas")
        row = capabilities().get(capability)
        if not tool or not tool.path or not tool.cuda or not row or tool.cuda >= row.first_toolkit:
            continue
        yield Complaint(
            Severity.WARNING,
            f"{tool.user} compiles with ptxas of CUDA {tool.cuda}, which does not know {gpu.name}",
            f"CUDA {row.first_toolkit} is the first for compute capability {capability}; ptxas says: Value 'sm_{capability.major}{capability.minor}a' is not defined.",
            (
                Evidence(f"ptxas of CUDA {tool.cuda}", tool.path),
                Evidence(f"GPU {gpu.index}: {capability}", "driver"),
                Evidence(f"CUDA {row.first_toolkit} is the first", row.reference),
            ),
            "export TRITON_PTXAS_PATH=/usr/local/cuda/bin/ptxas of a newer toolkit, or: pip install -U triton with the torch that it belongs to",
        )
        return


@rule(Layer.FRAMEWORK, follows=("library-missing",))
def libdevice_missing(snapshot: Snapshot) -> Iterator[Complaint]:
    """XLA does not find libdevice: "libdevice not found at ./libdevice.10.bc".

    TensorFlow with jit_compile (Keras turns it on by itself on a GPU) and jax compile with XLA, which links NVIDIA's libdevice.10.bc from
    a CUDA folder. It comes with nvidia-cuda-nvcc (nvidia-nvvm for CUDA 13) or with a toolkit.

    Confirm: `find / -name 'libdevice*.bc'`.
    Remedy: install the wheel, or name the folder: XLA_FLAGS=--xla_gpu_cuda_data_dir=/usr/local/cuda.
    Reference: https://github.com/tensorflow/tensorflow/issues/56927
    """
    for tool in seen(snapshot.tools, ()) or ():
        if tool.kind != "libdevice" or tool.path:
            continue
        framework = next(
            (each for each in snapshot.frameworks if tool.user.startswith(f"{each.name} ") and each.gpu), None
        )
        if framework is None:
            continue
        wheel = "nvidia-nvvm" if framework.cuda_major == 13 else "nvidia-cuda-nvcc-cu12"
        yield Complaint(
            min(Severity.WARNING, reading.lacking(snapshot), key=lambda severity: -severity.weight),
            f"{tool.user} does not find libdevice.10.bc: XLA cannot compile for the GPU",
            "No folder in which XLA looks has it.",
            (Evidence("libdevice.10.bc is not there", ", ".join(tool.tried[:4])),),
            f"{installs(snapshot, framework.location, wheel)}, or: export XLA_FLAGS=--xla_gpu_cuda_data_dir=/usr/local/cuda",
        )


@rule(Layer.FRAMEWORK, follows=("toolkit-home-wrong",))
def compiler_missing(snapshot: Snapshot) -> Iterator[Complaint]:
    """A package that compiles its kernels for the GPU when they are first used finds no compiler.

    FlashInfer, which vLLM and SGLang choose for some models and GPUs, builds its kernels with nvcc unless flashinfer-jit-cache has them
    ("Could not find nvcc and default cuda_home='/usr/local/cuda' doesn't exist"). numba compiles functions under `@cuda.jit` with
    libnvvm of a toolkit ("libNVVM cannot be found"). What they do not compile, and numba's functions for the CPU, are not concerned.

    Confirm: `nvcc --version`; `numba -s | grep -A5 'CUDA Libraries'`.
    Remedy: a toolkit of torch's CUDA version, or packages that bring the kernels or the compiler.
    Reference: https://github.com/flashinfer-ai/flashinfer/issues/1919
    """
    tools = seen(snapshot.tools, ()) or ()
    for tool in tools:
        if tool.path or tool.kind not in ("nvcc", "libnvvm") or not reading.reached(snapshot):
            continue
        if tool.kind == "libnvvm" and any(framework.gpu for framework in snapshot.frameworks):
            # numba is there for the CPU far more often; only where nothing else uses the GPU it may well be meant for it.
            continue
        package = tool.user.partition(" ")[0]
        user, remedy = ("FlashInfer's kernels", NVCC) if tool.kind == "nvcc" else ("functions under @cuda.jit", LIBNVVM)
        yield Complaint(
            Severity.NOTE,
            f"{tool.user} finds no {tool.kind}: {user} cannot be compiled",
            f"It compiles them when they are first used, and then stops; what uses {package} otherwise does not notice.",
            (Evidence(f"{tool.kind} is not there", ", ".join(tool.tried[:4])),),
            remedy.format(cuda=_toolkit(snapshot)),
        )


NVCC = (
    "Install nvcc of CUDA {cuda} (package cuda-nvcc) and set CUDA_HOME, or install the compiled kernels: "
    "pip install flashinfer-jit-cache (from FlashInfer's index), or have the program use another attention"
)
LIBNVVM = "If GPU code is to run: install a CUDA toolkit and set CUDA_HOME, or: pip install 'numba-cuda[cu12]' (conda install cuda-nvcc)"


def _toolkit(snapshot: Snapshot) -> str:
    """The CUDA version that torch is built with."""
    built = next((str(each.cuda) for each in snapshot.frameworks if each.name == "torch" and each.cuda), "")
    return built or "the framework"
