"""What frameworks would load: when the quick look suffices, and what the whole one says."""

from __future__ import annotations

import subprocess

import pytest

from gpucheck.facts import Framework, Seen
from gpucheck.installed import Loads
from gpucheck.probes.host import host
from gpucheck.probes.libraries import toolkit
from gpucheck.probes.loads import loads, preloads
from gpucheck.probes.packages import packages
from gpucheck.probes.python import distributions, pythons
from gpucheck.record import replace
from gpucheck.versions import CudaVersion
from tests.elf.workshop import Root
from tests.libs.places import SITE, distribution, python, system

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
    found = loads(place, environments, (framework,), toolkit(place, environments, installed), together)
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
