"""compat and the doctor say the same of the same facts: an image's snapshot put on a node, judged by the doctor's rules."""

from __future__ import annotations

import itertools

import pytest

from gpucheck.compat.change import BadChange
from gpucheck.compat.inventory import BadNode, typed
from gpucheck.compat.judge import judge
from gpucheck.compat.merge import onto, what_if
from gpucheck.contract import Contract, ForwardDriver, GpuCode
from gpucheck.engine import judge as diagnose
from gpucheck.facts import Choice, Compat, Framework, Snapshot
from gpucheck.finding import Verdict
from gpucheck.record import replace
from gpucheck.versions import DriverVersion
from tests.compat.contracts import BRANDS, NOTES, torch
from tests.compat.contracts import compat as forward
from tests.compat.contracts import image as contract_of
from tests.machines import driver_library, healthy, image

BUILDS = ("2.1.0+cu118", "2.6.0+cu124", "2.10.0+cu128", "2.14.1+cu126", "2.14.1+cu130", "2.15.0+cu132")
COMPATS = (None, "575.57.08", "590.44.01")
DRIVERS = ("470.256.02", "535.261.03", "550.54.15", "570.211.01", "580.95.05", "595.71.05")
GPUS = ("T4", "A100", "L40S", "H100", "RTX 4090", "B200", "V100", "P100")


def files(code: GpuCode, compat: ForwardDriver | None) -> Snapshot:
    """The snapshot of an image with a build of torch and, first on its search path, a cuda-compat."""
    made = Framework(code.name, code.version, "/opt", True, code.cuda, code.cuda_major, code.targets, code.evidence)
    found = image(frameworks=(made,), runtimes=())
    if compat is None:
        return found
    library = driver_library(version=str(compat.version), kind="compat", path="/usr/local/cuda/compat/libcuda.so.1")
    cuda, branches = NOTES[str(compat.version)]
    assert compat.cuda and str(compat.cuda) == cuda
    return replace(
        found,
        libcuda=Choice("libcuda.so.1", library.path, "ld.so.cache", ()),
        libcuda_copies=(library,),
        compat=(Compat(library.path, compat.cuda, branches, BRANDS),),
    )


def cases() -> list[tuple[str, str | None, str, str]]:
    """All of them would be 864; a fifth, chosen so that each pair of values comes up."""
    return [case for number, case in enumerate(itertools.product(BUILDS, COMPATS, DRIVERS, GPUS)) if number % 5 == 0]


def expected(contract: Contract, where: str) -> set[str]:
    cell = judge(contract, typed(where))
    return {reason.rule for reason in cell.reasons if reason.verdict is Verdict.INCOMPATIBLE}


#: What the doctor does not look at: whether the driver drives the GPU (on a live machine the driver lists it, or no GPU is seen).
ONLY_COMPAT = {"gpu-not-supported-by-driver", "ptx-newer-than-driver"}


@pytest.mark.parametrize("gpu", GPUS)
def test_the_roots_are_the_same(gpu: str) -> None:
    compared = 0
    for build, compat, driver, name in cases():
        if name != gpu:
            continue
        code = torch(build)
        library = forward(compat, "always") if compat else None
        contract = contract_of("app:1", code, forward=library)
        where = f"driver={driver},gpu={gpu},toolkit=1.19,mode=cdi"
        node = typed(where)
        roots = {root.rule for root in diagnose(onto(files(code, library), node)).roots}
        mine = expected(contract, where) - ONLY_COMPAT
        if "cuda-compat-refused" in mine | roots:
            # The doctor goes on to judge with the libcuda that is refused; compat stops at the cause.
            assert "cuda-compat-refused" in mine & roots, (build, compat, driver, gpu, mine, roots)
        elif library and library.cuda and "driver-too-old" in roots ^ mine:
            # The doctor has only the driver's version here: on a live machine the cuda-compat answers for itself.
            assert library.cuda.major >= (code.cuda_major or 0)
        else:
            assert mine == roots, (build, compat, driver, gpu)
        compared += 1
    assert compared >= 15


def test_a_healthy_image_on_a_healthy_node_has_no_finding() -> None:
    report = diagnose(onto(files(torch("2.14.1+cu130"), None), typed("driver=580.95.05,gpu=A100")))
    assert (report.roots, report.verdict) == ((), Verdict.COMPATIBLE)
    assert onto(image(), typed("gpu=A100")) == image()


def test_what_if_changes_a_snapshot() -> None:
    snapshot = healthy()
    assert [root.rule for root in diagnose(what_if(snapshot, ["driver=550.54.15"])).roots] == ["driver-too-old"]
    assert [root.rule for root in diagnose(what_if(snapshot, ["gpu=V100"])).roots] == ["gpu-not-covered-by-build"]
    assert not diagnose(what_if(snapshot, ["driver=550.54.15", "torch=2.14.1+cu126"])).roots
    assert what_if(snapshot, ["gpu=V100"]).nvml != snapshot.nvml
    assert DriverVersion("550.54.15") == what_if(snapshot, ["driver=550.54.15"]).kernel.driver.value.version


@pytest.mark.parametrize("change", ["driver", "driver=", "colour=red", "torch=99", "driver=new"])
def test_what_if_refuses_what_it_does_not_know(change: str) -> None:
    with pytest.raises((BadChange, BadNode)) as caught:
        what_if(healthy(), [change])
    assert "\n" not in str(caught.value)
