"""The table of what a trace reports."""

from __future__ import annotations

import datetime

import pytest

from gpucheck.kb import traced


def test_every_row_has_a_source_and_a_date() -> None:
    rows = (*traced.libraries(), *traced.devices(), *traced.helpers().values())
    assert len(rows) > 40
    for row in rows:
        assert row.source.startswith("https://"), row
        assert datetime.date(2026, 1, 1) <= row.checked, row


def test_patterns_are_unique() -> None:
    patterns = [row.pattern for row in traced.libraries()]
    assert sorted(patterns) == sorted(set(patterns))
    assert {row.kind for row in traced.libraries()} == {"driver", "toolkit", "framework", "plugin"}


@pytest.mark.parametrize(
    "path",
    [
        "libcuda.so.1",
        "/usr/lib/x86_64-linux-gnu/libcuda.so.535.261.03",
        "libnvidia-ml.so.1",
        "libcudart.so.12",
        "libcudnn_engines_precompiled.so.9",
        "libnvrtc-builtins.so.13.2",
        "/x/torch/lib/libtorch_cuda.so",
        "libonnxruntime_providers_cuda.so",
        "libnccl-net.so",
    ],
)
def test_gpu_libraries(path: str) -> None:
    assert traced.is_library(path)


@pytest.mark.parametrize("path", ["libc.so.6", "libcurl.so.4", "libcups.so.2", "libcudart.txt", "/libcuda.so/x", ""])
def test_other_files(path: str) -> None:
    assert not traced.is_library(path)


def test_devices_and_helpers() -> None:
    assert traced.is_device("/dev/nvidia0") and traced.is_device("/proc/driver/nvidia/params")
    assert not traced.is_device("/dev/null") and not traced.is_device("/home/dev/nvidia0")
    assert traced.helper("/sbin/ldconfig.real") is traced.helper("/sbin/ldconfig") is not None
    assert traced.helper("/usr/bin/true") is None


def test_what_may_be_absent() -> None:
    program, module = (
        "/opt/program",
        "/venv/lib/python3.12/site-packages/cupy_backends/cuda/libs/cutensor.cpython-312.so",
    )
    assert traced.is_optional("libnccl-net.so", program, "dlopen") and traced.is_optional(
        "libnccl-net.so", None, "dlopen"
    )
    assert not traced.is_optional("libcuda.so.1", program, "dlopen")
    assert not traced.is_optional("libcutensor.so.2", program, "needed")
    # cupy tries to import this module, and goes on without it.
    assert traced.is_optional("libcutensor.so.2", module, "needed")
    assert not traced.is_optional("libcublas.so.12", module.replace("cutensor", "cublas"), "needed")
