"""An image's snapshot as a container of it would look on a node, for the doctor's own rules; and what-if on a snapshot."""

from __future__ import annotations

from collections.abc import Iterable

from gpucheck.compat import inventory
from gpucheck.compat.builds import code_of
from gpucheck.compat.change import BadChange
from gpucheck.compat.node import Node, of_snapshot
from gpucheck.facts import (
    Call,
    Choice,
    DeviceNode,
    Framework,
    Gpu,
    Kernel,
    KernelDriver,
    Library,
    Nvml,
    PciDevice,
    Seen,
    Snapshot,
    Unseen,
    Why,
)
from gpucheck.kb import frameworks
from gpucheck.record import replace

NOT_CALLED = Unseen(Why.NOT_APPLICABLE, (), "this is what if: no call was made")
LIBRARIES = {"x86_64": "/usr/lib/x86_64-linux-gnu", "aarch64": "/usr/lib/aarch64-linux-gnu"}


def onto(image: Snapshot, node: Node) -> Snapshot:
    """The image's files with driver, GPUs and device nodes of the node. Nothing of it is live."""
    if node.driver is None:
        return image
    where = f"{LIBRARIES.get(node.architecture, '/usr/lib64')}/libcuda.so.1"
    library = Library(
        "libcuda.so.1", where, f"{where.removesuffix('.1')}.{node.driver}", "driver", str(node.driver), "", 0
    )
    own = image.libcuda.path is not None and any(
        copy.path == image.libcuda.path and copy.kind != "driver" for copy in image.libcuda_copies
    )
    copies = tuple(copy for copy in image.libcuda_copies if copy.kind != "driver")
    implemented = node.implemented
    gpus = tuple(
        Gpu(index, gpu.name, f"GPU-{index}", gpu.capability, None, gpu.brand)
        for index, gpu in enumerate(node.gpus or ())
    )
    nvml = Nvml(
        "libnvidia-ml.so.1",
        (Call("nvmlInit_v2", 0),),
        node.driver,
        implemented.at_least if implemented and not implemented.extrapolated else None,
        gpus,
        "",
    )
    source = node.source or node.name
    return replace(
        image,
        host=replace(image.host, live=False, kernel=_kernel(image, source)),
        pci=Seen(
            tuple(PciDevice(f"0000:{gpu.index:02x}:00.0", "", "gpu", "nvidia", False, gpu.name) for gpu in gpus), source
        ),
        kernel=Kernel(
            Seen(("nvidia", "nvidia_uvm"), source),
            Seen(KernelDriver(node.driver, "unknown"), source),
            NOT_CALLED, NOT_CALLED, NOT_CALLED, NOT_CALLED,
        ),
        nodes=Seen(tuple(_device(path) for path in ("/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidiactl")), source),
        nvml=Seen(nvml, source),
        cuda=NOT_CALLED,
        libcuda=image.libcuda if own else Choice("libcuda.so.1", where, "ld.so.cache", ()),
        libcuda_copies=(*copies, library),
        ptx_compiler=Choice("libnvidia-ptxjitcompiler.so.1", None, "unknown", ()),
    )  # fmt: skip


def _kernel(image: Snapshot, source: str) -> Seen[str]:
    return image.host.kernel if isinstance(image.host.kernel, Seen) else Seen("of the node", source)


def _device(path: str) -> DeviceNode:
    return DeviceNode(path, True, 0o666, 0, 0, None, "")


def what_if(snapshot: Snapshot, changes: Iterable[str]) -> Snapshot:
    """The snapshot with facts changed, ``driver=580``, ``gpu=B200``, ``torch=2.9.0+cu128``. Raises ``BadChange`` or ``BadNode``."""
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals or not value:
            raise BadChange(f"--set {change}: expected FACT=VALUE, such as driver=580 or torch=2.9.0+cu128")
        if key in ("driver", "gpu", "cuda"):
            snapshot = onto(snapshot, inventory.change(of_snapshot(snapshot, "", "snapshot"), key, value))
        else:
            snapshot = _with_build(snapshot, key, value)
    return snapshot


def _with_build(snapshot: Snapshot, library: str, build: str) -> Snapshot:
    row = frameworks.build(library, build)
    if row is None:
        raise BadChange(
            f"--set {library}={build}: expected driver, gpu, cuda, or a build that the knowledge base knows (gpucheck kb builds {library})"
        )
    code = code_of(row, snapshot.host.architecture)
    there = next((found for found in snapshot.frameworks if found.name == library), None)
    location = there.location if there else ""
    made = Framework(
        library,
        code.version,
        location,
        bool(row.cuda),
        code.cuda,
        code.cuda_major,
        code.targets,
        f"--set {library}={build}",
    )
    others = tuple(found for found in snapshot.frameworks if found.name != library)
    return replace(snapshot, frameworks=(made, *others))
