"""torch and what is linked with it: its wheels for each CUDA, Triton, torchvision, extensions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.corpus.elves import Shared, write
from tests.corpus.toolkits import BUILDS, LIBC, Files, pair, program

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
    if pair(version.split("+")[0]) < (2, 4) and major == 12:
        pins["nvidia-cudnn-cu12"] = "8.9.2.26"
    if major and major == 11:
        pins["nvidia-cudnn-cu11"] = pins["nvidia-cudnn-cu11"] if pair(version) >= (2, 4) else "8.7.0.84"
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
