"""Dockerfiles: stages, arguments, environment, and what RUN installs."""

from __future__ import annotations

import pytest

from gpucheck.facts import Dockerfile, Seen, Unseen, Why
from gpucheck.project.dockerfile import expand, instructions, parse_dockerfile


def parse(text: str) -> Dockerfile:
    found = parse_dockerfile(Seen(text, "Dockerfile"))
    assert isinstance(found, Seen)
    return found.value


@pytest.mark.parametrize(
    ("text", "base", "source"),
    [
        ("FROM debian:12\n", "debian:12", "Dockerfile:1"),
        ("# a comment\n\nfrom --platform=linux/amd64 debian:12 as last\n", "debian:12", "Dockerfile:3"),
        ("ARG TAG=12\nFROM debian:$TAG\n", "debian:12", "Dockerfile:2"),
        ("ARG IMAGE=debian:12\n\nFROM ${IMAGE}\n", "debian:12", "Dockerfile:1"),
        ("ARG A=12\nARG B=debian:${A}\nFROM $B\n", "debian:12", "Dockerfile:2"),
        ("ARG TAG\nFROM debian:${TAG:-12}\n", "debian:12", "Dockerfile:2"),
        ("FROM debian:12 AS a\nFROM a AS b\nFROM b\n", "debian:12", "Dockerfile:1"),
        ("FROM debian:12 AS a\nFROM ubuntu:24.04\nCOPY --from=a /x /x\n", "ubuntu:24.04", "Dockerfile:2"),
        ("FROM python:3.13 AS python\nFROM python\n", "python:3.13", "Dockerfile:1"),
        ("# syntax=docker/dockerfile:1\n# escape=`\nFROM `\n  debian:12\n", "debian:12", "Dockerfile:3"),
        ("FROM debian:12 AS x\nRUN <<EOF\nFROM alpine\nEOF\n", "debian:12", "Dockerfile:1"),
    ],
)
def test_base_of_the_last_stage(text: str, base: str, source: str) -> None:
    found = parse(text)
    assert (found.base, found.unresolved, found.source) == (base, "", source)


def test_an_argument_without_a_default_is_not_guessed() -> None:
    found = parse("ARG BASE\nFROM ${BASE}\n")
    assert (found.base, found.unresolved) == ("", "ARG BASE has no default")


@pytest.mark.parametrize("text", ["", "RUN true\n", "\0\n", "version: 1\n"])
def test_a_file_without_from_is_unreadable(text: str) -> None:
    found = parse_dockerfile(Seen(text, "Dockerfile"))
    assert isinstance(found, Unseen)
    assert (found.why, found.detail) == (Why.UNREADABLE, "Dockerfile: no Dockerfile: it has no FROM")


def test_environment_of_the_chain_of_the_last_stage() -> None:
    found = parse(
        "FROM debian:12 AS common\n"
        "ENV CUDA_HOME=/usr/local/cuda SECRET=1\n"
        "FROM common AS build\n"
        "ENV CUDA_VISIBLE_DEVICES=7\n"
        "FROM common\n"
        "ARG NAME=tiny\n"
        'ENV LD_LIBRARY_PATH="${CUDA_HOME}/lib64:${LD_LIBRARY_PATH}" \\\n'
        "    # a comment in between\n"
        "    CUDA_CACHE_PATH=/tmp/$NAME\n"
        "ENV NVIDIA_VISIBLE_DEVICES all of them\n"
        "ENV CUDA_API_TOKEN=secret\n"
    )
    assert [(variable.name, variable.value, variable.source) for variable in found.variables] == [
        ("CUDA_CACHE_PATH", "/tmp/tiny", "Dockerfile:7"),
        ("CUDA_HOME", "/usr/local/cuda", "Dockerfile:2"),
        ("LD_LIBRARY_PATH", "/usr/local/cuda/lib64:${LD_LIBRARY_PATH}", "Dockerfile:7"),
        ("NVIDIA_VISIBLE_DEVICES", "all of them", "Dockerfile:10"),
    ]


@pytest.mark.parametrize(
    ("run", "command", "groups"),
    [
        ("uv sync", "uv sync", ("dependencies", "group dev")),
        ("uv sync --frozen --no-dev --extra gpu --group=test", "uv sync", ("dependencies", "extra gpu", "group test")),
        ("uv sync --no-dev --all-extras --all-groups", "uv sync", ("dependencies", "extra *", "group *")),
        ("uv sync --only-group docs", "uv sync", ("group docs",)),
        ("--mount=type=cache,target=/c cd /app && uv export --no-dev | pip-thing", "uv export", ("dependencies",)),
        ("set -eu; UV_X=1 /usr/local/bin/uv sync --no-dev", "uv sync", ("dependencies",)),
        ("pip install .", "pip install", ("dependencies",)),
        (
            "python3 -m pip install -e '.[gpu,Test]'",
            "python3 -m pip install",
            ("dependencies", "extra gpu", "extra test"),
        ),
        ("pip install --no-cache-dir -r /tmp/requirements-gpu.txt", "pip install", ("file /tmp/requirements-gpu.txt",)),
        ("uv pip install --system --requirement=r.txt", "uv pip install", ("file r.txt",)),
        ('["pip3", "install", "-r", "requirements.txt"]', "pip3 install", ("file requirements.txt",)),
        ("<<EOF\nset -e\npip install -r r.txt\nEOF", "pip install", ("file r.txt",)),
        ("poetry install --only main", "poetry install", ("*",)),
    ],
)
def test_what_run_installs_of_the_project(run: str, command: str, groups: tuple[str, ...]) -> None:
    (install,) = parse(f"FROM debian:12\nRUN {run}\n").installs
    assert (install.command, install.groups, install.source) == (command, groups, "Dockerfile:2")


def test_packages_by_name_with_the_index_of_the_command() -> None:
    (install,) = parse(
        "FROM debian:12\n"
        "RUN pip install --upgrade 'torch>=2.9,<3' numpy --index-url https://user:password@download.pytorch.org/whl/cu126 \\\n"
        "    --extra-index-url https://pypi.org/simple\n"
    ).installs
    assert [(one.name, one.specifier, one.index, one.alternatives) for one in install.requirements] == [
        ("torch", ">=2.9,<3", "https://download.pytorch.org/whl/cu126", ("https://pypi.org/simple",)),
        ("numpy", "", "https://download.pytorch.org/whl/cu126", ("https://pypi.org/simple",)),
    ]


def test_arguments_and_variables_in_a_command() -> None:
    found = parse(
        "ARG CUDA_TAG=cu128\nFROM nvidia/cuda:12.8.1-base-ubuntu24.04 AS common\nENV TORCH_VERSION=2.9.0\nARG GONE=1\n"
        "FROM common\nARG CUDA_TAG\n"
        "RUN pip install torch==${TORCH_VERSION} xgboost==$GONE --index-url https://download.pytorch.org/whl/$CUDA_TAG\n"
    )
    assert [(one.name, one.specifier, one.index) for one in found.installs[0].requirements] == [
        ("torch", "==2.9.0", "https://download.pytorch.org/whl/cu128"),
        ("xgboost", "==$GONE", "https://download.pytorch.org/whl/cu128"),
    ]


def test_stages_that_the_image_does_not_take_anything_from_install_nothing() -> None:
    found = parse(
        "FROM debian:12 AS build\nRUN uv sync --no-dev\n"
        "FROM build AS test\nRUN uv sync\n"
        "FROM debian:12 AS wheels\nRUN pip install -r w.txt\n"
        "FROM debian:12\nCOPY --from=build /app /app\nRUN --mount=type=bind,from=wheels true\n"
    )
    assert [install.groups for install in found.installs] == [("dependencies",), ("file w.txt",)]


@pytest.mark.parametrize("line", ["RUN apt-get install -y python3-pip", "RUN pip --version", "RUN echo pip install x | cat", "RUN uv lock", "RUN"])  # fmt: skip
def test_what_installs_nothing(line: str) -> None:
    found = parse(f"FROM debian:12\n{line}\n").installs
    assert [install for install in found if "echo" not in line] == []


def test_lines_are_those_of_the_first_line_of_an_instruction() -> None:
    text = "FROM a\nRUN one \\\n# comment\n\n two\nRUN three\n"
    assert [(one.word, one.rest, one.line) for one in instructions(text)] == [
        ("FROM", "a", 1),
        ("RUN", "one  two", 2),
        ("RUN", "three", 6),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$A-${A}", ("1-1", ())),
        ("${B:-2}${A:+3}${B:+4}", ("23", ())),
        ("$B", ("$B", ("B",))),
        ("${A%x}", ("${A%x}", ())),
    ],
)
def test_expansion(text: str, expected: tuple[str, tuple[str, ...]]) -> None:
    assert expand(text, {"A": "1"}) == expected
