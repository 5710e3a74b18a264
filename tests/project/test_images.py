"""Images by their names, and the tables that tell of images and builds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ci.matrix import BASES
from gpucheck import kb
from gpucheck.kb.frameworks import builds
from gpucheck.project.images import OurImage, bases, ours, parse_reference, recognise
from gpucheck.versions import DriverVersion

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MATRIX = Path(__file__).parents[2] / "base-images/matrix.toml"


@pytest.mark.parametrize(
    ("reference", "title", "gpu", "libc", "python"),
    [
        ("gpu-capable/cuda13:0.1.0", "for wheels with CUDA 13", True, "glibc", "3.13"),
        ("registry.example.com:5000/ml/gpu-capable/cpu@sha256:00", "for the CPU", False, "glibc", "3.13"),
        ("nvidia/cuda:12.4.1-cudnn-runtime-ubuntu22.04", "CUDA 12.4 toolkit, runtime", True, "glibc", ""),
        ("docker.io/nvidia/cuda:12.1.1-cudnn8-devel-ubuntu22.04", "CUDA 12.1 toolkit, devel", True, "glibc", ""),
        ("nvcr.io/nvidia/cuda:13.0.0-base-ubi9", "CUDA 13.0 toolkit, base", True, "glibc", ""),
        ("nvidia/cuda:13.0.0-tensorrt-runtime-ubuntu24.04", "CUDA 13.0 toolkit, runtime", True, "glibc", ""),
        ("nvidia/cuda", "CUDA (version unknown) toolkit", True, "glibc", ""),
        ("python:3.12-slim", "glibc, no CUDA", None, "glibc", "3.12"),
        ("docker.io/library/python:3.12.7-alpine3.20", "musl, no CUDA", None, "musl", "3.12"),
        ("public.ecr.aws/docker/library/debian:trixie-slim", "glibc, no CUDA", None, "glibc", ""),
        ("alpine", "musl, no CUDA", None, "musl", ""),
        ("ghcr.io/astral-sh/uv:python3.13-bookworm-slim", "glibc, no CUDA", None, "glibc", "3.13"),
        ("ghcr.io/astral-sh/uv:python3.13-alpine", "musl, no CUDA", None, "musl", "3.13"),
    ],
)
def test_recognised_image(reference: str, title: str, gpu: bool | None, libc: str, python: str) -> None:
    image = recognise(reference)
    assert image and (image.title, image.gpu, image.libc, image.python) == (title, gpu, libc, python)


@pytest.mark.parametrize("reference", ["me/python:3.12", "registry.example.com/python:3.12", "nvidia/cudagl:11", "gpu-capable/x:1", "gpu-capable/agent:0.1.0", "pytorch/pytorch", ""])  # fmt: skip
def test_image_that_nothing_is_known_of(reference: str) -> None:
    assert recognise(reference) is None


@pytest.mark.parametrize(
    ("text", "repository", "tag", "digest", "pinned"),
    [
        ("python", "python", "", "", False),
        ("localhost:5000/a/b", "localhost:5000/a/b", "", "", False),
        ("localhost:5000/a/b:1.2@sha256:0f", "localhost:5000/a/b", "1.2", "sha256:0f", True),
        ("docker.io/library/python:latest", "python", "latest", "", False),
    ],
)
def test_reference(text: str, repository: str, tag: str, digest: str, pinned: bool) -> None:
    found = parse_reference(text)
    assert (found.repository, found.tag, found.digest, found.pinned) == (repository, tag, digest, pinned)


def row_of(image: dict[str, object]) -> OurImage:
    names = ("name", "family", "gpu", "cuda", "driver_floor", "python", "eol", "source", "checked")
    return OurImage(**{name: image.get(name, "") for name in names})


def test_our_images_are_those_of_the_matrix() -> None:
    matrix = [row for row in tomllib.loads(MATRIX.read_text())["image"] if row["family"] in BASES]
    expected = "".join(f"\n[[image]]\n{_lines(row_of(image))}" for image in matrix)
    assert tuple(map(row_of, matrix)) == ours(), f"gpucheck/kb/images.toml is not up to date; its rows are:\n{expected}"


def _lines(row: OurImage) -> str:
    def shown(value: object) -> str:
        return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)

    return "".join(f"{name} = {shown(getattr(row, name))}\n" for name in row.__match_args__)


def test_rows_of_images_make_sense() -> None:
    for row in ours():
        assert row.gpu == bool(row.cuda) == bool(row.driver_floor)
        floor = DriverVersion.parse(row.driver_floor) if row.gpu else None
        assert row.gpu is False or (floor and floor >= kb.families()[int(row.cuda)].driver_floor)
    assert len({row.repository for row in bases()}) == len(bases())
    assert {row.libc for row in bases()} == {"glibc", "musl"}


def test_the_cuda_of_a_library_on_pypi_does_not_go_back() -> None:
    from gpucheck.markers import release

    for library in ("torch", "tensorflow", "xgboost", "onnxruntime-gpu"):
        rows = sorted((row for row in builds(library) if row.pypi), key=lambda row: release(row.version))
        majors = [row.cuda_majors for row in rows]
        assert len(rows) >= 4 and majors == sorted(majors), library
