"""The kernel's side of the driver."""

from __future__ import annotations

from collections.abc import Iterator

from gpucheck.facts import ModuleFile, Seen, Snapshot
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.rules import reading
from gpucheck.rules.rule import CannotTell, Layer, need, rule
from gpucheck.versions import DriverVersion

ABSENT_GPU = ("no-gpu", "gpu-held-by-other-driver")


def _unloaded_files(snapshot: Snapshot) -> tuple[str, tuple[ModuleFile, ...]] | None:
    """(running kernel, module files) when a GPU is here and the nvidia module is not loaded; None when it is."""
    loaded = reading.module_loaded(snapshot)
    if loaded is None:
        need(snapshot.kernel.modules)
    if loaded or not reading.pci_gpus(snapshot):
        return None
    if reading.in_container(snapshot):
        raise CannotTell("the host's modules are not visible from a container", ("/lib/modules",))
    return need(snapshot.host.kernel), need(snapshot.kernel.files) if isinstance(snapshot.kernel.files, Seen) else ()


@rule(Layer.KERNEL, follows=ABSENT_GPU)
def kernel_module_not_built(snapshot: Snapshot) -> Iterator[Complaint]:
    """The nvidia module exists only for another kernel than the one that runs.

    After a kernel update the module must be built for the new kernel. A driver installed from the .run file without
    DKMS is not rebuilt; a DKMS build fails without the kernel's headers or when the branch is too old for the kernel.

    Confirm: `uname -r`, `ls /lib/modules/*/updates/dkms`, `dkms status`.
    Remedy: install the headers and rebuild (`sudo dkms autoinstall`), or use the distribution's prebuilt module package.
    Reference: https://docs.nvidia.com/datacenter/tesla/driver-installation-guide/index.html#dkms
    """
    found = _unloaded_files(snapshot)
    if found is None:
        return
    running, files = found
    others = sorted({file.kernel for file in files})
    if not files or running in others:
        return
    yield Complaint(
        Severity.ERROR,
        f"The nvidia kernel module is not built for the running kernel {running}",
        f"It exists for {', '.join(others)} only: the kernel was updated and the module was not rebuilt.",
        (
            Evidence(f"running kernel {running}", "/proc/sys/kernel/osrelease"),
            *(Evidence(f"module for {file.kernel}", file.path) for file in files),
        ),
        f"sudo apt install linux-headers-{running} && sudo dkms autoinstall && sudo modprobe nvidia "
        "(RHEL: dnf install kernel-devel), or boot the old kernel",
    )


SIGNATURES = {"": "carries no signature", "signed": "signed, not by an enrolled key"}


@rule(Layer.KERNEL, follows=ABSENT_GPU)
def kernel_module_unsigned(snapshot: Snapshot) -> Iterator[Complaint]:
    """Secure Boot rejects the nvidia module, because its key is not enrolled.

    With UEFI Secure Boot the kernel loads only modules signed with a key that it knows. A module built by DKMS is
    signed with the machine's own key (MOK), which must be enrolled once at the firmware's console.

    Confirm: `mokutil --sb-state`; `sudo modprobe nvidia` says "Key was rejected" or "Required key not available".
    Remedy: enrol the key (`sudo mokutil --import /var/lib/dkms/mok.pub`, reboot, choose Enroll MOK), or use the
    distribution's signed modules.
    Reference: https://docs.kernel.org/admin-guide/module-signing.html
    """
    lines = reading.kernel_lines(
        snapshot, "Loading of unsigned module", "Required key not available", "Key was rejected"
    )
    found = _unloaded_files(snapshot)
    if found is None:
        return
    running, files = found
    here = [file for file in files if file.kernel == running]
    unsigned = bool(here) and all(not file.signer for file in here)
    enforced = isinstance(snapshot.host.secure_boot, Seen) and snapshot.host.secure_boot.value
    if not lines and not (enforced and unsigned):
        return
    yield Complaint(
        Severity.ERROR,
        "Secure Boot rejects the nvidia kernel module: its signing key is not enrolled",
        "The kernel loads only modules signed with a key that the firmware or the machine owner enrolled.",
        (
            *(
                [Evidence("Secure Boot is on", snapshot.host.secure_boot.source)]
                if isinstance(snapshot.host.secure_boot, Seen)
                else []
            ),
            *(Evidence(SIGNATURES.get(file.signer, "signature not read"), file.path) for file in here),
            *lines,
        ),
        "sudo mokutil --import /var/lib/dkms/mok.pub, then reboot and choose Enroll MOK; "
        "or install the distribution's signed module package (Ubuntu: linux-modules-nvidia-<branch>-$(uname -r))",
    )


@rule(Layer.KERNEL, follows=(*ABSENT_GPU, "kernel-module-not-built", "kernel-module-unsigned"))
def kernel_driver_not_loaded(snapshot: Snapshot) -> Iterator[Complaint]:
    """A GPU is on the bus, but the nvidia kernel module is not loaded.

    No driver is installed, its module was not loaded, or loading failed.

    Confirm: `lsmod | grep nvidia`; `sudo modprobe nvidia; dmesg | tail`.
    Remedy: install the driver of your distribution (on a Kubernetes node: the GPU Operator or the cloud's driver).
    Reference: https://docs.nvidia.com/datacenter/tesla/driver-installation-guide/index.html
    """
    gpus = reading.pci_gpus(snapshot)
    if not gpus:
        need(snapshot.pci)
        return
    loaded = reading.module_loaded(snapshot)
    if loaded is None:
        need(snapshot.kernel.modules)
    if loaded or reading.reached(snapshot):
        return
    files = snapshot.kernel.files.value if isinstance(snapshot.kernel.files, Seen) else ()
    yield Complaint(
        Severity.ERROR,
        "The nvidia kernel module is not loaded, though a GPU is on the bus",
        f"The module is on disk ({files[0].path}) but not loaded."
        if files
        else "No NVIDIA driver is installed on the host.",
        (Evidence(f"GPU {gpus[0].address}", "/sys/bus/pci/devices"), Evidence("no nvidia", "/proc/modules")),
        "sudo modprobe nvidia, and read: sudo dmesg | tail"
        if files
        else "Install the driver on the host, then reboot (Ubuntu: sudo ubuntu-drivers install; Debian: sudo apt install nvidia-driver; "
        "Kubernetes: the NVIDIA GPU Operator)",
    )


@rule(Layer.KERNEL)
def driver_version_mismatch(snapshot: Snapshot) -> Iterator[Complaint]:
    """The driver's user-space libraries are of another version than the loaded kernel module.

    libcuda and libnvidia-ml talk to the module of exactly their own version. A package upgrade replaces the files
    while the old module stays loaded, so a machine breaks hours or weeks later; an image that carries driver libraries
    breaks on every other host.

    Confirm: `cat /proc/driver/nvidia/version` against `ls -l` of the libraries; `nvidia-smi` says "Driver/library version
    mismatch"; NVML gives 18, cuInit 803.
    Remedy: reboot, or unload and load the nvidia modules; in an image, remove the driver libraries.
    Reference: https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceEnumvs.html (NVML_ERROR_LIB_RM_VERSION_MISMATCH)
    """
    module = need(snapshot.kernel.driver)
    nvml = snapshot.nvml.value.library if isinstance(snapshot.nvml, Seen) else ""
    taken = (reading.chosen_libcuda(snapshot), *(copy for copy in snapshot.nvml_copies if copy.real == nvml))
    loaded = [library for library in taken if library and library.kind == "driver"]
    others = [
        library
        for library in loaded
        if (version := DriverVersion.parse(library.version)) is not None and version != module.version
    ]
    refused = reading.nvml_code(snapshot) == 18 or (
        # Of a cuda-compat library, 803 says something else: see cuda-compat-refused.
        reading.cuda_code(snapshot) == 803 and not any(copy.kind == "compat" for copy in taken if copy)
    )
    if not others and not refused:
        return
    broken = reading.nvml_code(snapshot) == 18 or not reading.reached(snapshot)
    newer = others and (DriverVersion.parse(others[0].version) or module.version) > module.version
    container = reading.in_container(snapshot)
    yield Complaint(
        Severity.ERROR if broken else Severity.WARNING,
        f"The driver's libraries ({others[0].version}) do not match the loaded kernel module ({module.version})"
        if others
        else f"The driver's libraries do not match the loaded kernel module ({module.version})",
        "This container carries driver libraries of its own; they must come from the host."
        if container
        else "The driver's packages were changed and the old module is still loaded."
        if newer or not others
        else "The module is newer than the libraries: another copy of the driver is installed.",
        (
            Evidence(f"kernel module {module.version}", "/proc/driver/nvidia/version"),
            *(Evidence(f"{library.soname} {library.version}", library.real) for library in others),
            *reading.calls(snapshot),
        ),
        "Remove the driver libraries from the image (apt purge 'libnvidia-compute-*'), they are mounted from the host."
        if container
        else "Reboot, or stop everything that uses the GPU and: sudo rmmod nvidia_uvm nvidia_drm nvidia_modeset nvidia && "
        "sudo modprobe nvidia. Hold the packages: sudo apt-mark hold 'nvidia-*' 'libnvidia-*'",
        decisive=reading.nvml_code(snapshot) == 18 or reading.cuda_code(snapshot) == 803,
    )


@rule(Layer.KERNEL)
def hmm_breaks_cuda(snapshot: Snapshot) -> Iterator[Complaint]:
    """Heterogeneous memory management in nvidia_uvm makes cuInit fail on this kernel.

    The open modules of branches 570 to 580 enable HMM; on some kernels (RHEL 9.6 and 10, address space collisions) its
    set-up fails and cuInit returns 3, while nvidia-smi works.

    Confirm: cuInit = 3 with NVML fine; `cat /sys/module/nvidia_uvm/parameters/uvm_disable_hmm` prints N.
    Remedy: `options nvidia_uvm uvm_disable_hmm=1` and reload nvidia_uvm, or a newer driver.
    Reference: https://github.com/NVIDIA/open-gpu-kernel-modules/issues/947
    """
    if reading.cuda_code(snapshot) != 3:
        need(snapshot.cuda)
        return
    module = need(snapshot.kernel.driver)
    parameters: tuple[tuple[str, str], ...] = need(snapshot.kernel.parameters)
    if module.flavour != "open" or ("uvm_disable_hmm", "N") not in parameters or reading.nvml_code(snapshot) != 0:
        return
    yield Complaint(
        Severity.ERROR,
        "cuInit fails because HMM in nvidia_uvm does not work on this kernel",
        "The open kernel module enables HMM, which this kernel does not carry; NVML, which does not use it, works.",
        (
            *reading.calls(snapshot),
            Evidence(f"open kernel module {module.version}", "/proc/driver/nvidia/version"),
            Evidence("uvm_disable_hmm = N", "/sys/module/nvidia_uvm/parameters"),
        ),
        "echo 'options nvidia_uvm uvm_disable_hmm=1' | sudo tee /etc/modprobe.d/nvidia-uvm.conf && "
        "sudo rmmod nvidia_uvm && sudo modprobe nvidia_uvm",
        decisive=True,
    )


@rule(Layer.KERNEL, follows=("gpu-lost", "gpu-needs-reset"))
def uvm_not_working(snapshot: Snapshot) -> Iterator[Complaint]:
    """nvidia_uvm is missing or lost its state: NVML works, cuInit does not.

    CUDA needs the nvidia_uvm module and /dev/nvidia-uvm; NVML does not, so nvidia-smi looks healthy. The module is
    loaded and its node made on demand by the setuid helper nvidia-modprobe, which containers and hardened hosts lack.
    After suspend its state is lost and every cuInit gives 999.

    Confirm: `lsmod | grep nvidia_uvm`, `ls -l /dev/nvidia-uvm`; cuInit = 999 with NVML fine.
    Remedy: `sudo nvidia-modprobe -c 0 -u` on the host before containers start; after suspend, reload nvidia_uvm.
    Reference: https://github.com/pytorch/pytorch/issues/49081, https://github.com/pytorch/pytorch/issues/88639
    """
    code = reading.cuda_code(snapshot)
    nodes = need(snapshot.nodes)
    uvm = next((node for node in nodes if node.path == "/dev/nvidia-uvm"), None)
    control = reading.node(snapshot, "/dev/nvidiactl")
    if control is None or control.error not in ("", "?") or snapshot.host.wsl:
        return
    missing = uvm is not None and not uvm.present
    if code not in (999, 100, 304, 3) and not (missing and code is None):
        return
    if missing:
        loaded = reading.module_loaded(snapshot, "nvidia_uvm")
        yield Complaint(
            Severity.ERROR,
            "/dev/nvidia-uvm is missing: NVML works, CUDA does not",
            (
                "The nvidia_uvm module is not loaded."
                if loaded is False
                else "Nothing made the node before this started."
            )
            + " It is made on demand by nvidia-modprobe on the host, not inside containers.",
            (Evidence("ENOENT", "/dev/nvidia-uvm"), Evidence("exists", "/dev/nvidiactl"), *reading.calls(snapshot)),
            "On the host: sudo modprobe nvidia_uvm && sudo nvidia-modprobe -c 0 -u; then start the container again "
            "with --device /dev/nvidia-uvm --device /dev/nvidia-uvm-tools (or --gpus all)",
            decisive=code is not None,
        )
    elif code == 999 and reading.nvml_code(snapshot) == 0 and uvm is not None and uvm.error in ("", "?", "EIO"):
        yield Complaint(
            Severity.ERROR,
            "nvidia_uvm has lost its state: NVML works, every cuInit fails",
            "This happens when the machine was suspended while the module was loaded.",
            (*reading.calls(snapshot), Evidence("the node is there", "/dev/nvidia-uvm")),
            "sudo rmmod nvidia_uvm && sudo modprobe nvidia_uvm; to keep: set NVreg_PreserveVideoMemoryAllocations=1 "
            "and enable nvidia-suspend and nvidia-resume",
            decisive=True,
        )


@rule(Layer.KERNEL)
def fabric_not_ready(snapshot: Snapshot) -> Iterator[Complaint]:
    """The NVSwitch fabric is not initialised: cuInit = 802.

    On HGX and DGX machines the GPUs are joined by NVSwitches. cuInit waits for nvidia-fabricmanager of exactly the
    driver's version (or for the partition and the ready state in a confidential virtual machine).

    Confirm: `systemctl status nvidia-fabricmanager`; `nvidia-smi -q | grep -A3 Fabric`.
    Remedy: install and start the fabric manager of the driver's version.
    Reference: https://docs.nvidia.com/datacenter/tesla/fabric-manager-user-guide/index.html
    """
    if reading.cuda_code(snapshot) != 802:
        need(snapshot.cuda)
        return
    known = reading.driver_version(snapshot)
    version = str(known[0]) if known else "<the driver's version>"
    switches = (
        [device for device in snapshot.pci.value if device.kind == "nvswitch"] if isinstance(snapshot.pci, Seen) else []
    )
    yield Complaint(
        Severity.ERROR,
        "The NVSwitch fabric is not initialised (802)",
        "The fabric manager is not running or not of the driver's version."
        if switches or not isinstance(snapshot.pci, Seen)
        else "No NVSwitch is visible here: the hypervisor did not pass the switches or a partition through.",
        (*reading.calls(snapshot), Evidence(f"{len(switches)} NVSwitch devices", "/sys/bus/pci/devices")),
        f"Install nvidia-fabricmanager {version} and: sudo systemctl enable --now nvidia-fabricmanager",
        decisive=True,
    )
