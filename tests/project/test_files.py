"""The other files of a project: pyproject.toml, requirements, locks, answers; and those that nobody can read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpucheck.codec import decode, encode
from gpucheck.facts import Project, Pyproject, Seen, Snapshot, Unseen, Why
from gpucheck.finding import Status
from gpucheck.project.answers import parse_answers
from gpucheck.project.locks import parse_lock
from gpucheck.project.observation import observe_project
from gpucheck.project.pyproject import parse_pyproject
from gpucheck.project.requirements import parse_requirement
from gpucheck.project.text import LOCK_LIMIT
from gpucheck.system import Rootfs
from tests.project.folders import DAY, TORCH_CPU, from_index, judge, lock, package, pyproject, write


def read(folder: Path) -> Project:
    found = observe_project(Rootfs(str(folder)), DAY).project
    assert isinstance(found, Seen)
    return found.value


def parsed(text: str) -> Pyproject:
    found = parse_pyproject(Seen(text, "pyproject.toml"))
    assert isinstance(found, Seen)
    return found.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("torch", ("torch", (), "", "")),
        ("Torch_Vision >= 0.2 ; python_version<'3.12'", ("torch-vision", (), ">= 0.2", "python_version<'3.12'")),
        ("jax[cuda13, k8s]==0.7.2", ("jax", ("cuda13", "k8s"), "==0.7.2", "")),
        ("torch (>=2.9,<3)", ("torch", (), ">=2.9,<3", "")),
        (
            "torch @ https://download.pytorch.org/whl/cu128/torch-2.9.0%2Bcu128-cp312-cp312-linux_x86_64.whl ; os_name=='posix'",
            ("torch", (), "==2.9.0+cu128", "os_name=='posix'"),
        ),
        ("torch @ git+https://github.com/pytorch/pytorch", ("torch", (), "", "")),
    ],
)
def test_requirement(text: str, expected: tuple[object, ...]) -> None:
    found = parse_requirement(text, "dependencies", "x:1")
    assert found and (found.name, found.extras, found.specifier, found.marker) == expected


@pytest.mark.parametrize("text", ["./wheels/torch.whl", "-e .", "", "https://example.com/x.whl", "torch 2.9", "[x]"])
def test_what_is_no_requirement(text: str) -> None:
    assert parse_requirement(text, "dependencies", "x:1") is None


def test_pyproject_of_uv() -> None:
    found = parsed(
        pyproject(
            "torch>=2.9",
            "numpy",
            "requests",
            more='[project.optional-dependencies]\nGPU = ["jax[cuda13]"]\n'
            '[dependency-groups]\ndev = ["pytest", {include-group = "x"}, "xgboost-cpu"]\n' + from_index("cu126"),
        )
    )
    assert (found.name, found.python, found.dependencies) == ("demo", Seen(">=3.11", "pyproject.toml:4"), 6)
    assert [(one.name, one.group, one.index, one.source) for one in found.requirements] == [
        ("torch", "dependencies", "https://download.pytorch.org/whl/cu126", "pyproject.toml:6"),
        ("numpy", "dependencies", "", "pyproject.toml:7"),
        ("jax", "extra gpu", "", "pyproject.toml:11"),
        ("xgboost-cpu", "group dev", "", "pyproject.toml:13"),
    ]


def test_an_index_for_each_extra() -> None:
    found = parsed(
        '[project]\nname = "x"\n[project.optional-dependencies]\ncpu = ["torch"]\ngpu = ["torch"]\n'
        '[tool.uv.sources]\ntorch = [{ index = "a", extra = "cpu" }, { index = "b", extra = "gpu", marker = "sys_platform == \'linux\'" },'
        ' { index = "c", marker = "sys_platform == \'darwin\'" }]\n'
        + "".join(f'[[tool.uv.index]]\nname = "{name}"\nurl = "https://example.com/{name}"\n' for name in "abc")
    )
    assert [(one.group, one.index) for one in found.requirements] == [
        ("extra cpu", "https://example.com/a"),
        ("extra gpu", "https://example.com/b"),
    ]


def test_uv_takes_torch_from_the_first_index_that_has_it() -> None:
    more = '[[tool.uv.index]]\nname = "p"\nurl = "https://download.pytorch.org/whl/cpu"\n'
    torch, numpy = parsed(pyproject("torch", "numpy", more=more)).requirements
    assert torch.index == "https://download.pytorch.org/whl/cpu"
    assert (numpy.index, numpy.alternatives) == ("", ("https://download.pytorch.org/whl/cpu",))


def test_pyproject_of_poetry() -> None:
    found = parsed(
        '[tool.poetry]\nname = "old"\n[tool.poetry.dependencies]\npython = "^3.11"\n'
        'torch = { version = "^2.9", source = "pytorch" }\n[tool.poetry.group.test.dependencies]\nxgboost = "3.2"\n'
        '[[tool.poetry.source]]\nname = "pytorch"\nurl = "https://download.pytorch.org/whl/cu126"\npriority = "explicit"\n'
    )
    assert (found.name, found.python) == ("old", Seen("^3.11", "pyproject.toml:4"))
    assert [(one.name, one.specifier, one.group, one.index) for one in found.requirements] == [
        ("torch", "^2.9", "dependencies", "https://download.pytorch.org/whl/cu126"),
        ("xgboost", "3.2", "group test", ""),
    ]


@pytest.mark.parametrize("more", ["dependencies = 3\n", '[tool.uv]\nindex = "x"\nsources = 1\n', "[tool]\nuv = 1\n", "[[tool.uv.index]]\nurl = 1\n"])  # fmt: skip
def test_toml_of_another_shape_is_no_crash(more: str) -> None:
    assert parsed('[project]\nname = "x"\n' + more).requirements == ()


def test_requirements_files_with_options_includes_and_hashes(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "requirements.txt": "# pip\n-r requirements/base.txt\n--extra-index-url https://u:p@download.pytorch.org/whl/cu126\n"
            "torch==2.9.0  # pinned\nnumpy==2.5.5 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\n-c constraints.txt\n",
            "requirements/base.txt": "-r ../requirements.txt\n-r ../../outside.txt\nxgboost==3.2.0; sys_platform == 'linux'\n",
        },
    )
    assert [(fact.why, fact.detail) for fact in read(tmp_path).requirements if isinstance(fact, Unseen)] == [
        (Why.UNREADABLE, "outside.txt does not exist"),
        (Why.UNREADABLE, "outside.txt does not exist"),
    ]
    (tmp_path / "outside.txt").write_text("jax==1\n")
    files = {fact.value.path: fact.value for fact in read(tmp_path).requirements if isinstance(fact, Seen)}
    assert [(one.name, one.source) for one in files["requirements.txt"].requirements] == [
        ("jax", "outside.txt:1"),  # ".." stops at the project's folder.
        ("xgboost", "requirements/base.txt:3"),
        ("torch", "requirements.txt:4"),
        ("numpy", "requirements.txt:5"),
    ]
    assert files["requirements.txt"].pinned
    assert files["requirements.txt"].requirements[2].alternatives == ("https://download.pytorch.org/whl/cu126",)


def test_a_lock_is_walked_for_linux() -> None:
    found = parse_lock("uv.lock", Seen(TORCH_CPU, "uv.lock"))
    assert isinstance(found, Seen)
    assert [(one.name, one.version, one.index, one.groups, one.source) for one in found.value.packages] == [
        ("torch", "2.15.0+cpu", "https://download.pytorch.org/whl/cpu", ("dependencies",), "uv.lock:23"),
    ]


def test_a_dependency_for_another_system_is_not_followed() -> None:
    edge = '{ name = "triton", marker = "sys_platform == \'win32\'" }'
    found = parse_lock(
        "uv.lock", Seen(lock(package("torch", "2", edge), package("triton", "3"), root=("torch",)), "uv.lock")
    )
    assert isinstance(found, Seen)
    assert [(one.name, one.needs) for one in found.value.packages] == [("torch", ())]


def test_a_lock_with_a_circle_and_a_package_that_is_not_there() -> None:
    text = lock(package("torch", "2", "triton", "gone"), package("triton", "3", "torch"), root=("torch",))
    found = parse_lock("uv.lock", Seen(text, "uv.lock"))
    assert isinstance(found, Seen)
    assert [(one.name, one.needs) for one in found.value.packages] == [
        ("torch", ("triton 3",)),
        ("triton", ("torch 2",)),
    ]


def test_lock_of_poetry() -> None:
    text = (
        '[[package]]\nname = "torch"\nversion = "2.9.1"\noptional = false\ngroups = ["main", "dev"]\n'
        '[package.dependencies]\nnvidia-cuda-runtime-cu12 = {version = "12.8.90", markers = "platform_system == \'Linux\'"}\n'
        'pywin32 = {version = "*", markers = "sys_platform == \'win32\'"}\n\n'
        '[[package]]\nname = "nvidia-cuda-runtime-cu12"\nversion = "12.8.90"\noptional = false\ngroups = ["main"]\n'
        '[package.source]\ntype = "legacy"\nurl = "https://u:p@example.com/simple"\n'
    )
    found = parse_lock("poetry.lock", Seen(text, "poetry.lock"))
    assert isinstance(found, Seen)
    torch, runtime = found.value.packages
    assert (torch.groups, torch.needs) == (("dependencies", "group dev"), ("nvidia-cuda-runtime-cu12 12.8.90",))
    assert runtime.index == "https://example.com/simple"


def test_pylock() -> None:
    text = (
        'lock-version = "1.0"\n[[packages]]\nname = "torch"\nversion = "2.9.1"\nindex = "https://download.pytorch.org/whl/cpu"\n'
        'marker = "sys_platform == \'linux\'"\n[[packages]]\nname = "jax"\nversion = "1"\nmarker = "sys_platform == \'win32\'"\n'
    )
    found = parse_lock("pylock.toml", Seen(text, "pylock.toml"))
    assert isinstance(found, Seen)
    assert [(one.name, one.index) for one in found.value.packages] == [
        ("torch", "https://download.pytorch.org/whl/cpu")
    ]


def test_answers_as_copier_writes_them() -> None:
    text = (
        "# What you answered\n_commit: v1.2.0-3-gabc\n_src_path: https://token@example.com/gpu-capable.git\nauthor: ''\n"
        'base_image: "cuda13"\ndescription: a long one that is\n  folded over two lines\nml_library: torch\nsecret: x\n'
    )
    assert parse_answers(Seen(text, "a")) == Seen(
        (
            ("_commit", "v1.2.0-3-gabc"),
            ("_src_path", "https://example.com/gpu-capable.git"),
            ("base_image", "cuda13"),
            ("ml_library", "torch"),
        ),
        "a",
    )


@pytest.mark.parametrize(
    ("text", "line"), [("a: 1\nb:\n  c: 2\n", 3), ("- a\n", 1), ("a:\n  - b\n", 2), ("  a: 1\n", 1)]
)
def test_answers_of_another_form(text: str, line: int) -> None:
    found = parse_answers(Seen(text, "a.yml"))
    assert isinstance(found, Unseen)
    assert found.detail == f"a.yml:{line}: not in the form that Copier writes, one `name: value` a line"


@pytest.mark.parametrize(
    ("name", "content", "detail"),
    [
        ("pyproject.toml", b'[project]\nname = "a\n', "pyproject.toml:2: not TOML: Illegal character '\\n'"),
        ("pyproject.toml", b"a = " + b"[" * 20000, "pyproject.toml: not TOML that anyone wrote: nested too deeply"),
        ("pyproject.toml", b"[project]\nname = '\xff'\n", "pyproject.toml:2: not UTF-8"),
        ("uv.lock", b"version = 1\nversion = 2\n", "uv.lock:2: not TOML: Cannot overwrite a value"),
        ("pyproject.toml", b"# " + b"x" * (1 << 20), "pyproject.toml: larger than 1 MiB"),
        ("uv.lock", b"# " + b"x" * LOCK_LIMIT, "uv.lock: larger than 16 MiB"),
    ],
)
def test_a_file_that_cannot_be_read(name: str, content: bytes, detail: str, tmp_path: Path) -> None:
    write(tmp_path, {"pyproject.toml": pyproject("torch")})
    (tmp_path / name).write_bytes(content)
    project = read(tmp_path)
    fact = project.pyproject if name == "pyproject.toml" else project.lock
    assert isinstance(fact, Unseen)
    assert (fact.why, fact.detail) == (Why.UNREADABLE, detail)


def test_links_do_not_leave_the_project_and_pipes_do_not_block(tmp_path: Path) -> None:
    (tmp_path / "secret.toml").write_text(pyproject("torch"))
    folder = tmp_path / "project"
    folder.mkdir()
    os.symlink(tmp_path / "secret.toml", folder / "pyproject.toml")
    os.symlink("../secret.toml", folder / "uv.lock")
    os.mkfifo(folder / "Dockerfile")
    project = read(folder)
    assert isinstance(project.pyproject, Unseen) and project.pyproject.why is Why.ABSENT
    assert isinstance(project.lock, Unseen) and project.lock.why is Why.ABSENT
    assert [fact.detail for fact in project.dockerfiles if isinstance(fact, Unseen)] == [
        "Dockerfile: not a regular file"
    ]


def test_a_snapshot_of_a_project_goes_through_json(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"pyproject.toml": pyproject("torch", more='[tool.uv.pip]\ntorch-backend = "auto"\n'), "uv.lock": TORCH_CPU},
    )
    write(tmp_path, {"Dockerfile": "FROM debian:12\nENV CUDA_HOME=/x\nRUN pip install torch\n", "Dockerfile.bad": ""})
    write(tmp_path, {".copier-answers.yml": "ci: none\n", ".gitlab-ci.yml": "", "requirements-dev.txt": "jax\n"})
    snapshot = observe_project(Rootfs(str(tmp_path)), DAY)
    assert decode(Snapshot, json.loads(json.dumps(encode(snapshot)))) == snapshot


PIECES = st.sampled_from(
    ["[", "]", "{", "}", '"', "'", "=", "\n", "\\\n", "#", " ", "\0", "FROM", "ARG A", "ENV ", "RUN ", "$A", "${A:-", "<<E", "pip install",
     "uv sync --extra", "torch", "==", ">=2", ";", "-r x.txt", "[project]", "dependencies", "[[package]]", "name", "version", "a: ", "- "]
)  # fmt: skip


@given(text=st.lists(PIECES | st.text(max_size=5), max_size=40).map("".join))
@settings(max_examples=100, deadline=None)
def test_no_content_of_a_file_is_a_crash(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("p")
    for name in ("pyproject.toml", "uv.lock", "requirements.txt", "Dockerfile", ".copier-answers.yml"):
        (folder / name).write_text(text, encoding="utf-8", errors="surrogateescape")
    report = judge(folder)
    assert [(one.rule, one.error) for one in report.outcomes if one.status is Status.CRASH] == []


def test_a_long_dockerfile_and_long_lines_take_no_long_time(tmp_path: Path) -> None:
    lines = "".join(f"ENV CUDA_{number}=$CUDA_{number - 1}\n" for number in range(20_000))
    write(tmp_path, {"Dockerfile": "FROM debian:12\n" + lines, "requirements.txt": "a" + " " * 500_000 + "((\n"})
    project = read(tmp_path)
    assert isinstance(project.dockerfiles[0], Seen)
    assert len(project.dockerfiles[0].value.variables) == 20_000
