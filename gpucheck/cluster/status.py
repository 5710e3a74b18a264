"""What is published of a node, as values: labels and a condition. Pure; nothing here talks to a cluster."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Final, Literal

from gpucheck import kb
from gpucheck.facts import Gpu, PciDevice, Seen, Snapshot, Unseen, Why
from gpucheck.finding import Finding, Report, Severity, Status, Verdict
from gpucheck.record import dataclass
from gpucheck.versions import CudaVersion, DriverVersion

#: All labels start with it, and nothing else of a node is touched. It is the project's name, a valid prefix (one DNS
#: label is a DNS subdomain) under which no domain of anybody can lie.
#: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
PREFIX: Final = "gpu-capable/"

#: The type of the condition. True is a problem, as in node-problem-detector.
CONDITION: Final = "GpuProblem"

#: The most that a label's value may have, and what a condition's message may: V1Condition in the Kubernetes API.
LABEL_LENGTH: Final = 63
MESSAGE_LENGTH: Final = 1024

#: A label that would have to be two things at once, on a node with GPUs of different kinds.
MIXED: Final = "mixed"


@dataclass(frozen=True, slots=True)
class Condition:
    """The condition without its times, which depend on what was published before."""

    status: Literal["True", "False", "Unknown"]
    reason: str
    """One word in CamelCase, for machines."""
    message: str
    """One line, for people."""


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """All that is published of a node."""

    labels: Mapping[str, str]
    """Keys with their prefix. A label of ours that is not here is to be removed."""
    condition: Condition


def describe(report: Report, cuda: CudaVersion | None = None) -> NodeStatus:
    """What to publish of a judged node.

    ``cuda``: the CUDA version that the node's libcuda names, where the report's own snapshot could not ask it.
    """
    condition = describe_condition(report)
    facts: dict[str, str | None] = {
        "verdict": describe_verdict(report).value,
        "root-cause": report.roots[0].rule if report.roots else None,
        **describe_driver(report.snapshot, cuda),
        **describe_gpus(report.snapshot),
    }
    labels = {PREFIX + name: value for name, text in facts.items() if text and (value := label_value(text))}
    return NodeStatus(labels, condition)


def describe_verdict(report: Report) -> Verdict:
    """The report's verdict, but no ``compatible`` of a node on which something that decides could not be looked at."""
    return report.verdict if report.roots or not _dark(report.snapshot) else Verdict.UNKNOWN


def _dark(snapshot: Snapshot) -> list[str]:
    """What decides whether a node offers a GPU and was not seen, each with why not. To be absent is to be seen."""
    return [
        f"{name}: {fact.detail or fact.why.value}"
        for name, fact in (
            ("PCI bus", snapshot.pci),
            ("kernel driver", snapshot.kernel.driver),
            ("device nodes", snapshot.nodes),
        )
        if isinstance(fact, Unseen) and fact.why is not Why.ABSENT
    ]


def describe_condition(report: Report) -> Condition:
    """A node without any GPU has no problem with one: it is told from the others by its labels."""
    verdict = describe_verdict(report)
    if isinstance(report.snapshot.pci, Seen) and not _pci_gpus(report.snapshot) and not _answering(report.snapshot):
        return Condition("False", "NoGpu", "no NVIDIA GPU on the PCI bus")
    if verdict is Verdict.INCOMPATIBLE:
        root, *others = report.roots
        return Condition("True", camel_case(root.rule), _message(root, others))
    if verdict is Verdict.UNKNOWN:
        return Condition("Unknown", "CouldNotTell", one_line(_unknown(report), MESSAGE_LENGTH))
    if warnings := [finding for finding in report.findings if finding.severity is Severity.WARNING]:
        return Condition("False", "WorksWithLimits", _message(warnings[0], warnings[1:]))
    return Condition("False", "NoProblemFound", "nothing found that keeps code from the GPUs")


def _message(finding: Finding, others: list[Finding]) -> str:
    more = f" (also: {', '.join(other.rule for other in others)})" if others else ""
    return one_line(f"{finding.summary}; {finding.remedy}", MESSAGE_LENGTH - len(more)) + more[:MESSAGE_LENGTH]


def _unknown(report: Report) -> str:
    crashed = [f"{outcome.rule}: {outcome.error}" for outcome in report.outcomes if outcome.status is Status.CRASH]
    return "could not tell; " + "; ".join([*_dark(report.snapshot), *crashed])


def describe_driver(snapshot: Snapshot, cuda: CudaVersion | None) -> dict[str, str | None]:
    """Driver and CUDA labels; the CUDA version is what the driver supports, from the driver itself where it said so."""
    driver = driver_version(snapshot)
    if cuda is None and isinstance(snapshot.cuda, Seen):
        cuda = snapshot.cuda.value.cuda
    if cuda is None and driver is not None and (row := kb.driver_cuda(driver)):
        cuda = row[0]
    return {
        "driver.version": str(driver) if driver else None,
        "driver.branch": str(driver.branch) if driver else None,
        "cuda.version": str(cuda) if cuda else None,
        # nodeAffinity compares integers alone (Gt, Lt), so the version is there in the driver's own integer form too.
        "cuda.code": str(cuda.major * 1000 + cuda.minor * 10) if cuda else None,
    }


def driver_version(snapshot: Snapshot) -> DriverVersion | None:
    """Of the loaded kernel module; of NVML where the module does not show itself. Libraries on disk are no driver."""
    if isinstance(snapshot.kernel.driver, Seen):
        return snapshot.kernel.driver.value.version
    return snapshot.nvml.value.driver if isinstance(snapshot.nvml, Seen) else None


def describe_gpus(snapshot: Snapshot) -> dict[str, str | None]:
    """Count, product and the lowest compute capability of the GPUs."""
    gpus = _answering(snapshot)
    count = len(_pci_gpus(snapshot)) or len(gpus)
    known = isinstance(snapshot.pci, Seen) or bool(gpus)
    products = {gpu.name for gpu in gpus} or {gpu.model for gpu in _pci_gpus(snapshot) if gpu.model}
    capabilities = [gpu.capability for gpu in gpus if gpu.capability]
    # What code must be built for to run on each of them. One that does not tell could be lower.
    lowest = min(capabilities) if capabilities and len(capabilities) == len(gpus) else None
    return {
        "gpu.count": str(count) if known else None,
        "gpu.product": MIXED if len(products) > 1 else "".join(products),
        "gpu.compute-capability": str(lowest) if lowest else None,
    }


def _answering(snapshot: Snapshot) -> tuple[Gpu, ...]:
    for answer in (snapshot.nvml, snapshot.cuda):
        if isinstance(answer, Seen) and answer.value.gpus:
            return answer.value.gpus
    return ()


def _pci_gpus(snapshot: Snapshot) -> tuple[PciDevice, ...]:
    devices = snapshot.pci.value if isinstance(snapshot.pci, Seen) else ()
    return tuple(device for device in devices if device.kind == "gpu")


def label_value(text: str) -> str:
    """The nearest valid value of a label; '' when nothing of the text can stand in one.

    At most 63 letters, digits, ``-``, ``_`` and ``.``, beginning and ending with a letter or digit:
    https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
    """
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-_.")
    return plain[:LABEL_LENGTH].rstrip("-_.")


def camel_case(rule: str) -> str:
    """``driver-too-old`` is ``DriverTooOld``: the convention for a condition's reason."""
    return "".join(part.capitalize() for part in re.split(r"[^A-Za-z0-9]+", rule))


def one_line(text: str, length: int) -> str:
    """All white space and control characters as single spaces; cut with an ellipsis."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= length else line[: length - 1] + "…"


# -- what changes ------------------------------------------------------------------------------------------------------

#: A condition whose heartbeat is younger is not written again when nothing else changed: each write goes to etcd and to
#: everyone who watches nodes. node-problem-detector has the same period (--k8s-exporter-heartbeat-period).
HEARTBEAT: Final = timedelta(minutes=5)


def change_labels(wanted: Mapping[str, str], present: Mapping[str, str]) -> dict[str, str | None]:
    """What to write: new values, and None for labels of ours that are to go. Empty when all is as wanted."""
    stale = {key: None for key in present if key.startswith(PREFIX) and key not in wanted}
    return {**{key: value for key, value in wanted.items() if present.get(key) != value}, **stale}


def renew_condition(
    wanted: Condition, present: Mapping[str, str] | None, now: datetime, heartbeat: timedelta = HEARTBEAT
) -> dict[str, str] | None:
    """The condition as the API has it, or None when what is there is the same and its heartbeat is young enough.

    The time of the last transition changes with ``status`` alone: NodeCondition in the Kubernetes API.
    """
    same = present is not None and all(
        present.get(name) == value
        for name, value in (("status", wanted.status), ("reason", wanted.reason), ("message", wanted.message))
    )
    if same and present is not None and now - _time(present.get("lastHeartbeatTime")) < heartbeat:
        return None
    stamp = now.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    kept = present.get("lastTransitionTime") if present and present.get("status") == wanted.status else None
    return {
        "type": CONDITION,
        "status": wanted.status,
        "reason": wanted.reason,
        "message": wanted.message,
        "lastHeartbeatTime": stamp,
        "lastTransitionTime": kept or stamp,
    }


def _time(text: str | None) -> datetime:
    try:
        # fromisoformat knows "Z" since Python 3.11 only.
        return datetime.fromisoformat((text or "").replace("Z", "+00:00"))
    except ValueError:
        return datetime.fromtimestamp(0, timezone.utc)
