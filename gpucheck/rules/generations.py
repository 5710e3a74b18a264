"""GPUs that a driver no longer drives, or not yet."""

from __future__ import annotations

from collections.abc import Iterator

from gpucheck import kb
from gpucheck.facts import PciDevice, Seen, Snapshot
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.kb.capabilities import capabilities, driver_drives, of_device
from gpucheck.rules import reading
from gpucheck.rules.rule import CannotTell, Layer, need, rule
from gpucheck.versions import DriverVersion


@rule(Layer.HARDWARE, follows=("gpu-lost", "gpu-held-by-other-driver"))
def gpu_not_driven(snapshot: Snapshot) -> Iterator[Complaint]:
    """The driver that is installed does not drive this GPU: it is too new for an old GPU, or too old for a new one.

    Each branch drops the oldest generations: 390 is the last for Fermi, 470 for Kepler (K80), 580 for Maxwell, Pascal and Volta
    (P100, V100). A new generation needs the branch that came with it. The module loads, and the GPU is on the bus, but
    nvidia-smi says "No devices were found".

    Confirm: `lspci -nn -d 10de:`; `sudo dmesg | grep NVRM` ("supported through the NVIDIA 470.xx Legacy drivers").
    Remedy: install a driver of a branch that drives the GPU.
    Reference: https://docs.nvidia.com/datacenter/tesla/drivers/cuda-toolkit-driver-and-architecture-matrix.html
    """
    if len(reading.answering_gpus(snapshot)) >= len(reading.pci_gpus(snapshot)) > 0:
        return
    found = need(snapshot.pci)
    messages = [
        line
        for word in ("Legacy drivers", "is not supported by the NVIDIA", "not supported by this release")
        for line in reading.kernel_lines(snapshot, word)
    ]
    version = snapshot.kernel.driver.value.version if isinstance(snapshot.kernel.driver, Seen) else None
    unknown = ""
    for gpu in found:
        if gpu.kind != "gpu" or gpu.driver not in ("nvidia", None) or gpu.lost:
            continue
        complaint = _too_far(gpu, version, tuple(messages[:1]))
        if complaint:
            yield complaint
            return
        if not reading.answering_gpus(snapshot) and version and of_device(gpu.device) is None:
            unknown = f"the GPU with the PCI id 10de:{gpu.device} is not known"
    if unknown:
        raise CannotTell(unknown)


def _too_far(gpu: PciDevice, version: DriverVersion | None, messages: tuple[Evidence, ...]) -> Complaint | None:
    row = of_device(gpu.device)
    known = capabilities().get(row.capability) if row else None
    name = gpu.model or (f"{known.architecture} GPU" if known else "GPU")
    if version is None and not messages:
        return None
    remedy = "Install a driver of a branch that drives it"
    because = "The driver itself says so."
    if known and version:
        judged = driver_drives(version.branch, known.capability)
        first = next(
            (
                branch.branch
                for branch in sorted(kb.branches().values(), key=lambda each: each.branch)
                if branch.cuda >= known.first_toolkit
            ),
            None,
        )
        new = judged.holds is None and first is not None and version.branch < first
        if judged.holds is not False and not new and not messages:
            return None
        if judged.holds is False or new:
            because = f"{judged.because[0].upper()}{judged.because[1:]}; this is {version}."
        branch = known.last_branch if judged.holds is False else first
        remedy = f"Install driver {branch}" + (
            " (the last for it) and a build for an older CUDA" if judged.holds is False else " or newer"
        )
    elif not messages:
        return None
    return Complaint(
        Severity.ERROR,
        f"The driver{f' {version}' if version else ''} does not drive the {name} at {gpu.address}",
        because,
        (
            *messages,
            Evidence(
                f"10de:{gpu.device}" + (f", compute capability {row.capability}" if row else ""),
                f"/sys/bus/pci/devices/{gpu.address}",
            ),
            *(
                [Evidence(f"compute capability {known.capability}: {known.architecture}", known.reference)]
                if known
                else []
            ),
        ),
        remedy,
        decisive=True,
    )
