"""Snapshots of nodes, and reports on them, for what is published of a node."""

from __future__ import annotations

from gpucheck.facts import (
    Choice,
    Gpu,
    Host,
    Kernel,
    KernelDriver,
    Nvml,
    PciDevice,
    Seen,
    Snapshot,
    Unseen,
    Why,
)
from gpucheck.finding import Complaint, Evidence, Finding, Outcome, Report, Severity, Status
from gpucheck.record import replace
from gpucheck.versions import ComputeCapability, DriverVersion

UNSEEN = Unseen(Why.NOT_APPLICABLE, ())

#: A node of which nothing could be seen.
DARK = Snapshot(
    schema=1,
    tool="0",
    host=Host(False, "x86_64", UNSEEN, UNSEEN, UNSEEN, False, UNSEEN, None, (), UNSEEN),
    pci=UNSEEN,
    kernel=Kernel(UNSEEN, UNSEEN, UNSEEN, UNSEEN, UNSEEN, UNSEEN),
    nodes=UNSEEN,
    nvml=UNSEEN,
    cuda=UNSEEN,
    libcuda=Choice("libcuda.so.1", None, "", ()),
    libcuda_copies=(),
    nvml_copies=(),
    compat=(),
    runtimes=(),
    libraries=(),
    pythons=(),
    frameworks=(),
    distributions=(),
    environment=(),
    container=UNSEEN,
    runtime=UNSEEN,
    kubernetes=UNSEEN,
)

#: A node that was looked at, with no driver, no device node and no PCI bus.
BARE = replace(
    DARK,
    pci=Unseen(Why.ABSENT, ("/sys/bus/pci/devices",)),
    kernel=replace(DARK.kernel, driver=Unseen(Why.ABSENT, ("/proc/driver/nvidia/version",))),
    nodes=Seen((), "/dev"),
)


def with_driver(snapshot: Snapshot, version: str) -> Snapshot:
    """With the kernel module of a driver loaded."""
    driver = DriverVersion.parse(version)
    assert driver
    seen = Seen(KernelDriver(driver, "open"), "/proc/driver/nvidia/version")
    return replace(snapshot, kernel=replace(snapshot.kernel, driver=seen))


def with_pci(snapshot: Snapshot, gpus: int) -> Snapshot:
    """With GPUs on the bus, each with its audio function."""
    devices = tuple(
        PciDevice(f"0000:0{index}:00.{function}", "2330", kind, "nvidia", False, "")
        for index in range(gpus)
        for function, kind in enumerate(("gpu", "other"))
    )
    return replace(snapshot, pci=Seen(devices, "/sys/bus/pci/devices"))


def with_answers(snapshot: Snapshot, *gpus: tuple[str, str]) -> Snapshot:
    """With NVML answering for (product, compute capability or '')."""
    answers = tuple(
        Gpu(index, name, f"GPU-{index}", ComputeCapability.parse(capability), None)
        for index, (name, capability) in enumerate(gpus)
    )
    return replace(snapshot, nvml=Seen(Nvml("libnvidia-ml.so.1", (), None, None, answers, ""), "nvml"))


def finding(rule: str, summary: str, remedy: str, severity: Severity = Severity.ERROR) -> Finding:
    return Finding(rule, severity, summary, "", (Evidence("fact", "source"),), remedy)


def report(
    snapshot: Snapshot, *findings: Finding, unknown: tuple[tuple[str, str], ...] = (), crash: str = ""
) -> Report:
    """A report with these findings; rules of ``unknown`` (rule, why) could not tell, ``crash`` broke."""
    outcomes = [
        Outcome(each.rule, Status.FAIL, (Complaint(each.severity, each.summary, "", each.evidence, each.remedy),))
        for each in findings
    ]
    outcomes += [Outcome(crash, Status.CRASH, error="ValueError: x")] if crash else []
    return Report(snapshot, tuple(outcomes), findings)
