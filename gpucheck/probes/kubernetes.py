"""What a pod or a node shows of its cluster."""

from __future__ import annotations

from typing import Final

from gpucheck.facts import Kubernetes, Seen, Unseen, Why
from gpucheck.probes.text import read_text
from gpucheck.system import System

ACCOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
#: The kubelet's own folder, and those of distributions that move it.
KUBELETS: Final = ("/var/lib/kubelet", "/var/lib/k0s/kubelet", "/var/snap/microk8s/common/var/lib/kubelet")
VALIDATIONS: Final = "/run/nvidia/validations"


def kubernetes(system: System) -> Seen[Kubernetes] | Unseen:
    """A pod knows its service environment and its account; a node has the kubelet's folder."""
    namespace = read_text(system, f"{ACCOUNT}/namespace")
    in_pod = "KUBERNETES_SERVICE_HOST" in system.env
    folder = next((path for path in KUBELETS if system.resolve(f"{path}/device-plugins")), "")
    kubelet = bool(folder) and not in_pod
    validations = validated(system)
    if not in_pod and not kubelet and not isinstance(namespace, Seen) and validations is None:
        return Unseen(Why.ABSENT, ("KUBERNETES_SERVICE_HOST", ACCOUNT, *KUBELETS))
    name = namespace.value.strip() if isinstance(namespace, Seen) else ""
    plugins = sockets(system, f"{folder}/device-plugins") if kubelet else None
    resources = registered(system, f"{folder}/device-plugins") if kubelet else ()
    return Seen(
        Kubernetes(in_pod, system.env.get("NODE_NAME", ""), name, kubelet, plugins, resources, validations),
        folder or "environment",
    )


def sockets(system: System, folder: str) -> tuple[str, ...] | None:
    """The sockets of device plugins; NVIDIA's is nvidia-gpu.sock (nvidia-mig-1g.10gb.sock), GKE's nvidiaGPU-TIME.sock."""
    try:
        names = system.names(folder)
    except OSError:
        return None
    plugins = [name for name in names if name.endswith(".sock") and name != "kubelet.sock"]
    # Drivers of dynamic resource allocation register beside: plugins/gpu.nvidia.com.
    drivers = [path.rsplit("/", 1)[-1] for path in system.glob(f"{folder.rsplit('/', 1)[0]}/plugins/*nvidia*")]
    return tuple(sorted((*plugins, *drivers)))


def registered(system: System, folder: str) -> tuple[str, ...]:
    """The resources in the kubelet's checkpoint, which root may read: ``{"Data": {"RegisteredDevices": {"nvidia.com/gpu": [...]}}}``.

    Source: https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/cm/devicemanager/checkpoint/checkpoint.go
    """
    text = read_text(system, f"{folder}/kubelet_internal_checkpoint", 8 << 20)
    if isinstance(text, Unseen):
        return ()
    import json

    try:
        devices = json.loads(text.value)["Data"]["RegisteredDevices"]
    except (ValueError, KeyError, TypeError):
        return ()
    return tuple(sorted(name for name, ids in devices.items() if ids)) if isinstance(devices, dict) else ()


def validated(system: System) -> tuple[str, ...] | None:
    """What the GPU Operator's validator says is ready: it writes ``driver-ready``, ``toolkit-ready``, ``plugin-ready``, ...

    Source: https://github.com/NVIDIA/gpu-operator/blob/main/cmd/nvidia-validator/main.go
    """
    try:
        return tuple(name for name in system.names(VALIDATIONS) if name.endswith("-ready"))
    except OSError:
        return None
