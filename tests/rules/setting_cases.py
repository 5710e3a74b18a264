"""Cases of rules about limits, compilers, settings of engines, and what keeps a GPU, a module or a package out."""

from __future__ import annotations

from gpucheck.facts import (
    Ban,
    CodeFolder,
    Container,
    ContainerRuntime,
    Distributed,
    DriverPart,
    Hidden,
    Library,
    Network,
    NumberReader,
    Processor,
    Program,
    Seen,
    Shadow,
    Snapshot,
    Stack,
    Tool,
    Toolchain,
    Unbuilt,
)
from gpucheck.finding import Status
from gpucheck.record import replace
from gpucheck.versions import CudaVersion
from tests.machines import (
    ABSENT,
    DOCKER,
    LIBCUDA,
    NOT_APPLICABLE,
    PACKAGES,
    UNREADABLE,
    answers,
    bare,
    gpu,
    healthy,
    messages,
    module_file,
    pci,
    torch,
    with_kernel,
)

FAIL, PASS, UNKNOWN = Status.FAIL, Status.PASS, Status.UNKNOWN

JAXLIB = (Distributed("jaxlib", "0.4.30", PACKAGES),)
LXC = Seen(Container("lxc", "container=lxc"), "environment")
NIX = "/nix/store/nqb2ns2d1lahnd5ncwmn6k84qfd7vx2k-glibc-2.40-36/lib/ld-linux-x86-64.so.2"
NOT_FOUND = replace(ABSENT, detail="libcuda.so.1: cannot open shared object file: No such file or directory")
TOOLCHAIN = Toolchain("/usr/local/cuda/bin/nvcc", CudaVersion(13, 0), "/usr/bin/gcc", 15, 15, "host_config.h")
NVRTC = Library("libnvrtc.so.12", "/usr/local/cuda/lib64/libnvrtc.so.12", "", "toolkit", "12.4.127", "", 1)
HEADERS = Tool("cuda-headers", "cupy-cuda12x 13.3.0", "", None, ("/usr/local/cuda/include/vector_types.h",))
INTEL = Processor("Intel(R) Xeon(R) Gold 6338", True, False)


def engine(container: object = ABSENT, **changes: object) -> Snapshot:
    """A host with a GPU, docker and the toolkit."""
    found = ContainerRuntime("/usr/bin/nvidia-ctk", "1.18.0", ("docker",), ("nvidia",), (), False)
    return healthy(container=container, runtime=Seen(replace(found, **changes), "/usr/bin/nvidia-ctk"))


def unloaded(*log: str, **changes: object) -> Snapshot:
    """A GPU on the bus, the module on disk and not loaded."""
    base = bare(pci=Seen((pci(None),), "/sys/bus/pci/devices"))
    files = Seen((replace(module_file(), built_for="6.8.0-31-generic"),), "/lib/modules")
    return with_kernel(base, **{"files": files, "messages": messages(*log), **changes})


def two(name: str = "NVIDIA A10", iommu: str = "DMA-FQ", **changes: object) -> Snapshot:
    """Two GPUs on PCI Express."""
    cards = (gpu(name=name), gpu(name=name, index=1))
    on_bus = tuple(replace(pci(), address=f"0000:0{number}:00.0", iommu=iommu) for number in (1, 2))
    found = {"processor": Seen(INTEL, "/proc/cpuinfo"), **changes}
    return healthy(pci=Seen(on_bus, "/sys"), cuda=answers(gpus=cards), **found)


def network(*interfaces: str, rdma: tuple[str, ...] = ()) -> Seen[Network]:
    return Seen(Network(interfaces, rdma), "/sys/class/net")


def interface(value: str, *there: str) -> Snapshot:
    """A machine with these interfaces, and NCCL_SOCKET_IFNAME."""
    return healthy(environment=(("NCCL_SOCKET_IFNAME", value),), network=network("lo", *there))


def locked(limit: object, rdma: tuple[str, ...] = ("mlx5_0",)) -> Snapshot:
    return healthy(container=DOCKER, network=network("eth0", rdma=rdma), locked_memory=limit)


def compiles(name: str, *variables: tuple[str, str], **changes: object) -> Snapshot:
    """torch for CUDA 13 beside a package that compiles as it runs."""
    chain = Seen(replace(TOOLCHAIN, **changes), "nvcc")
    return healthy(compiling=((name, "1.0"),), toolchain=chain, environment=variables)


def visible(value: str, *readers: NumberReader) -> Snapshot:
    return healthy(environment=(("CUDA_VISIBLE_DEVICES", value),), number_readers=readers)


def allocator(value: str, version: str = "2.0.1+cu118") -> Snapshot:
    return healthy(frameworks=(torch(version),), environment=(("PYTORCH_CUDA_ALLOC_CONF", value),))


def cupy(path: str = "", version: str = "12.4.127") -> Snapshot:
    tool = replace(HEADERS, path=path)
    return healthy(tools=Seen((tool,), "files"), libraries=(replace(NVRTC, version=version),))


READER = NumberReader("vllm", "0.9.2", f"{PACKAGES}/vllm/platforms/interface.py")
FOLDER = CodeFolder("torch.compile", "TORCHINDUCTOR_CACHE_DIR", "/tmp", "/tmp", "rw,nosuid,nodev,noexec")
SHADOW = Shadow("torch", "2.3.1+cpu", "/home/anna/.local/lib/python3.12/site-packages", "2.5.1+cu124", "/usr/local/lib")
UNBUILT = Unbuilt("groundingdino", "0.1.0", PACKAGES, "groundingdino._C", f"{PACKAGES}/ms_deform_attn.py")
STACK = Seen((Stack("ctranslate2 4.5.0", f"{PACKAGES}/libctranslate2.so"),), "program headers")
VIDEO = DriverPart("pynvvideocodec 1.0.2", "libnvcuvid.so.1", "")
OPENCL = DriverPart("pyopencl 2024.2.7", "nvidia.icd", "")
UDEV = Seen((Hidden("udev rule", 'ATTR{remove}="1"', "/lib/udev/rules.d/50-remove-nvidia.rules"),), "udev")
ENCLOSURE = Seen((Hidden("thunderbolt", "Razer Core X", "/sys/bus/thunderbolt/devices/0-1/authorized"),), "udev")
OLLAMA = Program("ollama", "/usr/bin/ollama", "/usr/lib/ollama", ())

CASES: list[tuple[str, str, Snapshot, Status]] = [
    ("gpu-kept-off-bus", "a udev rule", bare(hidden=UDEV), FAIL),
    ("gpu-kept-off-bus", "an enclosure", bare(hidden=ENCLOSURE), FAIL),
    ("gpu-kept-off-bus", "nothing", bare(hidden=Seen((), "udev")), PASS),
    ("gpu-kept-off-bus", "the GPU is there", healthy(hidden=UDEV), PASS),
    ("gpu-kept-off-bus", "not looked for", bare(hidden=UNREADABLE), UNKNOWN),
    ("iommu-between-gpus", "it translates", two(), FAIL),
    ("iommu-between-gpus", "it passes through", two(iommu="identity"), PASS),
    ("iommu-between-gpus", "no peer access", two("NVIDIA GeForce RTX 4090"), PASS),
    ("iommu-between-gpus", "peer access is off", two(environment=(("NCCL_P2P_DISABLE", "1"),)), PASS),
    ("iommu-between-gpus", "a guest", two(processor=Seen(replace(INTEL, virtual=True), "/proc/cpuinfo")), PASS),
    ("iommu-between-gpus", "no processor known", two(processor=UNREADABLE), UNKNOWN),
    (
        "kernel-module-refused",
        "built for another kernel",
        unloaded("nvidia: version magic '6.8.0-31-generic SMP ' should be '6.8.0-40-generic SMP '"),
        FAIL,
    ),
    ("kernel-module-refused", "a checksum", unloaded("nvidia: disagrees about version of symbol module_layout"), FAIL),
    ("kernel-module-refused", "a module before it", unloaded("nvidia: Unknown symbol ipmi_create_user (err -2)"), FAIL),
    ("kernel-module-refused", "a symbol of nobody", unloaded("nvidia: Unknown symbol mystery (err -2)"), FAIL),
    (
        "kernel-module-refused",
        "SUSE's modprobe",
        unloaded(unsupported=Ban("nvidia", "allow_unsupported_modules 0", "/etc/modprobe.d/10.conf")),
        FAIL,
    ),
    ("kernel-module-refused", "nothing is logged", unloaded(), PASS),
    ("kernel-module-refused", "loaded", healthy(), PASS),
    ("kernel-module-refused", "modules not readable", unloaded(modules=UNREADABLE), UNKNOWN),
    ("cgroups-not-writable", "rootless", engine(rootless="/home/anna/.config/systemd/user/docker.service"), FAIL),
    ("cgroups-not-writable", "LXC", engine(LXC, rootless="/proc/self/uid_map: 0 is user 100000"), FAIL),
    ("cgroups-not-writable", "told so", engine(rootless="/home/anna/docker.service", no_cgroups=True), PASS),
    ("cgroups-not-writable", "CDI", engine(rootless="/home/anna/docker.service", cdi=("/etc/cdi/nvidia.yaml",)), PASS),
    ("cgroups-not-writable", "with root", engine(), PASS),
    ("cgroups-not-writable", "podman alone", engine(LXC, rootless="/proc/self/uid_map: 0", engines=("podman",)), PASS),
    ("cgroups-not-writable", "not known", healthy(runtime=UNREADABLE), UNKNOWN),
    ("cgroup-rules-not-added", "rootless", engine(rootless="/home/anna/docker.service", no_cgroups=True), PASS),
    ("toolkit-ldconfig-wrong", "of Ubuntu", engine(ldconfig="/sbin/ldconfig.real"), FAIL),
    ("toolkit-ldconfig-wrong", "another path", engine(ldconfig="/usr/local/sbin/ldconfig"), FAIL),
    ("toolkit-ldconfig-wrong", "there", engine(), PASS),
    ("toolkit-ldconfig-wrong", "not known", healthy(runtime=UNREADABLE), UNKNOWN),
    (
        "cdi-newer-than-podman",
        "0.7 and podman 4",
        engine(podman="4.9.3+ds1-1", cdi_versions=(("/etc/cdi/nvidia.yaml", "0.7.0"),)),
        FAIL,
    ),
    (
        "cdi-newer-than-podman",
        "0.5 and podman 4",
        engine(podman="4.9.3+ds1-1", cdi_versions=(("/etc/cdi/nvidia.yaml", "0.5.0"),)),
        PASS,
    ),
    (
        "cdi-newer-than-podman",
        "0.7 and podman 5",
        engine(podman="5.4.2", cdi_versions=(("/etc/cdi/nvidia.yaml", "0.7.0"),)),
        PASS,
    ),
    ("cdi-newer-than-podman", "no podman", engine(), PASS),
    ("cdi-newer-than-podman", "not known", healthy(runtime=UNREADABLE), UNKNOWN),
    (
        "libcuda-outside-store",
        "Nix",
        healthy(cuda=NOT_FOUND, loader=Seen(NIX, "/nix/store/python")),
        FAIL,
    ),
    ("libcuda-outside-store", "another interpreter", healthy(cuda=NOT_FOUND, loader=Seen("/lib64/ld.so", "")), PASS),
    ("libcuda-outside-store", "reached", healthy(loader=Seen(NIX, "/nix/store/python")), PASS),
    (
        "libcuda-outside-store",
        "NixOS",
        healthy(
            cuda=NOT_FOUND,
            loader=Seen(NIX, "/nix/store/python"),
            libcuda=replace(healthy().libcuda, path="/run/opengl-driver/lib/libcuda.so.1", how="default"),
        ),
        PASS,
    ),
    ("libcuda-outside-store", "not looked at", healthy(cuda=NOT_FOUND, loader=UNREADABLE), UNKNOWN),
    ("driver-part-missing", "video in a container", healthy(container=DOCKER, driver_parts=(VIDEO,)), FAIL),
    ("driver-part-missing", "video on a host", healthy(driver_parts=(VIDEO,)), FAIL),
    ("driver-part-missing", "OpenCL in a container", healthy(container=DOCKER, driver_parts=(OPENCL,)), FAIL),
    ("driver-part-missing", "OpenCL on a host", healthy(driver_parts=(OPENCL,)), FAIL),
    ("driver-part-missing", "there", healthy(driver_parts=(replace(VIDEO, path=LIBCUDA),)), PASS),
    ("driver-part-missing", "no libcuda either", bare(driver_parts=(VIDEO,)), PASS),
    ("user-packages-hide-others", "a container", healthy(container=DOCKER, shadows=(SHADOW,)), FAIL),
    (
        "user-packages-hide-others",
        "conda",
        healthy(
            shadows=(replace(SHADOW, place="/opt/conda/lib/python3.12/site-packages"),),
            environment=(("CONDA_PREFIX", "/opt/conda"),),
            frameworks=(torch("2.3.1+cpu", gpu=False),),
        ),
        FAIL,
    ),
    ("user-packages-hide-others", "a host's own Python", healthy(shadows=(SHADOW,)), PASS),
    ("executable-stack-refused", "one asks", healthy(stacks=STACK), FAIL),
    (
        "executable-stack-refused",
        "allowed",
        healthy(stacks=STACK, environment=(("GLIBC_TUNABLES", "glibc.rtld.execstack=2"),)),
        PASS,
    ),
    ("executable-stack-refused", "an older glibc", healthy(stacks=NOT_APPLICABLE), PASS),
    ("executable-stack-refused", "none asks", healthy(stacks=Seen((), "program headers")), PASS),
    ("executable-stack-refused", "no C library is known", healthy(stacks=UNREADABLE), UNKNOWN),
    ("cuda-headers-missing", "a runtime image", cupy(), FAIL),
    ("cuda-headers-missing", "a toolkit", cupy("/usr/local/cuda/include/vector_types.h"), PASS),
    ("cuda-headers-missing", "before 12.2", cupy(version="12.1.105"), PASS),
    ("cuda-headers-missing", "not readable", healthy(tools=UNREADABLE), UNKNOWN),
    ("compiler-for-other-cuda", "DeepSpeed", compiles("deepspeed", cuda=CudaVersion(12, 1)), FAIL),
    ("compiler-for-other-cuda", "same major", compiles("deepspeed", cuda=CudaVersion(13, 1)), PASS),
    ("compiler-for-other-cuda", "does not refuse", compiles("gsplat", cuda=CudaVersion(12, 1)), PASS),
    (
        "compiler-for-other-cuda",
        "told not to",
        compiles("deepspeed", ("DS_SKIP_CUDA_CHECK", "1"), cuda=CudaVersion(12, 1)),
        PASS,
    ),
    ("compiler-for-other-cuda", "no compiler", healthy(toolchain=ABSENT), PASS),
    ("compiler-for-other-cuda", "not readable", healthy(toolchain=UNREADABLE), UNKNOWN),
    ("host-compiler-too-new", "gcc 15, nvcc up to 13", compiles("gsplat", newest=13), FAIL),
    ("host-compiler-too-new", "within", compiles("gsplat"), PASS),
    ("host-compiler-too-new", "nothing compiles", healthy(toolchain=Seen(replace(TOOLCHAIN, newest=13), "nvcc")), PASS),
    (
        "host-compiler-too-new",
        "another is named",
        compiles("gsplat", ("NVCC_PREPEND_FLAGS", "-ccbin g++-13"), newest=13),
        PASS,
    ),
    ("host-compiler-too-new", "not readable", healthy(toolchain=UNREADABLE), UNKNOWN),
    ("extension-without-cuda-part", "GroundingDINO", healthy(unbuilt=(UNBUILT,)), FAIL),
    ("extension-without-cuda-part", "built", healthy(), PASS),
    (
        "processor-lacks-avx",
        "a guest",
        healthy(distributions=JAXLIB, processor=Seen(Processor("Common KVM processor", False, True), "/proc/cpuinfo")),
        FAIL,
    ),
    (
        "processor-lacks-avx",
        "an old one",
        healthy(distributions=JAXLIB, processor=Seen(Processor("", False, False), "/proc/cpuinfo")),
        FAIL,
    ),
    ("processor-lacks-avx", "it has", healthy(distributions=JAXLIB, processor=Seen(INTEL, "/proc/cpuinfo")), PASS),
    ("processor-lacks-avx", "nothing needs it", healthy(), PASS),
    ("processor-lacks-avx", "not known", healthy(distributions=JAXLIB, processor=UNREADABLE), UNKNOWN),
    ("code-folder-noexec", "/tmp", healthy(code_folders=Seen((FOLDER,), "/proc/mounts")), FAIL),
    (
        "code-folder-noexec",
        "both, in a container",
        healthy(
            container=DOCKER,
            code_folders=Seen(
                (FOLDER, replace(FOLDER, user="Triton", variable="TRITON_CACHE_DIR", path="/tmp/t")), "/proc/mounts"
            ),
        ),
        FAIL,
    ),
    (
        "code-folder-noexec",
        "exec",
        healthy(code_folders=Seen((replace(FOLDER, options="rw,nosuid"),), "/proc/mounts")),
        PASS,
    ),
    ("code-folder-noexec", "no Triton", healthy(code_folders=ABSENT), PASS),
    ("code-folder-noexec", "no mount table", healthy(code_folders=UNREADABLE), UNKNOWN),
    ("program-without-gpu-part", "ollama", healthy(programs=(OLLAMA,)), FAIL),
    ("program-without-gpu-part", "no GPU", bare(programs=(OLLAMA,)), PASS),
    (
        "program-without-gpu-part",
        "with it",
        healthy(programs=(replace(OLLAMA, backends=("/usr/lib/ollama/cuda_v12/libggml-cuda.so",)),)),
        PASS,
    ),
    ("visible-devices-not-numbers", "vLLM", visible(gpu().uuid, READER), FAIL),
    ("visible-devices-not-numbers", "nobody reads it so", visible(gpu().uuid), PASS),
    ("allocator-option-unknown", "torch 2.0", allocator("max_split_size_mb:64, expandable_segments:True"), FAIL),
    ("allocator-option-unknown", "torch 2.1", allocator("expandable_segments:True", "2.1.0+cu118"), PASS),
    ("allocator-option-unknown", "an option that is known", allocator("max_split_size_mb:64"), PASS),
    ("nccl-interface-unknown", "another machine's", interface("eth2", "eno1"), FAIL),
    ("nccl-interface-unknown", "exactly", interface("=eno", "eno1"), FAIL),
    ("nccl-interface-unknown", "a beginning", interface("bond,eno", "eno1"), PASS),
    ("nccl-interface-unknown", "all but some", interface("^docker0", "eno1"), PASS),
    ("nccl-interface-unknown", "not set", healthy(), PASS),
    (
        "nccl-interface-unknown",
        "no interfaces are seen",
        healthy(environment=(("NCCL_SOCKET_IFNAME", "eth0"),), network=network()),
        UNKNOWN,
    ),
    ("locked-memory-limited", "Docker's default", locked(Seen(8 << 20, "/proc/self/limits")), FAIL),
    ("locked-memory-limited", "no limit", locked(ABSENT), PASS),
    ("locked-memory-limited", "no InfiniBand", locked(Seen(8 << 20, "/proc/self/limits"), ()), PASS),
    ("locked-memory-limited", "not readable", locked(UNREADABLE), UNKNOWN),
]

#: What is installed and what the environment says are always known.
ALWAYS_KNOWN = {
    "driver-part-missing", "user-packages-hide-others", "extension-without-cuda-part", "program-without-gpu-part",
    "visible-devices-not-numbers", "allocator-option-unknown",
}  # fmt: skip
