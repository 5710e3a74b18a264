"""Combinations that are known to work: none may be called incompatible. Each with where it is written."""

from __future__ import annotations

import pytest

from gpucheck.compat.inventory import typed
from gpucheck.compat.judge import judge
from gpucheck.contract import Contract, GpuCode
from gpucheck.finding import Verdict
from gpucheck.record import replace
from gpucheck.versions import CudaVersion
from tests.compat.contracts import compat, image, nvidia_cuda, required, runtime, torch

#: NVIDIA: any 11.x, 12.x or 13.x runs from its major's floor on.
MINOR = "https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html"
#: NVIDIA: the matrix of cuda-compat packages and installed branches.
FORWARD = "https://docs.nvidia.com/deploy/cuda-compatibility/forward-compatibility.html"
#: NVIDIA: drivers of toolkits.
NOTES = "https://docs.nvidia.com/cuda/cuda-toolkit-release-notes/index.html"
#: NVIDIA: toolkits and drivers of architectures.
MATRIX = "https://docs.nvidia.com/datacenter/tesla/drivers/cuda-toolkit-driver-and-architecture-matrix.html"
#: PyTorch: architectures of its builds.
RELEASE = "https://github.com/pytorch/pytorch/blob/main/RELEASE.md"
CAPABILITIES = "https://docs.nvidia.com/cuda/cuda-programming-guide/05-appendices/compute-capabilities.html"

CUPY = GpuCode("cupy-cuda12x", "13.6.0", CudaVersion(12, 9), 12, ("sm_50", "compute_50"), "cupy/_core")


def cuda(version: str, **changes: object) -> Contract:
    return nvidia_cuda(version, **changes)


GOOD = [
    # native: the driver implements the CUDA of the build
    ("11.8 on 520", cuda("11.8"), "driver=520.61.05,gpu=A100", NOTES),
    ("12.0 on 525", cuda("12.0"), "driver=525.60.13,gpu=T4", NOTES),
    ("12.2 on 535", cuda("12.2"), "driver=535.54.03,gpu=A10G", NOTES),
    ("12.4 on 550", cuda("12.4"), "driver=550.54.14,gpu=L4", NOTES),
    ("12.8 on 570", cuda("12.8"), "driver=570.86.10,gpu=H100", NOTES),
    ("13.0 on 580", cuda("13.0"), "driver=580.65.06,gpu=H200", NOTES),
    ("13.2 on 595", cuda("13.2"), "driver=595.45.04,gpu=B200", NOTES),
    # backward: a newer driver runs older builds, across majors
    ("11.8 on 580", cuda("11.8"), "driver=580.95.05,gpu=A100", MINOR),
    ("11.1 on 535", cuda("11.1"), "driver=535.261.03,gpu=RTX 3090", MINOR),
    ("12.1 on 610", cuda("12.1"), "driver=610.57.04,gpu=L40S", MINOR),
    ("10.2 on 470", cuda("10.2"), "driver=470.256.02,gpu=V100", MINOR),
    # minor-version compatibility, at the floors
    ("11.8 on 450.80.02", cuda("11.8"), "driver=450.80.02,gpu=A100", MINOR),
    ("12.9 on 525.60.13", cuda("12.9"), "driver=525.60.13,gpu=A100", MINOR),
    ("12.6 on 535 with CDI", cuda("12.6", requirements=required("12.6", 470)), "driver=535.183.06,gpu=RTX 4090,mode=cdi", MINOR),
    ("13.4 on 580.65.06", cuda("13.4"), "driver=580.65.06,gpu=A100", MINOR),
    ("torch cu128 on 535", image("a", torch("2.7.0+cu128")), "driver=535.129.03,gpu=A100", MINOR),
    # forward compatibility
    ("13.0 on 535", cuda("13.0", forward=compat("580.82.07")), "driver=535.261.03,gpu=A100,mode=legacy", FORWARD),
    ("13.0 on 570", cuda("13.0", forward=compat("580.82.07")), "driver=570.211.01,gpu=H100,toolkit=1.20", FORWARD),
    ("13.1 on 535", cuda("13.1", forward=compat("590.44.01")), "driver=535.261.03,gpu=H100,toolkit=1.18", FORWARD),
    ("12.9 on 535, PTX", image("a", CUPY, forward=compat("575.57.08")), "driver=535.261.03,gpu=A100,toolkit=1.20", FORWARD),
    ("13.0 always first", cuda("13.0", forward=compat("580.82.07", "always")), "driver=570.211.01,gpu=H100", FORWARD),
    ("13.1 on V100 is not refused", cuda("13.1", forward=compat("590.44.01")), "driver=535.261.03,gpu=V100,mode=legacy", FORWARD),
    # compat in the image of a newer node: the toolkit leaves it alone
    ("12.9 image on 580", cuda("12.9", forward=compat("575.57.08")), "driver=580.95.05,gpu=RTX 4090,mode=legacy", FORWARD),
    ("12.9 image on 580, CDI", cuda("12.9", forward=compat("575.57.08")), "driver=580.95.05,gpu=RTX 5090,toolkit=1.20", FORWARD),
    ("12.9 image on 575", cuda("12.9", forward=compat("575.57.08")), "driver=575.57.08,gpu=RTX 4090,toolkit=1.20", FORWARD),
    ("on GKE nobody takes it", cuda("12.9", forward=compat("575.57.08")), "gke", FORWARD),
    # machine code of an older minor, and PTX
    ("sm_80 on 8.9", image("a", replace(torch("2.7.0+cu126"), targets=("sm_80",))), "driver=560.35.03,gpu=L4", CAPABILITIES),
    ("sm_86 on RTX 4090", image("a", replace(torch("2.7.0+cu126"), targets=("sm_86",))), "driver=560.35.03,gpu=RTX 4090", CAPABILITIES),
    ("PTX 5.0 on B200", image("a", CUPY), "driver=580.95.05,gpu=B200", CAPABILITIES),
    ("sm_100f on B300", image("a", replace(torch("2.10.0+cu130"), targets=("sm_100f",))), "driver=580.95.05,gpu=B300", CAPABILITIES),
    ("torch cu128 on B200", image("a", torch("2.7.0+cu128")), "driver=570.133.20,gpu=B200", RELEASE),
    ("torch cu128 on RTX 5090", image("a", torch("2.7.0+cu128")), "driver=570.124.06,gpu=RTX 5090", RELEASE),
    ("torch cu126 on V100", image("a", torch("2.14.1+cu126")), "driver=580.95.05,gpu=V100", RELEASE),
    ("torch cu130 on T4", image("a", torch("2.14.1+cu130")), "driver=580.95.05,gpu=T4", RELEASE),
    ("torch cu118 on K80's successor", image("a", torch("2.1.0+cu118")), "driver=470.256.02,gpu=P100", RELEASE),
    ("one kind of several is served", image("a", torch("2.14.1+cu130")), "driver=580.95.05,gpu=H100,gpu=V100", RELEASE),
    # architectures
    ("V100 on 580", cuda("12.9"), "driver=580.95.05,gpu=V100", MATRIX),
    ("K80 on 470", cuda("11.4"), "driver=470.256.02,gpu=K80", MATRIX),
    ("GH200", image("a", torch("2.7.0+cu128"), architecture="aarch64"), "driver=570.124.06,gpu=GH200", MATRIX),
    # a toolkit below wheels: the runtime that nobody uses is of no consequence
    ("CUDA 13 below cu126", image("a", torch("2.14.1+cu126"), runtimes=(runtime("13.0"), runtime("12.6", "torch"))), "driver=560.35.03,gpu=A100", MINOR),
    # requirements
    ("12.9 on LTS", cuda("12.9", requirements=required("12.9", 535, 550), forward=compat("575.57.08")), "driver=535.261.03,gpu=A100,mode=legacy", FORWARD),
    ("CPU image anywhere", image("a", gpu=False), "driver=470.256.02,gpu=none", "https://docs.docker.com"),
]  # fmt: skip


def test_there_are_more_than_thirty() -> None:
    assert len({case[0] for case in GOOD}) == len(GOOD) >= 30
    assert all(case[3].startswith("https://") for case in GOOD)


@pytest.mark.parametrize(("what", "contract", "where", "source"), GOOD, ids=[case[0] for case in GOOD])
def test_what_works_is_not_called_incompatible(what: str, contract: Contract, where: str, source: str) -> None:
    node = typed("driver=580.173.02,gpu=L4,mode=gke" if where == "gke" else where)
    cell = judge(contract, node)
    assert cell.verdict in (Verdict.COMPATIBLE, Verdict.CONDITIONAL, Verdict.UNKNOWN), cell.reasons
    # Of these only one is in doubt: that cuda-compat 13 no longer knows a V100 is concluded, not written.
    assert (cell.verdict is Verdict.UNKNOWN) == (what == "13.1 on V100 is not refused"), cell.reasons
