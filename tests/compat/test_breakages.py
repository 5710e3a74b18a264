"""Real breakages between images and nodes, each with the verdict that would have warned, and where it was reported."""

from __future__ import annotations

import pytest

from gpucheck.compat.inventory import typed
from gpucheck.compat.judge import judge
from gpucheck.compat.node import of_snapshot
from gpucheck.contract import Contract
from gpucheck.engine import judge as diagnose
from gpucheck.facts import Call, Choice, Cuda, Seen, Snapshot, Unseen, Why
from gpucheck.finding import Verdict
from gpucheck.record import replace
from gpucheck.require import Host, compare, legacy
from gpucheck.versions import CudaVersion, DriverVersion
from tests.compat.contracts import compat, image, nvidia_cuda, required, runtime, torch
from tests.machines import answers, driver_library, gpu, healthy, loaded, node, nvml_answers

NOT_FOUND = Unseen(Why.ABSENT, ("dlopen libcuda.so.1",), "libcuda.so.1: cannot open shared object file")
OK, LIMITS, FAILS, UNKNOWN = Verdict.COMPATIBLE, Verdict.CONDITIONAL, Verdict.INCOMPATIBLE, Verdict.UNKNOWN

VLLM = image(
    "vllm/vllm-openai:v0.15.0",
    torch("2.12.1+cu129"),
    forward=compat("575.57.08", "always", "/etc/ld.so.conf.d/00-cuda-compat.conf names /usr/local/cuda/compat"),
    requirements=required("12.9", 535, 550, 560, 565, 570),
)
CUDA_13 = image("app:cu130", torch("2.14.1+cu130"))
CUDA_13_2 = image("club:cu132", torch("2.15.0+cu132"), forward=compat("595.45.04"))
THOR = replace(
    image("l4t:cu130", runtimes=(runtime("13.0"),), architecture="aarch64"),
    forward=compat("580.82.07", "always", "LD_LIBRARY_PATH names it"),
)

CASES = [
    # 1. LLMKube#1424: AKS has 550.144.03; the image of CUDA 13 crashed after a pull of gigabytes, 12.9 worked.
    ("1 CUDA 13 on AKS", CUDA_13, "driver=550.144.03,gpu=A100-SXM4-80GB,toolkit=1.17", FAILS, "driver-too-old"),
    ("1 CUDA 12.9 on AKS", image("app:cu129", torch("2.12.1+cu129")), "driver=550.144.03,gpu=A100", LIMITS, "driver-older-than-build"),
    # 2. gpustack#4678, llm-d#706: the image's ld.so.conf puts an older cuda-compat before the driver of the node: 803.
    ("2 vLLM on 580", VLLM, "driver=580.95.05,gpu=H100,toolkit=1.18,mode=cdi", FAILS, "cuda-compat-refused"),
    ("2 vLLM on 570", VLLM, "driver=570.124.06,gpu=H100,toolkit=1.18,mode=cdi", OK, ""),
    ("2 without the conf", replace(VLLM, forward=compat("575.57.08")), "driver=580.95.05,gpu=H100,toolkit=1.18", OK, ""),
    # 3. club-3090#640, nvidia-container-toolkit#291: the toolkit takes a newer cuda-compat on a GeForce, too: 804.
    ("3 GeForce and 1.19", CUDA_13_2, "driver=580.159.03,gpu=RTX 3090,toolkit=1.19,mode=cdi", FAILS, "cuda-compat-refused"),
    ("3 GeForce and 1.20", CUDA_13_2, "driver=580.159.03,gpu=RTX 3090,toolkit=1.20,mode=cdi", FAILS, "cuda-compat-refused"),
    ("3 GeForce, legacy", CUDA_13_2, "driver=580.159.03,gpu=RTX 3090,mode=legacy", FAILS, "cuda-compat-refused"),
    ("3 GeForce, not told", CUDA_13_2, "driver=580.159.03,gpu=RTX 3090", UNKNOWN, "toolkit-not-known"),
    ("3 data center", CUDA_13_2, "driver=580.159.03,gpu=A100,toolkit=1.19,mode=cdi", OK, ""),
    # 4. nvidia-container-toolkit PR #1697: cuda-compat of the node's own branch, but older.
    ("4 same branch, older", replace(CUDA_13, forward=compat("580.82.07", "always")), "driver=580.126.16,gpu=H100", FAILS, "cuda-compat-refused"),
    ("4 left to the toolkit", replace(CUDA_13, forward=compat("580.82.07")), "driver=580.126.16,gpu=H100,toolkit=1.18", OK, ""),
    ("4 newer, since 1.20", replace(CUDA_13, forward=compat("580.82.07")), "driver=580.65.06,gpu=H100,toolkit=1.20", OK, ""),
    # 5. nvidia-container-toolkit PR #1679: on Thor cuda-compat of the desktop is used, 803.
    ("5 Thor", THOR, "driver=580.95.05,gpu=Jetson AGX Thor,mode=csv", FAILS, "cuda-compat-refused"),
    # 6. rapidsai/devcontainers#332: the requirement refuses what would run; its engine refuses in legacy mode only.
    (
        "6 legacy refuses",
        nvidia_cuda("12.5", requirements=required("12.5", 470)),
        "driver=535.161.07,gpu=A100,mode=legacy", FAILS, "requirement-not-met",
    ),
    ("6 CDI does not", nvidia_cuda("12.5", requirements=required("12.5", 470)), "driver=535.161.07,gpu=A100,mode=cdi", LIMITS, "driver-older-than-build"),
    (
        "6 check switched off",
        nvidia_cuda("12.5", requirements=(*required("12.5", 470), ("NVIDIA_DISABLE_REQUIRE", "1"))),
        "driver=535.161.07,gpu=A100,mode=legacy", LIMITS, "driver-older-than-build",
    ),
    # 7. gpustack#5674: A100 with 570 was kept from images of 12.9, which run.
    ("7 12.9 on 570", image("app:cu129", torch("2.12.1+cu129")), "driver=570.124.06,gpu=A100", LIMITS, "driver-older-than-build"),
    # 8. Version bugs of others: in the verdicts too.
    ("8 leading zeros", nvidia_cuda("12.4", requirements=(("NVIDIA_REQUIRE_CUDA", "driver>=580.05"),)), "driver=580.5.1,gpu=L4,mode=legacy", OK, ""),
    ("8 12.10 is above 12.9", nvidia_cuda("12.4", requirements=(("NVIDIA_REQUIRE_CUDA", "cuda<12.10"),)), "driver=575.57.08,gpu=L4,mode=legacy", OK, ""),
]  # fmt: skip


@pytest.mark.parametrize(("what", "contract", "where", "verdict", "rule"), CASES, ids=[case[0] for case in CASES])
def test_a_breakage_is_foreseen(what: str, contract: Contract, where: str, verdict: Verdict, rule: str) -> None:
    cell = judge(contract, typed(where))
    assert (cell.verdict, [reason.rule for reason in cell.deciding if rule][:1]) == (verdict, [rule] if rule else [])
    for reason in cell.reasons:
        assert reason.summary and reason.cause and (reason.remedy or reason.verdict is OK)


@pytest.mark.parametrize(
    ("left", "operator", "right"),
    [
        ("550.08", "=", "550.8"),  # bash takes 08 for an octal number: Azure/azhpc-images#449
        ("580.05", "=", "580.5"),  # nvidia-container-toolkit 87be0c80
        ("99", "<", "222"),  # as text 99 is above: the toolkit's own test
        ("12.10", ">", "12.9"),
    ],
)
def test_8_versions_are_numbers(left: str, operator: str, right: str) -> None:
    assert compare(left, operator, right)
    assert legacy(f"driver{operator}{right}", Host("12.4", left)).holds
    mine, other = DriverVersion.parse(left), DriverVersion.parse(right)
    if mine and other:
        assert {"=": mine == other, "<": mine < other, ">": mine > other}[operator]


def roots(snapshot: Snapshot) -> list[str]:
    return [root.rule for root in diagnose(snapshot).roots]


@pytest.mark.parametrize(
    "path",
    [
        "/x86_64-bottlerocket-linux-gnu/sys-root/usr/lib/nvidia/tesla/libcuda.so.1",  # 9. bottlerocket#4811
        "/usr/local/glibc/usr/lib/libcuda.so.1",  # 10. siderolabs/extensions#940: ld.so.cache of Talos is read-only
    ],
)
def test_9_and_10_a_driver_off_the_linkers_path(path: str) -> None:
    """In a container of such a node; the image has no part in it."""
    library = driver_library(path=path)
    snapshot = healthy(
        libcuda=Choice("libcuda.so.1", None, "not found", (f"{path}: not on the search path",)),
        libcuda_copies=(library,),
        cuda=NOT_FOUND,
    )
    assert roots(snapshot)[0] == "libcuda-off-loader-path"


def test_11_a_node_whose_driver_was_updated_without_a_reboot() -> None:
    """mozilla/translations#1167: NVML 18, and no container reaches the GPU."""
    snapshot = healthy(
        kernel=replace(healthy().kernel, driver=loaded("580.65.06")),
        nvml=nvml_answers(18),
        cuda=Seen(Cuda("/usr/lib/libcuda.so.1", (Call("cuInit", 803),), CudaVersion(13, 0), (), ""), "a call"),
    )
    where = of_snapshot(snapshot, "worker-1", "worker-1.json")
    cell = judge(image("app:1", torch("2.14.1+cu130")), where)
    assert (cell.verdict, cell.deciding[0].rule) == (FAILS, "driver-version-mismatch")


def test_12_a_node_without_the_uvm_device() -> None:
    """gpu-operator#2685: the validator is Ready and nvidia-smi works, /dev/nvidia-uvm is missing."""
    snapshot = healthy(
        nodes=Seen(
            (node("/dev/nvidia0"), node("/dev/nvidiactl"), node("/dev/nvidia-uvm", "ENOENT", present=False)), "/dev"
        ),
        cuda=answers(("cuDriverGetVersion", 0), ("cuInit", 999)),
    )
    where = of_snapshot(snapshot, "worker-2", "worker-2.json")
    cell = judge(image("app:1", torch("2.14.1+cu130")), where)
    assert (cell.verdict, cell.deciding[0].rule) == (FAILS, "uvm-not-working")
    assert roots(snapshot)[0] == "uvm-not-working"
    assert judge(image("web:1", gpu=False), where).verdict is OK


def test_a_healthy_node_from_its_snapshot_has_no_trouble() -> None:
    where = of_snapshot(healthy(nvml=nvml_answers(gpus=(gpu(brand=14),))), "worker-3", "worker-3.json")
    assert where.trouble == ()
    assert (str(where.driver), where.driven, [str(found) for found in where.gpus or ()]) == (
        "580.95.05", True, ["NVIDIA H100 80GB HBM3 (9.0)"],
    )  # fmt: skip
    assert where.gpus and where.gpus[0].brand == 14
    assert judge(image("app:1", torch("2.14.1+cu130")), where).verdict is OK
