"""Projects to judge: a few lines of the files that matter, written into a folder and read from there."""

from __future__ import annotations

from pathlib import Path

from gpucheck import engine
from gpucheck.finding import Outcome, Report
from gpucheck.project.observation import observe_project
from gpucheck.rules import RULES, Layer
from gpucheck.system import Rootfs

PROJECT_RULES = tuple(rule for rule in RULES if rule.layer is Layer.PROJECT)
DAY = "2026-11-24"


def write(folder: Path, files: dict[str, str]) -> Path:
    """The files below a folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def judge(folder: Path, day: str = DAY) -> Report:
    """What the command says of a folder."""
    return engine.judge(observe_project(Rootfs(str(folder)), day), PROJECT_RULES)


def outcome(report: Report, rule: str) -> Outcome:
    """How one rule ended."""
    return next(outcome for outcome in report.outcomes if outcome.rule == rule)


def pyproject(*dependencies: str, more: str = "") -> str:
    """A pyproject.toml with these dependencies."""
    lines = "".join(f'    "{dependency}",\n' for dependency in dependencies)
    return (
        f'[project]\nname = "demo"\nversion = "0.1.0"\nrequires-python = ">=3.11"\ndependencies = [\n{lines}]\n{more}'
    )


PYTORCH = """
[[tool.uv.index]]
name = "pytorch"
url = "https://download.pytorch.org/whl/{tag}"
explicit = true

[tool.uv.sources]
torch = {{ index = "pytorch" }}
"""


def from_index(tag: str) -> str:
    """torch from one of PyTorch's indexes, for uv."""
    return PYTORCH.format(tag=tag)


PYPI = "https://pypi.org/simple"


def _edge(need: str) -> str:
    return need if need.startswith("{") else f'{{ name = "{need}" }}'


def package(name: str, version: str, *needs: str, index: str = PYPI, more: str = "") -> str:
    """A package as uv writes it; ``needs``: names, or edges as inline tables."""
    edges = "".join(f"    {_edge(need)},\n" for need in needs)
    dependencies = f"dependencies = [\n{edges}]\n" if needs else ""
    return f'[[package]]\nname = "{name}"\nversion = "{version}"\nsource = {{ registry = "{index}" }}\n{dependencies}{more}\n'


def lock(*packages: str, root: tuple[str, ...] = (), more: str = "") -> str:
    """A uv.lock whose own package needs ``root``."""
    edges = "".join(f"    {_edge(need)},\n" for need in root)
    own = f'[[package]]\nname = "demo"\nversion = "0.1.0"\nsource = {{ editable = "." }}\ndependencies = [\n{edges}]\n{more}\n'
    return 'version = 1\nrevision = 3\nrequires-python = ">=3.11"\n\n' + own + "".join(packages)


#: torch of PyPI for CUDA 13.2, CUDA 12.8, and a CPU build, each as uv locks it.
TORCH13 = lock(
    package("cuda-toolkit", "13.2.2", "nvidia-cuda-runtime"),
    package("nvidia-cuda-runtime", "13.2.86"),
    package("torch", "2.15.0", '{ name = "cuda-toolkit", extra = ["cudart"], marker = "sys_platform == \'linux\'" }'),
    root=("torch",),
)
TORCH12 = lock(
    package("nvidia-cuda-runtime-cu12", "12.8.90"),
    package("torch", "2.9.1", "{ name = \"nvidia-cuda-runtime-cu12\", marker = \"platform_machine == 'x86_64' and sys_platform == 'linux'\" }"),
    root=("torch",),
)  # fmt: skip
TORCH_CPU = lock(
    package("torch", "2.15.0", more="resolution-markers = [\n    \"sys_platform == 'darwin'\",\n]\n"),
    package("torch", "2.15.0+cpu", index="https://download.pytorch.org/whl/cpu", more="resolution-markers = [\n    \"sys_platform != 'darwin'\",\n]\n"),
    root=(
        '{ name = "torch", version = "2.15.0", source = { registry = "https://pypi.org/simple" }, marker = "sys_platform == \'darwin\'" }',
        '{ name = "torch", version = "2.15.0+cpu", source = { registry = "https://download.pytorch.org/whl/cpu" }, marker = "sys_platform != \'darwin\'" }',
    ),
)  # fmt: skip

CPU_IMAGE = "FROM gpu-capable/cpu:0.1.0\nRUN uv sync --frozen --no-dev\n"
CUDA13_IMAGE = "FROM registry.example.com/ml/gpu-capable/cuda13:0.1.0\nRUN uv sync --frozen --no-dev\n"


def nvidia(tag: str, *lines: str) -> str:
    """A Dockerfile on nvidia/cuda."""
    return "\n".join((f"FROM nvidia/cuda:{tag}", *lines, "RUN uv sync --frozen", ""))
