"""Daemons of the driver's and what they leave: fabric manager, licence client, MPS, the helper that makes device nodes."""

from __future__ import annotations

import json
from typing import Final

from gpucheck.facts import Mps, Seen, Service, ToolkitHome, Unseen, Why
from gpucheck.probes.text import NO_KERNEL, read_text, sees_kernel
from gpucheck.system import System

#: (name, its programs, the PID file that its systemd unit names, the process's name cut to 15 characters as proc(5) has it)
DAEMONS: Final = (
    ("nvidia-fabricmanager", "nv-fabricmanager", "/run/nvidia-fabricmanager/nv-fabricmanager.pid", "nv-fabricmanage"),
    ("nvidia-gridd", "nvidia-gridd", "/run/nvidia-gridd/nvidia-gridd.pid", "nvidia-gridd"),
    (
        "nvidia-persistenced",
        "nvidia-persistenced",
        "/run/nvidia-persistenced/nvidia-persistenced.pid",
        "nvidia-persiste",
    ),
)


def services(system: System) -> Seen[tuple[Service, ...]] | Unseen:
    """Whether each daemon is installed and lives. Those of a host are not visible in its containers."""
    if not sees_kernel(system):
        return NO_KERNEL
    found = []
    for name, program, pid_file, process in DAEMONS:
        installed = any(system.resolve(f"{folder}/{program}") for folder in ("/usr/bin", "/usr/sbin"))
        pid = read_text(system, pid_file, 32)
        running = isinstance(pid, Seen) and comm(system, pid.value.strip()) == process
        found.append(Service(name, installed or running, running))
    return Seen(tuple(found), "/run")


def comm(system: System, pid: str) -> str:
    """The name of a process; '' when there is none."""
    text = read_text(system, f"/proc/{pid}/comm", 64) if pid.isdigit() else None
    return text.value.strip() if isinstance(text, Seen) else ""


def mps(system: System) -> Seen[Mps] | Unseen:
    """The pipe directory of the multi-process service: $CUDA_MPS_PIPE_DIRECTORY, else /tmp/nvidia-mps.

    Source: https://docs.nvidia.com/deploy/mps/appendix-tools-and-interface-reference.html
    """
    if not sees_kernel(system):
        return NO_KERNEL
    directory = system.env.get("CUDA_MPS_PIPE_DIRECTORY") or "/tmp/nvidia-mps"
    try:
        status = system.status(directory)
    except PermissionError:
        return Seen(Mps(directory, -1, False, None, blocked(system, directory)), directory)
    except OSError as error:
        return Unseen(Why.ABSENT, (directory,), f"{directory}: {error.strerror}")
    try:
        system.status(f"{directory}/control")
    except PermissionError:
        return Seen(Mps(directory, status.uid, False, None, directory), directory)
    except OSError:
        return Seen(Mps(directory, status.uid, False, False, ""), directory)
    pid = read_text(system, f"{directory}/nvidia-cuda-mps-control.pid", 32)
    running = None
    if isinstance(pid, Seen):
        # In a container the number is of the host's process table: another program, or none, is no proof.
        running = comm(system, pid.value.strip()) == "nvidia-cuda-mps" or None
    return Seen(Mps(directory, status.uid, True, running, ""), directory)


def blocked(system: System, path: str) -> str:
    """The first folder on the way that this user may not search."""
    parts = [part for part in path.split("/") if part]
    for count in range(1, len(parts) + 1):
        here = "/" + "/".join(parts[:count])
        try:
            system.status(here)
        except PermissionError:
            return "/" + "/".join(parts[: count - 1])
        except OSError:
            break
    return path


def modprobe(system: System) -> Seen[int] | Unseen:
    """The mode of nvidia-modprobe: libcuda and NVML run it to make device nodes that are missing; it must be setuid root."""
    tried = ("/usr/bin/nvidia-modprobe", "/usr/sbin/nvidia-modprobe", "/run/current-system/sw/bin/nvidia-modprobe")
    for path in tried:
        if system.resolve(path):
            try:
                return Seen(system.status(path).mode, path)
            except OSError as error:
                return Unseen(Why.UNREADABLE, (path,), f"{path}: {error.strerror}")
    return Unseen(Why.ABSENT, tried, "nvidia-modprobe is not installed")


def toolkit_homes(system: System) -> tuple[ToolkitHome, ...]:
    """Where CUDA_HOME, CUDA_PATH and CUDA_ROOT lead; ``version.json`` is in toolkits from 11.1 on."""
    found = []
    for variable in ("CUDA_HOME", "CUDA_PATH", "CUDA_ROOT"):
        path = system.env.get(variable, "")
        if not path:
            continue
        there = path.startswith("/") and system.resolve(path) is not None
        text = read_text(system, f"{path}/version.json", 1 << 16) if there else None
        version = ""
        if isinstance(text, Seen):
            try:
                version = str(json.loads(text.value)["cuda"]["version"])
            except (ValueError, KeyError, TypeError):
                version = ""
        found.append(ToolkitHome(variable, path, there, version))
    return tuple(found)
