"""How a framework was built, out of its files."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gpucheck.facts import Framework
from gpucheck.probes.python import distributions, frameworks, pythons
from gpucheck.system import Rootfs
from tests.elf.workshop import Workshop
from tests.roots import DEBIAN, SITE, make_root


def read(root: Path, name: str, version: str, *files: str, jaxlib: str = "") -> Framework:
    info = {f"{SITE}/{name.replace('-', '_')}-{version}.dist-info/METADATA": f"Name: {name}\n"}
    if jaxlib:
        info[f"{SITE}/jaxlib-{jaxlib}.dist-info/METADATA"] = "Name: jaxlib\n"
    system = Rootfs(make_root(root, {**DEBIAN, **info, **dict.fromkeys(files, "")}))
    (found,) = frameworks(system, distributions(system, pythons(system)))
    return found


def put(workshop: Workshop, name: str, *needs: str, symbol: str = "") -> None:
    """A library at its place below site-packages."""
    target = workshop.lib(f"{SITE[1:]}/{name}", *needs)
    if symbol:
        source = workshop.here / "symbol.c"
        source.write_text(f"int {symbol}(void) {{ return 1; }}\n")
        subprocess.run(["gcc", "-shared", "-fPIC", "-nostdlib", "-o", target, source], check=True)


def test_lightgbm_without_gpu_code_is_a_cpu_build(workshop: Workshop) -> None:
    put(workshop, "lightgbm/lib/lib_lightgbm.so")
    assert read(workshop.here, "lightgbm", "4.7.0").gpu is False


def test_lightgbm_reaches_a_gpu_through_opencl_too(workshop: Workshop) -> None:
    """As the wheels on PyPI: the names of Boost.Compute are among its symbols."""
    put(workshop, "lightgbm/lib/lib_lightgbm.so", symbol="_ZN5boost7compute12opencl_errorD1Ev")
    found = read(workshop.here, "lightgbm", "4.7.0")
    assert (found.gpu, found.cuda_major) == (True, None)


def test_the_cuda_major_is_that_of_the_library_that_it_needs(workshop: Workshop) -> None:
    put(workshop, "llama_cpp/lib/libggml-cuda.so", "libcudart.so.12", "libcublas.so.12")
    found = read(workshop.here, "llama-cpp-python", "0.3.16")
    assert (found.gpu, found.cuda_major) == (True, 12)


def test_without_the_part_for_gpus_it_is_a_cpu_build(workshop: Workshop) -> None:
    put(workshop, "llama_cpp/lib/libllama.so")
    assert read(workshop.here, "llama-cpp-python", "0.3.16").gpu is False


def test_files_that_are_not_there_tell_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, "paddlepaddle-gpu", "3.0.0").gpu is None
    assert read(tmp_path / "other", "ctranslate2", "4.8.5").gpu is None


@pytest.mark.parametrize(("name", "major"), [("cudf-cu12", 12), ("tensorrt-cu13", 13), ("cuml-cu12", 12)])
def test_rapids_and_tensorrt_name_their_cuda(tmp_path: Path, name: str, major: int) -> None:
    found = read(tmp_path, name, "26.10.0")
    assert (found.gpu, found.cuda_major) == (True, major)


def test_a_jaxlib_for_cuda_from_before_the_plugins(workshop: Workshop) -> None:
    found = read(workshop.here, "jax", "0.4.13", jaxlib="0.4.13+cuda12.cudnn89")
    assert (found.gpu, found.cuda_major) == (True, 12)
    assert read(workshop.here / "cpu", "jax", "0.4.13", jaxlib="0.4.13").gpu is False
