"""CUDA's libraries and toolkits as NVIDIA links and installs them."""

from __future__ import annotations

from tests.corpus.elves import LINKERS, Shared, write
from tests.corpus.fixture import FOLDER, load
from tests.roots import Link

BUILDS = load(FOLDER / "stock/builds.toml")

Files = dict[str, bytes | str]

#: What every library built for many distributions asks of libc: manylinux_2_28 (PEP 600).
LIBC = {"libc.so.6": ("GLIBC_2.2.5", "GLIBC_2.14"), "libstdc++.so.6": ("GLIBCXX_3.4", "GLIBCXX_3.4.22")}

#: The newest symbols of libstdc++ that wheels of manylinux2014 ask for: readelf of torch 1.13.1 and 2.0.1.
EARLY = {**LIBC, "libstdc++.so.6": ("GLIBCXX_3.4", "GLIBCXX_3.4.19")}

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


def library(soname: str, cuda: int, machine: str, *, toolkit: str = "", beside: str = "$ORIGIN") -> bytes:
    """A library of the CUDA toolkit, linked as NVIDIA links it.

    The symbols that tie libcusparse to libnvJitLink, and libcublas to libcublasLt, are those of real failures:
    pytorch/pytorch#134929, microsoft/onnxruntime#8594.
    """
    stem, _, number = soname.partition(".so.")
    names = BUILDS["numbers"][str(cuda)]
    needed = [f"{other}.so.{names[other]}" for other in BUILDS["needs"][str(cuda)].get(stem, ())]
    wants: dict[str, tuple[str, ...]] = dict(EARLY if cuda == 11 else LIBC)
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
        exports = ["ncclCommInitRank", *(["ncclCommRegister"] if not toolkit or pair(toolkit) >= (2, 19) else [])]
    texts = f"{stem} {toolkit}"
    if stem == "libcudnn_graph":
        texts = " ".join(f"libcudnn_{part}.so.{number}" for part in CUDNN.get(number.split(".")[0], ()))
    elif stem == "libcudnn_cnn_infer":
        # microsoft/WSL#8587; strings and LD_DEBUG=libs of 8.5.0.96, 8.6.0.163, 8.7.0.84, 8.9.0.131 and 8.9.2.26.
        texts = "libcuda.so.1\0libcuda.so\0" + ("libnvrtc.so\0" if pair(toolkit or "8.9") < (8, 9) else "")
        texts += "cudnnRuntimeKernelGenerationInternal\0" if pair(toolkit or "8.9") in ((8, 6), (8, 7)) else ""
    libc = ["libpthread.so.0", "libdl.so.2", "libm.so.6", "libgcc_s.so.1", "libstdc++.so.6", "libc.so.6"]
    return write(
        Shared(
            soname, [*needed, *libc], runpath=beside, wants=wants, defines=defines, imports=imports, exports=exports, machine=machine,
            fatbin=stem not in ("libcudart", "libnvJitLink", "libnvrtc"), constants=texts,
        )
    )  # fmt: skip


def pair(toolkit: str) -> tuple[int, int]:
    major, minor, *_ = (*toolkit.split("."), "0")
    return int(major), int(minor)


#: The toolkit's minor version by that of a library whose own versions go another way: cuSPARSE 12.3 is of CUDA 12.4.
MINORS = {"libcusparse": {"12.0": 0, "12.1": 1, "12.2": 3, "12.3": 4, "12.4": 5, "12.5": 5}}


def _minor(stem: str, toolkit: str) -> int:
    if not toolkit:
        return 0
    return MINORS.get(stem, {}).get(toolkit, pair(toolkit)[1])


def program(name: str, machine: str, constants: str = "", needed: tuple[str, ...] = ()) -> bytes:
    """A program of a glibc system."""
    return write(
        Shared("", [*needed, "libc.so.6"], constants=constants or name, interpreter=LINKERS[machine], machine=machine)
    )


def toolkit(version: str, folder: str, machine: str) -> Files:
    """What the runfile or NVIDIA's packages put below /usr/local/cuda-X.Y."""
    major, minor = pair(version)
    numbers = BUILDS["numbers"][str(major)]
    lib = f"{folder}/targets/{'sbsa' if machine == 'aarch64' else machine}-linux/lib"
    files: Files = {
        f"{folder}/version.json": f'{{"cuda": {{"name": "CUDA SDK", "version": "{version}.0"}}}}\n',
        f"{folder}/bin/nvcc": program("nvcc", machine, f"Cuda compilation tools, release {version}, V{version}.99"),
        f"{folder}/bin/ptxas": program("ptxas", machine, f"Cuda compilation tools, release {version}, V{version}.99"),
        f"{folder}/nvvm/libdevice/libdevice.10.bc": b"BC\xc0\xde",
        f"{folder}/include/vector_types.h": "#define __VECTOR_TYPES_H__\n",
        f"{lib}/stubs/libcuda.so": stub("libcuda.so.1", machine),
        f"{lib}/stubs/libnvidia-ml.so": stub("libnvidia-ml.so.1", machine),
    }
    for stem, number in numbers.items():
        if stem in ("libcudnn", "libnccl"):
            continue
        own = f"{stem}.so.{number}"
        # The file has its own version in its name, the soname and the compiler's name are links to it.
        file = f"{stem}.so.{number.split('.')[0]}.{minor}.99"
        release = _cusparse(major, minor, version) if stem == "libcusparse" else version
        files[f"{lib}/{file}"] = library(own, major, machine, toolkit=release)
        files[f"{lib}/{own}"] = Link(file)
        files[f"{lib}/{stem}.so"] = Link(own)
    files[f"{lib}/libnvrtc-builtins.so.{version}"] = library(
        f"libnvrtc-builtins.so.{version}", major, machine, toolkit=version
    )
    return files


def _cusparse(major: int, minor: int, other: str) -> str:
    """cuSPARSE's own version for a toolkit: not every toolkit has a new one."""
    return (
        next((own for own, of in reversed(MINORS["libcusparse"].items()) if of <= minor), other)
        if major == 12
        else other
    )


def stub(soname: str, machine: str) -> bytes:
    """The toolkit's library for linking: small, without a version in its name; calls answer 34."""
    return write(
        Shared(soname, ["libc.so.6"], exports=["cuInit", "cuDriverGetVersion", "cuGetErrorString"], machine=machine)
    )
