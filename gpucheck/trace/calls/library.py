"""The auditing library: put where the dynamic linker of the command finds it, or the reason why not."""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Mapping

from gpucheck.elf.reader import ElfError, read_header
from gpucheck.record import dataclass
from gpucheck.system.local import Local
from gpucheck.trace.calls.log import PROCESSES
from gpucheck.trace.program import Program

#: In the library, where the folder for the files goes: native/calls.c.
MARKER = b"@gpucheck: the folder for the files@"
ROOM = 1024

#: What ld.so puts for $PLATFORM, by the file that serves it: a child of another architecture finds a library for itself, or
#: one that declines; without one, ld.so prints an error for each such program. ld.so(8); glibc's cpu_features.c, dl-platform.h.
PLATFORMS = {
    "calls-x86_64": ("x86_64", "haswell", "xeon_phi"),
    "calls-aarch64": ("aarch64",),
    "calls-i686": ("i686", "i586", "i486", "i386"),
}
MACHINES = ("x86_64", "aarch64")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Calls cannot be watched here. ``reason`` is a clause for a person."""

    reason: str


def prepare(environment: Mapping[str, str], folder: str) -> dict[str, str] | Refusal:
    """Put the library into ``folder``, an empty folder of ours, and give the variables to add to the command's environment.

    The command's processes write into ``folder`` too; those that changed their user may do so as well. Raises OSError when
    the folder cannot be written to.
    """
    folder = os.path.abspath(folder)
    if os.uname().machine not in MACHINES:
        return Refusal(
            f"there is no library for {os.uname().machine} that watches calls, only for {' and '.join(MACHINES)}"
        )
    if len(os.fsencode(folder)) >= ROOM - 32:
        return Refusal(f"the folder's name is too long: {folder}")
    if any(letter in folder for letter in ":$"):
        return Refusal(f"ld.so cannot be told of a folder with ':' or '$' in its name: {folder}")
    if os.statvfs(folder).f_flag & os.ST_NOEXEC:
        return Refusal(f"{folder} is mounted noexec, so no library in it can be loaded; TMPDIR chooses another place")
    for name, platforms in PLATFORMS.items():
        with open(os.path.join(folder, f"{name}.so"), "wb") as file:
            file.write(_addressed(pkgutil.get_data("gpucheck.native", f"{name}.elf") or b"", folder))
            os.fchmod(file.fileno(), 0o755)
        for platform in platforms:
            os.makedirs(os.path.join(folder, platform))
            os.symlink(f"../{name}.so", os.path.join(folder, platform, "calls.so"))
    with open(os.path.join(folder, PROCESSES), "wb") as file:
        os.fchmod(file.fileno(), 0o666)
    # Sticky and writable, but not readable: like /tmp, for a command that gives up its privileges.
    os.chmod(folder, 0o1733)
    others = [path for path in environment.get("LD_AUDIT", "").split(":") if path]
    # First: glibc 2.36 asks nothing of an auditing library that follows one without la_objopen (measured).
    return {"LD_AUDIT": ":".join((os.path.join(folder, "$PLATFORM", "calls.so"), *others))}


def _addressed(library: bytes, folder: str) -> bytes:
    at = library.find(MARKER)
    if at < 0:
        return library
    return library[:at] + os.fsencode(folder).ljust(ROOM, b"\0") + library[at + ROOM :]


def obstacle(program: Program) -> str:
    """Why the calls of a program itself cannot be watched; '' when they can. What it starts may be watched all the same."""
    if program.kind == "static":
        return f"{program.interpreted} is linked statically: no dynamic linker runs, so none can be asked to watch its calls"
    if program.kind == "musl":
        return f"{program.interpreted} runs with musl, whose dynamic linker has no auditing (LD_AUDIT)"
    if program.privileged:
        return f"the dynamic linker ignores LD_AUDIT: {program.privileged}"
    try:
        header = read_header(Local(), program.interpreted)
    except (ElfError, OSError):
        return ""
    return (
        f"{program.interpreted} is a {header.bits}-bit program; calls of 64-bit programs are watched"
        if header.bits != 64
        else ""
    )
