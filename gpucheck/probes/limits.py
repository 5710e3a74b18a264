"""What a process may do here: lock memory, use AVX, talk over the network, load code from where it is compiled to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from gpucheck.facts import CodeFolder, Distributed, Network, Processor, Seen, Unseen, Why
from gpucheck.probes.text import NO_KERNEL, read_text, sees_kernel
from gpucheck.system import System

FILES_ONLY: Final = Unseen(Why.NOT_APPLICABLE, (), "these are only files")


def locked_memory(system: System) -> Seen[int] | Unseen:
    """The soft limit of locked memory (getrlimit(2), RLIMIT_MEMLOCK); ABSENT where there is none.

    A line of /proc/self/limits: ``Max locked memory         8388608              8388608              bytes``.
    """
    if not system.live:
        return FILES_ONLY
    text = read_text(system, "/proc/self/limits", 4096)
    if isinstance(text, Unseen):
        return text
    match = re.search(r"^Max locked memory\s+(\d+)\s", text.value, re.MULTILINE)
    # With CAP_IPC_LOCK, bit 14 of capabilities(7), the limit does not hold.
    status = read_text(system, "/proc/self/status", 1 << 14)
    granted = re.search(r"^CapEff:\s*([0-9a-f]+)", status.value, re.MULTILINE) if isinstance(status, Seen) else None
    if granted and int(granted[1], 16) >> 14 & 1:
        return Unseen(Why.ABSENT, (status.source,) if isinstance(status, Seen) else (), "CAP_IPC_LOCK lifts the limit")
    return Seen(int(match[1]), text.source) if match else Unseen(Why.ABSENT, (text.source,), "no limit")


def network(system: System) -> Seen[Network] | Unseen:
    """Interfaces, and RDMA devices that can be opened: a container sees all of its host's in sysfs, given to it or not."""
    if not system.live:
        return FILES_ONLY
    try:
        interfaces = system.names("/sys/class/net")
    except OSError as error:
        if not system.glob("/sys/class/infiniband/*"):
            return Unseen(Why.ABSENT, ("/sys/class/net",), f"/sys/class/net: {error.strerror}")
        interfaces = ()
    opens = any(system.open_error(path) == "" for path in system.glob("/dev/infiniband/uverbs*"))
    devices = tuple(path.rsplit("/", 1)[-1] for path in system.glob("/sys/class/infiniband/*")) if opens else ()
    return Seen(Network(interfaces, devices), "/sys/class/net")


def processor(system: System) -> Seen[Processor] | Unseen:
    """From /proc/cpuinfo, as x86 kernels write it; its flags are those that the kernel and a hypervisor let through."""
    if not sees_kernel(system):
        return NO_KERNEL
    text = read_text(system, "/proc/cpuinfo", 1 << 16)
    if isinstance(text, Unseen):
        return text
    flags = re.search(r"^flags\s*:\s*(.*)$", text.value, re.MULTILINE)
    if flags is None:
        return Unseen(Why.NOT_APPLICABLE, (text.source,), "no processor of the x86 family")
    words = set(flags[1].split())
    model = re.search(r"^model name\s*:\s*(.*?)\s*$", text.value, re.MULTILINE)
    return Seen(Processor(model[1] if model else "", "avx" in words, "hypervisor" in words), text.source)


def code_folders(system: System, installed: tuple[Distributed, ...]) -> Seen[tuple[CodeFolder, ...]] | Unseen:
    """Where Triton and torch.compile put the libraries that they make; ABSENT where neither is installed.

    Sources: triton/runtime/cache.py and knobs.py (TRITON_CACHE_DIR, TRITON_HOME), torch/_inductor/runtime/cache_dir_utils.py
    (TORCHINDUCTOR_CACHE_DIR, else the folder of tempfile: TMPDIR or /tmp).
    """
    if not system.live:
        return FILES_ONLY
    if not any(dist.name == "triton" for dist in installed):
        return Unseen(Why.ABSENT, (), "Triton is not installed")
    table = read_text(system, "/proc/mounts", 1 << 20)
    if isinstance(table, Unseen):
        return table
    mounts = [
        (match[1].replace("\\040", " "), match[2])
        for match in re.finditer(r"^\S+ (/\S*) \S+ (\S+) ", table.value, re.MULTILINE)
    ]
    return Seen(tuple(_folders(system, mounts)), table.source)


def _folders(system: System, mounts: list[tuple[str, str]]) -> Iterator[CodeFolder]:
    home = system.env.get("TRITON_HOME") or system.env.get("HOME") or "/root"
    for user, variable, path in (
        ("Triton", "TRITON_CACHE_DIR", f"{home}/.triton/cache"),
        ("torch.compile", "TORCHINDUCTOR_CACHE_DIR", system.env.get("TMPDIR") or "/tmp"),
    ):
        chosen = system.env.get(variable) or path
        within = [each for each in mounts if chosen == each[0] or chosen.startswith(each[0].rstrip("/") + "/")]
        if within:
            # Of two mounts on one point the later one is seen.
            point, options = max(enumerate(within), key=lambda each: (len(each[1][0]), each[0]))[1]
            yield CodeFolder(user, variable, chosen, point, options)
