"""What an image needs, from its files: cuda-compat and how it is found, GPU code, and the same in words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from gpucheck.contents.command import Inspected, inspect
from gpucheck.contents.needs import needs_of
from gpucheck.contract import Contract, ForwardDriver, GpuCode, NeededRuntime
from gpucheck.images.opening import open_image
from gpucheck.record import replace
from gpucheck.versions import CudaVersion, DriverVersion
from tests.contents.test_fatbin import GOOD
from tests.layers.workshop import save
from tests.roots import DEBIAN, SITE, TORCH, Link, elf_with_sections

COMPAT = {
    "/usr/local/cuda-12.9/compat/libcuda.so.575.57.08": b"\x7fELF" + b"\0" * 2_000_000,
    "/usr/local/cuda-12.9/compat/libcuda.so.1": Link("libcuda.so.575.57.08"),
}
CUDA_LINK = {"/usr/local/cuda": Link("cuda-12.9")}
SYSTEM = {
    "/etc/ld.so.conf": "include /etc/ld.so.conf.d/*.conf\n",
    "/etc/ld.so.conf.d/x86_64-linux-gnu.conf": "/usr/lib/x86_64-linux-gnu\n",
}
FOLDER = "/usr/local/cuda-12.9/compat"


def look(place: Path, *layers: Mapping[str, str | bytes], **env: str) -> Inspected:
    """Inspect an image of these layers."""
    with open_image(
        save(place / "app.tar", layers, env), cache=False, surroundings={"XDG_CACHE_HOME": str(place)}
    ) as opened:
        return inspect(opened)


@pytest.mark.parametrize(
    ("files", "env", "route", "because"),
    [
        (CUDA_LINK, {}, "toolkit", "/usr/local/cuda/compat"),
        ({}, {}, "never", "is in no search path"),
        ({}, {"LD_LIBRARY_PATH": FOLDER}, "always", f"LD_LIBRARY_PATH names {FOLDER}"),
        (CUDA_LINK, {"LD_LIBRARY_PATH": "/x:/usr/local/cuda/compat/"}, "always", "LD_LIBRARY_PATH names"),
        ({"/etc/ld.so.conf.d/00-compat.conf": f"{FOLDER}\n"}, {}, "always", "/etc/ld.so.conf.d/00-compat.conf names"),
        # The driver is mounted where the system's own folder is: what comes after it does not win.
        ({"/etc/ld.so.conf.d/zz-compat.conf": f"{FOLDER}\n"}, {}, "never", "is in no search path"),
        ({**CUDA_LINK, "/etc/ld.so.conf.d/zz-compat.conf": f"{FOLDER}\n"}, {}, "toolkit", "/usr/local/cuda/compat"),
    ],
)
def test_how_cuda_compat_is_found(
    tmp_path: Path, files: Mapping[str, str], env: Mapping[str, str], route: str, because: str
) -> None:
    forward = look(tmp_path, {**DEBIAN, **SYSTEM}, {**COMPAT, **files}, **env).contract.forward
    assert forward is not None
    assert (forward.route, str(forward.version)) == (route, "575.57.08")
    assert because in forward.because


def test_gpu_code_of_programs_and_extensions_is_found(tmp_path: Path) -> None:
    library = elf_with_sections({".nv_fatbin": GOOD, ".rodata": b"words" * 20_000})
    files = {
        "/usr/local/bin/solver": library,
        "/usr/local/bin/script": "#!/bin/sh\n",
        f"{SITE}/flash_attn-2.8.0.dist-info/METADATA": "Name: flash-attn\n",
        f"{SITE}/flash_attn-2.8.0.dist-info/RECORD": "flash_attn_2_cuda.abi3.so,,\nflash_attn/__init__.py,,\n",
        f"{SITE}/flash_attn_2_cuda.abi3.so": library,
        "/usr/local/bin/python3": b"\x7fELF",
    }
    found = look(tmp_path, DEBIAN, files, PATH="/usr/local/bin")
    assert {(code.name, code.version, code.targets) for code in found.contract.code} == {
        ("flash-attn", "2.8.0", ("sm_80",)),
        ("/usr/local/bin/solver", "", ("sm_80",)),
    }
    assert found.contract.gpu is True
    assert found.contents.layers[1].cuda == 2 * len(library)


def test_a_framework_of_the_cpu_is_no_code_for_gpus(tmp_path: Path) -> None:
    cpu = {**TORCH, f"{SITE}/torch/version.py": "__version__ = '2.7.1+cpu'\ncuda = None\n"}
    del cpu[f"{SITE}/torch/lib/libtorch_cuda.so"]
    cpu = {path: content for path, content in cpu.items() if "nvidia" not in path}
    found = look(tmp_path, {**DEBIAN, "/usr/local/bin/python3": b"\x7fELF"}, cpu, PATH="/usr/local/bin")
    assert (found.contract.code, found.contract.gpu) == ((), False)


EMPTY = Contract(
    schema=1,
    image="app",
    digest="",
    architecture="x86_64",
    gpu=True,
    runtimes=(),
    code=(),
    forward=None,
    requirements=(),
    capabilities="compute,utility",
    visible_devices="all",
    library_path=None,
    libc="glibc 2.41",
)


def words(needed: Contract, what: str) -> list[str]:
    return [need.text for need in needs_of(needed) if need.what == what]


def torch(cuda: str, *targets: str) -> GpuCode:
    return GpuCode("torch", "2.9.1", CudaVersion.parse(cuda), int(cuda.split(".")[0]), targets, "/site/torch")


def test_the_routes_of_a_driver_in_words() -> None:
    needed = replace(EMPTY, code=(torch("12.8", "sm_90"),))
    assert words(needed, "driver, native") == ["570.26 or newer, for all of CUDA 12.8 (torch 2.9.1)"]
    assert words(needed, "driver, minor versions") == [
        "525.60.13 or newer: CUDA 12.8 (torch 2.9.1) starts and its machine code runs; what is new in 12.8 (its PTX, its "
        "functions) needs a newer one"
    ]
    assert words(needed, "driver, cuda-compat") == [
        "branch 535 with the package cuda-compat-12-8, on data-center GPUs; it is not in the image"
    ]
    assert all(need.source for need in needs_of(needed) if need.what.startswith("driver"))


def test_cuda_compat_of_the_image_in_words() -> None:
    forward = ForwardDriver(
        "/c/libcuda.so.1", DriverVersion("580.82.07"), CudaVersion(13, 0), (535, 570), (2, 5, 14), "toolkit", ""
    )
    needed = replace(EMPTY, code=(torch("13.0", "sm_90"),), forward=forward)
    assert words(needed, "driver, cuda-compat") == [
        "branch 535 or 570 with the cuda-compat 580.82.07 in the image, on GPUs of the kinds Tesla, NVIDIA; NVIDIA's container "
        "toolkit decides"
    ]


def test_two_majors_need_two_floors_and_runtimes_count_where_no_package_tells() -> None:
    both = replace(EMPTY, code=(torch("12.8", "sm_90"), torch("13.0", "sm_90")))
    assert [text.split(" or ")[0] for text in words(both, "driver, minor versions")] == ["525.60.13", "580.65.06"]
    runtimes = replace(
        EMPTY, runtimes=(NeededRuntime(CudaVersion(12, 4), "/usr/local/cuda/lib64/libcudart.so.12", ""),)
    )
    assert "CUDA 12.4 (the CUDA runtime libcudart.so.12)" in words(runtimes, "driver, minor versions")[0]


@pytest.mark.parametrize(
    ("targets", "text"),
    [
        (("sm_80", "sm_90"), "torch 2.9.1: 8.0 8.6 8.9 9.0 by machine code; no PTX, so no later GPU"),
        (
            ("sm_90", "compute_120"),
            "torch 2.9.1: 9.0 by machine code; 12.0 12.1 and later ones by PTX of CUDA 12.8, which the driver must know",
        ),
        (("sm_90a",), "torch 2.9.1: 9.0 by machine code; no PTX, so no later GPU"),
        (("compute_90a",), "torch 2.9.1: no machine code; 9.0 by PTX"),
        ((), "torch 2.9.1: its files do not tell"),
    ],
)
def test_gpus_in_words(targets: tuple[str, ...], text: str) -> None:
    assert words(replace(EMPTY, code=(torch("12.8", *targets),)), "GPU") == [text]


def test_musl_and_what_is_not_set_in_words() -> None:
    needed = replace(EMPTY, libc="musl", capabilities=None, visible_devices=None)
    assert words(needed, "C library") == ["musl: the driver's libraries are made for glibc and do not load"]
    assert words(needed, "capabilities")[0].startswith("compute, utility: NVIDIA_DRIVER_CAPABILITIES is not set")
    assert words(needed, "devices") == ["asked for when it is started: NVIDIA_VISIBLE_DEVICES is not set"]
