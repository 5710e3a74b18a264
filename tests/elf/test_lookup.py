"""Single symbols by their hash: the same answers as the whole symbol table gives."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gpucheck.elf import ElfError, read_elf
from gpucheck.elf.lookup import Exports
from gpucheck.elf.symbols import read_symbols
from gpucheck.system import Local
from tests.elf.workshop import Workshop

LIBRARY = "int answer = 42; int ask(void) { return 1; } extern int other(void); int call(void) { return other(); }\n"


def compiled(workshop: Workshop, style: str) -> Path:
    source = workshop.here / "source.c"
    source.write_text(LIBRARY)
    target = workshop.here / f"lib{style}.so"
    subprocess.run(["gcc", "-shared", "-fPIC", f"-Wl,--hash-style={style}", "-o", target, source], check=True)
    return target


@pytest.mark.parametrize("style", ["gnu", "sysv", "both"])
def test_what_is_defined_is_found_and_nothing_else(workshop: Workshop, style: str) -> None:
    path = str(compiled(workshop, style))
    exports = Exports(Local(), read_elf(Local(), path))
    assert [exports.define(name) for name in ("answer", "ask", "call")] == [True, True, True]
    assert [exports.define(name) for name in ("other", "asked", "as", "")] == [False, False, False, False]


def test_the_c_library_answers_as_its_symbol_table_does() -> None:
    path = Local().resolve("/lib/x86_64-linux-gnu/libc.so.6") or Local().resolve("/lib64/libc.so.6")
    if path is None:
        pytest.skip("not tested: a large symbol table; to test it: run on x86-64 with glibc")
    elf = read_elf(Local(), path)
    exports, symbols = Exports(Local(), elf), read_symbols(Local(), elf)
    assert len(symbols.names) > 1000
    assert [name for name in symbols.names if not exports.define(name.decode())] == []
    assert not any(exports.define(f"{name.decode()}_") for name in list(symbols.names)[:500] if name + b"_" not in symbols.names)  # fmt: skip


def test_a_hash_table_that_is_cut_off_is_refused(workshop: Workshop) -> None:
    path = compiled(workshop, "gnu")
    path.write_bytes(path.read_bytes()[:0x300])
    with pytest.raises(ElfError):
        Exports(Local(), read_elf(Local(), str(path))).define("answer")
