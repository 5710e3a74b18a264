"""GPUs that are joined or guarded and not ready yet: the NVSwitch fabric, confidential computing."""

from __future__ import annotations

from collections.abc import Iterator

from gpucheck.facts import Seen, Snapshot
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.kb import kernel_log
from gpucheck.rules import reading
from gpucheck.rules.rule import Layer, need, rule

#: CUDA_ERROR_SYSTEM_NOT_READY.
NOT_READY = 802
#: nvmlGpuFabricState_t in nvml.h.
FABRIC = {0: "not supported", 1: "not started", 2: "in progress", 3: "completed"}


@rule(Layer.KERNEL)
def confidential_gpu_not_ready(snapshot: Snapshot) -> Iterator[Complaint]:
    """Confidential computing is on, and its GPUs were not set ready: cuInit = 802.

    In a confidential virtual machine the GPU takes no work until it was attested and `nvidia-smi conf-compute -srs 1` (or
    nvidia-persistenced with --uvm-persistence-mode and the attestation service) set the ready state.

    Confirm: `nvidia-smi conf-compute -f` says CC is on, `nvidia-smi conf-compute -grs` says not ready.
    Remedy: attest the GPU, then `sudo nvidia-smi conf-compute -srs 1`.
    Reference: https://docs.nvidia.com/cc-deployment-guide-tdx.pdf
    """
    answer = need(snapshot.nvml)
    if not answer.confidential or answer.ready is not False or reading.reached(snapshot):
        return
    code = reading.cuda_code(snapshot)
    yield Complaint(
        Severity.ERROR,
        "Confidential computing is on, and the GPUs' ready state is not set" + (f" ({code})" if code else ""),
        "In this mode a GPU takes no work before it was attested and set ready.",
        (
            Evidence("nvmlSystemGetConfComputeState: CC is on", "NVML"),
            Evidence("nvmlSystemGetConfComputeGpusReadyState: 0", "NVML"),
            *reading.calls(snapshot),
        ),
        "Attest the GPUs, then: sudo nvidia-smi conf-compute -srs 1",
        decisive=code == NOT_READY,
    )


def _manager(snapshot: Snapshot) -> tuple[str, tuple[Evidence, ...]]:
    """What is wrong with the fabric manager, as far as it can be seen from here."""
    service = reading.service(snapshot, "nvidia-fabricmanager")
    if reading.in_container(snapshot) or service is None:
        return "The fabric manager is not running on the host or not of the driver's version.", ()
    if not service.installed:
        return "nvidia-fabricmanager is not installed.", (Evidence("nv-fabricmanager is not there", "/usr/bin"),)
    if not service.running:
        return "nvidia-fabricmanager is installed and not running.", (
            Evidence("no process of its PID file", "/run/nvidia-fabricmanager"),
        )
    known = reading.driver_version(snapshot)
    packages = [
        package
        for package in reading.packages(snapshot, "nvidia-fabricmanager")
        if known and str(known[0]) not in package.version
    ]
    if packages:
        return (
            f"The fabric manager is of another version than the driver ({known[0] if known else ''}); it must be exactly the same.",
            (Evidence(f"{packages[0].name} {packages[0].version}", "package database"),),
        )
    return "The fabric manager is running and has not finished, or its version is not the driver's.", ()


@rule(Layer.KERNEL, follows=("confidential-gpu-not-ready",))
def fabric_not_ready(snapshot: Snapshot) -> Iterator[Complaint]:
    """The NVSwitch fabric is not initialised: cuInit = 802.

    On HGX and DGX machines the GPUs are joined by NVSwitches. cuInit waits for nvidia-fabricmanager of exactly the
    driver's version (or for the partition and the ready state in a confidential virtual machine). On Blackwell it works through nvlsm,
    which needs the kernel module ib_umad.

    Confirm: `systemctl status nvidia-fabricmanager`; `nvidia-smi -q | grep -A3 Fabric`.
    Remedy: install and start the fabric manager of the driver's version.
    Reference: https://docs.nvidia.com/datacenter/tesla/fabric-manager-user-guide/index.html
    """
    if reading.cuda_code(snapshot) != NOT_READY:
        need(snapshot.cuda)
        return
    known = reading.driver_version(snapshot)
    version = str(known[0]) if known else "<the driver's version>"
    devices = snapshot.pci.value if isinstance(snapshot.pci, Seen) else ()
    switches = [device for device in devices if device.kind == "nvswitch"]
    rows = [kernel_log.generation(device.device) for device in devices if device.kind == "gpu"]
    # From Blackwell on the switches are no PCI devices of the machine that could be missing.
    passed = bool(switches) or not isinstance(snapshot.pci, Seen) or any(row and row.open == "must" for row in rows)
    why, shown = _manager(snapshot)
    # Its switches are managed in-band by nvlsm, through InfiniBand's management datagrams.
    in_band = any(row and row.open == "must" for row in rows) and not reading.in_container(snapshot)
    unmanaged = in_band and reading.module_loaded(snapshot, "ib_umad") is False
    release = snapshot.host.kernel.value if isinstance(snapshot.host.kernel, Seen) else "$(uname -r)"
    if unmanaged:
        why = "ib_umad is not loaded, through which the fabric manager of this generation reaches the NVSwitches."
        shown = (Evidence("no ib_umad", "/proc/modules"), *shown)
    states = [
        Evidence(f"GPU {gpu.index}: fabric {FABRIC.get(gpu.fabric, gpu.fabric)}", "NVML")
        for gpu in (snapshot.nvml.value.gpus if isinstance(snapshot.nvml, Seen) else ())
        if gpu.fabric in (1, 2)
    ]
    yield Complaint(
        Severity.ERROR,
        "The NVSwitch fabric is not initialised (802)",
        why
        if passed
        else "No NVSwitch is visible here: the hypervisor did not pass the switches or a partition through.",
        (
            *reading.calls(snapshot),
            Evidence(f"{len(switches)} NVSwitch devices", "/sys/bus/pci/devices"),
            *shown,
            *states[:2],
        ),
        f"sudo modprobe ib_umad (Ubuntu: from linux-modules-extra-{release}) && echo ib_umad | sudo tee /etc/modules-load.d/ib_umad.conf && "
        "sudo systemctl restart nvidia-fabricmanager"
        if unmanaged
        else ("On the host: i" if reading.in_container(snapshot) else "I")
        + f"nstall nvidia-fabricmanager {version} and: sudo systemctl enable --now nvidia-fabricmanager"
        if passed
        else "Pass the NVSwitches or an NVLink partition through to this virtual machine (and run the fabric manager where they are); "
        "in confidential computing also set the ready state: sudo nvidia-smi conf-compute -srs 1",
        decisive=True,
    )
