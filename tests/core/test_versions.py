"""Versions: what is read, how they are ordered, what is refused."""

from __future__ import annotations

import pytest

from gpucheck.versions import ComputeCapability, CudaVersion, DriverVersion


def driver(text: str) -> DriverVersion:
    version = DriverVersion.parse(text)
    assert version
    return version


def test_drivers_are_compared_number_by_number() -> None:
    ordered = ["99.1", "450.80.02", "535.43", "550.54.15", "550.107.02", "580.65.06", "580.178.04"]
    assert [str(version) for version in sorted(map(driver, reversed(ordered)))] == ordered
    assert driver("580.05") == driver("580.5") == driver("580.05.0")
    assert hash(driver("580.05")) == hash(driver("580.5"))
    assert driver("535.261.03").branch == 535


@pytest.mark.parametrize("text", ["", "535.", "5", "v535", "535.261.03.1", "535.08 ", "535.-1", "12345", "535.1a"])
def test_what_is_no_driver_version_is_refused(text: str) -> None:
    assert DriverVersion.parse(text) is None


def test_cuda_versions_are_numbers_not_text() -> None:
    assert CudaVersion.parse("12.10") > CudaVersion.parse("12.9")  # type: ignore[operator]
    assert str(CudaVersion.parse("13.5.37")) == "13.5"
    assert str(CudaVersion.parse("13.4.46rc1")) == "13.4"
    assert CudaVersion.from_code(12020) == CudaVersion(12, 2)
    assert CudaVersion.from_code(13050) == CudaVersion(13, 5)
    assert CudaVersion.from_code(0) is None
    for text in ("13", "", "12.x", "cu126", "12.6-1"):
        assert CudaVersion.parse(text) is None


def test_compute_capabilities() -> None:
    assert ComputeCapability.parse("12.0") > ComputeCapability.parse("9.0")  # type: ignore[operator]
    assert ComputeCapability.parse("sm_90") is None
