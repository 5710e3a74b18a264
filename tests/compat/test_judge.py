"""The verdict of a cell: what decides, what is only worth a note, and what is not known."""

from __future__ import annotations

import pytest

from gpucheck.compat.inventory import typed
from gpucheck.compat.judge import judge, matrix
from gpucheck.compat.reasons import REASONS
from gpucheck.compat.table import tabulate
from gpucheck.contract import Contract, GpuCode
from gpucheck.finding import Verdict
from gpucheck.record import replace
from gpucheck.rules import RULES
from gpucheck.versions import CudaVersion
from tests.compat.contracts import compat, image, nvidia_cuda, required, runtime, torch

OK, LIMITS, FAILS, UNKNOWN = Verdict.COMPATIBLE, Verdict.CONDITIONAL, Verdict.INCOMPATIBLE, Verdict.UNKNOWN
NODE = "driver=580.95.05,gpu=A100"
CU130, CU126 = image("a", torch("2.14.1+cu130")), image("b", torch("2.14.1+cu126"))
PTX = GpuCode("cupy-cuda12x", "13.6.0", CudaVersion(12, 9), 12, ("sm_50", "compute_50"), "cupy")
UNREAD = GpuCode("vllm", "99.0", CudaVersion(12, 9), 12, (), "vllm/_C.so")
FLASH = GpuCode("flash-attn", "2.8", CudaVersion(12, 8), 12, ("sm_80", "sm_90"), "flash_attn.so")

CASES = [
    ("works", CU130, NODE, OK, ()),
    ("another CPU", replace(CU130, architecture="aarch64"), NODE, FAILS, ("image-for-other-architecture",)),
    ("another CPU alone decides", replace(CU130, architecture="aarch64", libc="glibc 2.41"), "driver=470,gpu=K80", FAILS, ("image-for-other-architecture",)),
    ("Grace", replace(CU130, architecture="aarch64"), "driver=580.95.05,gpu=GB200", OK, ()),
    ("CPU image for another CPU", image("c", gpu=False, architecture="aarch64"), NODE, FAILS, ("image-for-other-architecture",)),
    ("musl", replace(CU130, libc="musl 1.2.5"), NODE, FAILS, ("driver-needs-glibc",)),
    ("musl for the CPU", image("c", gpu=False, libc="musl 1.2.5"), NODE, OK, ("needs-no-gpu",)),
    ("broken", replace(CU130, broken=("libcuda-is-stub",)), NODE, FAILS, ("libcuda-is-stub",)),
    ("limited", replace(CU130, limits=("libcuda-in-image",)), NODE, LIMITS, ("libcuda-in-image",)),
    ("cuda-compat first is judged by node", replace(CU130, limits=("compat-always-used",)), NODE, OK, ()),
    ("the row of its CUDA", image("d", GpuCode("jax", "0.12.0.1", None, 13, (), "jax")), "driver=580.95.05,gpu=V100", FAILS, ("gpu-not-covered-by-build",)),
    ("the row of another CUDA", image("d", GpuCode("jax", "0.12.0.1", None, 12, (), "jax")), "driver=580.95.05,gpu=V100", OK, ()),
    ("CPU image", image("c", gpu=False), "driver=390.157,gpu=none", OK, ("needs-no-gpu",)),
    ("nothing in it", image("c"), NODE, OK, ("needs-not-known",)),
    ("nothing in it, nothing said", image("c", gpu=None), NODE, UNKNOWN, ("needs-not-known",)),
    ("no GPU", CU130, "driver=580.95.05,gpu=none", FAILS, ("no-gpu",)),
    ("driver not told", CU130, "gpu=A100", UNKNOWN, ("driver-not-known",)),
    ("GPU not told", CU130, "driver=580.95.05", UNKNOWN, ("gpu-not-known",)),
    ("GPU not told, driver too old", CU130, "driver=550.54.15", FAILS, ("driver-too-old", "gpu-not-known")),
    ("GPU of no known name", CU130, "driver=580.95.05,gpu=A1000000", UNKNOWN, ("gpu-not-known",)),
    ("by capability", CU130, "driver=580.95.05,gpu=sm_90", OK, ()),
    ("branch alone", CU130, "driver=580,gpu=A100", OK, ()),
    ("branch alone, cuda-compat of the branch", replace(CU130, forward=compat("580.82.07", "always")), "driver=580,gpu=A100", UNKNOWN, ("cuda-compat-refused",)),
    ("driver too old", CU130, "driver=570.211.01,gpu=A100", FAILS, ("driver-too-old",)),
    ("driver newer than all that is known", CU130, "driver=700.10.01,gpu=H100", OK, ()),
    ("below the floor of its major", nvidia_cuda("12.9"), "driver=525.53.01,gpu=A100", UNKNOWN, ("driver-too-old",)),
    ("limits", CU126, "driver=550.54.15,gpu=A100", LIMITS, ("driver-older-than-build",)),
    ("no code", CU130, "driver=580.95.05,gpu=V100", FAILS, ("gpu-not-covered-by-build",)),
    ("code for one of two", CU130, "driver=580.95.05,gpu=V100,gpu=H100", LIMITS, ("gpu-not-covered-by-build",)),
    ("an accessory has no code", image("d", torch("2.7.0+cu128"), FLASH), "driver=580.95.05,gpu=T4", LIMITS, ("gpu-not-covered-by-build",)),
    ("code that nobody can read", image("d", UNREAD), NODE, UNKNOWN, ("code-not-known",)),
    ("the row tells where files do not", image("d", replace(torch("2.9.0+cu128"), targets=())), "driver=580.95.05,gpu=V100", OK, ()),
    ("dropped by the driver", CU126, "driver=590.48.01,gpu=V100", FAILS, ("gpu-not-supported-by-driver",)),
    ("newer than the driver", image("d", torch("2.7.0+cu128")), "driver=565.57.01,gpu=B200", UNKNOWN, ("gpu-not-supported-by-driver", "driver-older-than-build")),
    ("PTX is compiled", image("d", PTX), "driver=580.95.05,gpu=A100", OK, ("ptx-compiled-at-start",)),
    ("PTX of a newer toolkit", image("d", PTX), "driver=550.54.15,gpu=A100", FAILS, ("ptx-newer-than-driver", "driver-older-than-build")),
    ("PTX of 12.6 on 12.5 is one ISA", image("d", replace(PTX, cuda=CudaVersion(12, 6))), "driver=555.58.02,gpu=A100", LIMITS, ("driver-older-than-build", "ptx-compiled-at-start")),
    ("PTX with cuda-compat", image("d", PTX, forward=compat("575.57.08")), "driver=535.261.03,gpu=A100,mode=legacy", OK, ("ptx-compiled-at-start",)),
    ("cuda-compat for RTX is for some", replace(CU130, forward=compat("580.82.07")), "driver=570.211.01,gpu=RTX A6000,mode=legacy", UNKNOWN, ("cuda-compat-refused",)),
    ("cuda-compat, brand not known", replace(CU130, forward=compat("580.82.07")), "driver=570.211.01,gpu=8.0,mode=legacy", UNKNOWN, ("cuda-compat-refused",)),
    ("cuda-compat nobody finds", replace(CU130, forward=compat("580.82.07", "never")), "driver=570.211.01,gpu=A100,mode=legacy", FAILS, ("driver-too-old",)),
    ("cuda-compat on GKE", replace(CU130, forward=compat("580.82.07")), "driver=570.211.01,gpu=L4,mode=gke", FAILS, ("driver-too-old",)),
    ("cuda-compat, 1.17 with CDI", replace(CU130, forward=compat("580.82.07")), "driver=570.211.01,gpu=L4,toolkit=1.17,mode=cdi", UNKNOWN, ("toolkit-not-known",)),
    ("GKE without its path", replace(CU130, library_path=None), "driver=580.95.05,gpu=L4,mode=gke", FAILS, ("libcuda-off-loader-path",)),
    ("GKE with it", CU130, "driver=580.95.05,gpu=L4,mode=gke", OK, ()),
    ("no toolkit", CU130, "driver=580.95.05,gpu=L4,mode=none", FAILS, ("container-toolkit-missing",)),
    ("utility alone, legacy", replace(CU130, capabilities="utility"), "driver=580.95.05,gpu=L4,mode=legacy", FAILS, ("compute-capability-not-granted",)),
    ("utility alone, CDI", replace(CU130, capabilities="utility"), "driver=580.95.05,gpu=L4,mode=cdi", OK, ()),
    ("utility alone, not told", replace(CU130, capabilities="utility"), "driver=580.95.05,gpu=L4", LIMITS, ("compute-capability-not-granted",)),
    ("all capabilities", replace(CU130, capabilities="all"), "driver=580.95.05,gpu=L4,mode=legacy", OK, ()),
    ("asks for none", replace(CU130, visible_devices="void"), NODE, LIMITS, ("visible-devices-hides-gpus",)),
    ("does not ask", replace(CU130, visible_devices=None), NODE, OK, ()),
    ("requirement, legacy", replace(CU126, requirements=required("12.9", 535)), "driver=550.54.15,gpu=L4,mode=legacy", FAILS, ("requirement-not-met", "driver-older-than-build")),
    ("requirement, CDI", replace(CU126, requirements=required("12.9", 535)), "driver=560.35.03,gpu=L4,mode=cdi", OK, ("requirement-not-checked",)),
    ("requirement, not told", replace(CU126, requirements=required("12.9", 535)), "driver=560.35.03,gpu=L4", LIMITS, ("requirement-not-met",)),
    ("requirement, brand not known", replace(CU126, requirements=required("12.9", 560)), "driver=560.35.03,gpu=8.9,mode=legacy", UNKNOWN, ("requirement-not-met",)),
    ("requirement nobody understands", replace(CU126, requirements=(("NVIDIA_REQUIRE_CUDA", "cuda~12"),)), "driver=560.35.03,gpu=L4,mode=legacy", FAILS, ("requirement-not-met",)),
    ("a Jetson's engine", replace(nvidia_cuda("12.2"), architecture="aarch64", requirements=(("NVIDIA_REQUIRE_CUDA", "cuda>=12.6"),)), "driver=540.4.0,cuda=12.6,gpu=Orin,mode=csv", OK, ()),
    ("a Jetson's engine refuses", replace(nvidia_cuda("12.2"), architecture="aarch64", requirements=(("NVIDIA_REQUIRE_CUDA", "cuda>=12.9"),)), "driver=540.4.0,cuda=12.6,gpu=Orin,mode=csv", FAILS, ("requirement-not-met",)),
    ("a second CUDA below wheels", replace(CU126, runtimes=(runtime("13.0"),)), "driver=560.35.03,gpu=A100", OK, ("runtime-not-used",)),
]  # fmt: skip


@pytest.mark.parametrize(("what", "contract", "where", "verdict", "rules"), CASES, ids=[case[0] for case in CASES])
def test_a_cell(what: str, contract: Contract, where: str, verdict: Verdict, rules: tuple[str, ...]) -> None:
    cell = judge(contract, typed(where))
    assert (cell.verdict, tuple(reason.rule for reason in cell.reasons)) == (verdict, rules)


def test_every_reason_can_be_explained_and_every_explanation_is_given() -> None:
    given = {rule for case in CASES for rule in case[4]} | {"fabric-not-ready"}
    known = {rule.id for rule in RULES}
    assert given <= known | set(REASONS)
    assert set(REASONS) <= given
    for text in REASONS.values():
        title, blank, *rest = text.splitlines()
        assert title.endswith(".") and not blank
        assert [word for line in rest if (word := line.split(":")[0]) in ("Confirm", "Remedy", "Reference")] == [
            "Confirm",
            "Remedy",
            "Reference",
        ]


def test_a_way_out_names_driver_and_build() -> None:
    cell = judge(CU130, typed("driver=550.54.15,gpu=A100"))
    assert cell.reasons[0].remedy == (
        "On the node: driver 580.65.06 or newer; or in the image: torch 2.14.1+cu126 (https://download.pytorch.org/whl/cu126)"
    )
    assert (
        "cuda-compat-mode"
        in judge(replace(CU130, forward=compat("595.45.04")), typed("driver=580.95.05,gpu=RTX 4090,mode=legacy"))
        .reasons[0]
        .remedy
    )


def test_a_matrix_is_its_cells() -> None:
    """What is shared between cells changes none of them."""
    contracts = [replace(case[1], image=f"image {number}") for number, case in enumerate(CASES)]
    nodes = [
        replace(typed(where), name=f"node {number}")
        for number, where in enumerate(dict.fromkeys(case[2] for case in CASES))
    ]
    nodes = nodes[::7]
    whole = matrix(contracts, nodes)
    for contract, row in zip(contracts, whole):
        for node, cell in zip(nodes, row):
            assert cell == judge(contract, node)


def test_nodes_on_which_all_is_alike_are_one_column() -> None:
    nodes = [typed(f"driver=580.95.05,gpu=A100,name=n{number}") for number in range(40)]
    table = tabulate([CU130, CU126], [*nodes, typed("driver=470.256.02,gpu=A100,name=old")])
    assert [len(column.nodes) for column in table.columns(True)] == [40, 1]
    assert len(table.columns(False)) == 41
    assert table.counts == {OK: 80, LIMITS: 0, FAILS: 2, UNKNOWN: 0}
    assert [column.label for column in table.columns(False)][24:28] == ["Y", "Z", "AA", "AB"]
