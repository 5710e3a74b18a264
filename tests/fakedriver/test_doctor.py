"""gpucheck doctor on the fake driver: what it sees of the libraries, on a machine that is healthy otherwise."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from gpucheck.codec import decode
from gpucheck.engine import judge
from gpucheck.facts import Snapshot
from gpucheck.record import replace
from tests.cache import runtime_environment
from tests.fakedriver.drivers import environment
from tests.machines import healthy, loaded, with_kernel

H100 = "gpu = H100\n"


@cache
def seen(script: str, variables: tuple[tuple[str, str], ...]) -> Snapshot:
    """What ``gpucheck snapshot`` says of the driver, put into a machine whose kernel and devices are healthy."""
    with TemporaryDirectory() as folder:
        ran = subprocess.run(
            [
                *(sys.executable, "-m", "gpucheck", "snapshot", "--timeout", "8"),
                *("--python", str(runtime_environment("12.9.79"))),
            ],
            env=environment(Path(folder), script, **dict(variables)),
            capture_output=True,
            text=True,
            check=True,
        )
    found = decode(Snapshot, json.loads(ran.stdout))
    version = next((line.split()[-1] for line in script.splitlines() if line.startswith("driver")), "580.95.05")
    return with_kernel(
        replace(
            healthy(),
            cuda=found.cuda,
            nvml=found.nvml,
            runtimes=found.runtimes,
            libcuda=found.libcuda,
            libcuda_copies=found.libcuda_copies,
            nvml_copies=found.nvml_copies,
            environment=tuple(pair for pair in found.environment if not pair[0].startswith("LD_")),
        ),
        driver=loaded(version),
    )


@pytest.mark.parametrize(
    ("script", "root"),
    [
        (H100, None),
        ("gpu = H100:8\n", None),
        ("gpu = B200\ndriver = 580.95.05\n", None),
        (H100 + "cuInit = slow 500\n", None),
        ("gpu = A100\ngpu0.mig = on\ngpu0.mig_instances = 3g.40gb\n", None),
        (H100 + "cuInit = 3\n", "hmm-breaks-cuda"),
        (H100 + "cuInit = 34\n", "libcuda-is-stub"),
        (H100 + "cuInit = 100\n", "gpu-unreached"),
        (H100 + "cuInit = 802\n", "fabric-not-ready"),
        (H100 + "gpu0.fabric = in-progress\n", "fabric-not-ready"),
        (H100 + "cuInit = 999\n", "uvm-not-working"),
        (H100 + "nvmlInit_v2 = 18\ncuInit = 803\n", "driver-version-mismatch"),
        (H100 + "cuInit = hang\n", "driver-does-not-answer"),
        (H100 + "cuInit = crash\n", "driver-does-not-answer"),
        (H100 + "cuInit = exit 1\n", "driver-does-not-answer"),
        (H100 + "cuDevicePrimaryCtxRetain = crash SIGBUS\n", "driver-does-not-answer"),
        (H100 + "nvmlDeviceGetName = hang\n", "driver-does-not-answer"),
        (H100 + "nvmlInit_v2 = crash SIGABRT\n", "driver-does-not-answer"),
        (H100 + "nvmlDeviceGetMemoryInfo = 15\ncuInit = 100\n", "gpu-lost"),
        (H100 + "gpu0.compute_mode = prohibited\n", "compute-mode-exclusive"),
        (H100 + "gpu0.compute_mode = exclusive-process\ngpu0.processes = 77:1GiB\n", "compute-mode-exclusive"),
        (H100 + "cuInit = 805\n", "mps-unreachable"),
        (H100 + "gpu0.mig = on\n", "mig-without-instances"),
        (H100 + "gpu0.ecc_uncorrected = 5\n", "gpu-needs-reset"),
        (H100 + "gpu0.remapped = 0, 1, 1, 0\n", "gpu-needs-reset"),
        (H100 + "gpu0.remapped = 0, 1, 0, 1\n", "gpu-needs-reset"),
        ("gpu = T4\ndriver = 470.256.02\n", "driver-too-old"),
        ("gpu = GTX-1080-Ti\n", "gpu-not-covered-by-build"),
        (H100 + "cuDevicePrimaryCtxRetain = 46\n", "gpu-gives-no-context"),
        ("gpu = H100:2\ncuDevicePrimaryCtxRetain@1 = 46\n", "gpu-gives-no-context"),
        (H100 + "cuDevicePrimaryCtxRetain = 214\n", "gpu-gives-no-context"),
        (H100 + "cuDeviceGetName = garbage\n", "driver-answers-nonsense"),
        (H100 + "cuDeviceGetCount = garbage\n", "driver-answers-nonsense"),
        (H100 + "cuDeviceTotalMem = garbage\n", "driver-answers-nonsense"),
        (H100 + "nvmlDeviceGetName = garbage\n", "driver-answers-nonsense"),
        (H100 + "nvmlDeviceGetUUID = garbage\n", "driver-answers-nonsense"),
        (H100 + "nvmlDeviceGetPciInfo = garbage\n", "driver-answers-nonsense"),
        (H100 + "nvmlDeviceGetCount = garbage\n", "driver-answers-nonsense"),
        (H100 + "nvmlDeviceGetHandleByIndex = 15\n", "gpu-lost"),
        (H100 + "nvmlInit_v2 = 9\ncuInit = 100\n", "gpu-unreached"),
        ("gpu = A100\ngpu0.mig = on\ngpu0.mig_instances = 1g.10gb, 1g.10gb\n", None),
        ("gpu = A100:2\ngpu0.mig = on\ngpu0.mig_instances = 3g.40gb\n", "mig-instances-uncounted"),
    ],
)
def test_the_root_cause(script: str, root: str | None) -> None:
    roots = [finding.rule for finding in judge(seen(script, ())).findings if finding.severity.value == "error"]
    assert roots == ([root] if root else [])


@pytest.mark.parametrize("value", ["", "-1", "7", "GPU-ffffffff", "NoDevFiles"])
def test_visible_devices_hide_the_gpu(value: str) -> None:
    report = judge(seen(H100, (("CUDA_VISIBLE_DEVICES", value),)))
    assert [finding.rule for finding in report.findings][:1] == ["visible-devices-hides-gpus"]


@pytest.mark.parametrize("code", [4, 9, 12, 999])
def test_nvml_that_fails_beside_cuda_that_works_is_a_limit(code: int) -> None:
    report = judge(seen(H100 + f"nvmlInit_v2 = {code}\n", ()))
    assert [(finding.rule, finding.severity.value) for finding in report.findings] == [("nvml-fails", "warning")]
    assert report.exit_code() == 0


def test_questions_that_take_seconds_are_told() -> None:
    report = judge(seen(H100 + "nvmlDeviceGetMemoryInfo = slow 5500\n", ()))
    assert [finding.rule for finding in report.findings] == ["gpu-answers-slowly"]


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("0,9,1", "visible-devices-ends-early"),
        ("1,GPU-aaaaaaaa", "visible-devices-ends-early"),
        ("0,1", None),
        ("1", None),
        ("0,", None),
    ],
)
def test_visible_devices_of_which_some_are_read(value: str, rule: str | None) -> None:
    report = judge(seen("gpu = H100:2\n", (("CUDA_VISIBLE_DEVICES", value),)))
    assert [finding.rule for finding in report.findings] == ([rule] if rule else [])
