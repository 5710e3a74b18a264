"""Environment variables that hide GPUs or lead the loader astray."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpucheck.facts import Snapshot
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.rules import reading
from gpucheck.rules.rule import Layer, need, rule


@rule(Layer.ENVIRONMENT, follows=("no-gpu",))
def visible_devices_hides_gpus(snapshot: Snapshot) -> Iterator[Complaint]:
    """CUDA_VISIBLE_DEVICES hides every GPU from CUDA.

    An empty value means none; -1, NoDevFiles or the first entry that names no GPU ends the list, so everything from there
    on is hidden. NVML and nvidia-smi do not read the variable and still list the GPUs.

    Confirm: `echo "[$CUDA_VISIBLE_DEVICES]"`; cuInit gives 100 while `nvidia-smi -L` lists GPUs.
    Remedy: unset the variable, or name GPUs by index (0,1) or UUID (GPU-..., MIG-...).
    Reference: https://docs.nvidia.com/cuda/cuda-programming-guide/05-appendices/environment-variables.html
    """
    value = snapshot.variable("CUDA_VISIBLE_DEVICES")
    if value is None:
        return
    first = value.split(",")[0].strip()
    count = len(reading.answering_gpus(snapshot)) or len(reading.pci_gpus(snapshot))
    if reading.cuda_code(snapshot) == 0 and reading.answering_gpus(snapshot):
        return
    if not value.strip():
        why = "It is set to an empty string, which means no device; unset is something else."
    elif re.fullmatch(r"\d+", first):
        if not count or int(first) < count:
            return
        why = f"Its first entry, {first}, names no GPU: here are {count}, counted from 0."
    elif re.fullmatch(r"(GPU|MIG)-[0-9a-fA-F-]+(/\d+/\d+)?", first):
        known = [gpu.uuid for gpu in reading.answering_gpus(snapshot)]
        # A UUID may be shortened as long as it is unique; MIG ids are not listed by this look.
        if not known or first.startswith("MIG-") or any(uuid.lower().startswith(first.lower()) for uuid in known):
            return
        why = f"Its first entry, {first}, is the UUID of no GPU here."
    elif first in ("-1", "NoDevFiles", "none", "void"):
        why = f"Its first entry, {first}, ends the list of visible devices."
    else:
        why = f"Its first entry, {first!r}, is neither an index nor a UUID, so the list ends there."
    here = reading.gpu_here(snapshot)
    yield Complaint(
        Severity.ERROR if here or not value.strip() or first not in ("-1", "NoDevFiles") else Severity.WARNING,
        "CUDA_VISIBLE_DEVICES hides every GPU",
        why,
        (
            Evidence(f"CUDA_VISIBLE_DEVICES={value!r}", "environment"),
            *([Evidence(f"GPU here: {here}", "hardware")] if here else []),
            *reading.calls(snapshot),
        ),
        "unset CUDA_VISIBLE_DEVICES (in a Dockerfile or a manifest: remove the line)",
        decisive=reading.cuda_code(snapshot) == 100 and bool(here),
    )


@rule(Layer.ENVIRONMENT, follows=("libcuda-is-stub",))
def stubs_on_library_path(snapshot: Snapshot) -> Iterator[Complaint]:
    """LD_LIBRARY_PATH names a stubs folder of the CUDA toolkit.

    Stubs are for linking programs on machines without a driver. On the search path of running programs they can be loaded
    instead of the driver's library.

    Confirm: `echo $LD_LIBRARY_PATH`.
    Remedy: remove the entry; give it to the compiler with -L instead.
    Reference: https://docs.nvidia.com/cuda/cuda-compiler-driver-nvcc/index.html
    """
    entries = [
        part for part in (snapshot.variable("LD_LIBRARY_PATH") or "").split(":") if re.search(r"/stubs/?$", part)
    ]
    if entries:
        yield Complaint(
            Severity.WARNING,
            "LD_LIBRARY_PATH names a stubs folder",
            "Programs can get the toolkit's stub instead of the driver's library.",
            tuple(Evidence(entry, "LD_LIBRARY_PATH") for entry in entries),
            f"Remove {entries[0]} from LD_LIBRARY_PATH",
        )


@rule(Layer.ENVIRONMENT)
def library_path_has_empty_element(snapshot: Snapshot) -> Iterator[Complaint]:
    """LD_LIBRARY_PATH has an empty element, which means the current directory.

    A leading, trailing or doubled colon comes from appending to an unset variable. The linker then looks for libraries
    wherever the program happens to be started.

    Confirm: `echo $LD_LIBRARY_PATH` starts or ends with a colon or has two in a row.
    Remedy: append with `${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}`.
    Reference: ld.so(8)
    """
    value = snapshot.variable("LD_LIBRARY_PATH")
    if value and "" in re.split("[:;]", value):
        yield Complaint(
            Severity.NOTE,
            "LD_LIBRARY_PATH has an empty element: libraries are also taken from the current directory",
            "A leading, trailing or doubled colon does that.",
            (Evidence(f"LD_LIBRARY_PATH={value}", "environment"),),
            "export LD_LIBRARY_PATH=<folder>${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}",
        )


#: Variables that the container toolkit and CUDA read, and wrong spellings that go round.
MISSPELT = {
    "NVIDIA_DISABLE_REQUIRES": "NVIDIA_DISABLE_REQUIRE",
    "NVIDIA_VISIBLE_DEVICE": "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITY": "NVIDIA_DRIVER_CAPABILITIES",
    "CUDA_VISIBLE_DEVICE": "CUDA_VISIBLE_DEVICES",
    "CUDA_VISBLE_DEVICES": "CUDA_VISIBLE_DEVICES",
}


@rule(Layer.ENVIRONMENT)
def variable_misspelt(snapshot: Snapshot) -> Iterator[Complaint]:
    """A variable is spelt in a way that nothing reads.

    The container toolkit reads NVIDIA_DISABLE_REQUIRE; threads advise NVIDIA_DISABLE_REQUIRES, which has no effect.

    Confirm: `env | grep NVIDIA`.
    Remedy: use the name that the finding gives.
    Reference: https://github.com/NVIDIA/nvidia-container-toolkit/issues/152
    """
    for wrong, right in MISSPELT.items():
        if snapshot.variable(wrong) is not None and snapshot.variable(right) is None:
            yield Complaint(
                Severity.WARNING,
                f"{wrong} has no effect: the name is {right}",
                "Nothing reads the name as it is spelt.",
                (Evidence(f"{wrong}={snapshot.variable(wrong)}", "environment"),),
                f"Rename it to {right}",
            )


@rule(Layer.ENVIRONMENT)
def mps_unreachable(snapshot: Snapshot) -> Iterator[Complaint]:
    """CUDA tries to use the multi-process service and cannot reach it: errors 805 to 807.

    A process becomes an MPS client when the control daemon's pipe directory is there: $CUDA_MPS_PIPE_DIRECTORY, else
    /tmp/nvidia-mps. In a container the directory must be mounted and the IPC namespace shared; the daemon must be of the
    same user, and running.

    Confirm: `ls -ld ${CUDA_MPS_PIPE_DIRECTORY:-/tmp/nvidia-mps}`; `echo get_server_list | nvidia-cuda-mps-control`.
    Remedy: start the daemon, or mount its directory with --ipc=host, or stop using MPS.
    Reference: https://docs.nvidia.com/deploy/mps/index.html
    """
    code = reading.cuda_code(snapshot)
    if code not in (805, 806, 807):
        need(snapshot.cuda)
        return
    named = snapshot.variable("CUDA_MPS_PIPE_DIRECTORY")
    where = named or "/tmp/nvidia-mps"
    container = reading.in_container(snapshot)
    yield Complaint(
        Severity.ERROR,
        f"CUDA cannot reach the MPS control daemon at {where} ({code})",
        "Its pipe directory is half visible in this container."
        if container
        else "The daemon is not running, or is another user's.",
        (
            *reading.calls(snapshot),
            Evidence(
                f"CUDA_MPS_PIPE_DIRECTORY={named}" if named is not None else "CUDA_MPS_PIPE_DIRECTORY is not set",
                "environment",
            ),
        ),
        f"docker run --ipc=host -v {where}:{where} -e CUDA_MPS_PIPE_DIRECTORY={where} ..., or unmount it to go without MPS"
        if container
        else f"nvidia-cuda-mps-control -d (as the user who runs the code), or remove {where} to go without MPS",
        decisive=True,
    )
