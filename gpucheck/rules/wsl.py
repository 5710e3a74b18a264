"""Windows Subsystem for Linux: the GPU is reached through /dev/dxg with libraries that Windows provides."""

from __future__ import annotations

from collections.abc import Iterator

from gpucheck.facts import DeviceNode, Seen, Snapshot
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.rules import reading
from gpucheck.rules.libcuda import found
from gpucheck.rules.rule import Layer, need, rule

FOLDER = "/usr/lib/wsl/lib"


@rule(Layer.KERNEL)
def wsl_without_gpu(snapshot: Snapshot) -> Iterator[Complaint]:
    """WSL does not pass the GPU on: it is WSL 1, its GPU support is off, Windows keeps it back, or this container was not given it.

    WSL 2 passes the GPU of Windows through the device /dev/dxg. WSL 1 has no kernel of its own and no GPU; in WSL 2 an old kernel, `gpuSupport=false` in
    .wslconfig or a missing Windows driver leaves the device out. With the device there, NVML's "GPU access blocked by the operating
    system" (17) means that Windows does not lend the GPU: data centre GPUs in TCC mode cannot be shared with WSL, only WDDM (or MCDM).

    Confirm: `uname -r`; `ls -l /dev/dxg`; in Windows: `wsl -l -v`.
    Remedy: `wsl --update` and `wsl --shutdown`; WSL 1: `wsl --set-version <distribution> 2`.
    Reference: https://docs.nvidia.com/cuda/wsl-user-guide/index.html
    """
    if not snapshot.host.wsl:
        return
    if reading.reached(snapshot):
        return
    if node := reading.node(snapshot, "/dev/dxg"):
        if code := _blocked(snapshot, node):
            yield code
        return
    need(snapshot.nodes)
    kernel = need(snapshot.host.kernel)
    # WSL 1 calls itself 4.4.0-19041-Microsoft, WSL 2 5.15.153.1-microsoft-standard-WSL2.
    first = "-Microsoft" in kernel
    inside = reading.in_container(snapshot)
    yield Complaint(
        reading.absence(snapshot),
        "This is WSL 1, which has no GPU" if first else "WSL has no GPU here: /dev/dxg is missing",
        "Only WSL 2 passes the GPU of Windows on."
        if first
        else "The container was started without it."
        if inside
        else "WSL's kernel is old, its GPU support is switched off, or Windows has no NVIDIA driver.",
        (Evidence(f"kernel {kernel}", "/proc/sys/kernel/osrelease"), Evidence("ENOENT", "/dev/dxg")),
        "In Windows: wsl --set-version <distribution> 2 (wsl -l -v lists them)"
        if first
        else "docker run --gpus all ..."
        if inside
        else "In Windows: install the NVIDIA driver, then: wsl --update && wsl --shutdown; and no gpuSupport=false in %UserProfile%\\.wslconfig",
    )


def _blocked(snapshot: Snapshot, node: DeviceNode) -> Complaint | None:
    """What Windows refuses though the device opens."""
    calls = snapshot.nvml.value.calls if isinstance(snapshot.nvml, Seen) else ()
    refused = next((call for call in calls if call.code == NVML_ERROR_OPERATING_SYSTEM), None)
    if node.error or refused is None:
        return None
    return Complaint(
        Severity.ERROR,
        "Windows does not lend its GPU to WSL: GPU access blocked by the operating system",
        "The device /dev/dxg is there; the GPU is in TCC mode, which WSL cannot use, or Windows's driver has no part for WSL.",
        (Evidence(f"{refused.name} = {refused.code} (NVML_ERROR_OPERATING_SYSTEM)", snapshot.nvml.source if isinstance(snapshot.nvml, Seen) else ""), Evidence("it opens", "/dev/dxg")),
        "In Windows: nvidia-smi shows TCC or WDDM; as administrator: nvidia-smi -dm 0 (WDDM; some data centre GPUs need the GRID "
        "driver for it), update the driver, then: wsl --shutdown",
        decisive=True,
    )  # fmt: skip


#: nvmlReturn_t.
NVML_ERROR_OPERATING_SYSTEM = 17


@rule(Layer.USER_DRIVER, follows=("wsl-without-gpu",))
def wsl_libcuda_missing(snapshot: Snapshot) -> Iterator[Complaint]:
    """WSL2 has the GPU, and the libcuda that Windows provides is not there.

    The Windows driver brings the Linux library, which WSL mounts at /usr/lib/wsl/lib and names in /etc/ld.so.conf.d. It is missing with a Windows driver
    that is too old or was installed without it, and in containers that were not started for the GPU.

    Confirm: `ls /usr/lib/wsl/lib/libcuda.so.1`; in Windows: `nvidia-smi`.
    Remedy: install a current NVIDIA driver in Windows, then `wsl --shutdown`.
    Reference: https://docs.nvidia.com/cuda/wsl-user-guide/index.html
    """
    if not snapshot.host.wsl or not reading.node(snapshot, "/dev/dxg"):
        if snapshot.host.wsl:
            need(snapshot.nodes)
        return
    if isinstance(snapshot.cuda, Seen) or any(copy.kind == "wsl" for copy in snapshot.libcuda_copies):
        return
    inside = reading.in_container(snapshot)
    yield Complaint(
        Severity.ERROR,
        f"WSL's own libcuda is missing: {FOLDER} has none",
        "The container was given the device without the libraries."
        if inside
        else "The NVIDIA driver of Windows brings it; that driver is missing or too old.",
        (Evidence("the GPU is there", "/dev/dxg"), *found(snapshot)[:3]),
        "docker run --gpus all ... (with the NVIDIA container toolkit in WSL, or Docker Desktop)"
        if inside
        else "Install a current NVIDIA driver in Windows (none in WSL), then in Windows: wsl --shutdown",
    )


@rule(Layer.USER_DRIVER)
def wsl_libcuda_shadowed(snapshot: Snapshot) -> Iterator[Complaint]:
    """In WSL2 a Linux driver's libcuda is found before the one that Windows provides.

    WSL2 reaches the GPU through /dev/dxg with the libcuda in /usr/lib/wsl/lib. A Linux driver package brings another,
    which looks for /dev/nvidiactl and finds none.

    Confirm: `ldconfig -p | grep libcuda.so.1` names /usr/lib/x86_64-linux-gnu.
    Remedy: remove the Linux driver packages from the distribution; keep only the Windows driver.
    Reference: https://docs.nvidia.com/cuda/wsl-user-guide/index.html
    """
    if not snapshot.host.wsl:
        return
    library = reading.chosen_libcuda(snapshot)
    if library is None or library.kind != "driver" or not library.version:
        return
    yield Complaint(
        Severity.ERROR,
        "A Linux driver's libcuda hides the one that WSL2 provides",
        "Under WSL2 only the libcuda of /usr/lib/wsl/lib reaches the GPU, through /dev/dxg.",
        (
            *found(snapshot),
            Evidence(f"version {library.version} is of a Linux driver", library.real),
            *reading.calls(snapshot),
        ),
        "sudo apt purge 'libnvidia-*' 'nvidia-*' && sudo ldconfig (the Windows driver stays)",
        decisive=reading.cuda_code(snapshot) not in (None, 0),
    )


@rule(Layer.USER_DRIVER)
def wsl_libcuda_unversioned(snapshot: Snapshot) -> Iterator[Complaint]:
    """In WSL2 libcuda.so.1 is found and libcuda.so is not, which cuDNN 8 opens.

    Windows provides copies, not links, and ldconfig keeps a library under its soname alone: libcuda.so.1. cuDNN 8 opens the
    name without a number when it runs a convolution, and ends the process.

    Confirm: `python -c "import ctypes; ctypes.CDLL('libcuda.so')"` fails, with libcuda.so.1 it works.
    Remedy: `export LD_LIBRARY_PATH=/usr/lib/wsl/lib`, or cuDNN 9.
    Reference: https://github.com/microsoft/WSL/issues/8587
    """
    unversioned = snapshot.libcuda_unversioned
    if not snapshot.host.wsl or unversioned is None or unversioned.path or not snapshot.libcuda.path:
        return
    cudnn = next(
        (
            library
            for library in snapshot.libraries
            if library.soname.startswith("libcudnn") and library.soname.endswith(".so.8")
        ),
        None,
    )
    linked = next((copy for copy in snapshot.libcuda_copies if copy.kind == "wsl"), None)
    if cudnn is None:
        if linked and linked.path == linked.real:
            yield Complaint(
                Severity.NOTE,
                "WSL's libcuda.so.1 is a file and no link: ldconfig complains of it, and libcuda.so is not found",
                "Windows provides copies. Only programs that open libcuda.so without its number (cuDNN 8) mind it.",
                (Evidence("a file of its own", linked.path),),
                f"Nothing; where a program needs libcuda.so: export LD_LIBRARY_PATH={FOLDER}",
            )
        return
    yield Complaint(
        Severity.ERROR,
        "cuDNN 8 will not find libcuda.so under WSL",
        "ldconfig knows the library as libcuda.so.1 alone, and cuDNN 8 opens the name without a number.",
        (
            Evidence("libcuda.so is not found", "dynamic linker"),
            *found(snapshot),
            Evidence(f"cuDNN 8: {cudnn.soname}", cudnn.path),
        ),
        f"export LD_LIBRARY_PATH={FOLDER}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}",
    )
