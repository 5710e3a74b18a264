"""The programs and libraries of this system, as they are: prediction equals what ld.so lists, file by file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpucheck.elf import Elf, ElfError, find, read_elf, start
from gpucheck.system import Local
from tests.elf.workshop import GLIBC, Workshop, loaded_by, lost_by, parse_trace, run

AT_MOST = 100


def dynamic_files(folder: str) -> list[str]:
    """A sample of the files in a folder that this machine's ld.so loads."""
    found: dict[str, None] = {}
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        try:
            elf: Elf = read_elf(Local(), path)
        except (OSError, ElfError):
            continue
        # ld.so does not trace set-ID programs.
        if os.stat(path).st_mode & 0o6000:
            continue
        if elf.dynamic and elf.needed and (elf.machine, elf.bits) == (62, 64) and elf.interpreter in (None, GLIBC):
            found.setdefault(os.path.realpath(path))
    return list(found)[:: max(1, len(found) // AT_MOST)]


@pytest.mark.parametrize("folder", ["/usr/bin", "/usr/lib/x86_64-linux-gnu", "/usr/sbin"])
def test_prediction_equals_the_listing(folder: str, workshop: Workshop) -> None:
    files = dynamic_files(folder) if os.path.isdir(folder) else []
    differing = {}
    for path in files:
        process = start(Local(), path, env={}, secure=False)
        by_linker = [] if os.access(path, os.X_OK) else [GLIBC]
        stdout, stderr = run(*by_linker, path, env={"LD_TRACE_LOADED_OBJECTS": "1"})
        observed = parse_trace(stdout, stderr)
        if (loaded_by(process), lost_by(process)) != ([each for _, each in observed.loaded], observed.lost):
            differing[path] = (loaded_by(process), observed)
    assert differing == {}
    assert files or not os.path.isdir(folder)


def test_what_this_python_has_mapped_was_predicted() -> None:
    """Start the interpreter, import extension modules: every library in /proc/self/maps is in the link map."""
    code = "import ctypes, ssl, sqlite3, lzma, bz2, json, sys; print('\\n'.join(sys.modules[m].__file__ for m in sys.modules if (getattr(sys.modules[m], '__file__', None) or '').endswith('.so')), end='\\n--\\n'); print(open('/proc/self/maps').read())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules, _, maps = done.stdout.partition("\n--\n")
    process = start(Local(), os.path.realpath(sys.executable))
    for module in modules.split():
        assert process.dlopen(module).fatal is None
    mapped = {os.path.realpath(line.split()[-1]) for line in maps.splitlines() if ".so" in line}
    assert mapped - {os.path.realpath(item.path) for item in process.objects} == set()


def test_find_gives_what_ctypes_gets() -> None:
    for name in ("libc.so.6", "libm.so.6", "libnowhere.so.1", "libz.so.1", "libcuda.so.1", "libgomp.so.1"):
        code = f"import ctypes; ctypes.CDLL({name!r}); print(open('/proc/self/maps').read())"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        found = find(Local(), name, executable=os.path.realpath(sys.executable))
        assert (found.path is None or found.fatal is not None) == (done.returncode != 0), (found, done.stderr)
        if found.path and found.fatal is None:
            assert str(Path(found.path).resolve()) in done.stdout
