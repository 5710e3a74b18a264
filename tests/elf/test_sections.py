"""Sections and notes: what readelf shows, and the note of the CUDA forward compatibility package."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from gpucheck.elf import ElfError, read_elf
from gpucheck.elf.sections import ForwardCompatibility, read_forward_compatibility, read_note, read_sections
from gpucheck.elf.symbols import read_symbols
from gpucheck.system import Local
from tests.elf.workshop import Workshop, run

#: As ``readelf -p .note.cuda.fwd_compatibility`` shows it in a libcuda of CUDA 13.1.
JSON = '{"Format": 1, "CUDA Version": "13.1", "Driver": [535, 550, 570, 575, 580, 590], "Device": [1, 2, 7]}'


def with_note(workshop: Workshop, text: str, *, owner: str = "NVIDIA Corporation", align: int = 2) -> Path:
    """A library with the note, made by the assembler."""
    source = workshop.here / "note.s"
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    source.write_text(f"""
        .section .note.cuda.fwd_compatibility, "a", @note
        .p2align {align}
        .long 2f - 1f, 4f - 3f, 1
    1:  .asciz "{owner}"
    2:  .p2align {align}
    3:  .asciz "{quoted}"
    4:  .p2align {align}
        .section .nv_fatbin, "a"
        .zero 16
    """)
    target = workshop.here / "libcuda.so.590.44.01"
    subprocess.run(["gcc", "-shared", "-nostdlib", "-Wl,--build-id", "-o", target, source], check=True)
    return target


@pytest.mark.parametrize("align", [2, 3])
def test_the_compatibility_note_is_read(workshop: Workshop, align: int) -> None:
    elf = read_elf(Local(), os.fspath(with_note(workshop, JSON, align=align)))
    assert read_forward_compatibility(Local(), elf) == ForwardCompatibility(
        "13.1", (535, 550, 570, 575, 580, 590), (1, 2, 7)
    )


def test_a_note_of_someone_else_is_none(workshop: Workshop) -> None:
    elf = read_elf(Local(), os.fspath(with_note(workshop, JSON, owner="Someone")))
    assert read_forward_compatibility(Local(), elf) is None


def test_a_library_without_the_note_has_none(workshop: Workshop) -> None:
    elf = read_elf(Local(), os.fspath(workshop.lib("libcuda.so.1")))
    assert read_forward_compatibility(Local(), elf) is None


@pytest.mark.parametrize("text", ["", "no json", "[]", "{}", '{"CUDA Version": "13.1", "Driver": [null]}', "[" * 5000])
def test_a_note_that_makes_no_sense_is_an_error(workshop: Workshop, text: str) -> None:
    elf = read_elf(Local(), os.fspath(with_note(workshop, text)))
    with pytest.raises(ElfError, match=r"libcuda\.so\.590\.44\.01: \.note\.cuda\.fwd_compatibility is not as expected"):
        read_forward_compatibility(Local(), elf)


def test_sections_and_build_id_are_those_of_readelf(workshop: Workshop) -> None:
    path = os.fspath(with_note(workshop, JSON))
    elf = read_elf(Local(), path)
    sections = read_sections(Local(), elf)
    names = [section.name for section in sections]
    stdout, _ = run("readelf", "-W", "-S", path)
    assert names[1:] == re.findall(r"\[ *\d+\] (\.\S+)", stdout)
    assert ".nv_fatbin" in names
    stdout, _ = run("readelf", "-n", path)
    note = read_note(Local(), elf, sections[names.index(".note.gnu.build-id")])
    assert note[0] == "GNU" and note[1].hex() == re.findall(r"Build ID: ([0-9a-f]+)", stdout)[0]


def test_the_dynamic_symbols_are_counted_without_the_names_of_sections(workshop: Workshop) -> None:
    """libjax_common.so of jaxlib 0.10.2 has 108 MB of names behind them: of a layer, neither is kept."""
    path = with_note(workshop, JSON)
    whole = read_symbols(Local(), read_elf(Local(), os.fspath(path)))
    data = bytearray(path.read_bytes())
    data[62:64] = b"\xfe\xff"  # e_shstrndx: a section that there is not
    path.write_bytes(data)
    elf = read_elf(Local(), os.fspath(path))
    with pytest.raises(ElfError, match="is to hold the names"):
        read_sections(Local(), elf)
    assert read_symbols(Local(), elf) == whole


def test_a_file_without_section_headers_has_no_sections(workshop: Workshop) -> None:
    path = with_note(workshop, JSON)
    data = bytearray(path.read_bytes())
    data[40:48] = bytes(8)
    data[60:64] = bytes(4)
    path.write_bytes(data)
    elf = read_elf(Local(), os.fspath(path))
    assert read_sections(Local(), elf) == ()
