"""CUDA_VISIBLE_DEVICES: which GPUs a process is shown."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpucheck.facts import Gpu, Seen, Snapshot
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.rules import reading
from gpucheck.rules.rule import Layer, need, rule

UUID = r"(GPU|MIG)-[0-9a-fA-F-]+(/\d+/\d+)?"
#: What people write to say "none"; CUDA knows none of the words, and ends the list at them.
NONE = ("-1", "NoDevFiles", "none", "None", "void", "null")


def _gpus(snapshot: Snapshot) -> tuple[Gpu, ...]:
    """The GPUs that the variable chooses from: NVML does not read it."""
    return snapshot.nvml.value.gpus if isinstance(snapshot.nvml, Seen) else ()


def _count(snapshot: Snapshot) -> int:
    """How many there are; 0 when that is not known."""
    return len(_gpus(snapshot)) or len(reading.host_gpus(snapshot))


def _why_not(entry: str, snapshot: Snapshot) -> str:
    """Why an entry names no GPU; '' when it names one or that cannot be told."""
    count, known = _count(snapshot), _gpus(snapshot)
    if match := re.fullmatch(r"\+?(\d+)", entry):
        return f"names no GPU: here are {count}, counted from 0" if count and int(match[1]) >= count else ""
    if re.fullmatch(UUID, entry):
        if entry.startswith("MIG-"):
            # NVML's look does not list the ids of instances: what CUDA answers decides.
            return "names no MIG instance of this machine" if known and reading.cuda_code(snapshot) == 100 else ""
        named = [gpu for gpu in known if gpu.uuid.lower().startswith(entry.lower())]
        if not known:
            return ""
        if not named:
            return "is the UUID of no GPU here"
        if len(named) > 1:
            return f"is the beginning of {len(named)} UUIDs"
        return (
            "is a GPU in MIG mode: CUDA uses its instances, which have ids of their own (MIG-...)"
            if named[0].mig
            else ""
        )
    if entry in NONE:
        return "ends the list of visible devices"
    return "is neither an index nor a UUID, so the list ends there"


@rule(Layer.ENVIRONMENT, follows=("no-gpu", "mig-without-instances", "device-refused-by-cgroup"))
def visible_devices_hides_gpus(snapshot: Snapshot) -> Iterator[Complaint]:
    """CUDA_VISIBLE_DEVICES hides every GPU from CUDA.

    An empty value means none; -1, NoDevFiles or the first entry that names no GPU ends the list, so everything from there
    on is hidden. A GPU in MIG mode is named by its instances. NVML and nvidia-smi do not read the variable and still list
    the GPUs.

    Confirm: `echo "[$CUDA_VISIBLE_DEVICES]"`; cuInit gives 100 while `nvidia-smi -L` lists GPUs.
    Remedy: unset the variable, or name GPUs by index (0,1) or UUID (GPU-..., MIG-...).
    Reference: https://docs.nvidia.com/cuda/cuda-programming-guide/05-appendices/environment-variables.html
    """
    value = snapshot.variable("CUDA_VISIBLE_DEVICES")
    if value is None:
        return
    entries = [entry.strip() for entry in value.split(",")]
    first = entries[0]
    if reading.cuda_code(snapshot) == 0 and isinstance(snapshot.cuda, Seen) and snapshot.cuda.value.gpus:
        return
    if not value.strip():
        why = "It is set to an empty string, which means no device; unset is something else."
    elif reason := _why_not(first, snapshot):
        why = f"Its first entry, {first!r}, {reason}."
    elif len(set(entries)) < len(entries) and reading.cuda_code(snapshot) == 100:
        why = "It names a GPU twice, and then CUDA shows none."
    else:
        return
    here = reading.gpu_here(snapshot)
    job = snapshot.variable("SLURM_JOB_ID") is not None and (not value.strip() or first in NONE)
    yield Complaint(
        Severity.ERROR if here or not value.strip() or first not in NONE else Severity.WARNING,
        "CUDA_VISIBLE_DEVICES hides every GPU",
        why,
        (
            Evidence(f"CUDA_VISIBLE_DEVICES={value!r}", "environment"),
            *([Evidence(f"GPU here: {here}", "hardware")] if here else []),
            *reading.calls(snapshot),
        ),
        "Name an instance: export CUDA_VISIBLE_DEVICES=MIG-<uuid> (one line of nvidia-smi -L)"
        if "MIG" in why
        else "Slurm sets it so for a job that asked for no GPU: sbatch --gres=gpu:1 (or --gpus=1)"
        if job
        else "unset CUDA_VISIBLE_DEVICES (in a Dockerfile or a manifest: remove the line)",
        decisive=reading.cuda_code(snapshot) == 100 and bool(here),
    )


@rule(Layer.ENVIRONMENT, follows=("visible-devices-hides-gpus",))
def visible_devices_not_numbers(snapshot: Snapshot) -> Iterator[Complaint]:
    """CUDA_VISIBLE_DEVICES names a GPU by its UUID, and an installed package reads each entry as a number.

    CUDA takes both. vLLM turns the entries into numbers itself and ends with "invalid literal for int() with base 10: 'GPU-...'".
    Slurm, Run:ai and device plugins write UUIDs.

    Confirm: `echo $CUDA_VISIBLE_DEVICES`; `nvidia-smi -L`.
    Remedy: name the GPUs by index, or update the package.
    Reference: https://github.com/vllm-project/vllm/issues/13815
    """
    value = snapshot.variable("CUDA_VISIBLE_DEVICES") or ""
    for each in snapshot.number_readers:
        indexes = [
            str(gpu.index)
            for entry in value.split(",")
            for gpu in _gpus(snapshot)
            if gpu.uuid.lower() == entry.strip().lower()
        ]
        yield Complaint(
            Severity.ERROR,
            f"{each.name} {each.version} reads CUDA_VISIBLE_DEVICES as numbers, and it is {value}",
            "CUDA takes UUIDs, this package does not: invalid literal for int() with base 10.",
            (Evidence(f"CUDA_VISIBLE_DEVICES={value}", "environment"), Evidence("int(physical_device_id)", each.path)),
            f"export CUDA_VISIBLE_DEVICES={','.join(indexes) or '0'} (the index of that GPU in nvidia-smi -L, with CUDA_DEVICE_ORDER=PCI_BUS_ID), or "
            f"update {each.name}",
        )


@rule(Layer.ENVIRONMENT, follows=("visible-devices-hides-gpus",))
def visible_devices_ends_early(snapshot: Snapshot) -> Iterator[Complaint]:
    """CUDA_VISIBLE_DEVICES names several GPUs, and CUDA stops reading at an entry that names none.

    "0,9,1" on a machine with two GPUs shows GPU 0 alone: 9 names none, and what comes after it is not read. Indexes and
    UUIDs may not be mixed.

    Confirm: `python -c "import torch; print(torch.cuda.device_count())"` prints fewer than the entries.
    Remedy: remove the entry that the finding names.
    Reference: https://docs.nvidia.com/cuda/cuda-programming-guide/05-appendices/environment-variables.html
    """
    value = snapshot.variable("CUDA_VISIBLE_DEVICES")
    if value is None or "," not in value:
        return
    answer = need(snapshot.cuda)
    entries = [entry.strip() for entry in value.split(",")]
    if not answer.gpus or len(answer.gpus) >= len([entry for entry in entries if entry]):
        return
    by_uuid = bool(re.fullmatch(UUID, entries[0]))
    for position, entry in enumerate(entries[1:], 2):
        reason = _why_not(entry, snapshot)
        if not reason and bool(re.fullmatch(UUID, entry)) != by_uuid:
            reason = "mixes an index with UUIDs" if by_uuid else "mixes a UUID with indexes"
        if not entry or not reason:
            continue
        yield Complaint(
            Severity.WARNING,
            f"CUDA_VISIBLE_DEVICES is read up to its entry {position - 1} of {len(entries)}: CUDA shows {len(answer.gpus)}",
            f"Entry {position}, {entry!r}, {reason}; CUDA reads no further.",
            (
                Evidence(f"CUDA_VISIBLE_DEVICES={value!r}", "environment"),
                Evidence(f"cuDeviceGetCount gives {len(answer.gpus)}", "a call in a child process"),
            ),
            f"Remove the entry {entry!r}: export CUDA_VISIBLE_DEVICES={','.join(entries[: position - 1])}",
        )
        return


@rule(Layer.ENVIRONMENT)
def device_order_ambiguous(snapshot: Snapshot) -> Iterator[Complaint]:
    """GPUs of different kinds are chosen by index, and CUDA's order is not that of nvidia-smi.

    CUDA numbers GPUs from the fastest on, nvidia-smi by their PCI address. On a machine with different GPUs
    CUDA_VISIBLE_DEVICES=0 may be another GPU than nvidia-smi's 0. CUDA_DEVICE_ORDER=PCI_BUS_ID makes both the same; it
    takes these two words alone.

    Confirm: `nvidia-smi -L` against `python -c "import torch; print(torch.cuda.get_device_name(0))"`.
    Remedy: `export CUDA_DEVICE_ORDER=PCI_BUS_ID`, or choose by UUID.
    Reference: https://docs.nvidia.com/cuda/cuda-programming-guide/05-appendices/environment-variables.html
    """
    order = snapshot.variable("CUDA_DEVICE_ORDER")
    if order is not None and order not in ("FASTEST_FIRST", "PCI_BUS_ID"):
        yield Complaint(
            Severity.WARNING,
            f"CUDA_DEVICE_ORDER={order} has no effect",
            "CUDA knows FASTEST_FIRST (the default) and PCI_BUS_ID (the order of nvidia-smi).",
            (Evidence(f"CUDA_DEVICE_ORDER={order}", "environment"),),
            "export CUDA_DEVICE_ORDER=PCI_BUS_ID",
        )
    value = snapshot.variable("CUDA_VISIBLE_DEVICES")
    if order is not None or value is None or not re.fullmatch(r"\d+(,\d+)*", value.replace(" ", "")):
        return
    names = dict.fromkeys(gpu.name for gpu in need(snapshot.nvml).gpus)
    if len(names) < 2:
        return
    yield Complaint(
        Severity.NOTE,
        "CUDA_VISIBLE_DEVICES chooses by index among GPUs of different kinds, in CUDA's order, not in nvidia-smi's",
        "CUDA counts from the fastest GPU on, nvidia-smi by PCI address.",
        (
            Evidence(f"CUDA_VISIBLE_DEVICES={value}", "environment"),
            Evidence(f"kinds: {', '.join(names)}", "NVML"),
        ),
        "export CUDA_DEVICE_ORDER=PCI_BUS_ID, or choose by UUID",
    )
