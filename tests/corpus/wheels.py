"""What Python packages and CUDA toolkits put on disk, as far as GPUs are concerned."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from gpucheck.kb import packages as kb_packages
from tests.corpus.elves import LINKERS, Shared, write
from tests.corpus.fixture import FOLDER, load

BUILDS = load(FOLDER / "stock/builds.toml")

Files = dict[str, bytes | str]

#: What every library built for many distributions asks of libc: manylinux_2_28 (PEP 600).
LIBC = {"libc.so.6": ("GLIBC_2.2.5", "GLIBC_2.14"), "libstdc++.so.6": ("GLIBCXX_3.4", "GLIBCXX_3.4.22")}


def install(
    text: str, packages: str, machine: str, asked: Mapping[str, str], without: tuple[str, ...] = ()
) -> Iterator[Files]:
    """The files of each distribution that ``name==version`` brings: itself, and what it pins.

    ``packages``: the site-packages folder. ``asked``: the versions of all that the fixture names. A build that pins one of
    them pins that version. ``without``: patterns of files that these wheels do not have.
    """
    name, _, version = text.partition("==")
    shape = next((shape for pattern, shape in SHAPES if re.fullmatch(pattern, name)), _plain)
    pins, files = shape(name, version, machine)
    files = {path: content for path, content in files.items() if not any(fnmatchcase(path, each) for each in without)}
    pins = {need: asked.get(need, pin) for need, pin in pins.items()}
    yield _distribution(name, version, packages, pins, files)
    for need, pin in pins.items():
        if need not in asked:
            yield from install(f"{need}=={pin}", packages, machine, {**asked, **pins}, without)


def _distribution(name: str, version: str, packages: str, requires: Mapping[str, str], files: Files) -> Files:
    folder = f"{name.replace('-', '_')}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {need}=={pin}" for need, pin in requires.items()]
    found: Files = {f"{packages}/{path}": content for path, content in files.items()}
    found[f"{packages}/{folder}/METADATA"] = "\n".join(lines) + "\n"
    found[f"{packages}/{folder}/INSTALLER"] = "pip\n"
    found[f"{packages}/{folder}/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: false\n"
    rows = [_row(path.removeprefix(f"{packages}/"), content) for path, content in found.items()]
    found[f"{packages}/{folder}/RECORD"] = "".join(rows) + f"{folder}/RECORD,,\n"
    return found


def _row(path: str, content: bytes | str) -> str:
    data = content.encode() if isinstance(content, str) else content
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
    return f"{path},sha256={digest},{len(data)}\n"


# -- shapes: (what it pins, its files below site-packages) -------------------------------------------------------------

Shape = Callable[[str, str, str], tuple[dict[str, str], Files]]


def _plain(name: str, version: str, machine: str) -> tuple[dict[str, str], Files]:
    module = name.replace("-", "_")
    return {}, {f"{module}/__init__.py": f"__version__ = {version!r}\n"}


def nvidia(name: str, version: str, machine: str) -> tuple[dict[str, str], Files]:
    """A wheel of NVIDIA's, by the rows of the knowledge base, which were read from the wheels."""
    row = next((row for row in kb_packages.wheels() if row.wheel == name), None)
    if row is None:
        return _plain(name, version, machine)
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
    return {}, files


#: The libraries that cuDNN is divided into, by its major version.
CUDNN = {
    "8": ("adv_infer", "adv_train", "cnn_infer", "cnn_train", "ops_infer", "ops_train"),
    "9": (
        "adv",
        "cnn",
        "engines_precompiled",
        "engines_runtime_compiled",
        "engines_tensor_ir",
        "graph",
        "heuristic",
        "ops",
    ),
}


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


def library(soname: str, cuda: int, machine: str, *, toolkit: str = "", beside: str = "$ORIGIN") -> bytes:
    """A library of the CUDA toolkit, linked as NVIDIA links it.

    The symbols that tie libcusparse to libnvJitLink, and libcublas to libcublasLt, are those of real failures:
    pytorch/pytorch#134929, microsoft/onnxruntime#8594.
    """
    stem, _, number = soname.partition(".so.")
    names = BUILDS["numbers"][str(cuda)]
    needed = [f"{other}.so.{names[other]}" for other in BUILDS["needs"][str(cuda)].get(stem, ())]
    wants: dict[str, tuple[str, ...]] = dict(LIBC)
    imports: list[str] = []
    defines: tuple[str, ...] = ()
    exports: list[str] = []
    minor = _minor(stem, toolkit)
    if stem == "libnvJitLink":
        defines = (soname,)
        exports = [f"__nvJitLinkComplete_{cuda}_{at}@{soname}" for at in range(minor + 1)]
    elif stem == "libcusparse" and cuda == 12:
        linker = f"libnvJitLink.so.{cuda}"
        wants[linker] = (linker,)
        imports = [f"__nvJitLinkComplete_{cuda}_{minor}@{linker}@{linker}"]
    elif stem in ("libcublasLt", "libcublas"):
        lt = f"libcublasLt.so.{number}"
        if stem == "libcublasLt":
            defines = (soname,)
            exports = [f"cublasLtMatmul@{soname}", *(f"free_gemm_select_{at}@{soname}" for at in range(minor + 1))]
        else:
            wants[lt] = (lt,)
            imports = [f"free_gemm_select_{minor}@{lt}@{lt}"]
    elif stem == "libnccl":
        exports = ["ncclCommInitRank", *(["ncclCommRegister"] if not toolkit or _pair(toolkit) >= (2, 19) else [])]
    libc = ["libpthread.so.0", "libdl.so.2", "libm.so.6", "libgcc_s.so.1", "libstdc++.so.6", "libc.so.6"]
    return write(
        Shared(
            soname, [*needed, *libc], runpath=beside, wants=wants, defines=defines, imports=imports, exports=exports, machine=machine,
            fatbin=stem not in ("libcudart", "libnvJitLink", "libnvrtc"), constants=f"{stem} {toolkit}",
        )
    )  # fmt: skip


def _pair(toolkit: str) -> tuple[int, int]:
    major, minor, *_ = (*toolkit.split("."), "0")
    return int(major), int(minor)


#: The toolkit's minor version by that of a library whose own versions go another way: cuSPARSE 12.3 is of CUDA 12.4.
MINORS = {"libcusparse": {"12.0": 0, "12.1": 1, "12.2": 3, "12.3": 4, "12.4": 5, "12.5": 6}}


def _minor(stem: str, toolkit: str) -> int:
    if not toolkit:
        return 0
    return MINORS.get(stem, {}).get(toolkit, _pair(toolkit)[1])


def variant(version: str) -> str:
    """``cu126`` of ``2.7.1+cu126``; '' of a CPU build."""
    local = version.partition("+")[2]
    return local if local.startswith("cu") else ""


def torch(name: str, version: str, machine: str) -> tuple[dict[str, str], Files]:
    """A wheel of torch; ``+cpu`` and, on PyPI for aarch64 until 2.10, no local part are builds for CPUs."""
    cuda = variant(version)
    major = int(cuda[2:4]) if cuda else 0
    dotted = f"{cuda[2:4]}.{cuda[4:]}" if cuda else ""
    lib = "torch/lib"
    libc = ["libstdc++.so.6", "libm.so.6", "libgcc_s.so.1", "libc.so.6"]
    path = "$ORIGIN"
    if major:
        parts = (
            "cublas",
            "cuda_nvrtc",
            "cuda_runtime",
            "cudnn",
            "cufft",
            "curand",
            "cusolver",
            "cusparse",
            "nccl",
            "nvjitlink",
        )
        places = [f"$ORIGIN/../../nvidia/{part}/lib" for part in (parts if major < 13 else ("cudnn", "nccl", "cu13"))]
        path = ":".join((*places, "$ORIGIN"))
    numbers = BUILDS["numbers"].get(str(major), {})
    named = lambda *stems: [f"{stem}.so.{numbers[stem]}" for stem in stems]  # noqa: E731

    def shared(soname: str, needed: list[str], **more: Any) -> bytes:
        return write(Shared(soname, [*needed, *libc], rpath=path, wants=LIBC, machine=machine, **more))

    exports = ["_ZN3c105ErrorC2ENS_14SourceLocationESs"]
    files: Files = {
        "torch/__init__.py": "from .version import __version__\n",
        "torch/version.py": "from typing import Optional\n\n__all__ = ['__version__', 'debug', 'cuda', 'git_version', 'hip']\n"
        f"__version__ = '{version}'\ndebug = False\ncuda: Optional[str] = {dotted or None!r}\nhip: Optional[str] = None\n",
        f"{lib}/libc10.so": shared("libc10.so", [], exports=exports),
        f"{lib}/libtorch_cpu.so": shared("libtorch_cpu.so", ["libc10.so"]),
        f"{lib}/libtorch.so": shared("libtorch.so", ["libtorch_cpu.so", *(["libtorch_cuda.so"] if major else [])]),
        "torch/_C.cpython-312-x86_64-linux-gnu.so": write(
            Shared("", ["libtorch_python.so", "libc.so.6"], rpath="$ORIGIN/lib", machine=machine)
        ),
    }
    if major:
        toolkit = named(
            "libcudart",
            "libcusparse",
            "libcufft",
            "libcurand",
            "libcublas",
            "libcublasLt",
            "libcudnn",
            "libnccl",
            "libnvrtc",
            "libcusolver",
        )
        files[f"{lib}/libc10_cuda.so"] = shared("libc10_cuda.so", ["libc10.so", *named("libcudart")])
        files[f"{lib}/libtorch_global_deps.so"] = shared(
            "libtorch_global_deps.so", named("libcudart", "libcublas", "libcublasLt")
        )
        files[f"{lib}/libtorch_cuda_linalg.so"] = shared(
            "libtorch_cuda_linalg.so",
            ["libtorch_cpu.so", "libtorch_cuda.so", "libc10_cuda.so", *named("libcusolver", "libcublas")],
        )
        files[f"{lib}/libtorch_cuda.so"] = shared(
            "libtorch_cuda.so", ["libc10_cuda.so", "libc10.so", "libtorch_cpu.so", *toolkit], fatbin=True, imports=["ncclCommRegister"]
        )  # fmt: skip
    else:
        files[f"{lib}/libtorch_global_deps.so"] = shared("libtorch_global_deps.so", [])
    architectures = BUILDS["architectures"].get(cuda, "")
    files[f"{lib}/libtorch_python.so"] = shared(
        "libtorch_python.so", ["libtorch.so", "libtorch_cpu.so", *(["libtorch_cuda.so", *named("libcudart")] if major else []), "libc10.so"],
        constants=architectures,
    )  # fmt: skip
    pins = dict(BUILDS["pins"].get(cuda, {}))
    if _pair(version.split("+")[0]) < (2, 4) and major == 12:
        pins["nvidia-cudnn-cu12"] = "8.9.2.26"
    if major and major == 11:
        pins["nvidia-cudnn-cu11"] = pins["nvidia-cudnn-cu11"] if _pair(version) >= (2, 4) else "8.7.0.84"
    if "8." in pins.get(f"nvidia-cudnn-cu{major}", "9")[:2]:
        for soname, content in list(files.items()):
            if isinstance(content, bytes) and soname.endswith("libtorch_cuda.so"):
                toolkit = [entry.replace("libcudnn.so.9", "libcudnn.so.8") for entry in toolkit]
                files[soname] = shared(
                    "libtorch_cuda.so",
                    ["libc10_cuda.so", "libc10.so", "libtorch_cpu.so", *toolkit],
                    fatbin=True,
                    imports=["ncclCommRegister"],
                )
    if major:
        pins["triton"] = TRITON.get(version.split("+")[0], "3.3.1")
    return pins, files


TRITON = {"2.1.0": "2.1.0", "2.3.1": "2.3.1", "2.4.1": "3.0.0", "2.5.1": "3.1.0", "2.6.0": "3.2.0", "2.7.1": "3.3.1", "2.8.0": "3.4.0", "2.9.1": "3.5.1"}  # fmt: skip

#: The CUDA version of the ptxas in a wheel of triton: its ``ptxas --version``.
PTXAS = {
    "2": "12.1",
    "3.0": "12.4",
    "3.1": "12.4",
    "3.2": "12.4",
    "3.3": "12.8",
    "3.4": "12.8",
    "3.5": "12.8",
    "3.6": "12.9",
}


def triton(name: str, version: str, machine: str) -> tuple[dict[str, str], Files]:
    release = next((PTXAS[key] for key in (version.rsplit(".", 1)[0], version.split(".")[0]) if key in PTXAS), "12.8")
    folder = "triton/backends/nvidia" if version.startswith("3") else "triton/common/../third_party/cuda"
    folder = folder.replace("common/../", "")
    return {}, {
        "triton/__init__.py": f"__version__ = {version!r}\n",
        f"{folder}/bin/ptxas": program("ptxas", machine, f"Cuda compilation tools, release {release}, V{release}.93"),
        "triton/backends/nvidia/lib/libdevice.10.bc": b"BC\xc0\xde",
        "triton/_C/libtriton.so": write(
            Shared("libtriton.so", ["libstdc++.so.6", "libc.so.6"], wants=LIBC, machine=machine)
        ),
    }


def program(name: str, machine: str, constants: str = "", needed: tuple[str, ...] = ()) -> bytes:
    """A program of a glibc system."""
    return write(
        Shared("", [*needed, "libc.so.6"], constants=constants or name, interpreter=LINKERS[machine], machine=machine)
    )


def vision(name: str, version: str, machine: str) -> tuple[dict[str, str], Files]:
    """torchvision, torchaudio: their version.py says what they were built with."""
    cuda = variant(version)
    dotted = f"'{cuda[2:4]}.{cuda[4:]}'" if cuda else "None"
    needed = [
        "libc10.so",
        "libtorch.so",
        *(["libtorch_cuda.so", f"libcudart.so.{BUILDS['numbers'][cuda[2:4]]['libcudart']}"] if cuda else []),
    ]
    return {}, {
        f"{name}/version.py": f"__version__ = '{version}'\ngit_version = 'x'\ncuda = {dotted}\n",
        f"{name}/_C.so": write(Shared("", [*needed, "libc.so.6"], wants=LIBC, machine=machine, fatbin=bool(cuda))),
    }


def extension(module: str, file: str, cuda: int, *more: str) -> Shape:
    """A package with an extension that links torch and libcudart."""

    def shape(name: str, version: str, machine: str) -> tuple[dict[str, str], Files]:
        needed = [
            "libtorch.so",
            "libtorch_cuda.so",
            "libc10_cuda.so",
            "libc10.so",
            f"libcudart.so.{cuda}",
            *more,
            "libc.so.6",
        ]
        return {}, {
            f"{module}/__init__.py": f"__version__ = {version!r}\n",
            file: write(Shared("", needed, wants=LIBC, fatbin=True, machine=machine)),
        }

    return shape


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
            f"jax_plugins/xla_cuda{major}/__init__.py": "",
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
                rpath="$ORIGIN",
                machine=machine,
                fatbin=not cpu,
            )
        )
    return {}, files


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
    cuda = 12 if _pair(version) >= (1, 19) else 11
    info = f"package_name = '{name}'\n__version__ = '{version}'\n" + (
        f"cuda_version = '{'12.4' if cuda == 12 else '11.8' if _pair(version) >= (1, 15) else '11.4'}'\n" if gpu else ""
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
    ("vllm", extension("vllm", "vllm/_C.abi3.so", 12)),
    ("flash-attn", extension("flash_attn", "flash_attn_2_cuda.cpython-312-x86_64-linux-gnu.so", 12)),
)


# -- toolkits ----------------------------------------------------------------------------------------------------------


def toolkit(version: str, folder: str, machine: str) -> Files:
    """What the runfile or NVIDIA's packages put below /usr/local/cuda-X.Y."""
    major, minor = _pair(version)
    numbers = BUILDS["numbers"][str(major)]
    lib = f"{folder}/targets/{'sbsa' if machine == 'aarch64' else machine}-linux/lib"
    files: Files = {
        f"{folder}/version.json": f'{{"cuda": {{"name": "CUDA SDK", "version": "{version}.0"}}}}\n',
        f"{folder}/bin/nvcc": program("nvcc", machine, f"Cuda compilation tools, release {version}, V{version}.99"),
        f"{folder}/bin/ptxas": program("ptxas", machine, f"Cuda compilation tools, release {version}, V{version}.99"),
        f"{folder}/nvvm/libdevice/libdevice.10.bc": b"BC\xc0\xde",
        f"{lib}/stubs/libcuda.so": stub("libcuda.so.1", machine),
        f"{lib}/stubs/libnvidia-ml.so": stub("libnvidia-ml.so.1", machine),
    }
    for stem, number in numbers.items():
        if stem in ("libcudnn", "libnccl"):
            continue
        own = f"{stem}.so.{number}"
        inner = {"libcusparse": f"{major}.{minor}", "libcublas": version}.get(stem, version)
        content = library(
            own, major, machine, toolkit=version if stem != "libcusparse" else _cusparse(major, minor, inner)
        )
        files[f"{lib}/{own}"] = content
        files[f"{lib}/{stem}.so"] = content
    files[f"{lib}/libnvrtc-builtins.so.{version}"] = library(
        f"libnvrtc-builtins.so.{version}", major, machine, toolkit=version
    )
    return files


def _cusparse(major: int, minor: int, other: str) -> str:
    """cuSPARSE's own version for a toolkit."""
    return next((own for own, of in MINORS["libcusparse"].items() if of == minor), other) if major == 12 else other


def stub(soname: str, machine: str) -> bytes:
    """The toolkit's library for linking: small, without a version in its name; calls answer 34."""
    return write(
        Shared(soname, ["libc.so.6"], exports=["cuInit", "cuDriverGetVersion", "cuGetErrorString"], machine=machine)
    )
