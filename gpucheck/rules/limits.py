"""What a process may do here, and what the machine does with traffic between GPUs."""

from __future__ import annotations

from collections.abc import Iterator

from gpucheck.facts import Snapshot
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.rules import reading
from gpucheck.rules.rule import CannotTell, Layer, need, rule, seen

#: What NCCL registers with an InfiniBand device for one connection is more than this.
ENOUGH = 64 << 20
#: Their wheels for x86 are compiled with AVX: jaxlib's cpu_feature_guard.c, tensorflow.org/install/pip.
BUILT_WITH_AVX = ("jaxlib", "tensorflow", "tensorflow-cpu")


@rule(Layer.ENVIRONMENT)
def locked_memory_limited(snapshot: Snapshot) -> Iterator[Complaint]:
    """This process may lock little memory, and there is InfiniBand, which needs locked memory.

    An RDMA device reads and writes memory that is locked in place. Containers start with a limit of 64 KiB or 8 MiB, and NCCL
    then fails with "ibv_reg_mr failed with error Cannot allocate memory" or "unhandled system error".

    Confirm: `ulimit -l`; `ls /dev/infiniband`.
    Remedy: `docker run --ulimit memlock=-1`; on a host: memlock in /etc/security/limits.d.
    Reference: https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/troubleshooting.html#infiniband
    """
    net = seen(snapshot.network, None)
    if net is None or not net.rdma or len(reading.answering_gpus(snapshot)) < 1:
        return
    limit = seen(snapshot.locked_memory, None)
    if limit is None or limit > ENOUGH:
        return
    yield Complaint(
        # Who gives InfiniBand to a container means to use it; on a host every such card shows it, Ethernet ones too.
        Severity.WARNING if reading.in_container(snapshot) else Severity.NOTE,
        f"This process may lock {limit >> 10} KiB of memory: too little for NCCL over {net.rdma[0]} (InfiniBand or RoCE)",
        "Memory that an RDMA device reads or writes must be locked; without that NCCL fails with: Cannot allocate memory.",
        (
            Evidence(f"Max locked memory {limit} bytes", "/proc/self/limits"),
            Evidence(f"RDMA devices {', '.join(net.rdma[:4])}", "/sys/class/infiniband"),
        ),
        "docker run --ulimit memlock=-1 --ulimit stack=67108864 ... (Slurm: PropagateResourceLimitsExcept=MEMLOCK; a service: LimitMEMLOCK=infinity)"
        if reading.in_container(snapshot)
        else "printf '* soft memlock unlimited\\n* hard memlock unlimited\\n' | sudo tee /etc/security/limits.d/memlock.conf, then log in again "
        "(a service: LimitMEMLOCK=infinity)",
    )


def _matches(entry: str, name: str) -> bool:
    """NCCL compares the beginning of an interface's name, or all of it after ``=``; what follows a colon is a port."""
    wanted, exact = entry.removeprefix("=").partition(":")[0], entry.startswith("=")
    return name == wanted if exact else name.startswith(wanted)


@rule(Layer.ENVIRONMENT)
def nccl_interface_unknown(snapshot: Snapshot) -> Iterator[Complaint]:
    """NCCL_SOCKET_IFNAME names no network interface of this machine.

    NCCL connects its processes over the interfaces that the variable names by the beginning of their name. Copied from another
    machine it matches none, and NCCL ends with "no socket interface found".

    Confirm: `echo $NCCL_SOCKET_IFNAME`; `ip -brief address`.
    Remedy: unset it, or name an interface of this machine.
    Reference: https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/env.html#nccl-socket-ifname
    """
    value = (snapshot.variable("NCCL_SOCKET_IFNAME") or "").strip()
    if not value or value.startswith("^"):
        return
    names = need(snapshot.network).interfaces
    if not names:
        raise CannotTell("the interfaces could not be listed", ("/sys/class/net",))
    exact = value.startswith("=")
    entries = [("=" if exact else "") + part.strip() for part in value.removeprefix("=").split(",") if part.strip()]
    if not entries or any(_matches(entry, name) for entry in entries for name in names):
        return
    others = [name for name in names if name != "lo"]
    yield Complaint(
        Severity.WARNING,
        f"NCCL_SOCKET_IFNAME={value} names no network interface here: NCCL cannot start",
        f"This machine has {', '.join(names) or 'none'}.",
        (
            Evidence(f"NCCL_SOCKET_IFNAME={value}", "environment"),
            Evidence(f"there are {', '.join(names)}", "/sys/class/net"),
        ),
        "unset NCCL_SOCKET_IFNAME" + (f", or: export NCCL_SOCKET_IFNAME={others[0]}" if others else ""),
    )


@rule(Layer.FRAMEWORK)
def processor_lacks_avx(snapshot: Snapshot) -> Iterator[Complaint]:
    """The processor shows no AVX, with which jaxlib and TensorFlow are compiled.

    Their wheels for x86 use AVX: jaxlib refuses to start, TensorFlow ends with "Illegal instruction". In a virtual machine the
    hypervisor decides which instructions are shown: QEMU's default model (kvm64, qemu64) has no AVX.

    Confirm: `grep -o -m1 'avx[0-9]*' /proc/cpuinfo`.
    Remedy: in a virtual machine give it the host's processor model (QEMU: -cpu host); else another machine.
    Reference: https://github.com/jax-ml/jax/blob/main/jaxlib/cpu_feature_guard.c, https://www.tensorflow.org/install/pip
    """
    built = [dist for dist in snapshot.distributions if dist.name in BUILT_WITH_AVX]
    if not built or snapshot.host.architecture != "x86_64":
        return
    processor = need(snapshot.processor)
    if processor.avx:
        return
    yield Complaint(
        Severity.ERROR,
        f"The processor shows no AVX, and {built[0].name} {built[0].version} is compiled with it: it cannot be imported",
        "The hypervisor hides it from this virtual machine: its processor model is a plain one."
        if processor.virtual
        else "The processor is too old for these wheels.",
        (
            Evidence(f"{processor.model or 'the processor'}: no avx among its flags", "/proc/cpuinfo"),
            Evidence(f"{built[0].name} {built[0].version}", built[0].location),
        ),
        "Give the virtual machine the host's processor model (QEMU: -cpu host; Proxmox: qm set ID --cpu host; libvirt: <cpu mode='host-passthrough'/>)"
        if processor.virtual
        else "Use a machine whose processor has AVX, or build the package without it",
    )


@rule(Layer.HARDWARE)
def iommu_between_gpus(snapshot: Snapshot) -> Iterator[Complaint]:
    """The IOMMU translates what GPUs write to each other, which slows NCCL down or makes it hang.

    On bare metal with VT-d or AMD-Vi translating, traffic between two GPUs on PCI Express goes through the root complex instead of the
    switch, or is lost. GPUs that are joined by NVLink, and GeForce GPUs without peer access, are not affected.

    Confirm: `cat /sys/bus/pci/devices/*/iommu_group/type | sort | uniq -c`; `cat /proc/cmdline`.
    Remedy: boot with iommu=pt (or intel_iommu=off, amd_iommu=off); until then NCCL_P2P_DISABLE=1.
    Reference: https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/troubleshooting.html#pci-access-control-services-acs
    """
    gpus = [gpu for gpu in reading.host_gpus(snapshot) if gpu.iommu in ("DMA", "DMA-FQ")]
    if len(gpus) < 2 or len(reading.answering_gpus(snapshot)) < 2 or snapshot.variable("NCCL_P2P_DISABLE") == "1":
        return
    if any(word in gpu.name for gpu in reading.answering_gpus(snapshot) for word in ("GeForce", "TITAN", "SXM", "HGX", "GB", "B200", "B300")):  # fmt: skip
        return
    if need(snapshot.processor).virtual:
        return
    yield Complaint(
        Severity.NOTE,
        f"The IOMMU translates for {len(gpus)} GPUs: NCCL may hang or be slow between them",
        "Traffic from GPU to GPU over PCI Express is then redirected through the root complex.",
        tuple(
            Evidence(f"{gpu.address}: {gpu.iommu}", f"/sys/bus/pci/devices/{gpu.address}/iommu_group/type")
            for gpu in gpus[:4]
        ),
        "Boot with iommu=pt on the kernel's command line (or intel_iommu=off, amd_iommu=off); until then: export NCCL_P2P_DISABLE=1",
    )


@rule(Layer.FRAMEWORK)
def code_folder_noexec(snapshot: Snapshot) -> Iterator[Complaint]:
    """Triton or torch.compile puts the code that it compiles on a file system from which nothing may be executed.

    Both make shared libraries and load them from their cache: ~/.triton/cache, and /tmp for torch.compile. Where that is mounted noexec
    (`docker run --tmpfs /tmp` does so), loading fails with "failed to map segment from shared object".

    Confirm: `findmnt -T /tmp`; `findmnt -T ~/.triton`.
    Remedy: move the cache with TRITON_CACHE_DIR and TORCHINDUCTOR_CACHE_DIR, or mount it with exec.
    Reference: mount(8), noexec; https://docs.docker.com/engine/storage/tmpfs/
    """
    folders = [folder for folder in seen(snapshot.code_folders, ()) or () if "noexec" in folder.options.split(",")]
    if not folders:
        return
    users = " and ".join(dict.fromkeys(folder.user for folder in folders))
    yield Complaint(
        Severity.WARNING,
        f"{users} put{'' if len(folders) > 1 else 's'} compiled code into {folders[0].path}, which is mounted noexec: it cannot be loaded",
        'The loader says: "failed to map segment from shared object".',
        tuple(Evidence(f"{folder.mount} is mounted {folder.options}", "/proc/mounts") for folder in folders),
        " ".join(
            ["export", *(f"{folder.variable}=/var/cache/{folder.user.split('.')[0].lower()}" for folder in folders)]
        )
        + " (a folder of yours that may execute), or mount it with exec"
        + (
            ": docker run --tmpfs /tmp:exec"
            if reading.in_container(snapshot)
            else f": sudo mount -o remount,exec {folders[0].mount}"
        ),
    )
