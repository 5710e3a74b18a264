"""Scripts that are wrong, and the command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpucheck.fakedriver import library
from tests.fakedriver.drivers import built


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("gpu = H100\ngpuu = 3\n", ':2: "gpuu" is no key'),
        ("nonsense\n", ':1: "nonsense" is no line of the form "key = value"'),
        ("gpu =\n", ':1: "gpu" has no value'),
        ("gpu = Z9\n", ':1: no GPU "Z9" is known: gpucheck-fake-driver gpus lists those that are'),
        ("gpu = H100:0\n", ':1: "0" is no whole number from 1 to 64'),
        ("gpu = H100:64\ngpu = H100\n", ":2: more than 64 GPUs"),
        ("gpu0.name = x\n", ':1: there is no GPU 0: a line "gpu = H100" above adds one'),
        (
            "gpu = T4\ngpu99999999999999999999.name = x\n",
            ':2: there is no GPU 9223372036854775807: a line "gpu = H100" above adds one',
        ),
        ("gpu = T4\ngpu0.nam = x\n", ':2: a GPU has no "nam"'),
        ("gpu = T4\ngpu0.capability = nine\n", ':2: "nine" is no compute capability: write it as 9.0'),
        (
            "gpu = T4\ngpu0.memory = lots\n",
            ':2: "lots" is no size: write bytes, or a number and KiB, MiB or GiB, as 80GiB',
        ),
        ("gpu = T4\ngpu0.memory = -1\n", ':2: "-1" is no size: write bytes, or a number and KiB, MiB or GiB, as 80GiB'),
        (
            "gpu = T4\ngpu0.uuid = GPU-12\n",
            ':2: "GPU-12" is no UUID: write it as GPU-3f0e6f2c-1111-2222-3333-444455556666',
        ),
        ("gpu = T4\ngpu0.pci = 1\n", ':2: "1" is no PCI address: write it as 0000:01:00.0'),
        ("gpu = T4\ngpu0.mig = perhaps\n", ':2: mig cannot be "perhaps": one of unsupported, off, on'),
        ("gpu = T4\ngpu0.mig_instances = 9g.1gb\n", ':2: "9g.1gb" is no MIG profile: write it as 1g.10gb'),
        ("gpu = T4\ngpu0.processes = x:1\n", ':2: "x" is no whole number from 1 to 4294967295'),
        (
            "gpu = T4\ngpu0.remapped = 1,2\n",
            ":2: remapped needs four numbers: corrected, uncorrected, pending (0 or 1), failed (0 or 1)",
        ),
        ("gpu = T4\ncuInnit = 3\n", ':2: the library has no call "cuInnit"'),
        ("gpu = T4\nnvmlNope* = 3\n", ':2: the library has no call "nvmlNope*"'),
        (
            "gpu = T4\ncuInit = explode\n",
            ':2: "explode" cannot be done at a call: a result code, hang, crash, exit, slow, garbage or missing',
        ),
        ("gpu = T4\ncuInit = slow\n", ":2: slow needs its milliseconds: slow 500"),
        ("gpu = T4\ncuInit#0 = 3\n", ':2: "0" is no whole number from 1 to 1000000000'),
        (
            "gpu = T4\ncuInit = crash SIGWHAT\n",
            ':2: "SIGWHAT" is no signal that the fake can die of: SIGSEGV, SIGABRT, SIGBUS, SIGILL, SIGFPE, SIGKILL or SIGTERM',
        ),
        ("gpu = T4\ncuInit@3 = 1\n", ": cuInit@3: there is no GPU 3"),
        ("gpu = T4\ncuda = twelve\n", ':2: "twelve" is no CUDA version: write it as 13.0'),
        (
            "gpu = T4\ndriver = 9999.1\n",
            ': which CUDA version driver 9999.1 has is not known: add a line "cuda = 13.0"',
        ),
        ("gpu = T4\ncuda.gpus = 1\n", ':2: "1" is no whole number from 0 to 0'),
        ("# nothing\n", ': it names no GPU: add a line "gpu = H100" or "gpu = none"'),
        ("gpu = T4 " + "x" * 2000 + "\n", ":1: the line is longer than 1000 characters, or holds a zero byte"),
        ("gpu = T4\n\0\n", ":2: the line is longer than 1000 characters, or holds a zero byte"),
        ("gpu = T4\x07\n", ":1: the line holds a control character"),
        ("gpu = T4\n" + "cuInit = 1\n" * 200, ":130: more than 128 actions at calls"),
    ],
)
def test_a_wrong_script_gives_one_clear_line(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "script"
    path.write_text(text)
    with pytest.raises(library.BadScript) as caught:
        library.check(path, built())
    assert str(caught.value) == f"{path}{problem}"


def test_a_program_is_told_and_not_killed(tmp_path: Path) -> None:
    path = tmp_path / "script"
    path.write_text("gpuu = 3\n")
    program = f'import ctypes; print(ctypes.CDLL("{built() / "libcuda.so"}").cuInit(0))'
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, library.SCRIPT: str(path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "999\n"
    assert ran.stderr == f'the fake driver cannot read its script: {path}:1: "gpuu" is no key\n'


def test_a_script_with_everything_is_understood(tmp_path: Path) -> None:
    path = tmp_path / "script"
    path.write_text(
        """
# every key
driver = 580.95.05
cuda = 13.0
gpu = H100:2, T4     # three
gpu0.name = A GPU = of its own
gpu0.capability = 12.1
gpu0.memory = 80GiB
gpu0.used = 1MiB
gpu0.multiprocessors = 7
gpu0.uuid = 3f0e6f2c-1111-2222-3333-444455556666
gpu0.pci = 00000001:0a:00.0
gpu0.minor_number = 3
gpu0.brand = geforce
gpu0.mig = on
gpu0.mig_pending = off
gpu0.mig_instances = 1g.10gb,7g.80gb
gpu0.compute_mode = prohibited
gpu0.persistence = on
gpu0.ecc = on
gpu0.ecc_pending = off
gpu0.ecc_corrected = 1
gpu0.ecc_uncorrected = 2
gpu0.ecc_corrected_ever = 3
gpu0.ecc_uncorrected_ever = 4
gpu0.remapped = 1, 2, 0, 1
gpu0.processes = 1:1GiB, 2
gpu0.fabric = completed
gpu0.fabric_status = 0
gpu0.attribute.88 = 1
cuda.gpus = 1, 0
nvml.gpus = none
cuInit#1 = slow 10 3
cuMem*@1 = 2
cuCtxCreate_v4 = crash SIGBUS
nvmlInit = exit 3
nvmlDeviceGetName#2+@0 = garbage
cuGreenCtxCreate = missing
cuDeviceGet = hang
"""
    )
    library.check(path, built())


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """``gpucheck-fake-driver`` with these arguments."""
    return subprocess.run(
        [sys.executable, "-m", "gpucheck.fakedriver.command", *arguments], capture_output=True, text=True, check=False
    )


def test_run_makes_a_driver_and_exits_as_the_program_does(tmp_path: Path) -> None:
    built()
    program = """
import ctypes, sys
number = ctypes.c_int()
cuda = ctypes.CDLL("libcuda.so.1")
cuda.cuDriverGetVersion(ctypes.byref(number))
sys.exit(f"{number.value} {cuda.cuInit(0)}")
"""
    log = tmp_path / "log"
    ran = command(
        *("run", "--gpu", "H100:2", "--driver", "535.161.08", "--set", "cuInit=999", "--log", str(log)),
        *("--", sys.executable, "-c", program),
    )
    assert (ran.returncode, ran.stderr) == (1, "12020 999\n")
    assert log.read_text() == "cuDriverGetVersion\ncuInit = 999\n"
    killed = command("run", "--", sys.executable, "-c", "import os; os.kill(os.getpid(), 9)")
    assert killed.returncode == 128 + 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "gpu3.name=x"), 'gpu3.name = x: there is no GPU 3: a line "gpu = H100" above adds one'),
        (("--set", "cuInit"), "--set cuInit: write it as KEY=VALUE, for example --set cuInit=999"),
        (("--gpu", "Z9"), 'gpu = Z9: no GPU "Z9" is known: gpucheck-fake-driver gpus lists those that are'),
        (("--driver", "9999.1"), 'which CUDA version driver 9999.1 has is not known: add a line "cuda = 13.0"'),
        (("--script", "/nowhere"), "--script /nowhere: [Errno 2] No such file or directory: '/nowhere'"),
        (
            ("--cc", "nocc"),
            'no C compiler "nocc" is there: install one (apt install gcc libc6-dev) or name one with --cc',
        ),
    ],
)
def test_wrong_options_give_one_line(arguments: tuple[str, ...], message: str) -> None:
    built()
    ran = command("run", *arguments, "--", "true")
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", f"gpucheck-fake-driver: {message}\n")


def test_env_prints_what_a_shell_evaluates(tmp_path: Path) -> None:
    built()
    ran = command("env", "--into", str(tmp_path / "a driver"), "--gpu", "none")
    show = 'printf "%s|%s" "$LD_LIBRARY_PATH" "$GPUCHECK_FAKE_DRIVER"'
    said = subprocess.run(["sh", "-c", ran.stdout + show], capture_output=True, text=True, check=True)
    folder = tmp_path / "a driver"
    assert said.stdout == f"{folder}|{folder}/fake-driver.conf"
    assert (folder / "libcuda.so.1").resolve().name == "libcuda.so.580.95.05"


def test_gpus_lists_the_table() -> None:
    ran = command("gpus")
    assert ran.stdout.splitlines()[0] == "H100           9.0   81559 MiB  NVIDIA H100 80GB HBM3"
