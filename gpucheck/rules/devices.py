"""Device nodes: missing, forbidden by mode, forbidden by cgroup and without a driver are four causes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpucheck.facts import DeviceNode, Seen, Snapshot
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.rules import reading
from gpucheck.rules.causes import BELOW, NOT_DRIVEN
from gpucheck.rules.rule import Layer, need, rule


def _failing(snapshot: Snapshot, *errors: str) -> list[DeviceNode]:
    """Nodes that CUDA cannot do without and whose opening fails so.

    A job or a container may be given some of the machine's GPUs: nodes of others, refused, are what was asked for. So
    one of the common nodes must fail, or every GPU's; and nothing is wrong where CUDA reached a GPU.
    """
    nodes: tuple[DeviceNode, ...] = need(snapshot.nodes)
    made = reading.contexts(snapshot)
    if reading.reached(snapshot) and (not made or 0 in made.values()):
        return []
    common = [node for node in nodes if not re.fullmatch(r"/dev/nvidia(\d+|-modeset|-nvswitch.*)", node.path)]
    gpus = [node for node in nodes if re.fullmatch(r"/dev/nvidia\d+", node.path)]
    refused = [node for node in gpus if node.error in errors]
    found = [node for node in common if node.error in errors]
    return [*found, *refused] if found or len(refused) == len(gpus) else []


def _shown(nodes: list[DeviceNode]) -> tuple[Evidence, ...]:
    return tuple(
        Evidence(
            f"open: {node.error}" + (f", mode {node.mode:04o}, owner {node.uid}:{node.gid}" if node.present else ""),
            node.path,
        )
        for node in nodes
    )


def _kind(snapshot: Snapshot) -> str:
    return snapshot.container.value.kind if isinstance(snapshot.container, Seen) else ""


@rule(Layer.DEVICES, follows=(*BELOW, *NOT_DRIVEN, "uvm-module-missing", "uvm-not-working"))
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
    nodes: tuple[DeviceNode, ...] = need(snapshot.nodes)
    gpus = [node for node in nodes if node.present and node.path[len("/dev/nvidia") :].isdigit()]
    absent = [node for node in nodes if node.error == "ENOENT" and node.path == "/dev/nvidiactl"]
    if not absent and gpus:
        return
    yield Complaint(
        Severity.ERROR,
        "The device nodes of the driver are missing: " + (absent[0].path if absent else "/dev/nvidia0"),
        "The module is loaded, but nothing made its nodes here, or a sandbox (a systemd service with PrivateDevices=yes) hides them.",
        _shown(absent) or (Evidence("no /dev/nvidia0, 1, ...", "/dev"),),
        "docker run --gpus all ... (the engine makes them)"
        if reading.in_container(snapshot)
        else "sudo nvidia-modprobe -c 0 -u (where it is not installed: sudo apt install nvidia-modprobe, or run nvidia-smi as root once); in a systemd service: PrivateDevices=no",
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
    inside = reading.in_container(snapshot)
    yield Complaint(
        Severity.ERROR,
        f"This user may not open {first.path} (EACCES)",
        (
            f"It belongs to group {first.gid} with mode {first.mode:04o}, and this user is not in that group"
            + (
                ": rootless engines drop the groups of the user who starts them."
                if inside and first.mode & 0o060
                else "."
            )
        )
        if lacks
        else "Its mode, or a security label (SELinux, AppArmor), forbids it.",
        (*_shown(denied), *reading.calls(snapshot)),
        (
            "podman run --group-add keep-groups ..., or on the host: options nvidia NVreg_DeviceFileMode=0666; "
            if inside
            else f"sudo usermod -aG {first.gid} $USER (the group's name: getent group {first.gid}) and log in again; "
        )
        + "SELinux: --security-opt label=disable"
        if lacks
        else "SELinux: podman run --security-opt label=disable ... (or setsebool -P container_use_devices on); "
        f"mode: sudo chmod 0666 {first.path}, kept by NVreg_DeviceFileMode=0666",
    )


#: How a device is allowed again, by what made the cgroup.
ALLOWANCES = {
    "kubernetes": "Delete the pod so that it is made again. To keep it after systemctl daemon-reload: device plugin with PASS_DEVICE_SPECS=true "
    "or CDI, and on the node: sudo nvidia-ctk system create-dev-char-symlinks --create-all",
    "lxc": "In the container's configuration on the host: lxc.cgroup2.devices.allow = c 195:* rwm (and the number of nvidia-uvm in "
    "/proc/devices), then restart it",
}


@rule(Layer.DEVICES, follows=BELOW)
def device_refused_by_cgroup(snapshot: Snapshot) -> Iterator[Complaint]:
    """A device cgroup refuses the nodes (EPERM), though their mode allows it.

    The node was made in or mounted into the container without a device rule, or the rules were rewritten: `systemctl
    daemon-reload` does that when the engine uses the systemd cgroup driver and /dev/char links are missing; `no-cgroups =
    true` in the toolkit's configuration never adds them. Batch systems confine a job to the GPUs that it asked for; a
    systemd unit with DevicePolicy or PrivateDevices has none.

    Confirm: the same open works on the host; cgroup v1: `cat /sys/fs/cgroup/devices/devices.list` has no "c 195:* rw".
    Remedy: create the container again with the GPU asked for (`--gpus all`, CDI); on the host `sudo nvidia-ctk system
    create-dev-char-symlinks --create-all`; in a batch job, ask for a GPU.
    Reference: https://github.com/NVIDIA/nvidia-container-toolkit/issues/48
    """
    refused = _failing(snapshot, "EPERM")
    if not refused:
        return
    job = snapshot.variable("SLURM_JOB_ID")
    inside = reading.in_container(snapshot)
    if job is not None and not inside:
        cause = "This Slurm job was given no GPU: its cgroup allows only the devices that it asked for."
        remedy = "Ask for one: sbatch --gres=gpu:1 (or --gpus=1); in an interactive job: srun --gres=gpu:1 --pty bash"
    elif not inside:
        cause = "No container was seen, so a systemd unit or a batch system confines this process to other devices."
        remedy = "In the unit: DeviceAllow=char-nvidia rw, DeviceAllow=char-nvidia-uvm rw, PrivateDevices=no; in a batch job: ask for a GPU"
    else:
        cause = "The node is in this container, but no device rule allows it: it was never given, or systemd rewrote the rules."
        remedy = ALLOWANCES.get(
            _kind(snapshot),
            "Create the container again with docker run --gpus all (or CDI: --device nvidia.com/gpu=all). To keep it after "
            "systemctl daemon-reload, on the host: sudo nvidia-ctk system create-dev-char-symlinks --create-all; and set "
            "no-cgroups = false in /etc/nvidia-container-runtime/config.toml",
        )
    yield Complaint(
        Severity.ERROR,
        f"The device cgroup refuses {refused[0].path} (EPERM)",
        cause,
        (
            *_shown(refused),
            *([Evidence(f"SLURM_JOB_ID={job}", "environment")] if job is not None else []),
            *reading.calls(snapshot),
        ),
        remedy,
    )


NOT_A_DEVICE = "not a device"


@rule(Layer.DEVICES, follows=BELOW)
def device_without_driver(snapshot: Snapshot) -> Iterator[Complaint]:
    """The device nodes exist, but no driver stands behind them (ENXIO, ENODEV), or they are no devices.

    The node was made by hand or is left over; the module that registers its number is not loaded, or drives no GPU. The
    number of nvidia-uvm is chosen anew when the module is loaded: a node that was made before leads nowhere.

    Confirm: `grep nvidia /proc/devices` against `ls -l /dev/nvidia*`.
    Remedy: load the driver on the host (`sudo modprobe nvidia`), or make the nodes and the container anew.
    Reference: open(2), ENXIO
    """
    if fake := _failing(snapshot, NOT_A_DEVICE):
        yield Complaint(
            Severity.ERROR,
            f"{fake[0].path} is no device, but a file or a folder of that name",
            "It was mounted from a place where the node did not exist: docker run -v makes an empty folder then.",
            _shown(fake),
            f"Remove it, make the nodes on the host (sudo nvidia-modprobe -c 0 -u), and give it with --device {fake[0].path} or --gpus all",
        )
    dead = _failing(snapshot, "ENXIO", "ENODEV")
    if not dead or reading.reached(snapshot):
        return
    loaded = reading.module_loaded(snapshot)
    yield Complaint(
        Severity.ERROR,
        f"{dead[0].path} exists, but no driver stands behind it ({dead[0].error})",
        "The module is loaded under another device number: the node is from before it was loaded anew."
        if loaded
        else "The kernel module that serves this node is not loaded on the host.",
        _shown(dead),
        "On the host: sudo rm /dev/nvidia-uvm* && sudo nvidia-modprobe -c 0 -u; then create the container again"
        if loaded
        else "On the host: sudo modprobe nvidia, and read: sudo dmesg | tail",
    )
