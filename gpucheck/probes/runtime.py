"""The NVIDIA container toolkit and the container engines, from a host's files."""

from __future__ import annotations

import json
import re
from typing import Final

from gpucheck.facts import ContainerRuntime, Seen, Unseen, Why
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


def runtime(system: System) -> Seen[ContainerRuntime] | Unseen:
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
    cdi = system.glob("/etc/cdi/*") + system.glob("/var/run/cdi/*")
    return Seen(
        ContainerRuntime(
            toolkit,
            package_version(system, "nvidia-container-toolkit") if toolkit else "",
            engines,
            docker_runtimes(system),
            tuple(path for path in cdi if re.search(r"\.(ya?ml|json)$", path)),
            no_cgroups,
        ),
        toolkit or engines[0],
    )


def docker_runtimes(system: System) -> tuple[str, ...]:
    """The names under "runtimes" of Docker's daemon.json."""
    text = read_text(system, "/etc/docker/daemon.json")
    if isinstance(text, Unseen):
        return ()
    try:
        runtimes = json.loads(text.value).get("runtimes", {})
    except (ValueError, AttributeError):
        return ()
    return tuple(sorted(runtimes)) if isinstance(runtimes, dict) else ()


def package_version(system: System, name: str) -> str:
    """The version of an installed Debian package; '' when the database does not list it."""
    text = read_text(system, "/var/lib/dpkg/status", 16 << 20)
    if isinstance(text, Unseen):
        return ""
    match = re.search(rf"^Package: {re.escape(name)}\n(?:.+\n)*?Version: (\S+)", text.value, re.MULTILINE)
    return match[1] if match else ""
