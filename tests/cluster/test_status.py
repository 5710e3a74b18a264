"""What is published of a node, without a cluster."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

import pytest

from gpucheck.cluster.status import (
    Condition,
    camel_case,
    change_labels,
    describe,
    label_value,
    one_line,
    renew_condition,
)
from gpucheck.facts import Unseen, Why
from gpucheck.finding import Severity
from gpucheck.record import replace
from gpucheck.versions import CudaVersion
from tests.cluster.reports import BARE, DARK, finding, report, with_answers, with_driver, with_pci

#: IsValidLabelValue in k8s.io/apimachinery/pkg/util/validation.
VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")

H100 = ("NVIDIA H100 80GB HBM3", "9.0")
A100 = ("NVIDIA A100-SXM4-40GB", "8.0")


def test_a_healthy_node() -> None:
    status = describe(report(with_answers(with_pci(with_driver(BARE, "580.95.05"), 2), H100, H100)))
    assert status.labels == {
        "gpu-capable/verdict": "compatible",
        "gpu-capable/driver.version": "580.95.05",
        "gpu-capable/driver.branch": "580",
        "gpu-capable/cuda.version": "13.0",
        "gpu-capable/cuda.code": "13000",
        "gpu-capable/gpu.count": "2",
        "gpu-capable/gpu.product": "NVIDIA-H100-80GB-HBM3",
        "gpu-capable/gpu.compute-capability": "9.0",
    }
    assert status.condition == Condition("False", "NoProblemFound", "nothing found that keeps code from the GPUs")


def test_a_problem_names_its_root_and_the_remedy() -> None:
    broken = report(
        with_pci(BARE, 1),
        finding(
            "driver-too-old", "the driver is too old for CUDA 13", "install driver 580 or newer:\n  apt-get install x"
        ),
        finding("no-device-nodes", "no device nodes", "nvidia-modprobe -u"),
    )
    status = describe(broken)
    assert status.labels["gpu-capable/verdict"] == "incompatible"
    assert status.labels["gpu-capable/root-cause"] == "driver-too-old"
    assert status.condition == Condition(
        "True",
        "DriverTooOld",
        "the driver is too old for CUDA 13; install driver 580 or newer: apt-get install x (also: no-device-nodes)",
    )


def test_limits_are_no_problem() -> None:
    limited = report(with_pci(BARE, 1), finding("no-ptx-jit", "PTX cannot be compiled", "build SASS", Severity.WARNING))
    status = describe(limited)
    assert status.labels["gpu-capable/verdict"] == "conditional"
    assert "gpu-capable/root-cause" not in status.labels
    assert status.condition == Condition("False", "WorksWithLimits", "PTX cannot be compiled; build SASS")


def test_a_node_without_a_gpu_has_no_problem_with_one() -> None:
    status = describe(report(with_pci(BARE, 0), finding("no-gpu", "there is no GPU", "use another machine")))
    assert status.condition == Condition("False", "NoGpu", "no NVIDIA GPU on the PCI bus")
    assert status.labels["gpu-capable/gpu.count"] == "0"
    assert status.labels["gpu-capable/verdict"] == "incompatible"


def test_what_could_not_be_looked_at_is_unknown() -> None:
    status = describe(report(DARK))
    assert status.labels == {"gpu-capable/verdict": "unknown"}
    assert status.condition == Condition(
        "Unknown",
        "CouldNotTell",
        "could not tell; PCI bus: not-applicable; kernel driver: not-applicable; device nodes: not-applicable",
    )


def test_one_thing_that_decides_and_was_not_seen_is_enough() -> None:
    snapshot = replace(with_pci(BARE, 1), nodes=Unseen(Why.UNREADABLE, ("/dev",), "/dev of the node is not mounted"))
    assert describe(report(snapshot)).condition == Condition(
        "Unknown", "CouldNotTell", "could not tell; device nodes: /dev of the node is not mounted"
    )


def test_what_is_known_to_be_wrong_is_wrong_whatever_else_is_unknown() -> None:
    assert describe(report(DARK, finding("gpu-lost", "gone", "reboot"))).condition.status == "True"


def test_a_rule_that_breaks_is_unknown() -> None:
    assert describe(report(with_pci(BARE, 1), crash="no-module")).condition == Condition(
        "Unknown", "CouldNotTell", "could not tell; no-module: ValueError: x"
    )


def test_the_cuda_version_is_the_librarys_own_before_the_tables() -> None:
    snapshot = with_driver(BARE, "535.261.03")
    assert describe(report(snapshot)).labels["gpu-capable/cuda.version"] == "12.2"
    assert describe(report(snapshot), CudaVersion(12, 9)).labels["gpu-capable/cuda.version"] == "12.9"


def test_gpus_of_several_kinds() -> None:
    labels = describe(report(with_answers(with_pci(BARE, 2), H100, A100))).labels
    assert labels["gpu-capable/gpu.product"] == "mixed"
    assert labels["gpu-capable/gpu.compute-capability"] == "8.0"


def test_a_capability_that_one_gpu_does_not_tell_is_not_known() -> None:
    labels = describe(report(with_answers(with_pci(BARE, 2), H100, ("NVIDIA T4", "")))).labels
    assert "gpu-capable/gpu.compute-capability" not in labels


def test_gpus_that_do_not_answer_are_counted_on_the_bus() -> None:
    assert describe(report(with_answers(with_pci(BARE, 8), H100))).labels["gpu-capable/gpu.count"] == "8"


@pytest.mark.parametrize(
    ("product", "value"),
    [
        ("NVIDIA H100 80GB HBM3", "NVIDIA-H100-80GB-HBM3"),
        ("NVIDIA RTX 6000 Ada Generation", "NVIDIA-RTX-6000-Ada-Generation"),
        ("Tesla V100-SXM2-16GB", "Tesla-V100-SXM2-16GB"),
        ("GeForce® RTX™ 4090", "GeForce-RTX-4090"),
        ("../../etc/passwd", "etc-passwd"),
        ("-_.x.-_", "x"),
        ("a" * 62 + "--b", "a" * 62),
        ("x" * 300, "x" * 63),
        ("line\nbreak\0null", "line-break-null"),
        ("日本", ""),
        ("", ""),
    ],
)
def test_a_labels_value_is_valid_whatever_the_product_is_called(product: str, value: str) -> None:
    assert label_value(product) == value
    assert VALUE.fullmatch(value)
    assert len(value) <= 63


def test_a_product_without_a_name_for_a_label_has_none() -> None:
    assert "gpu-capable/gpu.product" not in describe(report(with_answers(BARE, ("日本", "9.0")))).labels


@pytest.mark.parametrize(("rule", "reason"), [("no-module", "NoModule"), ("cuda-35", "Cuda35"), ("x", "X")])
def test_a_reason_is_the_rule_in_camel_case(rule: str, reason: str) -> None:
    assert camel_case(rule) == reason


def test_a_message_is_one_line_of_at_most_1024() -> None:
    hostile = report(
        with_pci(BARE, 1), finding("no-module", "a\tb\x1b[31mred\n" + "long " * 500, "do"), finding("other", "", "")
    )
    message = describe(hostile).condition.message
    assert message.startswith("a b [31mred long long")
    assert message.endswith("… (also: other)")
    assert len(message) == 1024


def test_a_line_that_fits_is_left_alone() -> None:
    assert one_line("12345", 5) == "12345"
    assert one_line("123456", 5) == "1234…"


# -- what changes ------------------------------------------------------------------------------------------------------

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=timezone.utc)
EARLIER = {
    "type": "GpuProblem",
    "status": "False",
    "reason": "NoProblemFound",
    "message": "fine",
    "lastHeartbeatTime": "2026-11-24T11:59:00Z",
    "lastTransitionTime": "2026-11-01T00:00:00Z",
}
FINE = Condition("False", "NoProblemFound", "fine")


def test_a_first_condition_begins_now() -> None:
    assert renew_condition(FINE, None, NOW) == {
        **EARLIER,
        "lastHeartbeatTime": "2026-11-24T12:00:00Z",
        "lastTransitionTime": "2026-11-24T12:00:00Z",
    }


def test_a_condition_that_is_there_is_not_written_again_before_its_heartbeat_is_due() -> None:
    assert renew_condition(FINE, EARLIER, NOW) is None
    assert renew_condition(FINE, EARLIER, NOW + timedelta(minutes=4)) == {
        **EARLIER,
        "lastHeartbeatTime": "2026-11-24T12:04:00Z",
    }


def test_another_reason_is_no_transition() -> None:
    assert renew_condition(Condition("False", "WorksWithLimits", "no PTX"), EARLIER, NOW) == {
        **EARLIER,
        "reason": "WorksWithLimits",
        "message": "no PTX",
        "lastHeartbeatTime": "2026-11-24T12:00:00Z",
    }


@pytest.mark.parametrize("status", ["True", "Unknown"])
def test_another_status_is_a_transition(status: str) -> None:
    changed = renew_condition(Condition(status, "NoModule", "x"), EARLIER, NOW)  # type: ignore[arg-type]
    assert changed is not None
    assert changed["lastTransitionTime"] == "2026-11-24T12:00:00Z"


@pytest.mark.parametrize("time", ["", "yesterday"])
def test_a_heartbeat_that_is_no_time_is_due(time: str) -> None:
    assert renew_condition(FINE, {**EARLIER, "lastHeartbeatTime": time}, NOW) is not None


def test_only_labels_of_ours_are_removed() -> None:
    present = {
        "gpu-capable/verdict": "unknown",
        "gpu-capable/driver.version": "535.1",
        "nvidia.com/gpu.count": "8",
        "x": "y",
    }
    wanted = {"gpu-capable/verdict": "compatible", "gpu-capable/gpu.count": "8"}
    assert change_labels(wanted, present) == {
        "gpu-capable/verdict": "compatible",
        "gpu-capable/gpu.count": "8",
        "gpu-capable/driver.version": None,
    }
    assert change_labels(wanted, wanted) == {}
