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
    handlers, settings = read_handlers(system)
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


def read_handlers(system: System) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(runtimes, files): containerd writes ``[plugins."io.containerd...".containerd.runtimes.nvidia]``, CRI-O
    ``[crio.runtime.runtimes.nvidia]``."""
    names: set[str] = set()
    files = []
    for path in glob_all(system, *SETTINGS):
        text = read_text(system, path)
        if isinstance(text, Seen):
            files.append(path)
            names.update(
                re.findall(r"^\s*\[[^\]#]*\bruntimes\.[\"']?([\w-]+)[\"']?(?:\.options)?\]", text.value, re.MULTILINE)
            )
    return tuple(sorted(names)), tuple(files)


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
