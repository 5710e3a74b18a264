"""Where this is: distribution, libc, kernel, container, Windows or Jetson below."""

from __future__ import annotations

import re
from typing import Final

from gpucheck.facts import Container, Distribution, Host, Libc, Seen, Unseen, Why
from gpucheck.probes.text import NO_KERNEL, read_text, sees_kernel
from gpucheck.system import System


def host(system: System) -> Host:
    """Never fails: what cannot be seen is Unseen."""
    kernel = read_text(system, "/proc/sys/kernel/osrelease") if sees_kernel(system) else NO_KERNEL
    return Host(
        system.live,
        architecture(system),
        Seen(kernel.value.strip(), kernel.source) if isinstance(kernel, Seen) else kernel,
        distribution(system),
        libc(system),
        isinstance(kernel, Seen) and "microsoft" in kernel.value.lower(),
        tegra(system),
        system.identity.uid if system.identity else None,
        system.identity.groups if system.identity else (),
        secure_boot(system),
    )


def architecture(system: System) -> str:
    """As ``uname -m`` would say inside: a root's own dynamic linker tells it."""
    if system.identity:
        return system.identity.machine
    for pattern, name in (
        ("/lib64/ld-linux-x86-64.so.2", "x86_64"),
        ("/lib/ld-linux-aarch64.so.1", "aarch64"),
        ("/lib/ld-musl-x86_64.so.1", "x86_64"),
        ("/lib/ld-musl-aarch64.so.1", "aarch64"),
    ):
        if system.resolve(pattern):
            return name
    return ""


def parse_os_release(text: str) -> Distribution:
    """From os-release(5): shell-like assignments, values may be quoted."""
    values = dict(re.findall(r"^([A-Z_]+)=[\"']?(.*?)[\"']?\s*$", text, re.MULTILINE))
    return Distribution(values.get("ID", ""), values.get("VERSION_ID", ""), values.get("PRETTY_NAME", ""))


def distribution(system: System) -> Seen[Distribution] | Unseen:
    """From /etc/os-release, or /usr/lib/os-release where that is missing."""
    text = read_text(system, "/etc/os-release")
    if isinstance(text, Unseen):
        text = read_text(system, "/usr/lib/os-release")
    return text if isinstance(text, Unseen) else Seen(parse_os_release(text.value), text.source)


#: glibc names its library libc-2.31.so up to 2.33; later ones carry the version in a sentence inside.
_GLIBC = rb"GNU C Library [^\n]*?(?:release|stable release) version (\d+\.\d+)"


def libc(system: System) -> Seen[Libc] | Unseen:
    """Which C library programs here are linked to, from its files."""
    tried = []
    for pattern in ("/lib/*-linux-gnu/libc.so.6", "/lib64/libc.so.6", "/usr/lib64/libc.so.6", "/usr/lib/libc.so.6"):
        tried.append(pattern)
        for path in system.glob(pattern):
            version = ""
            if system.identity and system.identity.glibc:
                version = system.identity.glibc
            elif match := re.search(r"libc-(\d+\.\d+)\.so", system.resolve(path) or ""):
                version = match[1]
            else:
                try:
                    match_bytes = re.search(_GLIBC, system.read(path, limit=8 << 20))
                except OSError as error:
                    return Unseen(Why.UNREADABLE, (path,), str(error))
                version = match_bytes[1].decode() if match_bytes else ""
            return Seen(Libc("glibc", version), path)
    tried.append("/lib/ld-musl-*.so.1")
    for path in system.glob("/lib/ld-musl-*.so.1"):
        return Seen(Libc("musl", ""), path)
    return Unseen(Why.ABSENT, tuple(tried))


def tegra(system: System) -> Seen[str] | Unseen:
    """The first line of /etc/nv_tegra_release: ``# R35 (release), REVISION: 3.1, ...``; in a container, the machine's model.

    The device tree shows through /proc: ``nvidia,p3737-0000+p3701-0005``, ``nvidia,tegra234`` and nulls between them.
    """
    found = read_text(system, "/etc/nv_tegra_release")
    if isinstance(found, Seen):
        return Seen(found.value.splitlines()[0].lstrip("# ") if found.value else "", found.source)
    tree = read_text(system, "/proc/device-tree/compatible", 4096)
    if isinstance(tree, Seen) and "nvidia,tegra" in tree.value:
        return Seen(tree.value.strip("\0").split("\0")[-1], tree.source)
    # Docker hides the device tree (it masks /sys/firmware); the kernel of Jetson Linux says what it is: 5.15.148-tegra.
    kernel = read_text(system, "/proc/sys/kernel/osrelease", 256) if sees_kernel(system) else NO_KERNEL
    if isinstance(kernel, Seen) and kernel.value.strip().endswith("-tegra"):
        return Seen(f"kernel {kernel.value.strip()}", kernel.source)
    return found


def secure_boot(system: System) -> Seen[bool] | Unseen:
    """The last byte of the firmware's SecureBoot variable (UEFI specification, section 3.3)."""
    pattern = "/sys/firmware/efi/efivars/SecureBoot-*"
    for path in system.glob(pattern):
        try:
            return Seen(system.read(path, limit=64)[-1:] == b"\x01", path)
        except OSError as error:
            return Unseen(Why.UNREADABLE, (path,), str(error))
    return Unseen(Why.ABSENT, (pattern,))


def container(system: System) -> Seen[Container] | Unseen:
    """Whether this is a container, by the marks that engines leave."""
    if not system.live:
        return Unseen(Why.NOT_APPLICABLE, (), "a root file system is not running")
    version = read_text(system, "/proc/version", 4096)
    # The kernel that gVisor plays for its sandboxes has this date, whatever its version.
    # Source: https://github.com/google/gvisor/blob/master/pkg/sentry/kernel/version.go
    if isinstance(version, Seen) and (
        "Sun Jan 10 15:06:54 PST 2016" in version.value or "gvisor" in version.value.lower()
    ):
        return Seen(Container("gvisor", f"/proc/version: {version.value.strip()[:80]}"), "/proc/version")
    command = read_text(system, "/proc/cmdline", 1 << 14)
    if isinstance(command, Seen) and "systemd.unit=kata-containers.target" in command.value:
        return Seen(Container("kata", "systemd.unit=kata-containers.target in /proc/cmdline"), "/proc/cmdline")
    if system.env.get("KUBERNETES_SERVICE_HOST"):
        return Seen(Container("kubernetes", "KUBERNETES_SERVICE_HOST is set"), "environment")
    for path, kind in (("/.dockerenv", "docker"), ("/run/.containerenv", "podman"), ("/.singularity.d", "singularity")):
        if system.resolve(path):
            return Seen(Container(kind, f"{path} exists"), path)
    if kind := system.env.get("container", ""):
        return Seen(Container(kind, f"container={kind}"), "environment")
    cgroup = read_text(system, "/proc/1/cgroup")
    if isinstance(cgroup, Seen):
        for word in ("docker", "kubepods", "libpod", "lxc"):
            if f"/{word}" in cgroup.value:
                return Seen(Container(word, f"/{word} in /proc/1/cgroup"), cgroup.source)
    return Unseen(Why.ABSENT, ("/.dockerenv", "/run/.containerenv", "/proc/1/cgroup", "environment"))


UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def shared_memory(system: System) -> Seen[int] | Unseen:
    """The size option of the tmpfs at /dev/shm in /proc/mounts (tmpfs(5)): ``shm /dev/shm tmpfs rw,size=65536k 0 0``."""
    if not system.live:
        return Unseen(Why.NOT_APPLICABLE, (), "these are only files")
    table = read_text(system, "/proc/mounts")
    if isinstance(table, Unseen):
        return table
    match = re.search(r"^\S+ /dev/shm tmpfs \S*\bsize=(\d+)([kmg]?)\b", table.value, re.MULTILINE)
    if match is None:
        return Unseen(Why.ABSENT, (table.source,), "/dev/shm has no limit of its own")
    return Seen(int(match[1]) * UNITS[match[2]], table.source)


def driver_mounts(system: System) -> Seen[tuple[str, ...]] | Unseen:
    """Mount points of driver libraries: engines bind each file, or a whole folder, into a container (proc_mounts(5))."""
    if not system.live:
        return Unseen(Why.NOT_APPLICABLE, (), "these are only files")
    table = read_text(system, "/proc/mounts")
    if isinstance(table, Unseen):
        return table
    points = re.findall(
        r"^\S+ (/\S*/(?:lib(?:cuda|nvidia)[^/\s]*\.so[^/\s]*|nvidia(?:/lib64)?)) ", table.value, re.MULTILINE
    )
    return Seen(tuple(sorted(set(points))), table.source)


def address_space(system: System) -> Seen[int] | Unseen:
    """The limit of this process's address space (getrlimit(2), RLIMIT_AS); ABSENT where there is none.

    A line of /proc/self/limits: ``Max address space         unlimited            unlimited            bytes``.
    """
    if not system.live:
        return Unseen(Why.NOT_APPLICABLE, (), "these are only files")
    text = read_text(system, "/proc/self/limits", 4096)
    if isinstance(text, Unseen):
        return text
    match = re.search(r"^Max address space\s+(\d+)\s", text.value, re.MULTILINE)
    return Seen(int(match[1]), text.source) if match else Unseen(Why.ABSENT, (text.source,), "no limit")
