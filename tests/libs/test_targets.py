"""What the word on the command line means."""

from __future__ import annotations

import os

import pytest

from gpucheck.libs.targets import File, Installed, Name, NoTarget, find_target
from tests.elf.workshop import Root
from tests.libs.places import SITE, distribution, environment, python, system

TAG = "cpython-312-x86_64-linux-gnu.so"


@pytest.fixture
def place(root: Root) -> Root:
    python(root)
    distribution(root, "cupy-cuda12x", "14.2.0", (f"cupy/_core/core.{TAG}", "cupy/__init__.py", "../../../bin/cupy"))
    distribution(root, "other", "1.0", ("other.py",))
    root.lib(f"{SITE}/cupy/_core/core.{TAG}")
    return root


def find(place: Root, text: str) -> object:
    return find_target(system(place), text, (environment(place),))


def test_a_path_is_a_file(place: Root) -> None:
    assert find(place, "/usr/lib/libffi.so.8") == File("/usr/lib/libffi.so.8")


def test_a_name_with_so_is_what_programs_ask_for(place: Root) -> None:
    assert find(place, "libcuda.so.1") == Name("libcuda.so.1")


@pytest.mark.parametrize("text", ["cupy-cuda12x", "cupy_cuda12x", "CuPy.CUDA12x", "cupy", "cupy._core"])
def test_a_distribution_is_found_in_any_spelling_and_by_its_module(place: Root, text: str) -> None:
    found = find(place, text)
    assert isinstance(found, Installed)
    assert (found.name, found.version, found.location) == ("cupy-cuda12x", "14.2.0", f"/{SITE}")
    assert found.libraries == (f"/{SITE}/cupy/_core/core.{TAG}",)
    assert found.source == f"/{SITE}/cupy_cuda12x-14.2.0.dist-info/RECORD"


def test_a_module_without_a_distribution_is_walked(place: Root) -> None:
    place.lib(f"{SITE}/own/deep/_native.abi3.so")
    found = find(place, "own")
    assert isinstance(found, Installed)
    assert (found.name, found.version, found.libraries) == ("own", "", (f"/{SITE}/own/deep/_native.abi3.so",))


def test_a_distribution_without_record_is_walked(place: Root) -> None:
    """Debian's packages come with an .egg-info and no list."""
    (place.here / SITE / "torch-1.13.0.egg-info").mkdir()
    place.lib(f"{SITE}/torch/_C.{TAG}")
    found = find(place, "torch")
    assert isinstance(found, Installed)
    assert (found.version, found.libraries) == ("1.13.0", (f"/{SITE}/torch/_C.{TAG}",))


def test_a_record_with_quotes_is_read(place: Root) -> None:
    distribution(place, "odd", "1.0", ('"odd/a,b.so"', "odd/_x.so"))
    found = find(place, "odd")
    assert isinstance(found, Installed)
    assert found.libraries == (f"/{SITE}/odd/a,b.so", f"/{SITE}/odd/_x.so")


def test_a_program_on_path_comes_last(place: Root) -> None:
    assert find(place, "python3.12") == File("/venv/bin/python3.12")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("/no/such.so", "/no/such.so: No such file or directory"),
        ("/usr/lib", "/usr/lib: is a directory; name a library or program in it, or without a target: gpucheck libs"),
        ("/fifo", "/fifo: is no regular file"),
        ("/script", "/script: is a script; name the program that runs it: /bin/sh -e"),
        (
            "cupi",
            "cupi: no file, Python distribution, module or program of this name (/venv); did you mean cupy?",
        ),
        (
            "zzzzz",
            "zzzzz: no file, Python distribution, module or program of this name (/venv); "
            "name a file, or another environment with --python",
        ),
        ("", "the target is empty; name a file, a Python distribution or module, or leave it out"),
    ],
)
def test_what_is_no_target_is_refused_in_one_line(place: Root, text: str, message: str) -> None:
    os.mkfifo(place.here / "fifo")
    (place.here / "script").write_text("#!/bin/sh -e\n")
    with pytest.raises(NoTarget) as refused:
        find(place, text)
    assert str(refused.value) == message
