"""What importing loads: extension modules in the interpreter's process, and what Python code is known to preload."""

from __future__ import annotations

import datetime

import pytest

from gpucheck.elf.closure import Closure
from gpucheck.kb.imports import parts, rows
from gpucheck.libs.imports import import_closure, is_module, module_name
from gpucheck.libs.interpreter import start_interpreter
from gpucheck.libs.targets import Installed, find_target
from gpucheck.probes.python import pythons
from tests.elf.workshop import Root
from tests.libs.places import HOME, SITE, distribution, environment, installed, python, system

TAG = "cpython-312-x86_64-linux-gnu.so"
CUBLAS = f"{SITE}/nvidia/cublas/lib/libcublas.so.12"
PRELOADS = "_preload_cuda_deps(required=False)"


def torch(
    root: Root, *, init: str = PRELOADS, cuda: str = "12.6", rpath: str = "$ORIGIN/../../nvidia/cublas/lib"
) -> None:
    """A little torch, and a little cuBLAS wheel."""
    python(root)
    distribution(
        root, "torch", "2.9.1", (f"torch/_C.{TAG}", "torch/lib/libtorch.so", "torch/lib/libtorch_global_deps.so")
    )
    root.lib(f"{SITE}/torch/lib/libtorch_global_deps.so", "libcudart.so.12", rpath="$ORIGIN")
    root.lib(f"{SITE}/torch/lib/libcudart.so.12")
    root.lib(f"{SITE}/torch/lib/libtorch.so", "libcublas.so.12", rpath=rpath)
    root.lib(f"{SITE}/torch/_C.{TAG}", "libtorch.so", rpath="$ORIGIN/lib")
    root.lib(CUBLAS)
    (root.here / SITE / "torch/__init__.py").write_text(init)
    (root.here / SITE / "torch/version.py").write_text(f"cuda = '{cuda}'\n")


def predict(root: Root, name: str = "torch", **env: str) -> Closure:
    place = system(root, env)
    return import_closure(place, installed(root, name), start_interpreter(place, environment(root)))


def found(closure: Closure, soname: str) -> list[tuple[str | None, str, str | None]]:
    """(requester's name, how, path) of every request for a name or a file of that name."""
    return [
        ((each.requester or "").rsplit("/", 1)[-1], each.how, each.path and each.path.removeprefix(f"/{SITE}/"))
        for each in closure.resolutions
        if each.soname.rsplit("/", 1)[-1] == soname
    ]


def test_torch_preloads_before_its_module_is_imported(root: Root) -> None:
    torch(root)
    closure = predict(root)
    ctypes = f"_ctypes.{TAG}"
    assert found(closure, "libtorch_global_deps.so") == [(ctypes, "path", "torch/lib/libtorch_global_deps.so")]
    assert found(closure, "libcublas.so.12") == [
        (ctypes, "path", "nvidia/cublas/lib/libcublas.so.12"),
        ("libtorch.so", "resident", "nvidia/cublas/lib/libcublas.so.12"),
    ]
    assert found(closure, f"_C.{TAG}") == [("libpython3.12.so.1.0", "path", f"torch/_C.{TAG}")]
    opened = {each.resolution.soname.rsplit("/", 1)[-1]: each for each in closure.opened}
    assert opened[f"_C.{TAG}"].when == "import torch._C"
    assert opened[f"_C.{TAG}"].source == f"/{SITE}/torch-2.9.1.dist-info/RECORD"
    assert opened["libtorch_global_deps.so"].source.startswith("https://github.com/pytorch/pytorch/")


def test_what_is_preloaded_wins_over_ld_library_path(root: Root) -> None:
    """The point of preloading: LD_LIBRARY_PATH would come before a RUNPATH."""
    torch(root)
    root.lib("opt/libcublas.so.12")
    path = [path for _, _, path in found(predict(root, LD_LIBRARY_PATH="/opt"), "libcublas.so.12")]
    assert path == ["nvidia/cublas/lib/libcublas.so.12"] * 2


def test_a_torch_whose_code_does_not_preload_does_not(root: Root) -> None:
    torch(root, init="")
    assert found(predict(root), "libcublas.so.12") == [
        ("libtorch.so", "RPATH", "torch/lib/../../nvidia/cublas/lib/libcublas.so.12")
    ]


def test_nothing_is_preloaded_when_cudart_is_not_mapped(root: Root) -> None:
    torch(root)
    root.lib(f"{SITE}/torch/lib/libtorch_global_deps.so", rpath="$ORIGIN")
    assert [how for _, how, _ in found(predict(root), "libcublas.so.12")] == ["RPATH"]


def test_cuda_13_wheels_are_found_by_the_version_that_torch_was_built_for(root: Root) -> None:
    torch(root, cuda="13.0")
    root.lib(f"{SITE}/nvidia/cu13/lib/libcufft.so.12")
    root.lib(f"{SITE}/nvidia/cu12/lib/libcurand.so.10")
    closure = predict(root)
    assert found(closure, "libcufft.so.12")[0][2] == "nvidia/cu13/lib/libcufft.so.12"
    assert found(closure, "libcurand.so.10") == []


def test_dependencies_that_cannot_be_loaded_are_repaired_by_preloading(root: Root) -> None:
    """torch in one folder of sys.path and the CUDA wheels in another: RPATH does not lead there."""
    torch(root, rpath="$ORIGIN")
    root.lib(f"{SITE}/torch/lib/libtorch_global_deps.so", "libcublas.so.12", rpath="$ORIGIN")
    closure = predict(root)
    assert [how for _, how, _ in found(closure, "libtorch_global_deps.so")] == ["path", "path"]
    assert [how for _, how, _ in found(closure, "libcublas.so.12")] == ["not found", "path", "resident", "resident"]
    assert {each.soname for each in closure.missing} == {"libcuda.so.1"}


def test_without_the_wheel_it_is_missing(root: Root) -> None:
    torch(root, rpath="$ORIGIN")
    (root.here / CUBLAS).unlink()
    closure = predict(root)
    assert {each.soname for each in closure.missing if each.path is None} == {"libcublas.so.12", "libcuda.so.1"}


def test_the_interpreters_rpath_counts(root: Root) -> None:
    """conda's python has one: its libraries come before those of LD_LIBRARY_PATH, for dlopen too."""
    python(root, rpath="$ORIGIN/../lib/conda")
    root.lib("usr/lib/conda/libnvidia-ml.so.1")
    root.lib("opt/libnvidia-ml.so.1")
    distribution(root, "nvidia-ml-py", "13.580.82", ("pynvml.py",))
    closure = predict(root, "nvidia-ml-py", LD_LIBRARY_PATH="/opt")
    assert found(closure, "libnvidia-ml.so.1") == [
        (f"_ctypes.{TAG}", "RPATH", "/usr/bin/../lib/conda/libnvidia-ml.so.1")
    ]


def test_cupy_falls_back_to_the_name(root: Root) -> None:
    python(root)
    distribution(root, "cupy-cuda12x", "14.2.0", (f"cupy/core.{TAG}", f"cupy_backends/cuda/libs/cublas.{TAG}"))
    root.lib(f"{SITE}/cupy/core.{TAG}")
    root.lib(f"{SITE}/cupy_backends/cuda/libs/cublas.{TAG}", "libcublas.so.12")
    for file in ("cupy/_environment.py", "cupy_backends/cuda/libs/__init__.py"):
        (root.here / SITE / file).write_text("load_nvidia_dynamic_lib")
    root.lib("opt/libcublas.so.12")
    closure = predict(root, "cupy", LD_LIBRARY_PATH="/opt")
    assert found(closure, "libcublas.so.13")[0][1] == "not found"
    assert found(closure, "libcublas.so.12")[:2] == [
        (f"cublas.{TAG}", "LD_LIBRARY_PATH", "/opt/libcublas.so.12"),
        (f"_ctypes.{TAG}", "resident", "/opt/libcublas.so.12"),
    ]
    assert [each.soname for each in closure.missing] == ["libnvrtc.so.12", "libcuda.so.1"]


def test_an_environment_without_an_interpreter_is_a_program_of_its_own(root: Root) -> None:
    torch(root)
    for name in ("usr/bin/python3.12", "venv/bin/python3.12", "venv/bin/python"):
        (root.here / name).unlink()
    root.program("libffi.so.8", path="bin/sh")
    place = system(root, {"VIRTUAL_ENV": "/venv"})
    environments = pythons(place)
    interpreter = start_interpreter(place, environments[0])
    assert interpreter.path is None
    target = find_target(place, "torch", environments)
    assert isinstance(target, Installed)
    closure = import_closure(place, target, interpreter)
    assert found(closure, f"_C.{TAG}") == [("", "path", f"torch/_C.{TAG}")]
    assert closure.target == "torch 2.9.1, imported by a program of its own"


@pytest.mark.parametrize(
    ("file", "module"),
    [
        (f"torch/_C.{TAG}", "torch._C"),
        ("google/_upb/_message.abi3.so", "google._upb._message"),
        ("jaxlib/_jax.so", "jaxlib._jax"),
        ("_cffi_backend.cpython-312-x86_64-linux-gnu.so", "_cffi_backend"),
        ("torch/_C.cpython-311-x86_64-linux-gnu.so", None),
        ("torch/lib/libtorch.so", None),
        ("numpy.libs/libgfortran-040039e1.so.5.0.0", None),
        ("h5py.libs/x.so", None),
    ],
)
def test_extension_modules_are_told_from_libraries(root: Root, file: str, module: str | None) -> None:
    python(root)
    distribution(root, "thing", "1.0", ("thing/__init__.py",))
    assert is_module(f"/{SITE}/{file}", installed(root, "thing")) is (module is not None)
    if module:
        assert module_name(file) == module


def test_every_row_is_whole() -> None:
    for row in rows():
        assert row.by in ("ctypes", "import"), row
        assert row.when, row
        assert row.source.startswith("https://"), row
        assert row.checked >= datetime.date(2026, 1, 1), row
        assert bool(row.text) == bool(row.file), row
        assert row.by == "ctypes" or not (row.folders or row.names or row.mapped or row.failed), row
        assert all(".so" in name or row.by == "import" for name in row.opens), row
    names = {row.distribution for row in rows()}
    assert all(set(row.parts) and row.distribution not in row.parts for row in parts())
    assert "torch" in names


def test_the_home_of_ctypes_is_that_of_the_interpreter(root: Root) -> None:
    torch(root)
    assert found(predict(root), f"_ctypes.{TAG}") == [("libpython3.12.so.1.0", "path", f"/{HOME}/_ctypes.{TAG}")]
