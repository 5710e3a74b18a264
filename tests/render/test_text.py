"""What people read, whole."""

from __future__ import annotations

import re

from gpucheck.engine import judge
from gpucheck.facts import Seen
from gpucheck.render import render
from tests.machines import DOCKER, answers, bare, cudart, driver_library, gpu, healthy, loaded, pci, torch, with_kernel


def test_a_healthy_machine() -> None:
    assert (
        render(judge(healthy()), "doctor", "text", False)
        == """\
gpucheck doctor: Ubuntu 24.04.3 LTS, x86_64, kernel 6.8.0-40-generic

  ✓ ML libraries    torch 2.9.1+cu130 (CUDA 13.0)
  - CUDA libraries  none (wheels and toolkits bring them)
  ✓ CUDA runtime    libcudart.so.13 13.0, cudaGetDeviceCount = 0
  ✓ environment     nothing set that hides or moves a GPU
  - Kubernetes      not in a pod
  - container       not in one
  ✓ libcuda         580.95.05 at /usr/lib/x86_64-linux-gnu/libcuda.so.1 (by ld.so.cache), CUDA 13.0, cuInit = 0
  ✓ NVML            driver 580.95.05, 1 GPU
  ✓ device nodes    nvidia-uvm, nvidia0, nvidiactl
  ✓ kernel driver   nvidia 580.95.05 (open), nvidia_uvm loaded
  ✓ GPU             1 x NVIDIA H100 80GB HBM3 (compute capability 9.0)

Verdict: compatible
"""
    )


def test_a_driver_that_is_too_old() -> None:
    old = driver_library(version="535.161.08")
    snapshot = with_kernel(
        healthy(
            cuda=answers(("cuInit", 0), cuda="12.2", gpus=(gpu(),)),
            runtimes=(cudart(code=35, driver="12.2"),),
            libcuda_copies=(old,),
            nvml_copies=(),
        ),
        driver=loaded("535.161.08"),
    )
    text = render(judge(snapshot), "doctor", "text", False)
    found = re.sub(r"checked \d{4}-\d\d-\d\d", "checked DATE", text[text.index("\n✗ The driver") + 1 :])
    assert (
        found
        == """\
✗ The driver is too old for torch 2.9.1+cu130: it supports CUDA 12.2, the library needs CUDA 13.0 (error 35)  [driver-too-old]
    because  CUDA 13 needs driver 580.65.06 or newer; this is 535.161.08.
    seen     CUDA 12.2 is the newest that the driver supports  (cuDriverGetVersion of
             /usr/lib/x86_64-linux-gnu/libcuda.so.1)
             torch 2.9.1+cu130 is built with CUDA 13.0
             (/opt/venv/lib/python3.12/site-packages/torch/version.py)
             cudaGetDeviceCount = 35 (cudaErrorInsufficientDriver)  (a call in a child process)
             CUDA 13 needs 580.65.06
             (https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
             (checked DATE))
    do       Update the host's driver to 580.65.06 or newer, or install a build for CUDA 12: pip
             install torch --index-url https://download.pytorch.org/whl/cu126
    so       libcudart.so.13 finds no usable GPU: cudaGetDeviceCount = 35
             (cudaErrorInsufficientDriver)  [runtime-refused]

Verdict: incompatible, 1 root cause
More on a rule: gpucheck explain driver-too-old
"""
    )


def test_a_container_without_its_gpu() -> None:
    snapshot = with_kernel(bare(container=DOCKER, pci=Seen((pci(),), "/sys/bus/pci/devices")), driver=loaded())
    assert (
        render(judge(snapshot), "doctor", "text", False)
        == """\
gpucheck doctor: Ubuntu 24.04.3 LTS, x86_64, kernel 6.8.0-40-generic, in a container (docker)

  ✓ ML libraries    torch 2.9.1+cu130 (CUDA 13.0)
  - CUDA libraries  none (wheels and toolkits bring them)
  ✗ CUDA runtime    libcudart.so.13 13.0, cudaGetDeviceCount = 35 (cudaErrorInsufficientDriver)
  ✓ environment     nothing set that hides or moves a GPU
  - Kubernetes      not in a pod
  ✗ container       docker (/.dockerenv exists)
  ✗ libcuda         libcuda.so.1 is not found
  - NVML            libnvidia-ml.so.1 is not found
  ✗ device nodes    none (/dev/nvidiactl: ENOENT)
  ✓ kernel driver   nvidia 580.95.05 (open), nvidia_uvm not loaded
  ✓ GPU             0000:01:00.0 (10de:2330, driver nvidia)

✗ The host has an NVIDIA driver, but this container was given no GPU  [gpu-not-passed-to-container]
    because  It was started without asking for one, or the engine is not configured for the NVIDIA
             container toolkit.
    seen     driver 580.95.05 on the host  (/proc/driver/nvidia/version)
             no /dev/nvidia0, 1, ...  (/dev)
             /.dockerenv exists  (container)
    do       docker run --gpus all ...
    so       The device nodes of the driver are missing: /dev/nvidiactl  [device-node-missing]
             libcuda.so.1 is nowhere on this system  [libcuda-missing]
             No program here reaches a GPU: libcuda.so.1 cannot be loaded  [gpu-unreached]
             libcudart.so.13 finds no usable GPU: cudaGetDeviceCount = 35
             (cudaErrorInsufficientDriver)  [runtime-refused]

? 21 other checks cannot be judged as long as this is so (--format json names them)

Verdict: incompatible, 1 root cause
More on a rule: gpucheck explain gpu-not-passed-to-container
"""
    )


def test_colour_adds_only_colour() -> None:
    for snapshot in (healthy(), bare(), healthy(frameworks=(torch("2.9.1+cpu", gpu=False),))):
        plain = render(judge(snapshot), "doctor", "text", False)
        coloured = render(judge(snapshot), "doctor", "text", True)
        assert coloured != plain
        assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == plain
