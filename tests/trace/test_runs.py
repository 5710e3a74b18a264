"""Whole runs of real commands."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cache import cache, driver_folder
from tests.calls.test_aarch64 import build as build_aarch64
from tests.needs import missing
from tests.trace.commands import OPENER, argv, build_library, build_opener, environment, strace, trace

OPEN = "import ctypes, sys\nfor name in sys.argv[1:]:\n    ctypes.CDLL(name)\n"
BACKENDS = ("ld-debug", "strace", "both")


@pytest.fixture(scope="session")
def opener(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_opener(tmp_path_factory.mktemp("opener")))


# -- what it says of libraries -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_real_libcuda_that_ctypes_opens(tmp_path: Path, backend: str) -> None:
    if backend != "ld-debug":
        strace()
    folder = driver_folder(535)
    done = trace(
        sys.executable, "-c", OPEN, "libcuda.so.1",
        folder=tmp_path, backend=backend, env={"LD_LIBRARY_PATH": str(folder)},
    )  # fmt: skip
    assert done.status == 0
    found = done.resolution("libcuda.so.1")
    assert found["path"] == f"{folder}/libcuda.so.1"
    assert found["edge"] == "dlopen"
    assert done.document["missing"] == []
    assert done.document["backend"] == (["ld-debug", "strace"] if backend == "both" else [backend])
    if backend == "strace":
        assert (found["how"], found["requester"]) == ("unknown", None)
    else:
        assert found["how"] == "LD_LIBRARY_PATH"
        assert "_ctypes" in found["requester"]
        assert done.document["differences"] == []


def test_device_nodes_and_their_errors_are_those_of_the_command(tmp_path: Path) -> None:
    strace()
    folder = driver_folder(535)
    code = "import ctypes; print(ctypes.CDLL('libcuda.so.1').cuInit(0))"
    done = trace(
        sys.executable, "-c", code, folder=tmp_path, backend="both", env={"LD_LIBRARY_PATH": str(folder)}
    )  # fmt: skip
    assert done.status == 0
    devices = {each["path"]: each for each in done.document["devices"]}
    assert all(each["source"] == "strace" for each in devices.values())
    assert "/proc/driver/nvidia/params" in devices
    if done.stdout.strip() == "100":
        assert devices["/dev/nvidiactl"]["error"] in ("ENOENT", "ENXIO", "EPERM", "EACCES", "ENODEV")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_library_that_is_nowhere(tmp_path: Path, opener: str, backend: str) -> None:
    if backend != "ld-debug":
        strace()
    place = tmp_path / "place"
    place.mkdir()
    done = trace(
        opener, "libcudart.so.99", "libcudart.so.99", folder=tmp_path, backend=backend,
        env={"LD_LIBRARY_PATH": str(place)},
    )  # fmt: skip
    assert done.status == 0
    assert done.document["missing"] == ["libcudart.so.99"]
    found = done.resolution("libcudart.so.99")
    assert (found["path"], found["how"]) == (None, "not found")
    if backend != "strace":
        assert found["times"] == 2
        assert found["requester"] == opener
    skipped = {each["path"]: each["skipped"] for each in found["candidates"]}
    word = "not there" if backend == "ld-debug" else "not there (ENOENT)"
    assert skipped[f"{place}/libcudart.so.99"] == word


def test_why_a_copy_was_chosen(tmp_path: Path) -> None:
    """LD_LIBRARY_PATH before RUNPATH, RPATH before both: ld.so(8)."""
    for folder in ("rpath", "runpath", "env"):
        build_library(tmp_path / folder / "libcudart.so.12")
    for tag, flag in (("rpath", "--disable-new-dtags"), ("runpath", "--enable-new-dtags")):
        build_library(
            tmp_path / f"libcublas_{tag}.so.12", "int x;", str(tmp_path / tag / "libcudart.so.12"),
            f"-Wl,{flag},-rpath,$ORIGIN/{tag}",
        )  # fmt: skip
    program = str(build_opener(tmp_path))
    for tag, env, place, how in (
        ("rpath", True, "rpath", "RPATH"),
        ("runpath", True, "env", "LD_LIBRARY_PATH"),
        ("runpath", False, "runpath", "RUNPATH"),
    ):
        library = f"{tmp_path}/libcublas_{tag}.so.12"
        variables = {"LD_LIBRARY_PATH": str(tmp_path / "env")} if env else {}
        done = trace(program, library, folder=tmp_path, env=variables)
        found = done.resolution("libcudart.so.12")
        assert found["path"] == f"{tmp_path}/{place}/libcudart.so.12"
        assert (found["how"], found["requester"], found["edge"]) == (how, library, "needed")
        assert found["owner"] == (library if how != "LD_LIBRARY_PATH" else None)
        assert done.document["differences"] == []


def test_whose_rpath_it_was_although_the_linker_names_another(tmp_path: Path) -> None:
    """Where two libraries name one directory, ld.so always prints the first of them as its owner."""
    build_library(tmp_path / "common" / "libcufft.so.12")
    build_library(tmp_path / "common" / "libcurand.so.12")
    for name in ("libcublas.so.12", "libcusolver.so.12"):
        needs = {"libcublas.so.12": "libcufft.so.12", "libcusolver.so.12": "libcurand.so.12"}[name]
        build_library(
            tmp_path / name, "int x;", str(tmp_path / "common" / needs), "-Wl,--disable-new-dtags,-rpath,$ORIGIN/common"
        )
    done = trace(
        str(build_opener(tmp_path)), f"{tmp_path}/libcublas.so.12", f"{tmp_path}/libcusolver.so.12", folder=tmp_path
    )
    assert done.resolution("libcufft.so.12")["owner"] == f"{tmp_path}/libcublas.so.12"
    assert done.resolution("libcurand.so.12")["owner"] == f"{tmp_path}/libcusolver.so.12"


def test_a_file_for_another_machine_is_passed_over(tmp_path: Path, opener: str) -> None:
    good = build_library(tmp_path / "good" / "libcudart.so.12")
    bad = tmp_path / "bad" / "libcudart.so.12"
    bad.parent.mkdir()
    image = bytearray(good.read_bytes())
    image[18:20] = (40).to_bytes(2, "little")  # e_machine: Arm
    bad.write_bytes(image)
    done = trace(opener, "libcudart.so.12", folder=tmp_path, env={"LD_LIBRARY_PATH": f"{bad.parent}:{good.parent}"})
    found = done.resolution("libcudart.so.12")
    assert found["path"] == str(good)
    assert {"path": str(bad), "skipped": "for arm", "how": "LD_LIBRARY_PATH"} in found["candidates"]
    assert done.document["missing"] == []


def test_a_broken_file_ends_the_search(tmp_path: Path, opener: str) -> None:
    good = build_library(tmp_path / "good" / "libcudart.so.12")
    bad = tmp_path / "bad" / "libcudart.so.12"
    bad.parent.mkdir()
    bad.write_bytes(good.read_bytes()[:100])
    done = trace(opener, "libcudart.so.12", folder=tmp_path, env={"LD_LIBRARY_PATH": f"{bad.parent}:{good.parent}"})
    found = done.resolution("libcudart.so.12")
    assert found["path"] is None
    assert found["candidates"][-1]["path"] == str(bad)
    assert "truncated" in found["candidates"][-1]["skipped"] or "cut off" in found["candidates"][-1]["skipped"]
    assert done.document["missing"] == ["libcudart.so.12"]
    assert done.document["differences"] == []


def test_a_missing_symbol_and_a_missing_dependency_are_why_a_found_file_was_not_loaded(
    tmp_path: Path, opener: str
) -> None:
    build_library(tmp_path / "libcusparse.so.12", "int nowhere(void); int x(void) { return nowhere(); }")
    gone = build_library(tmp_path / "libcublasLt.so.12")
    build_library(tmp_path / "libcublas.so.12", "int x;", str(gone))
    gone.unlink()
    done = trace(opener, f"{tmp_path}/libcusparse.so.12", f"{tmp_path}/libcublas.so.12", folder=tmp_path)
    assert "undefined symbol: nowhere" in done.resolution("libcusparse.so.12")["fatal"]
    assert done.resolution("libcublas.so.12")["fatal"].startswith("libcublasLt.so.12: cannot open shared object file")
    assert done.resolution("libcublasLt.so.12")["path"] is None
    assert len(done.document["missing"]) == 3


def test_a_second_name_of_a_loaded_file(tmp_path: Path, opener: str) -> None:
    build_library(tmp_path / "libcuda.so.1")
    (tmp_path / "libcuda.so").symlink_to("libcuda.so.1")
    done = trace(opener, "libcuda.so.1", "libcuda.so", folder=tmp_path, env={"LD_LIBRARY_PATH": str(tmp_path)})
    found = done.resolution("libcuda.so")
    assert (found["path"], found["how"]) == (f"{tmp_path}/libcuda.so.1", "resident")
    assert done.document["missing"] == []


def test_a_failure_between_two_openings_is_not_taken_for_the_second(tmp_path: Path, opener: str) -> None:
    build_library(tmp_path / "libcublas.so.12")
    done = trace(
        opener, "libcublas.so.12", "libcufft.so.99", "libcublas.so.12",
        folder=tmp_path, env={"LD_LIBRARY_PATH": str(tmp_path)},
    )  # fmt: skip
    assert done.resolution("libcufft.so.99")["path"] is None
    assert done.document["missing"] == ["libcufft.so.99"]


def test_names_that_were_found_in_the_end_are_not_missing(tmp_path: Path, opener: str) -> None:
    """Programs try libcuda.so.1 and libcuda.so; plugins of NCCL are looked for whether they are there or not."""
    build_library(tmp_path / "libcuda.so.1")
    done = trace(
        opener, "libcuda.so", "libcuda.so.1", "libnccl-net.so",
        folder=tmp_path, env={"LD_LIBRARY_PATH": str(tmp_path)},
    )  # fmt: skip
    assert done.resolution("libcuda.so")["path"] is None
    assert done.resolution("libnccl-net.so")["optional"] is True
    assert done.document["missing"] == []


def test_what_is_needed_is_never_optional(tmp_path: Path, opener: str) -> None:
    gone = build_library(tmp_path / "libcutensor.so.2")
    build_library(tmp_path / "libcublas.so.12", "int x;", str(gone))
    gone.unlink()
    done = trace(opener, f"{tmp_path}/libcublas.so.12", folder=tmp_path)
    assert done.resolution("libcutensor.so.2")["optional"] is False
    assert "libcutensor.so.2" in done.document["missing"]


def test_dlsym_of_what_is_not_there_is_no_failure(tmp_path: Path, opener: str) -> None:
    build_library(tmp_path / "libcuda.so.1")
    done = trace(opener, f"{tmp_path}/libcuda.so.1", "@nowhere", folder=tmp_path)
    assert done.stdout.endswith("@nowhere missing\n")
    assert done.document["missing"] == []
    assert [each["error"] for each in done.document["processes"]] == [None]


def test_a_program_that_cannot_start(tmp_path: Path) -> None:
    library = build_library(tmp_path / "libcudart.so.12", "int answer(void) { return 1; }")
    program = tmp_path / "program"
    subprocess.run(
        ["gcc", "-x", "c", "-", "-x", "none", "-o", str(program), str(library)],
        input="int answer(void); int main(void) { return answer(); }",
        text=True,
        check=True,
    )
    library.unlink()
    done = trace(str(program), folder=tmp_path)
    assert done.status == 127
    assert "error while loading shared libraries" in done.stderr
    assert done.document["missing"] == ["libcudart.so.12"]


def test_children_are_followed_through_fork_and_exec(tmp_path: Path, opener: str) -> None:
    build_library(tmp_path / "libcudart.so.12")
    build_library(tmp_path / "libcublas.so.12")
    code = f"""
import ctypes, os
if os.fork() == 0:
    ctypes.CDLL("{tmp_path}/libcudart.so.12")
    os._exit(0)
os.wait()
os.execv("{opener}", ["renamed", "{tmp_path}/libcublas.so.12"])
"""
    done = trace(sys.executable, "-c", code, folder=tmp_path)
    assert done.status == 0
    forked, execed = done.resolution("libcudart.so.12"), done.resolution("libcublas.so.12")
    processes = done.document["processes"]
    assert processes[forked["process"]]["forked"] is True
    assert processes[execed["process"]]["forked"] is False
    assert processes[execed["process"]]["pid"] == processes[0]["pid"]
    assert processes[forked["process"]]["pid"] != processes[0]["pid"]


def test_a_wrapper_script_that_sets_the_library_path(tmp_path: Path, opener: str) -> None:
    build_library(tmp_path / "libs" / "libcudart.so.12")
    script = tmp_path / "wrapper"
    script.write_text(f"#!/bin/sh\nLD_LIBRARY_PATH={tmp_path}/libs exec {opener} libcudart.so.12\n")
    script.chmod(0o755)
    done = trace(str(script), folder=tmp_path)
    assert done.resolution("libcudart.so.12")["how"] == "LD_LIBRARY_PATH"
    assert done.document["differences"] == []


@pytest.fixture(scope="session")
def torch() -> str:
    place = Path(os.environ.get("GPU_CAPABLE_TORCH") or cache() / "torch") / "bin" / "python"
    if not place.exists():
        missing("gpucheck trace of import torch", "run: ci/setup/torch.sh")
    return str(place)


def test_import_torch_agrees_with_the_prediction_and_with_strace(tmp_path: Path, torch: str) -> None:
    strace()
    command = (torch, "-c", "import torch")
    env = {"LD_LIBRARY_PATH": str(driver_folder(535))}
    loader = trace(*command, folder=tmp_path, backend="ld-debug", env=env)
    system = trace(*command, folder=tmp_path, backend="strace", env=env)
    assert loader.status == system.status == 0
    found = {each["path"] for each in loader.document["resolutions"] if each["path"] and each["how"] != "resident"}
    opened = {each["path"] for each in system.document["resolutions"] if each["path"]}
    assert {os.path.realpath(path) for path in found} == {os.path.realpath(path) for path in opened}
    assert len(found) > 20
    assert loader.document["differences"] == []
    assert loader.document["missing"] == system.document["missing"] == []


# -- passing through ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_streams_and_exit_status_are_the_commands(tmp_path: Path, backend: str) -> None:
    if backend != "ld-debug":
        strace()
    done = trace(
        "sh", "-c", "cat; echo complaint >&2; exit 7", folder=tmp_path, backend=backend, input="given\n" * 10_000
    )
    assert (done.status, done.stdout, done.stderr) == (7, "given\n" * 10_000, "complaint\n")
    assert done.document["exit"] == 7


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("name", "status"), [("TERM", 143), ("SEGV", 139), ("KILL", 137)])
def test_a_command_that_a_signal_ends(tmp_path: Path, backend: str, name: str, status: int) -> None:
    if backend != "ld-debug":
        strace()
    done = trace("sh", "-c", f"kill -{name} $$", folder=tmp_path, backend=backend)
    assert done.status == status
    assert (done.document["exit"], done.document["signal"]) == (status, f"SIG{name}")


def test_the_environment_the_command_sees_differs_by_the_debug_variables_only(tmp_path: Path) -> None:
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    import json

    plain = json.loads(
        subprocess.run(
            [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True
        ).stdout
    )
    seen = json.loads(trace(sys.executable, "-c", code, folder=tmp_path).stdout)
    assert seen.pop("LD_DEBUG") == "libs,files"
    assert seen.pop("LD_DEBUG_OUTPUT").endswith("/ld")
    assert seen == plain


def test_a_script_without_a_first_line_runs_as_in_a_shell(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("echo ran $1\n")
    script.chmod(0o755)
    assert trace(str(script), "it", folder=tmp_path).stdout == "ran it\n"


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    place = tmp_path / "tmp"
    place.mkdir()
    trace("true", folder=tmp_path, env={"TMPDIR": str(place)})
    assert list(place.iterdir()) == []


# -- bad input ---------------------------------------------------------------------------------------------------------


def test_a_command_that_does_not_exist(tmp_path: Path) -> None:
    done = trace("no-such-command", folder=tmp_path)
    assert (done.status, done.stderr) == (
        127,
        "gpucheck: no-such-command: command not found; it is in no folder of PATH\n",
    )


def test_a_path_that_does_not_exist(tmp_path: Path) -> None:
    done = trace(f"{tmp_path}/nothing", folder=tmp_path)
    assert (done.status, done.stderr) == (127, f"gpucheck: {tmp_path}/nothing: No such file or directory\n")


def test_an_empty_word(tmp_path: Path) -> None:
    done = trace("", folder=tmp_path)
    assert (done.status, done.stderr) == (127, "gpucheck: the command is an empty word\n")


def test_a_script_whose_interpreter_is_not_there(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/python3\n")
    script.chmod(0o755)
    done = trace(str(script), folder=tmp_path)
    assert (done.status, done.stderr) == (126, f"gpucheck: {script}: its interpreter /no/such/python3 is not there\n")


def test_a_program_whose_dynamic_linker_is_not_there(tmp_path: Path) -> None:
    program = build_opener(tmp_path, flags=("-Wl,--dynamic-linker=/no/such/ld-musl.so.1",))
    done = trace(str(program), folder=tmp_path)
    assert (done.status, done.stderr) == (
        126,
        f"gpucheck: {program}: its dynamic linker /no/such/ld-musl.so.1 is not there; it is for {os.uname().machine} and "
        "that C library\n",
    )


def test_a_program_for_another_machine(tmp_path: Path) -> None:
    program = build_opener(tmp_path)
    data = bytearray(program.read_bytes())
    data[18:20] = (22).to_bytes(2, "little")
    program.write_bytes(data)
    done = trace(str(program), folder=tmp_path)
    assert (done.status, done.stdout) == (126, "")
    assert done.stderr == f"gpucheck: {program}: it is for s390x, this machine is {os.uname().machine}\n"


def test_a_program_of_another_machine_in_an_emulator(tmp_path: Path) -> None:
    """qemu's own dynamic linker and the one that it runs write into one file; both are read."""
    if shutil.which("qemu-aarch64") is None or not Path("/usr/aarch64-linux-gnu/lib/ld-linux-aarch64.so.1").exists():
        missing("gpucheck trace of an AArch64 program", "apt install qemu-user libc6-arm64-cross")
    library = build_aarch64(tmp_path / "libcuda.so.1", "int cuInit(unsigned f) { return 100; }", "-shared", "-fPIC")
    program = build_aarch64(tmp_path / "program", OPENER, "-ldl")
    done = trace(
        *("qemu-aarch64", "-L", "/usr/aarch64-linux-gnu", "-E", f"LD_LIBRARY_PATH={tmp_path}"),
        *(str(program), "libcuda.so.1", "libcudart.so.99"),
        folder=tmp_path,
    )
    found = done.resolution("libcuda.so.1")
    assert (found["path"], found["how"], found["requester"]) == (str(library), "LD_LIBRARY_PATH", str(program))
    assert done.document["missing"] == ["libcudart.so.99"]
    tried = [each["path"] for each in done.resolution("libcudart.so.99")["candidates"]]
    assert f"{tmp_path}/libcudart.so.99" in tried and "/lib/aarch64-linux-gnu/libcudart.so.99" in tried


def test_a_file_that_is_not_executable(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("text")
    done = trace(str(file), folder=tmp_path)
    assert (done.status, done.stderr) == (
        126,
        f"gpucheck: {file}: is not executable; chmod +x it, or name its interpreter\n",
    )


def test_a_directory(tmp_path: Path) -> None:
    done = trace(str(tmp_path), folder=tmp_path)
    assert (done.status, done.stderr) == (126, f"gpucheck: {tmp_path}: is a directory\n")


def test_an_output_that_cannot_be_written_stops_before_the_command_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        argv("touch", f"{tmp_path}/ran", output=f"{tmp_path}/no/folder"),
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == f"gpucheck: --output {tmp_path}/no/folder: No such file or directory\n"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "dtrace"}, "gpucheck: --backend dtrace: choose one of auto, ld-debug, strace, both\n"),
        ({"format": "yaml"}, "gpucheck: --format yaml: choose one of text, json\n"),
    ],
)
def test_options_that_there_are_not(options: dict[str, str], message: str) -> None:
    done = subprocess.run(argv("true", **options), env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, message)


def test_a_static_program_runs_and_the_report_says_that_nobody_could_watch(tmp_path: Path) -> None:
    program = tmp_path / "static"
    built = subprocess.run(
        ["gcc", "-static", "-x", "c", "-", "-o", str(program)],
        input="int main(void) { return 3; }",
        text=True,
        check=False,
    )
    if built.returncode:
        missing("gpucheck trace of a static program", "install libc6-dev")
    done = trace(str(program), folder=tmp_path, env={"PATH": str(tmp_path)})
    assert done.status == 3
    assert done.document["backend"] == []
    assert done.document["notes"] == [
        f"{program} is statically linked: no dynamic linker that could tell; only strace sees what it opens",
        "strace does not watch: it is not installed (its package is strace)",
    ]


def test_a_musl_program_is_watched_by_strace(tmp_path: Path) -> None:
    strace()
    if shutil.which("musl-gcc") is None:
        missing("gpucheck trace under musl", "apt-get install musl-tools")
    program = build_opener(tmp_path, flags=())
    subprocess.run(
        ["musl-gcc", "-x", "c", "-", "-o", str(program)],
        input='#include <dlfcn.h>\nint main(void) { return dlopen("libcuda.so.1", RTLD_NOW) != 0; }',
        text=True,
        check=True,
    )
    done = trace(str(program), folder=tmp_path)
    assert done.document["backend"] == ["strace"]
    assert "musl" in done.document["notes"][0]
    assert done.document["missing"] == ["libcuda.so.1"]


def _as_nobody(tmp_path: Path) -> list[str]:
    if os.geteuid() != 0:
        missing("gpucheck trace as another user", "run the tests as root")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and not folder.stat().st_mode & stat.S_IXOTH:
            folder.chmod(folder.stat().st_mode | stat.S_IXOTH)
    tmp_path.chmod(0o777)
    return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--no-new-privs"]


def _system_python(tmp_path: Path) -> tuple[str, dict[str, str]]:
    """A Python that every user can run, and the source where every user can read it."""
    python = "/usr/bin/python3"
    if not os.path.exists(python):
        missing("gpucheck trace as another user", "install the distribution's python3")
    source = tmp_path / "source"
    shutil.copytree(
        Path(__file__).resolve().parents[2] / "gpucheck",
        source / "gpucheck",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    return python, {"PYTHONPATH": str(source)}


@pytest.mark.parametrize("backend", BACKENDS)
def test_another_user_without_capabilities(tmp_path: Path, backend: str) -> None:
    if backend != "ld-debug":
        strace()
    prefix = _as_nobody(tmp_path)
    python, env = _system_python(tmp_path)
    build_library(tmp_path / "libcudart.so.12")
    done = trace(
        python, "-c", OPEN, f"{tmp_path}/libcudart.so.12",
        folder=tmp_path, prefix=prefix, python=python, backend=backend, env=env,
    )  # fmt: skip
    assert done.status == 0
    assert done.resolution("libcudart.so.12")["path"] == f"{tmp_path}/libcudart.so.12"
    assert done.document["backend"] == (["ld-debug", "strace"] if backend == "both" else [backend])


def test_a_set_user_id_program_is_said_to_be_one(tmp_path: Path) -> None:
    prefix = _as_nobody(tmp_path)
    python, env = _system_python(tmp_path)
    program = build_opener(tmp_path)
    program.chmod(0o4755)
    done = trace(str(program), "!4", folder=tmp_path, prefix=prefix, python=python, backend="ld-debug", env=env)
    assert done.status == 4
    assert done.document["notes"][0] == (
        f"{program}: it is set-user-ID, so the dynamic linker ignores LD_DEBUG; what it loads is not seen, "
        "what it starts may be"
    )


def test_a_command_that_becomes_another_user_keeps_its_standard_output_clean(tmp_path: Path) -> None:
    """ld.so writes to standard output when it cannot create its file."""
    if os.geteuid() != 0:
        missing("a traced command that changes its user", "run the tests as root")
    done = trace("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", "id -u", folder=tmp_path)
    assert done.stdout == "65534\n"


def test_ptrace_that_is_refused_is_one_line_and_the_linker_goes_on(tmp_path: Path, opener: str) -> None:
    """A process that is traced already cannot be traced by another: ptrace(2)."""
    outer = [strace(), "-f", "-o", "/dev/null", "-e", "trace=none"]
    done = trace(opener, "libcuda.so.1", "!6", folder=tmp_path, prefix=outer, backend="strace")
    assert done.status == 6
    assert done.document["backend"] == ["ld-debug"]
    (note,) = done.document["notes"]
    assert note.startswith("strace does not watch: ptrace is refused here (")
    assert "Operation not permitted" in note
    assert done.resolution("libcuda.so.1")["how"] == "not found"


def test_an_old_strace_without_filtering(tmp_path: Path, opener: str) -> None:
    """strace before 5.3 does not know --seccomp-bpf."""
    old = tmp_path / "bin" / "strace"
    old.parent.mkdir()
    old.write_text(
        f"""#!/bin/sh
for word in "$@"; do [ "$word" = -- ] && break; if [ "$word" = --seccomp-bpf ]; then
    echo "strace: unrecognized option '--seccomp-bpf'" >&2; exit 1; fi; done
exec {strace()} "$@"
"""
    )
    old.chmod(0o755)
    done = trace(
        opener, "libcuda.so.1", folder=tmp_path, backend="both", env={"PATH": f"{old.parent}:{os.environ['PATH']}"}
    )  # fmt: skip
    assert done.document["backend"] == ["ld-debug", "strace"]
    assert done.document["notes"] == []
    assert "(ENOENT)" in done.resolution("libcuda.so.1")["candidates"][0]["skipped"]


def test_a_process_that_is_left_behind_keeps_its_standard_output_clean(tmp_path: Path) -> None:
    """A program that a daemon starts later writes to standard output when the folder of the logs is gone."""
    place = tmp_path / "tmp"
    place.mkdir()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    script = (
        f"(read line <{fifo}; ls -d / >{tmp_path}/later; echo done >{fifo}) >/dev/null 2>&1 </dev/null & echo started"
    )
    done = trace("sh", "-c", script, folder=tmp_path, env={"TMPDIR": str(place)})
    assert (done.status, done.stdout) == (0, "started\n")
    (note,) = done.document["notes"]
    assert note.startswith("still running: ") and note.endswith(" stays")
    fifo.write_text("go\n")
    assert fifo.read_text() == "done\n"
    assert (tmp_path / "later").read_text() == "/\n"


def test_a_working_directory_that_is_gone(tmp_path: Path, opener: str) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    done = trace("sh", "-c", f"rmdir {gone}; exec {opener} libcuda.so.1 !3", folder=tmp_path, cwd=gone)
    assert done.status == 3
    assert done.resolution("libcuda.so.1")["path"] is None


def test_the_nvjitlink_fault(tmp_path: Path, opener: str) -> None:
    """PyTorch 2 with an older toolkit on LD_LIBRARY_PATH (pytorch#111469): libcusparse has a RUNPATH, so the RPATH of
    torch does not count for what it needs, and the older nvJitLink has no such symbol."""
    for folder, symbol in (("new", "__nvJitLinkAddData_12_1"), ("old", "__nvJitLinkAddData_12_0")):
        place = tmp_path / folder
        place.mkdir()
        script = place / "versions"
        script.write_text("libnvJitLink.so.12 { global: *; };\n")
        build_library(
            place / "libnvJitLink.so.12", f"int {symbol}(void) {{ return 0; }}", f"-Wl,--version-script={script}"
        )
    build_library(
        tmp_path / "libcusparse.so.12",
        "int __nvJitLinkAddData_12_1(void); int x(void) { return __nvJitLinkAddData_12_1(); }",
        str(tmp_path / "new" / "libnvJitLink.so.12"), "-Wl,--enable-new-dtags,-rpath,$ORIGIN/new",
    )  # fmt: skip
    library = build_library(
        tmp_path / "libtorch_cuda.so", "int x;", str(tmp_path / "libcusparse.so.12"),
        "-Wl,--disable-new-dtags,-rpath,$ORIGIN:$ORIGIN/new",
    )  # fmt: skip
    assert trace(opener, str(library), folder=tmp_path).document["missing"] == []
    done = trace(opener, str(library), folder=tmp_path, env={"LD_LIBRARY_PATH": f"{tmp_path}/old"})
    assert done.resolution("libnvJitLink.so.12")["path"] == f"{tmp_path}/old/libnvJitLink.so.12"
    assert done.resolution("libnvJitLink.so.12")["how"] == "LD_LIBRARY_PATH"
    fatal = done.resolution("libtorch_cuda.so")["fatal"]
    assert fatal == (
        f"{tmp_path}/libcusparse.so.12: undefined symbol: __nvJitLinkAddData_12_1, version libnvJitLink.so.12"
    )
    assert done.document["differences"] == []


def test_driver_calls_are_watched_on_request(tmp_path: Path) -> None:
    folder = driver_folder(535)
    code = "import ctypes; print(ctypes.CDLL('libcuda.so.1').cuInit(0))"
    done = trace(
        sys.executable, "-c", code, folder=tmp_path, calls=True, env={"LD_LIBRARY_PATH": str(folder)}
    )  # fmt: skip
    assert done.status == 0
    (process,) = done.document["calls"]["processes"]
    assert [(call["function"], call["result"]) for call in process["calls"]] == [("cuInit", int(done.stdout))]
    assert done.resolution("libcuda.so.1")["path"] == f"{folder}/libcuda.so.1"
    assert done.document["differences"] == []
