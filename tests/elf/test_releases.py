"""Other releases and machines: their own ld.so, in a chroot and where need be emulated, is the oracle.

Debian 11 has glibc 2.31 with the legacy subdirectories and no glibc-hwcaps, Debian 13 has 2.41 with the opposite; the
machine's own is between them and has both.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random

import pytest

from tests.cache import cache
from tests.elf.test_forests import random_forest
from tests.elf.workshop import Root, Workshop
from tests.needs import missing

SEEDS = 12
RELEASES = {
    "bullseye-amd64": ("/lib64/ld-linux-x86-64.so.2", "lib/x86_64-linux-gnu", 62),
    "trixie-amd64": ("/lib64/ld-linux-x86-64.so.2", "lib/x86_64-linux-gnu", 62),
    "bullseye-arm64": ("/lib/ld-linux-aarch64.so.1", "lib/aarch64-linux-gnu", 183),
    "trixie-arm64": ("/lib/ld-linux-aarch64.so.1", "lib/aarch64-linux-gnu", 183),
}


def fetched(name: str) -> Path:
    folder = cache() / "glibc" / name
    if not (folder / "complete").exists():
        missing(
            f"the search order against the ld.so of {name}", f"on Debian, run: tests/elf/glibcs.sh {' '.join(RELEASES)}"
        )
    return folder


def release_root(workshop: Workshop, release: str) -> Root:
    """A root with the ld.so of a release, and what gpucheck must know of the CPU."""
    interpreter, _, machine = RELEASES[release]
    made = Root(workshop.here, workshop.shared, interpreter=interpreter)
    package = fetched(release)
    target = made.here / interpreter.lstrip("/")
    target.parent.mkdir(parents=True)
    (found,) = (path for path in package.rglob(target.name) if path.parent.name.endswith("-linux-gnu"))
    shutil.copy(found, target)
    (made.here / "proc").mkdir()
    if machine == 62:
        shutil.copy("/proc/cpuinfo", made.here / "proc/cpuinfo")
    else:
        made.machine = machine
        made.emulator = "/qemu-aarch64-static"
        shutil.copy(fetched("qemu") / "usr/bin/qemu-aarch64-static", made.here)
        # What the emulated CPU has of that which ld.so looks at.
        (made.here / "proc/cpuinfo").write_text("processor\t: 0\nFeatures\t: fp asimd atomics\n")
    return made


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_random_forest(release: str, seed: int, workshop: Workshop) -> None:
    made = release_root(workshop, release)
    made.check_inside(random_forest(Random(seed), made))


@pytest.mark.parametrize("release", RELEASES)
def test_the_built_in_values_are_read_from_the_linker(release: str, workshop: Workshop) -> None:
    _, lib, _ = RELEASES[release]
    made = release_root(workshop, release)
    made.lib(f"{lib}/libx.so")
    made.lib(f"sys/{lib}/liby.so")
    process = made.check_inside(
        made.program("libx.so", "liby.so", runpath="/sys/$LIB"),
        ("libx.so", f"/{lib}/libx.so", "default"),
        ("liby.so", f"/sys/{lib}/liby.so", "RUNPATH"),
    )
    assert process.linker.directories == (f"/{lib}", f"/usr/{lib}", "/lib", "/usr/lib")
    assert bool(process.linker.legacy) == release.startswith("bullseye")
    if release == "bullseye-amd64":
        assert process.linker.hwcaps == ()


@pytest.mark.parametrize("release", RELEASES)
def test_every_subdirectory_is_searched_as_by_the_linker(release: str, workshop: Workshop) -> None:
    """One library in each subdirectory that some glibc searches, all of one name: the best one is taken."""
    made = release_root(workshop, release)
    subs = [f"glibc-hwcaps/x86-64-v{level}" for level in (2, 3, 4)]
    subs += ["tls", "x86_64", "haswell", "tls/x86_64", "aarch64", "atomics", "aarch64/atomics", "tls/atomics", "."]
    for number in range(len(subs)):
        for sub in subs[number:]:
            made.lib(f"opt/{sub}/libx{number}.so")
    made.check_inside(made.program(*(f"libx{number}.so" for number in range(len(subs))), rpath="/opt"))
