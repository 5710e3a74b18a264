"""musl's dynamic linker: each test's name is a sentence about it, and the real one is the oracle."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from random import Random

import pytest

from gpucheck.elf import Process
from tests.elf.workshop import MUSL, Workshop, loaded_by, run
from tests.needs import missing


class MuslWorkshop(Workshop):
    """Programs whose interpreter is musl's."""

    def check_musl(self, program: Path, *expected: tuple[str, str | None, str]) -> Process:
        """The real linker lists what it loads, as ldd does; what fails it says on standard error."""
        process = self.predict(program)
        # ldd is the linker by that name: it goes by the path given, so no links are followed for $ORIGIN.
        stdout, stderr = run(MUSL, "--list", program, env=self.environment(), cwd=self.cwd or self.here)
        observed = re.findall(r"\t(.*) => (.*) \(0x", stdout)
        lost = re.findall(r"Error loading shared library (.*?): .* \(needed by", stderr)
        itself = process.linker_object
        assert [self.absolute(path) for _, path in observed if path != MUSL] == loaded_by(process), stderr
        assert lost == [each.soname for each in process.resolutions if each.path is None and each.edge == "needed"], (
            stderr
        )
        assert itself is not None
        for soname, path, how in expected:
            found = next(each for each in process.resolutions if each.soname == soname)
            assert (self.relative(found.path), found.how) == (path, how), found
        return process


@pytest.fixture
def musl(workshop: Workshop) -> MuslWorkshop:
    if not os.path.exists(MUSL):
        missing("the search order against the real musl", "apt-get install musl")
    return MuslWorkshop(workshop.here, workshop.shared, interpreter=MUSL)


def test_ld_library_path_beats_rpath(musl: MuslWorkshop) -> None:
    musl.lib("rpath/libx.so")
    musl.lib("env/libx.so")
    musl.env["LD_LIBRARY_PATH"] = "{here}/env"
    musl.check_musl(musl.program("libx.so", rpath="{here}/rpath"), ("libx.so", "env/libx.so", "LD_LIBRARY_PATH"))


def test_rpath_is_inherited(musl: MuslWorkshop) -> None:
    musl.lib("lib/libx.so", "liby.so")
    musl.lib("lib/liby.so")
    musl.check_musl(musl.program("libx.so", rpath="{here}/lib"), ("liby.so", "lib/liby.so", "RPATH"))


def test_runpath_is_inherited_too(musl: MuslWorkshop) -> None:
    musl.lib("lib/libx.so", "liby.so")
    musl.lib("lib/liby.so")
    musl.check_musl(musl.program("libx.so", runpath="{here}/lib"), ("liby.so", "lib/liby.so", "RUNPATH"))


def test_the_own_runpath_comes_before_that_of_the_parent(musl: MuslWorkshop) -> None:
    musl.lib("lib/libx.so", "liby.so", runpath="$ORIGIN/near")
    musl.lib("lib/liby.so")
    musl.lib("lib/near/liby.so")
    musl.check_musl(musl.program("libx.so", rpath="{here}/lib"), ("liby.so", "lib/near/liby.so", "RUNPATH"))


def test_an_empty_element_is_nothing(musl: MuslWorkshop) -> None:
    musl.lib("here/libx.so")
    musl.cwd = musl.here / "here"
    musl.env["LD_LIBRARY_PATH"] = ":{here}/none:"
    musl.check_musl(musl.program("libx.so"), ("libx.so", None, "not found"))


def test_newlines_separate_too(musl: MuslWorkshop) -> None:
    musl.lib("two/libx.so")
    musl.env["LD_LIBRARY_PATH"] = "{here}/one\n{here}/two"
    musl.check_musl(musl.program("libx.so"), ("libx.so", "two/libx.so", "LD_LIBRARY_PATH"))


def test_any_other_token_spoils_the_whole_list(musl: MuslWorkshop) -> None:
    musl.lib("lib/libx.so")
    musl.check_musl(musl.program("libx.so", runpath="{here}/lib:$LIB"), ("libx.so", None, "not found"))


def test_a_longer_word_begins_with_origin_all_the_same(musl: MuslWorkshop) -> None:
    musl.lib("binAL/libx.so")
    musl.check_musl(musl.program("libx.so", runpath="$ORIGINAL"), ("libx.so", "binAL/libx.so", "RUNPATH"))


def test_a_file_for_another_machine_ends_the_search(musl: MuslWorkshop) -> None:
    (musl.here / "one").mkdir()
    (musl.here / "one/libx.so").write_text("no library")
    musl.lib("two/libx.so")
    process = musl.check_musl(musl.program("libx.so", rpath="{here}/one:{here}/two"), ("libx.so", None, "not found"))
    assert process.resolutions[0].fatal == f"{musl.here}/one/libx.so: not an ELF file"


def test_hwcaps_are_not_searched(musl: MuslWorkshop) -> None:
    musl.lib("lib/glibc-hwcaps/x86-64-v2/libx.so")
    musl.check_musl(musl.program("libx.so", rpath="{here}/lib"), ("libx.so", None, "not found"))


def test_a_soname_does_not_matter(musl: MuslWorkshop) -> None:
    musl.lib("lib/other.so", soname="libx.so")
    musl.lib("lib/libx.so", soname="other")
    program = musl.program("other.so", "libx.so", rpath="{here}/lib")
    musl.check_musl(program, ("libx.so", "lib/libx.so", "RPATH"))


def test_a_name_is_loaded_once(musl: MuslWorkshop) -> None:
    musl.lib("one/libx.so", "liby.so", runpath="{here}/two")
    musl.lib("one/liby.so")
    musl.lib("two/liby.so")
    process = musl.check_musl(musl.program("libx.so", "liby.so", rpath="{here}/one"))
    assert process.resolutions[-1].how == "resident"


def test_libc_under_all_its_names_is_the_linker(musl: MuslWorkshop) -> None:
    musl.lib("lib/libpthread.so.0")
    process = musl.check_musl(musl.program("libc.so", "libpthread.so.0", rpath="{here}/lib"))
    assert [each.path for each in process.resolutions] == [MUSL, MUSL]


def test_the_default_directories_come_from_the_path_file(musl: MuslWorkshop) -> None:
    process = musl.check_musl(musl.program("libnowhere.so"))
    try:
        written = Path("/etc/ld-musl-x86_64.path").read_text().split()
    except FileNotFoundError:
        written = ["/lib", "/usr/local/lib", "/usr/lib"]
    assert [each.path for each in process.resolutions[0].candidates] == [
        f"{folder}/libnowhere.so" for folder in written
    ]


def test_a_preloaded_library_comes_first(musl: MuslWorkshop) -> None:
    musl.lib("lib/libp.so", "libx.so")
    musl.lib("lib/libx.so")
    musl.env["LD_PRELOAD"] = "{here}/lib/libp.so"
    process = musl.check_musl(musl.program("libx.so", rpath="{here}/lib"))
    assert [musl.relative(path) for path in loaded_by(process)] == ["lib/libp.so", "lib/libx.so"]


def test_dlopen_is_always_on_behalf_of_the_program(musl: MuslWorkshop) -> None:
    """The RUNPATH of the library that calls does not count; what it opened before answers by name."""
    if shutil.which("musl-gcc") is None:
        missing("dlopen of the real musl", "apt-get install musl-tools")
    for folder in ("lib", "caller"):
        musl.lib(f"{folder}/libx{folder}.so", "liby.so")
    musl.lib("lib/liby.so")
    musl.lib("caller/libcaller.so", runpath="$ORIGIN", code="caller")
    program = musl.here / "opener"
    source = musl.shared / "opener.c"
    subprocess.run(["musl-gcc", "-o", program, source, f"-Wl,-rpath,{musl.here}/lib"], check=True)
    names = ["libxcaller.so", f"@{musl.here}/caller/libcaller.so", "libxcaller.so", "libxlib.so", "liby.so"]
    process = musl.predict(program)
    caller = None
    predicted = []
    for name in names:
        found = process.dlopen(name.lstrip("@"), caller)
        predicted.append((name, "not found" if found.fatal or not found.path else found.path))
        if name.startswith("@"):
            caller = next(item for item in process.objects if item.path == found.path)
    stdout, _ = run(program, *names, cwd=musl.here)
    assert [tuple(line.split("\t")) for line in stdout.splitlines()] == predicted
    assert [musl.relative(path) for _, path in predicted] == [
        "not found",
        "caller/libcaller.so",
        "not found",
        "lib/libxlib.so",
        "lib/liby.so",
    ]


@pytest.mark.parametrize("seed", range(60))
def test_a_random_forest(seed: int, musl: MuslWorkshop) -> None:
    random = Random(seed)
    names = ("liba.so", "libb.so", "libd.so.2", "libe.so")
    folders = ("one", "two", "three")

    def paths() -> dict[str, str]:
        elements = [*(f"{{here}}/{folder}" for folder in folders), "$ORIGIN", "${ORIGIN}/../two", "", "three", "$LIB/x"]
        text = ":".join(random.choices(elements, k=random.randint(1, 3))) or "one"
        return random.choice(({}, {"rpath": text}, {"runpath": text}))

    for name in names:
        for folder in random.sample(folders, random.randint(0, 2)):
            musl.lib(f"{folder}/{name}", *random.sample(names, random.randint(0, 2)), **paths())
            if random.random() < 0.1:
                os.symlink(name, musl.here / folder / "libalias.so")
    if random.random() < 0.5:
        musl.env["LD_LIBRARY_PATH"] = ":".join(f"{{here}}/{folder}" for folder in random.sample(folders, 2))
    musl.check_musl(musl.program(*random.sample(names, 3), "libalias.so", **paths()))
