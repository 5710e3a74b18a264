"""What the fixtures are made of is read as intended by the real tools."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from gpucheck.elf import find
from tests.corpus.build import build
from tests.corpus.elves import Shared, write
from tests.corpus.fixture import parse
from tests.needs import missing

OLD = Shared("libnvJitLink.so.12", ["libc.so.6"], defines=["libnvJitLink.so.12"], exports=["one@libnvJitLink.so.12"])
USER = Shared(
    "libuser.so", ["libnvJitLink.so.12", "libc.so.6"], runpath="$ORIGIN", wants={"libnvJitLink.so.12": ["libnvJitLink.so.12"], "libc.so.6": ["GLIBC_2.2.5"]},
    imports=["one@libnvJitLink.so.12@libnvJitLink.so.12", "two@libnvJitLink.so.12@libnvJitLink.so.12"], constants="sm_80", fatbin=True,
)  # fmt: skip


def test_readelf_agrees_with_what_was_written(tmp_path: Path) -> None:
    readelf = shutil.which("readelf")
    if readelf is None:
        missing("that written ELF files are well-formed", "install readelf (apt install binutils)")
    (tmp_path / "libuser.so").write_bytes(write(USER))
    ran = subprocess.run(
        [readelf, "-dVSW", "--dyn-syms", str(tmp_path / "libuser.so")], capture_output=True, text=True, check=True
    )
    assert ran.stderr == ""
    for said in (
        "Library soname: [libuser.so]",
        "Library runpath: [$ORIGIN]",
        "two@libnvJitLink.so.12",
        "Name: GLIBC_2.2.5",
        ".nv_fatbin",
        ".rodata",
    ):
        assert said in ran.stdout


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the files are for x86-64")
def test_the_real_dynamic_linker_binds_what_was_written(tmp_path: Path) -> None:
    wants = {"libnvJitLink.so.12": ["libnvJitLink.so.12", "NEWER"], "libc.so.6": ["GLIBC_2.2.5"]}
    (tmp_path / "libuser.so").write_bytes(write(replace(USER, wants=wants)))
    (tmp_path / "libnvJitLink.so.12").write_bytes(write(OLD))
    linker = "/lib64/ld-linux-x86-64.so.2"
    if not Path(linker).exists():
        missing("that written ELF files load", "run on a system with glibc")
    ran = subprocess.run([linker, "--list", str(tmp_path / "libuser.so")], capture_output=True, text=True, check=False)
    assert f"libnvJitLink.so.12 => {tmp_path}/libnvJitLink.so.12" in ran.stdout
    assert ran.stderr.count("not found") == 1
    assert "version `NEWER' not found" in ran.stderr


def test_the_linker_cache_is_the_one_of_the_real_ldconfig(tmp_path: Path) -> None:
    ldconfig = shutil.which("ldconfig", path="/usr/sbin:/sbin")
    if ldconfig is None or os.geteuid() != 0:
        missing("the fixtures' ld.so.cache against ldconfig", "run as root on a system with glibc")
    fixture = parse(
        "x", {"title": "", "source": "", "gpus": ["H100"], "driver": "580.95.05", "toolkits": ["12.4", "13.0"]}
    )
    world = build(fixture, tmp_path)
    ours = listed(ldconfig, tmp_path)
    # ldconfig itself goes through the links of a development name, so that it keeps; the order of folders is what matters.
    subprocess.run([ldconfig, "-r", str(tmp_path)], check=True, capture_output=True)
    theirs = listed(ldconfig, tmp_path)
    assert {line for line in ours if "/cuda-" in line or "libcuda" in line} <= theirs
    assert find(world, "libcuda.so.1").path == "/lib/x86_64-linux-gnu/libcuda.so.1"


def listed(ldconfig: str, root: Path) -> set[str]:
    ran = subprocess.run(
        [ldconfig, "-p", "-C", str(root / "etc/ld.so.cache")], capture_output=True, text=True, check=True
    )
    return {line.strip() for line in ran.stdout.splitlines() if "=>" in line}


def test_a_user_opens_what_mode_and_owner_let_him(tmp_path: Path) -> None:
    nodes = {
        "/dev/nvidia0": {"mode": 0o660, "gid": 44},
        "/dev/nvidia1": {"mode": 0o666},
        "/dev/nvidiactl": {"open": "EPERM"},
    }
    data = {"title": "", "source": "", "gpus": ["H100:2"], "driver": "580.95.05", "nodes": nodes, "groups": [1000]}
    world = build(parse("x", data), tmp_path)
    assert [world.open_error(f"/dev/nvidia{name}") for name in ("0", "1", "ctl", "9")] == [
        "EACCES",
        "",
        "EPERM",
        "ENOENT",
    ]
