"""Kubernetes, from inside a pod and from a node's files. What only the cluster knows is not claimed."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpucheck.facts import Kubernetes, Seen, Snapshot
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.rules import reading
from gpucheck.rules.causes import NOT_LOADED
from gpucheck.rules.rule import Layer, need, rule, seen


@rule(Layer.CONTAINER)
def gpus_not_allotted(snapshot: Snapshot) -> Iterator[Complaint]:
    """This container sees GPUs that were not allotted to it.

    NVIDIA_VISIBLE_DEVICES=all, from a CUDA image or the pod's manifest, gives every GPU to a pod that asked for none or
    for one, where the NVIDIA runtime is the default and believes the variable. A device plugin that allots GPUs that way writes their
    UUIDs there. A privileged container sees all nodes, whatever the variable says. Such a process works on GPUs that the
    scheduler gives to others too.

    Confirm: `echo $NVIDIA_VISIBLE_DEVICES`; `nvidia-smi -L | wc -l` against the limit of nvidia.com/gpu.
    Remedy: ask for nvidia.com/gpu under the limits and do not set the variable in the manifest (NVIDIA_VISIBLE_DEVICES=void
    for pods without GPU); on the node accept-nvidia-visible-devices-envvar-when-unprivileged = false.
    Reference: https://github.com/NVIDIA/k8s-device-plugin/issues/61, https://github.com/NVIDIA/k8s-device-plugin/issues/1294
    """
    cluster: Kubernetes | None = seen(snapshot.kubernetes, None)
    asked = snapshot.variable("NVIDIA_VISIBLE_DEVICES") or ""
    if not reading.in_container(snapshot) or not asked:
        return
    gpus = need(snapshot.nvml).gpus
    named = [part for part in asked.split(",") if re.fullmatch(r"GPU-[0-9a-fA-F-]{36}", part.strip())]
    if named and len(named) == len(asked.split(",")) and len(gpus) > len(named):
        yield Complaint(
            Severity.WARNING,
            f"This container was given {len(named)} GPU{'s' if len(named) > 1 else ''} and sees {len(gpus)}",
            "It is privileged or has more device nodes than it was allotted, so it can disturb work on the others.",
            (
                Evidence(f"NVIDIA_VISIBLE_DEVICES names {len(named)}", "environment"),
                Evidence(f"{len(gpus)} GPUs", "NVML"),
            ),
            f"Run it unprivileged, or: export CUDA_VISIBLE_DEVICES={','.join(part.strip() for part in named)}",
        )
    # GKE's plugin mounts the devices itself, and CDI gives them by annotation: there the image's "all" stays and means nothing.
    other_way = snapshot.variable("NVIDIA_CTK_LIBCUDA_DIR") or any(
        copy.path.startswith("/usr/local/nvidia/") for copy in snapshot.libcuda_copies
    )
    indexes = re.fullmatch(r"\d+(,\d+)+", asked) is not None
    if cluster is None or not cluster.in_pod or not (asked == "all" or indexes) or not gpus or other_way:
        return
    yield Complaint(
        Severity.WARNING,
        f"This pod sees {len(gpus)} GPU{'s' if len(gpus) > 1 else ''} that Kubernetes did not allot to it",
        f"NVIDIA_VISIBLE_DEVICES={asked} comes from the image or the manifest; a device plugin that allots GPUs by it writes UUIDs there.",
        (Evidence(f"NVIDIA_VISIBLE_DEVICES={asked}", "environment"), Evidence(f"{len(gpus)} GPUs", "NVML")),
        "Remove NVIDIA_VISIBLE_DEVICES from the manifest, or a device plugin with DEVICE_LIST_STRATEGY=volume-mounts or CDI, which do not read it"
        if indexes
        else "Ask for nvidia.com/gpu: 1 under the container's limits and set no NVIDIA_VISIBLE_DEVICES in the manifest; a pod that "
        "needs none: NVIDIA_VISIBLE_DEVICES=void",
    )


def _node(snapshot: Snapshot) -> Kubernetes | None:
    """A node with an NVIDIA GPU that its driver lists or that is on its bus; None elsewhere."""
    found = seen(snapshot.kubernetes, None)
    if found is None or not found.kubelet or reading.in_container(snapshot) or not reading.gpu_here(snapshot):
        return None
    return found


@rule(Layer.CONTAINER, follows=("container-toolkit-missing",))
def runtime_handler_missing(snapshot: Snapshot) -> Iterator[Complaint]:
    """The node's engine has no runtime named nvidia: pods of the RuntimeClass nvidia do not start there.

    The RuntimeClass only names a handler; containerd or CRI-O must have a runtime of that name. k3s, RKE2 and MicroK8s
    write their settings themselves, and add it when they find nvidia-container-runtime at their start.

    Confirm: the pod's event says 'no runtime for "nvidia" is configured'; `containerd config dump | grep nvidia`.
    Remedy: `sudo nvidia-ctk runtime configure --runtime=containerd` and restart it; k3s: restart k3s after the toolkit was
    installed.
    Reference: https://github.com/NVIDIA/k8s-device-plugin/issues/479
    """
    node = _node(snapshot)
    found = seen(snapshot.runtime, None)
    if found and any("rancher" in path or "microk8s" in path for path in found.settings):
        # Such settings are there for Kubernetes alone.
        node = node or Kubernetes(False, "", "", True)
    # With CDI specifications a device plugin needs no runtime of that name.
    if (
        node is None
        or reading.in_container(snapshot)
        or not reading.gpu_here(snapshot)
        or found is None
        or not found.settings
        or "nvidia" in found.handlers
        or found.cdi
        or not found.toolkit
    ):
        return
    k3s = any("rancher" in path for path in found.settings)
    yield Complaint(
        Severity.WARNING,
        "The node's container engine has no runtime (handler) named nvidia",
        "Pods with runtimeClassName: nvidia do not start here, and the device plugin finds no driver."
        + (
            " There is one under io.containerd.grpc.v1.cri, where containerd does not look in a file of version = 3."
            if "nvidia" in found.misplaced
            else ""
        ),
        tuple(Evidence(f"runtimes: {', '.join(found.handlers) or 'none named'}", path) for path in found.settings[:2]),
        "sudo systemctl restart k3s (it looks for nvidia-container-runtime when it starts), then: grep nvidia "
        + found.settings[0]
        if k3s
        else f"Move it to plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.nvidia in {found.settings[0]}, or: "
        "sudo nvidia-ctk runtime configure --runtime=containerd; then: sudo systemctl restart containerd"
        if "nvidia" in found.misplaced
        else "sudo nvidia-ctk runtime configure --runtime=containerd && sudo systemctl restart containerd (CRI-O: --runtime=crio)",
    )


@rule(Layer.CONTAINER, follows=("container-toolkit-missing", "runtime-handler-missing", *NOT_LOADED))
def device_plugin_missing(snapshot: Snapshot) -> Iterator[Complaint]:
    """The node has a GPU, and no NVIDIA device plugin is registered with its kubelet: pods cannot ask for it.

    The device plugin tells the kubelet of nvidia.com/gpu. Without it, or where it finds no driver, the node advertises none and
    pods stay pending with "Insufficient nvidia.com/gpu".

    Confirm: `kubectl get node NODE -o jsonpath='{.status.allocatable}'`; `ls /var/lib/kubelet/device-plugins`.
    Remedy: deploy the device plugin or the GPU Operator, and read the plugin's log on this node.
    Reference: https://github.com/NVIDIA/k8s-device-plugin
    """
    node = _node(snapshot)
    if node is None or node.plugins is None:
        return
    if any("nvidia" in name.lower() for name in (*node.plugins, *node.resources)):
        return
    # The plugin's pod is a container like others: with runc it gets no driver (k8s-device-plugin#23). Other engines have handlers.
    engines = snapshot.runtime.value if isinstance(snapshot.runtime, Seen) else None
    runc = (
        engines is not None
        and "nvidia" in engines.docker_runtimes
        and engines.docker_default != "nvidia"
        and not engines.settings
    )
    yield Complaint(
        Severity.WARNING,
        "The kubelet of this node knows no NVIDIA device plugin: pods cannot ask for nvidia.com/gpu",
        "The plugin does not run here, or ended because it found no driver"
        + (": Docker knows the runtime nvidia, and starts pods with runc." if runc else "."),
        (
            Evidence(f"plugins: {', '.join(node.plugins) or 'none'}", "/var/lib/kubelet/device-plugins"),
            *(
                [Evidence(f'"default-runtime" is {engines.docker_default or "not set"}', "/etc/docker/daemon.json")]
                if engines and runc
                else []
            ),
        ),
        "Where pods run in Docker: sudo nvidia-ctk runtime configure --runtime=docker --set-as-default && sudo systemctl restart docker; "
        "then look at the plugin's log: kubectl -n kube-system logs -l name=nvidia-device-plugin-ds"
        if runc
        else "Deploy the NVIDIA device plugin (or the GPU Operator) so that it tolerates this node's taints, then: "
        "kubectl -n kube-system logs -l name=nvidia-device-plugin-ds",
    )


@rule(Layer.CONTAINER, follows=NOT_LOADED)
def gpu_operator_not_ready(snapshot: Snapshot) -> Iterator[Complaint]:
    """The GPU Operator is at work on this node and has not found the driver or the toolkit ready.

    Its validator writes driver-ready and toolkit-ready to /run/nvidia/validations; the device plugin and everything else wait for
    them.

    Confirm: `ls /run/nvidia/validations`; `kubectl -n gpu-operator get pods --field-selector spec.nodeName=NODE`.
    Remedy: read the log of the driver's and the validator's pods on this node.
    Reference: https://docs.nvidia.com/datacenter/cloud-native/gpu-operator/latest/troubleshooting.html
    """
    node = _node(snapshot)
    if node is None or node.validations is None:
        return
    missing = [name for name in ("driver-ready", "toolkit-ready") if name not in node.validations]
    if not missing:
        return
    yield Complaint(
        Severity.WARNING,
        f"The GPU Operator has not finished on this node: {' and '.join(missing)} missing",
        "The device plugin waits for it, so pods get no GPU here.",
        (Evidence(f"there: {', '.join(node.validations) or 'nothing'}", "/run/nvidia/validations"),),
        "kubectl -n gpu-operator get pods -o wide, then read the logs of nvidia-driver-daemonset and nvidia-operator-validator of this node",
    )
