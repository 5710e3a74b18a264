"""Errors of a GPU: memory, links, firmware; what the driver logged and what NVML says of them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpucheck.facts import Seen, Snapshot
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.rules import reading
from gpucheck.rules.reading import contexts
from gpucheck.rules.rule import Layer, need, rule

#: NVML_ERROR_CORRUPTED_INFOROM in nvml.h.
INFOROM = 14


@rule(Layer.HARDWARE)
def gpu_needs_reset(snapshot: Snapshot) -> Iterator[Complaint]:
    """A GPU waits for a reset: memory errors or an unrecoverable fault.

    Uncorrectable memory errors are recorded and a row remapping is pending until the GPU is reset, the remapping
    failed, or the driver logs NV_ERR_RESET_REQUIRED; contexts on that GPU then fail with code 46 or 214.

    Confirm: `nvidia-smi -q -d ROW_REMAPPER,ECC`; `dmesg | grep RESET_REQUIRED`.
    Remedy: stop the users of the GPU and reset it with `nvidia-smi --gpu-reset -i N`, or reboot; if remapping failed,
    replace the GPU.
    Reference: https://docs.nvidia.com/deploy/a100-gpu-mem-error-mgmt/index.html
    """
    answer = need(snapshot.nvml)
    gpus = answer.gpus
    if waiting := [call for call in answer.calls if call.code == 16]:
        yield Complaint(
            Severity.ERROR,
            "A GPU needs a reset",
            "NVML refuses to speak of it until then.",
            tuple(Evidence(reading.spell(call), "NVML") for call in waiting),
            "Stop what uses the GPU, then: sudo nvidia-smi --gpu-reset (or reboot)",
        )
    for gpu in gpus:
        facts = []
        if gpu.remap_failed:
            facts.append("row remapping failed")
        if gpu.remap_pending:
            facts.append("row remapping is pending")
        if gpu.ecc_errors:
            facts.append(f"{gpu.ecc_errors} uncorrected memory errors since the last reset")
        if facts:
            yield Complaint(
                Severity.ERROR,
                f"GPU {gpu.index} ({gpu.name}) " + ("must be replaced" if gpu.remap_failed else "needs a reset"),
                "Its memory had uncorrectable errors.",
                tuple(Evidence(f"GPU {gpu.index}: {fact}", "NVML") for fact in facts),
                "Replace the GPU: the spare rows are used up."
                if gpu.remap_failed
                else f"Stop what uses the GPU, then: sudo nvidia-smi --gpu-reset -i {gpu.index} (or reboot)",
            )
    works = bool(contexts(snapshot)) and not any(contexts(snapshot).values())
    if lines := reading.kernel_lines(snapshot, "NV_ERR_RESET_REQUIRED"):
        yield Complaint(
            Severity.WARNING if works else Severity.ERROR,
            "A GPU needs a reset",
            "The driver met an unrecoverable error and refuses new contexts on that GPU.",
            lines,
            "Stop what uses the GPU, then: sudo nvidia-smi --gpu-reset (or reboot)",
        )
    # The newest one counts: "changed from 0x1 (GPU Reset Required) to 0x0 (None)" ends it.
    for line in reading.kernel_lines(snapshot, "GPU recovery action changed"):
        action = re.search(r"changed from .* to 0x([0-9a-f]+) \(([^)]*)\)", line.fact)
        if action and int(action[1], 16):
            yield Complaint(
                Severity.ERROR,
                f"The driver asks for a recovery of a GPU: {action[2]}",
                "It met an error that it cannot end by itself (Xid 154 names what it needs).",
                (line,),
                "Drain the machine and reboot it"
                if "boot" in action[2].lower()
                else "Stop what uses the GPU, then: sudo nvidia-smi --gpu-reset (or reboot)",
            )


@rule(Layer.HARDWARE, follows=("gpu-lost", "gpu-needs-reset"))
def gpu_reported_fault(snapshot: Snapshot) -> Iterator[Complaint]:
    """The driver logged an Xid that speaks of the GPU, its memory, its links or its firmware, not of a program.

    NVIDIA's catalogue says for each Xid what to do: reset the GPU, restart the machine, ask for support. Xids that a
    program causes (13, 31, 43, 45 and others whose answer is to restart the program) are no finding.

    Confirm: `sudo dmesg | grep -i xid`; `gpucheck kb xids NUMBER`.
    Remedy: what the catalogue says of the Xid.
    Reference: https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html
    """
    from gpucheck.kb.xids import actions, xids

    messages = need(snapshot.kernel.messages)
    newest = {message.xid: message.text for message in messages if message.xid is not None}
    works = bool(contexts(snapshot)) and not any(contexts(snapshot).values())
    for number, text in newest.items():
        row = xids().get(number)
        if row is None or number in ELSEWHERE or not (row.reach in ("gpu", "host") or number in TELLING):
            continue
        action = actions().get(row.action)
        yield Complaint(
            Severity.WARNING if works else Severity.ERROR,
            f"The driver logged Xid {number}: {row.meaning}",
            f"Behind it is usually: {row.causes}."
            if row.causes
            else "It speaks of the GPU or its driver, not of a program.",
            (
                Evidence(text, snapshot.kernel.messages.source if isinstance(snapshot.kernel.messages, Seen) else ""),
                Evidence(f"catalogue: {row.action}" + (f" ({action.means})" if action else ""), row.reference),
            ),
            POWER
            if row.action == "CHECK_MECHANICALS"
            else LINKS
            if row.action == "WORKFLOW_NVLINK5_ERR"
            else {
                "gpu": "Stop what uses the GPU, then: sudo nvidia-smi --gpu-reset (or reboot); if it comes again, have the GPU checked",
                "host": "Drain the machine and restart it; if it comes again, have the GPU checked",
            }.get(
                row.reach,
                "Follow NVIDIA's steps for this Xid: https://docs.nvidia.com/deploy/xid-errors/; watch: nvidia-smi -q -d ECC,ROW_REMAPPER",
            ),
        )


#: Xids that other rules speak of: a lost GPU, and the recovery that the driver asks for.
ELSEWHERE = (79, 154)
POWER = "Power off, connect every auxiliary power cable of the GPU and seat it firmly, then start again"
LINKS = (
    "Drain the machine, stop what uses the GPUs, then reset all that NVLink joins: sudo nvidia-smi --gpu-reset (or reboot); if it comes again, have "
    "the GPU and its NVLink checked: https://docs.nvidia.com/deploy/xid-errors/"
)
#: Workflows that begin at the hardware: double bit errors, NVLink, auxiliary power.
TELLING = (48, 54, 74, *range(144, 151))


@rule(Layer.HARDWARE, follows=("gpu-lost", "gpu-needs-reset", "gpu-reported-fault"))
def gpu_answers_slowly(snapshot: Snapshot) -> Iterator[Complaint]:
    """NVML takes seconds to answer a question about a GPU that is already open.

    Questions wait behind the GPU's own firmware. A storm of memory errors, a failing link or a dying GPU makes them take
    seconds to minutes, and everything that watches GPUs (DCGM, the device plugin, nvidia-smi) with them.

    Confirm: `time nvidia-smi -q >/dev/null`; `nvidia-smi -q -d ECC` twice: do the corrected errors rise?
    Remedy: look for memory errors and Xids; drain the machine and have the GPU replaced.
    Reference: https://github.com/NVIDIA/DCGM/issues/313
    """
    slow = need(snapshot.nvml).slow
    if slow:
        yield Complaint(
            Severity.WARNING,
            "NVML takes seconds to answer about a GPU",
            "Its questions wait behind the GPU's firmware, which is busy with errors or does not answer in time.",
            tuple(Evidence(f"{name}: more than 5 s", "NVML") for name in slow[:4]),
            "Look at nvidia-smi -q -d ECC and sudo dmesg | grep -i xid; drain the machine and have the GPU checked",
        )


@rule(Layer.HARDWARE)
def gpu_inforom_corrupted(snapshot: Snapshot) -> Iterator[Complaint]:
    """The information ROM of a GPU is corrupted.

    The ROM on the board keeps its identity, its ECC setting and the record of memory errors. CUDA may work on; ECC settings and the
    counts of retired memory cannot be trusted.

    Confirm: `nvidia-smi` prints "WARNING: infoROM is corrupted at gpu 0000:01:00.0".
    Remedy: power the machine off and on; if it stays, have the board replaced.
    Reference: https://docs.nvidia.com/deploy/gpu-debug-guidelines/index.html
    """
    corrupted = [call for call in need(snapshot.nvml).calls if call.code == INFOROM]
    if corrupted:
        yield Complaint(
            Severity.WARNING,
            "The information ROM of a GPU is corrupted",
            "It keeps the board's identity, its ECC setting and the record of its memory errors.",
            tuple(Evidence(reading.spell(call), "NVML") for call in corrupted[:2]),
            "Power the machine off and on and look at nvidia-smi again; if it stays, have the GPU replaced",
        )
