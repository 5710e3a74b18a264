"""What the container engine gave to this container."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpucheck.facts import Seen, Snapshot
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.rules import reading
from gpucheck.rules.rule import Layer, need, rule, seen


@rule(Layer.CONTAINER, follows=("no-gpu", "kernel-driver-not-loaded"))
def gpu_not_passed_to_container(snapshot: Snapshot) -> Iterator[Complaint]:
    """The host has a working driver, but this container was started without a GPU.

    A container sees no device that its engine does not give it. The kernel driver shows through /proc, the device
    nodes and the driver's libraries do not.

    Confirm: `cat /proc/driver/nvidia/version` works and `ls /dev/nvidia*` does not.
    Remedy: `docker run --gpus all`, `podman run --device nvidia.com/gpu=all`, or `nvidia.com/gpu: 1` under the container's
    limits in Kubernetes.
    Reference: https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html
    """
    container = seen(snapshot.container, None)
    if container is None:
        return
    nodes = need(snapshot.nodes)
    # A lone /dev/nvidiactl is no GPU: libcuda makes it itself when it runs as root.
    given = any(node.present and re.fullmatch(r"/dev/(nvidia\d+|dxg)", node.path) for node in nodes)
    if reading.module_loaded(snapshot) is not True or given:
        return
    asked = snapshot.variable("NVIDIA_VISIBLE_DEVICES")
    hidden = asked in ("", "void", "none")
    remedy = {
        "kubernetes": "Ask for one under the container's resources: limits: {nvidia.com/gpu: 1}",
        "podman": "podman run --device nvidia.com/gpu=all ...",
        "singularity": "singularity exec --nv ...",
    }.get(container.kind, "docker run --gpus all ...")
    yield Complaint(
        Severity.ERROR,
        "The host has an NVIDIA driver, but this container was given no GPU",
        f"NVIDIA_VISIBLE_DEVICES={asked!r} asks for none."
        if hidden
        else "It was started without asking for one, or the engine is not configured for the NVIDIA container toolkit.",
        (
            Evidence(f"driver {snapshot.kernel.driver.value.version} on the host", snapshot.kernel.driver.source)
            if isinstance(snapshot.kernel.driver, Seen)
            else Evidence("nvidia is loaded", "/proc/modules"),
            Evidence("no /dev/nvidia0, 1, ...", "/dev"),
            Evidence(container.evidence, "container"),
        ),
        ("Unset NVIDIA_VISIBLE_DEVICES or set it to all. " if hidden else "") + remedy,
    )


@rule(Layer.CONTAINER, follows=("gpu-not-passed-to-container",))
def compute_capability_not_granted(snapshot: Snapshot) -> Iterator[Complaint]:
    """The container got NVML but not libcuda: it asked for the utility capability only.

    The container toolkit mounts the driver's libraries by capability: `utility` brings nvidia-smi and NVML, `compute`
    brings libcuda. So nvidia-smi works and CUDA does not.

    Confirm: `ls /usr/lib/*/libnvidia-ml.so.1` works, `ls /usr/lib/*/libcuda.so.1` does not.
    Remedy: NVIDIA_DRIVER_CAPABILITIES=compute,utility; in compose: `capabilities: [gpu]`.
    Reference: https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html#driver-capabilities
    """
    if not reading.in_container(snapshot):
        return
    if not snapshot.nvml_copies or snapshot.libcuda_copies:
        return
    granted = snapshot.variable("NVIDIA_DRIVER_CAPABILITIES")
    yield Complaint(
        Severity.ERROR,
        "This container was given NVML but not libcuda: the compute capability is missing",
        f"NVIDIA_DRIVER_CAPABILITIES={granted} does not name compute."
        if granted is not None
        else "The request for GPUs names capabilities without compute.",
        (
            Evidence("libnvidia-ml.so.1 is here", snapshot.nvml_copies[0].path),
            Evidence("libcuda.so.1 is nowhere", "all known places"),
            *([Evidence(f"NVIDIA_DRIVER_CAPABILITIES={granted}", "environment")] if granted is not None else []),
        ),
        "Set NVIDIA_DRIVER_CAPABILITIES=compute,utility (compose: capabilities: [gpu]) and create the container again",
    )
