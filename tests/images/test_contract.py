"""The judgment of built images, over what an engine would say of them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date

import pytest

from ci.contract import (
    AGENT,
    CONTRACT,
    Check,
    expect_labels,
    judge_agent,
    judge_configuration,
    judge_contract,
    judge_doctor,
    judge_files,
    judge_libraries,
    judge_python,
)
from ci.matrix import Image
from gpucheck.versions import DriverVersion

CPU = Image(
    name="cpu",
    title="CPU only",
    family="wheels",
    directory="wheels",
    upstream="debian:trixie-slim",
    python="3.13",
    gpu=False,
    eol=date(2028, 8, 9),
    source="https://example.org",
    checked=date(2026, 11, 24),
)
CUDA = Image(
    name="cuda13",
    title="CUDA 13",
    family="wheels",
    directory="wheels",
    upstream="debian:trixie-slim",
    python="3.13",
    gpu=True,
    eol=date(2028, 8, 9),
    source="https://example.org",
    checked=date(2026, 11, 24),
    cuda="13",
    driver_floor=DriverVersion("580.65.06"),
)
NODE_AGENT = replace(CPU, name="agent", title="The node agent", family="agent", directory="agent")
USERS = {"wheels": "1000:1000", "agent": "65532:65532"}
PATH = "PATH=/usr/bin:/bin"
GPU_ENV = (
    "NVIDIA_VISIBLE_DEVICES=all",
    "NVIDIA_DRIVER_CAPABILITIES=compute,utility",
    "LD_LIBRARY_PATH=/usr/local/nvidia/lib64",
)
REPORT = {
    "schema": 1,
    "command": "doctor",
    "verdict": "compatible",
    "root_causes": [],
    "findings": [],
    "outcomes": [],
    "snapshot": {},
}


def judge(image: Image, **changed: object) -> dict[str, str | None]:
    env = [PATH, *GPU_ENV] if image.gpu else [PATH]
    good: dict[str, object] = {"User": USERS[image.family], "Labels": expect_labels(image, "0.1.0"), "Env": env}
    return {check.promise: check.complaint for check in judge_configuration(image, "0.1.0", {**good, **changed})}


@pytest.mark.parametrize("image", [CPU, CUDA, NODE_AGENT], ids=lambda image: image.name)
def test_a_good_configuration(image: Image) -> None:
    assert judge(image) == {"user": None, "labels": None, "environment": None}


@pytest.mark.parametrize(("user", "said"), [("", "root"), ("app", "app"), ("0:0", "0:0")])
def test_the_user_is_a_number_and_not_root(user: str, said: str) -> None:
    assert judge(CPU, User=user)["user"] == f"the user is '{said}', not 1000:1000"


def test_the_agent_s_user_is_the_chart_s() -> None:
    assert judge(NODE_AGENT, User="1000:1000")["user"] == "the user is '1000:1000', not 65532:65532"


def test_labels() -> None:
    good = expect_labels(CUDA, "0.1.0")
    assert good["gpu-capable.driver-floor"] == "580.65.06"
    assert judge(CUDA, Labels=None)["labels"] is not None
    assert judge(CUDA, Labels={**good, "gpu-capable.cuda": "12"})["labels"] == "gpu-capable.cuda is '12', not '13'"
    assert judge(CPU, Labels=good)["labels"] == (
        "org.opencontainers.image.title is 'gpu-capable cuda13', not 'gpu-capable cpu'; "
        "org.opencontainers.image.description is 'CUDA 13', not 'CPU only'; "
        "gpu-capable.name is 'cuda13', not 'cpu'; gpu-capable.gpu is 'true', not 'false'; "
        "gpu-capable.cuda is too much; gpu-capable.driver-floor is too much"
    )
    assert judge(CUDA, Labels={**good, CONTRACT: "{}"})["labels"] is None
    revision = {**good, "org.opencontainers.image.revision": "notset"}
    assert judge(CUDA, Labels=revision)["labels"] == "org.opencontainers.image.revision was not set"


@pytest.mark.parametrize(
    ("image", "env", "complaint"),
    [
        (CUDA, [PATH, *GPU_ENV[1:]], "NVIDIA_VISIBLE_DEVICES is None, not 'all'"),
        (CPU, [PATH, GPU_ENV[0]], "NVIDIA_VISIBLE_DEVICES is set in an image without GPU"),
        (
            CUDA,
            [PATH, *GPU_ENV[:2], "LD_LIBRARY_PATH=/usr/local/nvidia/lib64:"],
            "LD_LIBRARY_PATH is '/usr/local/nvidia/lib64:', not '/usr/local/nvidia/lib64'; "
            "LD_LIBRARY_PATH has an empty element, which means the current directory",
        ),
        (CPU, ["PATH=/bin::/usr/bin"], "PATH has an empty element, which means the current directory"),
    ],
)
def test_environment(image: Image, env: list[str], complaint: str) -> None:
    assert judge(image, Env=env)["environment"] == complaint


@pytest.mark.parametrize(
    "path",
    [
        "usr/lib/x86_64-linux-gnu/libcuda.so.1",
        "usr/local/cuda-13.0/targets/x86_64-linux/lib/libcudart.so.13.0.48",
        "opt/venv/lib/python3.13/site-packages/nvidia/cudnn/lib/libcudnn_graph.so.9",
        "usr/lib/x86_64-linux-gnu/libnvidia-ml.so",
        "opt/tensorrt/lib/libnvinfer_plugin.so.10",
        "usr/local/cuda/lib64/libnppig.so.13",
    ],
)
def test_a_cuda_library_is_found(path: str) -> None:
    assert judge_libraries(["usr/lib/libc.so.6", path]).complaint == f"the image has {path}"


def test_other_libraries_are_no_cuda_libraries() -> None:
    others = [
        "usr/lib/libcurl.so.4",
        "usr/lib/libcups.so.2",
        "usr/share/doc/libcudart.so.txt",
        "usr/lib/libncursesw.so.6",
    ]
    assert judge_libraries(others).complaint is None


def test_python() -> None:
    assert judge_python(CPU, 0, "3.13\n").complaint is None
    assert judge_python(CPU, 0, "3.12\n").complaint == "python3 is '3.12', not 3.13"
    assert judge_python(CPU, 127, "").complaint == "python3 is '', not 3.13"


@pytest.mark.parametrize(
    ("exit_status", "stdout", "complaint"),
    [
        (0, json.dumps(REPORT), None),
        (1, json.dumps(REPORT), None),
        (3, json.dumps(REPORT), None),
        (2, json.dumps(REPORT), "exit status 2: last line"),
        (127, "", "exit status 127: last line"),
        (1, "", "its output is no JSON: last line"),
        (0, "[]", "its output is no report"),
        (0, json.dumps({**REPORT, "schema": 2}), "its report has schema 2, not 1"),
        (0, json.dumps({key: REPORT[key] for key in list(REPORT)[:5]}), "its report lacks outcomes, snapshot"),
    ],
)
def test_an_answer_of_gpucheck(exit_status: int, stdout: str, complaint: str | None) -> None:
    assert judge_doctor(exit_status, stdout, "first line\nlast line\n").complaint == complaint
    assert judge_files(exit_status, stdout, "first line\nlast line\n").complaint == complaint


def test_labels_that_gpucheck_reads() -> None:
    assert judge_contract("labels are true", 0, "✓ gpu-capable.cuda  13\n").complaint is None
    said = "gpucheck image --verify-labels: x\n✓ gpu-capable.gpu  true\n✗ gpu-capable.cuda  12\n"
    assert judge_contract("labels are true", 1, said).complaint == "exit status 1: ✗ gpu-capable.cuda  12"
    assert (
        judge_contract("labels suffice", 2, "gpucheck: no engine\n").complaint == "exit status 2: gpucheck: no engine"
    )


def test_a_fault_among_the_files_breaks_a_promise_and_one_of_the_machine_does_not() -> None:
    said = json.dumps({**REPORT, "verdict": "incompatible", "root_causes": ["libcuda-is-stub"]})
    assert judge_files(1, said, "").complaint == "it finds libcuda-is-stub"
    assert judge_doctor(1, said, "").complaint is None


@pytest.mark.parametrize("promise", AGENT, ids=lambda promise: promise[0])
def test_how_far_the_agent_comes(promise: tuple[str, tuple[str, ...], str]) -> None:
    name, _, beginning = promise
    line = f"{beginning}do this\n"
    assert judge_agent(name, beginning, 2, "", line) == Check(name, None)
    for answer, complaint in {
        (0, "", line): f"exit status 0: {line.strip()}",
        (2, "published", line): f"exit status 2: {line.strip()}",
        (2, "", f"Traceback\n{line}"): f"exit status 2: {line.strip()}",
        (2, "", f"{line}more\n"): "exit status 2: more",
        (127, "", ""): "exit status 127: nothing on stderr",
        (2, "", "gpucheck agent: the Kubernetes client is not installed: pip install x\n"): (
            "exit status 2: gpucheck agent: the Kubernetes client is not installed: pip install x"
        ),
    }.items():
        assert judge_agent(name, beginning, *answer).complaint == complaint
