"""Cases of rules about the GPU itself: lost, faulty, in a mode that keeps processes off it."""

from __future__ import annotations

from gpucheck.facts import KernelMessage, Seen, Service, Snapshot
from gpucheck.finding import Status
from gpucheck.record import replace
from gpucheck.versions import ComputeCapability
from tests.machines import (
    ABSENT,
    UNREADABLE,
    answers,
    bare,
    gpu,
    healthy,
    image,
    messages,
    nvml_answers,
    pci,
    torch,
    with_kernel,
)

FAIL, PASS, UNKNOWN = Status.FAIL, Status.PASS, Status.UNKNOWN

OTHER = gpu(index=1, uuid="GPU-22222222-1111-2222-3333-444455556666")


def xid(number: int, text: str = "something") -> Seen[tuple[KernelMessage, ...]]:
    """One Xid in the kernel log."""
    return Seen((KernelMessage(f"NVRM: Xid (PCI:0000:01:00): {number}, {text}", number),), "/dev/kmsg")


def context(code: int, **changes: object) -> Snapshot:
    """A machine whose GPU gives this code when a context is made."""
    found = answers(("cuInit", 0), ("cuDevicePrimaryCtxRetain", code), gpus=(gpu(context=code),))
    return healthy(**{"cuda": found, **changes})


def nvml(**changes: object) -> Snapshot:
    """What NVML says beside its list of GPUs."""
    found = nvml_answers(gpus=(gpu(brand=2),))
    return healthy(nvml=Seen(replace(found.value, **changes), found.source))


VGPU = gpu(name="GRID A100-40C", virtualization=2, licensed=False)
RECOVERY = "NVRM: Xid (PCI:0000:01:00): 154, GPU recovery action changed from "

CASES: list[tuple[str, str, Snapshot, Status]] = [
    (
        "gpu-lost",
        "answers again",
        with_kernel(healthy(), messages=messages("NVRM: GPU 0000:44:00.0: GPU has fallen off the bus.")),
        FAIL,
    ),
    ("gpu-lost", "the handle cannot be had", healthy(nvml=nvml_answers(also=("nvmlDeviceGetHandleByIndex", 15))), FAIL),
    (
        "gpu-needs-reset",
        "the driver asks for it",
        with_kernel(healthy(), messages=messages(RECOVERY + "0x0 (None) to 0x1 (GPU Reset Required)")),
        FAIL,
    ),
    (
        "gpu-needs-reset",
        "it was reset",
        with_kernel(
            healthy(),
            messages=messages(
                RECOVERY + "0x0 (None) to 0x1 (GPU Reset Required)", RECOVERY + "0x1 (GPU Reset Required) to 0x0 (None)"
            ),
        ),
        PASS,
    ),
    ("gpu-reported-fault", "GSP timeout", with_kernel(healthy(), messages=xid(119)), FAIL),
    ("gpu-reported-fault", "double bit error", with_kernel(healthy(), messages=xid(48)), FAIL),
    ("gpu-reported-fault", "NVLink", with_kernel(healthy(), messages=xid(74)), FAIL),
    ("gpu-reported-fault", "a program's own page fault", with_kernel(healthy(), messages=xid(31)), PASS),
    ("gpu-reported-fault", "a program's own exception", with_kernel(healthy(), messages=xid(13)), PASS),
    ("gpu-reported-fault", "killed with its program", with_kernel(healthy(), messages=xid(45)), PASS),
    ("gpu-reported-fault", "a number that no catalogue has", with_kernel(healthy(), messages=xid(9999)), PASS),
    ("gpu-reported-fault", "the log is not readable", with_kernel(healthy(), messages=UNREADABLE), UNKNOWN),
    ("gpu-inforom-corrupted", "reported", healthy(nvml=nvml_answers(also=("nvmlDeviceGetHandleByIndex", 14))), FAIL),
    ("gpu-inforom-corrupted", "healthy", healthy(), PASS),
    ("gpu-inforom-corrupted", "no NVML", bare(), UNKNOWN),
    ("gpu-answers-slowly", "seconds", nvml(slow=("nvmlDeviceGetMemoryInfo",)), FAIL),
    ("gpu-answers-slowly", "at once", healthy(), PASS),
    ("gpu-answers-slowly", "no NVML", bare(), UNKNOWN),
    (
        "gpu-gives-no-context",
        "46 in the default mode",
        context(46, nvml=nvml_answers(gpus=(gpu(compute_mode=0),))),
        FAIL,
    ),
    ("gpu-gives-no-context", "uncorrectable errors", context(214), FAIL),
    (
        "gpu-gives-no-context",
        "exclusive: another rule's matter",
        context(46, nvml=nvml_answers(gpus=(gpu(compute_mode=3),))),
        PASS,
    ),
    ("gpu-gives-no-context", "memory: another rule's matter", context(2), PASS),
    ("gpu-gives-no-context", "given", context(0), PASS),
    ("gpu-gives-no-context", "no libcuda", bare(), UNKNOWN),
    ("vgpu-unlicensed", "no licence", healthy(nvml=nvml_answers(gpus=(VGPU,))), FAIL),
    (
        "vgpu-unlicensed",
        "the daemon does not run",
        healthy(
            nvml=nvml_answers(gpus=(VGPU,)),
            services=Seen((Service("nvidia-gridd", True, False),), "/run"),
            cuda=answers(("cuInit", 0), ("cuDevicePrimaryCtxRetain", 46), gpus=(replace(VGPU, context=46),)),
        ),
        FAIL,
    ),
    ("vgpu-unlicensed", "licensed", healthy(nvml=nvml_answers(gpus=(replace(VGPU, licensed=True),))), PASS),
    ("vgpu-unlicensed", "passed through whole", healthy(nvml=nvml_answers(gpus=(gpu(virtualization=1),))), PASS),
    ("vgpu-unlicensed", "no NVML", bare(), UNKNOWN),
    (
        "mig-without-instances",
        "none made, and an index is chosen",
        healthy(
            cuda=answers(("cuInit", 100)),
            nvml=nvml_answers(gpus=(gpu(mig=True, instances=0),)),
            environment=(("CUDA_VISIBLE_DEVICES", "0"),),
        ),
        FAIL,
    ),
    (
        "mig-without-instances",
        "instances are there, something else hides them",
        healthy(cuda=answers(("cuInit", 100)), nvml=nvml_answers(gpus=(gpu(mig=True, instances=2),))),
        PASS,
    ),
    (
        "mig-instances-uncounted",
        "two GPUs, one instance",
        healthy(nvml=nvml_answers(gpus=(gpu(mig=True), OTHER)), cuda=answers(gpus=(gpu(),))),
        FAIL,
    ),
    (
        "mig-instances-uncounted",
        "one is named",
        healthy(
            nvml=nvml_answers(gpus=(gpu(mig=True), OTHER)),
            cuda=answers(gpus=(gpu(),)),
            environment=(("CUDA_VISIBLE_DEVICES", "MIG-7f0e6f2c-1111-2222-3333-444455556666"),),
        ),
        PASS,
    ),
    ("mig-instances-uncounted", "one GPU", healthy(nvml=nvml_answers(gpus=(gpu(mig=True, instances=1),))), PASS),
    (
        "mig-instances-uncounted",
        "no torch to count",
        healthy(frameworks=(), nvml=nvml_answers(gpus=(gpu(mig=True), OTHER)), cuda=answers(gpus=(gpu(),))),
        PASS,
    ),
    ("mig-instances-uncounted", "no NVML", bare(), UNKNOWN),
    (
        "address-space-limited",
        "a batch job",
        healthy(cuda=answers(("cuInit", 2)), address_space=Seen(8 << 30, "/proc/self/limits")),
        FAIL,
    ),
    ("address-space-limited", "no limit", healthy(cuda=answers(("cuInit", 2)), address_space=ABSENT), PASS),
    ("address-space-limited", "enough", healthy(address_space=Seen(8 << 40, "/proc/self/limits")), PASS),
    ("address-space-limited", "not looked at", healthy(cuda=answers(("cuInit", 2))), UNKNOWN),
    ("mig-change-pending", "switched on", healthy(nvml=nvml_answers(gpus=(gpu(mig=False, mig_pending=True),))), FAIL),
    ("mig-change-pending", "as it is", healthy(nvml=nvml_answers(gpus=(gpu(mig=True, mig_pending=True),))), PASS),
    ("mig-change-pending", "no MIG", healthy(), PASS),
    ("mig-change-pending", "no NVML", bare(), UNKNOWN),
    (
        "gpu-held-by-other-driver",
        "kept for a virtual machine",
        healthy(pci=Seen((pci("vfio-pci"),), "/sys/bus/pci/devices")),
        FAIL,
    ),
    (
        "compute-mode-exclusive",
        "one of two",
        healthy(
            cuda=answers(gpus=(gpu(context=46), replace(OTHER, context=0))),
            nvml=nvml_answers(gpus=(gpu(compute_mode=2), replace(OTHER, compute_mode=0))),
        ),
        FAIL,
    ),
    ("driver-answers-nonsense", "count", nvml(count=2743796997), FAIL),
    ("driver-answers-nonsense", "name", healthy(cuda=answers(gpus=(gpu(name="\ufffd\ufffd"),))), FAIL),
    ("driver-answers-nonsense", "memory", healthy(cuda=answers(gpus=(gpu(memory=1 << 62),))), FAIL),
    (
        "driver-answers-nonsense",
        "capability",
        healthy(cuda=answers(gpus=(gpu(capability=ComputeCapability(77, 0)),))),
        FAIL,
    ),
    ("driver-answers-nonsense", "sense", healthy(), PASS),
    ("driver-answers-nonsense", "nobody was asked", image(), UNKNOWN),
    ("nvml-fails", "unknown error", healthy(nvml=nvml_answers(999)), FAIL),
    ("nvml-fails", "no permission", healthy(nvml=nvml_answers(4)), FAIL),
    (
        "nvml-fails",
        "compute without utility",
        healthy(nvml=replace(bare().nvml, detail="libnvidia-ml.so.1: cannot open shared object file"), nvml_copies=()),
        FAIL,
    ),
    ("nvml-fails", "both work", healthy(), PASS),
    ("nvml-fails", "neither works", healthy(nvml=nvml_answers(9), cuda=answers(("cuInit", 100))), PASS),
    ("nvml-fails", "nobody could ask", healthy(nvml=UNREADABLE), UNKNOWN),
    (
        "gpu-not-covered-by-build",
        "known before the driver is asked",
        healthy(frameworks=(torch(architectures=("sm_90",)),)),
        PASS,
    ),
]
