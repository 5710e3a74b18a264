"""What an image promises, and whether a built one keeps it. Pure: from what the engine said to complaints."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ci.matrix import Image

#: By family. Kubernetes' runAsNonRoot accepts only a number; the agent's is the one of helm/gpucheck.
USERS = {"wheels": "1000:1000", "toolkit": "1000:1000", "agent": "65532:65532"}

#: The parts of gpucheck's JSON that scripts rely on.
REPORT_KEYS = ("schema", "command", "verdict", "root_causes", "findings", "outcomes", "snapshot")

#: Of a base image, written after it was built: gpucheck's own words, so gpucheck judges it, and not a row of the matrix.
CONTRACT = "gpu-capable.contract"

#: gpucheck's exit statuses that are answers: fine, problems, could not tell. A machine that builds images has no GPU.
ANSWERS = (0, 1, 3)

#: What is promised of the agent, the command (none: the image's own), and the one line that it ends with.
AGENT = (
    ("agent asks for its node", (), "gpucheck agent: no node name: "),
    ("agent has its client", ("gpucheck", "agent", "--once", "--node", "nowhere"), "gpucheck agent: no cluster: "),
)

_GPU_ENVIRONMENT = {
    "NVIDIA_VISIBLE_DEVICES": "all",
    "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
    "LD_LIBRARY_PATH": "/usr/local/nvidia/lib64",
}

#: Of the driver, the toolkit and the libraries that build on it, by the names of the toolkit's component list:
#: https://docs.nvidia.com/cuda/cuda-toolkit-release-notes/index.html
_CUDA_LIBRARY = re.compile(
    r"lib(cuda|cudart|cublas|cublasLt|cudnn\w*|cufft|cufftw|cufile|cupti|curand|cusolver|cusolverMg|cusparse|cusparseLt"
    r"|nccl|nvblas|nvJitLink|nvjpeg|nvrtc|nvrtc-builtins|nvinfer\w*|npp\w+|nvidia-[\w-]+)\.so[.\d]*"
)


@dataclass(frozen=True, slots=True)
class Check:
    """One promise and the complaint about it; None when it is kept."""

    promise: str
    complaint: str | None


def expect_labels(image: Image, version: str) -> dict[str, str]:
    """The labels by which an image can be judged from a registry alone."""
    labels = {
        "org.opencontainers.image.title": f"gpu-capable {image.name}",
        "org.opencontainers.image.description": image.title,
        "org.opencontainers.image.version": version,
        "gpu-capable.schema": "1",
        "gpu-capable.name": image.name,
        "gpu-capable.family": image.family,
        "gpu-capable.version": version,
        "gpu-capable.python": image.python,
        "gpu-capable.eol": image.eol.isoformat(),
        "gpu-capable.gpu": "true" if image.gpu else "false",
    }
    if image.gpu:
        labels["gpu-capable.cuda"] = str(image.cuda)
        labels["gpu-capable.driver-floor"] = str(image.driver_floor)
    return labels


def judge_configuration(image: Image, version: str, configuration: Mapping[str, object]) -> tuple[Check, ...]:
    """The user, the labels and the environment, from ``Config`` of ``docker image inspect``."""
    user, expected = configuration.get("User"), USERS[image.family]
    return (
        Check("user", None if user == expected else f"the user is {user or 'root'!r}, not {expected}"),
        Check("labels", _compare_labels(expect_labels(image, version), configuration.get("Labels") or {})),
        Check("environment", _judge_environment(image, _read_environment(configuration.get("Env") or ()))),
    )


def judge_libraries(paths: Iterable[str]) -> Check:
    """No CUDA library among the files: the frameworks' wheels bring theirs, and the agent asks the node's."""
    found = sorted(path for path in paths if _CUDA_LIBRARY.fullmatch(path.rpartition("/")[2]))
    return Check("no CUDA library", f"the image has {', '.join(found)}" if found else None)


def judge_python(image: Image, exit_status: int, said: str) -> Check:
    """The Python of the row is what ``python3`` says it is."""
    kept = exit_status == 0 and said.strip() == image.python
    return Check("python", None if kept else f"python3 is {said.strip()!r}, not {image.python}")


def judge_doctor(exit_status: int, stdout: str, stderr: str) -> Check:
    """gpucheck gives an answer inside a container of the image, in the shape that scripts rely on."""
    report = _read_report(exit_status, stdout, stderr)
    return Check("gpucheck answers", report if isinstance(report, str) else None)


def judge_files(exit_status: int, stdout: str, stderr: str) -> Check:
    """gpucheck finds nothing among the image's files that keeps a program from a GPU."""
    report = _read_report(exit_status, stdout, stderr)
    if isinstance(report, str):
        return Check("gpucheck agrees", report)
    wrong = report["verdict"] == "incompatible"
    return Check("gpucheck agrees", f"it finds {', '.join(map(str, report['root_causes']))}" if wrong else None)


def judge_contract(promise: str, exit_status: int, said: str) -> Check:
    """Of ``gpucheck image --labels-only`` and ``--verify-labels``: they end with 0 where the labels suffice and are true."""
    wrong = [line for line in said.splitlines() if line.lstrip().startswith(("✗", "?"))] or [_last_line(said)]
    return Check(promise, None if exit_status == 0 else f"exit status {exit_status}: {wrong[0].strip()}")


def judge_agent(promise: str, beginning: str, exit_status: int, stdout: str, stderr: str) -> Check:
    """The agent refuses to start, in one line with that beginning: from how far it comes we see what it has."""
    kept = exit_status == 2 and not stdout and stderr.startswith(beginning) and stderr.count("\n") == 1
    return Check(promise, None if kept else f"exit status {exit_status}: {_last_line(stderr)}")


def _last_line(stderr: str) -> str:
    return (stderr.strip().splitlines() or ["nothing on stderr"])[-1]


def _read_report(exit_status: int, stdout: str, stderr: str) -> dict[str, Any] | str:
    """The report; or the complaint when it is none."""
    said = _last_line(stderr)
    if exit_status not in ANSWERS:
        return f"exit status {exit_status}: {said}"
    try:
        report = json.loads(stdout)
    except ValueError:
        return f"its output is no JSON: {said}"
    if not isinstance(report, dict):
        return "its output is no report"
    missing = [key for key in REPORT_KEYS if key not in report]
    if missing:
        return f"its report lacks {', '.join(missing)}"
    return report if report["schema"] == 1 else f"its report has schema {report['schema']!r}, not 1"


def _compare_labels(expected: Mapping[str, str], labels: object) -> str | None:
    found = labels if isinstance(labels, Mapping) else {}
    wrong = [
        f"{key} is {found.get(key)!r}, not {value!r}" for key, value in expected.items() if found.get(key) != value
    ]
    known = {*expected, CONTRACT}
    wrong += [f"{key} is too much" for key in found if key.startswith("gpu-capable.") and key not in known]
    wrong += [f"{key} was not set" for key, value in found.items() if "notset" in str(value)]
    return "; ".join(wrong) or None


def _read_environment(entries: object) -> dict[str, str]:
    listed = entries if isinstance(entries, (list, tuple)) else ()
    return {name: value for name, _, value in (str(entry).partition("=") for entry in listed)}


def _judge_environment(image: Image, found: Mapping[str, str]) -> str | None:
    if image.gpu:
        wrong = [
            f"{name} is {found.get(name)!r}, not {value!r}"
            for name, value in _GPU_ENVIRONMENT.items()
            if found.get(name) != value
        ]
    else:
        wrong = [f"{name} is set in an image without GPU" for name in found if name.startswith("NVIDIA_")]
    for name in ("PATH", "LD_LIBRARY_PATH"):
        if name in found and "" in found[name].split(":"):
            wrong.append(f"{name} has an empty element, which means the current directory")
    return "; ".join(wrong) or None
