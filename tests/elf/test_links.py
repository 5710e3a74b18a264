"""Missing versions and symbols are predicted, and the real ld.so says the same."""

from __future__ import annotations

import os
import re
import struct
import subprocess
from pathlib import Path

from gpucheck.elf import Process, read_elf
from gpucheck.elf.links import Lack, check_links, floors
from gpucheck.elf.symbols import read_symbols, read_versions
from gpucheck.system import Local
from tests.elf.workshop import Workshop, run


def lacking_versions(process: Process) -> tuple[Lack, ...]:
    return tuple(each for each in check_links(process).lacks if each.symbol is None)


def lacking_symbols(process: Process) -> tuple[Lack, ...]:
    found = check_links(process, symbols=True)
    assert found.unread == ()
    return tuple(each for each in found.lacks if each.symbol is not None)


def compile_library(
    workshop: Workshop, path: str, code: str, *with_libraries: Path, script: str = "", options: tuple[str, ...] = ()
) -> Path:
    """Compile C into a library with a version script."""
    target = workshop.here / path
    target.parent.mkdir(parents=True, exist_ok=True)
    source, versions = target.with_suffix(".c"), target.with_suffix(".map")
    source.write_text(code)
    versions.write_text(script)
    more = [f"-Wl,--version-script={versions}"] if script else []
    name = f"-Wl,-soname,{target.name}"
    argv: list[str | Path] = [
        "gcc",
        "-shared",
        "-fPIC",
        "-nostdlib",
        name,
        *more,
        "-o",
        target,
        source,
        *with_libraries,
        *options,
    ]
    subprocess.run(argv, check=True)
    return target


def nvjitlink_fault(workshop: Workshop) -> Path:
    """torch has RPATH, libcusparse has RUNPATH, LD_LIBRARY_PATH names an older toolkit: pytorch issue 111469."""
    script = "libnvJitLink.so.12 { global: *; };"
    old = "int __nvJitLinkAddData_12_1(void) { return 1; }\n"
    new = old + "int __nvJitLinkComplete_12_4(void) { return 2; }\n"
    newer = compile_library(workshop, "nvjitlink/libnvJitLink.so.12", new, script=script)
    compile_library(workshop, "toolkit/libnvJitLink.so.12", old, script=script)
    compile_library(
        workshop,
        "cusparse/libcusparse.so.12",
        "int __nvJitLinkComplete_12_4(void); int (*use)(void) = __nvJitLinkComplete_12_4;\n",
        newer,
        options=("-Wl,--enable-new-dtags", "-Wl,-rpath,$ORIGIN/../nvjitlink:$ORIGIN"),
    )
    workshop.lib("torch/libtorch.so", "libcusparse.so.12", rpath="$ORIGIN/../cusparse:$ORIGIN/../nvjitlink")
    workshop.env["LD_LIBRARY_PATH"] = "{here}/toolkit"
    return workshop.program("libtorch.so", rpath="{here}/torch")


def test_an_older_nvjitlink_on_ld_library_path_lacks_a_symbol(workshop: Workshop) -> None:
    program = nvjitlink_fault(workshop)
    process = workshop.predict(program)
    assert lacking_versions(process) == ()
    (lack,) = lacking_symbols(process)
    here = workshop.here
    assert lack.path == f"{here}/toolkit/libnvJitLink.so.12"
    _, stderr = run(program, env=workshop.environment())
    assert stderr == f"{program}: symbol lookup error: {lack.message}\n"
    assert lack.message == (
        f"{here}/torch/../cusparse/libcusparse.so.12: undefined symbol: __nvJitLinkComplete_12_4, "
        "version libnvJitLink.so.12"
    )


def test_without_ld_library_path_nothing_is_missing(workshop: Workshop) -> None:
    program = nvjitlink_fault(workshop)
    workshop.env.clear()
    process = workshop.predict(program)
    assert lacking_symbols(process) == ()
    assert run(program) == ("", "")


def test_a_missing_version_stops_the_start(workshop: Workshop) -> None:
    newer = compile_library(workshop, "new/libv.so", "int one(void) { return 1; }", script="V2 { global: one; };")
    compile_library(workshop, "old/libv.so", "int one(void) { return 1; }", script="V1 { global: one; };")
    compile_library(workshop, "lib/libuser.so", "int one(void); int two(void) { return one(); }", newer)
    workshop.env["LD_LIBRARY_PATH"] = "{here}/old:{here}/lib"
    program = workshop.program("libuser.so")
    (lack,) = lacking_versions(workshop.predict(program))
    _, stderr = run(program, env=workshop.environment())
    assert stderr == f"{program}: {lack.message}\n"
    assert lack.message == (
        f"{workshop.here}/old/libv.so: version `V2' not found (required by {workshop.here}/lib/libuser.so)"
    )


def test_a_library_without_versions_satisfies_any(workshop: Workshop) -> None:
    newer = compile_library(workshop, "new/libv.so", "int one(void) { return 1; }", script="V2 { global: one; };")
    compile_library(workshop, "plain/libv.so", "int one(void) { return 1; }")
    compile_library(workshop, "lib/libuser.so", "int one(void); int (*use)(void) = one;", newer)
    workshop.env["LD_LIBRARY_PATH"] = "{here}/plain:{here}/lib"
    program = workshop.program("libuser.so")
    process = workshop.predict(program)
    assert (lacking_versions(process), lacking_symbols(process)) == ((), ())
    # ld.so warns on standard error, and starts.
    assert "error" not in run(program, env=workshop.environment())[1]


def test_a_symbol_of_another_version_is_another_symbol(workshop: Workshop) -> None:
    newer = compile_library(workshop, "new/libv.so", "int one(void) { return 1; }", script="V2 { global: one; };")
    code = "int one(void) { return 1; } int two(void) { return 2; }"
    compile_library(workshop, "old/libv.so", code, script="V1 { global: one; }; V2 { global: two; };")
    compile_library(workshop, "lib/libuser.so", "int one(void); int (*use)(void) = one;", newer)
    workshop.env["LD_LIBRARY_PATH"] = "{here}/old:{here}/lib"
    program = workshop.program("libuser.so")
    process = workshop.predict(program)
    assert lacking_versions(process) == ()
    (lack,) = lacking_symbols(process)
    assert run(program, env=workshop.environment())[1] == f"{program}: symbol lookup error: {lack.message}\n"


def test_a_symbol_may_come_from_anywhere_in_the_process(workshop: Workshop) -> None:
    compile_library(workshop, "lib/liba.so", "int other(void); int (*use)(void) = other;", options=("-Wl,-z,undefs",))
    compile_library(workshop, "lib/libb.so", "int other(void) { return 1; }")
    program = workshop.program("liba.so", "libb.so", rpath="{here}/lib")
    assert lacking_symbols(workshop.predict(program)) == ()
    assert run(program) == ("", "")
    program = workshop.program("liba.so", rpath="{here}/lib")
    (lack,) = lacking_symbols(workshop.predict(program))
    assert run(program)[1] == f"{program}: symbol lookup error: {lack.message}\n"


def test_a_library_alone_may_lean_on_its_program(workshop: Workshop) -> None:
    library = compile_library(workshop, "lib/ext.so", "int PyList_New(void); int (*use)(void) = PyList_New;")
    assert lacking_symbols(workshop.predict(library)) == ()


def test_a_weak_symbol_may_be_missing(workshop: Workshop) -> None:
    code = "int gone(void) __attribute__((weak)); int (*use)(void) = gone;"
    compile_library(workshop, "lib/liba.so", code)
    program = workshop.program("liba.so", rpath="{here}/lib")
    assert lacking_symbols(workshop.predict(program)) == ()
    assert run(program) == ("", "")


def test_nothing_is_missing_in_the_programs_of_this_system() -> None:
    from gpucheck.elf import start

    for program in ("/bin/sh", "/usr/bin/ld", "/usr/bin/python3"):
        if not os.path.exists(program):
            continue
        process = start(Local(), program, env={})
        assert lacking_versions(process) == ()
        assert lacking_symbols(process) == ()


def test_versions_and_symbols_are_those_of_readelf(workshop: Workshop) -> None:
    path = os.path.realpath("/lib/x86_64-linux-gnu/libm.so.6")
    stdout, _ = run("readelf", "-W", "--dyn-syms", path)
    rows = [line.split(maxsplit=7) for line in stdout.splitlines() if re.match(r"\s*\d+:", line)]
    listed = [(row[7].split(" ")[0], row[6], row[4]) for row in rows if len(row) == 8 and row[4] != "LOCAL"]
    symbols = read_symbols(Local(), read_elf(Local(), path))
    undefined = {f"{each.name}@{each.version.name}" if each.version else each.name for each in symbols.undefined}
    assert undefined == {name for name, section, _ in listed if section == "UND"}
    defined = {name.replace("@@", "@") for name, section, _ in listed if section != "UND"}
    # The version definitions themselves are symbols too (GLIBC_2.2.5, absolute).
    versioned = {f"{name.decode()}@{version}" for name, version in symbols.versioned}
    assert {name for name in defined if "@" in name} == {
        name for name in versioned if name.split("@")[0] != name.split("@")[1]
    }
    stdout, _ = run("readelf", "-W", "-V", path)
    listed_versions = set(re.findall(r"Name: (\S+)  Flags", stdout.partition("Version needs")[2]))
    assert {each.name for each in read_versions(Local(), read_elf(Local(), path)).needed} == listed_versions


def test_floors_are_the_newest_versions_that_are_needed(workshop: Workshop) -> None:
    program = workshop.real_program("lister")
    stdout, _ = run("readelf", "-W", "-V", program)
    newest = max(tuple(map(int, each.split("."))) for each in re.findall(r"GLIBC_([\d.]+)", stdout))
    assert floors(Local(), read_elf(Local(), os.fspath(program))) == {"GLIBC": ".".join(map(str, newest))}


def test_a_broken_table_is_said_and_hides_nothing_else(workshop: Workshop) -> None:
    program = nvjitlink_fault(workshop)
    broken = workshop.lib("torch/libbroken.so")
    elf = read_elf(Local(), os.fspath(broken))
    data = broken.read_bytes()
    # DT_SYMTAB far away.
    broken.write_bytes(data.replace(struct.pack("<qQ", 6, elf.tags[6]), struct.pack("<qQ", 6, 1 << 40)))
    workshop.lib("torch/libtorch.so", "libbroken.so", "libcusparse.so.12", rpath="$ORIGIN:$ORIGIN/../cusparse")
    found = check_links(workshop.predict(program), symbols=True)
    assert found.unread == (f"{broken.parent}/libbroken.so: what dynamic tag 0x6 points to is in no segment",)
    assert [each.symbol for each in found.lacks] == ["__nvJitLinkComplete_12_4"]
