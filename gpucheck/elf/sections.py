"""What the section headers of a file tell: which sections there are, and the notes that matter for GPUs."""

from __future__ import annotations

import struct

from gpucheck.elf.reader import Elf, ElfError, Window
from gpucheck.record import dataclass
from gpucheck.system.protocol import Readable

MAX_NOTE = 1 << 20
MAX_NAME = 512


@dataclass(frozen=True, slots=True)
class Section:
    """A section header: elf(5), Elf64_Shdr."""

    name: str
    kind: int
    """``sh_type``."""
    offset: int
    size: int
    alignment: int


@dataclass(frozen=True, slots=True)
class ForwardCompatibility:
    """The note by which a libcuda of the CUDA forward compatibility package says where it works."""

    cuda: str
    """``CUDA Version``, for example ``13.1``."""
    drivers: tuple[int, ...]
    """Major versions of the host drivers that it supports."""
    devices: tuple[int, ...]
    """NVIDIA's numbers for the kinds of device."""


def read_headers(system: Readable, elf: Elf) -> tuple[tuple[int, int, int, int, int], ...]:
    """(where its name is, ``sh_type``, offset, size, alignment) of all sections; none when the file was stripped of its headers.

    The names are in a section of their own, far from the headers, and most questions need none.
    """
    offset, count, _ = elf.sections
    if not offset or not count:
        return ()
    layout = elf.order + ("10I" if elf.bits == 32 else "IIQQQQIIQQ")
    data = Window(system, elf.path).at(offset, count * struct.calcsize(layout))
    return tuple((row[0], row[1], row[4], row[5], row[8]) for row in struct.iter_unpack(layout, data))


def read_sections(system: Readable, elf: Elf) -> tuple[Section, ...]:
    """All sections; none when the file was stripped of its section headers. Raises ``ElfError``, ``OSError``."""
    rows = read_headers(system, elf)
    if not rows:
        return ()
    _, count, names = elf.sections
    if names >= count:
        raise ElfError(elf.path, f"section {names} of {count} is to hold the names of the sections")
    window, base = Window(system, elf.path), rows[names][2]
    return tuple(
        Section(window.string(base + name, MAX_NAME), kind, start, size, alignment)
        for name, kind, start, size, alignment in rows
    )


def read_note(system: Readable, elf: Elf, section: Section) -> tuple[str, bytes]:
    """(name, description) of the first note in a section: elf(5), "Notes". Raises ``ElfError``, ``OSError``."""
    if section.size > MAX_NOTE:
        raise ElfError(elf.path, f"a note of {section.size} bytes")
    data = Window(system, elf.path).at(section.offset, section.size)
    if len(data) < 12:
        raise ElfError(elf.path, f"truncated note in {section.name}")
    name_size, size, _ = struct.unpack_from(elf.order + "III", data)
    step = section.alignment if section.alignment in (4, 8) else 4
    start = (12 + name_size + step - 1) // step * step
    return data[12 : 12 + name_size].rstrip(b"\0").decode("utf-8", "replace"), data[start : start + size]


def read_forward_compatibility(system: Readable, elf: Elf) -> ForwardCompatibility | None:
    """The compatibility note of a libcuda; None for one without it. Raises ``ElfError`` when it makes no sense.

    Layout: nvidia-container-toolkit, cmd/nvidia-cdi-hook/cudacompat/cuda-elf-header.go. By hand:
    ``readelf -p .note.cuda.fwd_compatibility libcuda.so.VERSION``.
    """
    import json

    for section in read_sections(system, elf):
        if section.name != ".note.cuda.fwd_compatibility":
            continue
        name, data = read_note(system, elf, section)
        if name != "NVIDIA Corporation":
            return None
        try:
            said = json.loads(data.strip(b"\0").decode("utf-8"))
            return ForwardCompatibility(
                str(said["CUDA Version"]),
                tuple(int(number) for number in said.get("Driver") or ()),
                tuple(int(number) for number in said.get("Device") or ()),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ElfError(elf.path, f"{section.name} is not as expected: {error!r}") from None
    return None
