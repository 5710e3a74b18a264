"""The GPU itself: there, answering, and driven by the nvidia driver."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpucheck.facts import Seen, Snapshot, Unseen, Why
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.rules import distributions, reading
from gpucheck.rules.rule import Layer, need, rule, seen


@rule(Layer.HARDWARE)
def gpu_kept_off_bus(snapshot: Snapshot) -> Iterator[Complaint]:
    """A udev rule removes the GPU from the bus as it appears, or nobody authorised the Thunderbolt enclosure that it is in.

    envycontrol, prime-select and supergfxctl switch a laptop's NVIDIA GPU off with a rule that writes 1 to the device's `remove`.
    What is behind a Thunderbolt port is connected only after the user has authorised it.

    Confirm: `grep -rl 0x10de /etc/udev/rules.d /lib/udev/rules.d`; `boltctl list`; `cat /sys/bus/thunderbolt/devices/*/authorized`.
    Remedy: remove the rule and reboot (`sudo envycontrol -s nvidia`); `boltctl authorize UUID`.
    Reference: https://github.com/bayasdev/envycontrol, https://docs.kernel.org/admin-guide/thunderbolt.html
    """
    if reading.gpu_here(snapshot) or reading.in_container(snapshot) or not reading.wants_gpu(snapshot):
        return
    if isinstance(snapshot.hidden, Unseen):
        need(snapshot.pci)
        need(snapshot.hidden)
    for each in seen(snapshot.hidden, ()) or ():
        udev = each.kind == "udev rule"
        yield Complaint(
            Severity.ERROR,
            f"A udev rule takes NVIDIA's GPU off the bus: {each.place}"
            if udev
            else f"The Thunderbolt device {each.name} is not authorised: a GPU in it cannot be on the bus",
            "A tool that switches a laptop's GPU off wrote it."
            if udev
            else "What is behind a Thunderbolt port is connected only after it was authorised.",
            (Evidence(each.name, each.place),),
            f"sudo envycontrol -s hybrid (where it wrote the rule), or: sudo rm {each.place}; then reboot"
            if udev
            else f"boltctl list, then: sudo boltctl enroll UUID; or: echo 1 | sudo tee {each.place}",
        )


@rule(Layer.HARDWARE, follows=("gpu-kept-off-bus", "wsl-without-gpu", "sandbox-hides-gpu"))
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
        evidence = Evidence("there is no PCI bus", ", ".join(snapshot.pci.tried) or "the PCI bus")
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
    answers = (
        [call for call in snapshot.nvml.value.calls if call.code == LOST] if isinstance(snapshot.nvml, Seen) else []
    )
    if not lost and not lines and not answers:
        need(snapshot.pci)
        return
    over = not lost and not answers and reading.all_driven(snapshot)
    address = lost[0].address if lost else _address(lines[0].fact) if lines else ""
    yield Complaint(
        Severity.WARNING if over else Severity.ERROR,
        f"GPU {address or 'of this machine'} fell off the bus since the machine was started, and answers again"
        if over
        else f"The GPU {lost[0].address} does not answer"
        if lost
        else f"A GPU has fallen off the bus{f': {address}' if address else ''}",
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


#: NVML_ERROR_GPU_IS_LOST in nvml.h.
LOST = 15


def _address(text: str) -> str:
    """The PCI address in a line of the kernel log: ``PCI:0000:44:00`` of an Xid has no function."""
    match = re.search(r"\b([0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}(?:\.\d)?)\b", text)
    return match[1] if match else ""


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
        if driver not in VIRTUAL
        else f"{driver} keeps the GPU for a virtual machine.",
        tuple(
            Evidence(f"{gpu.address} is driven by {gpu.driver}", f"/sys/bus/pci/devices/{gpu.address}/driver")
            for gpu in others
        ),
        "printf 'blacklist nouveau\\noptions nouveau modeset=0\\n' | sudo tee /etc/modprobe.d/blacklist-nouveau.conf && "
        f"{distributions.command(snapshot, distributions.INITRAMFS, 'sudo update-initramfs -u')} && sudo reboot"
        + ("" if reading.module_loaded(snapshot) or snapshot.libcuda_copies else " (and install the NVIDIA driver)")
        if driver not in VIRTUAL
        else "Use the virtual machine that the GPU is kept for; to take it back, remove its ids from vfio-pci "
        "(/etc/modprobe.d, vfio-pci.ids= on the kernel's command line) and reboot.",
    )


#: Drivers that keep a PCI device for a virtual machine.
VIRTUAL = ("vfio-pci", "pci-stub", "xen-pciback", "nvgrace_gpu_vfio_pci")


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
