"""Snapshots to start from: a healthy machine, and what can be changed about it."""

from __future__ import annotations

from gpucheck.facts import (
    SCHEMA,
    Cached,
    Call,
    Choice,
    Container,
    Cuda,
    DeviceNode,
    Distribution,
    Framework,
    Gpu,
    Host,
    Kernel,
    KernelDriver,
    KernelMessage,
    Libc,
    Library,
    Loads,
    Lost,
    ModuleFile,
    Need,
    Nvml,
    Overlap,
    Packages,
    PciDevice,
    Python,
    Runtime,
    Seen,
    Snapshot,
    Unseen,
    Wheel,
    Why,
)
from gpucheck.record import replace
from gpucheck.versions import ComputeCapability, CudaVersion, DriverVersion

ABSENT = Unseen(Why.ABSENT, ("somewhere",), "it does not exist")
UNREADABLE = Unseen(Why.UNREADABLE, ("somewhere",), "permission denied")
NOT_APPLICABLE = Unseen(Why.NOT_APPLICABLE, (), "these are only files")

PACKAGES = "/opt/venv/lib/python3.12/site-packages"
LIBCUDA = "/usr/lib/x86_64-linux-gnu/libcuda.so.1"


def gpu(**changes: object) -> Gpu:
    """An H100."""
    healthy = Gpu(
        0, "NVIDIA H100 80GB HBM3", "GPU-3f0e6f2c-1111-2222-3333-444455556666", ComputeCapability(9, 0), 80 << 30
    )
    return replace(healthy, **changes)


def node(path: str, error: str = "", *, present: bool = True, mode: int = 0o666, gid: int = 0) -> DeviceNode:
    """A device node, or the note that it is missing."""
    return DeviceNode(
        path, present, mode if present else 0, 0, gid if present else 0, (195, 0) if present else None, error
    )


def driver_library(
    soname: str = "libcuda.so.1", version: str = "580.95.05", kind: str = "driver", path: str = ""
) -> Library:
    """A library of the driver."""
    path = path or f"/usr/lib/x86_64-linux-gnu/{soname}"
    real = f"{path.removesuffix('.1')}.{version}" if version else path
    return Library(soname, path, real, kind, version, "", 90_000_000 if kind != "stub" else 60_000)


def cudart(
    version: str = "13.0.96", *, code: int = 0, driver: str | None = "13.0", owner: str = "nvidia-cuda-runtime"
) -> Runtime:
    """A libcudart in the environment and what it answered."""
    cuda = CudaVersion.parse(version)
    assert cuda
    path = f"{PACKAGES}/nvidia/cu{cuda.major}/lib/libcudart.so.{cuda.major}"
    library = Library(f"libcudart.so.{cuda.major}", path, path, "wheel", version, f"{owner} {version}", 800_000)
    return Runtime(
        library,
        cuda,
        Seen(CudaVersion.parse(driver) if driver else None, path),
        Seen(Call("cudaGetDeviceCount", code), path),
        "",
    )


def torch(
    version: str = "2.9.1+cu130",
    *,
    gpu: bool | None = True,
    architectures: tuple[str, ...] = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"),
) -> Framework:
    """torch, by its version's local part."""
    local = version.partition("+cu")[2]
    cuda = CudaVersion(int(local[:2]), int(local[2:])) if local else None
    return Framework(
        "torch",
        version,
        PACKAGES,
        gpu,
        cuda,
        cuda.major if cuda else None,
        architectures if gpu else (),
        f"{PACKAGES}/torch/version.py",
    )


def answers(
    *calls: tuple[str, int], cuda: str = "13.0", gpus: tuple[Gpu, ...] = (), library: str = LIBCUDA, trouble: str = ""
) -> Seen[Cuda]:
    """What libcuda answered."""
    made = tuple(Call(name, code) for name, code in calls) or (Call("cuDriverGetVersion", 0), Call("cuInit", 0))
    return Seen(Cuda(library, made, CudaVersion.parse(cuda), gpus, trouble), f"calls to {library} in a child process")


def nvml_answers(
    code: int = 0,
    *,
    driver: str = "580.95.05",
    gpus: tuple[Gpu, ...] = (),
    trouble: str = "",
    also: tuple[str, int] | None = None,
) -> Seen[Nvml]:
    """What NVML answered."""
    return Seen(
        Nvml(
            f"/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.{driver}",
            (Call("nvmlInit_v2", code), *([Call(*also)] if also else [])),
            DriverVersion.parse(driver) if code == 0 else None,
            CudaVersion(13, 0) if code == 0 else None,
            gpus,
            trouble,
        ),
        "calls to libnvidia-ml.so.1 in a child process",
    )


def loaded(version: str = "580.95.05", flavour: str = "open") -> Seen[KernelDriver]:
    """The kernel module that is loaded."""
    parsed = DriverVersion.parse(version)
    assert parsed
    return Seen(KernelDriver(parsed, flavour), "/proc/driver/nvidia/version")


def pci(driver: str | None = "nvidia", *, lost: bool = False, kind: str = "gpu", model: str = "") -> PciDevice:
    """A GPU on the bus."""
    return PciDevice("0000:01:00.0", "2330", kind, driver, lost, model)


def module_file(kernel: str = "6.8.0-40-generic", signer: str = "signed") -> ModuleFile:
    """nvidia.ko on disk."""
    return ModuleFile(kernel, f"/lib/modules/{kernel}/updates/dkms/nvidia.ko", "580.95.05", signer)


def messages(*texts: str) -> Seen[tuple[KernelMessage, ...]]:
    """Lines of the kernel log."""
    return Seen(tuple(KernelMessage(text, None) for text in texts), "/dev/kmsg")


def wheel(name: str, version: str, *tags: str, location: str = PACKAGES, installer: str = "pip") -> Wheel:
    """An installed distribution; without tags as every build for this machine has them."""
    return Wheel(name, version, location, installer, tags or ("cp312-cp312-manylinux_2_28_x86_64",))


def packages(
    *wheels: Wheel,
    needs: tuple[Need, ...] = (),
    overlaps: tuple[Overlap, ...] = (),
    lost: tuple[Lost, ...] = (),
    unread: tuple[str, ...] = (),
) -> Seen[Packages]:
    """What is installed in Python."""
    return Seen(Packages(wheels, needs, overlaps, lost, unread), "the .dist-info folders")


def loads(name: str = "torch", version: str = "2.9.1+cu130", **found: object) -> Loads:
    """What a framework would load: nothing wrong."""
    quiet = Loads(name, version, PACKAGES, "", (), (), (), ())
    return replace(quiet, **found)


DOCKER = Seen(Container("docker", "/.dockerenv exists"), "/.dockerenv")


def healthy(**changes: object) -> Snapshot:
    """A live machine with an H100, driver 580 and torch for CUDA 13: everything works."""
    snapshot = Snapshot(
        schema=SCHEMA,
        tool="0.1.0",
        host=Host(
            True,
            "x86_64",
            Seen("6.8.0-40-generic", "/proc/sys/kernel/osrelease"),
            Seen(Distribution("ubuntu", "24.04", "Ubuntu 24.04.3 LTS"), "/etc/os-release"),
            Seen(Libc("glibc", "2.39"), "/lib/x86_64-linux-gnu/libc.so.6"),
            False,
            ABSENT,
            1000,
            (1000,),
            ABSENT,
        ),
        pci=Seen((pci(),), "/sys/bus/pci/devices"),
        kernel=Kernel(
            Seen(("nvidia", "nvidia_uvm", "nvidia_modeset"), "/proc/modules"),
            loaded(),
            Seen((module_file(),), "/lib/modules"),
            Seen((("uvm_disable_hmm", "N"),), "/proc/driver/nvidia/params"),
            Seen(("nvidia", "nvidia-uvm"), "/proc/devices"),
            messages(),
        ),
        nodes=Seen((node("/dev/nvidia-uvm"), node("/dev/nvidia0"), node("/dev/nvidiactl")), "/dev"),
        libcuda=Choice("libcuda.so.1", LIBCUDA, "ld.so.cache", ()),
        libcuda_copies=(driver_library(),),
        nvml_copies=(driver_library("libnvidia-ml.so.1"),),
        compat=(),
        libraries=(cudart().library,),
        pythons=(Python("/opt/venv", "3.12", (PACKAGES,), "VIRTUAL_ENV"),),
        frameworks=(torch(),),
        distributions=(),
        environment=(),
        container=ABSENT,
        runtime=ABSENT,
        kubernetes=ABSENT,
        cuda=answers(gpus=(gpu(),)),
        nvml=nvml_answers(gpus=(gpu(brand=2),)),
        runtimes=(cudart(),),
        packages=packages(wheel("torch", "2.9.1+cu130")),
        loads=Seen((loads(),), "the model of the dynamic linker"),
        extensions=ABSENT,
        tools=ABSENT,
        cached=Seen((Cached("libcuda.so.1", LIBCUDA, True),), "/etc/ld.so.cache"),
        preloads=Seen((), "LD_PRELOAD, /etc/ld.so.preload"),
        network=ABSENT,
        code_folders=ABSENT,
        toolchain=ABSENT,
        ptx_compiler=Choice(
            "libnvidia-ptxjitcompiler.so.1",
            f"{LIBCUDA.rpartition('/')[0]}/libnvidia-ptxjitcompiler.so.1",
            "ld.so.cache",
            (),
        ),
    )
    return replace(snapshot, **changes)


def with_host(snapshot: Snapshot, **changes: object) -> Snapshot:
    """The same with other facts about the host."""
    return replace(snapshot, host=replace(snapshot.host, **changes))


def with_kernel(snapshot: Snapshot, **changes: object) -> Snapshot:
    """The same with other facts about the kernel."""
    return replace(snapshot, kernel=replace(snapshot.kernel, **changes))


def bare(**changes: object) -> Snapshot:
    """A live machine with nothing of a GPU, with torch."""
    snapshot = healthy(
        pci=Seen((), "/sys/bus/pci/devices"),
        nodes=Seen(
            (node("/dev/nvidia-uvm", "ENOENT", present=False), node("/dev/nvidiactl", "ENOENT", present=False)), "/dev"
        ),
        libcuda=Choice("libcuda.so.1", None, "not found", ("/usr/lib/libcuda.so.1: not there",)),
        libcuda_copies=(),
        nvml_copies=(),
        cuda=Unseen(
            Why.ABSENT,
            ("dlopen libcuda.so.1",),
            "libcuda.so.1: cannot open shared object file: No such file or directory",
        ),
        nvml=Unseen(
            Why.ABSENT,
            ("dlopen libnvidia-ml.so.1",),
            "libnvidia-ml.so.1: cannot open shared object file: No such file or directory",
        ),
        runtimes=(cudart(code=35, driver=None),),
    )
    none = Kernel(Seen((), "/proc/modules"), ABSENT, ABSENT, ABSENT, Seen((), "/proc/devices"), messages())
    return replace(snapshot, kernel=none, **changes)


def image(**changes: object) -> Snapshot:
    """The files of an image: no kernel, nothing live."""
    snapshot = with_host(bare(), live=False, kernel=NOT_APPLICABLE, uid=None, groups=())
    unseen = {
        "pci": NOT_APPLICABLE,
        "nodes": NOT_APPLICABLE,
        "cuda": NOT_APPLICABLE,
        "nvml": NOT_APPLICABLE,
        "container": NOT_APPLICABLE,
    }
    files = tuple(replace(runtime, driver=NOT_APPLICABLE, count=NOT_APPLICABLE) for runtime in snapshot.runtimes)
    snapshot = replace(snapshot, runtimes=files, **unseen)
    none = Kernel(NOT_APPLICABLE, NOT_APPLICABLE, NOT_APPLICABLE, NOT_APPLICABLE, NOT_APPLICABLE, NOT_APPLICABLE)
    return replace(snapshot, kernel=none, **changes)
