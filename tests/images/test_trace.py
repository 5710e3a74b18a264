"""In a default container: nobody, no capability, no strace, only gpucheck.pyz."""

from __future__ import annotations

import json
from pathlib import Path

from ci.engine import Engine
from tests.cache import driver_folder
from tests.trace.commands import DRIVER, conforming


def in_container(
    engine: Engine, image: str, pyz: Path, volumes: dict[str, str], *command: str, **options: object
) -> tuple[int, str, str]:
    mounts = [
        word
        for outside, inside in {str(pyz): "/gpucheck.pyz", **volumes}.items()
        for word in ("-v", f"{outside}:{inside}:ro")
    ]
    code = f"import sys; sys.path.insert(0, '/gpucheck.pyz')\n{DRIVER}"
    done = engine.run(
        "run", "--rm", "--user", "12345:12345", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
        "--entrypoint", "python3", *mounts, image, "-c", code, json.dumps(options), *command,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_a_real_libcuda_is_traced(engine: Engine, images: dict[str, str], pyz: Path) -> None:
    code = "import ctypes; print(ctypes.CDLL('/drv/libcuda.so.1').cuInit(0)); ctypes.CDLL('libcudart.so.99')"
    status, stdout, stderr = in_container(
        engine, images["cpu"], pyz, {str(driver_folder(535).resolve()): "/drv"}, "python3", "-c", code, format="json"
    )
    assert status == 1
    assert stdout == "100\n"
    traceback, _, report = stderr.partition("\n{\n")
    assert "OSError: libcudart.so.99" in traceback
    document = conforming("{" + report)
    assert document["backend"] == ["ld-debug"]
    assert document["exit"] == 1
    assert document["missing"] == ["libcudart.so.99"]
    found = {each["soname"]: each["path"] for each in document["resolutions"]}
    assert found["/drv/libcuda.so.1"] == "/drv/libcuda.so.1"
    assert document["differences"] == []
    assert document["diagnosis"]["verdict"] == "incompatible"


def test_strace_that_is_not_there_is_said(engine: Engine, images: dict[str, str], pyz: Path) -> None:
    status, stdout, stderr = in_container(
        engine, images["cpu"], pyz, {}, "sh", "-c", "echo out; exit 5", backend="both"
    )
    assert (status, stdout) == (5, "out\n")
    assert "  strace does not watch: it is not installed (its package is strace)\n" in stderr
    assert "watched by LD_DEBUG of the dynamic linker\n" in stderr


def test_what_an_entry_point_that_gives_up_root_prints_is_its_own(
    engine: Engine, images: dict[str, str], pyz: Path
) -> None:
    """It goes on in the same process as another user: ld.so must still be able to write to its file."""
    code = f"import sys; sys.path.insert(0, '/gpucheck.pyz')\n{DRIVER}"
    done = engine.run(
        "run", "--rm", "--user", "0:0", "--entrypoint", "python3", "-v", f"{pyz}:/gpucheck.pyz:ro", images["cpu"],
        "-c", code, "{}", "setpriv", "--reuid=1234", "--regid=1234", "--clear-groups", "sh", "-c", "id -u",
    )  # fmt: skip
    assert done.stdout == "1234\n"


def test_a_read_only_root_without_a_place_for_the_logs_is_said_before_anything_runs(
    engine: Engine, images: dict[str, str], pyz: Path
) -> None:
    code = f"import sys; sys.path.insert(0, '/gpucheck.pyz')\n{DRIVER}"
    read_only = ("run", "--rm", "--read-only", "--entrypoint", "python3", "-v", f"{pyz}:/gpucheck.pyz:ro")
    done = engine.run(
        *read_only, "--tmpfs", "/dev/shm:ro", images["cpu"], "-c", code, "{}", "sh", "-c", "echo ran"
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "gpucheck: /tmp: no folder for the logs: Read-only file system; set TMPDIR to one that can be written\n"
    )
    # The engine's own /dev/shm can be written to.
    done = engine.run(*read_only, images["cpu"], "-c", code, "{}", "sh", "-c", "echo ran")
    assert (done.returncode, done.stdout) == (0, "ran\n")
