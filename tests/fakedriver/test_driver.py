"""libcuda itself: faults, visible devices, look-ups; the real libcuda 550 is the oracle where it answers without a GPU."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cache import driver_folder
from tests.fakedriver.drivers import PRELUDE, built, environment, run

OPEN = """
cuda = ctypes.CDLL("libcuda.so.1")
"""

NAMES = (
    OPEN
    + """
number, name, found = c_int(), create_string_buffer(100), []
code = cuda.cuInit(0)
if code == 0:
    cuda.cuDeviceGetCount(byref(number))
    for device in range(number.value):
        cuda.cuDeviceGetName(name, 100, device)
        found.append(name.value.decode())
say([code, found])
"""
)

FOUR = "gpu = H100:4\ngpu0.name = A\ngpu1.name = B\ngpu2.name = C\ngpu3.name = D\n" + "".join(
    f"gpu{i}.uuid = GPU-{digit * 8}-0000-0000-0000-000000000000\n" for i, digit in enumerate(("1", "2", "2", "3"))
).replace("GPU-22222222-0000-0000-0000-000000000000\ngpu3", "GPU-22223333-0000-0000-0000-000000000000\ngpu3")


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("0,1,2,3", "ABCD"),
        ("2,1", "CB"),
        # "0,2,-1,1 causes devices 0 and 2 to be visible" (CUDA programming guide).
        ("0,2,-1,1", "AC"),
        ("0,7,1", "A"),
        ("7", ""),
        ("", ""),
        ("none", ""),
        ("NoDevFiles", ""),
        (" 1 , 2", "BC"),
        ("1gpu2,2ampere", "BC"),
        ("0,0", ""),
        ("GPU-11111111-0000-0000-0000-000000000000", "A"),
        ("GPU-3,GPU-1", "DA"),
        ("GPU-2", ""),
        ("GPU-2222222", "B"),
        ("GPU-1,GPU-9,GPU-3", "A"),
        ("GPU-1,0", "A"),
        ("0,GPU-3", "A"),
    ],
)
def test_visible_devices(value: str, names: str) -> None:
    (said,) = run(FOUR, NAMES, CUDA_VISIBLE_DEVICES=value)
    assert said == [0 if names else 100, list(names)]


def test_order_by_address_is_asked_for_by_a_variable() -> None:
    script = FOUR + "cuda.gpus = 3, 1\n"
    assert run(script, NAMES) == [[0, ["D", "B"]]]
    assert run(script, NAMES, CUDA_DEVICE_ORDER="PCI_BUS_ID") == [[0, ["B", "D"]]]


def test_a_divided_gpu_shows_one_instance_and_an_undivided_one_in_mig_mode_none() -> None:
    divided = "gpu = A100:2\ngpu0.mig = on\ngpu0.mig_instances = 1g.10gb, 3g.40gb\n"
    assert run(divided, NAMES) == [[0, ["NVIDIA A100-SXM4-80GB MIG 1g.10gb"]]]
    assert run(divided, NAMES, CUDA_VISIBLE_DEVICES="MIG-5d171e25-2c33-4a41-884f-565d646b727b") == [
        [0, ["NVIDIA A100-SXM4-80GB MIG 3g.40gb"]]
    ]
    assert run("gpu = A100\ngpu0.mig = on\n", NAMES) == [[100, []]]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("cuInit = crash", -signal.SIGSEGV),
        ("cuInit = crash SIGABRT", -signal.SIGABRT),
        ("cuInit = exit 7", 7),
        ("cuInit#1 = crash", -signal.SIGSEGV),
        ("cuInit#2+ = crash", 0),
    ],
)
def test_a_call_ends_the_process(tmp_path: Path, line: str, expected: int) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", 'import ctypes; ctypes.CDLL("libcuda.so.1").cuInit(0)'],
        env=environment(tmp_path, f"gpu = H100\n{line}\n"),
        check=False,
    )
    assert ran.returncode == expected


def test_a_call_hangs(tmp_path: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(
            [sys.executable, "-c", 'import ctypes; ctypes.CDLL("libcuda.so.1").cuInit(0)'],
            env=environment(tmp_path, "gpu = H100\ncuInit = hang\n"),
            timeout=1,
            check=False,
        )


CALLS = (
    OPEN
    + """
number, raw = c_int(), create_string_buffer(100)
cuda.cuInit(0)
say([cuda.cuDeviceGetName(raw, 100, device) for device in (0, 1, 0, 1)])
say(raw.raw.count(b"\\0"))
"""
)


@pytest.mark.parametrize(
    ("lines", "codes"),
    [
        ("cuDeviceGetName = 999", [999, 999, 999, 999]),
        ("cuDeviceGetName@1 = 999", [0, 999, 0, 999]),
        ("cuDeviceGetName#3 = 999", [0, 0, 999, 0]),
        ("cuDeviceGetName#2+ = 999", [0, 999, 999, 999]),
        ("cuDeviceGetName#2@1 = 999", [0, 0, 0, 999]),
        ("cuDeviceGet* = 46\ncuDeviceGetName@0 = 3", [3, 46, 3, 46]),
        ("cuDeviceGetName = slow 1 719", [719, 719, 719, 719]),
    ],
)
def test_which_calls_an_action_is_for(lines: str, codes: list[int]) -> None:
    said = run(f"gpu = T4:2\n{lines}\n", CALLS)
    assert said[0] == codes


def test_garbage_has_no_end() -> None:
    assert run("gpu = T4:2\ncuDeviceGetName = garbage\n", CALLS) == [[0, 0, 0, 0], 0]


# -- the real libcuda as the oracle ------------------------------------------------------------------------------------

#: For each name that cuGetProcAddress may know, what each version gives, as the symbol's name.
LOOK_UP = """
class Found(ctypes.Structure):
    _fields_ = [("file", c_char_p), ("base", c_void_p), ("symbol", c_char_p), ("address", c_void_p)]
cuda = ctypes.CDLL(sys.argv[1])
names = sys.argv[2].split(",")
where = {}
for name in sys.argv[3].split(","):
    where.setdefault(ctypes.cast(getattr(cuda, name), c_void_p).value, name)
say(len(where))
for name in names:
    row = []
    for version in (2000, 3020, 4000, 6050, 7000, 8000, 9020, 10020, 11000, 11030, 11080, 12000, 12030, 12040):
        for flags in (0, 1, 2):
            address, status = c_void_p(), c_int(-1)
            code = cuda.cuGetProcAddress_v2(name.encode(), byref(address), version, ctypes.c_uint64(flags), byref(status))
            row.append([code, status.value, where.get(address.value, address.value)])
    say([name, row])
kept = c_void_p(5)
say([cuda.cuGetProcAddress(b"cuNope", byref(kept), 12000, ctypes.c_uint64(0)), kept.value])
"""

ERRORS = """
cuda = ctypes.CDLL(sys.argv[1])
for code in range(1100):
    name, text = c_char_p(), c_char_p()
    codes = [cuda.cuGetErrorName(code, byref(name)), cuda.cuGetErrorString(code, byref(text))]
    say([code, codes, name.value and name.value.decode(), text.value and text.value.decode()])
number, raw = c_int(7), create_string_buffer(100)
say([cuda.cuDeviceGetCount(byref(number)), cuda.cuDeviceGet(byref(number), 0), cuda.cuDeviceGetName(raw, 100, 0), cuda.cuCtxGetCurrent(raw),
     cuda.cuMemAlloc_v2(raw, c_size_t(10)), cuda.cuInit(5), cuda.cuDriverGetVersion(byref(number)), number.value,
     cuda.cuInit(0), cuda.cuDeviceGetCount(byref(number)), cuda.cuDriverGetVersion(None)])
for uuid in ("6bd5fb6c5bf4e74a8987d93912fd9df9", "c693336e1121df11a8c368f355d89593", "d4082055bde6704b8d34ba123c66e1f2", "00" * 16):
    table = c_void_p()
    say(cuda.cuGetExportTable(byref(table), bytes.fromhex(uuid)))
"""

LIKE_550 = "driver = 550.163.01\ngpu = none\n"


def exported(library: Path) -> set[str]:
    """The names of the functions that a library exports."""
    listing = subprocess.run(["readelf", "--dyn-syms", "-W", str(library)], capture_output=True, text=True, check=True)
    found = re.findall(r" FUNC +(?:GLOBAL|WEAK) +DEFAULT +\d+ (\w+)", listing.stdout)
    return set(found)


def ask(library: Path, program: str, *arguments: str, script: str | None = None, folder: Path) -> list[Any]:
    """What a program says of a library by path."""
    import json
    import os

    ran = subprocess.run(
        [sys.executable, "-c", PRELUDE + program, str(library), *arguments],
        env=environment(folder, script) if script else dict(os.environ),
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in ran.stdout.splitlines()]


def test_every_look_up_gives_what_the_real_driver_gives(tmp_path: Path) -> None:
    real = driver_folder(550) / "libcuda.so.1"
    symbols = {name for name in exported(real) if name.startswith("cu")}
    names = sorted({re.sub(r"(_v\d+)?(_pt[ds][sz])?$", "", name) for name in symbols})
    arguments = (",".join(names), ",".join(sorted(symbols)))
    theirs = ask(real, LOOK_UP, *arguments, folder=tmp_path)
    ours = ask(built() / "libcuda.so", LOOK_UP, *arguments, script=LIKE_550, folder=tmp_path)
    assert len(ours) == len(theirs) > 400
    # Several of our names are one function where the calls are the same: compare without version and thread there.
    same = {name: re.sub(r"(_v\d+)?(_pt[ds][sz])?$", "", name) for name in symbols}

    def plain(line: list[Any]) -> list[Any]:
        return [line[0], [[code, status, same.get(symbol, symbol)] for code, status, symbol in line[1]]]

    assert [plain(line) for line in ours[1:-1]] == [plain(line) for line in theirs[1:-1]]
    assert ours[-1] == theirs[-1]


def test_the_table_of_look_ups_is_that_of_the_real_driver() -> None:
    """The symbols too, against the data: the test before this sees one function behind several names."""
    from gpucheck.fakedriver import tables

    real = driver_folder(550) / "libcuda.so.1"
    rows = [line.split() for line in tables.read_rows("cuda.txt")]
    assert exported(real) <= {row[0] for row in rows}
    assert len(rows) == len({row[0] for row in rows})


def test_errors_and_the_calls_before_the_start_are_those_of_the_real_driver(tmp_path: Path) -> None:
    theirs = ask(driver_folder(550) / "libcuda.so.1", ERRORS, folder=tmp_path)
    ours = ask(built() / "libcuda.so", ERRORS, script=LIKE_550, folder=tmp_path)
    assert ours == theirs


def test_nvml_exports_what_the_real_library_exports() -> None:
    assert exported(driver_folder(550) / "libnvidia-ml.so.1") <= exported(built() / "libnvidia-ml.so")
