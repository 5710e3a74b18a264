"""Cases of rules about toolkit libraries, packages and frameworks: (rule, what, snapshot, status)."""

from __future__ import annotations

from gpucheck.facts import (
    Absent,
    Cached,
    Framework,
    Late,
    Library,
    Loaded,
    Loads,
    Lost,
    Misfit,
    Need,
    Overlap,
    Preload,
    Python,
    Seen,
    Snapshot,
    Tool,
)
from gpucheck.finding import Status
from gpucheck.record import replace
from gpucheck.versions import ComputeCapability, CudaVersion
from tests.machines import (
    ABSENT,
    NOT_APPLICABLE,
    PACKAGES,
    UNREADABLE,
    answers,
    bare,
    gpu,
    healthy,
    image,
    loaded,
    loads,
    packages,
    pci,
    torch,
    wheel,
    with_host,
    with_kernel,
)

FAIL, PASS, UNKNOWN = Status.FAIL, Status.PASS, Status.UNKNOWN

TOOLKIT = "/usr/local/cuda-12.2/lib64"


def framework(name: str, version: str, cuda: str = "12.5") -> Framework:
    built = CudaVersion.parse(cuda)
    assert built
    return Framework(name, version, PACKAGES, True, built, built.major, (), f"{PACKAGES}/{name}")


def seen_loads(*found: Loads) -> Seen[tuple[Loads, ...]]:
    return Seen(found, "the model of the dynamic linker")


def part(soname: str, version: str, folder: str = TOOLKIT, how: str = "LD_LIBRARY_PATH", hides: str = "") -> Loaded:
    return Loaded(soname, f"{folder}/{soname}", how, version, hides)


def absent(soname: str, *copies: str, why: str = "") -> Absent:
    return Absent(soname, f"{PACKAGES}/tensorflow/libtensorflow_framework.so.2", "load", why, copies)


def required(by: str, name: str, specifier: str, version: str, extra: str = "") -> Need:
    return Need(by, PACKAGES, name, specifier, extra, version)


def tool(kind: str, path: str, cuda: str = "", *tried: str, user: str = "triton 3.5.0") -> Tool:
    return Tool(kind, user, path, CudaVersion.parse(cuda) if cuda else None, tried or ("ldconfig -p",))


def triton(**changed: Tool) -> Seen[tuple[Tool, ...]]:
    """What triton compiles with; ``libcuda`` and so on instead of what is healthy."""
    home = f"{PACKAGES}/triton/backends/nvidia/bin"
    found = {
        "ptxas": tool("ptxas", f"{home}/ptxas", "12.8", f"{home}/ptxas"),
        "compiler": tool("compiler", "/usr/bin/gcc"),
        "header": tool("header", "/usr/include/python3.12/Python.h"),
        "libcuda": tool("libcuda", "/usr/lib/x86_64-linux-gnu/libcuda.so.1"),
    }
    return Seen(tuple({**found, **changed}.values()), "the files of Triton and XLA")


TENSORFLOW = framework("tensorflow", "2.21.0")
BROKEN = seen_loads(loads("tensorflow", "2.21.0", why="it is small", unread=("libtensorflow_cc.so.2: truncated",)))
NVJITLINK = Misfit(
    f"{PACKAGES}/nvidia/cusparse/lib/libcusparse.so.12",
    "libnvJitLink.so.12",
    f"{TOOLKIT}/libnvJitLink.so.12",
    "libnvJitLink.so.12",
    "__nvJitLinkAddData_12_4",
    f"{PACKAGES}/nvidia/cusparse/lib/libcusparse.so.12: undefined symbol: __nvJitLinkAddData_12_4, version libnvJitLink.so.12",
    "LD_LIBRARY_PATH",
)
GLIBCXX = replace(
    NVJITLINK,
    soname="libstdc++.so.6",
    path="/opt/conda/lib/libstdc++.so.6",
    version="GLIBCXX_3.4.32",
    symbol="",
    message="/opt/conda/lib/libstdc++.so.6: version `GLIBCXX_3.4.32' not found (required by libx.so)",
)
ONNX = ("onnxruntime 1.23.0", "onnxruntime-gpu 1.23.0")
FLASH = Misfit(
    f"{PACKAGES}/flash_attn_2_cuda.cpython-312-x86_64-linux-gnu.so",
    "",
    f"{PACKAGES}/torch/lib",
    "",
    "_ZN3c105ErrorC2ENS_14SourceLocationESs",
    "flash_attn_2_cuda.so: undefined symbol: _ZN3c105ErrorC2ENS_14SourceLocationESs",
    "resident",
)
EXTENSION = Loads("flash-attn", "2.8.3", PACKAGES, "it is linked with torch", (), (), (FLASH,), ())
CONDA = Python("/opt/conda", "3.12", ("/opt/conda/lib/python3.12/site-packages",), "CONDA_PREFIX")
OWN = Python("/opt/venv", "3.12", (PACKAGES,), "python3 on PATH")
K80 = replace(pci(), device="102d", model="Tesla K80")
SILENT = {"cuda": answers(("cuInit", 100)), "nvml": ABSENT}


def lacking(soname: str, *copies: str, name: str = "tensorflow", version: str = "2.21.0", why: str = "") -> Snapshot:
    return healthy(
        frameworks=(framework(name, version),),
        loads=seen_loads(loads(name, version, missing=(absent(soname, *copies, why=why),))),
    )


CASES: list[tuple[str, str, Snapshot, Status]] = [
    ("library-missing", "tensorflow without its extra", lacking("libcudart.so.12"), FAIL),
    ("library-missing", "a copy lies elsewhere", lacking("libcudart.so.12", f"{TOOLKIT}/libcudart.so.12"), FAIL),
    ("library-missing", "a dangling link", lacking("libcudart.so.12", why=f"{TOOLKIT}/libcudart.so.12: a dangling link to libcudart.so.12.2"), FAIL),
    ("library-missing", "for onnxruntime to preload", lacking("libcudnn.so.9", f"{PACKAGES}/nvidia/cudnn/lib/libcudnn.so.9", name="onnxruntime-gpu"), FAIL),
    ("library-missing", "cupy's cuBLAS, asked for when it is first used", lacking("libcublas.so.12", name="cupy-cuda12x", version="14.2.0"), FAIL),
    ("library-missing", "all is found", healthy(), PASS),
    ("library-missing", "a name without a number", lacking("libnvrtc.so", f"{PACKAGES}/torch/lib/libnvrtc-672ee683.so.11.2", name="torch"), FAIL),
    ("library-missing", "torch's fallback may take another CUDA", replace(
        lacking("libcudart.so.12", "/opt/b/nvidia/cuda_runtime/lib/libcudart.so.12", name="torch"), libraries=(
            Library("libcudart.so.11.0", "/opt/b/nvidia/cuda_runtime/lib/libcudart.so.11.0", "/x", "wheel", "11.7.99", "nvidia-cuda-runtime-cu11 11.7.99", 1),)), FAIL),
    ("library-missing", "no framework", healthy(frameworks=(), loads=ABSENT), PASS),
    ("library-missing", "a library could not be read", healthy(loads=BROKEN), UNKNOWN),
    ("library-missing", "not looked", healthy(loads=NOT_APPLICABLE), UNKNOWN),
    ("libraries-do-not-fit", "an older nvJitLink first", healthy(loads=seen_loads(loads(misfits=(NVJITLINK,)))), FAIL),
    ("libraries-do-not-fit", "an older one beside it", healthy(loads=seen_loads(loads(misfits=(replace(NVJITLINK, how="RUNPATH"),)))), FAIL),
    ("libraries-do-not-fit", "libstdc++ is another rule's", healthy(loads=seen_loads(loads(misfits=(GLIBCXX,)))), PASS),
    ("libraries-do-not-fit", "an older copy that does no harm", healthy(loads=seen_loads(loads(libraries=(part("libnvJitLink.so.12", "12.2.140"),)))), PASS),
    ("libraries-do-not-fit", "a library could not be read", healthy(loads=BROKEN), UNKNOWN),
    ("c-library-too-old", "libstdc++ of conda", healthy(loads=seen_loads(loads(misfits=(GLIBCXX,)))), FAIL),
    ("c-library-too-old", "a wheel for a newer glibc", healthy(packages=packages(wheel("torch", "2.9.1", "cp312-cp312-manylinux_2_40_x86_64"))), FAIL),
    ("c-library-too-old", "a wheel for an older glibc", healthy(packages=packages(wheel("torch", "2.9.1", "cp312-cp312-manylinux_2_17_x86_64"))), PASS),
    ("c-library-too-old", "one of two tags is older", healthy(packages=packages(wheel("torch", "2.9.1", "py3-none-manylinux_2_40_x86_64", "py3-none-manylinux_2_17_x86_64"))), PASS),
    ("c-library-too-old", "built here", healthy(packages=packages(wheel("torch", "2.9.1", "cp312-cp312-linux_x86_64"))), PASS),
    ("c-library-too-old", "glibc is not known", with_host(healthy(), libc=UNREADABLE), UNKNOWN),
    (
        "library-parts-mixed",
        "cuDNN of a toolkit under that of a wheel",
        healthy(loads=seen_loads(loads(libraries=(part("libcudnn.so.9", "9.10.2", f"{PACKAGES}/nvidia/cudnn/lib", "RPATH"), part("libcudnn_ops.so.9", "9.1.0"))))),
        FAIL,
    ),
    (
        "library-parts-mixed",
        "cuBLAS without its cuBLASLt",
        healthy(loads=seen_loads(loads(libraries=(part("libcublas.so.12", "12.2.5.6"), part("libcublasLt.so.12", "12.8.4.1", f"{PACKAGES}/nvidia/cublas/lib", "RUNPATH"))))),
        FAIL,
    ),
    (
        "library-parts-mixed",
        "one installation",
        healthy(loads=seen_loads(loads(libraries=(part("libcublas.so.12", "12.2.5.6"), part("libcublasLt.so.12", "12.2.5.6"))))),
        PASS,
    ),
    (
        "library-parts-mixed",
        "two folders of one release",
        healthy(loads=seen_loads(loads(libraries=(part("libcudnn.so.9", "9.1.0"), part("libcudnn_ops.so.9", "9.1.0.70", "/usr/lib"))))),
        PASS,
    ),
    ("library-parts-mixed", "a library could not be read", healthy(loads=BROKEN), UNKNOWN),
    (
        "library-older-than-required",
        "jax gets the toolkit's cuBLAS",
        healthy(
            loads=seen_loads(loads("jax", "0.4.13", libraries=(part("libcublas.so.12", "12.2.5.6", hides=f"{PACKAGES}/nvidia/cublas/lib/libcublas.so.12"),))),
            packages=packages(needs=(required("jax-cuda12-plugin 0.4.13", "nvidia-cublas-cu12", ">=12.3.4.1", "12.4.2.65", "with-cuda"),)),
        ),
        FAIL,
    ),
    (
        "library-older-than-required",
        "the toolkit's is newer",
        healthy(
            loads=seen_loads(loads("jax", "0.4.13", libraries=(part("libcublas.so.12", "12.9.1.4"),))),
            packages=packages(needs=(required("jax-cuda12-plugin 0.4.13", "nvidia-cublas-cu12", ">=12.3.4.1", "12.4.2.65"),)),
        ),
        PASS,
    ),
    (
        "library-older-than-required",
        "nobody requires a version",
        healthy(loads=seen_loads(loads(libraries=(part("libcublas.so.12", "12.2.5.6"),)))),
        PASS,
    ),
    ("library-older-than-required", "a library could not be read", healthy(loads=BROKEN), UNKNOWN),
    ("loader-cache-stale", "its file is gone", healthy(cached=Seen((Cached("libcuda.so.1", "/usr/lib64/libcuda.so.1", False),), "/etc/ld.so.cache")), FAIL),
    (
        "loader-cache-stale",
        "another file has the name",
        healthy(cached=Seen((Cached("libcuda.so.1", "/usr/lib64/libcuda.so.1", False), Cached("libcuda.so.1", "/usr/lib/libcuda.so.1", True)), "/etc")),
        PASS,
    ),
    ("loader-cache-stale", "no cache", healthy(cached=ABSENT), PASS),
    ("loader-cache-stale", "an image", image(), UNKNOWN),
    ("preloaded-library-unusable", "not there", healthy(preloads=Seen((Preload("/opt/shim.so", "LD_PRELOAD", "", "not there"),), "LD_PRELOAD")), FAIL),
    ("preloaded-library-unusable", "works", healthy(preloads=Seen((Preload("libjemalloc.so.2", "LD_PRELOAD", "/usr/lib/libjemalloc.so.2", ""),), "LD_PRELOAD")), PASS),
    ("preloaded-library-unusable", "no linker", healthy(preloads=UNREADABLE), UNKNOWN),
    (
        "import-order-decides", "cupy takes the system's NCCL, torch has a newer one",
        healthy(
            loads=seen_loads(loads("cupy-cuda12x", "13.6.0", libraries=(part("libnccl.so.2", "2.16.2", "/usr/lib/x86_64-linux-gnu", "ld.so.cache"),)), loads()),
            libraries=(Library("libnccl.so.2", f"{PACKAGES}/nvidia/nccl/lib/libnccl.so.2", "/x", "wheel", "2.27.7", "nvidia-nccl-cu13 2.27.7", 1),)), FAIL),
    (
        "import-order-decides", "the system's is newer",
        healthy(
            loads=seen_loads(loads("cupy-cuda12x", "13.6.0", libraries=(part("libnccl.so.2", "2.28.3", "/usr/lib/x86_64-linux-gnu", "ld.so.cache"),)), loads()),
            libraries=(Library("libnccl.so.2", f"{PACKAGES}/nvidia/nccl/lib/libnccl.so.2", "/x", "wheel", "2.27.7", "nvidia-nccl-cu13 2.27.7", 1),)), PASS),
    (
        "import-order-decides", "one framework alone",
        healthy(
            loads=seen_loads(loads("cupy-cuda12x", "13.6.0", libraries=(part("libnccl.so.2", "2.16.2", "/usr/lib/x86_64-linux-gnu", "ld.so.cache"),))),
            libraries=(Library("libnccl.so.2", f"{PACKAGES}/nvidia/nccl/lib/libnccl.so.2", "/x", "wheel", "2.27.7", "nvidia-nccl-cu13 2.27.7", 1),)), PASS),
    ("import-order-decides", "a library could not be read", healthy(loads=BROKEN), UNKNOWN),
    ("import-order-decides", "torch makes an old libstdc++ resident", healthy(loads=seen_loads(replace(loads(), late=(Late(
        "youtokentome", f"{PACKAGES}/_youtokentome_cython.so", "libstdc++.so.6", "/lib64/libstdc++.so.6", "/opt/conda/lib/libstdc++.so.6", "GLIBCXX_3.4.20"),)))), FAIL),
    ("library-parts-mixed", "libnvrtc and its built-ins", healthy(loads=seen_loads(loads("any program", "", location="", libraries=(
        part("libnvrtc.so.10.2", "10.2.89", "/opt/conda/lib", "path"), part("libnvrtc-builtins.so", "11.6.55"))))), FAIL),
    # -- packages
    ("wheel-for-other-machine", "another processor", healthy(packages=packages(wheel("torch", "2.9.1", "cp312-cp312-manylinux_2_28_aarch64"))), FAIL),
    ("wheel-for-other-machine", "another Python", healthy(packages=packages(wheel("torch", "2.9.1", "cp311-cp311-manylinux_2_28_x86_64"))), FAIL),
    ("wheel-for-other-machine", "glibc on musl", with_host(healthy(), libc=Seen(replace(healthy().host.libc.value, kind="musl", version="1.2.5"), "/lib")), FAIL),  # type: ignore[union-attr]
    ("wheel-for-other-machine", "for every Python 3", healthy(packages=packages(wheel("nvidia-nccl-cu12", "2.27", "py3-none-manylinux_2_17_x86_64"))), PASS),
    ("wheel-for-other-machine", "the stable interface", healthy(packages=packages(wheel("vllm", "0.9", "cp38-abi3-manylinux1_x86_64"))), PASS),
    ("wheel-for-other-machine", "pure Python", healthy(packages=packages(wheel("keras", "3.15", "py3-none-any"))), PASS),
    ("wheel-for-other-machine", "a fat wheel", healthy(packages=packages(wheel("torch", "2", "cp312-cp312-manylinux_2_28_aarch64", "cp312-cp312-manylinux_2_28_x86_64"))), PASS),
    ("wheel-for-other-machine", "not looked", healthy(packages=NOT_APPLICABLE), UNKNOWN),
    ("packages-share-files", "the CPU build won", healthy(packages=packages(overlaps=(Overlap(PACKAGES, ONNX, ONNX[0], 40, "onnxruntime/capi/x.so"),))), FAIL),
    ("packages-share-files", "the GPU build won", healthy(packages=packages(overlaps=(Overlap(PACKAGES, ONNX, ONNX[1], 40, "onnxruntime/capi/x.so"),))), FAIL),
    (
        "packages-share-files",
        "cuDNN of two CUDA majors",
        healthy(packages=packages(
            overlaps=(Overlap(PACKAGES, ("nvidia-cudnn-cu12 9.10.2.21", "nvidia-cudnn-cu13 9.13.0.50"), "nvidia-cudnn-cu13 9.13.0.50", 8, "nvidia/cudnn/lib/libcudnn.so.9"),),
            needs=(required("torch 2.8.0", "nvidia-cudnn-cu12", "==9.10.2.21", "9.10.2.21"),),
        )),
        FAIL,
    ),
    ("packages-share-files", "none", healthy(), PASS),
    ("packages-share-files", "not looked", healthy(packages=NOT_APPLICABLE), UNKNOWN),
    ("package-files-missing", "a library was deleted", healthy(packages=packages(lost=(Lost("nvidia-cudnn-cu12 9.10.2.21", PACKAGES, "nvidia/cudnn/lib/libcudnn_adv.so.9", 2),))), FAIL),
    ("package-files-missing", "none", healthy(), PASS),
    ("package-files-missing", "not looked", healthy(packages=NOT_APPLICABLE), UNKNOWN),
    ("requirement-unmet", "torchvision for another torch", healthy(packages=packages(needs=(required("torchvision 0.22.1", "torch", "==2.7.1", "2.9.1+cu130"),))), FAIL),
    ("requirement-unmet", "an older cuDNN", healthy(packages=packages(needs=(required("torch 2.9.1", "nvidia-cudnn-cu13", "==9.13.0.50", "9.10.1.4"),))), FAIL),
    ("requirement-unmet", "torch's cuDNN is too old for jax", healthy(packages=packages(needs=(required("jax-cuda12-plugin 0.6.2", "nvidia-cudnn-cu12", "<10.0,>=9.8", "9.5.1.17", "with-cuda"),))), FAIL),
    ("requirement-unmet", "an extra that nobody asked for", healthy(packages=packages(needs=(required("jax-cuda12-plugin 0.6.2", "nvidia-cudnn-cu12", "<10.0,>=9.8", "", "with-cuda"),))), PASS),
    ("requirement-unmet", "not installed", healthy(packages=packages(needs=(required("torch 2.9.1", "nvidia-nccl-cu13", "==2.27.7", ""),))), FAIL),
    ("requirement-unmet", "another CUDA major", healthy(packages=packages(needs=(required("torch 2.9.1", "nvidia-cublas", "==13.0.0.19", "14.1.0.1"),))), FAIL),
    ("requirement-unmet", "a newer cuDNN of the same major", healthy(packages=packages(needs=(required("torch 2.9.1", "nvidia-cudnn-cu13", "==9.13.0.50", "9.26.0.51"),))), PASS),
    ("requirement-unmet", "the same torch of another index", healthy(packages=packages(needs=(required("torchvision 0.24.1", "torch", "==2.9.1", "2.9.1+cu130"),))), PASS),
    ("requirement-unmet", "of an extra that nobody asked for", healthy(packages=packages(needs=(required("tensorflow 2.21.0", "nvidia-cublas-cu12", ">=12.5", "", "and-cuda"),))), PASS),
    ("requirement-unmet", "METADATA could not be read", healthy(packages=packages(unread=("torch-2.9.1.dist-info/METADATA",))), UNKNOWN),
    ("companions-for-other-cuda", "torchvision for the CPU", healthy(packages=packages(wheel("torchvision", "0.24.1+cpu"))), FAIL),
    ("companions-for-other-cuda", "another major", healthy(packages=packages(wheel("torchaudio", "2.9.1+cu126"))), FAIL),
    ("companions-for-other-cuda", "the same", healthy(packages=packages(wheel("torchvision", "0.24.1+cu130"))), PASS),
    ("companions-for-other-cuda", "of PyPI, which says nothing", healthy(packages=packages(wheel("torchvision", "0.24.1"))), PASS),
    ("companions-for-other-cuda", "not looked", healthy(packages=NOT_APPLICABLE), UNKNOWN),
    ("gpu-build-in-other-environment", "the CPU build comes first", healthy(
        pythons=(OWN, CONDA), frameworks=(torch("2.9.1+cpu", gpu=False), replace(torch(), location=CONDA.packages[0]))), FAIL),
    ("gpu-build-in-other-environment", "the first has none", healthy(pythons=(OWN, CONDA), frameworks=(replace(torch(), location=CONDA.packages[0]),)), FAIL),
    ("gpu-build-in-other-environment", "the first has it", healthy(
        pythons=(OWN, CONDA), frameworks=(torch(), replace(torch("2.9.1+cpu", gpu=False), location=CONDA.packages[0]))), PASS),
    ("gpu-build-in-other-environment", "one environment", healthy(), PASS),
    ("gpu-build-in-other-environment", "the build is not known", healthy(pythons=(OWN, CONDA), frameworks=(torch("2.9.1", gpu=None),)), UNKNOWN),
    ("known-bad-pair", "NumPy 2", healthy(packages=packages(wheel("torch", "2.2.2+cu121"), wheel("numpy", "2.1.0"))), FAIL),
    ("known-bad-pair", "cuDNN without Volta", healthy(
        packages=packages(wheel("nvidia-cudnn-cu12", "9.14.0.64")), cuda=answers(gpus=(gpu(name="Tesla V100", capability=ComputeCapability(7, 0)),))), FAIL),
    ("known-bad-pair", "cuDNN on a newer GPU", healthy(packages=packages(wheel("nvidia-cudnn-cu12", "9.14.0.64"))), PASS),
    ("known-bad-pair", "not looked", healthy(packages=NOT_APPLICABLE), UNKNOWN),
    # -- frameworks
    ("gpu-not-covered-by-build", "one of two GPUs", healthy(
        frameworks=(torch(architectures=("sm_90",)),), cuda=answers(gpus=(gpu(), gpu(index=1, name="Tesla T4", capability=ComputeCapability(7, 5))))), FAIL),
    ("gpu-not-covered-by-build", "code for a family", healthy(
        frameworks=(torch(architectures=("sm_100f",)),), cuda=answers(gpus=(gpu(capability=ComputeCapability(10, 3)),))), PASS),
    ("ptx-newer-than-driver", "PTX of 13.2 on a driver for 13.0", healthy(
        frameworks=(torch("2.15.0+cu132", architectures=("sm_80", "compute_90")),), cuda=answers(gpus=(gpu(capability=ComputeCapability(12, 0)),))), FAIL),
    ("ptx-newer-than-driver", "machine code is there", healthy(frameworks=(torch("2.15.0+cu132"),)), PASS),
    ("ptx-newer-than-driver", "the driver implements it", healthy(
        frameworks=(torch(architectures=("compute_80",)),), cuda=answers(gpus=(gpu(),))), PASS),
    ("ptx-newer-than-driver", "no GPU known", bare(), UNKNOWN),
    ("extension-of-other-torch", "flash-attn", healthy(extensions=seen_loads(EXTENSION)), FAIL),
    ("extension-of-other-torch", "needs CUDA 12's runtime", healthy(
        extensions=seen_loads(replace(EXTENSION, misfits=(), missing=(Absent("libcudart.so.12", FLASH.requester, "import", "", ()),)))), FAIL),
    ("extension-of-other-torch", "fits", healthy(extensions=seen_loads(replace(EXTENSION, misfits=()))), PASS),
    ("extension-of-other-torch", "none is installed", healthy(), PASS),
    ("extension-of-other-torch", "cut off", healthy(extensions=seen_loads(replace(EXTENSION, misfits=(), unread=("x.so: truncated",)))), UNKNOWN),
    ("triton-cannot-compile", "no ptxas", healthy(tools=triton(ptxas=tool("ptxas", "", "", f"{PACKAGES}/triton/backends/nvidia/bin/ptxas"))), FAIL),
    ("triton-cannot-compile", "ptxas older than the GPU", healthy(
        tools=triton(), cuda=answers(gpus=(gpu(name="NVIDIA GB10", capability=ComputeCapability(12, 1)),))), FAIL),
    ("triton-cannot-compile", "a ptxas for Blackwell beside it", healthy(
        tools=triton(blackwell=tool("ptxas-blackwell", "/p", "13.0")), cuda=answers(gpus=(gpu(capability=ComputeCapability(12, 1)),))), PASS),
    ("triton-cannot-compile", "no libcuda.so", healthy(tools=triton(libcuda=tool("libcuda", "", "", "/usr/lib/x86_64-linux-gnu/libcuda.so"))), FAIL),
    ("triton-cannot-compile", "not in the cache", healthy(tools=triton(libcuda=tool("libcuda", ""))), FAIL),
    ("triton-cannot-compile", "no compiler", healthy(tools=triton(compiler=tool("compiler", "", "", "gcc and clang on PATH"))), FAIL),
    ("triton-cannot-compile", "has all", healthy(tools=triton()), PASS),
    ("triton-cannot-compile", "no triton", healthy(), PASS),
    ("triton-cannot-compile", "not looked", healthy(tools=NOT_APPLICABLE), UNKNOWN),
    ("libdevice-missing", "tensorflow", healthy(frameworks=(TENSORFLOW,), tools=Seen((tool("libdevice", "", user="tensorflow 2.21.0"),), "")), FAIL),
    ("libdevice-missing", "a CPU build", healthy(frameworks=(replace(TENSORFLOW, gpu=False),), tools=Seen((tool("libdevice", "", user="tensorflow 2.21.0"),), "")), PASS),
    ("libdevice-missing", "there", healthy(frameworks=(TENSORFLOW,), tools=Seen((tool("libdevice", "/usr/local/cuda/nvvm/libdevice/libdevice.10.bc", user="tensorflow 2.21.0"),), "")), PASS),
    ("libdevice-missing", "not looked", healthy(tools=NOT_APPLICABLE), UNKNOWN),
    ("compiler-missing", "FlashInfer without nvcc", healthy(tools=Seen((tool("nvcc", "", user="flashinfer-python 0.6.4"),), "")), FAIL),
    ("compiler-missing", "FlashInfer with nvcc", healthy(tools=Seen((tool("nvcc", "/usr/local/cuda/bin/nvcc", user="flashinfer-python 0.6.4"),), "")), PASS),
    ("compiler-missing", "numba alone", healthy(frameworks=(), tools=Seen((tool("libnvvm", "", user="numba 0.57.1"),), "")), FAIL),
    ("compiler-missing", "numba beside torch, for the CPU", healthy(tools=Seen((tool("libnvvm", "", user="numba 0.57.1"),), "")), PASS),
    ("compiler-missing", "no GPU", bare(frameworks=(), tools=Seen((tool("libnvvm", "", user="numba 0.57.1"),), "")), PASS),
    ("compiler-missing", "not looked", healthy(tools=NOT_APPLICABLE), UNKNOWN),
    ("known-bad-pair", "a release candidate of CuPy", healthy(packages=packages(wheel("cupy-cuda13x", "14.0.0rc1"), wheel("nvidia-cuda-runtime", "13.0.48"))), FAIL),
    ("known-bad-pair", "the release of CuPy", healthy(packages=packages(wheel("cupy-cuda13x", "14.0.0"), wheel("nvidia-cuda-runtime", "13.0.48"))), PASS),
    ("gpu-not-covered-by-build", "jax for CUDA 13 on Volta", healthy(
        frameworks=(replace(framework("jax", "0.10.2", "13.0"), cuda=None),), cuda=answers(gpus=(gpu(name="Tesla V100", capability=ComputeCapability(7, 0)),))), FAIL),
    ("known-bad-pair", "flash-attn on Turing", healthy(
        packages=packages(wheel("flash-attn", "2.8.3")), cuda=answers(gpus=(gpu(name="Tesla T4", capability=ComputeCapability(7, 5)),))), FAIL),
    ("known-bad-pair", "RAPIDS on branch 530", with_kernel(healthy(packages=packages(wheel("cudf-cu12", "26.10.0"))), driver=loaded("530.30.02")), FAIL),
    ("known-bad-pair", "RAPIDS on branch 535", with_kernel(healthy(packages=packages(wheel("cudf-cu12", "26.10.0"))), driver=loaded("535.261.03")), PASS),
]  # fmt: skip

#: Rules whose facts are always known.
ALWAYS_KNOWN: set[str] = set()
