"""What follows from the rows, and for what no row names: by the rules that hold by construction, said to be extrapolated."""

from __future__ import annotations

import pytest

from gpucheck import kb
from gpucheck.kb import capabilities, drivers, forward, toolkits
from gpucheck.kb.judgement import Judgement
from gpucheck.versions import ComputeCapability, CudaVersion, DriverVersion


def cuda(text: str) -> CudaVersion:
    found = CudaVersion.parse(text)
    assert found
    return found


def gpu(text: str) -> ComputeCapability:
    found = ComputeCapability.parse(text)
    assert found
    return found


def test_the_cuda_version_of_a_driver() -> None:
    version, reference = kb.driver_cuda(DriverVersion("535.261.03"))  # type: ignore[misc]
    assert str(version) == "12.2"
    assert reference.startswith("https://") and "checked 2026" in reference
    assert kb.driver_cuda(DriverVersion("999.1")) is None


@pytest.mark.parametrize(
    ("driver", "implemented", "extrapolated"),
    [
        ("535.261.03", "12.2", False),
        ("620.70.06", "13.5", False),
        # A branch that came after the knowledge base: at least what the newest known one implements.
        ("630.10", "13.5 or newer", True),
        ("999.1", "13.5 or newer", True),
        # A branch between two known ones: between theirs.
        ("430.40", "10.1 to 10.2", True),
        ("585.10", "13.0 to 13.1", True),
        ("304.137", "6.5 or older", True),
    ],
)
def test_the_cuda_version_of_any_driver(driver: str, implemented: str, extrapolated: bool) -> None:
    found = drivers.implemented_cuda(DriverVersion(driver))
    assert (str(found), found.extrapolated) == (implemented, extrapolated)
    assert ("extrapolated from branch" in found.reference) is extrapolated


def test_the_reference_of_an_extrapolation_names_what_it_rests_on() -> None:
    found = drivers.implemented_cuda(DriverVersion("430.40"))
    assert found.reference.startswith("extrapolated from branch 418 and 440: https://")


@pytest.mark.parametrize(
    ("runtime", "driver", "holds", "extrapolated"),
    [
        ("12.9", "535.261.03", True, False),
        ("12.9", "525.60.13", True, False),
        ("12.9", "470.256.02", False, False),
        ("13.5", "580.65.06", True, False),
        ("13.0", "575.64.05", False, False),
        ("11.8", "450.80.02", True, False),
        # 11.0 runs on the drivers that it was released with, older than the floor of 11.x.
        ("11.0", "450.51.06", True, False),
        # Below the floor of the same major nobody promises that it starts; the runtime itself compares majors only.
        ("11.8", "450.51.06", None, False),
        ("12.9", "525.53", None, False),
        # Before CUDA 11 there is no compatibility within a major.
        ("10.2", "418.226.00", False, False),
        ("10.2", "440.33", True, False),
        ("10.0", "580.65.06", True, False),
        # A driver that is not known: above the floor it holds by construction.
        ("13.2", "630.10", True, True),
        ("13.9", "630.10", True, True),
        ("13.9", "620.70.06", True, True),
        # A major that is not known: a driver of CUDA 13 refuses it, one that came later may not.
        ("14.0", "620.70.06", False, True),
        ("14.0", "650.10", None, True),
    ],
)
def test_whether_a_runtime_starts(runtime: str, driver: str, holds: bool | None, extrapolated: bool) -> None:
    found = drivers.runtime_starts(cuda(runtime), DriverVersion(driver))
    assert (found.holds, found.extrapolated) == (holds, extrapolated), found


@pytest.mark.parametrize(
    ("written", "driver", "holds", "extrapolated"),
    [
        ("12.2", "535.261.03", True, False),
        ("11.8", "535.261.03", True, False),
        ("12.8", "535.261.03", False, False),
        # 12.5 and 12.6 write the same PTX.
        ("12.6", "555.58.02", True, False),
        ("12.5", "550.163.01", False, False),
        ("13.5", "630.10", True, True),
        ("13.7", "620.70.06", False, True),
        ("13.7", "630.10", None, True),
    ],
)
def test_whether_a_driver_compiles_ptx(written: str, driver: str, holds: bool | None, extrapolated: bool) -> None:
    found = toolkits.compiles_ptx(cuda(written), DriverVersion(driver))
    assert (found.holds, found.extrapolated) == (holds, extrapolated), found


def test_the_driver_of_a_toolkit() -> None:
    assert str(toolkits.exact_driver(cuda("12.8"))[0]) == "570.26"  # type: ignore[index]
    # Since 13.4 NVIDIA names a branch.
    assert str(toolkits.exact_driver(cuda("13.4"))[0]) == "615"  # type: ignore[index]
    assert toolkits.exact_driver(cuda("12.7")) is None


@pytest.mark.parametrize(
    ("target", "capability", "holds", "extrapolated"),
    [
        ("sm_80", "8.6", True, False),
        ("sm_86", "8.0", False, False),
        ("sm_90", "10.0", False, False),
        ("sm_100", "12.0", False, False),
        ("compute_90", "12.0", True, False),
        ("compute_90", "8.9", False, False),
        ("sm_90a", "9.0", True, False),
        ("compute_90a", "10.0", False, False),
        ("sm_100f", "10.3", True, False),
        ("sm_103f", "10.0", False, False),
        ("sm_100f", "11.0", False, False),
        ("sm_120f", "12.1", True, False),
        # The chip of Jetson Thor was 10.1 before CUDA 13.
        ("sm_101f", "11.0", True, False),
        ("sm_101a", "11.0", True, False),
        # No promise between Tegra and other GPUs.
        ("sm_80", "8.7", False, False),
        ("sm_87", "8.7", True, False),
        ("compute_80", "8.7", True, False),
        # GPUs that are not known.
        ("sm_120", "12.3", True, True),
        ("sm_90", "12.3", False, True),
        ("compute_75", "14.0", True, True),
        ("sm_120f", "12.3", True, True),
        ("sm_120a", "12.3", False, True),
    ],
)
def test_whether_code_runs_on_a_gpu(target: str, capability: str, holds: bool, extrapolated: bool) -> None:
    found = capabilities.code_runs(target, gpu(capability))
    assert (found.holds, found.extrapolated) == (holds, extrapolated), found


def test_what_is_no_target_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^gfx90a is no target; targets look like sm_90, compute_90, sm_90a or sm_100f$"
    ):
        capabilities.code_runs("gfx90a", gpu("9.0"))


@pytest.mark.parametrize(
    ("toolkit", "capability", "holds", "extrapolated"),
    [
        ("12.9", "7.0", True, False),
        ("13.0", "7.0", False, False),
        ("12.6", "12.0", False, False),
        ("12.8", "12.0", True, False),
        ("14.0", "12.0", True, True),
        ("13.5", "12.3", None, True),
    ],
)
def test_whether_a_toolkit_compiles(toolkit: str, capability: str, holds: bool | None, extrapolated: bool) -> None:
    found = capabilities.toolkit_compiles(cuda(toolkit), gpu(capability))
    assert (found.holds, found.extrapolated) == (holds, extrapolated), found


@pytest.mark.parametrize(
    ("branch", "capability", "holds", "extrapolated"),
    [
        (580, "7.0", True, False),
        (590, "7.0", False, False),
        (470, "3.7", True, False),
        (495, "3.7", False, False),
        (535, "9.0", True, False),
        # H100 worked with drivers from before its first toolkit's: older does not mean no.
        (515, "9.0", None, False),
        (630, "9.0", True, True),
        (630, "7.0", False, False),
        (630, "14.0", None, True),
        (580, "8.7", None, False),
    ],
)
def test_whether_a_branch_drives_a_gpu(branch: int, capability: str, holds: bool | None, extrapolated: bool) -> None:
    found = capabilities.driver_drives(branch, gpu(capability))
    assert (found.holds, found.extrapolated) == (holds, extrapolated), found


#: NVIDIA's matrix of the time of CUDA 13.4: + supported, - not supported (not newer than the driver).
MATRIX = """
        535 570 580 590 595 610 615
  13.4   +   +   +   +   +   +   -
  13.3   +   +   +   +   +   -   -
  13.2   +   +   +   +   -   -   -
  13.1   +   +   +   -   -   -   -
  13.0   +   +   -   -   -   -   -
  12.9   +   +   -   -   -   -   -
  12.8   +   -   -   -   -   -   -
  12.6   +   -   -   -   -   -   -
  12.5   +   -   -   -   -   -   -
  12.4   +   -   -   -   -   -   -
  12.3   +   -   -   -   -   -   -
  12.2   -   -   -   -   -   -   -
"""


def test_forward_compatibility_gives_nvidias_matrix() -> None:
    header, *lines = [line.split() for line in MATRIX.strip().splitlines()]
    for package, *cells in lines:
        for branch, cell in zip(header, cells, strict=True):
            found = forward.package_works(cuda(package), DriverVersion(branch))
            assert found.holds is (cell == "+"), (package, branch, found)
            assert not found.extrapolated


@pytest.mark.parametrize(
    ("package", "driver", "holds", "extrapolated"),
    [
        # Out of support as a base: not refused for certain, promised by nobody.
        ("12.9", "550.163.01", None, False),
        ("13.4", "620.70.06", False, False),
        ("13.4", "630.10", False, True),
        ("14.0", "580.65.06", None, True),
        ("14.0", "650.10", None, True),
    ],
)
def test_forward_compatibility_beside_the_matrix(
    package: str, driver: str, holds: bool | None, extrapolated: bool
) -> None:
    found = forward.package_works(cuda(package), DriverVersion(driver))
    assert (found.holds, found.extrapolated) == (holds, extrapolated), found


@pytest.mark.parametrize(
    ("package", "brand", "capability", "holds"),
    [
        ("13.4", 2, "9.0", True),
        ("13.4", 14, "8.0", True),
        ("13.4", 5, "8.6", False),
        ("13.4", 15, None, False),
        ("13.4", 13, "8.6", None),
        ("13.4", 99, None, None),
        # K80: the libcuda of cuda-compat 11.5 no longer knows it. V100: concluded likewise for 13.1.
        ("11.5", 2, "3.7", False),
        ("11.4", 2, "3.7", True),
        ("13.1", 2, "7.0", False),
        ("13.0", 2, "7.0", True),
    ],
)
def test_which_gpus_may_use_forward_compatibility(
    package: str, brand: int, capability: str | None, holds: bool | None
) -> None:
    found = forward.gpu_may(cuda(package), brand, gpu(capability) if capability else None)
    assert found.holds is holds, found


def test_an_answer_says_that_it_is_an_extrapolation() -> None:
    assert Judgement(True, "so it is", "https://example.org/").evidence == "so it is"
    assert Judgement(True, "so it is", "https://example.org/", extrapolated=True).evidence == (
        "so it is (an extrapolation: the knowledge base has no row for it)"
    )
