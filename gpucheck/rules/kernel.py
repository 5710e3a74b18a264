"""The loaded kernel driver against user space: versions, nvidia_uvm, HMM, the NVSwitch fabric."""

from __future__ import annotations

from collections.abc import Iterator

from gpucheck.facts import Library, Seen, Snapshot
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.rules import reading
from gpucheck.rules.causes import NOT_DRIVEN
from gpucheck.rules.rule import CannotTell, Layer, need, rule
from gpucheck.versions import DriverVersion


@rule(Layer.KERNEL)
def driver_version_mismatch(snapshot: Snapshot) -> Iterator[Complaint]:
    """The driver's user-space libraries are of another version than the loaded kernel module.

    libcuda and libnvidia-ml talk to the module of exactly their own version. A package upgrade replaces the files
    while the old module stays loaded, so a machine breaks hours or weeks later; a half-finished upgrade leaves the old module
    on disk too, so that even a reboot does not help; a driver from a .run file beside one from packages gives two of each;
    an image that carries driver libraries breaks on every other host.

    Confirm: `cat /proc/driver/nvidia/version` against `ls -l` of the libraries and `modinfo -F version nvidia`; `nvidia-smi`
    says "Driver/library version mismatch"; NVML gives 18, cuInit 803.
    Remedy: reboot, or unload and load the nvidia modules; where the module on disk is old as well, finish the upgrade first;
    in an image, remove the driver libraries.
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
    # 804 is the word of a cuda-compat library, wherever it lies.
    if (not others and not refused) or reading.cuda_code(snapshot) == 804:
        return
    broken = reading.nvml_code(snapshot) == 18 or not reading.reached(snapshot)
    cause, remedy, shown = _history(snapshot, module.version, others)
    yield Complaint(
        Severity.ERROR if broken else Severity.WARNING,
        f"The driver's libraries ({others[0].version}) do not match the loaded kernel module ({module.version})"
        if others
        else f"The driver's libraries do not match the loaded kernel module ({module.version})",
        cause,
        (
            Evidence(f"kernel module {module.version}", "/proc/driver/nvidia/version"),
            *(Evidence(f"{library.soname} {library.version}", library.real) for library in others),
            *shown,
            *reading.calls(snapshot),
        ),
        remedy,
        decisive=reading.nvml_code(snapshot) == 18 or reading.cuda_code(snapshot) == 803,
    )


def _history(snapshot: Snapshot, module: DriverVersion, others: list[Library]) -> tuple[str, str, tuple[Evidence, ...]]:
    """How it came to a mismatch, what to do, and the evidence for it."""
    mounts = snapshot.driver_mounts.value if isinstance(snapshot.driver_mounts, Seen) else ()
    if reading.in_container(snapshot) and any(library.real.startswith(mounts) for library in others):
        return (
            "They are mounted from the host: there the driver's packages were changed and the old module is still loaded, or the "
            "driver was changed after this container was started.",
            "On the host: reboot, or stop everything that uses the GPU and: sudo rmmod nvidia_uvm nvidia_drm nvidia_modeset nvidia && "
            "sudo modprobe nvidia; then create the container again",
            tuple(
                Evidence("mounted from the host", library.real) for library in others if library.real.startswith(mounts)
            ),
        )
    if isinstance(snapshot.container, Seen) and snapshot.container.value.kind == "lxc":
        return (
            "A system container has driver libraries of its own, which must be of exactly the host's version.",
            f"In the container install driver {module} without its kernel module (.run: --no-kernel-module; LXD, Incus: nvidia.runtime=true)",
            (),
        )
    if reading.in_container(snapshot):
        return (
            "This container carries driver libraries of its own; they must come from the host.",
            "Remove the driver libraries from the image (apt purge 'libnvidia-compute-*'), they are mounted from the host.",
            (),
        )
    ours = [
        copy
        for copy in snapshot.libcuda_copies
        if copy.kind == "driver" and DriverVersion.parse(copy.version) == module
    ]
    if others and ours:
        return (
            f"Two drivers are installed side by side: {others[0].version} is found first, {module} is loaded. One of them usually "
            "came from a .run file.",
            "Keep one: sudo nvidia-uninstall removes the one of the .run file, the package manager the other; then sudo ldconfig and reboot",
            tuple(Evidence(f"libcuda {copy.version}", copy.real) for copy in ours[:2]),
        )
    running = snapshot.host.kernel.value if isinstance(snapshot.host.kernel, Seen) else ""
    files = snapshot.kernel.files.value if isinstance(snapshot.kernel.files, Seen) else ()
    disk = [file for file in files if file.name == "nvidia" and file.kernel == running and file.version]
    stale = [file for file in disk if DriverVersion.parse(file.version) == module]
    half = [package for package in reading.packages(snapshot, "") if package.state != "installed"]
    if (stale and others) or half:
        return (
            "The driver's packages are half upgraded: the module on disk is the old one too, so a reboot does not help."
            if stale
            else "The driver's packages are half installed.",
            "sudo dpkg --configure -a && sudo apt --fix-broken install && sudo dkms autoinstall, then reboot"
            if isinstance(snapshot.system_packages, Seen) and "dpkg" in snapshot.system_packages.source
            else "Install the driver's packages again, all of one version, rebuild its module (sudo dkms autoinstall), then reboot",
            (
                *(Evidence(f"the module on disk is {file.version}", file.path) for file in stale),
                *(
                    Evidence(f"{package.name} {package.version} is {package.state}", "package database")
                    for package in half[:3]
                ),
            ),
        )
    newer = others and (DriverVersion.parse(others[0].version) or module) > module
    return (
        "The driver's packages were changed and the old module is still loaded."
        if newer or not others
        else "The module is newer than the libraries: another copy of the driver is installed.",
        "Reboot, or stop everything that uses the GPU and: sudo rmmod nvidia_uvm nvidia_drm nvidia_modeset nvidia && "
        "sudo modprobe nvidia. Hold the packages: sudo apt-mark hold 'nvidia-*' 'libnvidia-*'",
        tuple(Evidence(f"the module on disk is {file.version}", file.path) for file in disk[:1]),
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


@rule(Layer.KERNEL, follows=NOT_DRIVEN)
def uvm_module_missing(snapshot: Snapshot) -> Iterator[Complaint]:
    """The nvidia_uvm module is not on disk for this kernel: NVML works, CUDA does not.

    CUDA needs nvidia_uvm, displays and NVML do not. Some distributions package it on its own, or only the display part
    was built.

    Confirm: `modinfo nvidia-uvm` fails while `modinfo nvidia` works; `grep uvm /proc/devices` prints nothing.
    Remedy: install the package that has it (of the same version), then `sudo modprobe nvidia_uvm`.
    Reference: https://github.com/Bumblebee-Project/Bumblebee/issues/623
    """
    if reading.module_loaded(snapshot) is not True or snapshot.host.wsl or reading.reached(snapshot):
        need(snapshot.kernel.modules)
        return
    if reading.module_loaded(snapshot, "nvidia_uvm") is not False:
        return
    if reading.in_container(snapshot):
        raise CannotTell("the host's modules are not visible from a container", ("/lib/modules",))
    running = need(snapshot.host.kernel)
    here = [file for file in need(snapshot.kernel.files) if file.kernel == running]
    if not here or any(file.name == "nvidia_uvm" for file in here):
        return
    yield Complaint(
        Severity.ERROR,
        "The kernel module nvidia_uvm is not installed: NVML works, CUDA does not",
        "CUDA needs it beside the nvidia module, and only that one is on disk for the running kernel.",
        (
            Evidence("nvidia is there, nvidia-uvm is not", here[0].path.rsplit("/", 1)[0]),
            Evidence("nvidia without nvidia_uvm", "/proc/modules"),
            *reading.calls(snapshot),
        ),
        "Install the package with nvidia-uvm.ko of the same driver version (sudo dkms autoinstall where DKMS builds it), then: "
        "sudo modprobe nvidia_uvm",
        decisive=reading.cuda_code(snapshot) not in (None, 0),
    )


def _nobody_makes_nodes(snapshot: Snapshot) -> tuple[str, tuple[Evidence, ...]]:
    """Why no program made the node when CUDA asked for it."""
    helper = snapshot.modprobe
    if reading.in_container(snapshot):
        return "It is made on demand by nvidia-modprobe on the host, not inside containers.", ()
    if isinstance(helper, Seen) and not helper.value & 0o4000:
        return (
            "nvidia-modprobe, which makes it on demand, is not setuid root.",
            (Evidence(f"mode {helper.value:04o}", helper.source),),
        )
    if not isinstance(helper, Seen) and helper.detail.endswith("not installed"):
        return "nvidia-modprobe, which makes it on demand, is not installed.", (Evidence("not there", helper.tried[0]),)
    return "It is made on demand by the setuid helper nvidia-modprobe, or by a udev rule.", ()


@rule(Layer.KERNEL, follows=("gpu-lost", "gpu-needs-reset", "uvm-module-missing"))
def uvm_not_working(snapshot: Snapshot) -> Iterator[Complaint]:
    """nvidia_uvm is not loaded, its node is missing, or it lost its state: NVML works, cuInit does not.

    CUDA needs the nvidia_uvm module and /dev/nvidia-uvm; NVML does not, so nvidia-smi looks healthy. The module is
    loaded and its node made on demand by the setuid helper nvidia-modprobe, which containers and hardened hosts lack.
    After suspend its state is lost and every cuInit gives 999.

    Confirm: `lsmod | grep nvidia_uvm`, `ls -l /dev/nvidia-uvm`; cuInit = 999 with NVML fine; `cat
    /sys/power/suspend_stats/success`.
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
    suspends = snapshot.kernel.suspends.value if isinstance(snapshot.kernel.suspends, Seen) else None
    if missing:
        loaded = reading.module_loaded(snapshot, "nvidia_uvm")
        why, shown = _nobody_makes_nodes(snapshot)
        yield Complaint(
            Severity.ERROR,
            "/dev/nvidia-uvm is missing: NVML works, CUDA does not",
            (
                "The nvidia_uvm module is not loaded. "
                if loaded is False
                else "Nothing made the node before this started. "
            )
            + why,
            (
                Evidence("ENOENT", "/dev/nvidia-uvm"),
                Evidence("exists", "/dev/nvidiactl"),
                *shown,
                *reading.calls(snapshot),
            ),
            "On the host: sudo modprobe nvidia_uvm && sudo nvidia-modprobe -c 0 -u; then start the container again "
            "with --device /dev/nvidia-uvm --device /dev/nvidia-uvm-tools (or --gpus all)"
            if reading.in_container(snapshot)
            else "sudo modprobe nvidia_uvm && sudo nvidia-modprobe -c 0 -u (install nvidia-modprobe where it is missing); at every boot: "
            "echo nvidia_uvm | sudo tee /etc/modules-load.d/nvidia-uvm.conf",
            decisive=code is not None,
        )
    elif (
        code == 999
        and reading.nvml_code(snapshot) == 0
        and uvm is not None
        and uvm.error in ("", "?", "EIO")
        and suspends != 0
    ):
        parameters = dict(snapshot.kernel.parameters.value) if isinstance(snapshot.kernel.parameters, Seen) else {}
        preserve = parameters.get("PreserveVideoMemoryAllocations")
        yield Complaint(
            Severity.ERROR,
            "nvidia_uvm has lost its state: NVML works, every cuInit fails",
            f"The machine was suspended {suspends} times since it was started, which breaks the loaded module."
            if suspends
            else "This happens when the machine was suspended while the module was loaded.",
            (
                *reading.calls(snapshot),
                Evidence("the node is there", "/dev/nvidia-uvm"),
                *([Evidence(f"{suspends} suspends", "/sys/power/suspend_stats/success")] if suspends else []),
                *(
                    [Evidence(f"PreserveVideoMemoryAllocations: {preserve}", "/proc/driver/nvidia/params")]
                    if preserve is not None
                    else []
                ),
            ),
            "sudo rmmod nvidia_uvm && sudo modprobe nvidia_uvm; to keep: set NVreg_PreserveVideoMemoryAllocations=1 "
            "and enable nvidia-suspend and nvidia-resume",
            decisive=True,
        )
