"""What the container engine gave to this container."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpucheck.facts import Seen, Snapshot
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.rules import reading
from gpucheck.rules.rule import Layer, need, rule, seen

GIVEN = r"/dev/(nvidia\d+|dxg)"


@rule(Layer.CONTAINER)
def sandbox_hides_gpu(snapshot: Snapshot) -> Iterator[Complaint]:
    """This runs in a sandbox with a kernel of its own (gVisor, Kata), which was given no GPU.

    gVisor answers system calls itself and passes NVIDIA's devices on only with nvproxy; a Kata container is a virtual
    machine, into which a GPU must be passed through.

    Confirm: `cat /proc/version`; `ls /dev/nvidia*`.
    Remedy: gVisor: `runsc --nvproxy` and ask for the GPU; Kata: its runtime class for GPUs; or an ordinary runtime.
    Reference: https://gvisor.dev/docs/user_guide/gpu/
    """
    container = seen(snapshot.container, None)
    if container is None or container.kind not in ("gvisor", "kata"):
        return
    if reading.reached(snapshot):
        return
    nodes = snapshot.nodes.value if isinstance(snapshot.nodes, Seen) else ()
    if any(node.present and re.fullmatch(GIVEN, node.path) for node in nodes):
        return
    yield Complaint(
        reading.absence(snapshot),
        f"This is a sandbox of {'gVisor' if container.kind == 'gvisor' else 'Kata Containers'}, and no GPU was passed into it",
        "It has a kernel of its own, which sees the host's GPU only when it is told to.",
        (Evidence(container.evidence, "/proc"), Evidence("no /dev/nvidia0, 1, ...", "/dev")),
        "Start runsc with --nvproxy and ask for the GPU (Kubernetes: nvidia.com/gpu: 1; GKE Sandbox supports it on GPU node pools)"
        if container.kind == "gvisor"
        else "Use Kata's runtime class for GPUs (kata-qemu-nvidia-gpu) on a node whose GPU is bound to vfio-pci, or an ordinary runtime",
    )


@rule(Layer.CONTAINER, follows=("no-gpu", "kernel-driver-not-loaded", "sandbox-hides-gpu"))
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
    given = any(node.present and re.fullmatch(GIVEN, node.path) for node in nodes)
    # On a Jetson the driver is nvgpu, a part of its kernel, and the nodes have names of their own.
    jetson = isinstance(snapshot.host.tegra, Seen) and reading.module_loaded(snapshot, "nvgpu") is True
    jetson = jetson and not any(
        reading.node(snapshot, path) for path in ("/dev/nvhost-gpu", "/dev/nvmap", "/dev/nvidiactl")
    )
    if (reading.module_loaded(snapshot) is not True and not jetson) or given or reading.reached(snapshot):
        return
    asked = snapshot.variable("NVIDIA_VISIBLE_DEVICES")
    hidden = asked in ("", "void", "none")
    # A device plugin writes UUIDs (or indexes), which the nvidia runtime turns into devices; another runtime passes them over.
    allotted = bool(asked and re.fullmatch(r"((GPU|MIG)-[0-9a-fA-F-]+|\d+)(,((GPU|MIG)-[0-9a-fA-F-]+|\d+))*", asked))
    remedy = {
        "kubernetes": "Ask for one under the container's resources: limits: {nvidia.com/gpu: 1}",
        "podman": "podman run --device nvidia.com/gpu=all ...",
        "singularity": "singularity exec --nv ... (apptainer exec --nv ...)",
        "lxc": "In the container's configuration on the host: lxc.mount.entry = /dev/nvidia0 dev/nvidia0 none bind,optional,create=file "
        "(and nvidiactl, nvidia-uvm) with lxc.cgroup2.devices.allow = c 195:* rwm; LXD, Incus: lxc config device add NAME gpu gpu, "
        "nvidia.runtime=true",
        "systemd-nspawn": "systemd-nspawn --bind=/dev/nvidia0 --bind=/dev/nvidiactl --bind=/dev/nvidia-uvm with DeviceAllow= for them",
    }.get(container.kind, "docker run --gpus all ...")
    if jetson and isinstance(snapshot.host.tegra, Seen):
        yield Complaint(
            Severity.ERROR,
            f"This is a container on a Jetson ({snapshot.host.tegra.value}) that was given no GPU",
            "The NVIDIA runtime mounts the driver's files and nodes of a Jetson; --gpus alone and other runtimes do not.",
            (
                Evidence("nvgpu is loaded", "/proc/modules"),
                Evidence("no /dev/nvhost-gpu, /dev/nvmap", "/dev"),
                Evidence(container.evidence, "container"),
            ),
            "docker run --runtime nvidia ... (docker compose: runtime: nvidia)",
        )
        return
    yield Complaint(
        Severity.ERROR,
        "The host has an NVIDIA driver, but this container was given no GPU",
        f"NVIDIA_VISIBLE_DEVICES={asked!r} asks for none."
        if hidden
        else f"NVIDIA_VISIBLE_DEVICES={asked} names a GPU, but the container was not started by the NVIDIA runtime, which reads it."
        if allotted
        else "It was started without asking for one, or the engine is not configured for the NVIDIA container toolkit.",
        (
            Evidence(f"driver {snapshot.kernel.driver.value.version} on the host", snapshot.kernel.driver.source)
            if isinstance(snapshot.kernel.driver, Seen)
            else Evidence("nvidia is loaded", "/proc/modules"),
            Evidence("no /dev/nvidia0, 1, ...", "/dev"),
            Evidence(container.evidence, "container"),
        ),
        "Set runtimeClassName: nvidia in the pod's spec, or make nvidia the default runtime of the node's engine: "
        "sudo nvidia-ctk runtime configure --runtime=containerd --set-as-default"
        if allotted and container.kind == "kubernetes"
        else "docker run --gpus all ... (or --runtime=nvidia with NVIDIA_VISIBLE_DEVICES)"
        if allotted
        else ("Unset NVIDIA_VISIBLE_DEVICES or set it to all. " if hidden else "") + remedy,
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
    granted = snapshot.variable("NVIDIA_DRIVER_CAPABILITIES")
    # With graphics or video alone there is no NVML either.
    other = bool(granted) and not {"compute", "all"} & set((granted or "").replace(" ", "").split(","))
    nodes = reading.node(snapshot, "/dev/nvidiactl") is not None
    if snapshot.libcuda_copies or not (snapshot.nvml_copies or (other and nodes)):
        return
    yield Complaint(
        Severity.ERROR,
        f"This container was given {'NVML' if snapshot.nvml_copies else 'the GPU'} but not libcuda: the compute capability is missing",
        f"NVIDIA_DRIVER_CAPABILITIES={granted} does not name compute."
        if granted is not None
        else "The request for GPUs names capabilities without compute.",
        (
            *(Evidence("libnvidia-ml.so.1 is here", copy.path) for copy in snapshot.nvml_copies[:1]),
            Evidence("libcuda.so.1 is nowhere", "all known places"),
            *([Evidence(f"NVIDIA_DRIVER_CAPABILITIES={granted}", "environment")] if granted is not None else []),
        ),
        "Set NVIDIA_DRIVER_CAPABILITIES=compute,utility (compose: capabilities: [gpu]) and create the container again",
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
