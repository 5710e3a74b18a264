"""Result codes and numbers, for a person."""

from __future__ import annotations

import os
import pkgutil
import sys
from functools import cache

from gpucheck import kb
from gpucheck.trace.calls.records import Call
from gpucheck.versions import CudaVersion

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: Where an int is a CUDA version: 1000 * major + 10 * minor.
VERSIONS = frozenset(
    (
        "cuDriverGetVersion",
        "cudaDriverGetVersion",
        "cudaRuntimeGetVersion",
        "nvmlSystemGetCudaDriverVersion",
        "nvmlSystemGetCudaDriverVersion_v2",
    )
)


@cache
def _names() -> dict[str, dict[str, str]]:
    tables: dict[str, dict[str, str]] = tomllib.loads((pkgutil.get_data(__name__, "results.toml") or b"").decode())
    return tables


def interface_of(function: str) -> str:
    """``driver``, ``runtime`` or ``nvml``, by the name of the function."""
    if function.startswith("nvml"):
        return "nvml"
    return "runtime" if function.startswith("cuda") else "driver"


def name_of(function: str, code: int) -> str:
    """What a result of a function is called, '' for a code that is not known."""
    interface = interface_of(function)
    if code == 0:
        return {"driver": "CUDA_SUCCESS", "runtime": "cudaSuccess", "nvml": "NVML_SUCCESS"}[interface]
    if interface == "nvml":
        row = kb.nvml_codes().get(code)
        return row.name if row else ""
    return _names()[interface].get(str(code), "")


def meaning_of(function: str, code: int) -> tuple[str, str]:
    """What a code tells about the place, and the reference for it; both '' when the tables do not know."""
    row = (kb.nvml_codes() if interface_of(function) == "nvml" else kb.cuda_codes()).get(code)
    return (row.meaning, row.reference) if row else ("", "")


def decode(function: str, code: int) -> str:
    """``100 CUDA_ERROR_NO_DEVICE``."""
    return f"{code} {name_of(function, code)}".rstrip() if code else "0"


def describe(call: Call) -> str:
    """``cuInit = 100 CUDA_ERROR_NO_DEVICE``, ``cuDriverGetVersion = 0 (12020: CUDA 12.2)``."""
    asked = f"({call.asked})" if call.asked else ""
    if call.duration is None:
        return f"{call.function}{asked} did not return"
    if call.result is None:
        return f"{call.function}{asked}"
    said = ""
    if call.value is not None and not call.asked and call.result == 0:
        said = (
            f" ({call.value}: CUDA {CudaVersion.from_code(call.value)})"
            if call.function in VERSIONS and call.value
            else f" ({call.value})"
        )
    return f"{call.function}{asked} = {decode(call.function, call.result)}{said}"


def library_of(path: str) -> str:
    """The name of a library without its folder."""
    return os.path.basename(path)
