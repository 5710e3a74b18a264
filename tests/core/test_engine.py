"""Combined faults: one root cause, the rest folded under it."""

from __future__ import annotations

from collections.abc import Iterator

from gpucheck.engine import judge
from gpucheck.facts import Seen, Snapshot
from gpucheck.finding import Complaint, Status, Verdict
from gpucheck.rules.rule import CannotTell, Layer, rule
from tests.machines import (
    ABSENT,
    DOCKER,
    NOT_APPLICABLE,
    answers,
    bare,
    cudart,
    gpu,
    healthy,
    image,
    loaded,
    node,
    nvml_answers,
    pci,
    torch,
    with_kernel,
)


def roots(snapshot: Snapshot) -> list[str]:
    return [finding.rule for finding in judge(snapshot).roots]


def test_a_machine_without_gpu_has_one_root_cause() -> None:
    report = judge(bare())
    assert roots(bare()) == ["no-gpu"]
    assert {finding.rule for finding in report.roots[0].consequences} == {
        "libcuda-missing",
        "gpu-unreached",
        "runtime-refused",
    }
    assert (report.verdict, report.exit_code()) == (Verdict.INCOMPATIBLE, 1)


def test_a_module_that_is_not_built_explains_nodes_libcuda_and_the_framework() -> None:
    snapshot = with_kernel(bare(pci=Seen((pci(None),), "/sys")), modules=Seen((), "/proc/modules"))
    assert roots(snapshot) == ["kernel-driver-not-loaded"]


def test_error_35_with_an_old_driver_is_not_error_35_without_a_driver() -> None:
    old = healthy(cuda=answers(("cuInit", 0), cuda="12.2", gpus=(gpu(),)), runtimes=(cudart(code=35, driver="12.2"),))
    assert roots(old) == ["driver-too-old"]
    assert [finding.rule for finding in judge(old).roots[0].consequences] == ["runtime-refused"]
    assert roots(bare()) == ["no-gpu"]


def test_what_a_real_call_ran_into_comes_before_what_it_would_meet_next() -> None:
    both = bare(cuda=answers(("cuInit", 100), cuda="12.2"), runtimes=(cudart(code=35, driver="12.2"),))
    assert roots(both) == ["driver-too-old", "no-gpu"]


def test_a_container_without_its_gpu_is_not_a_machine_without_one() -> None:
    snapshot = with_kernel(bare(container=DOCKER, pci=Seen((pci(),), "/sys")), driver=loaded())
    assert roots(snapshot) == ["gpu-not-passed-to-container"]


def test_a_cgroup_that_refuses_explains_nvml_and_cuda() -> None:
    nodes = Seen((node("/dev/nvidia0", "EPERM"), node("/dev/nvidiactl", "EPERM"), node("/dev/nvidia-uvm")), "/dev")
    snapshot = healthy(
        container=DOCKER,
        nodes=nodes,
        cuda=answers(("cuInit", 100)),
        nvml=nvml_answers(999),
        runtimes=(cudart(code=100),),
    )
    assert roots(snapshot) == ["device-refused-by-cgroup"]


def test_an_upgraded_driver_explains_nvml_18_and_cuda_803() -> None:
    snapshot = with_kernel(
        healthy(nvml=nvml_answers(18), cuda=answers(("cuInit", 803)), runtimes=(cudart(code=803),)),
        driver=loaded("580.65.06"),
    )
    assert roots(snapshot) == ["driver-version-mismatch"]


def test_hidden_devices_explain_error_100() -> None:
    snapshot = healthy(
        environment=(("CUDA_VISIBLE_DEVICES", ""),), cuda=answers(("cuInit", 100)), runtimes=(cudart(code=100),)
    )
    assert roots(snapshot) == ["visible-devices-hides-gpus"]


def test_two_independent_faults_are_two_root_causes() -> None:
    snapshot = healthy(
        environment=(("CUDA_VISIBLE_DEVICES", ""),),
        cuda=answers(("cuInit", 100)),
        frameworks=(torch("2.9.1+cpu", gpu=False),),
    )
    assert set(roots(snapshot)) == {"visible-devices-hides-gpus", "framework-is-cpu-build"}


def test_an_unexplained_code_is_a_root_itself() -> None:
    assert roots(healthy(cuda=answers(("cuInit", 304)))) == ["gpu-unreached"]


def test_limits_make_the_verdict_conditional_and_fail_only_when_strict() -> None:
    report = judge(
        healthy(
            frameworks=(torch("2.7.1+cu128"),), cuda=answers(cuda="12.2", gpus=(gpu(),)), runtimes=(cudart("12.8.90"),)
        )
    )
    assert (report.verdict, report.exit_code(), report.exit_code(strict=True)) == (Verdict.CONDITIONAL, 0, 1)


def test_healthy_is_compatible() -> None:
    report = judge(healthy())
    assert (report.verdict, report.exit_code(), report.findings) == (Verdict.COMPATIBLE, 0, ())


def test_a_live_system_that_could_not_be_asked_is_unknown_not_compatible() -> None:
    report = judge(healthy(cuda=NOT_APPLICABLE, frameworks=(), runtimes=()))
    assert (report.verdict, report.exit_code()) == (Verdict.UNKNOWN, 3)


def test_hardware_that_cannot_be_seen_makes_no_image_worse() -> None:
    report = judge(image())
    assert (report.verdict, report.roots) == (Verdict.COMPATIBLE, ())
    assert {outcome.status for outcome in report.outcomes if outcome.rule in ("no-gpu", "gpu-unreached")} == {
        Status.UNKNOWN
    }


def test_cpu_builds_on_a_machine_without_gpu_are_fine() -> None:
    report = judge(bare(frameworks=(torch("2.9.1+cpu", gpu=False),), runtimes=(), libraries=()))
    assert (report.verdict, report.exit_code()) == (Verdict.COMPATIBLE, 0)
    assert [finding.rule for finding in report.findings] == ["no-gpu"]


def test_a_rule_that_fails_itself_is_said_and_never_a_pass() -> None:
    @rule(Layer.HARDWARE)
    def broken_rule(snapshot: Snapshot) -> Iterator[Complaint]:
        """Breaks."""
        raise ZeroDivisionError("by zero")
        yield

    @rule(Layer.HARDWARE)
    def blind_rule(snapshot: Snapshot) -> Iterator[Complaint]:
        """Sees nothing."""
        raise CannotTell("dark", ("here", "there"))
        yield

    report = judge(healthy(), (broken_rule, blind_rule))
    broken, blind = report.outcomes
    assert (broken.status, broken.error) == (Status.CRASH, "ZeroDivisionError: by zero")
    assert (blind.status, blind.error, blind.tried) == (Status.UNKNOWN, "dark", ("here", "there"))
    assert report.verdict is Verdict.UNKNOWN


def test_a_note_is_the_cause_of_no_error() -> None:
    # CPU builds make no-gpu a note; a GPU runtime that is refused for its own reason stays an error of its own.
    snapshot = bare(
        frameworks=(torch("2.9.1+cpu", gpu=False),), cuda=ABSENT, environment=(("NVIDIA_DISABLE_REQUIRES", "1"),)
    )
    assert "variable-misspelt" in [finding.rule for finding in judge(snapshot).findings]
