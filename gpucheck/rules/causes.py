"""What follows from what: the rules that are the cause when a lower one fires, from the bottom of the stack up."""

from __future__ import annotations

#: There is no GPU that the nvidia driver could take.
ABSENT_GPU = ("no-gpu", "gpu-held-by-other-driver")

#: The kernel module is not there.
NOT_LOADED = (
    "kernel-module-not-built",
    "kernel-module-unsigned",
    "kernel-module-banned",
    "kernel-module-refused",
    "kernel-driver-not-loaded",
)

#: The kernel module is there and drives no GPU.
NOT_DRIVEN = (
    "gpu-lost",
    "kernel-module-flavour-wrong",
    "gpu-not-supported-by-driver",
    "gsp-firmware-missing",
    "gpu-not-initialised",
    "gpu-needs-reset",
    "gpu-reported-fault",
)

#: This container got no GPU.
NOT_GIVEN = ("sandbox-hides-gpu", "gpu-not-passed-to-container")

#: What makes device nodes and the driver's libraries be missing.
BELOW = (*ABSENT_GPU, *NOT_LOADED, *NOT_GIVEN)

#: What makes calls into the driver fail.
REFUSING = (
    *BELOW,
    *NOT_DRIVEN,
    "wsl-without-gpu",
    "driver-version-mismatch",
    "uvm-module-missing",
    "uvm-not-working",
    "hmm-breaks-cuda",
    "fabric-not-ready",
    "confidential-gpu-not-ready",
    "device-node-missing",
    "device-permission-denied",
    "device-refused-by-cgroup",
    "device-without-driver",
    "compute-capability-not-granted",
    "driver-needs-glibc",
    "libcuda-is-stub",
    "libcuda-for-other-processor",
    "libcuda-link-missing",
    "libcuda-off-loader-path",
    "wsl-libcuda-missing",
    "wsl-libcuda-shadowed",
    "cuda-compat-refused",
    "libcuda-unloadable",
    "libcuda-missing",
    "driver-answers-nonsense",
    "driver-does-not-answer",
    "visible-devices-hides-gpus",
    "compute-mode-exclusive",
    "address-space-limited",
    "gpu-memory-full",
    "mig-without-instances",
    "vgpu-unlicensed",
    "mps-unreachable",
    "gpu-gives-no-context",
)
