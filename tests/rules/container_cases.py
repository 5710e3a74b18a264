"""Cases of rules about containers, their engines on a host, device nodes and Kubernetes."""

from __future__ import annotations

from gpucheck.facts import Container, ContainerRuntime, DeviceNode, Kubernetes, Seen, Snapshot, SystemPackage
from gpucheck.finding import Status
from gpucheck.record import replace
from tests.machines import (
    ABSENT,
    DOCKER,
    UNREADABLE,
    answers,
    bare,
    driver_library,
    gpu,
    healthy,
    node,
    nvml_answers,
    with_kernel,
)

FAIL, PASS, UNKNOWN = Status.FAIL, Status.PASS, Status.UNKNOWN

GVISOR = Seen(Container("gvisor", "/proc/version: Linux version 4.4.0 #1 SMP Sun Jan 10 15:06:54 PST 2016"), "/proc")
KATA = Seen(Container("kata", "systemd.unit=kata-containers.target in /proc/cmdline"), "/proc/cmdline")
POD = Seen(Kubernetes(True, "", "default"), "environment")
IN_POD = Seen(Container("kubernetes", "KUBERNETES_SERVICE_HOST is set"), "environment")
UUID = gpu().uuid
TWO = nvml_answers(gpus=(gpu(), gpu(index=1, uuid="GPU-22222222-1111-2222-3333-444455556666")))


def toolkit(**changes: object) -> Snapshot:
    """A host with a GPU, docker and the toolkit."""
    found = ContainerRuntime(
        "/usr/bin/nvidia-ctk",
        "1.18.0",
        ("docker",),
        ("nvidia",),
        (),
        False,
        hook="/usr/bin/nvidia-container-runtime-hook",
    )
    return healthy(runtime=Seen(replace(found, **changes), "/usr/bin/nvidia-ctk"))


def member(**changes: object) -> Snapshot:
    """A node of a cluster with a GPU, containerd and the toolkit."""
    found = Kubernetes(False, "", "", True, ("nvidia-gpu.sock",), ("nvidia.com/gpu",))
    runtime = {name: changes.pop(name) for name in ("handlers", "settings", "cdi", "toolkit") if name in changes}
    engine = {"engines": ("containerd",), "handlers": ("nvidia", "runc"), "settings": ("/etc/containerd/config.toml",)}
    host = toolkit(**{**engine, **runtime})
    return replace(host, kubernetes=Seen(replace(found, **changes), "/var/lib/kubelet"))


def pod(value: str, **changes: object) -> Snapshot:
    """A pod that sees a GPU, with NVIDIA_VISIBLE_DEVICES."""
    return healthy(
        **{"container": IN_POD, "kubernetes": POD, "environment": (("NVIDIA_VISIBLE_DEVICES", value),), **changes}
    )


def nodes(*found: DeviceNode, **changes: object) -> Snapshot:
    """A machine with these nodes on which CUDA finds no GPU."""
    return healthy(**{"nodes": Seen(found, "/dev"), "cuda": answers(("cuInit", 100)), **changes})


OPEN = (node("/dev/nvidiactl"), node("/dev/nvidia-uvm"))
COMPAT = Seen((SystemPackage("cuda-compat-12-9", "575.57.08-1", "installed"),), "/var/lib/dpkg/status")

CASES: list[tuple[str, str, Snapshot, Status]] = [
    ("sandbox-hides-gpu", "gVisor", bare(container=GVISOR, pci=ABSENT), FAIL),
    ("sandbox-hides-gpu", "Kata", bare(container=KATA), FAIL),
    ("sandbox-hides-gpu", "gVisor with nvproxy", healthy(container=GVISOR), PASS),
    ("sandbox-hides-gpu", "docker", healthy(container=DOCKER), PASS),
    ("sandbox-hides-gpu", "not known", healthy(container=UNREADABLE), UNKNOWN),
    (
        "gpu-not-passed-to-container",
        "LXC",
        with_kernel(
            bare(container=Seen(Container("lxc", "container=lxc"), "environment")), driver=healthy().kernel.driver
        ),
        FAIL,
    ),
    (
        "gpu-not-passed-to-container",
        "allotted, and started by another runtime",
        with_kernel(
            bare(container=IN_POD, environment=(("NVIDIA_VISIBLE_DEVICES", UUID),)), driver=healthy().kernel.driver
        ),
        FAIL,
    ),
    (
        "compute-capability-not-granted",
        "graphics alone: no NVML either",
        bare(
            container=DOCKER,
            nodes=Seen((node("/dev/nvidiactl"), node("/dev/nvidia0")), "/dev"),
            environment=(("NVIDIA_DRIVER_CAPABILITIES", "graphics,video"),),
        ),
        FAIL,
    ),
    ("device-without-driver", "a folder of its name", nodes(node("/dev/nvidia-uvm", "not a device")), FAIL),
    (
        "device-refused-by-cgroup",
        "a Slurm job that asked for none",
        nodes(*OPEN, node("/dev/nvidia0", "EPERM"), environment=(("SLURM_JOB_ID", "17"),)),
        FAIL,
    ),
    (
        "device-refused-by-cgroup",
        "a Slurm job with one of two",
        healthy(
            nodes=Seen((*OPEN, node("/dev/nvidia0", "EPERM"), node("/dev/nvidia1")), "/dev"),
            environment=(("SLURM_JOB_ID", "17"),),
        ),
        PASS,
    ),
    (
        "device-refused-by-cgroup",
        "one of two, and something else is wrong",
        nodes(*OPEN, node("/dev/nvidia0", "EPERM"), node("/dev/nvidia1")),
        PASS,
    ),
    ("device-refused-by-cgroup", "a systemd unit", nodes(node("/dev/nvidiactl", "EPERM")), FAIL),
    ("device-refused-by-cgroup", "a pod", nodes(node("/dev/nvidiactl", "EPERM"), container=IN_POD), FAIL),
    ("device-refused-by-cgroup", "nobody needs it", nodes(*OPEN, node("/dev/nvidia-modeset", "EPERM")), PASS),
    (
        "device-permission-denied",
        "rootless podman",
        nodes(
            node("/dev/nvidiactl", "EACCES", mode=0o660, gid=44),
            container=Seen(Container("podman", "/run/.containerenv exists"), "/run/.containerenv"),
        ),
        FAIL,
    ),
    ("device-permission-denied", "a security label", nodes(node("/dev/nvidiactl", "EACCES", mode=0o666)), FAIL),
    ("device-without-driver", "loaded anew", nodes(node("/dev/nvidia-uvm", "ENXIO"), node("/dev/nvidiactl")), FAIL),
    (
        "container-toolkit-missing",
        "Google's node",
        replace(
            toolkit(toolkit="", engines=("containerd",)),
            libcuda_copies=(driver_library(path="/home/kubernetes/bin/nvidia/lib64/libcuda.so.1"),),
        ),
        PASS,
    ),
    (
        "cdi-specification-stale",
        "after an update",
        toolkit(cdi=("/etc/cdi/nvidia.yaml",), cdi_drivers=("570.133.20",)),
        FAIL,
    ),
    (
        "cdi-specification-stale",
        "the service missed it",
        toolkit(cdi=("/run/cdi/nvidia.yaml",), cdi_drivers=("570.133.20",), cdi_refresh=True),
        FAIL,
    ),
    (
        "cdi-specification-stale",
        "of this driver",
        toolkit(cdi=("/etc/cdi/nvidia.yaml",), cdi_drivers=("580.95.05",)),
        PASS,
    ),
    ("cdi-specification-stale", "not readable", healthy(runtime=UNREADABLE), UNKNOWN),
    ("cdi-specification-missing", "podman", toolkit(engines=("podman",)), FAIL),
    ("cdi-specification-missing", "the service wrote none", toolkit(cdi_refresh=True), FAIL),
    ("cdi-specification-missing", "docker does without", toolkit(), PASS),
    ("cdi-specification-missing", "there", toolkit(engines=("podman",), cdi=("/etc/cdi/nvidia.yaml",)), PASS),
    ("cdi-specification-missing", "not readable", healthy(runtime=UNREADABLE), UNKNOWN),
    ("toolkit-older-than-cgroups", "1.7 on version 2", toolkit(library_version="1.7.0", cgroups=2), FAIL),
    ("toolkit-older-than-cgroups", "1.7 on version 1", toolkit(library_version="1.7.0", cgroups=1), PASS),
    ("toolkit-older-than-cgroups", "1.18 on version 2", toolkit(library_version="1.18.0", cgroups=2), PASS),
    ("toolkit-older-than-cgroups", "not readable", healthy(runtime=UNREADABLE), UNKNOWN),
    ("cuda-compat-on-host", "installed", replace(toolkit(), system_packages=COMPAT), FAIL),
    ("cuda-compat-on-host", "no engine to give it on", healthy(system_packages=COMPAT), PASS),
    (
        "cuda-compat-on-host",
        "not installed",
        replace(toolkit(), system_packages=Seen((), "/var/lib/dpkg/status")),
        PASS,
    ),
    ("cuda-compat-on-host", "packages not readable", replace(toolkit(), system_packages=UNREADABLE), UNKNOWN),
    ("cuda-compat-on-host", "not readable", healthy(runtime=UNREADABLE), UNKNOWN),
    ("gpus-not-allotted", "the image asks for all", pod("all"), FAIL),
    ("gpus-not-allotted", "privileged", pod(UUID, nvml=TWO), FAIL),
    ("gpus-not-allotted", "as the device plugin writes it", pod(UUID), PASS),
    (
        "gpus-not-allotted",
        "Google's way",
        pod("all", libcuda_copies=(driver_library(path="/usr/local/nvidia/lib64/libcuda.so.1"),)),
        PASS,
    ),
    (
        "gpus-not-allotted",
        "by CDI",
        pod(
            "all",
            environment=(("NVIDIA_CTK_LIBCUDA_DIR", "/usr/lib"), ("NVIDIA_VISIBLE_DEVICES", "all")),
        ),
        PASS,
    ),
    (
        "gpus-not-allotted",
        "docker run --gpus all",
        healthy(container=DOCKER, environment=(("NVIDIA_VISIBLE_DEVICES", "all"),)),
        PASS,
    ),
    ("gpus-not-allotted", "NVML does not answer", pod("all", nvml=UNREADABLE), UNKNOWN),
    ("runtime-handler-missing", "containerd", member(handlers=("runc",)), FAIL),
    (
        "runtime-handler-missing",
        "k3s",
        member(handlers=("runc",), settings=("/var/lib/rancher/k3s/agent/etc/containerd/config.toml",)),
        FAIL,
    ),
    ("runtime-handler-missing", "there", member(), PASS),
    ("runtime-handler-missing", "CDI needs none", member(handlers=("runc",), cdi=("/run/cdi/nvidia.yaml",)), PASS),
    ("runtime-handler-missing", "no node", toolkit(settings=("/etc/containerd/config.toml",)), PASS),
    ("runtime-handler-missing", "not readable", healthy(kubernetes=UNREADABLE), UNKNOWN),
    ("device-plugin-missing", "none", member(plugins=(), resources=()), FAIL),
    ("device-plugin-missing", "others", member(plugins=("rdma.sock",), resources=("rdma/hca",)), FAIL),
    ("device-plugin-missing", "NVIDIA's", member(), PASS),
    ("device-plugin-missing", "Google's", member(plugins=("nvidiaGPU-1700000000.sock",), resources=()), PASS),
    ("device-plugin-missing", "for user root alone", member(plugins=None, resources=()), PASS),
    ("device-plugin-missing", "not readable", healthy(kubernetes=UNREADABLE), UNKNOWN),
    ("gpu-operator-not-ready", "waits for the driver", member(validations=()), FAIL),
    ("gpu-operator-not-ready", "waits for the toolkit", member(validations=("driver-ready",)), FAIL),
    ("gpu-operator-not-ready", "done", member(validations=("driver-ready", "plugin-ready", "toolkit-ready")), PASS),
    ("gpu-operator-not-ready", "not at work", member(), PASS),
    ("gpu-operator-not-ready", "not readable", healthy(kubernetes=UNREADABLE), UNKNOWN),
]
