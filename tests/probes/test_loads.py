"""What frameworks would load: when the quick look suffices, and what the whole one says."""

from __future__ import annotations

import subprocess

import pytest

from gpucheck.facts import Framework, Loads, Seen
from gpucheck.probes.host import host
from gpucheck.probes.libraries import toolkit
from gpucheck.probes.loads import loads, preloads
from gpucheck.probes.packages import packages
from gpucheck.probes.python import distributions, pythons
from gpucheck.record import replace
from gpucheck.versions import CudaVersion
from tests.elf.workshop import Root
from tests.libs.places import SITE, distribution, python, system
from tests.machines import ABSENT

TAG = "cpython-312-x86_64-linux-gnu.so"
CUBLAS = f"{SITE}/nvidia/cublas/lib/libcublas.so.12"
TORCH = Framework("torch", "2.9.1+cu126", f"/{SITE}", True, CudaVersion(12, 6), 12, (), "")


def torch(root: Root, *, requires: str = "nvidia-cublas-cu12==12.6.4.1", installed: str = "12.6.4.1") -> None:
    """A little torch whose module is linked with cuBLAS, and the wheel of that."""
    python(root)
    distribution(root, "torch", "2.9.1", (f"torch/_C.{TAG}",))
    metadata = root.here / SITE / "torch-2.9.1.dist-info/METADATA"
    metadata.write_text(f"Name: torch\nVersion: 2.9.1\nRequires-Dist: {requires}\n")
    root.lib(f"{SITE}/torch/_C.{TAG}", "libcublas.so.12", rpath="$ORIGIN/../nvidia/cublas/lib")
    distribution(root, "nvidia-cublas-cu12", installed, ("nvidia/cublas/lib/libcublas.so.12",))
    root.lib(f"{SITE}/torch/lib/libtorch_global_deps.so")
    root.lib(CUBLAS)


def look(root: Root, framework: Framework = TORCH, **env: str) -> Loads:
    place = system(root, env)
    environments = pythons(place)
    installed = distributions(place, environments)
    together = packages(place, environments, installed, replace(host(place), architecture="x86_64"))
    found = loads(place, environments, (framework,), toolkit(place, environments, installed), together, ABSENT)
    assert isinstance(found, Seen), found
    return found.value[0]


def test_complete_wheels_need_no_second_look(root: Root) -> None:
    torch(root)
    assert look(root) == Loads("torch", TORCH.version, TORCH.location, "", (), (), (), ())


@pytest.mark.parametrize(
    ("requires", "installed", "why"),
    [
        ("nvidia-cublas-cu12==12.8.4.1", "12.6.4.1", "nvidia-cublas-cu12 is 12.6.4.1, not ==12.8.4.1"),
        ("nvidia-cudnn-cu12==9.5.1.17", "12.6.4.1", "nvidia-cudnn-cu12 is not installed"),
        ("numpy", "12.6.4.1", "no wheel requires its CUDA libraries"),
    ],
)
def test_what_makes_it_look_closer(root: Root, requires: str, installed: str, why: str) -> None:
    torch(root, requires=requires, installed=installed)
    found = look(root)
    assert (found.why, found.missing, found.misfits) == (why, (), ())
    assert [(each.soname, each.how, each.version) for each in found.libraries] == [
        ("libcublas.so.12", "RPATH", installed)
    ]


def test_a_library_that_was_deleted_is_missing(root: Root) -> None:
    torch(root)
    (root.here / CUBLAS).unlink()
    found = look(root)
    assert found.why == "nvidia-cublas-cu12 12.6.4.1 has no nvidia/cublas/lib/libcublas.so.12"
    assert [(each.soname, each.requester) for each in found.missing] == [("libcublas.so.12", f"/{SITE}/torch/_C.{TAG}")]


def test_a_dangling_link_is_why_it_is_missing(root: Root) -> None:
    torch(root, requires="numpy")
    (root.here / CUBLAS).unlink()
    (root.here / CUBLAS).symlink_to("libcublas.so.12.6.4.1")
    (missing,) = look(root).missing
    assert missing.why.endswith("nvidia/cublas/lib/libcublas.so.12: a dangling link to libcublas.so.12.6.4.1")


def test_a_toolkit_on_ld_library_path_does_not_hide_what_rpath_finds(root: Root) -> None:
    torch(root)
    root.lib("opt/cuda/lib64/libcublas.so.12")
    found = look(root, LD_LIBRARY_PATH="/opt/cuda/lib64")
    assert found.why == "LD_LIBRARY_PATH leads to libcublas.so.12 in /opt/cuda/lib64"
    assert [(each.how, each.path) for each in found.libraries] == [
        ("RPATH", f"/{SITE}/torch/../nvidia/cublas/lib/libcublas.so.12")
    ]


def test_a_toolkit_on_ld_library_path_hides_what_runpath_finds(root: Root) -> None:
    torch(root)
    root.lib(f"{SITE}/torch/_C.{TAG}", "libcublas.so.12", runpath="$ORIGIN/../nvidia/cublas/lib")
    root.lib("opt/cuda/lib64/libcublas.so.12.2.5.6", soname="libcublas.so.12")
    (root.here / "opt/cuda/lib64/libcublas.so.12").symlink_to("libcublas.so.12.2.5.6")
    (library,) = look(root, LD_LIBRARY_PATH="/opt/cuda/lib64").libraries
    assert (library.path, library.how, library.version) == (
        "/opt/cuda/lib64/libcublas.so.12",
        "LD_LIBRARY_PATH",
        "12.2.5.6",
    )
    assert library.hides.endswith("nvidia/cublas/lib/libcublas.so.12")


def test_the_driver_is_judged_elsewhere(root: Root) -> None:
    torch(root, requires="numpy")
    root.lib(CUBLAS, "libcuda.so.1")
    assert look(root).missing == ()


def test_an_older_nccl_lacks_a_function(root: Root) -> None:
    """As torch does, without versions of symbols: undefined symbol ncclCommRegister."""
    torch(root, requires="numpy")
    source = root.here / "caller.c"
    source.write_text("extern int ncclCommRegister(void); int call(void) { return ncclCommRegister(); }\n")
    target = root.here / SITE / f"torch/_C.{TAG}"
    nccl = root.lib(f"{SITE}/nvidia/nccl/lib/libnccl.so.2")
    subprocess.run(["gcc", "-shared", "-fPIC", "-nostdlib", "-o", target, source, "-Wl,--no-as-needed", nccl, "-Wl,-rpath,$ORIGIN/../nvidia/nccl/lib", "-Wl,--allow-shlib-undefined"], check=True)  # fmt: skip
    (misfit,) = look(root).misfits
    assert (misfit.soname, misfit.symbol) == ("libnccl.so.2", "ncclCommRegister")


def test_a_root_without_python_and_linker_is_judged_by_its_libraries(root: Root) -> None:
    torch(root, requires="numpy")
    for file in ("lib64/ld-linux-x86-64.so.2", "usr/bin/python3.12", CUBLAS):
        (root.here / file).unlink()
    assert [each.soname for each in look(root).missing] == ["libcublas.so.12"]


def test_an_empty_file_is_a_broken_library_and_a_stump_is_not_judged(root: Root) -> None:
    torch(root, requires="numpy")
    (root.here / SITE / "torch-2.9.1.dist-info/RECORD").unlink()
    (root.here / SITE / f"torch/_C.{TAG}").write_bytes(b"\x7fELF")
    found = look(root)
    assert (found.missing, len(found.unread)) == ((), 1)
    (root.here / SITE / f"torch/_C.{TAG}").write_bytes(b"")
    assert "the file is empty" in look(root).missing[0].why


def test_what_is_preloaded_and_what_cannot_be(root: Root) -> None:
    python(root)
    shim = root.lib("opt/shim.so")
    shim.with_name("text.so").write_text("not a library\n")
    found = preloads(system(root, {"LD_PRELOAD": "/opt/shim.so:/opt/gone.so /opt/text.so libmissing.so"}))
    assert isinstance(found, Seen)
    assert [(each.name, bool(each.why)) for each in found.value] == [
        ("/opt/shim.so", False),
        ("/opt/gone.so", True),
        ("/opt/text.so", True),
        ("libmissing.so", True),
    ]
    assert preloads(system(root)) == Seen((), "LD_PRELOAD, /etc/ld.so.preload")


def test_cudnn_parts_that_the_wheel_lacks_come_from_the_system(root: Root) -> None:
    """pytorch#188892: a part is opened by name, and the system has one of another release."""
    torch(root)
    root.lib("usr/lib/x86_64-linux-gnu/libcudnn.so.9.23.0", soname="libcudnn.so.9")
    (root.here / "usr/lib/x86_64-linux-gnu/libcudnn.so.9").symlink_to("libcudnn.so.9.23.0")
    assert look(root).why == "there is another cuDNN: /usr/lib/x86_64-linux-gnu/libcudnn.so.9"


@pytest.mark.parametrize(
    ("cuda", "cudnn", "names"),
    [
        ("11.8", "8", ["libcudart.so.11.0", "libcublas.so.11", "libcufft.so.10", "libcusparse.so.11", "libcudnn.so.8"]),
        ("12.5.1", "9", ["libcudart.so.12", "libcublas.so.12", "libcufft.so.11", "libcusparse.so.12", "libcudnn.so.9"]),
    ],
)
def test_tensorflow_asks_for_the_names_of_its_own_versions(root: Root, cuda: str, cudnn: str, names: list[str]) -> None:
    python(root)
    distribution(root, "tensorflow", "2.21.0", (f"tensorflow/python/_x.{TAG}",))
    root.lib(f"{SITE}/tensorflow/python/_x.{TAG}")
    info = f"{SITE}/tensorflow/python/platform/build_info.py"
    (root.here / info).parent.mkdir(parents=True)
    (root.here / info).write_text(f"{{'cuda_version': '{cuda}', 'cudnn_version': '{cudnn}', 'is_cuda_build': True}}\n")
    built = CudaVersion.parse(cuda)
    assert built
    tensorflow = Framework("tensorflow", "2.21.0", f"/{SITE}", True, built, built.major, (), f"/{info}")
    assert [each.soname for each in look(root, tensorflow).missing] == names
    (root.here / "usr/lib/x86_64-linux-gnu").mkdir(parents=True, exist_ok=True)
    for name in names:
        root.lib(f"usr/lib/{name}")
    assert look(root, tensorflow).missing == ()


def test_a_toolkit_of_two_releases_on_ld_library_path(root: Root) -> None:
    """libcublas and its libcublasLt lie in two folders, of which nobody but a program of its own asks."""
    python(root)
    for folder, name in (("opt/a", "libcublas.so.11.10.3.66"), ("opt/b", "libcublasLt.so.11.2.0.252")):
        short = name[: name.index(".so.") + 6]
        root.lib(f"{folder}/{name}", *(["libcublasLt.so.11"] if "Lt" not in name else []), soname=short)
        (root.here / folder / short).symlink_to(name)
    place = system(root, {"LD_LIBRARY_PATH": "/opt/a:/opt/b"})
    environments = pythons(place)
    found = loads(
        place,
        environments,
        (),
        toolkit(place, environments, ()),
        packages(place, environments, (), host(place)),
        ABSENT,
    )
    assert isinstance(found, Seen)
    assert [(each.soname, each.version, each.how) for each in found.value[0].libraries] == [
        ("libcublas.so.11", "11.10.3.66", "LD_LIBRARY_PATH"),
        ("libcublasLt.so.11", "11.2.0.252", "LD_LIBRARY_PATH"),
    ]


CUPY = Framework("cupy-cuda12x", "14.2.0", f"/{SITE}", True, None, 12, (), "")


def cupy(root: Root, *, version: str = "14.2.0") -> None:
    """CuPy as pip install 'cupy-cuda12x[ctk]' leaves it, without the wheel of cuBLAS."""
    python(root)
    distribution(root, "cupy-cuda12x", version, (f"cupy_backends/cuda/libs/cublas.{TAG}", "cupy/_environment.py"))
    metadata = root.here / SITE / f"cupy_cuda12x-{version}.dist-info/METADATA"
    metadata.write_text(
        f"Name: cupy-cuda12x\nVersion: {version}\n"
        'Requires-Dist: cuda-toolkit[cublas,cudart,nvrtc]==12.*; extra == "ctk"\n'
    )
    root.lib(f"{SITE}/cupy_backends/cuda/libs/cublas.{TAG}", "libcublas.so.12")
    for file in ("cupy/_environment.py", "cupy_backends/cuda/libs/__init__.py"):
        (root.here / SITE / file).parent.mkdir(parents=True, exist_ok=True)
        (root.here / SITE / file).write_text("load_nvidia_dynamic_lib")
    # It is a list of extras alone, so nothing of it says what was asked for.
    distribution(root, "cuda-toolkit", "12.9.2.0", ())
    (root.here / SITE / "cuda_toolkit-12.9.2.0.dist-info/METADATA").write_text(
        "Name: cuda-toolkit\nVersion: 12.9.2.0\n"
        'Requires-Dist: nvidia-cublas-cu12==12.9.2.*; extra == "cublas"\n'
        'Requires-Dist: nvidia-cuda-nvrtc-cu12==12.9.86.*; extra == "nvrtc"\n'
    )
    distribution(root, "nvidia-cuda-nvrtc-cu12", "12.9.86", ("nvidia/cuda_nvrtc/lib/libnvrtc.so.12",))
    root.lib(f"{SITE}/nvidia/cuda_nvrtc/lib/libnvrtc.so.12")


def test_cupy_without_cublas_whose_toolkit_is_only_a_name(root: Root) -> None:
    cupy(root)
    found = look(root, CUPY)
    assert found.why == "which parts of cuda-toolkit [ctk] asks for is not known"
    assert [each.soname for each in found.missing] == ["libcublas.so.12"]


@pytest.mark.parametrize("place", [CUBLAS, "usr/local/cuda/lib64/libcublas.so.12", "venv/lib/libcublas.so.12"])
def test_cupy_whose_cublas_comes_from_a_wheel_a_toolkit_or_conda(root: Root, place: str) -> None:
    cupy(root)
    root.lib(place)
    if place == CUBLAS:
        distribution(root, "nvidia-cublas-cu12", "12.9.2.10", (CUBLAS.removeprefix(f"{SITE}/"),))
    assert look(root, CUPY).missing == ()


JAX = Framework("jax", "0.10.2", f"/{SITE}", True, None, 12, (), "")
#: Of jax_plugins/xla_cuda12/__init__.py of 0.10.2.
CHECKS = """
def _load_nvidia_libraries():
  pass
def _check_cuda_versions():
  def _version_check(name: str):
    pass
  _version_check("CUDA", cuda_versions.cuda_runtime_get_version)
  cudnn_version = _version_check(
      "cuDNN",
      cuda_versions.cudnn_get_version)
  # _version_check("cuSOLVER", cuda_versions.cusolver_get_version)
"""


def jax(root: Root, *wheels: tuple[str, str]) -> None:
    """jax[cuda12] with some of the wheels that its plugin's extra asks for: (name, library)."""
    python(root)
    distribution(root, "jax", "0.10.2", ("jax/__init__.py",))
    distribution(root, "jax-cuda12-plugin", "0.10.2", (f"jax_cuda12_plugin/_versions.{TAG}",))
    (root.here / SITE / "jax_cuda12_plugin-0.10.2.dist-info/METADATA").write_text(
        "Name: jax-cuda12-plugin\nVersion: 0.10.2\n"
        'Requires-Dist: nvidia-cuda-runtime-cu12>=12.1; extra == "with-cuda"\n'
        'Requires-Dist: nvidia-cudnn-cu12<10.0,>=9.8; extra == "with-cuda"\n'
    )
    root.lib(f"{SITE}/jax_cuda12_plugin/_versions.{TAG}")
    (root.here / SITE / "jax_plugins/xla_cuda12").mkdir(parents=True)
    (root.here / SITE / "jax_plugins/xla_cuda12/__init__.py").write_text(CHECKS)
    for name, library in wheels:
        distribution(root, name, "12.9", (library,))
        root.lib(f"{SITE}/{library}")


RUNTIME = ("nvidia-cuda-runtime-cu12", "nvidia/cuda_runtime/lib/libcudart.so.12")
CUDNN = ("nvidia-cudnn-cu12", "nvidia/cudnn/lib/libcudnn.so.9")


def test_an_extra_that_is_there_in_part_makes_it_look_closer(root: Root) -> None:
    """jax: "Unable to load cuDNN. Is it installed?", and it goes on with the CPU."""
    jax(root, RUNTIME)
    found = look(root, JAX)
    assert found.why == "nvidia-cudnn-cu12 is not installed"
    assert [(each.soname, each.when) for each in found.missing] == [("libcudnn.so.9", "first use of a GPU")]


def test_jax_s_libraries_from_wheels_or_from_the_system(root: Root) -> None:
    jax(root, RUNTIME)
    root.lib("usr/lib/x86_64-linux-gnu/libcudnn.so.9")
    assert look(root, JAX).missing == ()


def test_jax_without_any_wheel_and_without_a_toolkit(root: Root) -> None:
    jax(root)
    assert [each.soname for each in look(root, JAX).missing] == ["libcudart.so.12", "libcudnn.so.9"]


def test_wheels_in_another_folder_of_sys_path_are_not_beside_it(root: Root) -> None:
    """torch's RPATH leads to the folders beside it; what PYTHONPATH names is installed all the same (pytorch#147001)."""
    torch(root)
    (root.here / "opt/b").mkdir(parents=True)
    for name in ("nvidia", "nvidia_cublas_cu12-12.6.4.1.dist-info"):
        (root.here / SITE / name).rename(root.here / "opt/b" / name)
    found = look(root, PYTHONPATH="/opt/b")
    assert found.why == "its CUDA libraries are not beside it"
    assert [(each.soname, each.copies) for each in found.missing] == [
        ("libcublas.so.12", ("/opt/b/nvidia/cublas/lib/libcublas.so.12",))
    ]
