"""Whether a file asks for an executable stack."""

from __future__ import annotations

import struct

from gpucheck.elf.reader import Window, parse_header
from gpucheck.system.protocol import Readable

#: <elf.h>.
PT_GNU_STACK, PF_X = 0x6474E551, 1


def wants_executable_stack(system: Readable, path: str) -> bool:
    """Whether PT_GNU_STACK has the flag PF_X. A file without that header is left out: what it means depends on the processor.

    Raises ``ElfError`` for what is not a sound ELF file, ``OSError`` as ``system.read`` does.
    """
    window = Window(system, path)
    header = parse_header(window)
    order = "<" if header.little else ">"
    offset, count = header.segments
    # p_flags is the second field of Elf64_Phdr and the seventh of Elf32_Phdr.
    layout, place = (order + "IIIIIIII", 6) if header.bits == 32 else (order + "IIQQQQQQ", 1)
    table = window.at(offset, count * struct.calcsize(layout)) if count else b""
    return any(row[0] == PT_GNU_STACK and row[place] & PF_X for row in struct.iter_unpack(layout, table))
