"""The names of result codes are those that the libraries themselves give."""

from __future__ import annotations

import json
import sys

from gpucheck.trace.calls.decoding import _names
from tests.cache import driver_folder
from tests.calls.test_real_drivers import libcudart
from tests.calls.workshop import environment, plain

ASK = """
import ctypes, json, sys
driver, runtime = map(ctypes.CDLL, sys.argv[1:])
runtime.cudaGetErrorName.restype = ctypes.c_char_p
told = {"driver": {}, "runtime": {}}
for code in range(1, 10001):
    name = ctypes.c_char_p()
    if driver.cuGetErrorName(code, ctypes.byref(name)) == 0:
        told["driver"][code] = name.value.decode()
    said = runtime.cudaGetErrorName(code).decode()
    if said != "unrecognized error code":
        told["runtime"][code] = said
print(json.dumps(told))
"""


def test_every_name_is_the_libraries_own() -> None:
    asked = plain(
        [sys.executable, "-I", "-S", "-c", ASK, driver_folder(550) / "libcuda.so.1", libcudart("13.5.37")],
        environment(),
    )
    told = json.loads(asked.stdout)
    assert {name: table for name, table in _names().items() if isinstance(table, dict)} == told
