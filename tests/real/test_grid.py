"""Real drivers x real CUDA runtimes, without a GPU: what the files alone let gpucheck predict is what they answer."""

from __future__ import annotations

from datetime import date

import pytest

from ci.grid import Answer, Driver, Pair, Runtime, page, row, summary, table
from gpucheck.engine import judge
from gpucheck.probes.observation import observe
from gpucheck.system import Local
from tests.cache import driver_place, runtime_environment

#: Of ci/setup/runtimes.sh those that it fetches by default: one of each release, near enough.
RUNTIMES = [
    "10.2.89",
    "11.2.152",
    "11.7.99",
    "11.8.89",
    "12.0.107",
    "12.2.140",
    "12.4.127",
    "12.5.82",
    "12.6.77",
    "12.8.90",
    "12.9.79",
    "13.0.96",
    "13.3.29",
    "13.5.37",
]
DRIVERS = [
    "none",
    "340",
    "390",
    "390-alone",
    "418",
    "418-alone",
    "450",
    "470",
    "525",
    "535",
    "535-i386",
    "535-arm64",
    "550",
    "555",
]


@pytest.mark.parametrize("name", DRIVERS)
def test_the_prediction_from_files_is_what_every_pair_answers(name: str) -> None:
    driver = Driver(name, None if name == "none" else driver_place(name))
    pairs = row(driver, [Runtime(version, runtime_environment(version)) for version in RUNTIMES])
    assert [pair for pair in pairs if not pair.right] == []
    # That they agree proves something only where the pairs differ among themselves.
    codes = {pair.measured.code for pair in pairs}
    whole = name in ("450", "470", "525", "535", "550", "555")
    assert codes == ({35, 100} if whole or name in ("340", "418") else {35, 999} if name == "390" else {35})
    assert {pair.measured.runtime for pair in pairs} == {".".join(version.split(".")[:2]) for version in RUNTIMES}
    lacking = {
        "390-alone": "libnvidia-fatbinaryloader.so.390.157",
        "418-alone": "libnvidia-fatbinaryloader.so.418.226.00",
    }
    if name in lacking:
        assert {pair.predicted.cause for pair in pairs} == {f"libcuda-unloadable: {lacking[name]}"}


def test_an_old_driver_under_a_runtime_that_does_not_refuse_it_is_named_all_the_same() -> None:
    driver = Driver("418", driver_place("418"))
    environment = str(runtime_environment("11.2.152"))
    report = judge(observe(Local(driver.environment), environment))
    found = next(found for found in report.everything() if found.rule == "driver-too-old")
    assert found.cause == (
        "CUDA 11 needs driver 450.80.02 or newer; this is 418.226.00. "
        "The runtime of CUDA 11.2 starts all the same; what is called next fails."
    )


def test_before_cuda_11_a_runtime_needs_a_driver_of_its_version() -> None:
    driver = Driver("418", driver_place("418"))
    report = judge(observe(Local(driver.environment), str(runtime_environment("10.2.89"))))
    (found, *_) = report.findings
    assert found.rule == "driver-too-old" and found.decisive
    assert found.cause == "CUDA 10.2 needs driver of branch 440 or newer; this is 418.226.00."


def test_a_wrong_prediction_is_marked_and_counted() -> None:
    right, wrong = Answer(100, "12.2", "12.9", ""), Answer(35, "12.2", "12.9", "driver-too-old")
    pairs = [Pair("535", "12.9.79", right, right), Pair("535", "13.5.37", wrong, right)]
    assert table(pairs) == [["driver", "535"], ["its CUDA", "12.2"], ["12.9.79", "100"], ["13.5.37", "35!"]]
    assert summary(pairs) == "1 drivers x 2 runtimes = 2 pairs; predicted right: 1/2"
    written = page(pairs, date(2026, 11, 27))
    assert "|  13.5.37 |  35! |\n" in written
    assert "predicted right: 1/2**, on 2026-11-27" in written
