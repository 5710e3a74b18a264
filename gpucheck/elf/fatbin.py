"""Which GPUs the code in a file is for: the fat binaries that nvcc puts into host objects. Nothing is decompressed.

A fat binary is a header and entries, each with a header of its own: the kind (PTX, a cubin), the architecture, whether it is
for that one (``a``) or for its family (``f``). One translation unit makes one, so a library has hundreds.

NVIDIA does not document the layout. Source: stream_executor/cuda/cuda_fatbin.h of openxla/xla, and what ``cuobjdump -lelf -lptx``
says of files that ``nvcc`` of CUDA 13.5 made for each kind of target (tests/contents/test_fatbin.py does it again).
"""

from __future__ import annotations

import struct
from array import array
from collections import Counter
from collections.abc import Iterable

from gpucheck.elf.reader import Elf, read_elf
from gpucheck.elf.sections import read_sections
from gpucheck.record import dataclass
from gpucheck.system.protocol import Readable, System

MAGIC = b"\x50\xed\x55\xba"
_HEADER = struct.Struct("<4sHHQ")
_ENTRY = struct.Struct("<HHIQIIHHI")
ENTRY_SIZE = 64
#: What follows the 64 bytes of an entry's header is a name or options: tens of bytes.
MAX_ENTRY = 1 << 16
#: PTX is 1, a cubin 2, and 16 in some files. Others are passed over: 8 is NVVM IR for link-time optimization, which the driver
#: does not take as it is.
KINDS = {1: "compute_", 2: "sm_", 16: "sm_"}
#: Where in an entry's header its flags are, and those of a target with a suffix.
FLAGS = 40
ONLY, FAMILY = 0x100000, 0x200000
#: libcufft of CUDA 13 has 29,000; what has more is not believed.
MAX_CONTAINERS = 1 << 18
MAX_SETS = 1 << 12
#: What looks like the start of one and is none; no real file has a thousand.
MAX_TRIES = 1 << 20
PIECE, CHUNK = 1 << 16, 1 << 20

#: Code that the device linker still has to link: nothing loads it once there is linked code beside it.
RELOCATABLE = "__nv_relfatbin"


@dataclass(frozen=True, slots=True)
class Target:
    """A GPU architecture that there is code for."""

    name: str
    """``sm_90`` (machine code), ``compute_90`` (PTX), with the suffixes ``a`` and ``f``."""
    containers: int
    """How many of the fat binaries have it."""


@dataclass(frozen=True, slots=True)
class Fatbins:
    """The fat binaries of a file, or of the files of a package."""

    containers: int
    targets: tuple[Target, ...]
    """All that occur, PTX last."""
    served: tuple[str, ...]
    """Those that the code as a whole is there for; see ``serve``."""


class FatbinScanner:
    """Finds fat binaries in bytes that come in pieces of any size; keeps a few bytes of them, and ten for each that it finds."""

    __slots__ = ("_at", "_container", "_end", "_found", "_names", "_rest", "_sets", "_skip", "_tries")

    def __init__(self) -> None:
        self._at = 0
        self._rest = b""
        self._skip = 0
        self._end = 0
        self._container = -1
        self._tries = 0
        self._names: set[str] = set()
        self._sets: dict[frozenset[str], int] = {}
        self._found = (array("Q"), array("H"))

    @property
    def unneeded(self) -> int:
        """How many of the next bytes it would throw away: who reads a file may pass them over with ``skip``."""
        return self._skip

    def skip(self, count: int) -> None:
        """As ``feed`` with ``count`` bytes, at most ``unneeded``."""
        self._skip -= count
        self._at += count

    def feed(self, data: bytes) -> None:
        """The next bytes of the file."""
        at = min(self._skip, len(data))
        self._skip -= at
        if self._rest:
            # What begins in the rest is no longer than a header: so much is looked at together, and the data is not copied.
            seam = self._rest + data[:ENTRY_SIZE]
            at = self._walk(seam, 0, len(self._rest))
            if at < len(self._rest):
                self._rest = seam[at:]
                self._at += at
                return
            self._at += len(self._rest)
            at -= len(self._rest)
        at = self._walk(data, at, len(data))
        kept = min(at, len(data))
        self._skip += at - kept
        self._rest = data[kept:]
        self._at += kept

    def _walk(self, data: bytes, at: int, end: int) -> int:
        """Deal with what begins before ``end``; where it ended, sooner when more bytes are needed, or later."""
        while at < end:
            used = self._in_container(data, at) if self._container >= 0 else self._between(data, at)
            if used < 0:
                break
            at += used
        return at

    def _between(self, data: bytes, at: int) -> int:
        """Look for the next fat binary; the number of bytes that were dealt with, -1 for: more are needed."""
        found = data.find(MAGIC, at)
        if found < 0:
            return (len(data) - at - len(MAGIC) + 1) if len(data) - at >= len(MAGIC) else -1
        if found > at:
            return found - at
        if len(data) - at < _HEADER.size:
            return -1
        _, version, header, size = _HEADER.unpack_from(data, at)
        self._tries += 1
        if len(self._found[0]) >= MAX_CONTAINERS or self._tries >= MAX_TRIES:
            return len(data) - at
        if version != 1 or not _HEADER.size <= header <= MAX_ENTRY:
            return len(MAGIC)
        self._container = self._at + at
        self._end = self._container + header + size
        self._names = set()
        return int(header)

    def _in_container(self, data: bytes, at: int) -> int:
        """Read the header of the next entry."""
        here = self._at + at
        if here + ENTRY_SIZE > self._end:
            self._close(whole=True)
            return 0
        if len(data) - at < ENTRY_SIZE:
            return -1
        kind, _, header, size, _, _, _, _, architecture = _ENTRY.unpack_from(data, at)
        (flags,) = struct.unpack_from("<Q", data, at + FLAGS)
        if not kind or not ENTRY_SIZE <= header <= MAX_ENTRY or here + header + size > self._end:
            self._close(whole=False)
            return len(MAGIC)
        if kind in KINDS and 10 <= architecture < 1000:
            suffix = "a" if flags & ONLY else "f" if flags & FAMILY else ""
            self._names.add(f"{KINDS[kind]}{architecture}{suffix}")
        return int(header + size)

    def _close(self, *, whole: bool) -> None:
        """One that does not hold together is not counted: the mark of four bytes occurs by chance too."""
        names = frozenset(self._names)
        if whole and names and (names in self._sets or len(self._sets) < MAX_SETS):
            self._found[0].append(self._container)
            self._found[1].append(self._sets.setdefault(names, len(self._sets)))
        self._container = -1

    def containers(self, passing: Iterable[tuple[int, int]] = ()) -> Counter[frozenset[str]]:
        """How many fat binaries have which targets. ``passing``: (offset, size) of the parts of the file that do not count."""
        if self._container >= 0 and self._at + len(self._rest) + self._skip >= self._end and not self._skip:
            self._close(whole=True)
        sets = list(self._sets)
        parts = [(start, start + size) for start, size in passing]
        return Counter(
            sets[index] for place, index in zip(*self._found) if not any(start <= place < end for start, end in parts)
        )

    def targets(self, passing: Iterable[tuple[int, int]] = ()) -> tuple[tuple[int, str], ...]:
        """The same as numbers and text, for an index: ``(476, "sm_80 sm_90")``."""
        found = self.containers(passing)
        return tuple(sorted((number, " ".join(sorted(names, key=order))) for names, number in found.items()))


def of_targets(rows: Iterable[tuple[int, str]]) -> Counter[frozenset[str]]:
    """What ``targets`` was made from."""
    return Counter({frozenset(names.split()): number for number, names in rows})


def count(containers: Counter[frozenset[str]]) -> tuple[Target, ...]:
    """All targets, machine code first, by capability."""
    counted: Counter[str] = Counter()
    for names, number in containers.items():
        for name in names:
            counted[name] += number
    return tuple(Target(name, counted[name]) for name in sorted(counted, key=order))


def order(target: str) -> tuple[bool, int, str]:
    """The order in which targets are shown."""
    kind, _, number = target.partition("_")
    return kind == "compute", int(number.rstrip("af")), number


#: Of machine code: a target that fewer than one in so many of the fat binaries have is one of a few special kernels.
RARE = 20


def serve(containers: Counter[frozenset[str]]) -> tuple[str, ...]:
    """The targets that the code as a whole is there for, of what its fat binaries have.

    A library's fat binaries have not all the same targets. torch 2.15 has sm_90a in 4 of 476 (beside sm_90), and matrix kernels
    for sm_100a beside sm_100; onnxruntime 1.31 has 292 of 609 for sm_90a alone, because nothing else can run them, and sm_75 in
    a third. So:

    - Code with a suffix counts only where the same fat binary has no plain code that runs on the same GPUs: there it is a
      faster variant.
    - Machine code counts unless it is rare: fewer than a twentieth of what the most frequent target has. What is left out
      here would be called missing, so the limit is low.
    - PTX counts when half of the fat binaries have it: it stands in for all machine code that is not there.

    The result for torch is what torch.cuda.get_arch_list() says (tests/contents/test_fatbin.py, with the real one).
    """
    effective: Counter[str] = Counter()
    total = 0
    for names, number in containers.items():
        total += number
        for name in names:
            if not (name[-1] in "af" and any(_stands_for(other, name) for other in names)):
                effective[name] += number
    most = max((number for name, number in effective.items() if name.startswith("sm_")), default=0)
    return tuple(
        name
        for name in sorted(effective, key=order)
        if (effective[name] * RARE >= most if name.startswith("sm_") else effective[name] * 2 >= total)
    )


def _stands_for(other: str, name: str) -> bool:
    """Whether plain code of the same kind runs where ``name``, which has a suffix, does."""
    kind, _, number = name.partition("_")
    other_kind, _, other_number = other.partition("_")
    if kind != other_kind or not other_number.isdigit():
        return False
    mine, theirs = int(number[:-1]), int(other_number)
    return theirs <= mine and (kind == "compute" or theirs // 10 == mine // 10)


def summarize(containers: Counter[frozenset[str]]) -> Fatbins | None:
    """What is said of a file; None for one without GPU code."""
    total = sum(containers.values())
    return Fatbins(total, count(containers), serve(containers)) if total else None


def passed_over(system: Readable, elf: Elf) -> tuple[tuple[int, int], ...]:
    """The parts of a file whose fat binaries do not count: relocatable ones beside linked ones. Raises as ``read_sections``."""
    sections = read_sections(system, elf)
    if not any(section.name == ".nv_fatbin" for section in sections):
        return ()
    return tuple((section.offset, section.size) for section in sections if section.name == RELOCATABLE)


def scan(system: System, path: str) -> Counter[frozenset[str]]:
    """The fat binaries of a file, reading little more than their headers. Raises ``ElfError``, ``OSError``.

    Code is in .nv_fatbin, where the runtime registers it, and in data that the program itself hands to the driver: libcufft has
    most of its own in .ldata, tensorflow in .rodata. What is no data (text, symbols, debugging) is not looked at.
    """
    elf = read_elf(system, path)
    passing = passed_over(system, elf)
    found: Counter[frozenset[str]] = Counter()
    for section in read_sections(system, elf):
        if holds_data(section.name, section.kind) and (section.offset, section.size) not in passing:
            found += _scan_part(system, path, section.offset, section.size)
    return found


#: elf(5): SHT_PROGBITS is what the program itself defines.
SHT_PROGBITS = 1
_NO_DATA = (".text", ".init", ".fini", ".plt", ".eh_frame", ".gcc_except_table", ".debug", ".comment", ".interp")


def holds_data(name: str, kind: int) -> bool:
    """Whether a section may hold fat binaries."""
    return kind == SHT_PROGBITS and not name.startswith(_NO_DATA)


def _scan_part(system: System, path: str, offset: int, size: int) -> Counter[frozenset[str]]:
    scanner = FatbinScanner()
    end = offset + size
    at = offset
    # Payloads are of tens of kilobytes, with a header between two; far from them, megabytes are looked through.
    step = PIECE
    while at < end:
        passed = min(scanner.unneeded, end - at)
        scanner.skip(passed)
        at += passed
        step = PIECE if passed else min(step * 2, CHUNK)
        data = system.read(path, min(step, end - at), at)
        if not data:
            break
        scanner.feed(data)
        at += len(data)
    return scanner.containers()
