"""Every rule on projects: where it fires, where it passes, where it cannot tell; and whole verdicts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gpucheck.facts import Seen
from gpucheck.finding import Severity, Status, Verdict
from gpucheck.project.builds import builds
from tests.project.folders import (
    CPU_IMAGE,
    CUDA13_IMAGE,
    PROJECT_RULES,
    TORCH12,
    TORCH13,
    TORCH_CPU,
    from_index,
    judge,
    lock,
    nvidia,
    outcome,
    package,
    pyproject,
    write,
)

FAIL, PASS, UNKNOWN = Status.FAIL, Status.PASS, Status.UNKNOWN
ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE

TORCH = pyproject("torch>=2.9")
PRIVATE = "FROM registry.example.com/team/base:7\nRUN uv sync --frozen\n"
MIRROR = "https://mirror.example.com/simple"
JAX = lock(package("jax", "0.7.2"), root=("jax",))
JAX13 = lock(
    package("jax-cuda13-plugin", "0.7.2"),
    package(
        "jax", "0.7.2", more='\n[package.optional-dependencies]\ncuda13 = [\n    { name = "jax-cuda13-plugin" },\n]\n'
    ),
    root=('{ name = "jax", extra = ["cuda13"] }',),
)
TENSORFLOW = lock(package("tensorflow", "2.21.0"), root=("tensorflow",))
CUPY12 = lock(package("cupy-cuda12x", "14.2.0"), root=("cupy-cuda12x",))
BY_PYTHON = lock(
    package("xgboost", "3.2.0", "nvidia-nccl-cu12", more="resolution-markers = [\"python_full_version < '3.12'\"]\n"),
    package("xgboost", "3.4.1", "nvidia-nccl-cu13", more="resolution-markers = [\"python_full_version >= '3.12'\"]\n"),
    package("nvidia-nccl-cu12", "2.32.3"),
    package("nvidia-nccl-cu13", "2.32.3"),
    root=("xgboost",),
)
TORCH_BY_PYTHON = lock(
    package("torch", "2.9.1+cpu", more="resolution-markers = [\"python_full_version < '3.12'\"]\n"),
    package("torch", "2.9.1+cu126", more="resolution-markers = [\"python_full_version >= '3.12'\"]\n"),
    root=("torch",),
)


def pod(*gpus: int) -> str:
    """A manifest with a container for each number of GPUs."""
    containers = "".join(
        f"  - name: c{at}\n    image: x\n    resources: {{limits: {{nvidia.com/gpu: {count}}}}}\n"
        for at, count in enumerate(gpus)
    )
    return f"apiVersion: v1\nkind: Pod\nmetadata: {{name: demo}}\nspec:\n  containers:\n{containers}"


DEPLOYMENT = (
    "---\nkind: Service\n---\nkind: Deployment\nmetadata: {name: demo}\nspec:\n  template:\n    spec:\n      containers:\n"
    + "".join(f"      - name: {name}\n        resources: {{limits: {{nvidia.com/gpu: '1'}}}}\n" for name in "ab")
)
EXTRAS = pyproject(more='[project.optional-dependencies]\ncpu = ["torch"]\ngpu = ["torch"]\n')
EXTRAS_LOCK = lock(
    package("torch", "2.15.0+cpu", index="https://download.pytorch.org/whl/cpu"),
    package("torch", "2.15.0+cu126", index="https://download.pytorch.org/whl/cu126"),
    more='\n[package.optional-dependencies]\ncpu = [\n    { name = "torch", version = "2.15.0+cpu" },\n]\n'
    'gpu = [\n    { name = "torch", version = "2.15.0+cu126" },\n]\n',
)

Files = dict[str, str]


def uv(dependencies: str, locked: str, dockerfile: str) -> Files:
    """A project of uv."""
    return {"pyproject.toml": dependencies, "uv.lock": locked, "Dockerfile": dockerfile}


#: (rule, what, files, status, severity of the first complaint)
CASES: list[tuple[str, str, Files, Status, Severity | None]] = [
    ("project-unread", "nothing is there", {"notes.txt": ""}, UNKNOWN, None),
    ("project-unread", "TOML with a mistake", {"pyproject.toml": "[project\n"}, UNKNOWN, None),
    ("project-unread", "a lock with a mistake", uv(TORCH, "version = 1\n[[package]\n", CUDA13_IMAGE), UNKNOWN, None),
    ("project-unread", "a Dockerfile without FROM", {"Dockerfile": "RUN true\n"}, UNKNOWN, None),
    ("project-unread", "nested answers", {"pyproject.toml": TORCH, ".copier-answers.yml": "a:\n  b: 1\n"}, UNKNOWN, None),
    ("project-unread", "all can be read", uv(TORCH, TORCH13, CUDA13_IMAGE), PASS, None),

    ("wheel-index-contradicts-lock", "CUDA is asked for, the CPU build is locked",
     uv(pyproject("torch", more=from_index("cu126")), TORCH_CPU, CUDA13_IMAGE), FAIL, ERROR),
    ("wheel-index-contradicts-lock", "the CPU build is asked for, CUDA is locked",
     uv(pyproject("torch", more=from_index("cpu")), TORCH13, CPU_IMAGE), FAIL, WARNING),
    ("wheel-index-contradicts-lock", "another CUDA",
     uv(pyproject("torch", more=from_index("cu126")), TORCH13, CUDA13_IMAGE), FAIL, WARNING),
    ("wheel-index-contradicts-lock", "the same", uv(pyproject("torch", more=from_index("cpu")), TORCH_CPU, CPU_IMAGE), PASS, None),
    ("wheel-index-contradicts-lock", "for macOS only", uv(
        pyproject("torch", more=from_index("cpu").replace('"pytorch" }', '"pytorch", marker = "sys_platform == \'darwin\'" }')),
        TORCH13, CUDA13_IMAGE), PASS, None),
    ("wheel-index-contradicts-lock", "the same CUDA by its dependencies",
     uv(pyproject("torch", more=from_index("cu132")), TORCH13, CUDA13_IMAGE), PASS, None),
    ("wheel-index-contradicts-lock", "a mirror, of which nothing is known",
     uv(pyproject("torch", more=from_index("cu126")), lock(package("torch", "2.9.1", index=MIRROR), root=("torch",)), CUDA13_IMAGE),
     PASS, None),
    ("wheel-index-contradicts-lock", "torch-backend names another",
     uv(pyproject("torch", more='[tool.uv.pip]\ntorch-backend = "cpu"\n'), TORCH13, CPU_IMAGE), FAIL, WARNING),
    ("wheel-index-contradicts-lock", "torch-backend auto and a CPU build",
     uv(pyproject("torch", more='[tool.uv.pip]\ntorch-backend = "auto"\n'), TORCH_CPU, CUDA13_IMAGE), FAIL, ERROR),
    ("wheel-index-contradicts-lock", "torch-backend auto and CUDA",
     uv(pyproject("torch", more='[tool.uv.pip]\ntorch-backend = "auto"\n'), TORCH13, CUDA13_IMAGE), FAIL, NOTE),
    ("wheel-index-contradicts-lock", "torch-backend names what is locked anyway",
     uv(pyproject("torch", more='[tool.uv.pip]\ntorch-backend = "cu132"\n'), TORCH13, CUDA13_IMAGE), PASS, None),

    ("compose-asks-for-no-gpu", "a service that builds the image", {
        "compose.yaml": "services:\n  train:\n    build: .\n", **uv(TORCH, TORCH13, CUDA13_IMAGE)}, FAIL, WARNING),
    ("compose-asks-for-no-gpu", "a service of NVIDIA's image", {
        "docker-compose.yml": "services:\n  smi:\n    image: nvidia/cuda:12.6.3-base-ubuntu24.04\n", "Dockerfile": CPU_IMAGE}, FAIL, WARNING),
    ("compose-asks-for-no-gpu", "gpus: all", {
        "compose.yaml": "services:\n  train:\n    build: .\n    gpus: all\n", **uv(TORCH, TORCH13, CUDA13_IMAGE)}, PASS, None),
    ("compose-asks-for-no-gpu", "another file is laid over it", {
        "compose.yaml": "services:\n  train:\n    build: .\n",
        "compose.gpu.yaml": "services:\n  train:\n    runtime: nvidia\n", **uv(TORCH, TORCH13, CUDA13_IMAGE)}, PASS, None),
    ("compose-asks-for-no-gpu", "an image for CPUs", {
        "compose.yaml": "services:\n  train:\n    build: .\n", **uv(TORCH, TORCH_CPU, CPU_IMAGE)}, PASS, None),
    ("compose-asks-for-no-gpu", "written in one line", {
        "compose.yaml": "services: {train: {build: .}}\n", **uv(TORCH, TORCH13, CUDA13_IMAGE)}, UNKNOWN, None),

    ("gpu-extra-missing", "jax without a plugin", uv(pyproject("jax"), JAX, CUDA13_IMAGE), FAIL, ERROR),
    ("gpu-extra-missing", "jax with the plugin", uv(pyproject("jax[cuda13]"), JAX13, CUDA13_IMAGE), PASS, None),
    ("gpu-extra-missing", "jax on a CPU image", uv(pyproject("jax"), JAX, CPU_IMAGE), PASS, None),
    ("gpu-extra-missing", "jax on an image without a word on GPUs", uv(pyproject("jax"), JAX, "FROM python:3.13-slim\nRUN uv sync\n"), PASS, None),
    ("gpu-extra-missing", "jax on an unknown image", uv(pyproject("jax"), JAX, PRIVATE), UNKNOWN, None),
    ("gpu-extra-missing", "tensorflow without its libraries", uv(pyproject("tensorflow"), TENSORFLOW, CUDA13_IMAGE), FAIL, ERROR),
    ("gpu-extra-missing", "tensorflow with the image's", uv(pyproject("tensorflow"), TENSORFLOW, nvidia("12.5.1-cudnn-runtime-ubuntu22.04")), PASS, None),
    ("gpu-extra-missing", "tensorflow with another CUDA's", uv(pyproject("tensorflow"), TENSORFLOW, nvidia("13.0.0-cudnn-runtime-ubuntu24.04")), FAIL, ERROR),
    ("gpu-extra-missing", "tensorflow on nvidia/cuda of unknown version", uv(pyproject("tensorflow"), TENSORFLOW, nvidia("latest")), UNKNOWN, None),
    ("gpu-extra-missing", "onnxruntime alone", {"requirements.txt": "onnxruntime==1.31.1\n", "Dockerfile": "FROM gpu-capable/cuda13:1\nRUN pip install -r requirements.txt\n"}, FAIL, ERROR),
    ("gpu-extra-missing", "onnxruntime beside a GPU build", {"requirements.txt": "onnxruntime==1.31.1\ntorch==2.15.0\n", "Dockerfile": "FROM gpu-capable/cuda13:1\nRUN pip install -r requirements.txt\n"}, FAIL, WARNING),
    ("gpu-extra-missing", "onnxruntime that only comes along", uv(TORCH, lock(package("chromadb", "1", "onnxruntime"), package("onnxruntime", "1.31.1"), root=("chromadb",)), CUDA13_IMAGE), PASS, None),
    ("gpu-extra-missing", "cupy without CUDA", uv(pyproject("cupy-cuda12x"), CUPY12, CUDA13_IMAGE), FAIL, ERROR),
    ("gpu-extra-missing", "cupy with the libraries of torch", uv(pyproject("cupy-cuda12x", "torch"), TORCH12.replace('{ name = "torch" }', '{ name = "torch" },\n{ name = "cupy-cuda12x" }') + package("cupy-cuda12x", "14.2.0"), CUDA13_IMAGE), PASS, None),

    ("image-cannot-run-build", "GPU image, CPU build", uv(TORCH, TORCH_CPU, CUDA13_IMAGE), FAIL, ERROR),
    ("image-cannot-run-build", "nvidia/cuda, CPU build", uv(TORCH, TORCH_CPU, nvidia("12.4.1-base-ubuntu22.04")), FAIL, ERROR),
    ("image-cannot-run-build", "CPU image, GPU build", uv(TORCH, TORCH13, CPU_IMAGE), FAIL, WARNING),
    ("image-cannot-run-build", "CPU image, CPU build", uv(TORCH, TORCH_CPU, CPU_IMAGE), PASS, None),
    ("image-cannot-run-build", "GPU image, GPU build", uv(TORCH, TORCH13, CUDA13_IMAGE), PASS, None),
    ("image-cannot-run-build", "Debian's Python, GPU build", uv(TORCH, TORCH13, "FROM docker.io/library/python:3.13-slim\nRUN uv sync\n"), PASS, None),
    ("image-cannot-run-build", "Alpine, GPU build", uv(TORCH, TORCH13, "FROM python:3.13-alpine\nRUN uv sync\n"), FAIL, ERROR),
    ("image-cannot-run-build", "Alpine, CPU build", uv(TORCH, TORCH_CPU, "FROM python:3.13-alpine\nRUN uv sync\n"), PASS, None),
    ("image-cannot-run-build", "an unknown image", uv(TORCH, TORCH13, PRIVATE), UNKNOWN, None),
    ("image-cannot-run-build", "an unknown image, no library", uv(pyproject("numpy"), lock(package("numpy", "2.5.5"), root=("numpy",)), PRIVATE), PASS, None),
    ("image-cannot-run-build", "an image by argument", uv(TORCH, TORCH13, "ARG BASE\nFROM ${BASE}\n"), UNKNOWN, None),
    ("image-cannot-run-build", "a row that this gpucheck does not have", uv(TORCH, TORCH13, "FROM gpu-capable/cuda99:1\n"), UNKNOWN, None),
    ("image-cannot-run-build", "a mirror of torch", uv(TORCH, lock(package("torch", "2.9.1", index=MIRROR), root=("torch",)), CUDA13_IMAGE), UNKNOWN, None),
    ("image-cannot-run-build", "AMD's build", uv(TORCH, lock(package("torch", "2.9.1+rocm6.4"), root=("torch",)), CUDA13_IMAGE), UNKNOWN, None),
    ("image-cannot-run-build", "no Dockerfile", {"pyproject.toml": TORCH, "uv.lock": TORCH_CPU}, PASS, None),
    ("image-cannot-run-build", "the build is installed in the Dockerfile", {"Dockerfile": "FROM nvidia/cuda:12.4.1-base-ubuntu22.04\nRUN pip3 install --no-cache-dir torch==2.9.1 --index-url https://download.pytorch.org/whl/cpu && rm -rf /tmp\n"}, FAIL, ERROR),
    ("image-cannot-run-build", "the extra for the CPU is asked for", uv(EXTRAS, EXTRAS_LOCK, "FROM gpu-capable/cuda13:1\nRUN uv sync --extra cpu\n"), FAIL, ERROR),
    ("image-cannot-run-build", "the extra for the GPU is asked for", uv(EXTRAS, EXTRAS_LOCK, "FROM gpu-capable/cuda13:1\nRUN uv sync --extra=gpu\n"), PASS, None),
    ("image-cannot-run-build", "any extra", uv(EXTRAS, EXTRAS_LOCK, "FROM gpu-capable/cuda13:1\nRUN uv sync --all-extras\n"), UNKNOWN, None),
    ("image-cannot-run-build", "the CPU build is only for tests", uv(pyproject("torch", more='[dependency-groups]\ndev = ["xgboost-cpu"]\n'), TORCH13 + "", CUDA13_IMAGE), PASS, None),
    ("image-cannot-run-build", "pip takes the project, not the lock", uv(pyproject("torch==2.15.0"), TORCH_CPU, "FROM gpu-capable/cuda13:1\nRUN pip install .\n"), PASS, None),

    ("image-cannot-run-build", "the Dockerfile does not show what it installs", uv(TORCH, TORCH_CPU, "FROM gpu-capable/cuda13:1\nRUN ./install.sh\n"), UNKNOWN, None),
    ("image-cannot-run-build", "the other requirements file", {"requirements-cpu.txt": "torch==2.9.1+cpu\n", "requirements-gpu.txt": "torch\n", "Dockerfile": "FROM gpu-capable/cuda13:1\nCOPY requirements-gpu.txt /tmp/\nRUN pip install -r /tmp/requirements-gpu.txt\n"}, PASS, None),
    ("image-cannot-run-build", "the pinned requirements file", {"requirements-cpu.txt": "torch==2.9.1+cpu\n", "requirements-gpu.txt": "torch\n", "Dockerfile": "FROM gpu-capable/cuda13:1\nRUN pip install -r /tmp/requirements-cpu.txt\n"}, FAIL, ERROR),
    ("image-cannot-run-build", "by name, not the project", uv(pyproject("xgboost-cpu"), TORCH_CPU, "FROM gpu-capable/cuda13:1\nRUN pip install torch\n"), PASS, None),
    ("image-cannot-run-build", "one or the other by a condition of the shell", {"Dockerfile": "FROM nvidia/cuda:12.4.1-base-ubuntu22.04\nARG GPU\nRUN if [ -n \"$GPU\" ]; then pip install torch -i https://download.pytorch.org/whl/cu126; else pip install torch -i https://download.pytorch.org/whl/cpu; fi\n"}, UNKNOWN, None),
    ("image-cannot-run-build", "by Python, which the image tells", uv(TORCH, TORCH_BY_PYTHON, CUDA13_IMAGE), PASS, None),
    ("image-cannot-run-build", "by Python, which the image does not tell", uv(TORCH, TORCH_BY_PYTHON, nvidia("12.8.1-base-ubuntu22.04")), UNKNOWN, None),
    ("image-cannot-run-build", "a CPU build that only comes along", uv(pyproject("x"), lock(package("x", "1", "xgboost-cpu"), package("xgboost-cpu", "3.2.0"), root=("x",)), CUDA13_IMAGE), PASS, None),
    ("build-does-not-fit-image", "unlocked, the known builds differ", {"pyproject.toml": pyproject("torch>=2.4"), "Dockerfile": CUDA13_IMAGE}, UNKNOWN, None),
    ("build-does-not-fit-image", "CUDA 13 on CUDA 13", uv(TORCH, TORCH13, CUDA13_IMAGE), PASS, None),
    ("build-does-not-fit-image", "CUDA 12 on CUDA 13: a driver runs the older", uv(TORCH, TORCH12, CUDA13_IMAGE), PASS, None),
    ("build-does-not-fit-image", "bundled CUDA 13 on nvidia/cuda:12", uv(TORCH, TORCH13, nvidia("12.4.1-base-ubuntu22.04")), PASS, None),
    ("build-does-not-fit-image", "cupy for 12 on nvidia/cuda:13", uv(pyproject("cupy-cuda12x"), CUPY12, nvidia("13.0.0-runtime-ubuntu24.04")), FAIL, ERROR),
    ("build-does-not-fit-image", "cupy for 12 on nvidia/cuda:12", uv(pyproject("cupy-cuda12x"), CUPY12, nvidia("12.9.1-runtime-ubuntu24.04")), PASS, None),
    ("build-does-not-fit-image", "cupy on nvidia/cuda of unknown version", uv(pyproject("cupy-cuda12x"), CUPY12, nvidia("latest")), UNKNOWN, None),
    ("build-does-not-fit-image", "a version that is not known", {"pyproject.toml": pyproject("torch==99.0"), "Dockerfile": CUDA13_IMAGE}, UNKNOWN, None),
    ("build-does-not-fit-image", "unlocked, all known builds agree", {"pyproject.toml": pyproject("torch>=2.11"), "Dockerfile": CUDA13_IMAGE}, PASS, None),
    ("build-does-not-fit-image", "by Python, which the image tells", uv(pyproject("xgboost"), BY_PYTHON, CUDA13_IMAGE), PASS, None),

    ("cuda-libraries-doubled", "torch on runtime", uv(TORCH, TORCH12, nvidia("12.8.1-cudnn-runtime-ubuntu22.04")), FAIL, WARNING),
    ("cuda-libraries-doubled", "torch on devel", uv(TORCH, TORCH12, nvidia("12.8.1-devel-ubuntu22.04")), FAIL, WARNING),
    ("cuda-libraries-doubled", "torch on base", uv(TORCH, TORCH12, nvidia("12.8.1-base-ubuntu22.04")), PASS, None),
    ("cuda-libraries-doubled", "devel in a build stage", uv(TORCH, TORCH12, nvidia("12.8.1-devel-ubuntu22.04 AS build") + "FROM nvidia/cuda:12.8.1-base-ubuntu22.04\nCOPY --from=build /app /app\n"), PASS, None),
    ("cuda-libraries-doubled", "the environment is mounted", uv(TORCH, TORCH12, "FROM nvidia/cuda:12.8.1-devel-ubuntu22.04\nRUN apt-get install -y git\n"), PASS, None),
    ("cuda-libraries-doubled", "cupy uses the image's", uv(pyproject("cupy-cuda12x"), CUPY12, nvidia("12.8.1-runtime-ubuntu22.04")), PASS, None),
    ("cuda-libraries-doubled", "a CPU build", uv(TORCH, TORCH_CPU, nvidia("12.8.1-runtime-ubuntu22.04")), PASS, None),

    ("environment-hides-gpu-in-dockerfile", "an empty list", uv(TORCH, TORCH13, CUDA13_IMAGE + 'ENV CUDA_VISIBLE_DEVICES=""\n'), FAIL, ERROR),
    ("environment-hides-gpu-in-dockerfile", "-1", uv(TORCH, TORCH13, CUDA13_IMAGE + "ENV CUDA_VISIBLE_DEVICES -1\n"), FAIL, WARNING),
    ("environment-hides-gpu-in-dockerfile", "void", uv(TORCH, TORCH13, CUDA13_IMAGE + "ENV NVIDIA_VISIBLE_DEVICES=void\n"), FAIL, ERROR),
    ("environment-hides-gpu-in-dockerfile", "stubs", uv(TORCH, TORCH13, CUDA13_IMAGE + "ENV LD_LIBRARY_PATH=/usr/local/cuda/lib64/stubs:$LD_LIBRARY_PATH\n"), FAIL, WARNING),
    ("environment-hides-gpu-in-dockerfile", "misspelt", uv(TORCH, TORCH13, CUDA13_IMAGE + "ENV NVIDIA_DISABLE_REQUIRES=1\n"), FAIL, WARNING),
    ("environment-hides-gpu-in-dockerfile", "the first GPU", uv(TORCH, TORCH13, CUDA13_IMAGE + "ENV CUDA_VISIBLE_DEVICES=0\n"), PASS, None),
    ("environment-hides-gpu-in-dockerfile", "in a build stage only", uv(TORCH, TORCH13, 'FROM gpu-capable/cuda13:1 AS build\nENV CUDA_VISIBLE_DEVICES=""\nRUN uv sync\nFROM gpu-capable/cuda13:1\nCOPY --from=build /app /app\n'), PASS, None),
    ("environment-hides-gpu-in-dockerfile", "in the stage that the last one is from", uv(TORCH, TORCH13, 'FROM gpu-capable/cuda13:1 AS common\nENV CUDA_VISIBLE_DEVICES=""\nRUN uv sync\nFROM common\n'), FAIL, ERROR),
    ("environment-hides-gpu-in-dockerfile", "void for the CPU on purpose", uv(TORCH, TORCH_CPU, CPU_IMAGE + "ENV NVIDIA_VISIBLE_DEVICES=void\n"), PASS, None),
    ("environment-hides-gpu-in-dockerfile", "for the CPU on purpose", uv(TORCH, TORCH_CPU, CPU_IMAGE + 'ENV CUDA_VISIBLE_DEVICES=""\n'), PASS, None),

    ("base-image-retired", "before its day", uv(TORCH, TORCH13, CUDA13_IMAGE), PASS, None),

    ("base-image-unpinned", "no tag", uv(TORCH, TORCH13, "FROM python\nRUN uv sync\n"), FAIL, NOTE),
    ("base-image-unpinned", "latest", uv(TORCH, TORCH13, "FROM registry:5000/python:latest\nRUN uv sync\n"), FAIL, NOTE),
    ("base-image-unpinned", "a digest", uv(TORCH, TORCH13, f"FROM python@sha256:{'0' * 64}\nRUN uv sync\n"), PASS, None),
    ("base-image-unpinned", "a version", uv(TORCH, TORCH13, "FROM debian:bookworm-20260101-slim\nRUN uv sync\n"), PASS, None),
    ("base-image-unpinned", "by argument", uv(TORCH, TORCH13, "ARG TAG=3.13\nFROM python:${TAG}-slim\nRUN uv sync\n"), PASS, None),
    ("base-image-unpinned", "scratch", {"Dockerfile": "FROM scratch\nCOPY a /\n"}, PASS, None),

    ("pod-gpus-add-up", "two containers", {"pod.yaml": pod(1, 1)}, FAIL, NOTE),
    ("pod-gpus-add-up", "of a deployment", {"k8s/deployment.yaml": DEPLOYMENT}, FAIL, NOTE),
    ("pod-gpus-add-up", "one container", {"pod.yaml": pod(2)}, PASS, None),
    ("pod-gpus-add-up", "one before the other", {"pod.yaml": pod(1) + "  initContainers:\n  - name: first\n    resources: {limits: {nvidia.com/gpu: 1}}\n"}, PASS, None),
    ("pod-gpus-add-up", "a template of Helm", {"pod.yaml": pod(1, 1) + "{{ if }}"}, PASS, None),
    ("pod-gpus-add-up", "no YAML", {"pod.yaml": pod(1, 1) + "]"}, UNKNOWN, None),
    ("lock-missing", "none", {"pyproject.toml": TORCH}, FAIL, NOTE),
    ("lock-missing", "none, nothing to lock", {"pyproject.toml": pyproject("numpy")}, PASS, None),
    ("lock-missing", "uv.lock", {"pyproject.toml": TORCH, "uv.lock": TORCH13}, PASS, None),
    ("lock-missing", "requirements that pin all", {"pyproject.toml": TORCH, "requirements.txt": "torch==2.15.0 \\\n    --hash=sha256:00\nnumpy==2.5.5\n"}, PASS, None),
    ("lock-missing", "requirements that do not", {"requirements.txt": "torch\nnumpy==2.5.5\n"}, FAIL, NOTE),
    ("lock-missing", "it cannot be read", {"pyproject.toml": TORCH, "uv.lock": "[["}, UNKNOWN, None),
]  # fmt: skip

#: Rules that need nothing which could be unknown beyond the file itself, whose mistake project-unread reports.
ALWAYS_KNOWN = {
    "wheel-index-contradicts-lock", "cuda-libraries-doubled", "environment-hides-gpu-in-dockerfile", "base-image-retired",
    "base-image-unpinned",
}  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "what", "files", "status", "severity"), CASES, ids=[f"{case[0]}: {case[1]}" for case in CASES]
)
def test_rule_on_a_project(
    rule: str, what: str, files: Files, status: Status, severity: Severity | None, tmp_path: Path
) -> None:
    found = outcome(judge(write(tmp_path, files)), rule)
    assert (found.status, found.error if found.status is Status.CRASH else "") == (status, "")
    assert (found.complaints[0].severity if found.complaints else None) == severity
    for complaint in found.complaints:
        assert complaint.summary and complaint.cause and complaint.evidence and complaint.remedy
        assert not complaint.summary.endswith(".")
        assert all(evidence.source for evidence in complaint.evidence)


@pytest.mark.parametrize("rule", [rule.id for rule in PROJECT_RULES])
def test_every_rule_has_each_kind_of_case(rule: str) -> None:
    wanted = {FAIL, PASS} | (set() if rule in ALWAYS_KNOWN else {UNKNOWN})
    if rule == "project-unread":
        wanted = {PASS, UNKNOWN}  # It is the question whether there is anything to judge.
    if rule == "base-image-retired":
        wanted = {PASS}  # Its firing case has another day: below.
    assert {case[3] for case in CASES if case[0] == rule} == wanted


def test_an_image_is_retired_on_the_day_after_its_end_of_life(tmp_path: Path) -> None:
    folder = write(tmp_path, uv(TORCH, TORCH13, CUDA13_IMAGE))
    assert outcome(judge(folder, "2028-08-09"), "base-image-retired").status is PASS
    (complaint,) = outcome(judge(folder, "2028-08-10"), "base-image-retired").complaints
    assert complaint.severity is WARNING
    assert complaint.summary == "registry.example.com/ml/gpu-capable/cuda13:0.1.0 is past its end of life (2028-08-09)"


def test_newer_wheels_break_the_promise_of_an_image_for_older_drivers(tmp_path: Path, monkeypatch) -> None:
    from gpucheck.project import images
    from gpucheck.record import replace

    rows = (replace(images.ours()[1], name="cuda12", cuda="12", driver_floor="525.60.13"),)
    monkeypatch.setattr(images, "ours", lambda: rows)
    folder = write(tmp_path, uv(TORCH, TORCH13, CUDA13_IMAGE.replace("cuda13", "cuda12")))
    (complaint,) = outcome(judge(folder), "build-does-not-fit-image").complaints
    assert complaint.severity is ERROR
    assert complaint.cause == (
        "The image is for nodes from driver 525.60.13 on; CUDA 13 needs 580.65.06. "
        "On the older ones of them every CUDA call fails with error 35."
    )
    write(tmp_path, {"uv.lock": TORCH12})
    assert outcome(judge(folder), "build-does-not-fit-image").status is PASS


def test_a_stale_lock_is_the_cause_of_the_build_that_does_not_fit(tmp_path: Path) -> None:
    report = judge(write(tmp_path, uv(pyproject("torch", more=from_index("cu130")), TORCH_CPU, CUDA13_IMAGE)))
    (root,) = report.roots
    assert root.rule == "wheel-index-contradicts-lock"
    assert [below.rule for below in root.consequences] == ["image-cannot-run-build"]


@pytest.mark.parametrize(
    ("what", "files", "verdict", "code"),
    [
        ("all fits", uv(TORCH, TORCH13, CUDA13_IMAGE), Verdict.COMPATIBLE, 0),
        ("only a note", {"pyproject.toml": pyproject("torch>=2.11"), "Dockerfile": CUDA13_IMAGE}, Verdict.COMPATIBLE, 0),
        ("no GPU library at all", {"pyproject.toml": pyproject("requests")}, Verdict.COMPATIBLE, 0),
        ("a warning", uv(TORCH, TORCH13, CPU_IMAGE), Verdict.CONDITIONAL, 0),
        ("an error", uv(TORCH, TORCH_CPU, CUDA13_IMAGE), Verdict.INCOMPATIBLE, 1),
        ("nothing", {}, Verdict.UNKNOWN, 3),
        ("a private image", uv(TORCH, TORCH13, PRIVATE), Verdict.UNKNOWN, 3),
        ("a broken answers file", {**uv(TORCH, TORCH13, CUDA13_IMAGE), ".copier-answers.yml": "- a\n"}, Verdict.UNKNOWN, 3),
        ("an error beside a broken file", {**uv(TORCH, TORCH_CPU, CUDA13_IMAGE), ".copier-answers.yml": "- a\n"}, Verdict.INCOMPATIBLE, 1),
    ],
)  # fmt: skip
def test_verdict_and_exit_code(what: str, files: Files, verdict: Verdict, code: int, tmp_path: Path) -> None:
    report = judge(write(tmp_path, files))
    assert [(outcome.rule, outcome.error) for outcome in report.outcomes if outcome.status is Status.CRASH] == []
    assert (report.verdict, report.exit_code()) == (verdict, code)


def test_the_rules_have_nothing_to_say_of_a_machine() -> None:
    from gpucheck.engine import apply
    from tests.machines import healthy

    assert {apply(rule, healthy()).status for rule in PROJECT_RULES} == {PASS}


def test_without_pyyaml_a_manifest_is_named_and_changes_no_verdict(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    report = judge(write(tmp_path, {**uv(TORCH, TORCH13, CUDA13_IMAGE), "pod.yaml": pod(1, 1)}))
    (complaint,) = outcome(report, "pod-gpus-add-up").complaints
    assert (complaint.severity, complaint.summary) == (NOTE, "pod.yaml asks for GPUs and was not read")
    assert report.verdict is Verdict.COMPATIBLE


def test_a_pinned_requirements_file_tells_the_build_by_its_packages(tmp_path: Path) -> None:
    text = "torch==2.9.1\nnvidia-cuda-runtime-cu12==12.8.90\n"
    project = judge(write(tmp_path, {"requirements-lock.txt": text})).snapshot.project
    assert isinstance(project, Seen)
    (build,) = builds(project.value)
    assert (build.title, build.because) == ("torch 2.9.1 (CUDA 12.8)", "it needs nvidia-cuda-runtime-cu12 12.8.90")
