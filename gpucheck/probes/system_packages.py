"""Packages of the driver and its surroundings, from the databases of dpkg, pacman and RPM."""

from __future__ import annotations

import re
from typing import Final

from gpucheck.facts import Seen, SystemPackage, Unseen, Why
from gpucheck.probes.rpm import rpm_packages
from gpucheck.probes.text import read_text
from gpucheck.record import replace
from gpucheck.system import System

DPKG: Final = "/var/lib/dpkg/status"
PACMAN: Final = "/var/lib/pacman/local"

#: What decides about a GPU: the driver, its module packages, cuda-compat, the toolkit for containers, the fabric manager.
TELLING: Final = re.compile(
    r"(lib)?nvidia-.*|libcuda1|linux-modules-nvidia-.*|linux-objects-nvidia-.*|cuda-compat-.*|cuda-drivers.*|nvidia|nvlsm|libnvsdm.*|podman"
)

#: Looked at before the pattern: a database has thousands of names.
BEGINNINGS: Final = (
    "nvidia",
    "libnvidia",
    "libcuda1",
    "linux-modules-nvidia",
    "linux-objects-nvidia",
    "cuda-",
    "nvlsm",
    "libnvsdm",
    "podman",
)


def system_packages(system: System) -> Seen[tuple[SystemPackage, ...]] | Unseen:
    """Installed or half-installed packages, sorted by name; ABSENT where no database is there."""
    text = read_text(system, DPKG, 32 << 20)
    if isinstance(text, Seen):
        return Seen(parse_dpkg(text.value), DPKG)
    folders = system.glob(f"{PACMAN}/*")
    if folders:
        return Seen(parse_pacman(tuple(folder.rsplit("/", 1)[-1] for folder in folders)), PACMAN)
    # Debian's package rpm comes with an empty database, so dpkg is asked first; one that cannot be read is no reason to ask RPM.
    if text.why is not Why.ABSENT:
        return Unseen(text.why, (DPKG, PACMAN), text.detail)
    found = rpm_packages(system, TELLING.fullmatch)
    return replace(found, tried=(DPKG, PACMAN, *found.tried)) if isinstance(found, Unseen) else found


def parse_dpkg(text: str) -> tuple[SystemPackage, ...]:
    """From dpkg's status file: the third word of Status is the state; ``config-files`` is a package that was removed.

    Source: dpkg(1), "Package states".
    """
    found = []
    for paragraph in ("\n" + text).split("\nPackage: ")[1:]:
        if not paragraph.startswith(BEGINNINGS) or not TELLING.fullmatch(paragraph.split("\n", 1)[0]):
            continue
        name, *lines = paragraph.split("\n\n", 1)[0].splitlines()
        fields = dict(line.split(": ", 1) for line in lines if line.startswith(("Status: ", "Version: ")))
        state = fields.get("Status", "").split(" ")[-1]
        if state not in ("", "not-installed", "config-files"):
            found.append(SystemPackage(name, fields.get("Version", ""), state))
    return tuple(sorted(set(found), key=lambda package: (package.name, package.version)))


def parse_pacman(names: tuple[str, ...]) -> tuple[SystemPackage, ...]:
    """From the folders of pacman's database: ``nvidia-utils-580.95.05-1``, name, version and release."""
    found = []
    for name in names:
        match = re.fullmatch(r"(.+)-([^-]+-[^-]+)", name)
        if match and TELLING.fullmatch(match[1]):
            found.append(SystemPackage(match[1], match[2], "installed"))
    return tuple(sorted(found, key=lambda package: package.name))
