"""What ld.so makes of a CPU: the subdirectories that it prefers. The oracle is the real one, where it can run here."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpucheck.elf.cpu import X86_TUNABLES, Cpu, read_cpu
from gpucheck.system import Rootfs
from tests.elf.workshop import Workshop

V3 = frozenset(
    [
        "cx16",
        "lahf_lm",
        "popcnt",
        "pni",
        "ssse3",
        "sse4_1",
        "sse4_2",
        "avx",
        "avx2",
        "bmi1",
        "bmi2",
        "f16c",
        "fma",
        "abm",
        "movbe",
    ],
)
# Debian 12's ld.so is 2.36; the last two are features that the variable does not know.
MASKS = [f"-{name}" for name in X86_TUNABLES if name not in ("CMOV", "CX8", "SSE2")] + ["-F16C", "-SSE3"]
FORMS = [
    "glibc.cpu.hwcaps=-AVX2,AVX2",
    "glibc.cpu.hwcaps=-AVX2_Usable,-POPCNT",
    "glibc.cpu.hwcaps=avx2,-avx2",
    "glibc.cpu.hwcaps= -AVX2",
    "glibc.cpu.hwcaps=-AVX2:glibc.malloc.check=0",
    "glibc.malloc.check=0:glibc.cpu.hwcaps=,-AVX2,,-MOVBE",
    "glibc.cpu.hwcaps=-AVX2:",
    ":glibc.cpu.hwcaps=-AVX2",
    "glibc.cpu.hwcaps=-POPCNT:glibc.cpu.hwcaps=-AVX2",
    "x=y=z:glibc.cpu.hwcaps=-AVX2",
    "glibc.cpu.hwcaps",
    "",
]


@pytest.mark.parametrize("tunables", [f"glibc.cpu.hwcaps={mask}" for mask in MASKS] + FORMS)
def test_tunables_switch_subdirectories_off_as_in_the_linker(workshop: Workshop, tunables: str) -> None:
    for name in ("x86-64-v4", "x86-64-v3", "x86-64-v2"):
        workshop.lib(f"lib/glibc-hwcaps/{name}/libx.so")
    workshop.lib("lib/libx.so")
    workshop.env["GLIBC_TUNABLES"] = tunables
    workshop.check(workshop.program("libx.so", rpath="{here}/lib"))


def test_newer_linkers_ignore_what_is_malformed() -> None:
    """Seen with 2.41, where 2.36 obeys all of these; both obey the last."""
    for tunables in ("glibc.cpu.hwcaps=-AVX2:", "x=y=z:glibc.cpu.hwcaps=-AVX2", "glibc.cpu.hwcaps=-AVX2:foo"):
        assert Cpu(V3).tuned(tunables, old=False).level == 3
        assert Cpu(V3).tuned(tunables, old=True).level == 2
    assert Cpu(V3).tuned("foo:glibc.cpu.hwcaps=-AVX2", old=False).level == 2


def cpuinfo(folder: Path, text: str) -> Cpu:
    (folder / "proc").mkdir()
    (folder / "proc/cpuinfo").write_text(text)
    return read_cpu(Rootfs(str(folder)))


# From glibc's sysdeps/powerpc/powerpc64/le/dl-hwcaps_subdirs.c, and what Linux prints (arch/powerpc/kernel/setup-common.c).
@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("POWER8E (raw), altivec supported", ()),
        ("POWER9, altivec supported", ("power9",)),
        ("POWER10 (architected), altivec supported", ("power10", "power9")),
        ("Power11 (architected), altivec supported", ("power10", "power9")),
        ("PPC970MP, altivec supported", ()),
    ],
)
def test_the_subdirectories_of_a_power_processor(tmp_path: Path, line: str, names: tuple[str, ...]) -> None:
    assert cpuinfo(tmp_path, f"processor\t: 0\ncpu\t\t: {line}\n").hwcaps(21, b"") == names


# From glibc's sysdeps/s390/s390-64/dl-hwcaps_subdirs.c, and what Linux prints (arch/s390/kernel/processor.c).
@pytest.mark.parametrize(
    ("features", "names"),
    [
        ("esan3 zarch stfle msa ldisp eimm dfp edat etf3eh highgprs te", ()),
        ("esan3 zarch te vx", ("z13",)),
        ("te vx vxd vxe gs", ("z14", "z13")),
        ("te vx vxd vxe gs vxe2 vxp sort dflt", ("z15", "z14", "z13")),
        ("te vx vxd vxe gs vxe2 vxp sort dflt vxp2 nnpa", ("z16", "z15", "z14", "z13")),
        # Each level asks for those below it.
        ("te vx vxe2 vxp", ("z13",)),
    ],
)
def test_the_subdirectories_of_a_mainframe(tmp_path: Path, features: str, names: tuple[str, ...]) -> None:
    cpu = cpuinfo(tmp_path, f"vendor_id       : IBM/S390\nfeatures\t: {features}\n")
    assert cpu.hwcaps(22, b"\0z16:z15:z14:z13\0") == names
    # A linker from before z16 does not know its name.
    assert cpu.hwcaps(22, b"\0z15:z14:z13\0") == tuple(name for name in names if name != "z16")


def test_other_machines_have_none() -> None:
    assert Cpu(V3, power=9).hwcaps(183, b"") == ()
