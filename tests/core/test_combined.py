"""Faults as they come, with all that follows from them: one root cause each, and none on systems that are well."""

from __future__ import annotations

import pytest

from gpucheck.engine import judge
from gpucheck.facts import (
    Ban,
    Choice,
    Container,
    ContainerRuntime,
    Dkms,
    Kubernetes,
    Libc,
    Seen,
    Service,
    Snapshot,
    SystemPackage,
)
from gpucheck.finding import Severity, Verdict
from gpucheck.record import replace
from gpucheck.versions import ComputeCapability
from tests.machines import (
    ABSENT,
    DOCKER,
    NOT_APPLICABLE,
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
    packages,
    pci,
    torch,
    with_host,
    with_kernel,
)

NO_NODES = Seen(
    (node("/dev/nvidia-uvm", "ENOENT", present=False), node("/dev/nvidiactl", "ENOENT", present=False)), "/dev"
)
MISSING_CONTROL = node("/dev/nvidiactl", "ENOENT", present=False)


def driverless(**kernel: object) -> Snapshot:
    """A GPU on the bus, libraries installed, no module: NVML says 9, cuInit 100 or 999, the runtime 100."""
    snapshot = healthy(
        pci=Seen((pci(None),), "/sys/bus/pci/devices"),
        nodes=NO_NODES,
        nvml=nvml_answers(9),
        cuda=answers(("cuInit", 100)),
        runtimes=(cudart(code=100),),
    )
    facts = {"modules": Seen((), "/proc/modules"), "driver": ABSENT, "files": Seen((), "/lib/modules")}
    return with_kernel(snapshot, **{**facts, **kernel})


def unlisted(version: str = "580.95.05", flavour: str = "open", device: str = "2330", **kernel: object) -> Snapshot:
    """The module is loaded and drives no GPU: "No devices were found"."""
    snapshot = healthy(
        pci=Seen((replace(pci(None), device=device),), "/sys/bus/pci/devices"),
        nodes=Seen((node("/dev/nvidia-uvm"), node("/dev/nvidiactl")), "/dev"),
        nvml=nvml_answers(driver=version),
        cuda=answers(("cuInit", 100)),
        libcuda_copies=(driver_library(version=version),),
        nvml_copies=(driver_library("libnvidia-ml.so.1", version),),
        runtimes=(cudart(code=100),),
    )
    return with_kernel(snapshot, driver=loaded(version, flavour), **kernel)


def refused(*nodes: object, **changes: object) -> Snapshot:
    """Opening the nodes fails: NVML 999, cuInit 100."""
    facts = {"nvml": nvml_answers(999), "cuda": answers(("cuInit", 100)), "runtimes": (cudart(code=100),)}
    return healthy(**{"nodes": Seen(nodes, "/dev"), **facts, **changes})


def nodes(error: str, **changes: object) -> tuple[object, ...]:
    return tuple(node(path, error, **changes) for path in ("/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidiactl"))  # type: ignore[arg-type]


def contained(kind: str, evidence: str = "/proc") -> Seen[Container]:
    return Seen(Container(kind, evidence), evidence)


def unloadable_wsl(**changes: object) -> Snapshot:
    return with_host(bare(pci=ABSENT, **changes), wsl=True)


OPEN_REFUSES = messages(
    "NVRM: installed in this system is not supported by open",
    "NVRM: nvidia.ko because it does not include the required GPU System Processor (GSP).",
    "nvidia 0000:01:00.0: probe with driver nvidia failed with error -1",
    "NVRM: The NVIDIA probe routine failed for 1 device(s).",
)
POWER = messages(
    "NVRM: GPU 0000:01:00.0: GPU does not have the necessary power cables connected.",
    "NVRM: GPU 0000:01:00.0: RmInitAdapter failed! (0x24:0x1c:1603)",
)
OTHER = gpu(index=1, uuid="GPU-22222222-1111-2222-3333-444455556666")
FALLEN = messages("NVRM: GPU 0000:01:00.0: GPU has fallen off the bus.")
NO_UVM = Seen((node("/dev/nvidia-uvm", "ENOENT", present=False), node("/dev/nvidia0"), node("/dev/nvidiactl")), "/dev")
MUSL = Seen(Libc("musl", ""), "/lib/ld-musl-x86_64.so.1")

FAULTS: dict[str, tuple[Snapshot, str]] = {
    "no headers for DKMS": (
        driverless(dkms=Seen(Dkms(("580.95.05",), ("6.5.0-15-generic",), False, "", ""), "/var/lib/dkms")),
        "kernel-module-not-built",
    ),
    "built for the old kernel": (
        driverless(files=Seen((module_file("6.5.0-15-generic"),), "/lib/modules")),
        "kernel-module-not-built",
    ),
    "built for the old kernel, under Secure Boot": (
        with_host(
            driverless(files=Seen((module_file("6.5.0-15-generic", signer=""),), "/lib/modules")),
            secure_boot=Seen(True, "/sys/firmware/efi"),
        ),
        "kernel-module-not-built",
    ),
    "unsigned under Secure Boot": (
        with_host(
            driverless(files=Seen((module_file(signer=""),), "/lib/modules")), secure_boot=Seen(True, "/sys/firmware/efi")
        ),
        "kernel-module-unsigned",
    ),
    "blacklisted": (
        driverless(
            files=Seen((module_file(),), "/lib/modules"),
            bans=Seen((Ban("nvidia", "blacklist nvidia", "/etc/modprobe.d/x.conf"),), "modprobe.d"),
        ),
        "kernel-module-banned",
    ),
    "libraries without a module": (driverless(), "kernel-driver-not-loaded"),
    "nouveau, and the module is not built either": (
        replace(
            driverless(files=Seen((module_file("6.5.0-15-generic"),), "/lib/modules")),
            pci=Seen((pci("nouveau"),), "/sys/bus/pci/devices"),
        ),
        "gpu-held-by-other-driver",
    ),
    "open module on a Pascal": (unlisted(device="15f8", messages=OPEN_REFUSES), "kernel-module-flavour-wrong"),
    "open module on a Pascal, log closed": (unlisted(device="15f8", messages=UNREADABLE), "kernel-module-flavour-wrong"),
    "proprietary module on a Blackwell": (
        unlisted(flavour="proprietary", device="2b85", messages=UNREADABLE),
        "kernel-module-flavour-wrong",
    ),
    "Kepler on 535": (
        unlisted("535.161.08", "proprietary", "102d", messages=UNREADABLE),
        "gpu-not-supported-by-driver",
    ),
    "firmware of another driver": (
        unlisted(firmware=Seen(("575.57.08",), "/lib/firmware/nvidia"), messages=UNREADABLE),
        "gsp-firmware-missing",
    ),
    "no power cable": (unlisted(messages=POWER), "gpu-not-initialised"),
    "fallen off the bus": (unlisted(messages=FALLEN), "gpu-lost"),
    "fallen off the bus at probe, and the probe failed": (
        unlisted(
            messages=messages(
                "NVRM: The NVIDIA GPU 0000:b3:00.0 (PCI ID: 10de:26b5)",
                "NVRM: installed in this system has fallen off the bus and is not responding to commands.",
                "NVRM: The NVIDIA probe routine failed for 1 device(s).",
            )
        ),
        "gpu-lost",
    ),
    "upgraded without reboot": (
        with_kernel(
            healthy(nvml=nvml_answers(18), cuda=answers(("cuInit", 803)), runtimes=(cudart(code=803),)),
            driver=loaded("580.65.06"),
            firmware=Seen(("580.95.05",), "/lib/firmware/nvidia"),
        ),
        "driver-version-mismatch",
    ),
    "nvidia_uvm not packaged": (
        with_kernel(
            healthy(nodes=NO_UVM, cuda=answers(("cuInit", 999)), runtimes=(cudart(code=999),)),
            modules=Seen(("nvidia",), "/proc/modules"),
            files=Seen((module_file(),), "/lib/modules"),
        ),
        "uvm-module-missing",
    ),
    "no node for nvidia_uvm in a container": (
        healthy(container=DOCKER, nodes=NO_UVM, cuda=answers(("cuInit", 999)), runtimes=(cudart(code=999),)),
        "uvm-not-working",
    ),
    "after suspend": (
        with_kernel(
            healthy(cuda=answers(("cuInit", 999)), runtimes=(cudart(code=999),)),
            suspends=Seen(1, "/sys/power/suspend_stats/success"),
        ),
        "uvm-not-working",
    ),
    "999 without a suspend": (
        with_kernel(
            healthy(cuda=answers(("cuInit", 999)), runtimes=(cudart(code=999),)),
            suspends=Seen(0, "/sys/power/suspend_stats/success"),
        ),
        "gpu-unreached",
    ),
    "fabric manager stopped": (
        healthy(
            cuda=answers(("cuInit", 802)),
            runtimes=(cudart(code=802),),
            services=Seen((Service("nvidia-fabricmanager", True, False),), "/run"),
        ),
        "fabric-not-ready",
    ),
    "confidential GPU without its ready state": (
        healthy(
            cuda=answers(("cuInit", 802)),
            nvml=Seen(replace(nvml_answers(gpus=(gpu(),)).value, confidential=True, ready=False), "NVML"),
        ),
        "confidential-gpu-not-ready",
    ),
    "a GPU that waits for its reset": (
        with_kernel(
            healthy(
                cuda=answers(("cuInit", 0), ("cuDevicePrimaryCtxRetain", 46), gpus=(gpu(context=46),)),
                nvml=nvml_answers(gpus=(gpu(compute_mode=0),)),
            ),
            messages=messages("NVRM: nvAssertOkFailedNoLog: Assertion failed: Reset required [NV_ERR_RESET_REQUIRED]"),
        ),
        "gpu-needs-reset",
    ),
    "one of two gives no context, log closed": (
        with_kernel(
            healthy(
                cuda=answers(
                    ("cuInit", 0), ("cuDevicePrimaryCtxRetain", 46), gpus=(gpu(context=0), replace(OTHER, context=46))
                ),
                nvml=nvml_answers(gpus=(gpu(compute_mode=0), replace(OTHER, compute_mode=0))),
            ),
            messages=UNREADABLE,
        ),
        "gpu-gives-no-context",
    ),
    "GSP timeout, and cuInit hangs": (
        with_kernel(
            healthy(cuda=answers(("cuDriverGetVersion", 0), trouble="no answer within 30 s in cuInit")),
            messages=Seen(
                (replace(messages("NVRM: Xid (PCI:0000:01:00): 119, Timeout waiting for RPC from GSP").value[0], xid=119),),
                "/dev/kmsg",
            ),
        ),
        "gpu-reported-fault",
    ),
    "exclusive and held": (
        healthy(
            cuda=answers(("cuInit", 0), ("cuDevicePrimaryCtxRetain", 46), gpus=(gpu(context=46),)),
            nvml=nvml_answers(gpus=(gpu(compute_mode=3, processes=1),)),
        ),
        "compute-mode-exclusive",
    ),
    "group of the nodes, rootless": (
        refused(
            *nodes("EACCES", mode=0o660, gid=44), container=contained("podman"), nvml=nvml_answers(4)
        ),
        "device-permission-denied",
    ),
    "daemon-reload": (refused(*nodes("EPERM"), container=DOCKER), "device-refused-by-cgroup"),
    "a Slurm job that asked for no GPU": (
        refused(
            node("/dev/nvidiactl"), node("/dev/nvidia-uvm"), node("/dev/nvidia0", "EPERM"), node("/dev/nvidia1", "EPERM"),
            environment=(("CUDA_VISIBLE_DEVICES", "NoDevFiles"), ("SLURM_JOB_ID", "7")),
        ),
        "device-refused-by-cgroup",
    ),
    "docker run without --gpus": (
        with_kernel(bare(container=DOCKER, pci=Seen((pci(),), "/sys")), driver=loaded(), modules=Seen(("nvidia",), "/")),
        "gpu-not-passed-to-container",
    ),
    "gVisor without nvproxy": (
        with_kernel(bare(container=contained("gvisor"), pci=ABSENT), modules=ABSENT),
        "sandbox-hides-gpu",
    ),
    "nodes without libraries": (
        with_kernel(bare(container=DOCKER, nodes=healthy().nodes, pci=Seen((pci(),), "/sys")), driver=loaded()),
        "libcuda-missing",
    ),
    "a single node without the common ones": (
        with_kernel(
            bare(
                container=DOCKER, pci=Seen((pci(),), "/sys"),
                nodes=Seen((node("/dev/nvidia-uvm", "ENOENT", present=False), node("/dev/nvidia0"), MISSING_CONTROL), "/dev"),
            ),
            driver=loaded(), modules=Seen(("nvidia",), "/proc/modules"),
        ),
        "device-node-missing",
    ),
    "ulimit -v": (
        healthy(cuda=answers(("cuInit", 2)), runtimes=(cudart(code=2),), address_space=Seen(8 << 30, "/proc/self/limits")),
        "address-space-limited",
    ),
    "utility only": (
        healthy(
            container=DOCKER,
            libcuda=Choice("libcuda.so.1", None, "not found", ()),
            libcuda_copies=(),
            cuda=ABSENT,
            environment=(("NVIDIA_DRIVER_CAPABILITIES", "utility"),),
            runtimes=(cudart(code=35, driver=None),),
        ),
        "compute-capability-not-granted",
    ),
    "the 32-bit libcuda alone": (
        with_kernel(
            bare(
                pci=Seen((pci(),), "/sys"),
                nodes=healthy().nodes,
                libcuda_copies=(replace(driver_library(path="/usr/lib/i386-linux-gnu/libcuda.so.1"), machine="i686"),),
            ),
            driver=loaded(), modules=Seen(("nvidia", "nvidia_uvm"), "/"),
        ),
        "libcuda-for-other-processor",
    ),
    "ldconfig was not run": (
        with_kernel(
            bare(
                pci=Seen((pci(),), "/sys"),
                nodes=healthy().nodes,
                libcuda_copies=(driver_library(path="/usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05"),),
            ),
            driver=loaded(), modules=Seen(("nvidia", "nvidia_uvm"), "/"),
        ),
        "libcuda-link-missing",
    ),
    "Alpine": (
        with_host(
            with_kernel(
                bare(
                    container=DOCKER, pci=Seen((pci(),), "/sys"), nodes=healthy().nodes,
                    libcuda_copies=(driver_library(),), environment=(("NVIDIA_VISIBLE_DEVICES", "all"),), packages=packages(),
                ),
                driver=loaded(), modules=Seen(("nvidia", "nvidia_uvm"), "/"),
            ),
            libc=MUSL,
        ),
        "driver-needs-glibc",
    ),
    "WSL 1": (with_host(unloadable_wsl(), kernel=Seen("4.4.0-19041-Microsoft", "/proc")), "wsl-without-gpu"),
    "WSL 2 without a Windows driver": (
        unloadable_wsl(nodes=Seen((node("/dev/dxg"),), "/dev")),
        "wsl-libcuda-missing",
    ),
    "a Linux driver in WSL 2": (
        with_host(
            with_kernel(
                healthy(
                    pci=ABSENT, nodes=Seen((node("/dev/dxg"),), "/dev"), cuda=answers(("cuInit", 100)), nvml=nvml_answers(9),
                    runtimes=(cudart(code=100),),
                ),
                modules=Seen((), "/proc/modules"), driver=ABSENT,
            ),
            wsl=True,
        ),
        "wsl-libcuda-shadowed",
    ),
    "an instance is named by its GPU": (
        healthy(
            environment=(("CUDA_VISIBLE_DEVICES", gpu().uuid),),
            cuda=answers(("cuInit", 100)),
            nvml=nvml_answers(gpus=(gpu(mig=True, instances=2),)),
            runtimes=(cudart(code=100),),
        ),
        "visible-devices-hides-gpus",
    ),
    "MIG without instances, and a GPU is named": (
        healthy(
            environment=(("CUDA_VISIBLE_DEVICES", gpu().uuid),),
            cuda=answers(("cuInit", 100)),
            nvml=nvml_answers(gpus=(gpu(mig=True, instances=0),)),
        ),
        "mig-without-instances",
    ),
    "a virtual GPU without licence": (
        healthy(
            cuda=answers(("cuInit", 0), ("cuDevicePrimaryCtxRetain", 46), gpus=(gpu(context=46),)),
            nvml=nvml_answers(gpus=(gpu(virtualization=2, licensed=False, compute_mode=0),)),
        ),
        "vgpu-unlicensed",
    ),
    "JAX_PLATFORMS=cpu": (
        healthy(frameworks=(replace(torch(), name="jax", version="0.9.0"),), environment=(("JAX_PLATFORMS", "cpu"),)),
        "jax-platform-excludes-gpu",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", FAULTS)
def test_a_fault_with_all_that_follows_has_one_root_cause(what: str) -> None:
    snapshot, expected = FAULTS[what]
    report = judge(snapshot)
    assert [finding.rule for finding in report.roots] == [expected]
    assert report.verdict is Verdict.INCOMPATIBLE


def engine(**changes: object) -> Seen[ContainerRuntime]:
    found = ContainerRuntime(
        "/usr/bin/nvidia-ctk", "1.18.0", ("docker",), ("nvidia",), (), False, cgroups=2, library_version="1.18.0"
    )
    return Seen(replace(found, **changes), "/usr/bin/nvidia-ctk")


def wsl() -> Snapshot:
    library = driver_library(version="", kind="wsl", path="/usr/lib/wsl/lib/libcuda.so.1")
    return with_host(
        with_kernel(
            healthy(
                pci=ABSENT, nodes=Seen((node("/dev/dxg"),), "/dev"), libcuda_copies=(library,),
                libcuda=Choice("libcuda.so.1", library.path, "ld.so.cache", ()),
                nvml_copies=(replace(library, soname="libnvidia-ml.so.1"),), services=Seen((), "/run"),
            ),
            modules=Seen((), "/proc/modules"), driver=ABSENT, files=ABSENT, parameters=ABSENT, majors=Seen((), "/"),
        ),
        wsl=True, kernel=Seen("5.15.153.1-microsoft-standard-WSL2", "/proc"),
    )  # fmt: skip


def jetson() -> Snapshot:
    library = driver_library(version="", kind="tegra", path="/usr/lib/aarch64-linux-gnu/tegra/libcuda.so.1")
    orin = gpu(name="Orin", capability=ComputeCapability(8, 7), context=0)
    return with_host(
        with_kernel(
            healthy(
                pci=Seen((), "/sys/bus/pci/devices"), nodes=Seen((node("/dev/nvmap"), node("/dev/nvhost-gpu")), "/dev"),
                libcuda_copies=(library,), libcuda=Choice("libcuda.so.1", library.path, "ld.so.cache", ()), nvml_copies=(),
                cuda=answers(gpus=(orin,), cuda="12.6"), frameworks=(torch("2.7.1+cu126", architectures=("sm_87",)),),
                nvml=replace(ABSENT, detail="libnvidia-ml.so.1: cannot open shared object file"),
                runtimes=(cudart("12.6.77", driver="12.6"),), packages=packages(),
            ),
            modules=Seen(("nvgpu",), "/proc/modules"), driver=ABSENT, files=ABSENT, majors=Seen((), "/"),
        ),
        tegra=Seen("R36 (release), REVISION: 4.3", "/etc/nv_tegra_release"), architecture="aarch64",
    )  # fmt: skip


HEALTHY: dict[str, Snapshot] = {
    "plain": healthy(),
    "proprietary module on a Hopper": with_kernel(healthy(), driver=loaded(flavour="proprietary")),
    "not root: log, firmware and nodes' helper unknown": with_kernel(healthy(), messages=UNREADABLE, firmware=UNREADABLE),
    "a program's own Xids in the log": with_kernel(
        healthy(),
        messages=Seen(
            tuple(
                replace(messages(f"NVRM: Xid (PCI:0000:01:00): {number}, pid=1").value[0], xid=number)
                for number in (13, 31, 43, 45, 69)
            ),
            "/dev/kmsg",
        ),
    ),
    "one GPU for a virtual machine": healthy(
        pci=Seen((pci(), replace(pci("vfio-pci"), address="0000:56:00.0")), "/sys/bus/pci/devices")
    ),
    "a Slurm job with one GPU of four": healthy(
        nodes=Seen(
            (node("/dev/nvidia-uvm"), node("/dev/nvidia0", "EPERM"), node("/dev/nvidia1"), node("/dev/nvidia2", "EPERM"),
             node("/dev/nvidiactl")),
            "/dev",
        ),
        environment=(("CUDA_VISIBLE_DEVICES", "0"), ("SLURM_JOB_GPUS", "1"), ("SLURM_JOB_ID", "7")),
    ),
    "a container with one GPU of eight": healthy(
        container=DOCKER,
        pci=Seen(tuple(replace(pci(), address=f"0000:{bus:02x}:00.0") for bus in range(1, 9)), "/sys/bus/pci/devices"),
        environment=(("NVIDIA_VISIBLE_DEVICES", gpu().uuid),),
    ),
    "a pod as the device plugin makes it": healthy(
        container=contained("kubernetes"),
        kubernetes=Seen(Kubernetes(True, "", "default"), "environment"),
        environment=(("NVIDIA_VISIBLE_DEVICES", gpu().uuid),),
    ),
    "a GKE pod with a CUDA image": healthy(
        container=contained("kubernetes"),
        kubernetes=Seen(Kubernetes(True, "", "default"), "environment"),
        environment=(("LD_LIBRARY_PATH", "/usr/local/nvidia/lib64"), ("NVIDIA_VISIBLE_DEVICES", "all")),
        libcuda=Choice("libcuda.so.1", "/usr/local/nvidia/lib64/libcuda.so.1", "LD_LIBRARY_PATH", ()),
        libcuda_copies=(driver_library(path="/usr/local/nvidia/lib64/libcuda.so.1"),),
    ),
    "a node of the GPU Operator": healthy(
        kubernetes=Seen(
            Kubernetes(
                False, "", "", True, ("nvidia-gpu.sock",), ("nvidia.com/gpu",), ("driver-ready", "plugin-ready", "toolkit-ready")
            ),
            "/var/lib/kubelet",
        ),
        runtime=engine(engines=("containerd",), handlers=("nvidia", "runc"), settings=("/etc/containerd/config.toml",)),
    ),
    "a GKE node": healthy(
        kubernetes=Seen(Kubernetes(False, "", "", True, ("nvidiaGPU-1700000000.sock",)), "/var/lib/kubelet"),
        runtime=engine(toolkit="", engines=("containerd",), settings=("/etc/containerd/config.toml",), handlers=("runc",)),
        libcuda_copies=(driver_library(path="/home/kubernetes/bin/nvidia/lib64/libcuda.so.1"),),
    ),
    "docker with CDI of this driver": healthy(runtime=engine(cdi=("/etc/cdi/nvidia.yaml",), cdi_drivers=("580.95.05",))),
    "gVisor with nvproxy": with_kernel(healthy(container=contained("gvisor"), pci=ABSENT), modules=ABSENT),
    "MIG with instances": healthy(
        nvml=nvml_answers(gpus=(gpu(mig=True, instances=1, brand=2),)),
        cuda=answers(gpus=(gpu(name="NVIDIA H100 80GB HBM3 MIG 1g.10gb", uuid="GPU-aaaa6f2c-1111-2222-3333-444455556666"),)),
    ),
    "an exclusive GPU with MPS": healthy(nvml=nvml_answers(gpus=(gpu(compute_mode=3, processes=1),))),
    "a licensed virtual GPU": healthy(nvml=nvml_answers(gpus=(gpu(virtualization=2, licensed=True),))),
    "confidential computing, ready": healthy(
        nvml=Seen(replace(nvml_answers(gpus=(gpu(),)).value, confidential=True, ready=True), "NVML")
    ),
    "a laptop that was suspended and works": with_kernel(healthy(), suspends=Seen(12, "/sys/power/suspend_stats/success")),
    "nodes made on demand": healthy(nodes=NO_NODES),
    "an old module for an old kernel beside the new one": with_kernel(
        healthy(), files=Seen((module_file(), module_file("6.5.0-15-generic")), "/lib/modules")
    ),
    "nouveau blacklisted": with_kernel(
        healthy(), bans=Seen((Ban("nouveau", "blacklist nouveau", "/etc/modprobe.d/x.conf"),), "modprobe.d")
    ),
    "the 32-bit library for games beside the other": healthy(
        libcuda_copies=(
            replace(driver_library(), machine="x86_64"),
            replace(driver_library(path="/usr/lib/i386-linux-gnu/libcuda.so.1"), machine="i686"),
        )
    ),
    "a package that was removed but for its settings": healthy(system_packages=Seen((SystemPackage("libcuda1", "580.95.05-1", "installed"),), "dpkg")),
    "WSL 2": wsl(),
    "Jetson": jetson(),
    "an image": image(),
    "an Alpine image without GPU": with_host(image(frameworks=(), runtimes=(), libraries=(), packages=packages()), libc=MUSL),
    "nothing may be executed": healthy(cuda=NOT_APPLICABLE, nvml=NOT_APPLICABLE, frameworks=(), runtimes=()),
    "a CPU machine": bare(frameworks=(torch("2.9.1+cpu", gpu=False),), runtimes=(), libraries=()),
    "a CPU build in gVisor": bare(
        frameworks=(torch("2.9.1+cpu", gpu=False),), runtimes=(), libraries=(), container=contained("gvisor"), pci=ABSENT
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", HEALTHY)
def test_a_system_that_is_well_has_no_error_and_no_warning(what: str) -> None:
    report = judge(HEALTHY[what])
    assert [
        (finding.rule, finding.summary) for finding in report.everything() if finding.severity is not Severity.NOTE
    ] == []
    assert {outcome.error for outcome in report.outcomes if outcome.status.value == "crash"} == set()
