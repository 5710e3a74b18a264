"""What keeps a process off a GPU that is well: compute modes, MIG, full memory, a missing licence."""

from __future__ import annotations

from collections.abc import Iterator

from gpucheck.facts import Call, Gpu, Seen, Snapshot
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.rules import reading
from gpucheck.rules.reading import contexts
from gpucheck.rules.rule import Layer, need, rule, seen

#: CUDA_ERROR_OUT_OF_MEMORY and CUDA_ERROR_DEVICE_UNAVAILABLE in cuda.h.
OUT_OF_MEMORY, UNAVAILABLE = 2, 46
#: nvmlGpuVirtualizationMode_t in nvml.h: a part of a GPU, in a guest.
VGPU = 2
#: nvmlBrandType_t in nvml.h: NVIDIA virtual applications, PC, compute server, workstation, cloud gaming.
VGPU_BRANDS = (10, 11, 12, 13, 14)


#: nvmlComputeMode_t in nvml.h.
PROHIBITED, EXCLUSIVE_PROCESS = 2, 3


@rule(Layer.HARDWARE)
def compute_mode_exclusive(snapshot: Snapshot) -> Iterator[Complaint]:
    """The compute mode of the GPU lets no further process use it: contexts fail with 46.

    An administrator can set a GPU to EXCLUSIVE_PROCESS (one process at a time) or PROHIBITED (none). cuInit succeeds, and
    creating a context says "all CUDA-capable devices are busy or unavailable".

    Confirm: `nvidia-smi -q -d COMPUTE`; `nvidia-smi` lists the process that holds the GPU.
    Remedy: `sudo nvidia-smi -c 0`, another GPU through CUDA_VISIBLE_DEVICES, or MPS.
    Reference: https://docs.nvidia.com/deploy/mps/index.html
    """
    gpus = need(snapshot.nvml).gpus
    made = contexts(snapshot)
    for gpu in gpus:
        refused = made.get(gpu.uuid, reading.cuda_code(snapshot, "cuDevicePrimaryCtxRetain") if not made else None)
        prohibited = gpu.compute_mode == PROHIBITED
        taken = gpu.compute_mode == EXCLUSIVE_PROCESS and refused == UNAVAILABLE
        if not prohibited and not taken:
            continue
        mode = "PROHIBITED" if prohibited else "EXCLUSIVE_PROCESS"
        yield Complaint(
            Severity.WARNING if 0 in made.values() else Severity.ERROR,
            f"The compute mode of GPU {gpu.index} ({gpu.name}) is {mode}"
            + ("" if prohibited else ", and another process holds it"),
            "In this mode no process may create a context."
            if prohibited
            else "In this mode one process at a time may have a context.",
            (
                Evidence(f"GPU {gpu.index}: compute mode {gpu.compute_mode} ({mode})", "NVML"),
                *([Evidence(f"{gpu.processes} compute processes", "NVML")] if gpu.processes is not None else []),
                *(
                    [Evidence("cuDevicePrimaryCtxRetain = 46", "a call in a child process")]
                    if refused == UNAVAILABLE
                    else []
                ),
            ),
            f"sudo nvidia-smi -i {gpu.index} -c 0, or choose another GPU with CUDA_VISIBLE_DEVICES",
            decisive=refused == UNAVAILABLE,
        )


@rule(Layer.HARDWARE)
def mig_without_instances(snapshot: Snapshot) -> Iterator[Complaint]:
    """MIG is enabled and CUDA finds no compute instance: error 100 while nvidia-smi lists the GPU.

    With multi-instance GPU enabled, CUDA uses instances, not the GPU itself. After MIG was switched on, or after a
    reboot, no instance exists until one is created.

    Confirm: `nvidia-smi -L` lists the GPU without MIG lines below it.
    Remedy: create instances, for example `sudo nvidia-smi mig -cgi 0 -C`, or switch MIG off: `sudo nvidia-smi -mig 0`.
    Reference: https://docs.nvidia.com/datacenter/tesla/mig-user-guide/index.html
    """
    gpus = need(snapshot.nvml).gpus
    enabled = [gpu for gpu in gpus if gpu.mig and not gpu.instances]
    unfound = reading.cuda_code(snapshot) == 100 or (reading.cuda_code(snapshot) == 0 and not reading.reached(snapshot))
    # Where instances were not counted, the variable may be what hides them; an empty one hides all.
    named = snapshot.variable("CUDA_VISIBLE_DEVICES")
    hidden = named is not None and (not named.strip() or any(gpu.instances is None for gpu in enabled))
    if not enabled or len(enabled) < len(gpus) or not unfound or hidden:
        return
    yield Complaint(
        Severity.ERROR,
        "MIG is enabled, and there is no instance that CUDA could use",
        "With MIG on, CUDA sees instances, not the GPU, and none was created.",
        (
            *(Evidence(f"GPU {gpu.index} ({gpu.name}): MIG is enabled", "NVML") for gpu in enabled),
            *reading.calls(snapshot),
        ),
        "sudo nvidia-smi mig -cgi 0 -C (one instance of the whole GPU), or switch MIG off: sudo nvidia-smi -mig 0",
        decisive=True,
    )


@rule(Layer.HARDWARE)
def mig_change_pending(snapshot: Snapshot) -> Iterator[Complaint]:
    """MIG was switched on or off, and the GPU was not reset since.

    On some GPUs the mode changes only with a reset of the GPU. Until then the old mode holds, and instances can neither be
    created nor does CUDA see the whole GPU again.

    Confirm: `nvidia-smi -q | grep -A2 'MIG Mode'` shows different Current and Pending.
    Remedy: stop what uses the GPU and `sudo nvidia-smi --gpu-reset`, or reboot.
    Reference: https://docs.nvidia.com/datacenter/tesla/mig-user-guide/index.html
    """
    for gpu in need(snapshot.nvml).gpus:
        if gpu.mig is None or gpu.mig_pending is None or gpu.mig == gpu.mig_pending:
            continue
        yield Complaint(
            Severity.WARNING,
            f"MIG will be {'on' if gpu.mig_pending else 'off'} on GPU {gpu.index} ({gpu.name}) only after a reset",
            "The mode was changed, and the GPU was not reset since.",
            (
                Evidence(
                    f"GPU {gpu.index}: MIG is {'on' if gpu.mig else 'off'}, pending {'on' if gpu.mig_pending else 'off'}",
                    "NVML",
                ),
            ),
            f"Stop what uses the GPU, then: sudo nvidia-smi --gpu-reset -i {gpu.index} (or reboot)",
        )


@rule(Layer.HARDWARE)
def address_space_limited(snapshot: Snapshot) -> Iterator[Complaint]:
    """CUDA says that memory is full, and it is the address space that is limited.

    CUDA reserves address space of the size of the machine's and its GPUs' memory, far more than it uses. A limit by `ulimit
    -v`, as batch systems set for a job's memory, makes cuInit or the first context fail with 2 (out of memory) on an idle GPU.

    Confirm: `ulimit -v` prints a number, and `nvidia-smi` shows free memory.
    Remedy: `ulimit -v unlimited`, or ask the batch system for no limit of virtual memory.
    Reference: https://github.com/NVIDIA/cuda-python/pull/2458, getrlimit(2) RLIMIT_AS
    """
    codes = [reading.cuda_code(snapshot, name) for name in ("cuInit", "cuDevicePrimaryCtxRetain")]
    if OUT_OF_MEMORY not in codes:
        need(snapshot.cuda)
        return
    limit = seen(snapshot.address_space, None)
    if limit is None:
        return
    yield Complaint(
        Severity.ERROR,
        "CUDA runs out of address space, not of memory",
        "It reserves addresses for all memory of the machine and its GPUs, which a limit forbids here.",
        (Evidence(f"address space is limited to {limit >> 20} MiB", "/proc/self/limits"), *reading.calls(snapshot)),
        "ulimit -v unlimited (batch systems: ask for no limit of virtual memory)",
        decisive=True,
    )


@rule(Layer.HARDWARE, follows=("address-space-limited",))
def gpu_memory_full(snapshot: Snapshot) -> Iterator[Complaint]:
    """The GPU is reached, but has no memory left for another process: creating a context fails with 2.

    A context alone takes some hundred megabytes. Another process, or one that was not ended, holds the memory.

    Confirm: `nvidia-smi` lists the processes and the memory in use.
    Remedy: end the process that holds it, or choose another GPU with CUDA_VISIBLE_DEVICES.
    Reference: https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__TYPES.html (CUDA_ERROR_OUT_OF_MEMORY)
    """
    if reading.cuda_code(snapshot, "cuDevicePrimaryCtxRetain") != 2:
        need(snapshot.cuda)
        return
    known = snapshot.nvml.value.gpus if isinstance(snapshot.nvml, Seen) else ()
    busy = [gpu for gpu in known if gpu.processes]
    yield Complaint(
        Severity.ERROR,
        "The GPU has no memory left for another process",
        "Other processes hold it.",
        (
            Evidence("cuDevicePrimaryCtxRetain = 2 (CUDA_ERROR_OUT_OF_MEMORY)", "a call in a child process"),
            *(Evidence(f"GPU {gpu.index}: {gpu.processes} compute processes{_held(gpu)}", "NVML") for gpu in busy),
        ),
        "Look at nvidia-smi and end the process that holds the memory (where it lists none: sudo fuser -v /dev/nvidia*), or choose another GPU "
        "with CUDA_VISIBLE_DEVICES",
        decisive=True,
    )


def _held(gpu: Gpu) -> str:
    """``: 31794 holds 22.9 GiB``."""
    held = [f"{pid}" + (f" holds {used / (1 << 30):.1f} GiB" if used else "") for pid, used in gpu.holders]
    return f": {', '.join(held)}" if held else ""


@rule(
    Layer.HARDWARE,
    follows=(
        "gpu-needs-reset",
        "gpu-reported-fault",
        "compute-mode-exclusive",
        "vgpu-unlicensed",
        "device-refused-by-cgroup",
    ),
)
def gpu_gives_no_context(snapshot: Snapshot) -> Iterator[Complaint]:
    """A GPU is listed, and no process can create a context on it, though its compute mode allows it.

    Creating a context gives 46 ("busy or unavailable"), 214 or 999 on one GPU while others work: it met an unrecoverable
    error and waits for a reset. Where the kernel log may be read it says so.

    Confirm: `CUDA_VISIBLE_DEVICES=N python -c "import torch; torch.zeros(1).cuda()"` for each GPU N; `sudo dmesg | grep -i nvrm`.
    Remedy: stop its users and reset that GPU, or reboot; until then leave it out with CUDA_VISIBLE_DEVICES.
    Reference: https://docs.nvidia.com/deploy/gpu-debug-guidelines/index.html
    """
    cuda = need(snapshot.cuda)
    modes = {gpu.uuid: gpu.compute_mode for gpu in snapshot.nvml.value.gpus} if isinstance(snapshot.nvml, Seen) else {}
    good = [str(gpu.index) for gpu in cuda.gpus if gpu.context == 0]
    for gpu in cuda.gpus:
        # Full memory and exclusive modes are other rules' matter.
        if gpu.context in (None, 0, OUT_OF_MEMORY) or modes.get(gpu.uuid) in (PROHIBITED, EXCLUSIVE_PROCESS):
            continue
        call = reading.spell(Call("cuDevicePrimaryCtxRetain", gpu.context or 0))
        yield Complaint(
            Severity.ERROR,
            f"GPU {gpu.index} ({gpu.name}) gives no context: {call}",
            "Its compute mode allows one, so the GPU itself refuses: it waits for a reset, or its driver state is broken.",
            (
                Evidence(f"GPU {gpu.index} ({gpu.uuid}): {call}", "a call in a child process"),
                *([Evidence("compute mode default", "NVML")] if modes.get(gpu.uuid) == 0 else []),
                *([Evidence(f"GPU {', '.join(good)} give contexts", "calls in a child process")] if good else []),
            ),
            f"Stop what uses it, then: sudo nvidia-smi --gpu-reset -i {gpu.index} (or reboot)"
            + (f"; until then: export CUDA_VISIBLE_DEVICES={','.join(good)}" if good else ""),
            decisive=True,
        )


@rule(Layer.HARDWARE)
def vgpu_unlicensed(snapshot: Snapshot) -> Iterator[Complaint]:
    """A virtual GPU has no licence: CUDA is slowed down and then refused.

    A guest with an NVIDIA vGPU gets its licence from a server through nvidia-gridd. Without one the vGPU works at full
    speed for 20 minutes at most, then it is throttled and new CUDA work fails.

    Confirm: `nvidia-smi -q | grep -A2 'License Status'`; `systemctl status nvidia-gridd`.
    Remedy: put the client configuration token into /etc/nvidia/ClientConfigToken and restart nvidia-gridd.
    Reference: https://docs.nvidia.com/vgpu/latest/grid-licensing-user-guide/index.html
    """
    made = contexts(snapshot)
    for gpu in need(snapshot.nvml).gpus:
        virtual = gpu.virtualization == VGPU or gpu.brand in VGPU_BRANDS
        # Where the guest's NVML does not tell of licences, a refused context does.
        refused = made.get(gpu.uuid) == UNAVAILABLE and gpu.compute_mode in (None, 0)
        if not virtual or not (gpu.licensed is False or (gpu.licensed is None and refused)):
            continue
        daemon = reading.service(snapshot, "nvidia-gridd")
        works = 0 in contexts(snapshot).values()
        yield Complaint(
            Severity.WARNING if works else Severity.ERROR,
            f"The virtual GPU {gpu.index} ({gpu.name}) has no licence",
            "nvidia-gridd, which fetches it, is not running."
            if daemon and not daemon.running and not reading.in_container(snapshot)
            else "Without one it is throttled after 20 minutes, and new CUDA work fails.",
            (
                Evidence(
                    f"GPU {gpu.index}: a vGPU, " + ("unlicensed" if gpu.licensed is False else f"brand {gpu.brand}"),
                    "NVML",
                ),
                *([Evidence("cuDevicePrimaryCtxRetain = 46", "a call in a child process")] if refused else []),
            ),
            "On the guest: copy the client configuration token to /etc/nvidia/ClientConfigToken, then: sudo systemctl restart nvidia-gridd",
            decisive=not works and bool(contexts(snapshot)),
        )


@rule(Layer.HARDWARE)
def mig_instances_uncounted(snapshot: Snapshot) -> Iterator[Complaint]:
    """MIG is on and CUDA_VISIBLE_DEVICES is not set: PyTorch counts GPUs that CUDA does not give it.

    A process uses one MIG instance. CUDA counts it alone; PyTorch, where the variable is not set, takes NVML's number of
    GPUs and fails when it asks CUDA for the second.

    Confirm: `nvidia-smi -L` lists more GPUs than `CUDA_VISIBLE_DEVICES=MIG-<uuid>` would give; the message is "device >= 0
    && device < num_gpus INTERNAL ASSERT FAILED".
    Remedy: name one instance before the process starts: `export CUDA_VISIBLE_DEVICES=MIG-<uuid>` (from `nvidia-smi -L`).
    Reference: https://github.com/pytorch/pytorch/issues/130181
    """
    nvml, cuda = need(snapshot.nvml), need(snapshot.cuda)
    torch = next((framework for framework in snapshot.frameworks if framework.name == "torch" and framework.gpu), None)
    if torch is None or not cuda.gpus or snapshot.variable("CUDA_VISIBLE_DEVICES") is not None:
        return
    if not any(gpu.mig for gpu in nvml.gpus):
        return
    instances = sum(gpu.instances or 0 for gpu in nvml.gpus)
    if len(cuda.gpus) >= len(nvml.gpus):
        if instances > len(cuda.gpus):
            yield Complaint(
                Severity.WARNING,
                f"This process gets {len(cuda.gpus)} of {instances} MIG instances, and does not say which",
                "CUDA shows a process one instance; programs that count GPUs through NVML see more and fail.",
                (
                    Evidence(f"{instances} MIG instances", "NVML"),
                    Evidence(f"cuDeviceGetCount gives {len(cuda.gpus)}", "a call in a child process"),
                ),
                "export CUDA_VISIBLE_DEVICES=MIG-<uuid> (one line of nvidia-smi -L) before the process starts",
            )
        return
    yield Complaint(
        Severity.ERROR,
        f"torch counts {len(nvml.gpus)} GPUs, and CUDA gives this process {len(cuda.gpus)} MIG instance",
        "Without CUDA_VISIBLE_DEVICES torch takes NVML's number of GPUs, of which CUDA shows one instance.",
        (
            Evidence(f"NVML lists {len(nvml.gpus)} GPUs, MIG is on", "NVML"),
            Evidence(f"cuDeviceGetCount gives {len(cuda.gpus)}", "a call in a child process"),
            Evidence("CUDA_VISIBLE_DEVICES is not set", "environment"),
        ),
        "export CUDA_VISIBLE_DEVICES=MIG-<uuid> (one line of nvidia-smi -L) before the process starts",
    )
