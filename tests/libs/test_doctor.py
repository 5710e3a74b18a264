"""The doctor on real wheels: silent where they are healthy, and the fault that was made of them is the root cause."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from gpucheck.engine import judge
from gpucheck.facts import Snapshot
from gpucheck.finding import Finding, Report, Severity
from gpucheck.probes import extensions, host, libraries, loads, packages, python
from gpucheck.record import replace
from gpucheck.system import Local
from tests.cache import cache
from tests.elf.workshop import Workshop
from tests.machines import answers, gpu, healthy
from tests.needs import missing

#: What this part of the doctor says; on a machine whose driver is newer than any of the wheels.
OURS = {
    "wheel-for-other-machine", "packages-share-files", "package-files-missing", "c-library-too-old", "libraries-do-not-fit",
    "library-parts-mixed", "library-older-than-required", "library-missing", "requirement-unmet", "companions-for-other-cuda",
    "known-bad-pair", "extension-of-other-torch", "gpu-not-covered-by-build", "ptx-newer-than-driver", "framework-is-cpu-build",
}  # fmt: skip


def environment(name: str) -> Path:
    """An environment that ci/setup made."""
    place = cache() / name
    if not (place / "complete").exists():
        script, _, one = name.replace("torch", "torch.sh").replace("wheels/", "wheels.sh ").partition(" ")
        missing(f"the doctor on the real wheels of {name}", f"run: ci/setup/{script} {one}".strip())
    return place


def site(environment: Path) -> Path:
    """Its site-packages."""
    (found,) = environment.glob("lib/python3*/site-packages")
    return found


def look(environment: Path, **env: str) -> Report:
    """The judgement on an environment, as if it were on a healthy machine with an H100."""
    place = Local({"PATH": os.environ["PATH"], **env})
    environments = python.pythons(place, str(environment))
    installed = python.distributions(place, environments)
    frameworks = python.frameworks(place, installed)
    toolkit = libraries.toolkit(place, environments, installed)
    here = host.host(place)
    together = packages.packages(place, environments, installed, here)
    snapshot: Snapshot = replace(
        healthy(cuda=answers(cuda="99.0", gpus=(gpu(),)), runtimes=()),
        host=here,
        pythons=environments,
        frameworks=frameworks,
        distributions=python.telling(installed),
        libraries=toolkit,
        packages=together,
        loads=loads.loads(place, environments, frameworks, toolkit, together, here.libc),
        extensions=extensions.extensions(place, environments, installed, toolkit),
        environment=tuple(sorted(env.items())),
    )
    return judge(snapshot)


def findings(report: Report) -> dict[str, Finding]:
    """What this part of the doctor found, notes apart."""
    return {each.rule: each for each in report.everything() if each.rule in OURS and each.severity is not Severity.NOTE}


def combine(folder: Path, *sources: Mapping[str, Path]) -> Path:
    """An environment whose site-packages are links to others'; of two of a name the last one counts."""
    packages = folder / f"lib/python3.{sys.version_info.minor}/site-packages"
    packages.mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "bin/python").symlink_to(sys.executable)
    (folder / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n")
    for name, path in {name: path for source in sources for name, path in source.items()}.items():
        (packages / name).symlink_to(path)
    return folder


def entries(packages: Path) -> dict[str, Path]:
    """What is in a folder."""
    return {path.name: path for path in packages.iterdir()}


@pytest.mark.parametrize("name", ["torch", "wheels/cupy", "wheels/jax", "wheels/xgboost"])
def test_real_wheels_that_are_healthy_have_no_finding(name: str) -> None:
    report = look(environment(name))
    assert findings(report) == {}
    assert report.snapshot.frameworks and report.roots == ()


def test_a_toolkit_beside_healthy_wheels_does_no_harm() -> None:
    """It hides nothing of torch, which has RPATH: no finding, although LD_LIBRARY_PATH names older libraries."""
    path = str(site(environment("wheels/cupy")) / "nvidia/cusparse/lib")
    assert findings(look(environment("torch"), LD_LIBRARY_PATH=path)) == {}


def test_tensorflow_without_its_extra() -> None:
    finding = findings(look(environment("wheels/tensorflow")))["library-missing"]
    assert finding.severity is Severity.ERROR
    assert (
        finding.summary == "tensorflow 2.21.0 does not find libcudart.so.12, libcublas.so.12, libcudnn.so.9 and 2 more"
    )
    assert finding.remedy.endswith("'tensorflow[and-cuda]==2.21.0'")


def test_onnxruntime_does_not_find_its_wheels_before_they_are_preloaded() -> None:
    finding = findings(look(environment("wheels/onnxruntime-gpu")))["library-missing"]
    assert (finding.severity, finding.remedy.partition(" ")[0]) == (Severity.WARNING, "Call")
    assert "onnxruntime.preload_dlls()" in finding.remedy


def test_onnxruntime_without_any_cuda_library(tmp_path: Path) -> None:
    here = entries(site(environment("wheels/onnxruntime-gpu")))
    only = {name: path for name, path in here.items() if not name.startswith("nvidia")}
    finding = findings(look(combine(tmp_path / "env", only)))["library-missing"]
    assert finding.severity is Severity.ERROR
    assert finding.remedy.endswith(" 'onnxruntime-gpu[cuda,cudnn]==1.31.1'")


def test_an_older_nvjitlink_on_ld_library_path(tmp_path: Path, workshop: Workshop) -> None:
    """pytorch#111469, with the real cuSPARSE and the real older nvJitLink, and a stand-in for torch's libraries."""
    wheels = entries(site(environment("wheels/cupy")))
    old = site(environment("wheels/old-nvjitlink")) / "nvidia/nvjitlink/lib"
    rpath = "$ORIGIN/../../nvidia/cusparse/lib:$ORIGIN/../../nvidia/nvjitlink/lib"
    module = f"torch/_C.cpython-3{sys.version_info.minor}-x86_64-linux-gnu.so"
    workshop.lib("made/torch/lib/libtorch_cuda.so", "libcusparse.so.12", rpath=rpath)
    workshop.lib("made/torch/lib/libtorch_global_deps.so")
    workshop.lib(f"made/{module}", "libtorch_cuda.so", rpath="$ORIGIN/lib")
    made = workshop.here / "made"
    (made / "torch/version.py").write_text("__version__ = '2.9.1+cu129'\ncuda = '12.9'\n")
    info = made / "torch-2.9.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: torch\nVersion: 2.9.1\nRequires-Dist: nvidia-cusparse-cu12==12.5.10.65\n")
    (info / "RECORD").write_text(f"{module},,\ntorch/lib/libtorch_cuda.so,,\n")
    chosen = {name: path for name, path in wheels.items() if name.startswith("nvidia")}
    place = combine(tmp_path / "env", chosen)
    # Not links: $ORIGIN/../.. of a linked folder is where the link leads.
    shutil.copytree(made, site(place), dirs_exist_ok=True)

    assert findings(look(place)) == {}
    report = look(place, LD_LIBRARY_PATH=str(old))
    assert [root.rule for root in report.roots] == ["libraries-do-not-fit"]
    (root,) = report.roots
    assert root.summary == "torch 2.9.1+cu129 gets a libnvJitLink.so.12 that lacks what libcusparse.so.12 needs"
    assert "libcusparse.so.12: undefined symbol: __nvJitLink" in root.evidence[0].fact
    assert root.remedy == f"Take {old} out of LD_LIBRARY_PATH (or: unset LD_LIBRARY_PATH)"


def test_two_builds_of_onnxruntime_over_each_other(tmp_path: Path) -> None:
    """``pip install onnxruntime-gpu`` and then something that requires onnxruntime, or the other way round."""
    gpu_build, cpu_build = site(environment("wheels/onnxruntime-gpu")), site(environment("wheels/onnxruntime"))
    for last, severity in ((cpu_build, Severity.ERROR), (gpu_build, Severity.WARNING)):
        place = combine(tmp_path / str(severity.value), entries(gpu_build), entries(cpu_build), entries(last))
        finding = findings(look(place))["packages-share-files"]
        assert finding.severity is severity
        name = "onnxruntime" if last is cpu_build else "onnxruntime-gpu"
        assert (
            finding.summary
            == f"onnxruntime 1.31.1 and onnxruntime-gpu 1.31.1 own the same files; those of {name} are on disk"
        )
        assert "pip uninstall -y onnxruntime onnxruntime-gpu && " in finding.remedy
        assert finding.remedy.endswith(" onnxruntime-gpu")


def test_a_torchvision_for_another_torch(tmp_path: Path) -> None:
    """torchvision 0.22.1 is linked with torch 2.7.1; the real dynamic linker names a symbol that is predicted."""
    torch, vision = site(environment("torch")), site(environment("wheels/old-torchvision"))
    place = combine(tmp_path / "env", entries(torch), entries(vision))
    report = look(place)
    assert [root.rule for root in report.roots] == ["requirement-unmet"]
    assert report.roots[0].summary == "torchvision 0.22.1 requires torch==2.7.1, and 2.15.0 is installed"
    extension = findings(report)["extension-of-other-torch"]
    assert extension.summary == "torchvision 0.22.1 needs libcudart.so.12, which does not come with torch 2.15.0+cu132"
    assert real_error(vision / "torchvision/_C.so") == (
        "libcudart.so.12: cannot open shared object file: No such file or directory"
    )

    beside = site(environment("wheels/cupy")) / "nvidia/cuda_runtime/lib"
    extension = findings(look(place, LD_LIBRARY_PATH=str(beside)))["extension-of-other-torch"]
    assert extension.summary == "torchvision 0.22.1 was compiled for another torch than torch 2.15.0+cu132"
    error = real_error(vision / "torchvision/_C.so", LD_LIBRARY_PATH=str(beside))
    # The dynamic linker stops at the first symbol in its own order; which of them is no matter.
    assert "undefined symbol: _Z" in error and "undefined symbol: _Z" in extension.evidence[0].fact


def real_error(library: Path, **env: str) -> str:
    """What the dynamic linker says of an extension once torch is imported."""
    code = f"import torch, ctypes\ntry: ctypes.CDLL({str(library)!r})\nexcept OSError as error: print(error)"
    done = subprocess.run(
        [cache() / "torch/bin/python", "-c", code],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_a_library_that_was_deleted_to_save_space(tmp_path: Path) -> None:
    here = entries(site(environment("wheels/cupy")))
    place = combine(tmp_path / "env", {name: path for name, path in here.items() if name != "nvidia"})
    copy = place / f"lib/python3.{sys.version_info.minor}/site-packages/nvidia"
    for folder in here["nvidia"].glob("*/lib"):
        (copy / folder.parent.name / "lib").mkdir(parents=True)
        for file in folder.iterdir():
            if file.name != "libnvrtc.so.12":
                (copy / folder.parent.name / "lib" / file.name).symlink_to(file)
    report = look(place)
    assert [root.rule for root in report.roots] == ["package-files-missing"]
    assert report.roots[0].summary == "nvidia-cuda-nvrtc-cu12 12.9.86 lacks 1 of its libraries: libnvrtc.so.12" or (
        report.roots[0].summary == "nvidia-cuda-nvrtc-cu12 12.9.86 lacks 1 of its library: libnvrtc.so.12"
    )
    assert "library-missing" in [each.rule for each in report.roots[0].consequences]


def test_ctranslate2_without_cublas() -> None:
    finding = findings(look(environment("wheels/ctranslate2")))["library-missing"]
    assert finding.summary == "ctranslate2 4.8.5 does not find libcublas.so.12"
    assert " nvidia-cublas-cu12, and put its lib folder into LD_LIBRARY_PATH" in finding.remedy


def test_an_environment_that_was_copied_from_another_python(tmp_path: Path) -> None:
    here = entries(site(environment("wheels/cupy")))
    place = combine(tmp_path / "env", here)
    shutil.move(place / f"lib/python3.{sys.version_info.minor}", place / "lib/python3.99")
    assert {root.rule for root in look(place).roots} == {"wheel-for-other-machine"}
