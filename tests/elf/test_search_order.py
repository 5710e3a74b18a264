"""Each test's name is a sentence about ld.so(8): gpucheck must predict it, and the real ld.so must do it."""

from __future__ import annotations

import os
import shutil
import struct

from gpucheck.elf import Process, read_elf
from gpucheck.elf.resolution import considered
from gpucheck.record import replace
from gpucheck.system import Local
from tests.elf.workshop import GLIBC, Workshop, run
from tests.needs import missing


def test_a_library_in_a_default_directory_is_found(workshop: Workshop) -> None:
    program = workshop.program("libm.so.6")
    process = workshop.check(program)
    assert process.resolutions[0].how in ("ld.so.cache", "default")


def test_a_missing_library_is_not_found(workshop: Workshop) -> None:
    workshop.check(workshop.program("libnowhere.so.1"), ("libnowhere.so.1", None, "not found"))


def test_rpath_finds(workshop: Workshop) -> None:
    workshop.lib("lib/libx.so")
    workshop.check(workshop.program("libx.so", rpath="{here}/lib"), ("libx.so", "lib/libx.so", "RPATH"))


def test_runpath_finds(workshop: Workshop) -> None:
    workshop.lib("lib/libx.so")
    workshop.check(workshop.program("libx.so", runpath="{here}/lib"), ("libx.so", "lib/libx.so", "RUNPATH"))


def test_ld_library_path_finds(workshop: Workshop) -> None:
    workshop.lib("lib/libx.so")
    workshop.env["LD_LIBRARY_PATH"] = "{here}/lib"
    workshop.check(workshop.program("libx.so"), ("libx.so", "lib/libx.so", "LD_LIBRARY_PATH"))


def test_rpath_beats_ld_library_path(workshop: Workshop) -> None:
    workshop.lib("rpath/libx.so")
    workshop.lib("env/libx.so")
    workshop.env["LD_LIBRARY_PATH"] = "{here}/env"
    workshop.check(workshop.program("libx.so", rpath="{here}/rpath"), ("libx.so", "rpath/libx.so", "RPATH"))


def test_ld_library_path_beats_runpath(workshop: Workshop) -> None:
    workshop.lib("runpath/libx.so")
    workshop.lib("env/libx.so")
    workshop.env["LD_LIBRARY_PATH"] = "{here}/env"
    workshop.check(workshop.program("libx.so", runpath="{here}/runpath"), ("libx.so", "env/libx.so", "LD_LIBRARY_PATH"))


def test_ld_library_path_beats_the_cache(workshop: Workshop) -> None:
    workshop.lib("env/libm.so.6")
    workshop.env["LD_LIBRARY_PATH"] = "{here}/env"
    workshop.check(workshop.program("libm.so.6"), ("libm.so.6", "env/libm.so.6", "LD_LIBRARY_PATH"))


def test_runpath_beats_the_cache(workshop: Workshop) -> None:
    workshop.lib("runpath/libm.so.6")
    workshop.check(
        workshop.program("libm.so.6", runpath="{here}/runpath"), ("libm.so.6", "runpath/libm.so.6", "RUNPATH")
    )


def test_the_first_directory_of_a_list_wins(workshop: Workshop) -> None:
    workshop.lib("one/libx.so")
    workshop.lib("two/libx.so")
    program = workshop.program("libx.so", rpath="{here}/none:{here}/two:{here}/one")
    workshop.check(program, ("libx.so", "two/libx.so", "RPATH"))


def test_rpath_is_ignored_when_there_is_a_runpath(workshop: Workshop) -> None:
    # No linker writes both tags; the DT_RPATH entry of a second path is made by hand.
    workshop.lib("one/libx.so")
    workshop.lib("two/libx.so")
    program = workshop.program("libx.so", "libspare.so", runpath="{here}/one")
    workshop.lib("one/libspare.so")
    turn_needed_into_rpath(workshop, program, "libspare.so", "{here}/two")
    workshop.check(program, ("libx.so", "one/libx.so", "RUNPATH"))


def test_rpath_is_inherited(workshop: Workshop) -> None:
    workshop.lib("lib/libx.so", "liby.so")
    workshop.lib("lib/liby.so")
    workshop.check(workshop.program("libx.so", rpath="{here}/lib"), ("liby.so", "lib/liby.so", "RPATH"))


def test_runpath_is_not_inherited(workshop: Workshop) -> None:
    workshop.lib("lib/libx.so", "liby.so")
    workshop.lib("lib/liby.so")
    process = workshop.check(workshop.program("libx.so", runpath="{here}/lib"), ("liby.so", None, "not found"))
    assert f"RUNPATH of {workshop.here}/bin/program: not inherited" in considered(process.resolutions[-1])


def test_a_runpath_shuts_out_the_rpath_of_the_parent(workshop: Workshop) -> None:
    workshop.lib("rpath/libx.so", "liby.so", runpath="{here}/runpath")
    workshop.lib("rpath/liby.so")
    workshop.lib("runpath/liby.so")
    workshop.check(workshop.program("libx.so", rpath="{here}/rpath"), ("liby.so", "runpath/liby.so", "RUNPATH"))


def test_behind_a_runpath_ld_library_path_beats_the_rpath_of_the_parent(workshop: Workshop) -> None:
    """The fault of torch, cuSPARSE and nvJitLink."""
    workshop.lib("torch/libtorch.so", "libcusparse.so.12", rpath="$ORIGIN/../cusparse:$ORIGIN/../nvjitlink")
    workshop.lib("cusparse/libcusparse.so.12", "libnvJitLink.so.12", runpath="$ORIGIN/../nvjitlink:$ORIGIN")
    workshop.lib("nvjitlink/libnvJitLink.so.12")
    workshop.lib("toolkit/libnvJitLink.so.12")
    workshop.env["LD_LIBRARY_PATH"] = "{here}/toolkit"
    workshop.check(
        workshop.program("libtorch.so", rpath="{here}/torch"),
        ("libcusparse.so.12", "cusparse/libcusparse.so.12", "RPATH"),
        ("libnvJitLink.so.12", "toolkit/libnvJitLink.so.12", "LD_LIBRARY_PATH"),
    )


def test_rpath_goes_up_past_a_parent_with_a_runpath(workshop: Workshop) -> None:
    workshop.lib("lib/libx.so", "liby.so", runpath="{here}/other")
    workshop.lib("other/liby.so", "libz.so")
    workshop.lib("lib/libz.so")
    workshop.check(workshop.program("libx.so", rpath="{here}/lib"), ("libz.so", "lib/libz.so", "RPATH"))


def test_the_own_rpath_comes_before_that_of_the_parent(workshop: Workshop) -> None:
    workshop.lib("parent/libx.so", "liby.so", rpath="{here}/own")
    workshop.lib("parent/liby.so")
    workshop.lib("own/liby.so")
    workshop.check(workshop.program("libx.so", rpath="{here}/parent"), ("liby.so", "own/liby.so", "RPATH"))


def test_only_the_first_parent_hands_its_rpath_down(workshop: Workshop) -> None:
    workshop.lib("a/liba.so", "libshared.so", rpath="{here}/a")
    workshop.lib("b/libb.so", "libshared.so", rpath="{here}/b")
    workshop.lib("a/libshared.so", "libdeep.so")
    workshop.lib("b/libdeep.so")
    program = workshop.program("liba.so", "libb.so", runpath="{here}/a:{here}/b")
    workshop.check(program, ("libdeep.so", None, "not found"))


def test_dependencies_are_loaded_breadth_first(workshop: Workshop) -> None:
    workshop.lib("lib/liba.so", "libdeep.so", rpath="{here}/deep")
    workshop.lib("lib/libb.so", "libdeep.so")
    workshop.lib("deep/libdeep.so")
    workshop.lib("lib/libdeep.so")
    program = workshop.program("liba.so", "libb.so", "libdeep.so", rpath="{here}/lib")
    workshop.check(program, ("libdeep.so", "lib/libdeep.so", "RPATH"))


def test_a_soname_is_loaded_once(workshop: Workshop) -> None:
    workshop.lib("one/libx.so", "liby.so", runpath="{here}/two")
    workshop.lib("one/liby.so")
    workshop.lib("two/liby.so")
    program = workshop.program("libx.so", "liby.so", rpath="{here}/one")
    process = workshop.check(program, ("liby.so", "one/liby.so", "RPATH"))
    assert process.resolutions[-1].how == "resident"


def test_a_library_loaded_by_path_answers_to_its_soname(workshop: Workshop) -> None:
    workshop.lib("one/renamed.so", soname="libx.so")
    workshop.lib("two/libx.so")
    program = workshop.program("{here}/one/renamed.so", "libx.so", rpath="{here}/two")
    workshop.check(program, ("libx.so", "one/renamed.so", "resident"))


def test_a_library_answers_to_the_name_that_was_asked_for(workshop: Workshop) -> None:
    workshop.lib("one/libalias.so", soname="libother.so")
    workshop.lib("one/libx.so", "libalias.so")
    workshop.lib("two/libalias.so")
    program = workshop.program("libalias.so", "libx.so", rpath="{here}/one")
    process = workshop.check(program, ("libalias.so", "one/libalias.so", "RPATH"))
    assert process.resolutions[-1].how == "resident"


def test_two_names_of_one_file_are_one_library(workshop: Workshop) -> None:
    workshop.lib("lib/libx.so.1.2", soname="")
    os.symlink("libx.so.1.2", workshop.here / "lib/libx.so.1")
    os.symlink("libx.so.1.2", workshop.here / "lib/libx.so")
    program = workshop.program("libx.so.1", "libx.so", rpath="{here}/lib")
    workshop.check(program, ("libx.so.1", "lib/libx.so.1", "RPATH"), ("libx.so", "lib/libx.so.1", "resident"))


def test_two_hard_links_are_one_library(workshop: Workshop) -> None:
    os.link(workshop.lib("lib/libx.so", soname=""), workshop.here / "lib/liby.so")
    workshop.check(workshop.program("libx.so", "liby.so", rpath="{here}/lib"), ("liby.so", "lib/libx.so", "resident"))


def test_two_copies_without_a_soname_are_two_libraries(workshop: Workshop) -> None:
    shutil.copy(workshop.lib("lib/libx.so", soname=""), workshop.here / "lib/liby.so")
    workshop.check(workshop.program("libx.so", "liby.so", rpath="{here}/lib"), ("liby.so", "lib/liby.so", "RPATH"))


def test_a_name_with_a_slash_is_a_path(workshop: Workshop) -> None:
    workshop.lib("lib/libx.so")
    workshop.check(workshop.program("lib/libx.so"), ("lib/libx.so", "lib/libx.so", "path"))


def test_a_name_with_a_slash_is_not_searched(workshop: Workshop) -> None:
    workshop.lib("lib/sub/libx.so")
    workshop.check(workshop.program("sub/libx.so", rpath="{here}/lib"), ("sub/libx.so", None, "not found"))


def test_origin_is_the_directory_of_the_library(workshop: Workshop) -> None:
    workshop.lib("a/libx.so", "liby.so", runpath="$ORIGIN/deep")
    workshop.lib("a/deep/liby.so")
    workshop.check(workshop.program("libx.so", rpath="${ORIGIN}/../a"), ("liby.so", "a/deep/liby.so", "RUNPATH"))


def test_origin_of_a_library_keeps_links(workshop: Workshop) -> None:
    workshop.lib("real/libx.so", "liby.so", runpath="$ORIGIN/near")
    workshop.lib("real/near/liby.so")
    (workshop.here / "linked").mkdir()
    os.symlink("../real/libx.so", workshop.here / "linked/libx.so")
    workshop.lib("linked/near/liby.so")
    workshop.check(workshop.program("libx.so", rpath="{here}/linked"), ("liby.so", "linked/near/liby.so", "RUNPATH"))


def test_origin_of_the_program_has_no_links(workshop: Workshop) -> None:
    workshop.lib("real/libx.so")
    workshop.lib("linked/libx.so")
    workshop.program("libx.so", path="real/program", rpath="$ORIGIN")
    os.symlink("../real/program", workshop.here / "linked/program")
    workshop.check(workshop.here / "linked/program", ("libx.so", "real/libx.so", "RPATH"))


def test_origin_in_ld_library_path_is_that_of_the_program(workshop: Workshop) -> None:
    workshop.lib("lib/libx.so", "liby.so", runpath="$ORIGIN")
    workshop.lib("bin/liby.so")
    workshop.lib("lib/liby.so")
    workshop.env["LD_LIBRARY_PATH"] = "$ORIGIN"
    workshop.check(workshop.program("libx.so", rpath="{here}/lib"), ("liby.so", "bin/liby.so", "LD_LIBRARY_PATH"))


def test_origin_in_a_needed_path(workshop: Workshop) -> None:
    workshop.lib("bin/libx.so")
    workshop.check(workshop.program("$ORIGIN/libx.so"), ("$ORIGIN/libx.so", "bin/libx.so", "path"))


def test_a_longer_word_is_no_token(workshop: Workshop) -> None:
    workshop.lib("bin/$ORIGINAL/libx.so")
    workshop.check(
        workshop.program("libx.so", rpath="$ORIGIN/$ORIGINAL"), ("libx.so", "bin/$ORIGINAL/libx.so", "RPATH")
    )


def test_lib_is_the_library_directory_of_the_distribution(workshop: Workshop) -> None:
    lib = workshop.predict(workshop.program(path="bin/empty")).linker.lib
    workshop.lib(f"sys/{lib}/libx.so")
    workshop.check(workshop.program("libx.so", rpath="{here}/sys/$LIB"), ("libx.so", f"sys/{lib}/libx.so", "RPATH"))


def test_platform_is_the_cpu(workshop: Workshop) -> None:
    platform = workshop.predict(workshop.program(path="bin/empty")).linker.platform
    workshop.lib(f"for/{platform}/libx.so")
    program = workshop.program("libx.so", rpath="{here}/for/${PLATFORM}")
    workshop.check(program, ("libx.so", f"for/{platform}/libx.so", "RPATH"))


def test_an_empty_element_of_ld_library_path_is_the_current_directory(workshop: Workshop) -> None:
    workshop.lib("here/libx.so")
    workshop.cwd = workshop.here / "here"
    workshop.env["LD_LIBRARY_PATH"] = "{here}/none:"
    workshop.check(workshop.program("libx.so"), ("libx.so", "here/libx.so", "LD_LIBRARY_PATH"))


def test_an_empty_element_of_runpath_is_the_current_directory(workshop: Workshop) -> None:
    """As in NVRTC's ``$ORIGIN:``."""
    workshop.lib("here/libx.so")
    workshop.cwd = workshop.here / "here"
    workshop.check(workshop.program("libx.so", runpath="$ORIGIN:"), ("libx.so", "here/libx.so", "RUNPATH"))


def test_an_empty_ld_library_path_is_nothing(workshop: Workshop) -> None:
    workshop.lib("here/libx.so")
    workshop.cwd = workshop.here / "here"
    workshop.env["LD_LIBRARY_PATH"] = ""
    workshop.check(workshop.program("libx.so"), ("libx.so", None, "not found"))


def test_a_relative_element_starts_in_the_current_directory(workshop: Workshop) -> None:
    workshop.lib("some/where/libx.so")
    workshop.env["LD_LIBRARY_PATH"] = "some/where/"
    workshop.check(workshop.program("libx.so"), ("libx.so", "some/where/libx.so", "LD_LIBRARY_PATH"))


def test_semicolons_separate_ld_library_path_too(workshop: Workshop) -> None:
    workshop.lib("two/libx.so")
    workshop.env["LD_LIBRARY_PATH"] = "{here}/one;{here}/two"
    workshop.check(workshop.program("libx.so"), ("libx.so", "two/libx.so", "LD_LIBRARY_PATH"))


def test_semicolons_do_not_separate_runpath(workshop: Workshop) -> None:
    workshop.lib("two/libx.so")
    workshop.check(workshop.program("libx.so", runpath="{here}/one;{here}/two"), ("libx.so", None, "not found"))


def test_a_32_bit_library_is_passed_over(workshop: Workshop) -> None:
    make_32_bit(workshop.lib("one/libx.so"))
    workshop.lib("two/libx.so")
    program = workshop.program("libx.so", rpath="{here}/one:{here}/two")
    process = workshop.check(program, ("libx.so", "two/libx.so", "RPATH"))
    assert [each.skipped for each in process.resolutions[0].candidates] == ["32-bit"]


def test_a_library_for_another_machine_is_passed_over(workshop: Workshop) -> None:
    set_machine(workshop.lib("one/libx.so"), 183)
    workshop.lib("two/libx.so")
    workshop.env["LD_LIBRARY_PATH"] = "{here}/one:{here}/two"
    process = workshop.check(workshop.program("libx.so"), ("libx.so", "two/libx.so", "LD_LIBRARY_PATH"))
    assert [each.skipped for each in process.resolutions[0].candidates] == ["for aarch64"]


def test_a_dangling_link_is_passed_over(workshop: Workshop) -> None:
    (workshop.here / "one").mkdir()
    os.symlink("libx.so.1.2.3", workshop.here / "one/libx.so")
    process = workshop.check(workshop.program("libx.so", rpath="{here}/one"), ("libx.so", None, "not found"))
    assert process.resolutions[0].candidates[0].skipped == "a dangling link to libx.so.1.2.3"


def test_a_file_where_a_directory_should_be_is_passed_over(workshop: Workshop) -> None:
    workshop.lib("two/libx.so")
    (workshop.here / "one").write_text("no directory")
    program = workshop.program("libx.so", rpath="{here}/one:{here}/two")
    workshop.check(program, ("libx.so", "two/libx.so", "RPATH"))


def test_a_link_that_points_to_itself_ends_the_list(workshop: Workshop) -> None:
    (workshop.here / "one").mkdir()
    os.symlink("libx.so", workshop.here / "one/libx.so")
    workshop.lib("two/libx.so")
    workshop.lib("three/libx.so")
    workshop.env["LD_LIBRARY_PATH"] = "{here}/one:{here}/two"
    program = workshop.program("libx.so", runpath="{here}/three")
    workshop.check(program, ("libx.so", "three/libx.so", "RUNPATH"))


def test_an_empty_file_is_fatal(workshop: Workshop) -> None:
    (workshop.here / "one").mkdir()
    (workshop.here / "one/libx.so").write_bytes(b"")
    workshop.lib("two/libx.so")
    program = workshop.program("libx.so", rpath="{here}/one:{here}/two")
    workshop.check(program, ("libx.so", None, "not found"))


def test_a_truncated_file_is_fatal(workshop: Workshop) -> None:
    workshop.lib("two/libx.so")
    whole = workshop.lib("one/libx.so")
    whole.write_bytes(whole.read_bytes()[:60])
    program = workshop.program("libx.so", rpath="{here}/one:{here}/two")
    process = workshop.check(program, ("libx.so", None, "not found"))
    assert process.resolutions[0].fatal == f"{whole}: truncated: file too short"


def test_a_linker_script_is_fatal(workshop: Workshop) -> None:
    (workshop.here / "one").mkdir()
    (workshop.here / "one/libx.so").write_text("/* GNU ld script */ GROUP ( /lib/libx.so.1 ) " + " " * 60)
    workshop.lib("two/libx.so")
    program = workshop.program("libx.so", rpath="{here}/one:{here}/two")
    process = workshop.check(program, ("libx.so", None, "not found"))
    assert process.resolutions[0].fatal == f"{workshop.here}/one/libx.so: not an ELF file"


def test_a_directory_with_the_name_of_a_library_is_fatal(workshop: Workshop) -> None:
    (workshop.here / "one/libx.so").mkdir(parents=True)
    workshop.lib("two/libx.so")
    program = workshop.program("libx.so", rpath="{here}/one:{here}/two")
    workshop.check(program, ("libx.so", None, "not found"))


def test_a_big_endian_file_is_fatal(workshop: Workshop) -> None:
    patch(workshop.lib("one/libx.so"), 5, b"\2")
    workshop.lib("two/libx.so")
    program = workshop.program("libx.so", rpath="{here}/one:{here}/two")
    workshop.check(program, ("libx.so", None, "not found"))


def test_a_sound_file_of_the_other_byte_order_is_passed_over_by_debian(workshop: Workshop) -> None:
    """An s390x file. Elsewhere it is fatal: see ``verdict``."""
    (workshop.here / "one").mkdir()
    head = b"\x7fELF\2\2\1" + bytes(9) + struct.pack(">HHIQQQIHHHHHH", 3, 22, 1, 0, 64, 0, 0, 64, 56, 0, 64, 0, 0)
    (workshop.here / "one/libx.so").write_bytes(head)
    workshop.lib("two/libx.so")
    program = workshop.program("libx.so", rpath="{here}/one:{here}/two")
    if not os.path.exists("/etc/debian_version"):
        missing("Debian's patch of ld.so", "run on Debian or Ubuntu")
    process = workshop.check(program, ("libx.so", "two/libx.so", "RPATH"))
    assert process.resolutions[0].candidates[0].skipped == "for s390x"
    plain = replace(process.linker, directories=("/lib64", "/usr/lib64"))
    upstream = Process(Local(), plain, env={})
    upstream.start(os.fspath(program))
    assert upstream.resolutions[0].fatal == f"{workshop.here}/one/libx.so: ELF file data encoding not little-endian"


def test_a_library_of_another_system_is_fatal(workshop: Workshop) -> None:
    patch(workshop.lib("one/libx.so"), 7, b"\x09")
    workshop.lib("two/libx.so")
    process = workshop.check(workshop.program("libx.so", rpath="{here}/one:{here}/two"))
    assert process.resolutions[0].fatal == f"{workshop.here}/one/libx.so: ELF file OS ABI invalid"


def test_a_program_is_no_library(workshop: Workshop) -> None:
    shutil.copy(workshop.program(path="spare/program"), workshop.here / "spare/libx.so")
    process = workshop.check(workshop.program("libx.so", rpath="{here}/spare"), ("libx.so", None, "not found"))
    assert process.resolutions[0].fatal is not None
    assert process.resolutions[0].fatal.endswith("cannot dynamically load position-independent executable")


def test_an_hwcaps_subdirectory_comes_first(workshop: Workshop) -> None:
    linker = workshop.predict(workshop.program(path="bin/empty")).linker
    best = (*linker.hwcaps, "")[0]
    if not best:
        return
    workshop.lib("lib/libx.so")
    workshop.lib(f"lib/glibc-hwcaps/{best}/libx.so")
    workshop.check(
        workshop.program("libx.so", runpath="{here}/lib"), ("libx.so", f"lib/glibc-hwcaps/{best}/libx.so", "RUNPATH")
    )


def test_the_better_hwcaps_subdirectory_wins(workshop: Workshop) -> None:
    linker = workshop.predict(workshop.program(path="bin/empty")).linker
    for name in linker.hwcaps:
        workshop.lib(f"lib/glibc-hwcaps/{name}/libx.so")
    workshop.lib("lib/libx.so")
    workshop.env["LD_LIBRARY_PATH"] = "{here}/lib"
    workshop.check(workshop.program("libx.so"))


def test_an_hwcaps_subdirectory_of_a_better_cpu_is_not_searched(workshop: Workshop) -> None:
    workshop.lib("lib/glibc-hwcaps/x86-64-v5/libx.so")
    workshop.check(workshop.program("libx.so", rpath="{here}/lib"), ("libx.so", None, "not found"))


def test_the_directory_itself_comes_before_the_hwcaps_of_the_next(workshop: Workshop) -> None:
    workshop.lib("one/libx.so")
    workshop.lib("two/glibc-hwcaps/x86-64-v2/libx.so")
    program = workshop.program("libx.so", rpath="{here}/one:{here}/two")
    workshop.check(program, ("libx.so", "one/libx.so", "RPATH"))


def test_legacy_subdirectories_are_searched_as_this_glibc_does(workshop: Workshop) -> None:
    for number, sub in enumerate(("tls", "x86_64", "tls/x86_64", "haswell", "avx512_1", "x86_64/x86_64")):
        workshop.lib(f"lib/{sub}/libx{number}.so")
        workshop.lib(f"lib/libx{number}.so")
    workshop.check(workshop.program(*(f"libx{number}.so" for number in range(6)), rpath="{here}/lib"))


def test_the_whole_list_of_subdirectories_is_that_of_this_ld_so(workshop: Workshop) -> None:
    workshop.lib("lib/empty.so")
    program = workshop.program("libnowhere.so", rpath="{here}/lib")
    _, stderr = run(program, env={"LD_DEBUG": "libs"})
    line = next(line for line in stderr.splitlines() if "(RPATH from file" in line)
    linker = workshop.predict(program).linker
    lib = f"{workshop.here}/lib"
    searched = line.partition("search path=")[2].partition("\t")[0].split(":")
    assert list(dict.fromkeys(searched)) == [*(f"{lib}/{sub}" for sub in linker.subdirectories), lib]


def test_the_default_directories_are_those_of_this_ld_so(workshop: Workshop) -> None:
    program = workshop.program("libnowhere.so")
    _, stderr = run(program, env={"LD_DEBUG": "libs"})
    line = next(line for line in stderr.splitlines() if "(system search path)" in line)
    searched = line.partition("search path=")[2].partition("\t")[0].split(":")
    linker = workshop.predict(program).linker
    plain = [each for each in searched if not any(each.endswith("/" + sub) for sub in linker.subdirectories)]
    assert list(linker.directories) == plain


def test_nodeflib_keeps_out_the_default_directories(workshop: Workshop) -> None:
    program = workshop.program("libm.so.6", flags=("-z", "nodefaultlib"))
    workshop.check(program, ("libm.so.6", None, "not found"))


def test_nodeflib_concerns_the_requester_only(workshop: Workshop) -> None:
    workshop.lib("lib/libx.so", "libm.so.6")
    process = workshop.check(workshop.program("libx.so", rpath="{here}/lib", flags=("-z", "nodefaultlib")))
    assert [each.path is not None for each in process.resolutions if each.soname == "libm.so.6"] == [True]


def test_nodeflib_leaves_runpath_alone(workshop: Workshop) -> None:
    workshop.lib("lib/libx.so")
    program = workshop.program("libx.so", runpath="{here}/lib", flags=("-z", "nodefaultlib"))
    workshop.check(program, ("libx.so", "lib/libx.so", "RUNPATH"))


def test_a_preloaded_library_comes_first(workshop: Workshop) -> None:
    workshop.lib("lib/libx.so")
    workshop.lib("pre/libp.so")
    workshop.env["LD_PRELOAD"] = "{here}/pre/libp.so"
    program = workshop.program("libx.so", rpath="{here}/lib")
    process = workshop.check(program, ("{here}/pre/libp.so", "pre/libp.so", "LD_PRELOAD"))
    assert process.resolutions[0].edge == "preload"


def test_a_preloaded_library_satisfies_its_soname(workshop: Workshop) -> None:
    workshop.lib("pre/anything.so", soname="libx.so")
    workshop.lib("lib/libx.so")
    workshop.env["LD_PRELOAD"] = "{here}/pre/anything.so"
    program = workshop.program("libx.so", runpath="{here}/lib")
    workshop.check(program, ("libx.so", "pre/anything.so", "resident"))


def test_a_preloaded_name_is_searched_with_the_paths_of_the_program(workshop: Workshop) -> None:
    workshop.lib("lib/libp.so", "libq.so")
    workshop.lib("lib/libq.so")
    workshop.env["LD_PRELOAD"] = "libp.so"
    workshop.check(
        workshop.program("libq.so", rpath="{here}/lib"),
        ("libp.so", "lib/libp.so", "LD_PRELOAD"),
        ("libq.so", "lib/libq.so", "RPATH"),
    )


def test_spaces_and_colons_separate_ld_preload(workshop: Workshop) -> None:
    for name in ("liba.so", "libb.so", "libc.so"):
        workshop.lib(f"pre/{name}")
    workshop.env["LD_PRELOAD"] = "liba.so libb.so::libc.so"
    workshop.env["LD_LIBRARY_PATH"] = "{here}/pre"
    workshop.check(workshop.program("liba.so"), ("libc.so", "pre/libc.so", "LD_PRELOAD"))


def test_a_broken_preload_is_ignored(workshop: Workshop) -> None:
    workshop.lib("lib/libx.so")
    (workshop.here / "broken.so").write_bytes(b"\x7fELF")
    workshop.env["LD_PRELOAD"] = "{here}/broken.so:libnowhere.so"
    workshop.check(workshop.program("libx.so", rpath="{here}/lib"), ("libx.so", "lib/libx.so", "RPATH"))


def test_a_missing_library_does_not_end_the_listing(workshop: Workshop) -> None:
    workshop.lib("lib/libx.so", "libnowhere.so", "liby.so")
    workshop.lib("lib/liby.so", "libnowhere.so")
    workshop.check(workshop.program("libx.so", rpath="{here}/lib"), ("liby.so", "lib/liby.so", "RPATH"))


def test_libraries_may_need_each_other(workshop: Workshop) -> None:
    workshop.lib("lib/liba.so", "libb.so")
    workshop.lib("lib/libb.so", "liba.so", "libb.so")
    workshop.check(workshop.program("liba.so", rpath="{here}/lib"), ("libb.so", "lib/libb.so", "RPATH"))


def test_the_linker_itself_is_resident(workshop: Workshop) -> None:
    workshop.lib("lib/ld-linux-x86-64.so.2")
    process = workshop.check(workshop.program("ld-linux-x86-64.so.2", rpath="{here}/lib"))
    assert process.resolutions[0].how == "resident"


def test_a_filter_is_loaded_with_its_library(workshop: Workshop) -> None:
    workshop.lib("lib/libx.so", flags=("-F", "libfilter.so"))
    workshop.lib("lib/libfilter.so")
    process = workshop.predict(workshop.program("libx.so", rpath="{here}/lib"))
    assert [os.path.basename(item.path) for item in process.objects[2:]] == ["libx.so", "libfilter.so"]
    observed = workshop.observe(workshop.here / "bin/program")
    assert sorted(path for _, path in observed.loaded) == sorted(item.path for item in process.objects[2:])


def test_a_missing_auxiliary_library_is_no_fault(workshop: Workshop) -> None:
    workshop.lib("lib/libx.so", flags=("-f", "libauxiliary.so"))
    process = workshop.predict(workshop.program("libx.so", rpath="{here}/lib"))
    assert [each.soname for each in process.resolutions] == ["libx.so"]
    assert run(workshop.here / "bin/program") == ("", "")


def test_a_library_is_listed_as_if_it_were_the_program(workshop: Workshop) -> None:
    workshop.lib("lib/libx.so", "liby.so", runpath="$ORIGIN/near")
    workshop.lib("lib/near/liby.so", "libnowhere.so")
    process = workshop.predict(workshop.here / "lib/libx.so")
    assert [(each.soname, each.how) for each in process.resolutions] == [
        ("liby.so", "RUNPATH"),
        ("libnowhere.so", "not found"),
    ]
    observed = workshop.observe(GLIBC, workshop.here / "lib/libx.so")
    assert observed.loaded == [("liby.so", f"{workshop.here}/lib/near/liby.so")]
    assert observed.lost == ["libnowhere.so"]


def test_what_follows_the_end_mark_of_the_dynamic_section_is_not_read(workshop: Workshop) -> None:
    """ld leaves room after DT_NULL."""
    workshop.lib("lib/libx.so")
    program = workshop.program("libx.so", rpath="{here}/lib")
    elf = read_elf(Local(), os.fspath(program))
    data = program.read_bytes()
    entry = struct.pack("<qQ", 1, elf.tags.get(14, 1))
    end = data.index(bytes(32), data.index(struct.pack("<qQ", 5, elf.tags[5])))
    end += -end % 16
    patch(program, end + 16, entry)
    assert read_elf(Local(), os.fspath(program)).needed == ("libx.so",)
    workshop.check(program, ("libx.so", "lib/libx.so", "RPATH"))


def patch(path: os.PathLike[str], offset: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def set_machine(path: os.PathLike[str], machine: int) -> None:
    patch(path, 18, struct.pack("<H", machine))


def make_32_bit(path: os.PathLike[str]) -> None:
    patch(path, 4, b"\1")
    set_machine(path, 3)


def turn_needed_into_rpath(workshop: Workshop, program: os.PathLike[str], needed: str, rpath: str) -> None:
    """Make the DT_NEEDED entry of a name a DT_RPATH entry; its text stays, as a relative directory."""
    with open(program, "rb") as file:
        data = file.read()
    at = data.index(needed.encode() + b"\0")
    # The value in the dynamic section is an offset into .dynstr, which starts with an empty string.
    start = data.rindex(b"\0\0", 0, at) if data.rfind(b"\0\0", 0, at) >= 0 else 0
    for base in range(start, at):
        entry = struct.pack("<qQ", 1, at - base)
        if data.count(entry) == 1:
            patch(program, data.index(entry), struct.pack("<q", 15))
            os.rename(workshop.here / "one/libspare.so", workshop.here / "one/unused.so")
            os.symlink(workshop.text(rpath), workshop.here / needed)
            return
    raise AssertionError(f"no DT_NEEDED for {needed}")
