"""Roots that are not this machine's: real ldconfig writes their cache, the real ld.so in a chroot is the oracle."""

from __future__ import annotations

import os
import shutil
import subprocess
from random import Random

import pytest

from gpucheck.elf import Process
from gpucheck.elf.cache import read_cache
from gpucheck.elf.resolution import considered
from gpucheck.system import Rootfs
from tests.elf.workshop import LDCONFIG, Root, run


def test_a_cached_library_is_found(root: Root) -> None:
    root.lib("opt/cuda/lib64/libcudart.so.12")
    root.configure("/opt/cuda/lib64\n")
    process = root.check_inside(
        root.program("libcudart.so.12"), ("libcudart.so.12", "/opt/cuda/lib64/libcudart.so.12", "ld.so.cache")
    )
    assert process.resolutions[0].owner == "/etc/ld.so.cache"


def test_the_cache_goes_by_the_soname_and_not_by_the_file(root: Root) -> None:
    root.lib("opt/libreal.so.1.2.3", soname="libreal.so.1")
    root.configure("/opt\n")
    program = root.program("libreal.so.1", "libreal.so.1.2.3")
    root.check_inside(program, ("libreal.so.1", None, "not found"), ("libreal.so.1.2.3", None, "not found"))
    os.symlink("libreal.so.1.2.3", root.here / "opt/libreal.so.1")
    root.ldconfig()
    root.check_inside(program, ("libreal.so.1", "/opt/libreal.so.1", "ld.so.cache"))


def test_a_file_that_came_after_ldconfig_is_not_found(root: Root) -> None:
    (root.here / "opt").mkdir()
    root.configure("/opt\n")
    root.lib("opt/libx.so")
    process = root.check_inside(root.program("libx.so"), ("libx.so", None, "not found"))
    assert considered(process.resolutions[0])[1] == "ld.so.cache: no libx.so in it"
    assert considered(process.resolutions[0])[-1] == (
        "ld.so.conf: /opt/libx.so is there (/etc/ld.so.conf lists it), but not in the cache (ldconfig makes it anew)"
    )


def test_a_cached_file_that_is_gone_is_passed_over(root: Root) -> None:
    lib = root.lib("opt/libx.so")
    root.configure("/opt\n")
    lib.unlink()
    root.lib("usr/lib/libx.so")
    process = root.check_inside(root.program("libx.so"), ("libx.so", "/usr/lib/libx.so", "default"))
    assert (process.resolutions[0].candidates[0].path, process.resolutions[0].candidates[0].skipped) == (
        "/opt/libx.so",
        "not there",
    )


def test_the_cache_beats_the_default_directories(root: Root) -> None:
    root.lib("opt/libx.so")
    root.lib("usr/lib/libx.so")
    root.configure("/opt\n")
    root.check_inside(root.program("libx.so"), ("libx.so", "/opt/libx.so", "ld.so.cache"))


def test_runpath_and_environment_beat_the_cache(root: Root) -> None:
    for folder in ("opt", "run", "env"):
        root.lib(f"{folder}/libx.so")
    root.configure("/opt\n")
    root.check_inside(root.program("libx.so", runpath="/run"), ("libx.so", "/run/libx.so", "RUNPATH"))
    root.env["LD_LIBRARY_PATH"] = "/env"
    root.check_inside(root.program("libx.so", runpath="/run"), ("libx.so", "/env/libx.so", "LD_LIBRARY_PATH"))


def test_the_first_directory_of_ld_so_conf_wins(root: Root) -> None:
    root.lib("two/libx.so")
    root.lib("one/libx.so")
    root.configure("/one\n/two\n")
    root.check_inside(root.program("libx.so"), ("libx.so", "/one/libx.so", "ld.so.cache"))


@pytest.mark.parametrize("form", ["new", "compat", "old"])
def test_every_cache_format_is_read(root: Root, form: str) -> None:
    for number in (1, 2, 9, 10, 11):
        root.lib(f"opt/libx.so.{number}")
    root.lib("opt/liby.so")
    root.configure("/opt\n", form=form)
    process = root.check_inside(root.program("libx.so.10", "libx.so.9", "libx.so.3", "liby.so"))
    assert [each.how for each in process.resolutions] == ["ld.so.cache", "ld.so.cache", "not found", "ld.so.cache"]


def hwcaps_root(root: Root, form: str) -> Process:
    for sub in ("", "glibc-hwcaps/x86-64-v2/", "glibc-hwcaps/x86-64-v3/", "glibc-hwcaps/x86-64-v9/"):
        root.lib(f"opt/{sub}libx.so")
    root.configure("/opt\n", form=form)
    # The real ld.so asks the CPU; gpucheck knows it from /proc alone.
    (root.here / "proc").mkdir()
    shutil.copy("/proc/cpuinfo", root.here / "proc/cpuinfo")
    return root.check_inside(root.program("libx.so"))


def test_a_cached_hwcaps_directory_wins(root: Root) -> None:
    process = hwcaps_root(root, "new")
    level = (*process.linker.hwcaps, "")[0]
    best = (
        "glibc-hwcaps/x86-64-v3/" if level in ("x86-64-v3", "x86-64-v4") else f"glibc-hwcaps/{level}/" if level else ""
    )
    assert process.resolutions[0].path == f"/opt/{best}libx.so"


def test_hwcaps_in_a_cache_of_both_formats_are_not_understood(root: Root) -> None:
    """ld.so counts the offsets of their names from the start of the file, ldconfig from that of the new format."""
    assert hwcaps_root(root, "compat").resolutions[0].path == "/opt/libx.so"


def test_nodeflib_rules_out_cached_files_in_default_directories(root: Root) -> None:
    root.lib("usr/lib/libx.so")
    root.lib("opt/liby.so")
    root.configure("/opt\n")
    program = root.program("libx.so", "liby.so", flags=("-z", "nodefaultlib"))
    root.check_inside(program, ("libx.so", None, "not found"), ("liby.so", "/opt/liby.so", "ld.so.cache"))


def test_a_broken_cache_is_ignored(root: Root) -> None:
    root.lib("opt/libx.so")
    root.lib("usr/lib/liby.so")
    root.configure("/opt\n")
    cache = root.here / "etc/ld.so.cache"
    cache.write_bytes(cache.read_bytes()[:60])
    process = root.check_inside(
        root.program("libx.so", "liby.so"), ("libx.so", None, "not found"), ("liby.so", "/usr/lib/liby.so", "default")
    )
    assert process.resolutions[0].notes[-1].text == (
        "ld.so.cache: /etc/ld.so.cache: truncated: more entries than bytes (ldconfig makes it anew)"
    )


def test_without_a_cache_ld_so_does_not_read_ld_so_conf(root: Root) -> None:
    root.lib("opt/libx.so")
    root.configure("/opt\n")
    (root.here / "etc/ld.so.cache").unlink()
    process = root.check_inside(root.program("libx.so"), ("libx.so", None, "not found"))
    assert process.resolutions[0].notes[-1].text == "ld.so.cache: /etc/ld.so.cache is not there (ldconfig makes it)"


def test_without_a_cache_ld_so_conf_says_what_ldconfig_will_make(root: Root) -> None:
    (root.here / "etc/ld.so.conf.d").mkdir(parents=True)
    (root.here / "etc/ld.so.conf.d/10-cuda.conf").write_text("# CUDA\n/opt/cuda/lib64/  # trailing\n")
    (root.here / "etc/ld.so.conf.d/20-more.conf").write_text("\t/opt/more=libc6\nhwcap 1 nosegneg\n")
    (root.here / "etc/ld.so.conf.d/ignored.txt").write_text("/opt/ignored\n")
    for folder in ("cuda/lib64", "more", "ignored"):
        root.lib(f"opt/{folder}/lib{folder[:4]}.so")
    root.lib("opt/more/libboth.so")
    root.lib("opt/cuda/lib64/libboth.so")
    (root.here / "etc/ld.so.conf").write_text("include /etc/ld.so.conf.d/*.conf\n")
    program = root.program("libcuda.so", "libmore.so", "libigno.so", "libboth.so")
    before = root.inside(program, configuration=True)
    assert [each.how for each in before.resolutions] == ["ld.so.conf", "ld.so.conf", "not found", "ld.so.conf"]
    root.ldconfig()
    after = root.check_inside(program)
    assert [each.path for each in before.resolutions] == [each.path for each in after.resolutions]


def test_a_file_that_includes_itself_ends(root: Root) -> None:
    root.lib("opt/libx.so")
    (root.here / "etc").mkdir()
    (root.here / "etc/ld.so.conf").write_text("include ld.so.conf\ninclude /etc/ld.so.conf\n/opt\n")
    process = root.inside(root.program("libx.so"), configuration=True)
    assert process.resolutions[0].path == "/opt/libx.so"


def test_absolute_links_stay_inside_the_root(root: Root) -> None:
    root.lib("srv/libx.so")
    (root.here / "opt").mkdir()
    os.symlink("/srv/libx.so", root.here / "opt/libx.so")
    os.symlink("/srv", root.here / "linked")
    root.configure("/opt\n")
    root.check_inside(root.program("libx.so"), ("libx.so", "/opt/libx.so", "ld.so.cache"))
    root.check_inside(root.program("libx.so", rpath="/linked"), ("libx.so", "/linked/libx.so", "RPATH"))


def test_ld_so_preload_is_loaded_first(root: Root) -> None:
    for name in ("libp.so", "libq.so", "libx.so"):
        root.lib(f"opt/{name}")
    root.configure("/opt\n")
    (root.here / "etc/ld.so.preload").write_text("# a comment /opt/libno.so\nlibp.so:/opt/libq.so # more\n")
    process = root.check_inside(root.program("libx.so"), ("libp.so", "/opt/libp.so", "ld.so.preload"))
    assert [item.path for item in process.objects[2:]] == ["/opt/libp.so", "/opt/libq.so", "/opt/libx.so"]


def test_the_entries_are_those_that_ldconfig_prints(root: Root) -> None:
    for name in (
        "liba.so.1",
        "liba.so.2",
        "liba.so.10",
        "libb.so",
        "libB.so",
        "lib-1.so",
        "glibc-hwcaps/x86-64-v2/libb.so",
    ):
        root.lib(f"opt/{name}")
    root.configure("/opt\n")
    stdout, _ = run(LDCONFIG, "-r", root.here, "-p")
    printed = [(line.split(" (")[0].strip(), line.split(" => ")[1]) for line in stdout.splitlines() if " => " in line]
    entries = list(read_cache(Rootfs(str(root.here))).entries())
    assert [(each.soname, each.path) for each in entries] == printed
    assert len(printed) == 7
    assert [each.subdirectory for each in entries if each.subdirectory] == ["x86-64-v2"]


def test_a_32_bit_library_of_the_same_name_is_another_entry(root: Root) -> None:
    """One cache serves all machines of a system; the flags of an entry say which."""
    root.lib("opt/64/libx.so")
    target = root.here / "opt/32/libx.so"
    target.parent.mkdir()
    source = root.shared / "library.c"
    subprocess.run(["gcc", "-m32", "-shared", "-nostdlib", "-Wl,-soname,libx.so", "-o", target, source], check=True)
    root.configure("/opt/32\n/opt/64\n")
    entries = list(read_cache(Rootfs(str(root.here))).entries())
    assert {(each.path, each.flags) for each in entries} == {("/opt/32/libx.so", 1), ("/opt/64/libx.so", 0x303)}
    root.check_inside(root.program("libx.so"), ("libx.so", "/opt/64/libx.so", "ld.so.cache"))
    assert read_cache(Rootfs(str(root.here)), 3, 32).lookup("libx.so") == "/opt/32/libx.so"
    (root.here / "opt/64/libx.so").unlink()
    root.ldconfig()
    assert read_cache(Rootfs(str(root.here)), 62, 64).lookup("libx.so") is None


def test_a_library_in_the_cache_that_needs_a_better_cpu_is_not_used(root: Root) -> None:
    """The ISA level of a file in an hwcaps directory is in its note, and ldconfig writes it down."""
    root.lib("opt/libx.so")
    root.lib("opt/glibc-hwcaps/x86-64-v2/libx.so", flags=("-z", "x86-64-v4"))
    root.configure("/opt\n")
    cache = read_cache(Rootfs(str(root.here)))
    assert cache.lookup("libx.so", ("x86-64-v2",), isa=0b1111) == "/opt/glibc-hwcaps/x86-64-v2/libx.so"
    assert cache.lookup("libx.so", ("x86-64-v2",), isa=0b0111) == "/opt/libx.so"
    (root.here / "proc").mkdir()
    shutil.copy("/proc/cpuinfo", root.here / "proc/cpuinfo")
    root.check_inside(root.program("libx.so"))


@pytest.mark.parametrize("seed", range(25))
def test_a_random_cache(seed: int, root: Root) -> None:
    random = Random(seed)
    names = [f"lib{random.choice('abAB-1')}{random.choice(('', '1', '01', 'x'))}.so.{number}" for number in range(12)]
    folders = ["opt/one", "opt/two", "usr/lib", "opt/three/glibc-hwcaps/x86-64-v2"]
    for folder in folders:
        for name in random.sample(names, 6):
            root.lib(f"{folder}/{name}")
    (root.here / "proc").mkdir()
    shutil.copy("/proc/cpuinfo", root.here / "proc/cpuinfo")
    conf = ["/opt/one", "/opt/two", "/opt/three"]
    random.shuffle(conf)
    root.configure("\n".join(conf), form=random.choice(("new", "compat", "old")))
    root.check_inside(root.program(*names))
