"""The nvidia kernel module before it is loaded: built, signed, banned, installed."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpucheck.facts import Dkms, ModuleFile, Seen, Snapshot
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.kb import kernel_log
from gpucheck.rules import distributions, reading
from gpucheck.rules.causes import ABSENT_GPU
from gpucheck.rules.rule import CannotTell, Layer, need, rule
from gpucheck.versions import DriverVersion


def _unloaded_files(snapshot: Snapshot) -> tuple[str, tuple[ModuleFile, ...]] | None:
    """(running kernel, files of nvidia.ko) when a GPU is here and the nvidia module is not loaded; None when it is."""
    loaded = reading.module_loaded(snapshot)
    if loaded is None:
        need(snapshot.kernel.modules)
    if loaded or not reading.pci_gpus(snapshot):
        return None
    if reading.in_container(snapshot):
        raise CannotTell("the host's modules are not visible from a container", ("/lib/modules",))
    files: tuple[ModuleFile, ...] = snapshot.kernel.files.value if isinstance(snapshot.kernel.files, Seen) else ()
    return need(snapshot.host.kernel), tuple(file for file in files if file.name == "nvidia")


def _failed_build(dkms: Dkms, running: str) -> tuple[str, tuple[Evidence, ...]]:
    """Why DKMS made no module for the running kernel, and the evidence."""
    driver = ", ".join(dkms.versions)
    if not dkms.headers:
        return (
            "DKMS could not build it, because the headers of this kernel are not installed.",
            (Evidence(f"no kernel headers behind /lib/modules/{running}/build", "/lib/modules"),),
        )
    if dkms.error:
        return (
            f"DKMS tried to build driver {driver} for it and failed: that branch may be too old for this kernel.",
            (Evidence(dkms.error, dkms.log),),
        )
    return f"DKMS has the source of driver {driver}, but no module for this kernel.", (Evidence(f"built for {', '.join(dkms.built) or 'no kernel'}", "/var/lib/dkms"),)  # fmt: skip


@rule(Layer.KERNEL, follows=ABSENT_GPU)
def kernel_module_not_built(snapshot: Snapshot) -> Iterator[Complaint]:
    """The nvidia module does not exist for the kernel that runs.

    After a kernel update the module must be built for the new kernel. A driver installed from the .run file without
    DKMS is not rebuilt; a DKMS build fails without the kernel's headers or when the branch is too old for the kernel.

    Confirm: `uname -r`, `ls /lib/modules/*/updates/dkms`, `dkms status`, and the end of the build's make.log.
    Remedy: install the headers and rebuild (`sudo dkms autoinstall`), take a newer driver branch where the build fails, or
    use the distribution's prebuilt module package.
    Reference: https://docs.nvidia.com/datacenter/tesla/driver-installation-guide/index.html#dkms
    """
    found = _unloaded_files(snapshot)
    if found is None:
        return
    running, files = found
    dkms = snapshot.kernel.dkms.value if isinstance(snapshot.kernel.dkms, Seen) else None
    others = sorted({file.kernel for file in files})
    if running in others or (not files and (dkms is None or running in dkms.built)):
        return
    why, shown = (
        _failed_build(dkms, running) if dkms else ("The kernel was updated and the module was not rebuilt.", ())
    )
    headers = distributions.command(
        snapshot, distributions.HEADERS, "install the headers of this kernel", kernel=running
    )
    branches = [version.branch for text in (dkms.versions if dkms else ()) if (version := DriverVersion.parse(text))]
    prebuilt = [
        match[1]
        for package in reading.packages(snapshot, "linux-modules-nvidia-")
        if (match := re.match(r"linux-modules-nvidia-(\d+(?:-server)?(?:-open)?)-", package.name))
    ]
    if prebuilt and not dkms:
        remedy = f"sudo apt install linux-modules-nvidia-{prebuilt[-1]}-{running} && sudo modprobe nvidia, or boot the kernel {others[-1]}"
    elif dkms and dkms.headers and dkms.error:
        remedy = (
            f"Install a driver newer than branch {max(branches)} ({distributions.command(snapshot, distributions.DRIVER, 'by your distribution')}), "
            "or boot the kernel that it was built for; where the GPU needs the old branch, use a long-term kernel"
        )
    elif dkms:
        remedy = f"{headers} && sudo dkms autoinstall && sudo modprobe nvidia"
    else:
        remedy = (
            f"{headers} && sudo dkms autoinstall && sudo modprobe nvidia; installed from a .run file: run it again with --dkms; "
            f"or boot the kernel {others[-1]}"
        )
    yield Complaint(
        Severity.ERROR,
        f"The nvidia kernel module is not built for the running kernel {running}",
        (f"It exists for {', '.join(others)} only. " if others else "") + why,
        (
            Evidence(f"running kernel {running}", "/proc/sys/kernel/osrelease"),
            *(Evidence(f"module for {file.kernel}", file.path) for file in files),
            *shown,
        ),
        remedy,
    )


SIGNATURES = {"": "carries no signature", "signed": "signed, not by an enrolled key"}
#: What the kernel logs when it refuses a module; kernel/module/signing.c.
REJECTIONS = (
    "Loading of unsigned module",
    "Loading of module with unavailable key",
    "Loading of module with unsupported crypto",
    "Required key not available",
    "Key was rejected",
)


#: What the kernel logs of a module that does not fit it; kernel/module/main.c and version.c.
MISFITS = (
    r"nvidia: version magic '(?P<built>\S+)[^']*' should be '(?P<wanted>\S+)",
    r"nvidia: disagrees about version of symbol (?P<symbol>\w+)",
    r"nvidia: Unknown symbol (?P<lacking>\w+) \(err -?\d+\)",
)


@rule(Layer.KERNEL, follows=(*ABSENT_GPU, "kernel-module-not-built", "kernel-module-unsigned", "kernel-module-banned"))
def kernel_module_refused(snapshot: Snapshot) -> Iterator[Complaint]:
    """The kernel does not take the nvidia module that is on disk: built for another kernel, or a module that it needs is not loaded.

    The kernel compares the module's version magic and the checksums of the symbols that it uses. A symbol that no loaded module
    has ("Unknown symbol ... (err -2)") belongs to a module that must be loaded before. SUSE's modprobe also refuses
    modules that SUSE does not support, when it is told so.

    Confirm: `sudo modprobe nvidia; sudo dmesg | tail`; `modinfo -F vermagic nvidia` against `uname -r`.
    Remedy: rebuild the module for the running kernel; load the module that it needs; on SUSE allow_unsupported_modules 1.
    Reference: https://docs.kernel.org/kbuild/modules.html#module-versioning
    """
    found = _unloaded_files(snapshot)
    if found is None:
        return
    running, files = found
    if ban := snapshot.kernel.unsupported:
        yield Complaint(
            Severity.ERROR,
            f"modprobe does not load the nvidia module, because SUSE does not support it: {ban.setting}",
            "SUSE marks modules as supported or not, and this setting keeps the others out.",
            (Evidence(ban.setting, ban.place),),
            "echo 'allow_unsupported_modules 1' | sudo tee /etc/modprobe.d/10-unsupported-modules.conf && sudo modprobe nvidia",
        )
        return
    text = reading.kernel_text(snapshot)
    log = snapshot.kernel.messages.source if isinstance(snapshot.kernel.messages, Seen) else ""
    match = next((match for pattern in MISFITS if (match := re.search(pattern, text))), None)
    if match is None or not files:
        return
    words = match.groupdict()
    if words.get("lacking"):
        row = next((row for row in kernel_log.symbols() if words["lacking"].startswith(row.beginning)), None)
        yield Complaint(
            Severity.ERROR,
            f"The kernel refuses the nvidia module: {words['lacking']} is in no loaded module"
            + (f", it belongs to {row.module}" if row else ""),
            "A module that it needs is not loaded or not installed.",
            (Evidence(match[0], log),),
            f"sudo modprobe {row.load} && sudo modprobe nvidia; where that is not there: {row.install.format(kernel=running)}; then: sudo depmod -a"
            if row
            else "sudo depmod -a && sudo modprobe nvidia (not insmod, which loads no other modules); where it stays, build it again for this kernel",
        )
        return
    built = words.get("built") or next((file.built_for for file in files if file.built_for), "")
    headers = distributions.command(
        snapshot, distributions.HEADERS, "install the headers of this kernel", kernel=running
    )
    yield Complaint(
        Severity.ERROR,
        f"The kernel {running} refuses the nvidia module: it was built for {built or 'another one'}",
        "Its version magic or the checksum of a symbol is another kernel's.",
        (
            Evidence(match[0], log),
            *(Evidence(f"module for {file.built_for or 'an unknown kernel'}", file.path) for file in files[:2]),
        ),
        f"{headers} and rebuild it: sudo dkms autoinstall --force (Fedora: sudo akmods --force --rebuild), then: sudo modprobe nvidia",
    )


@rule(Layer.KERNEL, follows=(*ABSENT_GPU, "kernel-module-not-built"))
def kernel_module_unsigned(snapshot: Snapshot) -> Iterator[Complaint]:
    """The kernel rejects the nvidia module, because its signing key is not enrolled.

    With UEFI Secure Boot, lockdown or module.sig_enforce the kernel loads only modules signed with a key that it knows. A
    module built by DKMS is signed with the machine's own key (MOK), which must be enrolled once at the firmware's console.

    Confirm: `mokutil --sb-state`; `sudo modprobe nvidia` says "Key was rejected" or "Required key not available".
    Remedy: enrol the key (`sudo mokutil --import /var/lib/dkms/mok.pub`, reboot, choose Enroll MOK), or use the
    distribution's signed modules.
    Reference: https://docs.kernel.org/admin-guide/module-signing.html
    """
    lines = reading.kernel_lines(snapshot, *REJECTIONS)
    found = _unloaded_files(snapshot)
    if found is None:
        return
    running, files = found
    here = [file for file in files if file.kernel == running]
    unsigned = bool(here) and all(not file.signer for file in here)
    why = []
    if isinstance(snapshot.host.secure_boot, Seen) and snapshot.host.secure_boot.value:
        why.append(Evidence("Secure Boot is on", snapshot.host.secure_boot.source))
    if isinstance(snapshot.kernel.enforcement, Seen) and snapshot.kernel.enforcement.value:
        why.append(Evidence(snapshot.kernel.enforcement.value, snapshot.kernel.enforcement.source))
    if not lines and not (why and unsigned):
        return
    yield Complaint(
        Severity.ERROR,
        ("Secure Boot" if not why or why[0].fact.startswith("Secure") else "The kernel")
        + " rejects the nvidia kernel module: its signing key is not enrolled",
        "The kernel loads only modules signed with a key that the firmware or the machine owner enrolled.",
        (*why, *(Evidence(SIGNATURES.get(file.signer, "signature not read"), file.path) for file in here), *lines),
        "sudo mokutil --import /var/lib/dkms/mok.pub (Ubuntu: /var/lib/shim-signed/mok/MOK.der), then reboot and choose Enroll MOK; "
        "or install the distribution's signed module package (Ubuntu: linux-modules-nvidia-<branch>-$(uname -r))",
    )


@rule(Layer.KERNEL, follows=(*ABSENT_GPU, "kernel-module-not-built", "kernel-module-unsigned"))
def kernel_module_banned(snapshot: Snapshot) -> Iterator[Complaint]:
    """A setting keeps the nvidia kernel module from being loaded.

    Tools that switch a laptop to its other GPU (prime-select, envycontrol, bbswitch) and guides for passing a GPU to a
    virtual machine put `blacklist nvidia`, `alias nvidia off` or `install nvidia /bin/false` into modprobe.d, or
    module_blacklist= on the kernel's command line.

    Confirm: `modprobe --showconfig | grep -E '(blacklist|alias|install) nvidia'`; `cat /proc/cmdline`.
    Remedy: remove the line, rebuild the initial RAM disk and reboot; prime-select: `sudo prime-select nvidia`.
    Reference: modprobe.d(5)
    """
    found = _unloaded_files(snapshot)
    if found is None:
        return
    bans = [ban for ban in need(snapshot.kernel.bans) if ban.module == "nvidia"]
    if not bans or (found[1] and found[0] not in {file.kernel for file in found[1]}):
        return
    yield Complaint(
        Severity.ERROR,
        "The nvidia kernel module is banned from loading",
        "A setting of modprobe or of the kernel's command line keeps it out.",
        tuple(Evidence(ban.setting, ban.place) for ban in bans),
        f"Remove it from {', '.join(dict.fromkeys(ban.place for ban in bans))}"
        + (" (the boot loader's settings)" if any(ban.place == "/proc/cmdline" for ban in bans) else "")
        + f", then: {distributions.command(snapshot, distributions.INITRAMFS, 'rebuild the initial RAM disk')} && sudo reboot "
        "(laptops with prime-select: sudo prime-select nvidia)",
    )


@rule(
    Layer.KERNEL,
    follows=(
        *ABSENT_GPU,
        "gpu-not-supported-by-driver",
        "gpu-not-initialised",
        "kernel-module-not-built",
        "kernel-module-unsigned",
        "kernel-module-banned",
        "kernel-module-refused",
    ),
)
def kernel_driver_not_loaded(snapshot: Snapshot) -> Iterator[Complaint]:
    """A GPU is on the bus, but the nvidia kernel module is not loaded.

    No driver is installed, only its libraries are, its module was not loaded, or loading failed.

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
    file = next((file for file in files if file.name == "nvidia"), None)
    broken = [package for package in reading.packages(snapshot, "nvidia") if package.state != "installed"]
    library = next((copy for copy in snapshot.libcuda_copies if copy.kind == "driver" and copy.version), None)
    install = distributions.command(
        snapshot,
        distributions.DRIVER,
        "Ubuntu: sudo ubuntu-drivers install; Debian: sudo apt install nvidia-driver",
    )
    if reading.in_container(snapshot):
        cause, remedy = "The driver is the host's, and there it is not loaded.", f"On the host: {install}, then reboot"
    elif file:
        cause = f"The module is on disk ({file.path}) but not loaded."
        remedy = "sudo modprobe nvidia, and read: sudo dmesg | tail"
    elif broken:
        cause = f"The package {broken[0].name} is only {broken[0].state}: its installation was not finished."
        remedy = "sudo dpkg --configure -a && sudo apt --fix-broken install, then: sudo modprobe nvidia"
    elif library:
        cause = f"The driver's libraries ({library.version}) are installed, but no kernel module is."
        remedy = f"Install the kernel module of the same version ({install}), then reboot"
    else:
        cause = "No NVIDIA driver is installed on the host."
        remedy = f"Install the driver on the host, then reboot ({install}; Kubernetes: the NVIDIA GPU Operator)"
    yield Complaint(
        Severity.ERROR,
        "The nvidia kernel module is not loaded, though a GPU is on the bus",
        cause,
        (Evidence(f"GPU {gpus[0].address}", "/sys/bus/pci/devices"), Evidence("no nvidia", "/proc/modules")),
        remedy,
    )
