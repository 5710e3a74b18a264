"""The files of Python packages that matter for GPUs: what each pins, and what is in it, linked as its wheel is."""

from __future__ import annotations

import re

from gpucheck.kb import packages as kb_packages
from tests.corpus.elves import Shared, write
from tests.corpus.toolkits import BUILDS, CUDNN, LIBC, Files, library, pair, program
from tests.corpus.torches import Shape, extension, torch, triton, vision


def plain(name: str, version: str, machine: str) -> tuple[dict[str, str], Files]:
    module = name.replace("-", "_")
    return {}, {f"{module}/__init__.py": f"__version__ = {version!r}\n"}


def nvidia(name: str, version: str, machine: str) -> tuple[dict[str, str], Files]:
    """A wheel of NVIDIA's, by the rows of the knowledge base, which were read from the wheels."""
    row = next((row for row in kb_packages.wheels() if row.wheel == name), None)
    if row is None:
        return plain(name, version, machine)
    sonames = (row.soname, *row.beside)
    if name.startswith("nvidia-cudnn"):
        number = version.split(".")[0]
        sonames = ("libcudnn.so." + number, *(f"libcudnn_{part}.so.{number}" for part in CUDNN[number]))
    toolkit = ".".join(version.split(".")[:2])
    files: Files = {
        f"{row.folder}/{soname}": library(
            soname, row.cuda, machine, toolkit=toolkit, beside=_beside(row.folder, row.cuda)
        )
        for soname in dict.fromkeys(_exact(soname, toolkit) for soname in sonames)
    }
    if name.startswith("nvidia-cuda-runtime"):
        files[f"{row.folder.removesuffix('/lib')}/include/vector_types.h"] = "#define __VECTOR_TYPES_H__\n"
    return {}, files


def compiler(name: str, version: str, machine: str) -> tuple[dict[str, str], Files]:
    """ptxas and libdevice, which XLA looks for; from CUDA 13 on libdevice is in nvidia-nvvm."""
    folder = "nvidia/cuda_nvcc" if name.endswith("-cu12") else "nvidia/cu13"
    release = ".".join(version.split(".")[:2])
    said = f"Cuda compilation tools, release {release}, V{version}"
    files: Files = {f"{folder}/bin/ptxas": program("ptxas", machine, said)} if name != "nvidia-nvvm" else {}
    if name != "nvidia-cuda-nvcc":
        files[f"{folder}/nvvm/libdevice/libdevice.10.bc"] = b"BC\xc0\xde"
    return {}, files


def _exact(soname: str, toolkit: str) -> str:
    """The built-ins of NVRTC are of its exact minor version."""
    return re.sub(r"(libnvrtc-builtins(?:\.alt)?\.so)\..*", rf"\1.{toolkit}", soname)


def _beside(folder: str, cuda: int) -> str:
    if "/cu13/" in folder:
        return "$ORIGIN"
    others = ("cublas", "cusparse", "nvjitlink", "cuda_nvrtc", "cuda_runtime")
    return ":".join(("$ORIGIN", *(f"$ORIGIN/../../{other}/lib" for other in others)))


def jaxlib(name: str, version: str, machine: str) -> tuple[dict[str, str], Files]:
    return {}, {
        "jaxlib/version.py": f"__version__ = '{version}'\n",
        "jaxlib/libjax_common.so": write(Shared("libjax_common.so", ["libc.so.6"], wants=LIBC, machine=machine)),
    }


def jax_plugin(name: str, version: str, machine: str) -> tuple[dict[str, str], Files]:
    major = re.sub(r"\D", "", name)
    if name.endswith("pjrt"):
        file = f"jax_plugins/xla_cuda{major}/xla_cuda_plugin.so"
        return {}, {
            file: write(Shared("", ["libc.so.6"], wants=LIBC, machine=machine, fatbin=True)),
            # It loads NVIDIA's wheels by their paths first: read in 0.9.0.
            f"jax_plugins/xla_cuda{major}/__init__.py": "def _load_nvidia_libraries():\n"
            if pair(version) >= (0, 9)
            else "",
        }
    return {}, {
        f"jax_cuda{major}_plugin/version.py": f"__version__ = '{version}'\n",
        f"jax_cuda{major}_plugin/_solver.so": write(Shared("", ["libc.so.6"], machine=machine)),
    }


def tensorflow(name: str, version: str, machine: str) -> tuple[dict[str, str], Files]:
    """build_info.py names what the build is for: https://www.tensorflow.org/install/source#gpu."""
    cpu = name.endswith("-cpu") or machine == "aarch64"
    cuda, cudnn = next((row for start, row in TENSORFLOW.items() if version.startswith(start)), ("12.5.1", "9"))
    info = {"is_cuda_build": not cpu, "is_rocm_build": False, "is_tensorrt_build": not cpu}
    if not cpu:
        info |= {
            "cuda_version": cuda,
            "cudnn_version": cudnn,
            "cuda_compute_capabilities": ["sm_60", "sm_70", "sm_80", "sm_89", "compute_90"],
        }
    libraries = {"libtensorflow_cc.so.2": ["libtensorflow_framework.so.2"], "libtensorflow_framework.so.2": []}
    files: Files = {
        "tensorflow/python/platform/build_info.py": f"import collections\nbuild_info = collections.OrderedDict({sorted(info.items())!r})\n",
        "tensorflow/__init__.py": "",
    }
    for soname, needed in libraries.items():
        files[f"tensorflow/{soname}"] = write(
            Shared(
                soname,
                [*needed, "libstdc++.so.6", "libc.so.6"],
                wants=LIBC,
                runpath=":".join(("$ORIGIN", *(WHEELS if pair(version) >= (2, 14) else ()))),
                machine=machine,
                fatbin=not cpu,
            )
        )
    files["tensorflow/python/_pywrap_tensorflow_internal.so"] = write(
        Shared("", [*reversed(libraries), "libc.so.6"], runpath="$ORIGIN/..", machine=machine)
    )
    return {}, files


#: The folders in its libraries' RUNPATH from the extra [and-cuda] on: readelf of 2.20.0.
WHEELS = tuple(
    f"$ORIGIN/../nvidia/{part}/lib"
    for part in ("cuda_cupti", "cublas", "cudnn", "cufft", "cusolver", "cusparse", "cuda_runtime")
)


TENSORFLOW = {
    "2.4": ("11.0", "8"),
    "2.10": ("11.2", "8"),
    "2.13": ("11.8", "8"),
    "2.15": ("12.2", "8"),
    "2.16": ("12.3", "8"),
    "2.17": ("12.3.2", "8"),
}


def cupy(name: str, version: str, machine: str) -> tuple[dict[str, str], Files]:
    """Links cuBLAS and its like, opens NVRTC and the runtime by name (13 and later): cupy/cupy#8317."""
    major = re.sub(r"\D", "", name.removesuffix("x"))
    numbers = BUILDS["numbers"][major]
    needed = [f"{stem}.so.{numbers[stem]}" for stem in ("libcublas",)]
    late = int(version.split(".")[0]) >= 13
    runtime = [] if late and int(version.split(".")[0]) >= 14 else [f"libcudart.so.{numbers['libcudart']}"]
    return {}, {
        "cupy/__init__.py": "",
        "cupy/_version.py": f"__version__ = '{version}'\n",
        "cupy_backends/cuda/api/runtime.cpython-312-x86_64-linux-gnu.so": write(
            Shared("", [*runtime, "libc.so.6"], wants=LIBC, machine=machine)
        ),
        "cupy_backends/cuda/libs/cublas.cpython-312-x86_64-linux-gnu.so": write(
            Shared("", [*needed, "libc.so.6"], wants=LIBC, machine=machine)
        ),
        "cupy_backends/cuda/libs/nvrtc.cpython-312-x86_64-linux-gnu.so": write(
            Shared(
                "",
                [*([] if late else [f"libnvrtc.so.{numbers['libnvrtc']}"]), "libc.so.6"],
                wants=LIBC,
                constants=f"libnvrtc.so.{numbers['libnvrtc']}",
                machine=machine,
            )
        ),
    }


def onnxruntime(name: str, version: str, machine: str) -> tuple[dict[str, str], Files]:
    """onnxruntime-gpu: CUDA 11 up to 1.18, 12 from 1.19 on; the provider links CUDA, ships none of it."""
    gpu = name.endswith("-gpu")
    cuda = 12 if pair(version) >= (1, 19) else 11
    info = f"package_name = '{name}'\n__version__ = '{version}'\n" + (
        f"cuda_version = '{'12.4' if cuda == 12 else '11.8' if pair(version) >= (1, 15) else '11.4'}'\n" if gpu else ""
    )
    files: Files = {
        "onnxruntime/__init__.py": f"__version__ = '{version}'\n",
        "onnxruntime/capi/build_and_package_info.py": info,
        "onnxruntime/capi/onnxruntime_pybind11_state.so": write(
            Shared("", ["libstdc++.so.6", "libc.so.6"], wants=LIBC, machine=machine, constants=name)
        ),
    }
    if gpu:
        numbers = BUILDS["numbers"][str(cuda)] | ({"libcudnn": "8"} if cuda == 11 else {})
        needed = [
            f"{stem}.so.{numbers[stem]}"
            for stem in ("libcublasLt", "libcublas", "libcudnn", "libcurand", "libcufft", "libcudart")
        ]
        files["onnxruntime/capi/libonnxruntime_providers_cuda.so"] = write(
            Shared(
                "libonnxruntime_providers_cuda.so",
                [*needed, "libstdc++.so.6", "libc.so.6"],
                wants=LIBC,
                machine=machine,
                fatbin=True,
                runpath="$ORIGIN",
            )
        )
        files["onnxruntime/capi/libonnxruntime_providers_shared.so"] = write(
            Shared("libonnxruntime_providers_shared.so", ["libc.so.6"], machine=machine)
        )
    return {}, files


def xgboost(name: str, version: str, machine: str) -> tuple[dict[str, str], Files]:
    gpu = name == "xgboost"
    return ({"nvidia-nccl-cu12": "2.27.3"} if gpu else {}), {
        "xgboost/VERSION": version,
        "xgboost/lib/libxgboost.so": write(
            Shared("libxgboost.so", ["libstdc++.so.6", "libc.so.6"], wants=LIBC, fatbin=gpu, machine=machine)
        ),
    }


def lightgbm(name: str, version: str, machine: str) -> tuple[dict[str, str], Files]:
    """PyPI's build has OpenCL since 4.0; a build without it links neither OpenCL nor CUDA."""
    opencl = [] if "+cpu" in version else ["libOpenCL.so.1"] if "+opencl" in version else []
    return {}, {
        "lightgbm/VERSION.txt": version,
        "lightgbm/lib/lib_lightgbm.so": write(
            Shared(
                "lib_lightgbm.so", [*opencl, "libgomp.so.1", "libstdc++.so.6", "libc.so.6"], wants=LIBC, machine=machine
            )
        ),
    }


def bitsandbytes(name: str, version: str, machine: str) -> tuple[dict[str, str], Files]:
    """One library for each CUDA version that it was built for, chosen by torch.version.cuda."""
    files: Files = {"bitsandbytes/__init__.py": f"__version__ = {version!r}\n"}
    for cuda in ("118", "121", "124", "126", "128"):
        major = cuda[:2]
        needed = [
            f"{stem}.so.{BUILDS['numbers'][major][stem]}"
            for stem in ("libcudart", "libcublas", "libcublasLt", "libcusparse")
        ]
        files[f"bitsandbytes/libbitsandbytes_cuda{cuda}.so"] = write(
            Shared("", [*needed, "libc.so.6"], wants=LIBC, fatbin=True, machine=machine)
        )
    return {}, files


def youtokentome(name: str, version: str, machine: str) -> tuple[dict[str, str], Files]:
    """Compiled where it is installed, with that system's compiler: pytorch#115138."""
    wants = {**LIBC, "libstdc++.so.6": ("GLIBCXX_3.4", "GLIBCXX_3.4.20")}
    return {}, {
        "youtokentome/__init__.py": "",
        "_youtokentome_cython.cpython-312-x86_64-linux-gnu.so": write(
            Shared("", ["libstdc++.so.6", "libc.so.6"], wants=wants, machine=machine)
        ),
    }


SHAPES: tuple[tuple[str, Shape], ...] = (
    ("torch", torch),
    ("torchvision|torchaudio", vision),
    ("triton", triton),
    ("nvidia-cuda-nvcc|nvidia-cuda-nvcc-cu12|nvidia-nvvm", compiler),
    ("nvidia-.*", nvidia),
    ("jaxlib", jaxlib),
    (r"jax-cuda\d+-(plugin|pjrt)", jax_plugin),
    ("tensorflow|tensorflow-cpu", tensorflow),
    (r"cupy-cuda\d+x", cupy),
    ("onnxruntime|onnxruntime-gpu", onnxruntime),
    ("xgboost|xgboost-cpu", xgboost),
    ("lightgbm", lightgbm),
    ("bitsandbytes", bitsandbytes),
    ("youtokentome", youtokentome),
    ("vllm", extension("vllm", "vllm/_C.abi3.so", 12)),
    ("flash-attn", extension("flash_attn", "flash_attn_2_cuda.cpython-312-x86_64-linux-gnu.so", 12)),
)
