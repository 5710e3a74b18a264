"""The pure parsers, each on text as the real thing writes it."""

from __future__ import annotations

import pytest

from gpucheck.facts import Distribution, KernelDriver
from gpucheck.probes.host import parse_os_release
from gpucheck.probes.kernel import parse_driver, parse_messages
from gpucheck.probes.python import canonical, parse_architectures, parse_assignments, parse_torch_version
from gpucheck.versions import DriverVersion


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.161.08  Sat Feb 24 22:51:41 UTC 2024\nGCC version: gcc version 12.3.0",
            KernelDriver(DriverVersion("535.161.08"), "proprietary"),
        ),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.133.20  Release Build  (dvs-builder@U22-I3-B17)  Sun Mar 30 04:25:35 UTC 2025\n",
            KernelDriver(DriverVersion("570.133.20"), "open"),
        ),
        (
            "NVRM version: NVIDIA UNIX aarch64 Kernel Module  470.86  Tue Oct 26 21:58:54 UTC 2021\n",
            KernelDriver(DriverVersion("470.86"), "proprietary"),
        ),
        ("NVRM version: something else\n", None),
        ("", None),
    ],
)
def test_the_kernel_drivers_version_file(text: str, expected: KernelDriver | None) -> None:
    assert parse_driver(text) == expected


def test_kernel_messages_are_those_of_the_driver_without_their_prefixes() -> None:
    log = (
        "6,339,5140900,-;NET: Registered PF_INET protocol\n"
        "[   12.345678] NVRM: loading NVIDIA UNIX x86_64 Kernel Module  535.161.08\n"
        "4,1201,99,-;NVRM: Xid (PCI:0000:44:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.\n"
        "<4>[ 3.1] Loading of unsigned module is rejected\n"
    )
    assert [(message.text.split(":")[0], message.xid) for message in parse_messages(log)] == [
        ("NVRM", None),
        ("NVRM", 79),
        ("Loading of unsigned module is rejected", None),
    ]


def test_os_release_with_and_without_quotes() -> None:
    assert parse_os_release('PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\nVERSION_ID="13"\n') == Distribution(
        "debian", "13", "Debian GNU/Linux 13 (trixie)"
    )
    assert parse_os_release("# empty\n") == Distribution("", "", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "from typing import Optional\n__version__ = '2.15.0+cu132'\ndebug = False\ncuda: Optional[str] = '13.2'\nhip: Optional[str] = None\n",
            ("2.15.0+cu132", "13.2"),
        ),
        ("__version__ = '2.1.0+cpu'\ndebug = False\ncuda: Optional[str] = None\n", ("2.1.0+cpu", None)),
        ("__version__ = '1.8.0'\ncuda = '10.2'\n", ("1.8.0", "10.2")),
        ("", ("", None)),
    ],
)
def test_torch_version_file(text: str, expected: tuple[str, str | None]) -> None:
    assert parse_torch_version(text) == expected


def test_build_information_of_tensorflow_and_onnxruntime() -> None:
    cpu = "build_info = collections.OrderedDict([('is_cuda_build', False), ('is_rocm_build', False), ('is_tensorrt_build', False)])\n"
    gpu = "build_info = collections.OrderedDict([('cuda_compute_capabilities', ['sm_60', 'sm_89', 'compute_90']), ('cuda_version', '12.5.1'), ('is_cuda_build', True)])\n"
    assert parse_assignments(cpu)["is_cuda_build"] == "False"
    assert (parse_assignments(gpu)["cuda_version"], parse_assignments(gpu)["is_cuda_build"]) == ("12.5.1", "True")
    assert parse_architectures(gpu) == ("sm_60", "sm_89", "compute_90")
    assert (
        parse_assignments("package_name = 'onnxruntime-gpu'\n__version__ = '1.20.0'\ncuda_version = '12.2'\n")[
            "cuda_version"
        ]
        == "12.2"
    )


def test_names_of_distributions_have_one_spelling() -> None:
    assert canonical("nvidia_cuda.runtime-CU12") == "nvidia-cuda-runtime-cu12"
