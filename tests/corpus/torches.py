"""torch and what is linked with it: its wheels for each CUDA, Triton, torchvision, extensions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.corpus.elves import Shared, write
from tests.corpus.toolkits import BUILDS, CUDNN, EARLY, LIBC, Files, library, pair, program

#: Of a package's name, version and machine: (what it pins, its files below site-packages).
Shape = Callable[[str, str, str], tuple[dict[str, str], Files]]


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
    early = major > 0 and pair(version) < (2, 1)
    libc = ["libstdc++.so.6", "libm.so.6", "libgcc_s.so.1", "libc.so.6"]
    path = "$ORIGIN"
    bundled = cuda in BUNDLED and early
    if major and not bundled:
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
    hashed = BUNDLED[cuda] if bundled else {}
    named = lambda *stems: [hashed.get(stem, f"{stem}.so.{numbers[stem]}") for stem in stems]  # noqa: E731

    def shared(soname: str, needed: list[str], **more: Any) -> bytes:
        return write(
            Shared(soname, [*needed, *libc], rpath=path, wants=EARLY if early else LIBC, machine=machine, **more)
        )

    # Called from 2.2 on: pytorch#119932.
    calls = ["ncclCommRegister"] if pair(version) >= (2, 2) else []
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
        if early:
            # readelf of 1.13.1 and 2.0.1: it is C, and before 2.0 nothing asks for cuBLASLt but cuBLAS.
            first = ("libcublas",) if pair(version) < (2, 0) else ("libcublas", "libcublasLt", "libcudart")
            files[f"{lib}/libtorch_global_deps.so"] = write(
                Shared("libtorch_global_deps.so", [*named(*first), "libc.so.6"], rpath=path, machine=machine)
            )
        files[f"{lib}/libtorch_cuda_linalg.so"] = shared(
            "libtorch_cuda_linalg.so",
            ["libtorch_cpu.so", "libtorch_cuda.so", "libc10_cuda.so", *named("libcusolver", "libcublas")],
        )
        files[f"{lib}/libtorch_cuda.so"] = shared(
            "libtorch_cuda.so", ["libc10_cuda.so", "libc10.so", "libtorch_cpu.so", *toolkit], fatbin=True, imports=calls
        )  # fmt: skip
    else:
        files[f"{lib}/libtorch_global_deps.so"] = shared("libtorch_global_deps.so", [])
    architectures = BUILDS["architectures"].get(cuda, "")
    files[f"{lib}/libtorch_python.so"] = shared(
        "libtorch_python.so", ["libtorch.so", "libtorch_cpu.so", *(["libtorch_cuda.so", *named("libcudart")] if major else []), "libc10.so"],
        constants=architectures,
    )  # fmt: skip
    pins = dict(BUILDS["pins"].get(cuda, {}))
    if pair(version.split("+")[0]) < (2, 4) and major == 12:
        pins["nvidia-cudnn-cu12"] = "8.9.2.26"
    if major and major == 11:
        pins["nvidia-cudnn-cu11"] = pins["nvidia-cudnn-cu11"] if early or pair(version) >= (2, 4) else "8.7.0.84"
    if early or "8." in pins.get(f"nvidia-cudnn-cu{major}", "9")[:2]:
        for soname, content in list(files.items()):
            if isinstance(content, bytes) and soname.endswith("libtorch_cuda.so"):
                toolkit = [entry.replace("libcudnn.so.9", "libcudnn.so.8") for entry in toolkit]
                files[soname] = shared(
                    "libtorch_cuda.so",
                    ["libc10_cuda.so", "libc10.so", "libtorch_cpu.so", *toolkit],
                    fatbin=True,
                    imports=calls,
                )
    if bundled:
        pins = {}
        for soname in hashed.values():
            files[f"{lib}/{soname}"] = library(soname, major, machine, toolkit="11.8")
        for part in ("", *(f"_{each}" for each in CUDNN["8"])):
            files[f"{lib}/libcudnn{part}.so.8"] = library(f"libcudnn{part}.so.8", major, machine, toolkit="8.7")
    if major:
        pins["triton"] = TRITON.get(version.split("+")[0], "3.3.1")
    return pins, files


#: What wheels of download.pytorch.org before 2.1 hold in themselves, and how it is called there: pytorch#99781, facefusion-docker#9.
BUNDLED = {
    "cu118": {
        "libcudart": "libcudart-d0da41ae.so.11.0",
        "libnvrtc": "libnvrtc-672ee683.so.11.2",
        "libcublas": "libcublas.so.11",
        "libcublasLt": "libcublasLt.so.11",
        "libnccl": "libnccl.so.2",
        "libcufft": "libcufft.so.10",
        "libcurand": "libcurand.so.10",
        "libcusparse": "libcusparse.so.11",
        "libcusolver": "libcusolver.so.11",
    }
}

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


def name_of(version: str) -> str:
    """What Triton links its launchers with."""
    return "libcuda.so.1" if pair(version) >= (3, 2) else "libcuda.so"


def triton(name: str, version: str, machine: str) -> tuple[dict[str, str], Files]:
    release = next((PTXAS[key] for key in (version.rsplit(".", 1)[0], version.split(".")[0]) if key in PTXAS), "12.8")
    folder = "triton/backends/nvidia" if version.startswith("3") else "triton/common/../third_party/cuda"
    folder = folder.replace("common/../", "")
    return {}, {
        "triton/__init__.py": f"__version__ = {version!r}\n",
        "triton/runtime/__init__.py": "",
        "triton/runtime/build.py": "cc = os.environ.get('CC') or shutil.which('clang') or shutil.which('gcc')\n",
        # Which name it links with, and whether it looks into LD_LIBRARY_PATH too: triton-lang/triton#1981.
        "triton/backends/nvidia/driver.py" if version.startswith("3") else "triton/common/build.py": (
            "libs = subprocess.check_output(['/sbin/ldconfig', '-p']).decode()\n"
            + ("env_ld_library_path = os.getenv('LD_LIBRARY_PATH')\n" if pair(version) >= (2, 2) else "")
            + f"dirs = [path for path in dirs if os.path.exists(os.path.join(path, '{name_of(version)}'))]\n"
        ),
        f"{folder}/bin/ptxas": program("ptxas", machine, f"Cuda compilation tools, release {release}, V{release}.93"),
        "triton/backends/nvidia/lib/libdevice.10.bc": b"BC\xc0\xde",
        "triton/_C/libtriton.so": write(
            Shared("libtriton.so", ["libstdc++.so.6", "libc.so.6"], wants=LIBC, machine=machine)
        ),
    }


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
