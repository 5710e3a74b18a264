"""Device nodes: missing, forbidden by mode, forbidden by cgroup and without a driver are four causes."""

from __future__ import annotations

from collections.abc import Iterator

from gpucheck.facts import DeviceNode, Snapshot
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.rules import reading
from gpucheck.rules.rule import Layer, need, rule

BELOW = (
    "no-gpu",
    "kernel-module-not-built",
    "kernel-module-unsigned",
    "kernel-driver-not-loaded",
    "gpu-not-passed-to-container",
)


def _failing(snapshot: Snapshot, *errors: str) -> list[DeviceNode]:
    return [node for node in need(snapshot.nodes) if node.error in errors]


def _shown(nodes: list[DeviceNode]) -> tuple[Evidence, ...]:
    return tuple(
        Evidence(
            f"open: {node.error}" + (f", mode {node.mode:04o}, owner {node.uid}:{node.gid}" if node.present else ""),
            node.path,
        )
        for node in nodes
    )


@rule(Layer.DEVICES, follows=(*BELOW, "uvm-not-working"))
def device_node_missing(snapshot: Snapshot) -> Iterator[Complaint]:
    """The driver is loaded, but its device nodes do not exist (ENOENT).

    /dev/nvidiactl, /dev/nvidia0 and /dev/nvidia-uvm are made by nvidia-modprobe or udev on the host and given to a
    container by its engine.

    Confirm: `ls -l /dev/nvidia*`.
    Remedy: on the host `sudo nvidia-modprobe -c 0 -u`; in a container, ask the engine for the GPU.
    Reference: https://docs.nvidia.com/datacenter/tesla/driver-installation-guide/index.html#device-node-verification
    """
    if snapshot.host.wsl or reading.module_loaded(snapshot) is not True or reading.reached(snapshot):
        # Reached: the setuid nvidia-modprobe made the nodes when CUDA asked for them, after the look at them.
        need(snapshot.nodes)
        return
    missing = _failing(snapshot, "ENOENT")
    gpus = [node for node in need(snapshot.nodes) if node.present and node.path[len("/dev/nvidia") :].isdigit()]
    absent = [node for node in missing if node.path == "/dev/nvidiactl"]
    if not absent and gpus:
        return
    yield Complaint(
        Severity.ERROR,
        "The device nodes of the driver are missing: " + (absent[0].path if absent else "/dev/nvidia0"),
        "The module is loaded, but nothing made its nodes here.",
        _shown(absent) or (Evidence("no /dev/nvidia0, 1, ...", "/dev"),),
        "docker run --gpus all ... (the engine makes them)"
        if reading.in_container(snapshot)
        else "sudo nvidia-modprobe -c 0 -u",
    )


@rule(Layer.DEVICES, follows=BELOW)
def device_permission_denied(snapshot: Snapshot) -> Iterator[Complaint]:
    """The user may not open the device nodes (EACCES): their mode, group or security label forbids it.

    Some distributions make the nodes 0660 for a group (video, render); rootless engines drop supplementary groups;
    SELinux can refuse as well.

    Confirm: `ls -lZ /dev/nvidia*`, `id`.
    Remedy: join the group, `--group-add keep-groups` with rootless podman, or NVreg_DeviceFileMode=0666.
    Reference: https://github.com/NVIDIA/nvidia-container-toolkit/issues/210
    """
    denied = _failing(snapshot, "EACCES")
    if not denied:
        return
    first = denied[0]
    lacks = first.gid not in snapshot.host.groups and not first.mode & 0o006
    yield Complaint(
        Severity.ERROR,
        f"This user may not open {first.path} (EACCES)",
        f"It belongs to group {first.gid} with mode {first.mode:04o}, and this user is not in that group."
        if lacks
        else "Its mode, or a security label (SELinux, AppArmor), forbids it.",
        _shown(denied),
        (
            f"sudo usermod -aG {first.gid} $USER and log in again; rootless podman: --group-add keep-groups; "
            if lacks
            else ""
        )
        + "SELinux: --security-opt label=disable",
    )


@rule(Layer.DEVICES, follows=BELOW)
def device_refused_by_cgroup(snapshot: Snapshot) -> Iterator[Complaint]:
    """The device cgroup of this container refuses the nodes (EPERM), though their mode allows it.

    The node was made in or mounted into the container without a device rule, or the rules were rewritten: `systemctl
    daemon-reload` does that when the engine uses the systemd cgroup driver and /dev/char links are missing; `no-cgroups =
    true` in the toolkit's configuration never adds them.

    Confirm: the same open works on the host; cgroup v1: `cat /sys/fs/cgroup/devices/devices.list` has no "c 195:* rw".
    Remedy: create the container again with the GPU asked for (`--gpus all`, CDI); on the host `sudo nvidia-ctk system
    create-dev-char-symlinks --create-all`.
    Reference: https://github.com/NVIDIA/nvidia-container-toolkit/issues/48
    """
    refused = _failing(snapshot, "EPERM")
    if not refused:
        return
    yield Complaint(
        Severity.ERROR,
        f"The device cgroup refuses {refused[0].path} (EPERM)",
        "The node is in this container, but no device rule allows it: it was never given, or systemd rewrote the rules.",
        _shown(refused),
        "Create the container again with docker run --gpus all (or CDI: --device nvidia.com/gpu=all). To keep it after "
        "systemctl daemon-reload, on the host: sudo nvidia-ctk system create-dev-char-symlinks --create-all; and set "
        "no-cgroups = false in /etc/nvidia-container-runtime/config.toml",
    )


@rule(Layer.DEVICES, follows=BELOW)
def device_without_driver(snapshot: Snapshot) -> Iterator[Complaint]:
    """The device nodes exist, but no driver stands behind them (ENXIO, ENODEV).

    The node was made by hand or is left over; the module that registers its number is not loaded, or drives no GPU.

    Confirm: `grep nvidia /proc/devices` prints nothing.
    Remedy: load the driver on the host (`sudo modprobe nvidia`); the node itself is not the problem.
    Reference: open(2), ENXIO
    """
    dead = _failing(snapshot, "ENXIO", "ENODEV")
    if not dead:
        return
    yield Complaint(
        Severity.ERROR,
        f"{dead[0].path} exists, but no driver stands behind it ({dead[0].error})",
        "The kernel module that serves this node is not loaded on the host.",
        _shown(dead),
        "On the host: sudo modprobe nvidia, and read: sudo dmesg | tail",
    )
