"""What Triton and XLA compile with, and what the linker's cache names."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpucheck.facts import Cached, Python, Seen, Tool, Unseen, Why
from gpucheck.probes.python import distributions, pythons
from gpucheck.probes.tools import cached, tools
from gpucheck.system import Rootfs
from gpucheck.versions import CudaVersion
from tests.elf.workshop import LDCONFIG, Root, run
from tests.needs import missing
from tests.roots import DEBIAN, SITE, elf_with_constants, make_root

HOME = f"{SITE}/triton/backends/nvidia"
#: As triton 3.5 and newer write it, and as 2.1 and 3.1 do.
NEW = "if \"LD_LIBRARY_PATH\": assert any(os.path.exists(os.path.join(path, 'libcuda.so.1')) for path in dirs), msg\n"
OLD = "assert any(os.path.exists(os.path.join(path, 'libcuda.so')) for path in dirs), msg\n"
TRITON: dict[str, str | bytes] = {
    f"{SITE}/triton-3.5.0.dist-info/METADATA": "Name: triton\n",
    f"{SITE}/triton/runtime/build.py": "",
    f"{HOME}/driver.py": NEW,
    f"{HOME}/bin/ptxas": elf_with_constants(b"\0" * 600_000 + b"Cuda compilation tools, release 12.8, V12.8.93\0"),
    "/usr/bin/gcc": b"\x7fELF",
    "/usr/include/python3.12/Python.h": "",
}
CACHE = Seen((Cached("libcuda.so.1", "/usr/lib64/libcuda.so.1", True),), "/etc/ld.so.cache")


def look(root: Path, files: dict[str, str | bytes], cache: object = CACHE, **env: str) -> dict[str, Tool]:
    system = Rootfs(make_root(root, {**DEBIAN, **files}), {"PATH": "/usr/bin", **env})
    environments = pythons(system)
    found = tools(system, environments, distributions(system, environments), cache)  # type: ignore[arg-type]
    assert isinstance(found, Seen), found
    return {tool.kind: tool for tool in found.value}


def test_a_triton_that_has_all(tmp_path: Path) -> None:
    found = look(tmp_path, {**TRITON, "/usr/lib64/libcuda.so.1": b""})
    assert {kind: tool.path for kind, tool in found.items()} == {
        "ptxas": f"{HOME}/bin/ptxas",
        "compiler": "/usr/bin/gcc",
        "header": "/usr/include/python3.12/Python.h",
        "libcuda": "/usr/lib64/libcuda.so.1",
    }
    assert (found["ptxas"].cuda, found["ptxas"].user) == (CudaVersion(12, 8), "triton 3.5.0")


def test_an_older_triton_wants_the_unversioned_name(tmp_path: Path) -> None:
    files = {**TRITON, f"{HOME}/driver.py": OLD, "/usr/lib64/libcuda.so.1": b""}
    libcuda = look(tmp_path, files)["libcuda"]
    assert (libcuda.path, libcuda.tried) == ("", ("/usr/lib64/libcuda.so",))
    assert look(tmp_path, {"/usr/lib64/libcuda.so": b""})["libcuda"].path == "/usr/lib64/libcuda.so"


def test_libcuda_of_ld_library_path_counts_only_where_the_cache_has_none(tmp_path: Path) -> None:
    files = {**TRITON, "/usr/local/nvidia/lib64/libcuda.so.1": b""}
    path = "/usr/local/nvidia/lib64"
    assert look(tmp_path, files, Seen((), ""), LD_LIBRARY_PATH=path)["libcuda"].path == f"{path}/libcuda.so.1"
    assert look(tmp_path, {}, LD_LIBRARY_PATH=path)["libcuda"].path == ""
    assert look(tmp_path, {}, Seen((), ""))["libcuda"].tried == ("ldconfig -p",)


def test_variables_choose(tmp_path: Path) -> None:
    files = {
        **TRITON,
        "/opt/cuda/bin/ptxas": elf_with_constants(b"release 13.1, V13.1.80\0"),
        "/opt/lib/libcuda.so.1": b"",
    }
    found = look(tmp_path, files, TRITON_PTXAS_PATH="/opt/cuda/bin/ptxas", TRITON_LIBCUDA_PATH="/opt/lib", CC="/opt/cc")
    assert (found["ptxas"].path, found["ptxas"].cuda) == ("/opt/cuda/bin/ptxas", CudaVersion(13, 1))
    assert (found["libcuda"].path, found["compiler"].path) == ("/opt/lib/libcuda.so.1", "/opt/cc")


def test_a_triton_without_anything(tmp_path: Path) -> None:
    files = {
        path: text
        for path, text in TRITON.items()
        if "ptxas" not in path and "gcc" not in path and "Python.h" not in path
    }
    assert {kind for kind, tool in look(tmp_path, files).items() if not tool.path} == {
        "ptxas",
        "compiler",
        "header",
        "libcuda",
    }


@pytest.mark.parametrize(
    ("place", "env"),
    [
        (f"{SITE}/nvidia/cuda_nvcc/nvvm/libdevice/libdevice.10.bc", {}),
        ("/usr/local/cuda-12.4/nvvm/libdevice/libdevice.10.bc", {}),
        ("/opt/data/nvvm/libdevice/libdevice.10.bc", {"XLA_FLAGS": "--xla_dump=1 --xla_gpu_cuda_data_dir=/opt/data"}),
        ("/opt/conda/nvvm/libdevice/libdevice.10.bc", {"CONDA_PREFIX": "/opt/conda"}),
    ],
)
def test_where_xla_finds_libdevice(tmp_path: Path, place: str, env: dict[str, str]) -> None:
    files = {f"{SITE}/tensorflow-2.21.0.dist-info/METADATA": "Name: tensorflow\n"}
    assert look(tmp_path, files)["libdevice"].path == ""
    assert look(tmp_path, {place: b"BC"}, **env)["libdevice"].path == place


FLASHINFER = {f"{SITE}/flashinfer_python-0.6.4.dist-info/METADATA": "Name: flashinfer-python\n"}


@pytest.mark.parametrize(
    ("place", "env"),
    [
        ("/usr/local/cuda/bin/nvcc", {}),
        ("/opt/bin/nvcc", {"PATH": "/opt/bin"}),
        ("/opt/cuda/bin/nvcc", {"CUDA_HOME": "/opt/cuda"}),
        ("/opt/nvcc", {"FLASHINFER_NVCC": "/opt/nvcc"}),
    ],
)
def test_where_flashinfer_finds_nvcc(tmp_path: Path, place: str, env: dict[str, str]) -> None:
    assert look(tmp_path, FLASHINFER, **env)["nvcc"].path == ""
    assert look(tmp_path, {place: b"\x7fELF"}, **env)["nvcc"].path == place


def test_flashinfer_whose_kernels_are_compiled_needs_no_nvcc(tmp_path: Path) -> None:
    cached = {f"{SITE}/flashinfer_jit_cache-0.6.4.dist-info/METADATA": "Name: flashinfer-jit-cache\n"}
    assert "nvcc" not in look(tmp_path, {**TRITON, **FLASHINFER, **cached})


@pytest.mark.parametrize(
    ("place", "env"),
    [
        ("/usr/local/cuda/nvvm/lib64/libnvvm.so.4", {}),
        ("/opt/cuda/nvvm/lib64/libnvvm.so", {"CUDA_HOME": "/opt/cuda"}),
        (f"{SITE}/nvidia/cuda_nvcc/nvvm/lib64/libnvvm.so.4", {}),
    ],
)
def test_where_numba_finds_libnvvm(tmp_path: Path, place: str, env: dict[str, str]) -> None:
    files = {f"{SITE}/numba-0.57.1.dist-info/METADATA": "Name: numba\n", f"{SITE}/numba/cuda/__init__.py": ""}
    assert look(tmp_path, files, **env)["libnvvm"].path in ("", "unknown")
    assert look(tmp_path, {place: b"\x7fELF"}, **env)["libnvvm"].path == place


def test_nothing_to_look_for(tmp_path: Path) -> None:
    system = Rootfs(make_root(tmp_path, DEBIAN), {})
    assert isinstance(tools(system, (Python("/", "3.12", (SITE,), ""),), (), CACHE), Unseen)


def test_the_cache_against_the_disk(root: Root) -> None:
    if not LDCONFIG:
        missing("the linker's cache against the disk", "install ldconfig (libc-bin)")
    for number in ("1", "2"):
        root.lib(f"usr/lib/libnccl.so.{number}")
    (root.here / "etc").mkdir(exist_ok=True)
    run(LDCONFIG, "-r", str(root.here))
    root.program(path="bin/sh")
    place = Rootfs(str(root.here), {})
    assert cached(place) == Seen(
        (Cached("libnccl.so.2", "/usr/lib/libnccl.so.2", True), Cached("libnccl.so.1", "/usr/lib/libnccl.so.1", True)),
        "/etc/ld.so.cache",
    )
    (root.here / "usr/lib/libnccl.so.1").unlink()
    assert isinstance(found := cached(place), Seen)
    assert [entry.soname for entry in found.value if not entry.exists] == ["libnccl.so.1"]
    (root.here / "etc/ld.so.cache").unlink()
    assert isinstance(gone := cached(place), Unseen) and gone.why is Why.ABSENT
