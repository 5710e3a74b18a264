"""The GPU itself."""

from __future__ import annotations

from collections.abc import Iterator

from gpucheck.facts import Seen, Snapshot, Unseen, Why
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.rules import reading
from gpucheck.rules.rule import Layer, need, rule


@rule(Layer.HARDWARE)
def no_gpu(snapshot: Snapshot) -> Iterator[Complaint]:
    """No NVIDIA GPU is visible on this machine.

    The PCI bus lists no display device of vendor 10de, and neither CUDA nor NVML lists a GPU. A virtual machine sees
    only what its hypervisor passes through; WSL2 and Jetson show their GPU elsewhere and are judged by that.

    Confirm: `lspci -d 10de:` prints nothing.
    Remedy: use a machine, an instance type or a queue with a GPU, or pass the GPU through to the virtual machine.
    Where everything installed is a CPU build, this is only noted.
    Reference: https://docs.nvidia.com/datacenter/tesla/driver-installation-guide/index.html#verify-you-have-a-cuda-capable-gpu
    """
    if reading.gpu_here(snapshot):
        return
    if isinstance(snapshot.pci, Unseen) and snapshot.pci.why is Why.ABSENT:
        evidence = Evidence("there is no PCI bus", snapshot.pci.tried[0])
    else:
        need(snapshot.pci)
        evidence = Evidence("no display device of vendor 10de (NVIDIA)", "/sys/bus/pci/devices")
    wants = reading.wants_gpu(snapshot)
    yield Complaint(
        reading.absence(snapshot),
        "No NVIDIA GPU is visible on this machine",
        "The machine has none, or its hypervisor does not pass one through."
        if wants
        else "Everything installed here is a CPU build, so this seems meant.",
        (evidence,),
        "Use a machine or an instance type with an NVIDIA GPU; in a virtual machine, pass the GPU through. "
        "Check with: lspci -d 10de:",
    )


@rule(Layer.HARDWARE)
def gpu_lost(snapshot: Snapshot) -> Iterator[Complaint]:
    """A GPU has fallen off the bus or does not answer.

    The PCI configuration space reads all ones, the kernel logs Xid 79 or "fallen off the bus", or NVML reports
    NVML_ERROR_GPU_IS_LOST (15). Power, temperature, the riser, the slot or the firmware is at fault.

    Confirm: `lspci -d 10de: -vv` shows (rev ff); `dmesg | grep -i "fallen off"`.
    Remedy: drain the machine, power it off and on; if it returns, check power and cooling, then replace the GPU.
    Reference: https://docs.nvidia.com/deploy/xid-errors/index.html (Xid 79)
    """
    lost = [device for device in reading.pci_gpus(snapshot) if device.lost]
    lines = reading.kernel_lines(snapshot, "fallen off the bus", "): 79,")
    answers = [call for call in snapshot.nvml.value.calls if call.code == 15] if isinstance(snapshot.nvml, Seen) else []
    if not lost and not lines and not answers:
        need(snapshot.pci)
        return
    yield Complaint(
        Severity.ERROR,
        f"The GPU {lost[0].address} does not answer" if lost else "A GPU has fallen off the bus",
        "Power, temperature, the slot or the firmware made the device unresponsive; software cannot repair it.",
        (
            *(
                Evidence(f"{device.address}: configuration space reads ff ff ff ff", "/sys/bus/pci/devices")
                for device in lost
            ),
            *lines,
            *(Evidence(reading.spell(call), "NVML") for call in answers),
        ),
        "Drain the machine and power it off and on; if the GPU is lost again, check power and cooling and replace it.",
    )


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
    if lines := reading.kernel_lines(snapshot, "NV_ERR_RESET_REQUIRED"):
        yield Complaint(
            Severity.ERROR,
            "A GPU needs a reset",
            "The driver met an unrecoverable error and refuses new contexts on that GPU.",
            lines,
            "Stop what uses the GPU, then: sudo nvidia-smi --gpu-reset (or reboot)",
        )


@rule(Layer.HARDWARE)
def gpu_held_by_other_driver(snapshot: Snapshot) -> Iterator[Complaint]:
    """Another kernel driver holds the GPU: nouveau, nova or vfio-pci.

    A PCI device has one driver. nouveau comes with the kernel and takes the GPU at boot unless it is blocked; vfio-pci
    holds it for a virtual machine.

    Confirm: `lspci -k -d 10de:` shows "Kernel driver in use".
    Remedy: block nouveau and rebuild the initial RAM disk, then reboot; or take the GPU off vfio-pci.
    Reference: https://docs.nvidia.com/datacenter/tesla/driver-installation-guide/index.html#disabling-nouveau
    """
    need(snapshot.pci)
    others = [gpu for gpu in reading.pci_gpus(snapshot) if gpu.driver and not gpu.driver.startswith("nvidia")]
    # One GPU for a virtual machine beside others for CUDA is a healthy set-up.
    if not others or any(gpu.driver == "nvidia" for gpu in reading.pci_gpus(snapshot)):
        return
    driver = others[0].driver
    yield Complaint(
        Severity.ERROR,
        f"The kernel driver {driver} holds the GPU, so the nvidia driver cannot",
        "A PCI device has one driver, and this one came first."
        if driver != "vfio-pci"
        else "vfio-pci keeps the GPU for a virtual machine.",
        tuple(
            Evidence(f"{gpu.address} is driven by {gpu.driver}", f"/sys/bus/pci/devices/{gpu.address}/driver")
            for gpu in others
        ),
        "printf 'blacklist nouveau\\noptions nouveau modeset=0\\n' | sudo tee /etc/modprobe.d/blacklist-nouveau.conf && "
        "sudo update-initramfs -u (RHEL: sudo dracut --force) && sudo reboot"
        if driver != "vfio-pci"
        else "Give the GPU to the virtual machine that it is kept for, or remove its vfio-pci ids and reboot.",
    )


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
    refused = reading.cuda_code(snapshot, "cuDevicePrimaryCtxRetain")
    for gpu in gpus:
        prohibited = gpu.compute_mode == PROHIBITED
        taken = gpu.compute_mode == EXCLUSIVE_PROCESS and refused == 46
        if not prohibited and not taken:
            continue
        mode = "PROHIBITED" if prohibited else "EXCLUSIVE_PROCESS"
        yield Complaint(
            Severity.ERROR,
            f"The compute mode of GPU {gpu.index} ({gpu.name}) is {mode}"
            + ("" if prohibited else ", and another process holds it"),
            "In this mode no process may create a context."
            if prohibited
            else "In this mode one process at a time may have a context.",
            (
                Evidence(f"GPU {gpu.index}: compute mode {gpu.compute_mode} ({mode})", "NVML"),
                *([Evidence(f"{gpu.processes} compute processes", "NVML")] if gpu.processes is not None else []),
                *([Evidence("cuDevicePrimaryCtxRetain = 46", "a call in a child process")] if refused == 46 else []),
            ),
            f"sudo nvidia-smi -i {gpu.index} -c 0, or choose another GPU with CUDA_VISIBLE_DEVICES",
            decisive=refused == 46,
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
    enabled = [gpu for gpu in gpus if gpu.mig]
    unfound = reading.cuda_code(snapshot) == 100 or (reading.cuda_code(snapshot) == 0 and not reading.reached(snapshot))
    if not enabled or len(enabled) < len(gpus) or not unfound or snapshot.variable("CUDA_VISIBLE_DEVICES") is not None:
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
    busy = [gpu for gpu in reading.answering_gpus(snapshot) if gpu.processes]
    yield Complaint(
        Severity.ERROR,
        "The GPU has no memory left for another process",
        "Other processes hold it.",
        (
            Evidence("cuDevicePrimaryCtxRetain = 2 (CUDA_ERROR_OUT_OF_MEMORY)", "a call in a child process"),
            *(Evidence(f"GPU {gpu.index}: {gpu.processes} compute processes", "NVML") for gpu in busy),
        ),
        "Look at nvidia-smi and end the process that holds the memory, or choose another GPU with CUDA_VISIBLE_DEVICES",
        decisive=True,
    )


@rule(Layer.HARDWARE, follows=("gpu-lost", "gpu-needs-reset", "visible-devices-hides-gpus"))
def cuda_sees_fewer_gpus(snapshot: Snapshot) -> Iterator[Complaint]:
    """CUDA lists fewer GPUs than NVML, though nothing was asked to hide any.

    One GPU's node may be missing or forbidden here, or CUDA may not be able to use it: held by another virtual machine's
    driver, in an error state, or too old for the driver's CUDA. With MIG the counts differ by design.

    Confirm: `nvidia-smi -L` against `python -c "import torch; print(torch.cuda.device_count())"`.
    Remedy: look at the nodes (`ls -l /dev/nvidia*`) and at the kernel log for the GPU that is missing.
    Reference: https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__DEVICE.html
    """
    cuda, nvml = need(snapshot.cuda), need(snapshot.nvml)
    if not cuda.gpus or cuda.trouble or nvml.trouble or snapshot.variable("CUDA_VISIBLE_DEVICES") is not None:
        return
    if len(cuda.gpus) >= len(nvml.gpus) or any(gpu.mig for gpu in nvml.gpus):
        return
    known = {gpu.uuid for gpu in cuda.gpus}
    hidden = [gpu for gpu in nvml.gpus if gpu.uuid not in known]
    yield Complaint(
        Severity.WARNING,
        f"CUDA lists {len(cuda.gpus)} of the {len(nvml.gpus)} GPUs that NVML lists",
        "CUDA_VISIBLE_DEVICES is not set, so CUDA itself cannot use the others.",
        tuple(Evidence(f"GPU {gpu.index} ({gpu.name}, {gpu.uuid}) is not among CUDA's", "NVML") for gpu in hidden),
        "Look at ls -l /dev/nvidia* and at: sudo dmesg | grep -iE 'nvrm|xid'",
    )
