"""A loaded driver that does not drive a GPU: wrong flavour, wrong branch, no firmware, failed initialisation."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpucheck.facts import PciDevice, Seen, Snapshot, Unseen, Why
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.kb import kernel_log
from gpucheck.rules import reading
from gpucheck.rules.rule import CannotTell, Layer, need, rule
from gpucheck.versions import DriverVersion

UNKNOWN_ADDRESS = "on the bus"


def _undriven(snapshot: Snapshot) -> tuple[PciDevice, ...]:
    """GPUs that the loaded driver may not be driving: all, unless CUDA reached as many as there are."""
    if reading.all_driven(snapshot) or reading.module_loaded(snapshot) is False:
        return ()
    return tuple(gpu for gpu in reading.host_gpus(snapshot) if gpu.driver in (None, "nvidia") and not gpu.lost)


def _given_up(snapshot: Snapshot, text: str) -> tuple[PciDevice, ...]:
    """GPUs of a driver that could start none of them: its module then ends its own loading (nv_pci_register_driver in nv.c)."""
    if reading.module_loaded(snapshot) is not False or "None of the NVIDIA devices were initialized" not in text:
        return ()
    return tuple(gpu for gpu in reading.host_gpus(snapshot) if gpu.driver is None and not gpu.lost)


def _log(snapshot: Snapshot) -> str:
    return snapshot.kernel.messages.source if isinstance(snapshot.kernel.messages, Seen) else "kernel log"


def _severity(snapshot: Snapshot) -> Severity:
    """Beside GPUs that work, one that does not is a limit."""
    return Severity.WARNING if reading.reached(snapshot) else Severity.ERROR


@rule(Layer.KERNEL, follows=("gpu-lost",))
def kernel_module_flavour_wrong(snapshot: Snapshot) -> Iterator[Complaint]:
    """The loaded kernel module is of the flavour (open or proprietary) that does not drive this GPU.

    The open modules need the GPU System Processor, which GPUs have from Turing on; up to branch 535 they drove only data
    centre GPUs without being told more. Blackwell and newer GPUs are driven by the open modules alone. The driver loads,
    and nvidia-smi says "No devices were found".

    Confirm: `cat /proc/driver/nvidia/version` names the flavour; `sudo dmesg | grep -i nvrm`.
    Remedy: install the other flavour of the same branch.
    Reference: https://docs.nvidia.com/datacenter/tesla/driver-installation-guide/kernel-modules.html
    """
    gpus = _undriven(snapshot)
    text = reading.kernel_text(snapshot) if not reading.all_driven(snapshot) else ""
    needs_open = re.search(r"[^.]{0,120}requires use of the NVIDIA open kernel modules", text)
    refused = re.search(
        r"[^.]{0,120}not supported by open nvidia\.ko because it does not include the required GPU System Processor|"
        r"Open nvidia\.ko is only ready for use on Data Center GPUs|missing NVDEC0 engine, cannot initialize GSP-RM",
        text,
    )
    line = needs_open or refused
    if not line and not gpus:
        need(snapshot.pci)
        return
    module = need(snapshot.kernel.driver)
    evidence = [Evidence(f"{module.flavour} kernel module {module.version}", "/proc/driver/nvidia/version")]
    if line:
        evidence.append(Evidence(line[0].strip(), _log(snapshot)))
        to_open = bool(needs_open)
    else:
        wrong = {"open": "never", "proprietary": "must"}.get(module.flavour)
        known = [(gpu, kernel_log.generation(gpu.device)) for gpu in gpus]
        bad = [(gpu, row) for gpu, row in known if row and row.open == wrong]
        # Without the driver's word it must be every GPU, and none may answer.
        if not bad or len(bad) < len(gpus) or reading.reached(snapshot):
            return
        to_open = module.flavour == "proprietary"
        evidence += [
            Evidence(f"{gpu.address} is a GPU of {row.name} (device {gpu.device})", row.reference) for gpu, row in bad
        ]
    branch = module.version.branch
    yield Complaint(
        _severity(snapshot),
        "This GPU needs the open kernel modules, and the proprietary one is loaded"
        if to_open
        else "The open kernel module is loaded, which does not drive this GPU",
        "GPUs from Blackwell on are driven by the open modules alone."
        if to_open
        else "The open modules drive GPUs from Turing on that they know; older and some GeForce GPUs need the proprietary one.",
        tuple(evidence),
        f"Install the open flavour and reboot (Ubuntu: sudo apt install nvidia-driver-{branch}-open; NVIDIA's repository: "
        "nvidia-open; .run: -m=kernel-open)"
        if to_open
        else f"Install the proprietary flavour and reboot (Ubuntu: sudo apt install nvidia-driver-{min(branch, 580)}; NVIDIA's repository: "
        "cuda-drivers; .run: -m=kernel); branches after 580 have none for GPUs before Turing",
    )


@rule(Layer.KERNEL, follows=("gpu-lost", "kernel-module-flavour-wrong"))
def gpu_not_supported_by_driver(snapshot: Snapshot) -> Iterator[Complaint]:
    """The loaded driver's branch does not drive this GPU: it is too old for the branch, or too new.

    NVIDIA ends the support of GPU generations with a branch (Kepler with 470; Maxwell, Pascal and Volta with 580), and a
    branch from before a GPU does not know it. The module loads and ignores the GPU; nvidia-smi finds no device.

    Confirm: `sudo dmesg | grep -iA5 'nvrm.*\\(legacy\\|not supported\\)'`; the GPU against the release's list of products.
    Remedy: install the legacy branch that the message names, or a newer branch for a new GPU.
    Reference: https://www.nvidia.com/en-us/drivers/unix/legacy-gpu/
    """
    gpus = _undriven(snapshot)
    text = reading.kernel_text(snapshot) if not reading.all_driven(snapshot) else ""
    legacy = re.search(r"The NVIDIA (.{0,80}?)supported through the NVIDIA (\d+)\.\w+ Legacy drivers", text)
    unknown = re.search(r"The NVIDIA GPU (\S+) [^.]{0,120}not supported by the NVIDIA ([\d.]+) driver release", text)
    if not legacy and not unknown and not gpus:
        need(snapshot.pci)
        return
    # A module that finds no GPU of its own ends at once: then only its last words in the log are left.
    said = re.search(r"The ([\d.]+) NVIDIA driver will ignore", text)
    named = unknown[2] if unknown else said[1] if said else ""
    loaded = isinstance(snapshot.kernel.driver, Seen)
    known = DriverVersion.parse(named) if named and not loaded else None
    module = known or need(snapshot.kernel.driver).version
    evidence = [Evidence(f"driver {module} is loaded", "/proc/driver/nvidia/version")] if loaded else []
    # A module that refused its only GPU is gone again.
    asked = gpus or (reading.host_gpus(snapshot) if unknown else ())
    rows = [(gpu, row) for gpu in asked if (row := kernel_log.generation(gpu.device))]
    old = [(gpu, row) for gpu, row in rows if row.last_branch is not None and module.branch > row.last_branch]
    new = [(gpu, row) for gpu, row in rows if row.first_branch is not None and module.branch < row.first_branch]
    if not legacy and not unknown and (not (old or new) or len(old or new) < len(gpus) or reading.reached(snapshot)):
        return
    if line := legacy or unknown:
        evidence.append(Evidence(line[0], _log(snapshot)))
    evidence += [
        Evidence(f"{gpu.address} is a GPU of {row.name} (device {gpu.device})", row.reference)
        for gpu, row in old or new
    ]
    branch = int(legacy[2]) if legacy else old[0][1].last_branch if old else None
    # The branch drives this generation: then the device is a virtual one, which only the guest driver knows.
    virtual = bool(unknown and rows and not legacy and not old and not new)
    if virtual:
        evidence += [
            Evidence(
                f"{gpu.address} is a GPU of {row.name} (device {gpu.device}, subsystem {gpu.subsystem or 'unknown'})",
                row.reference,
            )
            for gpu, row in rows[:2]
        ]
    yield Complaint(
        _severity(snapshot),
        f"Driver {module} does not drive this GPU any more: branch {branch} is the last that does"
        if branch
        else f"Driver {module} does not know this GPU, though it drives its generation: a virtual GPU (vGPU) needs the guest driver (GRID)"
        if virtual
        else f"Driver {module} does not know this GPU",
        "NVIDIA ended the support of its generation with that branch; the newer driver ignores it."
        if branch
        else "A slice of a GPU looks like the GPU with another subsystem, and only the guest driver of NVIDIA's vGPU software knows it; "
        "or the product is newer than this release."
        if virtual
        else "The GPU is newer than this driver's branch, or is no product that it supports.",
        tuple(evidence),
        f"Install branch {branch} (Ubuntu: sudo apt install nvidia-driver-{branch}; Debian: nvidia-legacy or -tesla-{branch}-driver; "
        f"Arch: nvidia-{branch}xx-dkms), then reboot"
        if branch
        else "In a virtual machine: remove this driver and install the vGPU (GRID) guest driver that your provider gives (Azure NVadsA10 v5: its GRID "
        "driver); else the newest driver: https://www.nvidia.com/en-us/drivers/"
        if virtual
        else "Install the newest driver branch for this GPU and reboot: https://www.nvidia.com/en-us/drivers/",
    )


@rule(Layer.KERNEL, follows=("gpu-lost", "kernel-module-flavour-wrong", "gpu-not-supported-by-driver"))
def gsp_firmware_missing(snapshot: Snapshot) -> Iterator[Complaint]:
    """The firmware for the GPU System Processor is not on disk in the driver's version.

    The open modules, and the proprietary one on newer GPUs, load /lib/firmware/nvidia/VERSION/gsp_*.bin when they start a
    GPU. A package that brings it may be missing (nvidia-firmware-*, firmware-nvidia-gsp), of another version, or not in
    the initial RAM disk from which the module is loaded.

    Confirm: `ls /lib/firmware/nvidia/$(cat /sys/module/nvidia/version)`; `sudo dmesg | grep -i gsp`.
    Remedy: install the firmware package of the driver's version, rebuild the initial RAM disk, reboot.
    Reference: https://download.nvidia.com/XFree86/Linux-x86_64/580.95.05/README/gsp.html
    """
    if reading.listed(snapshot):
        return
    module = need(snapshot.kernel.driver)
    if reading.in_container(snapshot):
        raise CannotTell("the host's firmware is not visible from a container", ("/lib/firmware",))
    line = re.search(
        r"[^.]{0,80}No firmware image found|Direct firmware load for nvidia/\S+gsp\S+ failed[^.]{0,40}",
        reading.kernel_text(snapshot),
    )
    there = snapshot.kernel.firmware.value if isinstance(snapshot.kernel.firmware, Seen) else ()
    # Systems that keep firmware elsewhere (NixOS, driver containers) have none there: that alone says nothing.
    elsewhere = not there and not line
    started = reading.nvml_code(snapshot) == 18 or not reading.host_gpus(snapshot)
    if str(module.version) in there or elsewhere or (not line and (module.flavour != "open" or started)):
        if isinstance(snapshot.kernel.firmware, Unseen) and snapshot.kernel.firmware.why is not Why.ABSENT:
            need(snapshot.kernel.firmware)
        return
    yield Complaint(
        Severity.ERROR,
        f"The GSP firmware of driver {module.version} is missing",
        "The kernel module loads it from disk when it starts a GPU, and does not start the GPU without it.",
        (
            Evidence(
                f"firmware of {', '.join(there)}" if there else "no gsp_*.bin",
                "/lib/firmware/nvidia",
            ),
            Evidence(f"{module.flavour} kernel module {module.version}", "/proc/driver/nvidia/version"),
            *([Evidence(line[0].strip(), _log(snapshot))] if line else []),
        ),
        f"Install the firmware of exactly this driver (Ubuntu: sudo apt install nvidia-firmware-{module.version.branch}-{module.version}; "
        "Debian: firmware-nvidia-gsp), rebuild the initial RAM disk and reboot",
    )


@rule(
    Layer.KERNEL,
    follows=("gpu-lost", "kernel-module-flavour-wrong", "gpu-not-supported-by-driver", "gsp-firmware-missing"),
)
def gpu_not_initialised(snapshot: Snapshot) -> Iterator[Complaint]:
    """The driver finds a GPU on the bus and cannot start it.

    The kernel log says why: missing power cables, no address space from the firmware (BAR), firmware of the GPU that
    does not start, a failed RmInitAdapter with a status code. Where the log may not be read, a GPU without a driver while
    the module is loaded shows the same.

    Confirm: `sudo dmesg | grep -i nvrm`; `lspci -k -d 10de:` shows no "Kernel driver in use" for it.
    Remedy: by the message, see the finding's text.
    Reference: https://docs.nvidia.com/deploy/gpu-debug-guidelines/index.html
    """
    text = reading.kernel_text(snapshot)
    gpus = _undriven(snapshot) or _given_up(snapshot, text)
    if not gpus:
        need(snapshot.pci)
        return
    for row in kernel_log.lines():
        if not (match := re.search(row.pattern, text)):
            continue
        address = re.findall(
            r"\b([0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.\d)\b", text[max(0, match.start() - 160) : match.end() + 60]
        )
        code = re.search(r"RmInitAdapter failed! \(0x[0-9a-f]+:(0x[0-9a-f]+):\d+\)", text)
        status = kernel_log.statuses().get(int(code[1], 16)) if code else None
        yield Complaint(
            _severity(snapshot),
            f"The driver cannot start GPU {address[-1] if address else UNKNOWN_ADDRESS}: {row.problem}",
            row.cause,
            (
                Evidence(match[0], _log(snapshot)),
                *(
                    [Evidence(code[0] + (f": {status.name}, {status.meaning}" if status else ""), _log(snapshot))]
                    if code
                    else []
                ),
                Evidence("a known message of the driver", row.reference),
            ),
            row.remedy,
        )
        return
    module = need(snapshot.kernel.driver)
    unbound = [gpu for gpu in gpus if gpu.driver is None]
    if unbound and not isinstance(snapshot.kernel.messages, Seen):
        yield Complaint(
            _severity(snapshot),
            f"The driver {module.version} is loaded and does not drive GPU {unbound[0].address}",
            "It refused the GPU or failed to start it; the kernel log, which may not be read here, says why.",
            tuple(Evidence(f"{gpu.address} has no driver", f"/sys/bus/pci/devices/{gpu.address}") for gpu in unbound),
            "sudo dmesg | grep -i nvrm, or run gpucheck as root",
        )
