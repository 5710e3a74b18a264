"""A libcuda.so.1 that is there and cannot be loaded: what of it is said, with and without a call."""

from __future__ import annotations

from gpucheck.engine import judge
from gpucheck.facts import Choice, Snapshot, Unseen, Why
from gpucheck.finding import Finding
from gpucheck.record import replace
from tests.machines import LIBCUDA, NOT_APPLICABLE, bare, driver_library, healthy

# As glibc 2.36 and the static model word it for Debian's libcuda 390.157 without its libnvidia-legacy-390xx-fatbinaryloader.
LACKING = "libnvidia-fatbinaryloader.so.390.157: cannot open shared object file"
REFUSED = Unseen(Why.ABSENT, ("dlopen libcuda.so.1",), f"{LACKING}: No such file or directory")
FOLDER = "/opt/driver/lib"


def half_installed(**changes: object) -> Snapshot:
    found = Choice("libcuda.so.1", LIBCUDA, "ld.so.cache", (), (), f"{LACKING}, needed by {LIBCUDA}")
    return replace(healthy(libcuda=found, cuda=REFUSED), **changes)


def passed_over(why: str, **changes: object) -> Snapshot:
    path = f"{FOLDER}/libcuda.so.1"
    found = Choice("libcuda.so.1", None, "not found", (f"LD_LIBRARY_PATH: {path}: {why}",), ((path, why),))
    return bare(libcuda=found, libcuda_copies=(driver_library(path=path),), **changes)


def unloadable(snapshot: Snapshot) -> Finding | None:
    return next((found for found in judge(snapshot).everything() if found.rule == "libcuda-unloadable"), None)


def test_the_lacking_library_is_named_by_the_call() -> None:
    found = unloadable(half_installed())
    assert found
    assert (
        found.summary
        == "libcuda.so.1 cannot be loaded: it needs libnvidia-fatbinaryloader.so.390.157, which is not found"
    )
    assert found.evidence[0].source == "dlopen in a child process"
    assert "package of the same version that brings libnvidia-fatbinaryloader.so.390.157" in found.remedy


def test_the_lacking_library_is_named_by_the_files_alone() -> None:
    called, quiet = unloadable(half_installed()), unloadable(half_installed(cuda=NOT_APPLICABLE))
    assert called and quiet
    assert (quiet.summary, quiet.remedy) == (called.summary, called.remedy)
    assert quiet.evidence[0].source == "the files' headers"


def test_a_libcuda_that_answers_is_loadable_whatever_its_files_look_like() -> None:
    assert unloadable(half_installed(cuda=healthy().cuda)) is None


def test_a_library_for_another_machine_is_not_one_that_the_linker_does_not_look_for() -> None:
    for why, machine in (("32-bit", "32-bit"), ("for aarch64", "aarch64")):
        (root,) = [found for found in judge(passed_over(why)).everything() if found.rule.startswith("libcuda-")]
        assert root.rule == "libcuda-for-other-processor"
        assert root.summary == f"The only libcuda here is for {machine}, and this machine is x86_64"
        assert root.evidence[0].source == f"{FOLDER}/libcuda.so.1"


def test_a_file_that_is_cut_off_ends_the_search() -> None:
    path = f"{FOLDER}/libcuda.so.1"
    snapshot = bare(libcuda=Choice("libcuda.so.1", None, "not found", (), (), f"{path}: truncated: 4096 bytes of 9"))
    found = unloadable(snapshot)
    assert found and found.summary == f"{path} is found, but cannot be loaded"
    assert found.evidence[0].fact.endswith("truncated: 4096 bytes of 9")
