"""Cases of rules about libcuda on disk, WSL2 and the variables that CUDA and frameworks read."""

from __future__ import annotations

from gpucheck.facts import Choice, Libc, Library, Mps, Seen, Snapshot, ToolkitHome
from gpucheck.finding import Status
from gpucheck.record import replace
from gpucheck.versions import ComputeCapability
from tests.machines import (
    ABSENT,
    DOCKER,
    NOT_APPLICABLE,
    UNREADABLE,
    answers,
    bare,
    driver_library,
    gpu,
    healthy,
    image,
    loaded,
    node,
    nvml_answers,
    torch,
    with_host,
    with_kernel,
)

FAIL, PASS, UNKNOWN = Status.FAIL, Status.PASS, Status.UNKNOWN

MUSL = Seen(Libc("musl", ""), "/lib/ld-musl-x86_64.so.1")
OTHER = gpu(index=1, uuid="GPU-22222222-1111-2222-3333-444455556666", name="NVIDIA T400")
TWO = nvml_answers(gpus=(gpu(), OTHER))
WSL_LIBCUDA = driver_library(version="", kind="wsl", path="/usr/lib/wsl/lib/libcuda.so.1")
CUDNN = Library("libcudnn.so.8", "/opt/libcudnn.so.8", "/opt/libcudnn.so.8.9.2", "wheel", "8.9.2", "", 1)
JAX = replace(torch(), name="jax", version="0.9.0")
NOT_FOUND = Choice("libcuda.so", None, "not found", ())
NO_COMPILER = Choice("libnvidia-ptxjitcompiler.so.1", None, "not found", ())


def wsl(**changes: object) -> Snapshot:
    """WSL2 as it should be."""
    snapshot = healthy(
        nodes=Seen((node("/dev/dxg"),), "/dev"),
        libcuda=Choice("libcuda.so.1", WSL_LIBCUDA.path, "ld.so.cache", ()),
        libcuda_copies=(WSL_LIBCUDA,),
        libcuda_unversioned=Choice("libcuda.so", "/usr/lib/wsl/lib/libcuda.so", "LD_LIBRARY_PATH", ()),
    )
    return with_host(replace(snapshot, **changes), wsl=True)


def unfound(*copies: Library, **changes: object) -> Snapshot:
    """libcuda.so.1 is not found, though these copies are there."""
    return with_kernel(replace(bare(libcuda_copies=copies), **changes), driver=loaded())


def shown(value: str, *visible: object, **changes: object) -> Snapshot:
    """Two GPUs, and what CUDA lists of them with CUDA_VISIBLE_DEVICES."""
    cuda = answers(gpus=visible) if visible else answers(("cuInit", 100))  # type: ignore[arg-type]
    return healthy(**{"nvml": TWO, "cuda": cuda, "environment": (("CUDA_VISIBLE_DEVICES", value),), **changes})


def variables(**found: str) -> Snapshot:
    """A healthy machine with variables."""
    return healthy(environment=tuple(sorted(found.items())))


def mps(**changes: object) -> Snapshot:
    """cuInit = 805, and the pipe directory."""
    found = Mps("/tmp/nvidia-mps", 1000, True, None, "")
    return healthy(cuda=answers(("cuInit", 805)), mps=Seen(replace(found, **changes), "/tmp/nvidia-mps"))


CASES: list[tuple[str, str, Snapshot, Status]] = [
    ("ptx-compiler-missing", "not beside libcuda", healthy(ptx_compiler=NO_COMPILER), FAIL),
    ("ptx-compiler-missing", "in a container", healthy(container=DOCKER, ptx_compiler=NO_COMPILER), FAIL),
    (
        "ptx-compiler-missing",
        "found",
        healthy(ptx_compiler=replace(NO_COMPILER, path="/usr/lib64/libnvidia-ptxjitcompiler.so.1")),
        PASS,
    ),
    ("ptx-compiler-missing", "Windows' driver", wsl(ptx_compiler=NO_COMPILER), PASS),
    (
        "ptx-compiler-missing",
        "a driver that opens it elsewhere",
        healthy(ptx_compiler=NO_COMPILER, libcuda_copies=(driver_library(version="418.226.00"),)),
        PASS,
    ),
    (
        "ptx-compiler-missing",
        "the linker is not known",
        healthy(ptx_compiler=replace(NO_COMPILER, how="unknown")),
        PASS,
    ),
    ("ptx-compiler-missing", "not looked up", healthy(ptx_compiler=None), UNKNOWN),
    ("ptx-compiler-missing", "an image", image(ptx_compiler=NO_COMPILER), UNKNOWN),
    (
        "libcuda-missing",
        "nodes without libraries",
        with_kernel(bare(container=DOCKER, nodes=Seen((node("/dev/nvidiactl"),), "/dev")), driver=loaded()),
        FAIL,
    ),
    ("libcuda-missing", "the module is there", unfound(), FAIL),
    (
        "libcuda-missing",
        "a container on a Jetson",
        bare(container=DOCKER, nodes=Seen((node("/dev/nvmap"),), "/dev")),
        FAIL,
    ),
    (
        "libcuda-for-other-processor",
        "the 32-bit one alone",
        unfound(replace(driver_library(path="/usr/lib/i386-linux-gnu/libcuda.so.1"), machine="i686")),
        FAIL,
    ),
    (
        "libcuda-for-other-processor",
        "both",
        unfound(
            replace(driver_library(path="/usr/lib/i386-linux-gnu/libcuda.so.1"), machine="i686"),
            replace(driver_library(path="/opt/libcuda.so.1"), machine="x86_64"),
        ),
        PASS,
    ),
    ("libcuda-for-other-processor", "found", healthy(), PASS),
    ("libcuda-for-other-processor", "an image", image(), UNKNOWN),
    (
        "libcuda-off-loader-path",
        "only one for another processor",
        unfound(replace(driver_library(path="/usr/lib/i386-linux-gnu/libcuda.so.1"), machine="i686")),
        PASS,
    ),
    (
        "libcuda-link-missing",
        "only the file",
        unfound(driver_library(path="/usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05")),
        FAIL,
    ),
    (
        "libcuda-link-missing",
        "a link to nothing",
        unfound(broken_links=("/usr/lib/x86_64-linux-gnu/libcuda.so.1 -> libcuda.so.535.54.03",)),
        FAIL,
    ),
    (
        "libcuda-link-missing",
        "it has its name, elsewhere",
        unfound(driver_library(path="/usr/local/nvidia/lib64/libcuda.so.1")),
        PASS,
    ),
    ("libcuda-link-missing", "found", healthy(), PASS),
    ("libcuda-link-missing", "an image", image(), UNKNOWN),
    (
        "driver-needs-glibc",
        "Alpine for GPUs",
        with_host(image(environment=(("NVIDIA_VISIBLE_DEVICES", "all"),), frameworks=()), libc=MUSL),
        FAIL,
    ),
    ("driver-needs-glibc", "Alpine for something else", with_host(image(frameworks=()), libc=MUSL), PASS),
    ("driver-needs-glibc", "Debian", healthy(), PASS),
    ("driver-needs-glibc", "not known", with_host(healthy(), libc=UNREADABLE), UNKNOWN),
    (
        "libcuda-unloadable",
        "not readable",
        healthy(cuda=replace(ABSENT, detail="libcuda.so.1: cannot open shared object file: Permission denied")),
        FAIL,
    ),
    ("wsl-libcuda-missing", "Windows has no driver", wsl(libcuda_copies=(), cuda=ABSENT), FAIL),
    ("wsl-libcuda-missing", "there", wsl(), PASS),
    ("wsl-libcuda-missing", "not WSL", healthy(), PASS),
    ("wsl-libcuda-missing", "devices not seen", wsl(nodes=UNREADABLE, cuda=ABSENT), UNKNOWN),
    ("wsl-libcuda-unversioned", "cuDNN 8", wsl(libcuda_unversioned=NOT_FOUND, libraries=(CUDNN,)), FAIL),
    ("wsl-libcuda-unversioned", "nobody asks for it", wsl(libcuda_unversioned=NOT_FOUND), FAIL),
    ("wsl-libcuda-unversioned", "found", wsl(libraries=(CUDNN,)), PASS),
    ("wsl-libcuda-unversioned", "not WSL", healthy(libraries=(CUDNN,)), PASS),
    (
        "visible-devices-hides-gpus",
        "a GPU in MIG mode",
        shown(gpu().uuid, nvml=nvml_answers(gpus=(gpu(mig=True, instances=1),))),
        FAIL,
    ),
    (
        "visible-devices-hides-gpus",
        "an instance that is not here",
        shown("MIG-7f0e6f2c-1111-2222-3333-444455556666"),
        FAIL,
    ),
    ("visible-devices-hides-gpus", "one twice", shown("0,0"), FAIL),
    ("visible-devices-hides-gpus", "None", shown("None"), FAIL),
    ("visible-devices-hides-gpus", "a short UUID of two", shown("GPU-", nvml=nvml_answers(gpus=(gpu(), OTHER))), FAIL),
    ("visible-devices-hides-gpus", "the second of two", shown("1", OTHER), PASS),
    ("visible-devices-ends-early", "out of range in the middle", shown("0,9,1", gpu()), FAIL),
    ("visible-devices-ends-early", "an index after a UUID", shown(f"{gpu().uuid},1", gpu()), FAIL),
    ("visible-devices-ends-early", "a trailing comma", shown("0,", gpu()), PASS),
    ("visible-devices-ends-early", "with spaces", shown("0, 1", gpu(), OTHER), PASS),
    ("visible-devices-ends-early", "not set", healthy(), PASS),
    ("visible-devices-ends-early", "nobody counts", shown("0,9,1", cuda=NOT_APPLICABLE), UNKNOWN),
    ("device-order-ambiguous", "a word that CUDA does not know", variables(CUDA_DEVICE_ORDER="PCI"), FAIL),
    ("device-order-ambiguous", "different GPUs by index", shown("1", OTHER), FAIL),
    (
        "device-order-ambiguous",
        "in nvidia-smi's order",
        shown("1", OTHER, environment=(("CUDA_DEVICE_ORDER", "PCI_BUS_ID"), ("CUDA_VISIBLE_DEVICES", "1"))),
        PASS,
    ),
    ("device-order-ambiguous", "equal GPUs", variables(CUDA_VISIBLE_DEVICES="0"), PASS),
    ("device-order-ambiguous", "no NVML", shown("1", OTHER, nvml=UNREADABLE), UNKNOWN),
    ("variable-misspelt", "a letter short", variables(CUDA_VISIBLE_DEVICE="0"), FAIL),
    ("variable-misspelt", "a letter missing", variables(CUDA_VISBLE_DEVICES="0"), FAIL),
    ("variable-misspelt", "small letters", variables(cuda_visible_devices="0"), FAIL),
    ("variable-misspelt", "another vendor's", variables(ROCR_VISIBLE_DEVICES="0", HIP_VISIBLE_DEVICES="0"), PASS),
    (
        "variable-misspelt",
        "others that begin alike",
        variables(CUDA_VERSION="13.0.1", CUDA_PATH="/x", CUDA_HOME="/x"),
        PASS,
    ),
    ("mps-unreachable", "a folder that may not be entered", mps(blocked="/run/nvidia", control=False, uid=-1), FAIL),
    ("mps-unreachable", "another user's", mps(uid=1001), FAIL),
    ("jax-platform-excludes-gpu", "cpu", replace(variables(JAX_PLATFORMS="cpu"), frameworks=(JAX,)), FAIL),
    (
        "jax-platform-excludes-gpu",
        "cuda first",
        replace(variables(JAX_PLATFORMS="cuda,cpu"), frameworks=(JAX,)),
        PASS,
    ),
    (
        "jax-platform-excludes-gpu",
        "a CPU build",
        replace(variables(JAX_PLATFORMS="cpu"), frameworks=(replace(JAX, gpu=False),)),
        PASS,
    ),
    ("jax-platform-excludes-gpu", "no jax", variables(JAX_PLATFORMS="cpu"), PASS),
    (
        "jax-platform-excludes-gpu",
        "build not known",
        replace(variables(JAX_PLATFORMS="cpu"), frameworks=(replace(JAX, gpu=None),)),
        UNKNOWN,
    ),
    ("numba-cuda-disabled", "disabled", variables(NUMBA_DISABLE_CUDA="1"), FAIL),
    ("numba-cuda-disabled", "simulated", variables(NUMBA_ENABLE_CUDASIM="1"), FAIL),
    ("numba-cuda-disabled", "switched off", variables(NUMBA_DISABLE_CUDA="0"), PASS),
    ("ptx-compilation-forced", "torch has none", variables(CUDA_FORCE_PTX_JIT="1"), FAIL),
    ("ptx-compilation-forced", "nothing to compile", healthy(), PASS),
    (
        "ptx-compilation-forced",
        "not known",
        replace(variables(CUDA_FORCE_PTX_JIT="1"), frameworks=(torch(architectures=()),)),
        UNKNOWN,
    ),
    (
        "ptx-compilation-disabled",
        "a newer GPU",
        replace(
            variables(CUDA_DISABLE_PTX_JIT="1"),
            frameworks=(torch(architectures=("sm_90", "compute_90")),),
            cuda=answers(gpus=(gpu(capability=ComputeCapability(12, 0)),)),
        ),
        FAIL,
    ),
    ("ptx-compilation-disabled", "machine code is there", variables(CUDA_DISABLE_PTX_JIT="1"), PASS),
    (
        "ptx-compilation-disabled",
        "not known",
        replace(variables(CUDA_DISABLE_PTX_JIT="1"), frameworks=(torch(architectures=()),)),
        UNKNOWN,
    ),
    ("extensions-built-for-other-gpus", "older ones", variables(TORCH_CUDA_ARCH_LIST="7.5;8.0 8.6"), FAIL),
    ("extensions-built-for-other-gpus", "PTX of an older one", variables(TORCH_CUDA_ARCH_LIST="7.5;8.0+PTX"), PASS),
    ("extensions-built-for-other-gpus", "this one", variables(TORCH_CUDA_ARCH_LIST="8.0;9.0a"), PASS),
    ("extensions-built-for-other-gpus", "a name", variables(TORCH_CUDA_ARCH_LIST="Ampere"), PASS),
    (
        "extensions-built-for-other-gpus",
        "no GPU known",
        replace(bare(), environment=(("TORCH_CUDA_ARCH_LIST", "8.0"),)),
        UNKNOWN,
    ),
    ("launches-made-blocking", "set", variables(CUDA_LAUNCH_BLOCKING="1"), FAIL),
    ("launches-made-blocking", "not set", healthy(), PASS),
    (
        "toolkit-home-wrong",
        "not there",
        healthy(toolkit_homes=(ToolkitHome("CUDA_HOME", "/usr/local/cuda-11.8", False, ""),)),
        FAIL,
    ),
    (
        "toolkit-home-wrong",
        "another major",
        healthy(toolkit_homes=(ToolkitHome("CUDA_HOME", "/usr/local/cuda", True, "12.4.1"),)),
        FAIL,
    ),
    (
        "toolkit-home-wrong",
        "the same major",
        healthy(toolkit_homes=(ToolkitHome("CUDA_HOME", "/usr/local/cuda", True, "13.0.1"),)),
        PASS,
    ),
    ("preload-replaces-driver", "a stub", variables(LD_PRELOAD="/usr/local/cuda/lib64/stubs/libcuda.so"), FAIL),
    ("preload-replaces-driver", "something else", variables(LD_PRELOAD="/usr/lib/libjemalloc.so.2"), PASS),
]

#: The environment, the C library's kind and the folders that variables name are always known.
ALWAYS_KNOWN = {
    "numba-cuda-disabled", "launches-made-blocking", "toolkit-home-wrong", "preload-replaces-driver", "wsl-libcuda-unversioned",
}  # fmt: skip
