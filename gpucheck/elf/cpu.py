"""What ld.so looks at in a CPU: it decides which subdirectories of a search path come first."""

from __future__ import annotations

import re

from gpucheck.record import dataclass, replace
from gpucheck.system.protocol import System

#: glibc's sysdeps/x86/get-isa-level.h, in the words of /proc/cpuinfo; bit n of the ISA levels is row n.
X86_LEVELS = (
    frozenset(("cmov", "cx8", "fpu", "fxsr", "mmx", "sse", "sse2")),
    frozenset(("cx16", "lahf_lm", "popcnt", "pni", "ssse3", "sse4_1", "sse4_2")),
    frozenset(("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe")),
    frozenset(("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")),
)

#: glibc's sysdeps/s390/s390-64/dl-hwcaps_subdirs.c, its bits in the words of Linux' arch/s390/kernel/processor.c. The names that a
#: linker knows are in its file: z16 came later.
S390_LEVELS = (
    ("z13", frozenset(("vx",))),
    ("z14", frozenset(("vxd", "vxe", "gs"))),
    ("z15", frozenset(("vxe2", "vxp"))),
    ("z16", frozenset(("vxp2",))),
)

#: The features that glibc.cpu.hwcaps can switch off (sysdeps/x86/cpu-tunables.c), in the words of /proc/cpuinfo, as far as they
#: decide about directories. Tried out with 2.36 and 2.41: F16C, SSE3, CMPXCHG16B and LAHF64_SAHF64 are names that neither knows.
X86_TUNABLES = {
    **{
        name: name.lower()
        for name in (
            "AVX", "AVX2", "AVX512BW", "AVX512CD", "AVX512DQ", "AVX512ER", "AVX512F", "AVX512PF", "AVX512VL", "BMI1", "BMI2",
            "CMOV", "CX8", "FMA", "MOVBE", "POPCNT", "SSE2", "SSE4_1", "SSE4_2", "SSSE3",
        )
    },
    "LZCNT": "abm",
    "OSXSAVE": "avx",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cpu:
    """What ld.so looks at in a CPU."""

    flags: frozenset[str]
    """As in /proc/cpuinfo."""
    intel: bool = False
    power: int = 0
    """The generation of a POWER processor; 0 for another."""

    @property
    def level(self) -> int:
        """The x86-64 level, 1 to 4; 1 for anything else."""
        level = 1
        for number, wanted in enumerate(X86_LEVELS[1:], 2):
            if not wanted <= self.flags:
                break
            level = number
        return level

    def hwcaps(self, machine: int, linker: bytes) -> tuple[str, ...]:
        """The glibc-hwcaps names that it supports, best first: dl-hwcaps_subdirs.c of each architecture.

        ``linker``: the content of ld.so, which knows the names of its time.
        """
        if machine == 62:
            return tuple(f"x86-64-v{level}" for level in range(self.level, 1, -1))
        if machine == 21:
            return tuple(f"power{number}" for number in (10, 9) if self.power >= number)
        found: list[str] = []
        for name, wanted in S390_LEVELS if machine == 22 else ():
            if not wanted <= self.flags or (linker and not re.search(rb"[\0:]%s[\0:]" % name.encode(), linker)):
                break
            found.insert(0, name)
        return tuple(found)

    def tuned(self, tunables: str, *, old: bool) -> Cpu:
        """As ld.so sees it when GLIBC_TUNABLES switches features off; ``old``: before glibc 2.37.

        Names and order were tried out; newer linkers ignore the whole variable where it is malformed (elf/dl-tunables.c).
        """
        parts = tunables.split(":")
        if not old and ("=" not in parts[-1] or any(part.count("=") > 1 for part in parts)):
            return self
        masks = [part.partition("=")[2] for part in parts if part.startswith("glibc.cpu.hwcaps=")]
        names = {name[1:] for mask in masks[-1:] for name in mask.split(",") if name.startswith("-")}
        return replace(self, flags=self.flags - {X86_TUNABLES[name] for name in names if name in X86_TUNABLES})


def read_cpu(system: System) -> Cpu:
    """The CPU of a system; no flags when it has no /proc/cpuinfo (an image), so that only the baseline is assumed."""
    try:
        # The first processor says it; with hundreds of them the whole file is slow to produce.
        lines = system.read("/proc/cpuinfo", 8192).decode("utf-8", "replace").splitlines()
    except OSError:
        return Cpu(frozenset())
    values: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            values.setdefault(name.strip(), value.strip())
    flags = values.get("flags") or values.get("Features") or values.get("features") or ""
    power = values.get("cpu", "") and re.match(r"POWER(\d+)", values["cpu"], re.IGNORECASE)
    return Cpu(frozenset(flags.split()), values.get("vendor_id") == "GenuineIntel", int(power[1]) if power else 0)
