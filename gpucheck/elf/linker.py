"""What is built into the dynamic linker of a system: its default directories and the subdirectories it prefers.

The linker's own file is asked where it can be, because every distribution configures it in another way.
"""

from __future__ import annotations

import re

from gpucheck.elf.cpu import Cpu, read_cpu
from gpucheck.elf.reader import Elf, ElfError, Header, read_elf, read_header
from gpucheck.record import dataclass
from gpucheck.system.protocol import NotKept, System

#: Multiarch directory names: https://wiki.debian.org/Multiarch/Tuples
TRIPLETS = {
    (62, 64): "x86_64-linux-gnu",
    (3, 32): "i386-linux-gnu",
    (183, 64): "aarch64-linux-gnu",
    (40, 32): "arm-linux-gnueabihf",
    (21, 64): "powerpc64le-linux-gnu",
    (22, 64): "s390x-linux-gnu",
    (243, 64): "riscv64-linux-gnu",
    (258, 64): "loongarch64-linux-gnu",
}

#: The names under which programs ask for ld.so: https://sourceware.org/glibc/wiki/ABIList
INTERPRETERS = {
    (62, 64): "/lib64/ld-linux-x86-64.so.2",
    (3, 32): "/lib/ld-linux.so.2",
    (183, 64): "/lib/ld-linux-aarch64.so.1",
    (40, 32): "/lib/ld-linux-armhf.so.3",
    (21, 64): "/lib64/ld64.so.2",
    (22, 64): "/lib/ld64.so.1",
    (243, 64): "/lib/ld-linux-riscv64-lp64d.so.1",
    (258, 64): "/lib64/ld-linux-loongarch-lp64d.so.1",
}
MUSL_NAMES = {
    (62, 64): "x86_64",
    (3, 32): "i386",
    (183, 64): "aarch64",
    (40, 32): "armhf",
    (21, 64): "powerpc64le",
    (22, 64): "s390x",
    (243, 64): "riscv64",
    (258, 64): "loongarch64",
}

# Bits of the hwcap field of a cache entry: sysdeps/x86/dl-hwcap.h and elf/dl-cache.c of glibc 2.36.
TLS_BIT, X86_64_BIT, AVX512_1_BIT, HASWELL_BIT, XEON_PHI_BIT = 1 << 63, 1 << 1, 1 << 2, 1 << 50, 1 << 51

LIB_DIRECTORY = re.compile(rb"lib[!-~]{0,200}/\0")
MAX_LINKER = 2 << 20


@dataclass(frozen=True, slots=True)
class Linker:
    """A dynamic linker, as configured and on this CPU."""

    path: str
    """As programs name it (PT_INTERP)."""
    musl: bool
    machine: int
    bits: int
    directories: tuple[str, ...]
    """The default directories, in order, without a trailing slash."""
    hwcaps: tuple[str, ...] = ()
    """glibc-hwcaps names that this CPU supports, best first: ``x86-64-v3``, ..."""
    legacy: tuple[str, ...] = ()
    """Subdirectories that glibc before 2.37 tries: ``tls/x86_64``, ... in order."""
    platform: str | None = None
    """$PLATFORM; None when it cannot be known from here."""
    lib: str = "lib"
    """$LIB."""
    isa: int = 0b1
    """Bit set of ISA levels for cache entries."""
    legacy_bits: int = 0
    """Old hwcap bits that are acceptable in cache entries."""
    little: bool = True
    """Byte order of its files."""

    @property
    def subdirectories(self) -> tuple[str, ...]:
        """What is tried inside each directory before the directory itself."""
        return tuple(f"glibc-hwcaps/{name}" for name in self.hwcaps) + self.legacy


def find_linker(system: System, elf: Elf | Header, cpu: Cpu | None = None, tunables: str = "") -> Linker:
    """The linker for a file: the one that it names, else the one that the system has for its machine.

    A library names none. Where both C libraries are installed, what it needs decides (``libc.so.6`` is glibc's).
    ``tunables``: GLIBC_TUNABLES, which can take features from the CPU.
    """
    key = (elf.machine, elf.bits)
    if isinstance(elf, Elf) and elf.interpreter:
        return read_linker(system, elf.interpreter, elf, cpu, tunables)
    glibc = INTERPRETERS.get(key, "/lib/ld.so.1")
    musl = f"/lib/ld-musl-{MUSL_NAMES.get(key, 'unknown')}.so.1"
    first, second = (glibc, musl)
    if isinstance(elf, Elf) and any(name == "libc.so" or name.startswith("libc.musl-") for name in elf.needed):
        first, second = (musl, glibc)
    for path in (first, second):
        if system.resolve(path) is not None:
            return read_linker(system, path, elf, cpu, tunables)
    return read_linker(system, first, elf, cpu, tunables)


def find_native_linker(system: System, cpu: Cpu | None = None, tunables: str = "") -> Linker:
    """The linker of the programs of a system. Raises ``ElfError`` when there is neither a program nor a linker."""
    for path in ("/bin/sh", "/usr/bin/env", "/bin/busybox", "/usr/bin/python3", "/sbin/ldconfig"):
        try:
            return find_linker(system, read_elf(system, path), cpu, tunables)
        except NotKept:
            raise
        except (OSError, ElfError):
            continue
    for key, path in INTERPRETERS.items():
        for name in (path, f"/lib/ld-musl-{MUSL_NAMES[key]}.so.1"):
            try:
                return read_linker(system, name, read_header(system, name), cpu, tunables)
            except NotKept:
                raise
            except (OSError, ElfError):
                continue
    raise ElfError("/lib", "no dynamic linker (ld.so) is there")


def read_linker(system: System, path: str, elf: Elf | Header, cpu: Cpu | None = None, tunables: str = "") -> Linker:
    """Read the linker at ``path``; where it is not there, what distributions commonly configure is taken."""
    machine, bits = elf.machine, elf.bits
    name = path.rsplit("/", 1)[-1]
    if name.startswith("ld-musl-"):
        return Linker(path, True, machine, bits, musl_directories(system, path, name), little=elf.little)
    try:
        data = system.read(path, MAX_LINKER)
    except NotKept:
        raise
    except OSError:
        data = b""
    directories = built_in_directories(data) or common_directories(system, machine, bits)
    if cpu is None:
        cpu = read_cpu(system)
    # Distributions patch features back, so the file is asked instead of its version. Before 2.33 there were only
    # the legacy subdirectories, 2.33 to 2.36 have both and say so in --help, 2.37 dropped the old ones (its NEWS).
    has_legacy = bool(data) and (b"Legacy HWCAP" in data or b"glibc-hwcaps" not in data)
    if tunables and machine == 62:
        cpu = cpu.tuned(tunables, old=has_legacy)
    hwcaps = cpu.hwcaps(machine, data) if b"glibc-hwcaps" in data or not data else ()
    platform = platform_of(machine, cpu)
    first = directories[0] if directories else "/lib"
    return Linker(
        path,
        False,
        machine,
        bits,
        directories,
        hwcaps,
        legacy_of(machine, cpu, platform) if has_legacy else (),
        platform,
        # The value is configured with the directory of libc itself, which is the first default one.
        first.removeprefix("/usr").lstrip("/") if first.startswith(("/lib", "/usr/lib")) else first.rsplit("/", 1)[-1],
        (1 << cpu.level) - 1 if machine == 62 else 0b1,
        legacy_bits_of(machine, cpu, platform) if has_legacy else 0,
        elf.little,
    )


def built_in_directories(data: bytes) -> tuple[str, ...]:
    """The default directories out of an ld.so file: ``SYSTEM_DIRS`` of elf/dl-load.c, a run of strings in it."""
    best: tuple[bytes, ...] = ()
    end = 0
    while hint := LIB_DIRECTORY.search(data, end):
        at = data.rfind(b"\0", 0, hint.start()) + 1
        run = []
        while (end := data.find(b"\0", at)) > 0:
            text = data[at:end]
            if not (text.startswith(b"/") and text.endswith(b"/") and b"lib" in text):
                break
            run.append(text)
            at = end + 1
        end = max(hint.end(), at)
        best = max(best, tuple(run), key=len)
    return tuple(text.decode("utf-8", "surrogateescape").rstrip("/") for text in best)


def common_directories(system: System, machine: int, bits: int) -> tuple[str, ...]:
    """Debian's multiarch directories where they exist, else lib64 for those 64-bit machines that use it."""
    triplet = TRIPLETS.get((machine, bits))
    if triplet and any(system.resolve(f"{top}/{triplet}") for top in ("/lib", "/usr/lib")):
        return (f"/lib/{triplet}", f"/usr/lib/{triplet}", "/lib", "/usr/lib")
    if bits == 64 and any(system.resolve(path) for path in ("/lib64", "/usr/lib64")):
        return ("/lib64", "/usr/lib64")
    return ("/lib", "/usr/lib")


def musl_directories(system: System, path: str, name: str) -> tuple[str, ...]:
    """``/etc/ld-musl-ARCH.path`` below the linker's prefix, else musl's default: ldso/dynlink.c, ``load_library``."""
    prefix = path.rsplit("/", 2)[0] if path.startswith("/") else ""
    architecture = name.removeprefix("ld-musl-").removesuffix(".so.1")
    try:
        text = system.read(f"{prefix}/etc/ld-musl-{architecture}.path", 1 << 20).decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        text = "/lib:/usr/local/lib:/usr/lib"
    except NotKept:
        raise
    except OSError:
        text = ""
    return tuple(part for part in text.replace("\n", ":").split(":") if part)


def platform_of(machine: int, cpu: Cpu) -> str | None:
    """$PLATFORM. On x86-64 ld.so replaces the kernel's word on Intel: sysdeps/x86/cpu-features.c."""
    if machine == 62:
        flags = cpu.flags
        if cpu.intel and {"avx512cd", "avx512er", "avx512pf"} <= flags:
            return "xeon_phi"
        if cpu.intel and {"avx2", "fma", "bmi1", "bmi2", "abm", "movbe", "popcnt"} <= flags:
            return "haswell"
        return "x86_64"
    return {3: "i686", 183: "aarch64"}.get(machine)


def legacy_of(machine: int, cpu: Cpu, platform: str | None) -> tuple[str, ...]:
    """The power set of hwcap names, platform and ``tls``, in the order of ``_dl_important_hwcaps`` (dl-hwcaps.c)."""
    names = hwcap_names(machine, cpu)
    if platform:
        names.append(platform)
    names.append("tls")
    found = []
    for mask in range((1 << len(names)) - 1, 0, -1):
        found.append("/".join(names[at] for at in range(len(names) - 1, -1, -1) if mask & 1 << at))
    return tuple(dict.fromkeys(found))


def hwcap_names(machine: int, cpu: Cpu) -> list[str]:
    """``HWCAP_IMPORTANT`` of the architecture, as far as the CPU has it."""
    if machine == 62:
        return ["x86_64", "avx512_1"] if has_avx512_1(cpu) else ["x86_64"]
    if machine == 183:
        return ["atomics"] if "atomics" in cpu.flags else []
    return []


def has_avx512_1(cpu: Cpu) -> bool:
    """``HWCAP_X86_AVX512_1``: sysdeps/x86/cpu-features.c."""
    return cpu.intel and "avx512er" not in cpu.flags and {"avx512cd", "avx512bw", "avx512dq", "avx512vl"} <= cpu.flags


def legacy_bits_of(machine: int, cpu: Cpu, platform: str | None) -> int:
    """The complement of ``hwcap_exclude`` in ``search_cache`` (elf/dl-cache.c)."""
    bits = TLS_BIT
    if machine == 62:
        bits |= X86_64_BIT | (AVX512_1_BIT if has_avx512_1(cpu) else 0)
        bits |= {"haswell": HASWELL_BIT, "xeon_phi": XEON_PHI_BIT}.get(platform or "", 0)
    return bits
