"""From the files of a node to the finding: what the probes see is what the rules need."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpucheck.engine import judge
from gpucheck.finding import Severity
from gpucheck.probes import observe
from gpucheck.system import Rootfs
from tests.roots import NODE as FILES
from tests.roots import Link, loadable, make_root

LIB = "/usr/lib/x86_64-linux-gnu"
PCI = "/sys/bus/pci/devices/0000:3b:00.0"
KERNEL = "6.8.0-40-generic"
OLD = "6.8.0-31-generic"
HEADERS = {
    f"/lib/modules/{KERNEL}/build": Link("/usr/src/linux-headers"),
    "/usr/src/linux-headers/Makefile": "",
}
LEGACY = (
    "[    6.215019] NVRM: The NVIDIA NVIDIA GeForce GTX 1050 GPU installed in this system is\n"
    "[    6.215019] NVRM:  supported through the NVIDIA 580.xx Legacy drivers. Please\n"
    "[    6.215019] NVRM:  visit http://www.nvidia.com/object/unix.html for more\n"
    "[    6.215019] NVRM:  information.  The 595.58.03 NVIDIA driver will ignore\n"
)
OPEN = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {}  Release Build  (dvs-builder@U22)  Tue Sep 23 2025\n"
)
PROPRIETARY = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {}  Tue Sep 23 2025\n"
#: The dynamic linker is there, and takes the libraries.
LIBRARY = loadable(2_000_000)
NODE: dict[str, str | bytes] = {
    **{path: LIBRARY if path.endswith(".580.95.05") else content for path, content in FILES.items()},
    "/lib64/ld-linux-x86-64.so.2": loadable(),
}
CDI = "kind: nvidia.com/gpu\nhostPath: /usr/lib/x86_64-linux-gnu/libcuda.so.570.133.20\n"
TOOLKIT = {"/usr/bin/nvidia-ctk": "", "/usr/bin/nvidia-container-runtime-hook": "", "/usr/bin/dockerd": ""}
MEMBER = {
    "/usr/bin/containerd": "",
    "/usr/bin/nvidia-ctk": "",
    "/etc/containerd/config.toml": '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]\n',
    "/var/lib/kubelet/device-plugins/nvidia-gpu.sock": "",
}


def without(*beginnings: str) -> dict[str, str | bytes]:
    """A node's files but those whose path begins so."""
    return {path: content for path, content in NODE.items() if not path.startswith(beginnings)}


#: No module is loaded: no /proc/driver/nvidia, no driver behind the GPU.
UNLOADED: dict[str, str | bytes] = {
    **without("/proc/driver", "/sys/module", f"{PCI}/driver"),
    "/proc/modules": "ext4 1 1 - Live 0x0\n",
    "/proc/devices": "Character devices:\n  1 mem\n",
}
#: The module is loaded and has taken no GPU.
UNDRIVEN: dict[str, str | bytes] = without("/proc/driver/nvidia/gpus", f"{PCI}/driver")


@pytest.mark.parametrize(
    ("files", "root", "words"),
    [
        (
            {**UNLOADED, f"/lib/modules/{OLD}/updates/dkms/nvidia.ko": b"x", f"/lib/modules/{KERNEL}/kernel/x": ""},
            "kernel-module-not-built",
            f"linux-headers-{KERNEL}",
        ),
        (
            {
                **UNLOADED,
                **HEADERS,
                "/var/lib/dkms/nvidia/470.256.02/build/make.log": "nv-mmap.c:3:5: error: implicit declaration\n",
            },
            "kernel-module-not-built",
            "newer than branch 470",
        ),
        (
            {
                **UNLOADED,
                f"/lib/modules/{KERNEL}/updates/dkms/nvidia.ko": b"x",
                "/etc/modprobe.d/gpu.conf": "install nvidia /bin/false\n",
            },
            "kernel-module-banned",
            "/etc/modprobe.d/gpu.conf",
        ),
        (
            {
                **UNLOADED,
                f"/lib/modules/{KERNEL}/updates/dkms/nvidia.ko.zst": b"x",
                "/var/log/dmesg": "[    9.1] Loading of module with unavailable key is rejected\n",
                "/sys/firmware/efi/efivars/SecureBoot-8be4df61": b"\x06\0\0\0\x01",
            },
            "kernel-module-unsigned",
            "mokutil --import",
        ),
        (
            {**UNLOADED, f"{PCI}/driver": Link("../../../bus/pci/drivers/nouveau")},
            "gpu-held-by-other-driver",
            "nouveau",
        ),
        (
            {**NODE, f"{PCI}/config": b"\xff\xff\xff\xff"},
            "gpu-lost",
            "power it off and on",
        ),
        (
            {**UNDRIVEN, f"{PCI}/device": "0x15f8\n"},
            "kernel-module-flavour-wrong",
            "proprietary flavour",
        ),
        (
            {
                **UNDRIVEN,
                f"{PCI}/device": "0x2bb1\n",
                "/proc/driver/nvidia/version": PROPRIETARY.format("580.95.05"),
            },
            "kernel-module-flavour-wrong",
            "nvidia-driver-580-open",
        ),
        (
            {
                **UNDRIVEN,
                f"{PCI}/device": "0x1c8d\n",
                "/proc/driver/nvidia/version": PROPRIETARY.format("595.58.03"),
                "/var/log/dmesg": LEGACY,
                f"{LIB}/libcuda.so.1": Link("libcuda.so.595.58.03"),
                f"{LIB}/libcuda.so.595.58.03": LIBRARY,
            },
            "gpu-not-supported-by-driver",
            "branch 580",
        ),
        (
            {**UNDRIVEN, "/lib/firmware/nvidia/575.57.08/gsp_ga10x.bin": b"x"},
            "gsp-firmware-missing",
            "nvidia-firmware-580-580.95.05",
        ),
        (
            {**UNDRIVEN, "/var/log/dmesg": "[ 1.0] NVRM: GPU 0000:3b:00.0: RmInitAdapter failed! (0x24:0x1c:1603)\n"},
            "gpu-not-initialised",
            "newer driver",
        ),
        (
            {**NODE, "/proc/driver/nvidia/version": OPEN.format("580.65.06")},
            "driver-version-mismatch",
            "Reboot",
        ),
        (
            {
                **NODE,
                "/proc/driver/nvidia/version": OPEN.format("580.65.06"),
                "/var/lib/dpkg/status": "Package: nvidia-dkms-580\nStatus: install ok half-configured\nVersion: 580.95.05-1\n",
            },
            "driver-version-mismatch",
            "dpkg --configure -a",
        ),
        (
            {
                **without(f"{LIB}/libcuda.so.1"),
                f"{LIB}/libcuda.so.1": Link("libcuda.so.535.54.03"),
            },
            "libcuda-link-missing",
            "ldconfig",
        ),
        (
            {
                **without(f"{LIB}/libcuda"),
                "/usr/lib/i386-linux-gnu/libcuda.so.1": b"\x7fELF\x01\x01\x01"
                + bytes(9)
                + b"\x03\0\x03\0"
                + bytes(2_000_000),
            },
            "libcuda-for-other-processor",
            "libcuda1",
        ),
    ],
)
def test_a_node_whose_files_tell_the_root_cause(
    tmp_path: Path, files: dict[str, str | bytes], root: str, words: str
) -> None:
    report = judge(observe(Rootfs(make_root(tmp_path, files), {})))
    assert [finding.rule for finding in report.roots] == [root]
    assert words in report.roots[0].remedy


@pytest.mark.parametrize(
    ("files", "rule"),
    [
        ({**NODE, "/usr/bin/dockerd": ""}, "container-toolkit-missing"),
        ({**NODE, **TOOLKIT, "/etc/cdi/nvidia.yaml": CDI}, "cdi-specification-stale"),
        ({**NODE, "/usr/bin/nvidia-ctk": "", "/usr/bin/podman": ""}, "cdi-specification-missing"),
        (
            {**NODE, **TOOLKIT, f"{LIB}/libnvidia-container.so.1.7.0": "", "/sys/fs/cgroup/cgroup.controllers": ""},
            "toolkit-older-than-cgroups",
        ),
        (
            {
                **NODE,
                **TOOLKIT,
                "/var/lib/dpkg/status": "Package: cuda-compat-11-3\nStatus: install ok installed\nVersion: 465.19.01-1\n",
            },
            "cuda-compat-on-host",
        ),
        (
            {
                **NODE,
                **TOOLKIT,
                "/etc/nvidia-container-runtime/config.toml": "[nvidia-container-cli]\nno-cgroups = true\n",
            },
            "cgroup-rules-not-added",
        ),
        ({**NODE, **MEMBER}, "runtime-handler-missing"),
        (
            {
                **{path: text for path, text in {**NODE, **MEMBER}.items() if "nvidia-gpu.sock" not in path},
                "/var/lib/kubelet/device-plugins/kubelet.sock": "",
                "/etc/cdi/nvidia.yaml": CDI.replace("570.133.20", "580.95.05"),
            },
            "device-plugin-missing",
        ),
    ],
)
def test_a_node_whose_containers_get_no_gpu(tmp_path: Path, files: dict[str, str | bytes], rule: str) -> None:
    report = judge(observe(Rootfs(make_root(tmp_path, files), {})))
    assert [(finding.rule, finding.severity) for finding in report.everything()] == [(rule, Severity.WARNING)]


def test_a_node_that_is_well_has_no_finding(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        **NODE,
        **TOOLKIT,
        **HEADERS,
        "/etc/cdi/nvidia.yaml": CDI.replace("570.133.20", "580.95.05"),
        "/etc/modprobe.d/nouveau.conf": "blacklist nouveau\n",
        "/lib/firmware/nvidia/580.95.05/gsp_ga10x.bin": b"x",
        f"/lib/modules/{KERNEL}/updates/dkms/nvidia.ko.zst": b"x",
        f"/var/lib/dkms/nvidia/580.95.05/{KERNEL}/x86_64/module/nvidia.ko.zst": b"x",
        "/sys/power/suspend_stats/success": "3\n",
    }
    report = judge(observe(Rootfs(make_root(tmp_path, files), {})))
    assert list(report.everything()) == []
