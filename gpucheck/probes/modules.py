"""The driver's kernel modules on disk: built for which kernels, banned from loading, with which firmware."""

from __future__ import annotations

import re
from typing import Final

from gpucheck.elf import ElfError, read_elf
from gpucheck.elf.sections import read_sections
from gpucheck.facts import Ban, Dkms, ModuleFile, Seen, Unseen, Why
from gpucheck.probes.text import read_text
from gpucheck.system import System

#: Files by the module that they hold: Debian's alternatives put the branch into the name.
MODULES: Final = re.compile(r"nvidia(?:-(?:current|tesla|legacy)[\w-]*?)?(-uvm)?\.ko(?:\.[xgz]z|\.zst)?")

#: Where DKMS, the .run installer, kmods of RPM distributions and prebuilt packages put the module below a kernel's tree.
MODULE_FOLDERS: Final = (
    "updates/dkms",
    "updates",
    "extra",
    "extra/nvidia*",
    "extra/drivers/video/nvidia",
    "extramodules",
    "weak-updates/nvidia*",
    "weak-updates",
    "weak-updates/updates",
    "kernel/drivers/video",
    "kernel/drivers/video/nvidia",
    "kernel/nvidia*",
    "misc",
    "video",
    "nvidia/current",
)


def files(system: System) -> Seen[tuple[ModuleFile, ...]] | Unseen:
    """nvidia.ko and nvidia-uvm.ko in the module tree of any kernel."""
    found: dict[str, ModuleFile] = {}
    trees = system.glob("/lib/modules/*") or system.glob("/usr/lib/modules/*")
    for tree in trees:
        for path in (path for place in MODULE_FOLDERS for path in system.glob(f"{tree}/{place}/nvidia*.ko*")):
            real = system.resolve(path) or path
            match = MODULES.fullmatch(path.rsplit("/", 1)[-1])
            if match and real not in found:
                version, signer, flavour, built_for = read_module(system, real)
                name = "nvidia_uvm" if match[1] else "nvidia"
                found[real] = ModuleFile(tree.rsplit("/", 1)[-1], path, version, signer, name, flavour, built_for)
    if not trees:
        return Unseen(Why.ABSENT, ("/lib/modules",), "no module tree")
    return Seen(tuple(sorted(found.values(), key=lambda file: file.path)), "/lib/modules")


#: What the kernel build appends to a signed module; kernel, Documentation/admin-guide/module-signing.rst.
SIGNATURE: Final = b"~Module signature appended~\n"


def read_module(system: System, path: str) -> tuple[str, str, str, str]:
    """(version, signer, flavour, kernel that it was built for) of a module: its .modinfo section and the end of the file; '' where they do not tell.

    The signer's name is inside a PKCS#7 message; that there is one is what matters. A compressed module (.xz, .zst) is
    not unpacked: that takes seconds, and its package tells the version. The open flavour's licence is "Dual MIT/GPL".
    """
    if not path.endswith(".ko"):
        return "", "unknown", "", ""
    try:
        elf = read_elf(system, path)
        (place,) = [section for section in read_sections(system, elf) if section.name == ".modinfo"]
        strings = system.read(path, min(place.size, 1 << 20), place.offset).split(b"\0")
        tail = system.read(path, len(SIGNATURE), system.status(path).size - len(SIGNATURE))
    except (ElfError, OSError, ValueError):
        return "", "unknown", "", ""
    entries = dict(text.decode(errors="replace").partition("=")[::2] for text in strings)
    flavour = {"NVIDIA": "proprietary", "Dual MIT/GPL": "open"}.get(entries.get("license", ""), "")
    kernel = entries.get("vermagic", "").partition(" ")[0]
    return entries.get("version", ""), "signed" if tail == SIGNATURE else "", flavour, kernel


DKMS: Final = "/var/lib/dkms"

#: What ends a build: DKMS itself, the compiler, make, and the driver's own conftest.
ERROR: Final = r"(?mi)^.*(?:\berror\b|\*\*\*|Error! |cannot be found|not supported).*$"


def dkms(system: System, kernel: str) -> Seen[Dkms] | Unseen:
    """What DKMS keeps below /var/lib/dkms/NAME/VERSION: a folder for each kernel, and build/make.log of a failed build.

    Newer releases keep the log of a failure in /var/lib/dkms/NAME/VERSION/KERNEL/ARCH/log/make.log. Source: dkms(8).
    """
    trees = [
        tree
        for tree in system.glob(f"{DKMS}/nvidia*/*")
        if re.fullmatch(r"\d{3}\.\d[\d.]*", tree.rsplit("/", 1)[-1])
        and system.status(tree, follow=False).kind == "directory"
    ]
    if not trees:
        return akmods(system, kernel)
    built = {path.split("/")[6] for tree in trees for path in system.glob(f"{tree}/*/*/module/nvidia*.ko*")}
    logs = [
        path
        for tree in trees
        for place in ("build/make.log", f"{kernel}/*/log/make.log")
        for path in system.glob(f"{tree}/{place}")
    ]
    log, error = "", ""
    for path in logs:
        text = read_text(system, path, 4 << 20)
        found = first_error(text.value) if isinstance(text, Seen) else ""
        if found and kernel not in built:
            log, error = path, found
            break
    headers = any(system.resolve(f"/lib/modules/{kernel}/{name}/Makefile") for name in ("build", "source"))
    versions = tuple(tree.rsplit("/", 1)[-1] for tree in trees)
    return Seen(Dkms(versions, tuple(sorted(built)), headers, log, error), DKMS)


AKMODS: Final = "/var/cache/akmods/nvidia"


def akmods(system: System, kernel: str) -> Seen[Dkms] | Unseen:
    """The same of Fedora's akmods, which leaves ``580.95.05-1-for-6.16.7-200.fc42.x86_64.failed.log`` for a build that failed."""
    logs = [path for path in system.glob(f"{AKMODS}/*-for-*.failed.log") if f"-for-{kernel}." in path]
    if not logs:
        return Unseen(
            Why.ABSENT,
            (f"{DKMS}/nvidia*", AKMODS),
            "no driver is registered with DKMS, and akmods left no failed build",
        )
    text = read_text(system, logs[-1], 4 << 20)
    version = logs[-1].rsplit("/", 1)[-1].split("-")[0]
    headers = any(system.resolve(f"/lib/modules/{kernel}/{name}/Makefile") for name in ("build", "source"))
    return Seen(
        Dkms((version,), (), headers, logs[-1], first_error(text.value) if isinstance(text, Seen) else ""), AKMODS
    )


def first_error(text: str) -> str:
    """The first error in a build log, shortened to what a line of output can hold."""
    match = re.search(ERROR, text)
    return match[0].strip()[:200] if match else ""


#: modprobe.d(5) names the folders; of files with one name the first folder's wins.
MODPROBE: Final = (
    "/etc/modprobe.d",
    "/run/modprobe.d",
    "/usr/local/lib/modprobe.d",
    "/usr/lib/modprobe.d",
    "/lib/modprobe.d",
)
BANNED: Final = ("nvidia", "nvidia_uvm", "nouveau")


def parse_bans(text: str, place: str) -> tuple[Ban, ...]:
    """From a file of modprobe.d(5): ``blacklist NAME`` against loading by the hardware's alias, ``install NAME /bin/false``
    and ``alias NAME off`` against any."""
    found = []
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if len(words) < 2:
            continue
        name = words[1].replace("-", "_")
        banned = words[0] == "blacklist" or (words[0] == "alias" and words[2:] == ["off"])
        banned = banned or (
            words[0] == "install" and words[2:3] != [] and words[2].rsplit("/", 1)[-1] in ("false", "true")
        )
        if banned and name in BANNED:
            found.append(Ban(name, " ".join(words), place))
    return tuple(found)


def parse_command_line(text: str) -> tuple[Ban, ...]:
    """From /proc/cmdline: ``module_blacklist=`` (the kernel's own), ``modprobe.blacklist=`` and ``rd.driver.blacklist=``."""
    return tuple(
        Ban(name.replace("-", "_"), f"{match[1]}={match[2]}", "/proc/cmdline")
        for match in re.finditer(r"\b(module_blacklist|modprobe\.blacklist|rd\.driver\.blacklist)=(\S+)", text)
        for name in match[2].split(",")
        if name.replace("-", "_") in BANNED
    )


def _modprobe(system: System) -> list[str]:
    paths: dict[str, str] = {}
    for folder in MODPROBE:
        for path in system.glob(f"{folder}/*.conf"):
            paths.setdefault(path.rsplit("/", 1)[-1], path)
    return sorted(paths.values())


def bans(system: System) -> Seen[tuple[Ban, ...]] | Unseen:
    """What keeps the driver's modules or nouveau from loading. A container's files say nothing of its host."""
    found: list[Ban] = []
    for path in _modprobe(system):
        text = read_text(system, path)
        if isinstance(text, Seen):
            found += parse_bans(text.value, path)
    line = read_text(system, "/proc/cmdline", 1 << 14)
    if isinstance(line, Seen):
        found += parse_command_line(line.value)
    return Seen(tuple(found), "modprobe.d")


def unsupported(system: System, files: Seen[tuple[ModuleFile, ...]] | Unseen) -> Ban | None:
    """``allow_unsupported_modules 0`` of SUSE's modprobe, where the nvidia module does not say that SUSE or a partner supports it.

    Source: https://documentation.suse.com/sles/15-SP6/html/SLES-all/cha-mod.html#sec-mod-unsupported
    """
    found = None
    for path in _modprobe(system):
        text = read_text(system, path)
        for line in text.value.splitlines() if isinstance(text, Seen) else ():
            words = line.split("#")[0].split()
            if words[:1] == ["allow_unsupported_modules"] and len(words) == 2:
                found = Ban("nvidia", " ".join(words), path) if words[1] in ("0", "no") else None
    if found is None or not isinstance(files, Seen):
        return None
    modules = [file for file in files.value if file.name == "nvidia"]
    return found if modules and not any(_supported(system, file.path) for file in modules) else None


def _supported(system: System, path: str) -> bool:
    """``supported=external`` in its .modinfo; a compressed module is taken for one that has it."""
    if not path.endswith(".ko"):
        return True
    try:
        (place,) = [each for each in read_sections(system, read_elf(system, path)) if each.name == ".modinfo"]
        return b"\0supported=" in b"\0" + system.read(path, min(place.size, 1 << 20), place.offset)
    except (ElfError, OSError, ValueError):
        return True


FIRMWARE: Final = "/lib/firmware/nvidia"


def firmware(system: System) -> Seen[tuple[str, ...]] | Unseen:
    """Driver versions with firmware for the GPU System Processor: /lib/firmware/nvidia/580.95.05/gsp_ga10x.bin.

    Source: https://download.nvidia.com/XFree86/Linux-x86_64/580.95.05/README/gsp.html
    """
    found = {path.split("/")[4] for path in system.glob(f"{FIRMWARE}/*/gsp*.bin*")}
    versions = tuple(sorted(name for name in found if re.fullmatch(r"\d{3}\.\d[\d.]*", name)))
    return Seen(versions, FIRMWARE) if versions else Unseen(Why.ABSENT, (f"{FIRMWARE}/*/gsp*.bin",), "no GSP firmware")
