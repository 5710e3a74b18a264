"""What the tables say only under a condition, and questions to a process that change nothing in it."""

from __future__ import annotations

import subprocess

from gpucheck.elf import read_elf, start
from gpucheck.elf.dlopens import opened_by
from gpucheck.system import Local
from tests.elf.workshop import Root, Workshop


def opened(path: object) -> list[str]:
    return [name for name, _ in opened_by(Local(), read_elf(Local(), str(path)))]


def test_a_build_for_cpus_opens_nothing_of_cuda(workshop: Workshop) -> None:
    """tensorflow-cpu's framework has the name of tensorflow's, but no device code."""
    source = workshop.here / "device.c"
    source.write_text('__attribute__((section(".nv_fatbin"))) int code = 1;\n')
    soname = "libtensorflow_framework.so.2"
    cpu, gpu = workshop.lib(f"cpu/{soname}"), workshop.here / f"gpu-{soname}"
    subprocess.run(["gcc", "-shared", "-nostdlib", f"-Wl,-soname,{soname}", source, "-o", gpu], check=True)
    assert opened(cpu) == []
    assert {"libcuda.so.1", "libcudart.so.12", "libcublas.so.12"} <= set(opened(gpu))


def test_a_part_that_lies_beside_is_opened_only_if_it_is_there(workshop: Workshop) -> None:
    """onnxruntime for CPUs has no CUDA provider, and misses none."""
    state = workshop.lib("capi/onnxruntime_pybind11_state.so", soname="")
    assert opened(state) == []
    provider = workshop.lib("capi/libonnxruntime_providers_cuda.so")
    assert opened(state) == [str(provider)]


def test_a_pattern_with_a_slash_is_of_the_end_of_the_path(workshop: Workshop) -> None:
    ours = workshop.lib("cupy_backends/cuda/api/runtime.cpython-312.so", soname="")
    other = workshop.lib("cuda/bindings/runtime.cpython-312.so", soname="")
    assert (opened(ours), opened(other)) == (["libcuda.so.1"], [])


def test_what_would_be_opened_does_not_stay(workshop: Workshop) -> None:
    workshop.lib("env/libx.so", "liby.so")
    workshop.lib("env/liby.so")
    process = start(Local(), str(workshop.program()), env={"LD_LIBRARY_PATH": f"{workshop.here}/env"})
    before = (len(process.objects), list(process.resolutions), dict(process.names))
    assert process.would_open("libx.so").path == f"{workshop.here}/env/libx.so"
    assert (len(process.objects), process.resolutions, process.names) == before
    assert process.dlopen("liby.so").how == "LD_LIBRARY_PATH"


def test_alternatives_are_those_of_a_library_that_could_not_be_loaded(root: Root) -> None:
    """It is not in the link map, but its RUNPATH is what counts."""
    from tests.libs.places import system

    root.lib("a/libx.so", "liby.so", "libgone.so", runpath="$ORIGIN")
    root.lib("a/liby.so")
    root.lib("env/liby.so")
    process = start(system(root), "/bin/" + root.program().name, env={"LD_LIBRARY_PATH": "/env"})
    assert process.dlopen("/a/libx.so").fatal is not None
    (found,) = (each for each in process.resolutions if each.soname == "liby.so")
    assert process.alternatives(found) == (("/env/liby.so", "LD_LIBRARY_PATH"), ("/a/liby.so", "RUNPATH"))
