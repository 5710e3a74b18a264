"""Random forests of libraries: whatever their RPATH, RUNPATH, environment and files, prediction equals ld.so.

Compared are the link map in order, the names that are missing, and every file tried for every name. More seeds:
``GPU_CAPABLE_SEEDS=1000 pytest tests/elf/test_forests.py``; one seed: ``-k seed7-``.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from random import Random

import pytest

from tests.elf.workshop import Workshop

SEEDS = int(os.environ.get("GPU_CAPABLE_SEEDS", "300"))
NAMES = ("liba.so", "libb.so", "libc1.so", "libd.so.2", "libe.so")
FOLDERS = ("one", "two", "three", "deep/four")
SUBDIRECTORIES = (
    "glibc-hwcaps/x86-64-v2",
    "glibc-hwcaps/x86-64-v3",
    "tls",
    "x86_64",
    "tls/x86_64",
    "haswell",
    "aarch64",
    "tls/aarch64/atomics",
)


@pytest.mark.parametrize("seed", range(SEEDS), ids=lambda seed: f"seed{seed}-")
def test_a_random_forest(seed: int, workshop: Workshop) -> None:
    workshop.check(random_forest(Random(seed), workshop))


def random_forest(random: Random, workshop: Workshop) -> Path:
    """Fill the folder and set the environment; the program to start."""
    for name in NAMES:
        for folder in random.sample(FOLDERS, random.choice((0, 1, 1, 2, 2, 3))):
            if random.random() < 0.15:
                folder = f"{folder}/{random.choice(SUBDIRECTORIES)}"
            plant(random, workshop, f"{folder}/{name}")
    for folder in FOLDERS:
        (workshop.here / folder).mkdir(parents=True, exist_ok=True)
    if random.random() < 0.6:
        workshop.env["LD_LIBRARY_PATH"] = path_list(random, ":;")
    if random.random() < 0.2:
        workshop.env["LD_PRELOAD"] = random.choice(" :").join(random.sample(NAMES, 2))
    workshop.cwd = workshop.here / random.choice((*FOLDERS, "."))
    flags = ("-z", "nodefaultlib") if random.random() < 0.1 else ()
    return workshop.program(*needs(random, 3), **paths(random), flags=flags)


def plant(random: Random, workshop: Workshop, path: str) -> None:
    """Put a library, or something that looks like one, into the folder."""
    target = workshop.here / path
    name = target.name
    kind = random.random()
    if kind < 0.08:
        other = random.choice(sorted(each for each in workshop.here.rglob("lib*.so*")) or [target])
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            os.symlink(os.path.relpath(other, target.parent), target)
        return
    if kind < 0.12:
        (workshop.here / path).parent.mkdir(parents=True, exist_ok=True)
        os.symlink("nothing", target)
        return
    soname = random.choice((name, name, name, "", random.choice(NAMES)))
    flags = ("-z", "nodefaultlib") if random.random() < 0.05 else ()
    workshop.lib(path, *needs(random, 2), soname=soname, **paths(random), flags=flags)
    if kind > 0.96:
        with open(target, "r+b") as file:
            file.seek(18)
            file.write(b"\xb7\0")
    elif kind > 0.92:
        with open(target, "r+b") as file:
            file.seek(4)
            file.write(b"\1")
    elif kind > 0.9:
        shutil.copy(target, target.with_name("copy-" + name))


def needs(random: Random, most: int) -> list[str]:
    """DT_NEEDED entries: mostly names, now and then a path or a library of the system."""
    found = random.sample(NAMES, random.randint(1, most))
    if random.random() < 0.1:
        found.append("$ORIGIN/" + random.choice(NAMES))
    if random.random() < 0.1:
        found.append("libm.so.6")
    return found


def paths(random: Random) -> dict[str, str]:
    """A DT_RPATH, a DT_RUNPATH, or neither."""
    return random.choice(({}, {"rpath": path_list(random, ":")}, {"runpath": path_list(random, ":")}))


def path_list(random: Random, separators: str) -> str:
    elements = [f"{{here}}/{folder}" for folder in FOLDERS]
    elements += [
        "$ORIGIN",
        "${ORIGIN}/../two",
        "$ORIGIN/../one/",
        "{here}/none",
        "",
        "three",
        "{here}/one/glibc-hwcaps",
    ]
    elements += ["/$LIB/nothing", "$ORIGIN/$PLATFORM", "$NOTHING/one", "{here}//two"]
    chosen = random.choices(elements, k=random.randint(1, 3))
    return random.choice(separators).join(chosen) or "{here}/one"
