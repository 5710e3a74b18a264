"""Real input: children of the templates, and locks that uv itself wrote."""

from __future__ import annotations

import functools
import http.server
import os
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpucheck.facts import Seen
from gpucheck.finding import Status, Verdict
from gpucheck.project.builds import builds
from tests.needs import missing
from tests.project.folders import CUDA13_IMAGE, from_index, judge, outcome, pyproject, write
from tests.templates.source import make_repository
from tests.templates.tools import find_tool, run


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        import copier  # noqa: F401
    except ImportError:
        missing("projects of the templates", "pip install 'gpu-capable[templates]'")
    return make_repository(tmp_path_factory.mktemp("template") / "repository")


def start(repository: Path, folder: Path, **answers: str) -> Path:
    import copier

    copier.run_copy(str(repository), folder, answers, defaults=True, quiet=True)
    return folder


@pytest.mark.parametrize("kind", ["library", "batch-job", "service"])
@pytest.mark.parametrize(
    ("library", "image"),
    [("torch", "cuda13"), ("torch", "cpu"), ("tensorflow", "cuda13"), ("jax", "cuda13"), ("jax", "cpu"), ("xgboost", "cuda13"), ("xgboost", "cpu"), ("none", "cpu")],
)  # fmt: skip
def test_a_new_child_is_compatible_before_it_is_locked(
    kind: str, library: str, image: str, repository: Path, tmp_path: Path
) -> None:
    folder = start(
        repository, tmp_path / "p", project_type=kind, ml_library=library, base_image=image, project_name="demo"
    )
    report = judge(folder)
    assert [(found.rule, found.summary) for found in report.everything() if found.rule != "lock-missing"] == []
    assert (report.verdict, [(one.rule, one.error) for one in report.outcomes if one.status is Status.UNKNOWN]) == (Verdict.COMPATIBLE, [])  # fmt: skip
    project = report.snapshot.project
    assert isinstance(project, Seen) and isinstance(project.value.answers, Seen)
    answers = dict(project.value.answers.value)
    assert (answers["project_type"], answers["base_image"], answers["ml_library"]) == (kind, image, library)


def uv_lock(folder: Path, **environment: str) -> None:
    """Locks with the real uv."""
    uv = find_tool("uv", "projects that uv locked")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("UV_", "PYTHON", "VIRTUAL_ENV"))}
    # The projects need Python 3.11, whatever runs the tests.
    python = os.path.realpath(sys.executable) if sys.version_info >= (3, 11) else "3.11"
    found = run(
        uv,
        "lock",
        "--quiet",
        "--python",
        python,
        cwd=folder,
        env={**kept, "UV_PYTHON_DOWNLOADS": "never", **environment},
    )
    if found.returncode and ("dns error" in found.stderr or "Connect" in found.stderr):
        missing("a child locked from PyPI", "run where PyPI can be reached")
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize(
    ("library", "kinds"),
    [
        ("torch", {("torch", 13)}),
        ("tensorflow", {("tensorflow", 12)}),
        ("jax", {("jax", 13)}),
        ("xgboost", {("xgboost", 13)}),
    ],
)
def test_a_child_that_uv_locked_from_pypi(
    library: str, kinds: set[tuple[str, int]], repository: Path, tmp_path: Path
) -> None:
    folder = start(
        repository, tmp_path / "p", project_type="library", ml_library=library, base_image="cuda13", project_name="demo"
    )
    uv_lock(folder)
    report = judge(folder)
    assert (report.verdict, [found.summary for found in report.everything()]) == (Verdict.COMPATIBLE, [])
    assert [one.rule for one in report.outcomes if one.status is not Status.PASS] == []
    assert isinstance(report.snapshot.project, Seen)
    project = report.snapshot.project.value
    (dockerfile,) = (fact.value for fact in project.dockerfiles if isinstance(fact, Seen))
    found = builds(project, dockerfile, "3.13")
    assert {(build.library, build.cuda_major) for build in found} == kinds
    assert all(build.source.startswith("uv.lock:") and build.version for build in found)


# -- an index of our own, laid out as PyTorch's ------------------------------------------------------------------------


def make_wheel(folder: Path, name: str, version: str, *requires: str) -> None:
    """A wheel of metadata alone (PEP 427)."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{name.replace('-', '_')}-{version}"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(
            f"{stem}.dist-info/METADATA",
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            + "".join(f"Requires-Dist: {one}\n" for one in requires),
        )
        wheel.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{stem}.dist-info/RECORD", "")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with a PyPI of its own and PyTorch's cpu and cu130 beside it."""
    root = tmp_path_factory.mktemp("indexes")
    linux = "sys_platform == 'linux'"
    make_wheel(root / "simple/torch", "torch", "2.15.0", f"nvidia-cuda-runtime==13.2.86; {linux}")
    make_wheel(root / "simple/nvidia-cuda-runtime", "nvidia-cuda-runtime", "13.2.86")
    make_wheel(root / "whl/cpu/torch", "torch", "2.15.0+cpu")
    make_wheel(root / "whl/cu130/torch", "torch", "2.15.0+cu130", f"nvidia-cuda-runtime==13.2.86; {linux}")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def locked(folder: Path, indexes: str, more: str) -> Path:
    text = pyproject("torch>=2.11", more=more).replace("https://download.pytorch.org", indexes)
    write(folder, {"pyproject.toml": text, "Dockerfile": CUDA13_IMAGE})
    uv_lock(folder, UV_DEFAULT_INDEX=f"{indexes}/simple", UV_CACHE_DIR=str(folder.parent / "cache"))
    return folder


def test_the_cpu_index_gives_a_cpu_build_on_linux_alone(indexes: str, tmp_path: Path) -> None:
    more = from_index("cpu").replace('"pytorch" }', '"pytorch", marker = "sys_platform != \'darwin\'" }')
    report = judge(locked(tmp_path / "p", indexes, more))
    (complaint,) = outcome(report, "image-cannot-run-build").complaints
    assert complaint.summary == "torch 2.15.0+cpu (CPU build) cannot use the GPU that registry.example.com/ml/gpu-capable/cuda13:0.1.0 is for"  # fmt: skip
    assert outcome(report, "wheel-index-contradicts-lock").status is Status.PASS


def test_an_index_changed_after_the_lock_was_written(indexes: str, tmp_path: Path) -> None:
    folder = locked(tmp_path / "p", indexes, from_index("cpu"))
    changed = (folder / "pyproject.toml").read_text().replace("/whl/cpu", "/whl/cu130")
    (folder / "pyproject.toml").write_text(changed)
    assert [found.rule for found in judge(folder).roots] == ["wheel-index-contradicts-lock"]
    uv_lock(folder, UV_DEFAULT_INDEX=f"{indexes}/simple", UV_CACHE_DIR=str(folder.parent / "cache"))
    assert judge(folder).verdict is Verdict.COMPATIBLE


def test_torch_backend_has_no_effect_on_a_real_lock(indexes: str, tmp_path: Path) -> None:
    folder = locked(tmp_path / "p", indexes, '[tool.uv.pip]\ntorch-backend = "cpu"\n')
    (complaint,) = outcome(judge(folder), "wheel-index-contradicts-lock").complaints
    assert complaint.summary.startswith('torch-backend = "cpu" has no effect on uv.lock: it holds torch 2.15.0')
