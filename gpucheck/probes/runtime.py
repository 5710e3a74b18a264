"""The NVIDIA container toolkit and the container engines, from a host's files."""

from __future__ import annotations

import re
from typing import Final

from gpucheck.facts import ContainerRuntime, Seen, SystemPackage, Unseen, Why
from gpucheck.probes.text import read_text
from gpucheck.system import System

TOOLKIT: Final = (
    "/usr/bin/nvidia-ctk",
    "/usr/bin/nvidia-container-runtime",
    "/usr/bin/nvidia-container-runtime-hook",
    "/usr/local/nvidia/toolkit/nvidia-ctk",
    "/opt/nvidia/toolkit/nvidia-ctk",
)
ENGINES: Final = (
    ("/usr/bin/dockerd", "docker"),
    ("/usr/local/bin/dockerd", "docker"),
    ("/snap/bin/docker", "docker (snap)"),
    ("/usr/bin/containerd", "containerd"),
    ("/usr/bin/podman", "podman"),
    ("/usr/local/bin/k3s", "k3s"),
)


#: Settings of the engines that Kubernetes talks to; k3s, RKE2 and MicroK8s keep containerd's in places of their own.
SETTINGS: Final = (
    "/etc/containerd/config.toml",
    "/etc/containerd/conf.d/*.toml",
    "/etc/containerd/config.d/*.toml",
    "/etc/crio/crio.conf",
    "/etc/crio/crio.conf.d/*",
    "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
    "/var/lib/rancher/rke2/agent/etc/containerd/config.toml",
    "/var/snap/microk8s/current/args/containerd.toml",
)
HOOK: Final = ("/usr/bin/nvidia-container-runtime-hook", "/usr/bin/nvidia-container-toolkit")
REFRESH: Final = ("/etc/systemd/system/nvidia-cdi-refresh.service", "/usr/lib/systemd/system/nvidia-cdi-refresh.service", "/lib/systemd/system/nvidia-cdi-refresh.service")  # fmt: skip


def runtime(system: System, packages: Seen[tuple[SystemPackage, ...]] | Unseen) -> Seen[ContainerRuntime] | Unseen:
    """ABSENT where neither a container engine nor the toolkit is installed."""
    toolkit = next((path for path in TOOLKIT if system.resolve(path)), "")
    engines = tuple(dict.fromkeys(name for path, name in ENGINES if system.resolve(path)))
    if not toolkit and not engines:
        return Unseen(Why.ABSENT, (*TOOLKIT, *(path for path, _ in ENGINES)))
    config = read_text(system, "/etc/nvidia-container-runtime/config.toml")
    no_cgroups = None
    if isinstance(config, Seen):
        match = re.search(r"^\s*no-cgroups\s*=\s*(true|false)", config.value, re.MULTILINE)
        no_cgroups = match[1] == "true" if match else False
    # /var/run is a link to /run on most systems.
    cdi = {
        system.resolve(path): path
        for folder in ("/run/cdi", "/var/run/cdi", "/etc/cdi")
        for path in system.glob(f"{folder}/*")
        if re.search(r"\.(ya?ml|json)$", path)
    }
    installed = {found.name: found.version for found in packages.value} if isinstance(packages, Seen) else {}
    library = next(
        iter(
            glob_all(system, "/usr/lib/*-linux-gnu/libnvidia-container.so.1.*", "/usr/lib64/libnvidia-container.so.1.*")
        ),
        "",
    )
    handlers, settings, misplaced = read_handlers(system)
    said = config.value if isinstance(config, Seen) else ""
    return Seen(
        ContainerRuntime(
            toolkit,
            installed.get("nvidia-container-toolkit", "") if toolkit else "",
            engines,
            docker_runtimes(system),
            tuple(sorted(cdi.values())),
            no_cgroups,
            drivers_in_specifications(system, tuple(sorted(cdi.values()))),
            any(system.resolve(path) for path in REFRESH),
            next((path for path in HOOK if system.resolve(path)), ""),
            handlers,
            settings,
            library.rpartition(".so.")[2] or installed.get("libnvidia-container1", "").split("-")[0],
            cgroups(system),
            docker_default(system),
            missing_ldconfig(system, said),
            rootless(system, said),
            installed.get("podman", ""),
            tuple((path, version) for path in sorted(cdi.values()) if (version := format_version(system, path))),
            misplaced,
        ),
        toolkit or engines[0],
    )


def glob_all(system: System, *patterns: str) -> tuple[str, ...]:
    """Paths that match any of the patterns, in their order."""
    return tuple(path for pattern in patterns for path in system.glob(pattern))


def drivers_in_specifications(system: System, paths: tuple[str, ...]) -> tuple[str, ...]:
    """Driver versions in the file names of libcuda that CDI specifications of NVIDIA's mount: ``libcuda.so.580.95.05``.

    Source: https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md (containerEdits.mounts.hostPath)
    """
    found: set[str] = set()
    for path in paths:
        text = read_text(system, path, 4 << 20)
        if isinstance(text, Seen) and "nvidia.com/" in text.value:
            found.update(re.findall(r"/libcuda\.so\.(\d{3}\.\d+(?:\.\d+)?)\b", text.value))
    return tuple(sorted(found))


def missing_ldconfig(system: System, config: str) -> str:
    """``ldconfig = "@/sbin/ldconfig.real"``: of the host, which Ubuntu alone has by that name; '' when it is there."""
    match = re.search(r'^\s*ldconfig\s*=\s*"@(/[^"]+)"', config, re.MULTILINE)
    return match[1] if match and system.resolve(match[1]) is None else ""


def rootless(system: System, config: str) -> str:
    """What shows that docker runs without root, so that the toolkit's hook may not change control groups; '' nothing does.

    In an unprivileged LXC container no docker may: user_namespaces(7), /proc/self/uid_map maps 0 to another user then. With
    CDI the toolkit leaves them to the engine. Source: https://docs.docker.com/engine/security/rootless/
    """
    if re.search(r'^\s*mode\s*=\s*"cdi"', config, re.MULTILINE):
        return ""
    users = read_text(system, "/proc/self/uid_map", 256) if system.live else None
    if isinstance(users, Seen) and (match := re.match(r"\s*0\s+([1-9]\d*)\s+\d+", users.value)):
        return f"/proc/self/uid_map: 0 is user {match[1]} of the host"
    home = system.env.get("HOME") or "/root"
    settings = system.env.get("XDG_CONFIG_HOME") or f"{home}/.config"
    # nvidia-container-runtime reads the user's own settings first.
    if system.resolve(f"{settings}/nvidia-container-runtime/config.toml") and system.env.get("XDG_CONFIG_HOME"):
        return ""
    service = f"{settings}/systemd/user/docker.service"
    text = read_text(system, service, 1 << 16)
    if isinstance(text, Seen) and "rootless" in text.value:
        return service
    return ""


def format_version(system: System, path: str) -> str:
    """``cdiVersion: 0.7.0`` of an NVIDIA specification; '' when it does not tell."""
    text = read_text(system, path, 4 << 20)
    if not isinstance(text, Seen) or "nvidia.com/" not in text.value:
        return ""
    match = re.search(r"""cdiVersion["']?\s*:\s*["']?(\d+\.\d+\.\d+)""", text.value)
    return match[1] if match else ""


def read_handlers(system: System) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """(runtimes, files, runtimes in sections that are not read).

    containerd writes ``[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.nvidia]``, CRI-O
    ``[crio.runtime.runtimes.nvidia]``. In a file of version 3 the plugin of versions 1 and 2, io.containerd.grpc.v1.cri, has no
    runtimes. Source: https://github.com/containerd/containerd/blob/main/docs/cri/config.md
    """
    names: set[str] = set()
    unread: set[str] = set()
    files = []
    for path in glob_all(system, *SETTINGS):
        text = read_text(system, path)
        if isinstance(text, Seen):
            files.append(path)
            third = re.search(r"^\s*version\s*=\s*3\b", text.value, re.MULTILINE) is not None
            for match in re.finditer(RUNTIME, text.value, re.MULTILINE):
                (unread if third and "io.containerd.grpc.v1.cri" in match[1] else names).add(match[2])
    return tuple(sorted(names)), tuple(files), tuple(sorted(unread - names))


RUNTIME: Final = r"^\s*(\[[^\]#]*)\bruntimes\.[\"']?([\w-]+)[\"']?(?:\.options)?\]"


def cgroups(system: System) -> int | None:
    """2 where the root of the hierarchy is of version 2, 1 where devices have a hierarchy of version 1; cgroups(7)."""
    if system.resolve("/sys/fs/cgroup/cgroup.controllers"):
        return 2
    return 1 if system.resolve("/sys/fs/cgroup/devices") else None


def docker_runtimes(system: System) -> tuple[str, ...]:
    """The names under "runtimes" of Docker's daemon.json."""
    runtimes = _daemon(system).get("runtimes", {})
    return tuple(sorted(runtimes)) if isinstance(runtimes, dict) else ()


def docker_default(system: System) -> str:
    """The runtime of containers that ask for none."""
    return str(_daemon(system).get("default-runtime", ""))


def _daemon(system: System) -> dict[str, object]:
    text = read_text(system, "/etc/docker/daemon.json")
    if isinstance(text, Unseen):
        return {}
    import json

    try:
        found = json.loads(text.value)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
