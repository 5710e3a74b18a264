"""What the dynamic linker would do: ELF files, search order, ld.so.cache. Executes nothing."""

from gpucheck.elf.cpu import Cpu
from gpucheck.elf.linker import Linker, find_linker, find_native_linker
from gpucheck.elf.process import Process
from gpucheck.elf.reader import Elf, ElfError, read_elf
from gpucheck.elf.resolution import Candidate, Resolution
from gpucheck.elf.search import find, start

__all__ = [
    "Candidate",
    "Cpu",
    "Elf",
    "ElfError",
    "Linker",
    "Process",
    "Resolution",
    "find",
    "find_linker",
    "find_native_linker",
    "read_elf",
    "start",
]
