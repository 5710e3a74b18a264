"""What the container engine gave to this container."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpucheck.facts import ContainerRuntime, Seen, Snapshot
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


def _engines(snapshot: Snapshot) -> ContainerRuntime | None:
    """The engines of a host that has a GPU; None elsewhere. Raises ``CannotTell`` when they could not be looked at."""
    if reading.in_container(snapshot) or not reading.gpu_here(snapshot) or snapshot.host.wsl:
        return None
    return seen(snapshot.runtime, None)


@rule(Layer.CONTAINER)
def container_toolkit_missing(snapshot: Snapshot) -> Iterator[Complaint]:
    """The host has a GPU and a container engine, but not the NVIDIA container toolkit.

    The toolkit gives containers the device nodes and the driver's libraries. Without it `docker run --gpus all` says
    "could not select device driver with capabilities: [[gpu]]".

    Confirm: `which nvidia-ctk nvidia-container-runtime`.
    Remedy: install nvidia-container-toolkit, `sudo nvidia-ctk runtime configure --runtime=docker`, restart the engine.
    Reference: https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html
    """
    found = _engines(snapshot)
    if found is None or not found.engines or found.toolkit:
        return
    yield Complaint(
        Severity.WARNING,
        f"Containers of {', '.join(found.engines)} cannot get the GPU: the NVIDIA container toolkit is not installed",
        "Code on the host itself is not affected.",
        (Evidence("no nvidia-ctk, nvidia-container-runtime or its hook", "/usr/bin"),),
        "Install nvidia-container-toolkit, then: sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker",
    )


@rule(Layer.CONTAINER)
def docker_from_snap(snapshot: Snapshot) -> Iterator[Complaint]:
    """Docker is installed as a snap, whose confinement hides the NVIDIA container toolkit from it.

    The snap's dockerd does not see the host's /usr/bin/nvidia-container-*, so it refuses --gpus although the toolkit is
    installed.

    Confirm: `snap list docker`; `readlink -f $(which docker)`.
    Remedy: `sudo snap remove docker` and install docker-ce or docker.io.
    Reference: https://github.com/NVIDIA/nvidia-docker/issues/1637
    """
    found = _engines(snapshot)
    if found is None or "docker (snap)" not in found.engines or "docker" in found.engines:
        return
    yield Complaint(
        Severity.WARNING,
        "Docker is a snap, which cannot see the NVIDIA container toolkit",
        "A snap sees only its own files, so its containers get no GPU.",
        (Evidence("docker is installed as a snap", "/snap/bin/docker"),),
        "sudo snap remove docker, then install docker-ce: https://docs.docker.com/engine/install/",
    )


@rule(Layer.CONTAINER)
def cgroup_rules_not_added(snapshot: Snapshot) -> Iterator[Complaint]:
    """The container toolkit is told not to add device rules: rootful containers are refused with EPERM.

    `no-cgroups = true` is for rootless engines, which may not change cgroups. Left over with a rootful engine, the nodes
    are in the container and every open of them fails: "Failed to initialize NVML: Unknown Error".

    Confirm: `grep no-cgroups /etc/nvidia-container-runtime/config.toml`.
    Remedy: `sudo nvidia-ctk config --set nvidia-container-cli.no-cgroups=false --in-place`.
    Reference: https://github.com/NVIDIA/nvidia-container-toolkit/issues/580
    """
    found = _engines(snapshot)
    if found is None or not found.no_cgroups or not {"docker", "containerd"} & set(found.engines):
        return
    yield Complaint(
        Severity.WARNING,
        "The NVIDIA container toolkit adds no device rules: containers of a rootful engine may not open the GPU",
        "no-cgroups = true is meant for rootless engines.",
        (Evidence("no-cgroups = true", "/etc/nvidia-container-runtime/config.toml"),),
        "sudo nvidia-ctk config --set nvidia-container-cli.no-cgroups=false --in-place (unless the engine is rootless)",
    )


@rule(Layer.CONTAINER)
def shared_memory_small(snapshot: Snapshot) -> Iterator[Complaint]:
    """/dev/shm of this container is too small for several GPUs: NCCL fails with "No space left on device".

    Docker gives a container 64 MiB. NCCL exchanges data between the processes of one machine through /dev/shm, and so do
    PyTorch's data loaders.

    Confirm: `df -h /dev/shm`.
    Remedy: `docker run --shm-size=8g` or `--ipc=host`; Kubernetes: an emptyDir of medium Memory mounted at /dev/shm.
    Reference: https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/troubleshooting.html#shared-memory
    """
    if not reading.in_container(snapshot) or len(reading.answering_gpus(snapshot)) < 2:
        return
    size = seen(snapshot.shared_memory, None)
    if size is None or size > 64 << 20:
        return
    yield Complaint(
        Severity.WARNING,
        f"/dev/shm holds {size >> 20} MiB: too little for NCCL between {len(reading.answering_gpus(snapshot))} GPUs",
        "64 MiB is the engine's default for a container.",
        (Evidence(f"/dev/shm is limited to {size >> 20} MiB", "/proc/mounts"),),
        "Kubernetes: mount an emptyDir with medium: Memory at /dev/shm"
        if isinstance(snapshot.container, Seen) and snapshot.container.value.kind == "kubernetes"
        else "docker run --shm-size=8g ... (or --ipc=host)",
    )
