"""Library, image and dependencies: who gets which build, what is refused, and that uv finds it all."""

from __future__ import annotations

import functools
import http.server
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from .source import TYPES, commit, make_repository, replace
from .tools import run

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CUDA12 = """\
  - name: "test-cuda12"
    title: "CUDA 12 from wheels"
    family: "wheels"
    python: "3.13"
    gpu: true
    cuda: "12"
    driver_floor: "525.60.13"
"""

TOOLKIT13 = """\
  - name: "test-toolkit13"
    title: "CUDA 13 toolkit"
    family: "toolkit"
    python: "3.13"
    gpu: true
    cuda: "13"
    driver_floor: "580.65.06"
    digest: "sha256:0123"
"""


@pytest.fixture(scope="module")
def grown(tmp_path_factory) -> Path:
    """The template after a platform team added two images."""
    repository = make_repository(tmp_path_factory.mktemp("grown") / "repository")
    with (repository / "base-images" / "matrix.yml").open("a") as stream:
        stream.write(CUDA12 + TOOLKIT13)
    commit(repository, "v1.1.0")
    return repository


def read_project(folder: Path) -> dict[str, object]:
    document: dict[str, object] = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    return document


@pytest.mark.parametrize(
    ("library", "image", "requirements"),
    [
        ("torch", "cuda13", ["torch>=2.11", "numpy>=2"]),
        ("torch", "cpu", ["torch>=2.11", "numpy>=2"]),
        ("jax", "cuda13", ["jax[cuda13]>=0.7.2; sys_platform == 'linux'", "jax>=0.7.2; sys_platform != 'linux'"]),
        ("jax", "cpu", ["jax>=0.7.2"]),
        # TensorFlow's newest build for a GPU is one for CUDA 12, and a driver for CUDA 13 runs it.
        (
            "tensorflow",
            "cuda13",
            ["tensorflow[and-cuda]>=2.20; sys_platform == 'linux'", "tensorflow>=2.20; sys_platform != 'linux'"],
        ),
        ("xgboost", "cuda13", ["xgboost>=3.4; python_version >= '3.12'", "xgboost>=3.2; python_version < '3.12'"]),
        ("xgboost", "cpu", ["xgboost-cpu>=3.2; sys_platform == 'linux'", "xgboost>=3.2; sys_platform != 'linux'"]),
        ("none", "cpu", ["numpy>=2"]),
    ],
)
def test_each_library_comes_in_the_build_for_the_image(render, library, image, requirements):
    project = render({"ml_library": library, "base_image": image})
    assert read_project(project)["dependencies"] == requirements


def test_a_build_of_an_older_cuda_is_explained(render):
    text = (render({"ml_library": "tensorflow", "base_image": "cuda13"}) / "pyproject.toml").read_text()
    line = "    # Builds for CUDA 12, for the base image cuda13 (driver 580.65.06 or newer, which runs CUDA 12 too).\n"
    assert line in text


@pytest.mark.parametrize(
    ("library", "image"),
    [("torch", "cuda13"), ("tensorflow", "cuda13"), ("jax", "cuda13"), ("xgboost", "cuda13"), ("none", "cpu")],
)
def test_the_image_follows_from_the_library(render, library, image):
    project = render({"ml_library": library})
    assert f"\nbase_image: {image}\n" in (project / ".copier-answers.yml").read_text()


def test_a_new_row_is_a_new_choice(start, grown):
    project = start({"ml_library": "tensorflow", "base_image": "test-cuda12"}, source=grown)
    assert "\nARG BASE_IMAGE=gpu-capable/test-cuda12:" in (project / "Dockerfile").read_text()
    assert "Builds for CUDA 12, for the base image test-cuda12 (driver 525.60.13 or newer)." in (
        (project / "pyproject.toml").read_text()
    )


def test_a_digest_in_a_row_wins_over_the_tag(start, grown):
    answers = {"ml_library": "none", "base_image": "test-toolkit13", "image_registry": "registry.example.com/ml"}
    dockerfile = (start(answers, source=grown) / "Dockerfile").read_text()
    assert "\nARG BASE_IMAGE=registry.example.com/ml/gpu-capable/test-toolkit13@sha256:0123\n" in dockerfile


@pytest.mark.parametrize(
    ("library", "image", "complaint"),
    [
        ("torch", "test-cuda12", "PyTorch has no build for CUDA 12 (it has: cpu, 13); choose another image"),
        (
            "torch",
            "test-toolkit13",
            "PyTorch's wheels bring their own CUDA libraries and this image has them already; choose a wheels image",
        ),
    ],
)
def test_an_image_that_does_not_go_with_the_library_is_refused(start, grown, library, image, complaint):
    with pytest.raises(ValueError, match="base_image") as error:
        start({"ml_library": library, "base_image": image}, source=grown)
    assert str(error.value) == f"Invalid choice for 'base_image': {complaint}"


def lock(project: Path, laptop: dict[str, str]) -> dict[str, dict[str, str]]:
    """Locks a project with uv and returns the packages by name and version."""
    ran = run("uv", "lock", cwd=project, env=laptop)
    assert ran.returncode == 0, ran.stderr
    packages = tomllib.loads((project / "uv.lock").read_text())["package"]
    found: dict[str, dict[str, str]] = {}
    for package in packages:
        source = package["source"]
        found.setdefault(package["name"], {})[package.get("version", "")] = source.get("registry", "").rstrip("/")
    return found


@pytest.mark.parametrize("project_type", TYPES)
def test_uv_locks_the_default_answers_with_a_cuda_13_build_of_torch(start, laptop, project_type):
    packages = lock(start({"project_type": project_type}), laptop)
    assert packages["torch"]
    assert all(version.startswith("13.") for version in packages["nvidia-cuda-runtime"])
    assert not [name for name in packages if name.endswith("-cu12")]


@pytest.mark.parametrize(
    ("library", "image", "expected"),
    [
        ("jax", "cuda13", "jax-cuda13-plugin"),
        ("tensorflow", "cuda13", "nvidia-cuda-runtime-cu12"),
        ("tensorflow", "cpu", "tensorflow-cpu"),
        ("xgboost", "cuda13", "nvidia-nccl-cu13"),
        ("xgboost", "cpu", "xgboost-cpu"),
    ],
)
def test_uv_locks_the_builds_of_the_other_libraries(start, laptop, library, image, expected):
    assert expected in lock(start({"ml_library": library, "base_image": image}), laptop)


def test_torch_on_the_cpu_comes_from_pytorchs_own_index(start, laptop, tmp_path):
    """A stand-in for that index, which holds one wheel without content: uv must take torch from there, for Linux."""
    project = start({"ml_library": "torch", "base_image": "cpu"})
    index = tmp_path / "index" / "torch"
    index.mkdir(parents=True)
    wheel = "torch-2.11.0+cpu-py3-none-any.whl"
    with zipfile.ZipFile(index / wheel, "w") as archive:
        archive.writestr(
            "torch-2.11.0+cpu.dist-info/METADATA", "Metadata-Version: 2.1\nName: torch\nVersion: 2.11.0+cpu\n"
        )
        archive.writestr("torch-2.11.0+cpu.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("torch-2.11.0+cpu.dist-info/RECORD", "")
    (index / "index.html").write_text(f'<a href="{wheel}">{wheel}</a>')
    handler = functools.partial(Quiet, directory=str(index.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        replace(project / "pyproject.toml", 'url = "https://download.pytorch.org/whl/cpu"', f'url = "{address}"')
        packages = lock(project, {**laptop, "NO_PROXY": "127.0.0.1"})
        server.shutdown()
    assert packages["torch"]["2.11.0+cpu"] == address
    assert packages["numpy"]
    assert not any(
        registry == address for name, found in packages.items() if name != "torch" for registry in found.values()
    )


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_the_wheel_holds_the_package_and_nothing_else(start, laptop):
    project = start({"ml_library": "none"})
    ran = run("uv", "build", "--wheel", cwd=project, env=laptop)
    assert ran.returncode == 0, ran.stderr
    (wheel,) = (project / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"my_gpu_project", "my_gpu_project-0.1.0.dist-info"}
    assert "my_gpu_project/py.typed" in names
