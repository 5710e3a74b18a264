"""The built libraries: of these sources, without dependencies, without vector registers, for the right machines."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ci.native import BUILT, TARGETS, build, stale
from gpucheck.elf.reader import read_elf
from gpucheck.system.local import Local
from gpucheck.trace.calls.library import MARKER, PLATFORMS
from tests.needs import missing


def test_they_were_built_from_the_sources_as_they_are() -> None:
    assert stale() == ()


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    for path in build(tmp_path):
        assert path.read_bytes() == (BUILT / path.name).read_bytes(), f"{path.name}: run python -m ci.native"


def test_a_changed_source_is_noticed(tmp_path: Path) -> None:
    for path in BUILT.glob("*.elf"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "calls-i686.elf").unlink()
    other = tmp_path / "calls-aarch64.elf"
    other.write_bytes(re.sub(rb"gpucheck sources: ....", b"gpucheck sources: 0000", other.read_bytes()))
    assert stale(tmp_path) == ("calls-aarch64.elf was built from other sources", "calls-i686.elf is not there")


@pytest.mark.parametrize(
    ("architecture", "machine", "bits"), [("x86_64", "x86_64", 64), ("aarch64", "aarch64", 64), ("i686", "i386", 32)]
)
def test_they_are_for_their_machines_and_need_nothing(architecture: str, machine: str, bits: int) -> None:
    path = BUILT / f"calls-{architecture}.elf"
    elf = read_elf(Local(), str(path))
    assert (elf.architecture, elf.bits, elf.needed, elf.rpath, elf.runpath) == (machine, bits, (), None, None)
    listed = subprocess.run(
        ["readelf", "--wide", "--dyn-syms", "--segments", path], capture_output=True, text=True, check=True
    ).stdout
    names = {line.split()[7] for line in listed.splitlines() if " GLOBAL " in line}
    assert names == ({"la_version", "la_objopen", "la_symbind64"} if bits == 64 else {"la_version"})
    assert " UND " not in listed.replace("NOTYPE  LOCAL  DEFAULT  UND", "")
    # No thread-local storage, which is scarce for libraries that are loaded at run time, and no executable stack.
    assert "TLS" not in listed
    assert re.search(r"GNU_STACK\s+\S+ \S+ \S+ \S+ \S+ RW ", listed)
    assert path.read_bytes().count(MARKER) == (1 if bits == 64 else 0)
    assert path.stat().st_size < 50_000


@pytest.mark.parametrize(
    ("architecture", "registers", "saving"),
    [
        ("x86_64", r"%[xyz]?mm\d|%st\b", r"movups +(%xmm[0-7],.*\(%rsp\)|.*\(%rsp\),%xmm[0-7])"),
        ("aarch64", r"\b[bhsdqvz]\d+\b|\b[xw]18\b", r"(stp|ldp)\tq[0-7], q[0-7], \[sp, #\d+\]"),
    ],
)
def test_they_touch_no_register_that_a_stub_does_not_save(architecture: str, registers: str, saving: str) -> None:
    tool = shutil.which(f"{architecture}-linux-gnu-objdump")
    if tool is None:
        missing(
            f"the machine code for {architecture}", f"apt install binutils-{architecture.replace('_', '-')}-linux-gnu"
        )
    command = [tool, "--disassemble", "--no-show-raw-insn", BUILT / f"calls-{architecture}.elf"]
    code = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    instructions = [line.split("\t", 1)[1] for line in code.splitlines() if "\t" in line]
    assert len(instructions) > 4096
    vector = [line for line in instructions if re.search(registers, line)]
    assert [line for line in vector if not re.fullmatch(saving, line)] == []
    # Around the clock alone: all that arguments may be in are saved and restored once.
    assert len(vector) == {"x86_64": 16, "aarch64": 8}[architecture]


def test_every_architecture_has_a_platform() -> None:
    assert {f"calls-{architecture}" for architecture in TARGETS} == set(PLATFORMS)
