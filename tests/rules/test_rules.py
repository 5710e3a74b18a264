"""Every rule: where it fires, where it passes, where it cannot tell."""

from __future__ import annotations

import pytest

from gpucheck.engine import apply
from gpucheck.facts import Choice, Compat, ContainerRuntime, Difference, Distributed, Imported, Seen, Snapshot
from gpucheck.finding import Severity, Status
from gpucheck.record import replace
from gpucheck.rules import RULES, Layer
from gpucheck.versions import ComputeCapability, CudaVersion
from tests.machines import (
    ABSENT,
    DOCKER,
    LIBCUDA,
    NOT_APPLICABLE,
    PACKAGES,
    UNREADABLE,
    answers,
    bare,
    cudart,
    driver_library,
    gpu,
    healthy,
    image,
    loaded,
    messages,
    module_file,
    node,
    nvml_answers,
    pci,
    torch,
    with_host,
    with_kernel,
)
from tests.rules import images, libraries, requirements, surroundings

FAIL, PASS, UNKNOWN = Status.FAIL, Status.PASS, Status.UNKNOWN


def no_module(**changes: object) -> Snapshot:
    """A GPU on the bus, no module loaded."""
    base = bare(pci=Seen((pci(None),), "/sys/bus/pci/devices"))
    return with_kernel(base, **changes)


def nodes(*found: object) -> Seen[object]:
    return Seen(tuple(found), "/dev")


def variables(**found: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(found.items()))


def chosen(path: str, how: str = "LD_LIBRARY_PATH") -> Choice:
    return Choice("libcuda.so.1", path, how, ())


def engines(name: str, toolkit: str = "", no_cgroups: bool = False) -> Seen[ContainerRuntime]:
    return Seen(ContainerRuntime(toolkit, "", (name,), (), (), no_cgroups), "/usr/bin")


def two_gpus(**changes: object) -> Snapshot:
    return healthy(cuda=answers(gpus=(gpu(), gpu(index=1))), **changes)


MISSING_CONTROL = node("/dev/nvidiactl", "ENOENT", present=False)
MISSING_UVM = node("/dev/nvidia-uvm", "ENOENT", present=False)
STUB = driver_library(version="", kind="stub", path="/usr/local/cuda/lib64/stubs/libcuda.so.1")
COMPAT = driver_library(version="575.57.08", kind="compat", path="/usr/local/cuda-12.9/compat/libcuda.so.1")
NOTE = Compat(COMPAT.path, CudaVersion(12, 9), (535, 550, 560, 565, 570, 575), (1, 2, 7))
JAX = tuple(
    Distributed(name, version, PACKAGES)
    for name, version in (("jaxlib", "0.9.0.1"), ("jax-cuda12-plugin", "0.9.2"), ("jax-cuda12-pjrt", "0.9.2"))
)
HELD = healthy(pci=Seen((pci("nouveau"),), "/sys/bus/pci/devices"))
GEFORCE = gpu(name="NVIDIA GeForce RTX 4090", capability=ComputeCapability(8, 9), brand=5)

#: (rule, what, snapshot, status)
CASES: list[tuple[str, str, Snapshot, Status]] = [
    ("no-gpu", "bare machine", bare(), FAIL),
    ("no-gpu", "GPU", healthy(), PASS),
    ("no-gpu", "no PCI bus and no GPU", bare(pci=ABSENT), FAIL),
    ("no-gpu", "WSL2 has none on the bus", with_host(bare(nodes=nodes(node("/dev/dxg"))), wsl=True), PASS),
    ("no-gpu", "Jetson has none on the bus", with_host(bare(), tegra=Seen("R36", "/etc/nv_tegra_release")), PASS),
    ("no-gpu", "an image", image(), UNKNOWN),
    ("gpu-lost", "all ones", healthy(pci=Seen((pci(lost=True),), "/sys")), FAIL),
    (
        "gpu-lost",
        "Xid 79",
        with_kernel(healthy(), messages=messages("NVRM: Xid (PCI:0000:44:00): 79, pid=1, GPU has fallen off the bus.")),
        FAIL,
    ),
    ("gpu-lost", "healthy", healthy(), PASS),
    ("gpu-lost", "an image", image(), UNKNOWN),
    ("gpu-needs-reset", "pending", healthy(nvml=nvml_answers(gpus=(gpu(remap_pending=True),))), FAIL),
    (
        "gpu-needs-reset",
        "the driver says so",
        with_kernel(healthy(), messages=messages("NVRM: Reset required [NV_ERR_RESET_REQUIRED]")),
        FAIL,
    ),
    ("gpu-needs-reset", "healthy", healthy(), PASS),
    ("gpu-needs-reset", "no NVML", bare(), UNKNOWN),
    ("gpu-held-by-other-driver", "nouveau", HELD, FAIL),
    ("gpu-held-by-other-driver", "nvidia", healthy(), PASS),
    (
        "gpu-held-by-other-driver",
        "one of two is for a virtual machine",
        healthy(pci=Seen((pci(), pci("vfio-pci")), "/sys")),
        PASS,
    ),
    ("gpu-held-by-other-driver", "an image", image(), UNKNOWN),
    (
        "kernel-module-not-built",
        "built for another kernel",
        no_module(files=Seen((module_file("6.8.0-31-generic"),), "/lib/modules")),
        FAIL,
    ),
    ("kernel-module-not-built", "built for this kernel", no_module(files=Seen((module_file(),), "/lib/modules")), PASS),
    ("kernel-module-not-built", "loaded", healthy(), PASS),
    ("kernel-module-not-built", "modules not readable", no_module(modules=UNREADABLE), UNKNOWN),
    ("kernel-module-not-built", "in a container", replace(no_module(), container=DOCKER), UNKNOWN),
    (
        "kernel-module-unsigned",
        "rejected",
        no_module(
            messages=messages("Loading of unsigned module is rejected"), files=Seen((module_file(signer=""),), "/lib")
        ),
        FAIL,
    ),
    (
        "kernel-module-unsigned",
        "Secure Boot and no signature",
        with_host(
            no_module(files=Seen((module_file(signer=""),), "/lib")), secure_boot=Seen(True, "/sys/firmware/efi")
        ),
        FAIL,
    ),
    (
        "kernel-module-unsigned",
        "Secure Boot is off",
        with_host(no_module(files=Seen((module_file(signer=""),), "/lib")), secure_boot=Seen(False, "/sys")),
        PASS,
    ),
    ("kernel-module-unsigned", "modules not readable", no_module(modules=UNREADABLE), UNKNOWN),
    ("kernel-driver-not-loaded", "no driver", no_module(), FAIL),
    ("kernel-driver-not-loaded", "loaded", healthy(), PASS),
    ("kernel-driver-not-loaded", "modules not readable", no_module(modules=UNREADABLE), UNKNOWN),
    (
        "driver-version-mismatch",
        "upgraded without reboot",
        with_kernel(healthy(nvml=nvml_answers(18), cuda=answers(("cuInit", 803))), driver=loaded("580.82.07")),
        FAIL,
    ),
    ("driver-version-mismatch", "equal", healthy(), PASS),
    ("driver-version-mismatch", "leading zeros", with_kernel(healthy(), driver=loaded("580.95.5")), PASS),
    (
        "driver-version-mismatch",
        "cuda-compat is another matter",
        with_kernel(
            healthy(
                libcuda=chosen(COMPAT.path),
                libcuda_copies=(COMPAT,),
                nvml_copies=(driver_library("libnvidia-ml.so.1", "550.54.15"),),
            ),
            driver=loaded("550.54.15"),
        ),
        PASS,
    ),
    ("driver-version-mismatch", "no module seen", with_kernel(healthy(), driver=UNREADABLE), UNKNOWN),
    ("hmm-breaks-cuda", "EL9", healthy(cuda=answers(("cuInit", 3))), FAIL),
    (
        "hmm-breaks-cuda",
        "HMM is off",
        with_kernel(healthy(cuda=answers(("cuInit", 3))), parameters=Seen((("uvm_disable_hmm", "Y"),), "/sys")),
        PASS,
    ),
    ("hmm-breaks-cuda", "healthy", healthy(), PASS),
    ("hmm-breaks-cuda", "no libcuda", bare(), UNKNOWN),
    (
        "uvm-not-working",
        "node missing",
        healthy(nodes=nodes(MISSING_UVM, node("/dev/nvidia0"), node("/dev/nvidiactl")), cuda=answers(("cuInit", 999))),
        FAIL,
    ),
    ("uvm-not-working", "after suspend", healthy(cuda=answers(("cuInit", 999))), FAIL),
    ("uvm-not-working", "healthy", healthy(), PASS),
    ("uvm-not-working", "nodes not seen", image(), UNKNOWN),
    ("fabric-not-ready", "802", healthy(cuda=answers(("cuInit", 802))), FAIL),
    ("fabric-not-ready", "healthy", healthy(), PASS),
    ("fabric-not-ready", "no libcuda", bare(), UNKNOWN),
    (
        "gpu-not-passed-to-container",
        "plain docker run",
        with_kernel(bare(container=DOCKER, pci=Seen((pci(),), "/sys")), driver=loaded()),
        FAIL,
    ),
    (
        "gpu-not-passed-to-container",
        "a lone control node",
        with_kernel(bare(container=DOCKER, nodes=nodes(node("/dev/nvidiactl", "EPERM"))), driver=loaded()),
        FAIL,
    ),
    ("gpu-not-passed-to-container", "given", healthy(container=DOCKER), PASS),
    ("gpu-not-passed-to-container", "not in a container", bare(), PASS),
    ("gpu-not-passed-to-container", "an image", image(), UNKNOWN),
    (
        "compute-capability-not-granted",
        "utility only",
        healthy(
            container=DOCKER,
            libcuda=chosen(""),
            libcuda_copies=(),
            cuda=ABSENT,
            environment=variables(NVIDIA_DRIVER_CAPABILITIES="utility"),
        ),
        FAIL,
    ),
    ("compute-capability-not-granted", "both", healthy(container=DOCKER), PASS),
    (
        "device-node-missing",
        "control",
        healthy(nodes=nodes(MISSING_CONTROL, MISSING_UVM), cuda=answers(("cuInit", 999))),
        FAIL,
    ),
    ("device-node-missing", "made on demand, after the look", healthy(nodes=nodes(MISSING_CONTROL, MISSING_UVM)), PASS),
    (
        "device-node-missing",
        "only the GPU's",
        healthy(nodes=nodes(node("/dev/nvidiactl"), node("/dev/nvidia-uvm")), cuda=answers(("cuInit", 100))),
        FAIL,
    ),
    ("device-node-missing", "all there", healthy(), PASS),
    ("device-node-missing", "an image", image(), UNKNOWN),
    (
        "device-permission-denied",
        "group video",
        healthy(nodes=nodes(node("/dev/nvidiactl", "EACCES", mode=0o660, gid=44)), cuda=answers(("cuInit", 100))),
        FAIL,
    ),
    ("device-permission-denied", "opens", healthy(), PASS),
    ("device-permission-denied", "an image", image(), UNKNOWN),
    (
        "device-refused-by-cgroup",
        "refused",
        healthy(nodes=nodes(node("/dev/nvidiactl", "EPERM")), cuda=answers(("cuInit", 100))),
        FAIL,
    ),
    ("device-refused-by-cgroup", "opens", healthy(), PASS),
    ("device-refused-by-cgroup", "an image", image(), UNKNOWN),
    ("device-without-driver", "left over", bare(nodes=nodes(node("/dev/nvidiactl", "ENXIO"))), FAIL),
    ("device-without-driver", "opens", healthy(), PASS),
    ("device-without-driver", "CUDA reached it", healthy(nodes=nodes(node("/dev/nvidiactl", "ENXIO"))), PASS),
    ("device-without-driver", "an image", image(), UNKNOWN),
    (
        "libcuda-is-stub",
        "first on the path",
        healthy(libcuda=chosen(STUB.path), libcuda_copies=(STUB, driver_library()), cuda=answers(("cuInit", 34))),
        FAIL,
    ),
    ("libcuda-is-stub", "there, but not chosen", healthy(libcuda_copies=(driver_library(), STUB)), PASS),
    ("libcuda-is-stub", "an image without libcuda", image(), UNKNOWN),
    (
        "libcuda-off-loader-path",
        "GKE",
        bare(libcuda_copies=(driver_library(path="/usr/local/nvidia/lib64/libcuda.so.1"),)),
        FAIL,
    ),
    ("libcuda-off-loader-path", "found", healthy(), PASS),
    ("libcuda-off-loader-path", "an image without libcuda", image(), UNKNOWN),
    ("wsl-libcuda-shadowed", "Linux driver", with_host(healthy(), wsl=True), FAIL),
    (
        "wsl-libcuda-shadowed",
        "WSL's own",
        with_host(
            healthy(
                libcuda=chosen("/usr/lib/wsl/lib/libcuda.so.1"),
                libcuda_copies=(driver_library(version="", kind="wsl", path="/usr/lib/wsl/lib/libcuda.so.1"),),
            ),
            wsl=True,
        ),
        PASS,
    ),
    ("wsl-libcuda-shadowed", "not WSL", healthy(), PASS),
    (
        "cuda-compat-refused",
        "older than the driver",
        healthy(libcuda=chosen(COMPAT.path), libcuda_copies=(COMPAT,), compat=(NOTE,), cuda=answers(("cuInit", 803))),
        FAIL,
    ),
    (
        "cuda-compat-refused",
        "GeForce",
        with_kernel(
            healthy(
                libcuda=chosen(COMPAT.path),
                libcuda_copies=(COMPAT,),
                compat=(NOTE,),
                cuda=answers(("cuInit", 804)),
                nvml=nvml_answers(gpus=(GEFORCE,)),
            ),
            driver=loaded("570.133.20"),
        ),
        FAIL,
    ),
    (
        "cuda-compat-refused",
        "works on a data centre GPU",
        with_kernel(
            healthy(
                libcuda=chosen(COMPAT.path),
                libcuda_copies=(COMPAT,),
                compat=(NOTE,),
                cuda=answers(cuda="12.9", gpus=(gpu(),)),
            ),
            driver=loaded("550.54.15"),
        ),
        PASS,
    ),
    ("cuda-compat-refused", "not chosen", healthy(libcuda_copies=(driver_library(), COMPAT)), PASS),
    ("cuda-compat-refused", "an image", image(), UNKNOWN),
    ("libcuda-unloadable", "half installed", healthy(cuda=ABSENT), FAIL),
    ("libcuda-unloadable", "loads", healthy(), PASS),
    ("libcuda-unloadable", "an image", image(), UNKNOWN),
    ("libcuda-in-image", "baked in", image(libcuda_copies=(driver_library(),)), FAIL),
    ("libcuda-in-image", "clean", image(), PASS),
    ("libcuda-in-image", "mounted", healthy(container=DOCKER), PASS),
    ("libcuda-missing", "nowhere", bare(), FAIL),
    ("libcuda-missing", "found", healthy(), PASS),
    ("libcuda-missing", "an image", image(), UNKNOWN),
    (
        "driver-does-not-answer",
        "hangs",
        healthy(cuda=answers(("cuDriverGetVersion", 0), trouble="no answer within 30 s in cuInit")),
        FAIL,
    ),
    ("driver-does-not-answer", "dies while loading", healthy(nvml=UNREADABLE), FAIL),
    ("driver-does-not-answer", "answers", healthy(), PASS),
    ("driver-does-not-answer", "an image", image(), UNKNOWN),
    ("gpu-unreached", "no device", healthy(cuda=answers(("cuInit", 100))), FAIL),
    ("gpu-unreached", "no libcuda", bare(), FAIL),
    ("gpu-unreached", "none listed", healthy(cuda=answers()), FAIL),
    (
        "gpu-unreached",
        "no context",
        healthy(cuda=answers(("cuInit", 0), ("cuDevicePrimaryCtxRetain", 46), gpus=(gpu(),))),
        FAIL,
    ),
    ("gpu-unreached", "reached", healthy(), PASS),
    ("gpu-unreached", "an image", image(), UNKNOWN),
    (
        "driver-too-old",
        "torch cu130 on 535",
        healthy(cuda=answers(("cuInit", 0), cuda="12.2", gpus=(gpu(),)), runtimes=(cudart(code=35, driver="12.2"),)),
        FAIL,
    ),
    (
        "driver-too-old",
        "no framework, only a runtime",
        healthy(
            frameworks=(),
            cuda=answers(("cuInit", 0), cuda="12.2", gpus=(gpu(),)),
            runtimes=(cudart(code=35, driver="12.2"),),
        ),
        FAIL,
    ),
    (
        "driver-too-old",
        "a toolkit of CUDA 13 lies beside torch for 12",
        healthy(
            frameworks=(torch("2.7.1+cu126"),),
            cuda=answers(("cuInit", 0), cuda="12.2", gpus=(gpu(),)),
            runtimes=(cudart(code=35, driver="12.2"),),
        ),
        PASS,
    ),
    (
        "driver-too-old",
        "CUDA 10 knows no minor-version compatibility",
        healthy(
            frameworks=(),
            cuda=answers(("cuInit", 0), cuda="10.1", gpus=(gpu(),)),
            runtimes=(cudart("10.2.89", code=35, driver="10.1"),),
        ),
        FAIL,
    ),
    ("driver-too-old", "no libcuda is another matter", bare(), PASS),
    ("driver-too-old", "newer driver", healthy(frameworks=(torch("2.7.1+cu118"),)), PASS),
    (
        "driver-too-old",
        "forward compatibility",
        with_kernel(healthy(cuda=answers(cuda="13.0", gpus=(gpu(),))), driver=loaded("535.161.08")),
        PASS,
    ),
    ("driver-too-old", "an image", image(), UNKNOWN),
    (
        "driver-older-than-build",
        "torch 2.7 cu128 on 535",
        healthy(frameworks=(torch("2.7.1+cu128"),), cuda=answers(cuda="12.2", gpus=(gpu(),))),
        FAIL,
    ),
    ("driver-older-than-build", "equal", healthy(), PASS),
    ("driver-older-than-build", "an image", image(), UNKNOWN),
    ("runtime-refused", "100", healthy(runtimes=(cudart(code=100),)), FAIL),
    ("runtime-refused", "counts", healthy(), PASS),
    ("framework-is-cpu-build", "torch +cpu", healthy(frameworks=(torch("2.9.1+cpu", gpu=False),)), FAIL),
    (
        "framework-is-cpu-build",
        "in an image for GPUs",
        image(frameworks=(torch("2.9.1+cpu", gpu=False),), environment=variables(NVIDIA_VISIBLE_DEVICES="all")),
        FAIL,
    ),
    ("framework-is-cpu-build", "meant so: no GPU here", bare(frameworks=(torch("2.9.1+cpu", gpu=False),)), PASS),
    ("framework-is-cpu-build", "GPU build", healthy(), PASS),
    ("framework-is-cpu-build", "build unknown", healthy(frameworks=(torch(gpu=None),)), UNKNOWN),
    (
        "compute-mode-exclusive",
        "another process has it",
        healthy(
            cuda=answers(("cuInit", 0), ("cuDevicePrimaryCtxRetain", 46), gpus=(gpu(),)),
            nvml=nvml_answers(gpus=(gpu(compute_mode=3, processes=1),)),
        ),
        FAIL,
    ),
    ("compute-mode-exclusive", "prohibited", healthy(nvml=nvml_answers(gpus=(gpu(compute_mode=2),))), FAIL),
    ("compute-mode-exclusive", "exclusive and free", healthy(nvml=nvml_answers(gpus=(gpu(compute_mode=3),))), PASS),
    ("compute-mode-exclusive", "no NVML", bare(), UNKNOWN),
    (
        "mig-without-instances",
        "none made",
        healthy(cuda=answers(("cuInit", 100)), nvml=nvml_answers(gpus=(gpu(mig=True),))),
        FAIL,
    ),
    ("mig-without-instances", "instances are used", healthy(nvml=nvml_answers(gpus=(gpu(mig=True),))), PASS),
    ("mig-without-instances", "no NVML", bare(), UNKNOWN),
    ("mps-unreachable", "805", healthy(cuda=answers(("cuInit", 805))), FAIL),
    ("mps-unreachable", "not used", healthy(), PASS),
    ("mps-unreachable", "an image", image(), UNKNOWN),
    ("container-toolkit-missing", "docker alone", healthy(runtime=engines("docker")), FAIL),
    ("container-toolkit-missing", "both", healthy(runtime=engines("docker", toolkit="/usr/bin/nvidia-ctk")), PASS),
    ("container-toolkit-missing", "no engine", healthy(), PASS),
    ("container-toolkit-missing", "no GPU here", bare(runtime=engines("docker")), PASS),
    ("container-toolkit-missing", "not readable", healthy(runtime=UNREADABLE), UNKNOWN),
    (
        "docker-from-snap",
        "only the snap",
        healthy(runtime=engines("docker (snap)", toolkit="/usr/bin/nvidia-ctk")),
        FAIL,
    ),
    ("docker-from-snap", "Debian's", healthy(runtime=engines("docker", toolkit="/usr/bin/nvidia-ctk")), PASS),
    ("docker-from-snap", "not readable", healthy(runtime=UNREADABLE), UNKNOWN),
    (
        "cgroup-rules-not-added",
        "left over",
        healthy(runtime=engines("docker", toolkit="/usr/bin/nvidia-ctk", no_cgroups=True)),
        FAIL,
    ),
    (
        "cgroup-rules-not-added",
        "rootless podman",
        healthy(runtime=engines("podman", toolkit="/usr/bin/nvidia-ctk", no_cgroups=True)),
        PASS,
    ),
    ("cgroup-rules-not-added", "not readable", healthy(runtime=UNREADABLE), UNKNOWN),
    (
        "shared-memory-small",
        "Docker's default",
        two_gpus(container=DOCKER, shared_memory=Seen(64 << 20, "/proc/mounts")),
        FAIL,
    ),
    ("shared-memory-small", "one GPU", healthy(container=DOCKER, shared_memory=Seen(64 << 20, "/proc/mounts")), PASS),
    ("shared-memory-small", "enlarged", two_gpus(container=DOCKER, shared_memory=Seen(8 << 30, "/proc/mounts")), PASS),
    ("shared-memory-small", "not readable", two_gpus(container=DOCKER, shared_memory=UNREADABLE), UNKNOWN),
    ("gpu-needs-reset", "NVML refuses", healthy(nvml=nvml_answers(also=("nvmlDeviceGetHandleByIndex", 16))), FAIL),
    ("driver-version-mismatch", "803 alone", healthy(cuda=answers(("cuInit", 803))), FAIL),
    ("cuda-compat-refused", "804 alone", healthy(cuda=answers(("cuInit", 804))), FAIL),
    (
        "gpu-memory-full",
        "no context",
        healthy(cuda=answers(("cuInit", 0), ("cuDevicePrimaryCtxRetain", 2), gpus=(gpu(),))),
        FAIL,
    ),
    ("gpu-memory-full", "room", healthy(), PASS),
    ("gpu-memory-full", "an image", image(), UNKNOWN),
    ("cuda-sees-fewer-gpus", "one of two", healthy(nvml=nvml_answers(gpus=(gpu(), gpu(index=1, uuid="GPU-2")))), FAIL),
    (
        "cuda-sees-fewer-gpus",
        "hidden on purpose",
        healthy(
            nvml=nvml_answers(gpus=(gpu(), gpu(index=1, uuid="GPU-2"))), environment=variables(CUDA_VISIBLE_DEVICES="0")
        ),
        PASS,
    ),
    (
        "cuda-sees-fewer-gpus",
        "MIG counts otherwise",
        healthy(nvml=nvml_answers(gpus=(gpu(mig=True), gpu(index=1, uuid="GPU-2")))),
        PASS,
    ),
    ("cuda-sees-fewer-gpus", "both", healthy(), PASS),
    ("cuda-sees-fewer-gpus", "no NVML", healthy(nvml=UNREADABLE), UNKNOWN),
    (
        "loading-differs-from-prediction",
        "another copy",
        healthy(differences=Seen((Difference("libcudart.so.12", "/x.so", "/a", "/b"),), "trace")),
        FAIL,
    ),
    ("loading-differs-from-prediction", "as predicted", healthy(differences=Seen((), "trace")), PASS),
    ("loading-differs-from-prediction", "nothing was traced", healthy(), PASS),
    ("loading-differs-from-prediction", "the log was not readable", healthy(differences=UNREADABLE), UNKNOWN),
    (
        "import-fails",
        "crashes",
        healthy(imported=Seen(Imported("torch", "/usr/bin/python3", "is killed by SIGSEGV", ""), "python")),
        FAIL,
    ),
    ("import-fails", "works", healthy(imported=Seen(Imported("torch", "/usr/bin/python3", "", ""), "python")), PASS),
    ("import-fails", "not asked for", healthy(), PASS),
    ("import-fails", "no interpreter", healthy(imported=UNREADABLE), UNKNOWN),
    ("jax-plugin-mismatch", "plugin is newer", healthy(distributions=JAX), FAIL),
    (
        "jax-plugin-mismatch",
        "a patch of the package",
        healthy(distributions=tuple(replace(dist, version="0.9.0") if "cuda" in dist.name else dist for dist in JAX)),
        PASS,
    ),
    (
        "gpu-not-covered-by-build",
        "sm_120 without code",
        healthy(
            frameworks=(torch("2.6.0+cu124", architectures=("sm_80", "sm_90")),),
            cuda=answers(gpus=(gpu(capability=ComputeCapability(12, 0)),)),
        ),
        FAIL,
    ),
    (
        "gpu-not-covered-by-build",
        "8.9 runs code for 8.6",
        healthy(
            frameworks=(torch(architectures=("sm_86",)),), cuda=answers(gpus=(gpu(capability=ComputeCapability(8, 9)),))
        ),
        PASS,
    ),
    (
        "gpu-not-covered-by-build",
        "8.0 does not run code for 8.6",
        healthy(
            frameworks=(torch(architectures=("sm_86",)),), cuda=answers(gpus=(gpu(capability=ComputeCapability(8, 0)),))
        ),
        FAIL,
    ),
    (
        "gpu-not-covered-by-build",
        "PTX for 9.0 on 12.0",
        healthy(
            frameworks=(torch(architectures=("compute_90",)),),
            cuda=answers(gpus=(gpu(capability=ComputeCapability(12, 0)),)),
        ),
        PASS,
    ),
    (
        "gpu-not-covered-by-build",
        "9.0a on 10.0",
        healthy(
            frameworks=(torch(architectures=("sm_90a",)),),
            cuda=answers(gpus=(gpu(capability=ComputeCapability(10, 0)),)),
        ),
        FAIL,
    ),
    (
        "gpu-not-covered-by-build",
        "Orin is not covered by 8.0",
        with_host(
            healthy(
                frameworks=(torch(architectures=("sm_80",)),),
                cuda=answers(gpus=(gpu(capability=ComputeCapability(8, 7)),)),
            ),
            tegra=Seen("R36", "/etc"),
        ),
        FAIL,
    ),
    ("gpu-not-covered-by-build", "no GPU known", bare(), UNKNOWN),
    (
        "visible-devices-hides-gpus",
        "empty",
        healthy(environment=variables(CUDA_VISIBLE_DEVICES=""), cuda=answers(("cuInit", 100))),
        FAIL,
    ),
    (
        "visible-devices-hides-gpus",
        "out of range",
        healthy(environment=variables(CUDA_VISIBLE_DEVICES="1"), cuda=answers(("cuInit", 100))),
        FAIL,
    ),
    (
        "visible-devices-hides-gpus",
        "a word",
        healthy(environment=variables(CUDA_VISIBLE_DEVICES="all"), cuda=answers(("cuInit", 100))),
        FAIL,
    ),
    ("visible-devices-hides-gpus", "names the GPU", healthy(environment=variables(CUDA_VISIBLE_DEVICES="0")), PASS),
    (
        "visible-devices-hides-gpus",
        "by short UUID",
        healthy(environment=variables(CUDA_VISIBLE_DEVICES="GPU-3f0e6f2c")),
        PASS,
    ),
    ("visible-devices-hides-gpus", "not set", healthy(), PASS),
    (
        "stubs-on-library-path",
        "named",
        healthy(environment=variables(LD_LIBRARY_PATH="/usr/local/cuda/lib64/stubs")),
        FAIL,
    ),
    (
        "stubs-on-library-path",
        "not named",
        healthy(environment=variables(LD_LIBRARY_PATH="/usr/local/cuda/lib64")),
        PASS,
    ),
    (
        "library-path-has-empty-element",
        "trailing colon",
        healthy(environment=variables(LD_LIBRARY_PATH="/opt/lib:")),
        FAIL,
    ),
    (
        "library-path-has-empty-element",
        "none",
        healthy(environment=variables(LD_LIBRARY_PATH="/opt/lib:/usr/lib")),
        PASS,
    ),
    ("variable-misspelt", "REQUIRES", healthy(environment=variables(NVIDIA_DISABLE_REQUIRES="true")), FAIL),
    ("variable-misspelt", "REQUIRE", healthy(environment=variables(NVIDIA_DISABLE_REQUIRE="true")), PASS),
]

#: The environment, the names of installed packages and the calls that were made are always known.
ALWAYS_KNOWN = {
    "compute-capability-not-granted", "wsl-libcuda-shadowed", "libcuda-in-image", "runtime-refused", "jax-plugin-mismatch",
    "visible-devices-hides-gpus", "stubs-on-library-path", "library-path-has-empty-element", "variable-misspelt",
}  # fmt: skip

CASES += [*libraries.CASES, *requirements.CASES, *surroundings.CASES, *images.CASES]
ALWAYS_KNOWN |= libraries.ALWAYS_KNOWN | requirements.ALWAYS_KNOWN | surroundings.ALWAYS_KNOWN

BY_ID = {rule.id: rule for rule in RULES}


@pytest.mark.parametrize(("rule", "what", "snapshot", "status"), CASES, ids=[f"{case[0]}: {case[1]}" for case in CASES])
def test_rule_on_a_case(rule: str, what: str, snapshot: Snapshot, status: Status) -> None:
    outcome = apply(BY_ID[rule], snapshot)
    assert (outcome.status, outcome.error if outcome.status is Status.CRASH else "") == (status, "")
    for complaint in outcome.complaints:
        assert complaint.summary and complaint.cause and complaint.evidence and complaint.remedy
        assert not complaint.summary.endswith(".")


@pytest.mark.parametrize("rule", [rule.id for rule in RULES if rule.layer is not Layer.PROJECT])
def test_every_rule_has_each_kind_of_case(rule: str) -> None:
    wanted = {FAIL, PASS} | (set() if rule in ALWAYS_KNOWN else {UNKNOWN})
    assert {case[3] for case in CASES if case[0] == rule} == wanted


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_documentation_of_a_rule_says_what_why_how_and_where(rule: object) -> None:
    text = rule.documentation  # type: ignore[attr-defined]
    title, blank, *rest = text.splitlines()
    assert title.endswith(".") and not blank
    assert [line.split(":")[0] for line in rest if line.startswith(("Confirm:", "Remedy:", "Reference:"))] == [
        "Confirm",
        "Remedy",
        "Reference",
    ]


def test_a_rule_follows_only_rules_that_exist_and_never_itself() -> None:
    def causes(rule: str, seen: tuple[str, ...] = ()) -> None:
        assert rule not in seen, f"{' -> '.join((*seen, rule))}"
        for cause in BY_ID[rule].follows:
            causes(cause, (*seen, rule))

    for rule in RULES:
        causes(rule.id)


def test_a_healthy_machine_has_no_finding() -> None:
    assert [rule.id for rule in RULES if apply(rule, healthy()).status not in (PASS, UNKNOWN)] == []


def test_no_gpu_is_only_noted_where_everything_is_a_cpu_build() -> None:
    snapshot = bare(frameworks=(torch("2.9.1+cpu", gpu=False),), runtimes=())
    assert {
        apply(BY_ID[rule], snapshot).complaints[0].severity for rule in ("no-gpu", "libcuda-missing", "gpu-unreached")
    } == {Severity.NOTE}


def test_no_rule_crashes_on_a_system_of_which_nothing_is_known() -> None:
    for unknown in (UNREADABLE, NOT_APPLICABLE, ABSENT):
        names = ("pci", "nodes", "nvml", "cuda", "container", "runtime", "kubernetes")
        snapshot = healthy(
            **dict.fromkeys(names, unknown), libcuda=Choice("libcuda.so.1", LIBCUDA, "unknown", ()), libcuda_copies=()
        )
        snapshot = with_kernel(
            snapshot, **dict.fromkeys(("modules", "driver", "files", "parameters", "majors", "messages"), unknown)
        )
        snapshot = with_host(snapshot, kernel=unknown, distribution=unknown, libc=unknown, secure_boot=unknown)
        assert [
            (rule.id, outcome.error) for rule in RULES if (outcome := apply(rule, snapshot)).status is Status.CRASH
        ] == []


@pytest.mark.parametrize(
    ("soname", "version", "severity"),
    [
        ("libcublas.so.12", "14.2.0", Severity.WARNING),
        ("libcublas.so.12", "13.6.0", Severity.ERROR),
        ("libnvrtc.so.12", "14.2.0", Severity.ERROR),
    ],
)
def test_what_cupy_asks_for_later_breaks_a_part_of_it(soname: str, version: str, severity: Severity) -> None:
    snapshot = libraries.lacking(soname, name="cupy-cuda12x", version=version)
    assert [each.severity for each in apply(BY_ID["library-missing"], snapshot).complaints] == [severity]
