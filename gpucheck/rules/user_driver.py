"""libcuda and NVML: which file a process gets, and what it answers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpucheck import kb
from gpucheck.facts import Library, Seen, Snapshot, Unseen, Why
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.rules import reading
from gpucheck.rules.devices import BELOW
from gpucheck.rules.rule import CannotTell, Layer, need, rule
from gpucheck.versions import DriverVersion

REAL = ("driver", "wsl", "tegra")


def _found(snapshot: Snapshot) -> tuple[Evidence, ...]:
    """How the linker came to its libcuda, or where it looked in vain."""
    chosen = snapshot.libcuda
    if chosen.path:
        return (Evidence(f"libcuda.so.1 is {chosen.path}, found by {chosen.how}", "dynamic linker"),)
    return tuple(Evidence(place, "dynamic linker") for place in chosen.considered[:8]) or (
        Evidence("libcuda.so.1 is not found", "dynamic linker"),
    )


def _comes_from_host(snapshot: Snapshot) -> None:
    if reading.no_kernel(snapshot):
        raise CannotTell("libcuda comes from the host when a container starts; these are only files")


@rule(Layer.USER_DRIVER, follows=(*BELOW, "compute-capability-not-granted"))
def libcuda_missing(snapshot: Snapshot) -> Iterator[Complaint]:
    """libcuda.so.1 is nowhere: no user-space driver is installed or mounted here.

    libcuda belongs to the driver, never to the CUDA toolkit or to a wheel. On a host the driver's package brings it, in a
    container the engine mounts it from the host.

    Confirm: `ldconfig -p | grep libcuda.so.1`.
    Remedy: install the driver on the host; start the container with the GPU asked for.
    Reference: https://docs.nvidia.com/deploy/cuda-compatibility/index.html
    """
    _comes_from_host(snapshot)
    if snapshot.libcuda.path or any(copy.kind in (*REAL, "compat") for copy in snapshot.libcuda_copies):
        return
    if isinstance(snapshot.cuda, Seen):
        return
    yield Complaint(
        reading.absence(snapshot),
        "libcuda.so.1 is nowhere on this system",
        "It belongs to the driver: the host's driver package brings it, and the container engine mounts it.",
        _found(snapshot),
        "docker run --gpus all ... (with the NVIDIA container toolkit on the host)"
        if reading.in_container(snapshot)
        else "Install the NVIDIA driver (Ubuntu: sudo ubuntu-drivers install; Debian: sudo apt install nvidia-driver libcuda1)",
    )


@rule(Layer.USER_DRIVER, follows=("no-gpu",))
def libcuda_off_loader_path(snapshot: Snapshot) -> Iterator[Complaint]:
    """libcuda.so.1 is on disk, but where the dynamic linker does not look.

    GKE mounts the driver at /usr/local/nvidia without telling the linker; Singularity, Colab, NixOS and driver
    containers have places of their own. A program that opens libcuda.so.1 by name does not find it.

    Confirm: `ldconfig -p | grep libcuda` prints nothing, the file exists.
    Remedy: put its folder into LD_LIBRARY_PATH, or into /etc/ld.so.conf.d and run ldconfig.
    Reference: https://cloud.google.com/kubernetes-engine/docs/how-to/gpus#cuda
    """
    if snapshot.libcuda.path or isinstance(snapshot.cuda, Seen):
        return
    # What the linker came by and cannot load is another fault: libcuda-unloadable.
    passed_over = {path for path, _ in snapshot.libcuda.skipped}
    copies = [
        copy
        for copy in snapshot.libcuda_copies
        if copy.kind in REAL and copy.path.endswith(".so.1") and copy.path not in passed_over
    ]
    if not copies:
        _comes_from_host(snapshot)
        return
    folder = copies[0].path.rsplit("/", 1)[0]
    path = snapshot.variable("LD_LIBRARY_PATH")
    yield Complaint(
        Severity.ERROR,
        f"libcuda.so.1 is in {folder}, where the dynamic linker does not look",
        "The folder is neither in LD_LIBRARY_PATH nor in the linker's cache.",
        (
            Evidence(f"libcuda {copies[0].version or '(no version in its name)'}", copies[0].path),
            Evidence(f"LD_LIBRARY_PATH={path}" if path is not None else "LD_LIBRARY_PATH is not set", "environment"),
            *_found(snapshot)[:3],
        ),
        f"export LD_LIBRARY_PATH={folder}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}} (in an image: ENV), "
        f"or: echo {folder} > /etc/ld.so.conf.d/nvidia.conf && ldconfig",
        decisive=True,
    )


@rule(Layer.USER_DRIVER)
def libcuda_is_stub(snapshot: Snapshot) -> Iterator[Complaint]:
    """The toolkit's link-time stub is loaded instead of the driver's libcuda: cuInit = 34.

    The toolkit ships stubs/libcuda.so so that programs can be linked on machines without a driver. On LD_LIBRARY_PATH or
    in /etc/ld.so.conf.d it wins over the real one at run time.

    Confirm: `echo $LD_LIBRARY_PATH | tr : '\\n' | grep stubs`; cuInit gives 34 (CUDA_ERROR_STUB_LIBRARY).
    Remedy: remove every */stubs entry; stubs belong to the linker's -L option only.
    Reference: https://github.com/numba/numba/issues/9732
    """
    library = reading.chosen_libcuda(snapshot)
    code = reading.cuda_code(snapshot)
    if code != 34 and (library is None or library.kind != "stub"):
        _comes_from_host(snapshot)
        return
    path = snapshot.variable("LD_LIBRARY_PATH") or ""
    entries = [part for part in path.split(":") if "stubs" in part]
    yield Complaint(
        Severity.ERROR,
        "The toolkit's stub of libcuda is loaded instead of the driver's",
        "Stubs are for linking only: they answer every call with error 34.",
        (
            *_found(snapshot),
            *([Evidence(f"{library.size} bytes", library.real)] if library else []),
            *reading.calls(snapshot),
            *(Evidence(f"LD_LIBRARY_PATH has {entry}", "environment") for entry in entries),
        ),
        f"Remove {entries[0]} from LD_LIBRARY_PATH"
        if entries
        else "Remove the stubs folder from /etc/ld.so.conf.d and run: sudo ldconfig",
        decisive=code == 34,
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
            *_found(snapshot),
            Evidence(f"version {library.version} is of a Linux driver", library.real),
            *reading.calls(snapshot),
        ),
        "sudo apt purge 'libnvidia-*' 'nvidia-*' && sudo ldconfig (the Windows driver stays)",
        decisive=reading.cuda_code(snapshot) not in (None, 0),
    )


@rule(Layer.USER_DRIVER)
def cuda_compat_refused(snapshot: Snapshot) -> Iterator[Complaint]:
    """A cuda-compat libcuda is used where forward compatibility does not hold: cuInit = 803 or 804.

    cuda-compat brings a newer user-space driver for an older kernel module. It must be newer than the host's driver,
    name the host's branch in its ELF note, and works on data centre GPUs, not on GeForce or TITAN. When a runtime puts it
    first on a host with a newer driver, the pair is refused.

    Confirm: `ldconfig -p | grep libcuda.so.1` names a compat folder; the code is 803 (versions) or 804 (GPU).
    Remedy: take the compat folder off the linker's path (delete its file in /etc/ld.so.conf.d and run ldconfig), or
    update the host's driver.
    Reference: https://docs.nvidia.com/deploy/cuda-compatibility/forward-compatibility.html
    """
    library = reading.chosen_libcuda(snapshot)
    # The code alone tells that the library is one for forward compatibility, wherever it lies.
    if reading.cuda_code(snapshot) != 804 and (library is None or library.kind != "compat"):
        _comes_from_host(snapshot)
        return
    module = need(snapshot.kernel.driver).version
    code = reading.cuda_code(snapshot)
    places = (library.path, library.real) if library else ()
    note = next((note for note in snapshot.compat if note.path in places), None)
    own = DriverVersion.parse(library.version) if library else None
    reasons = []
    if own is not None and own < module:
        reasons.append(f"it is older ({own}) than the host's driver ({module})")
    if note is not None and module.branch not in note.drivers:
        reasons.append(
            f"it does not support branch {module.branch} (its note names {', '.join(map(str, note.drivers))})"
        )
    # NVML brands 5, 6, 15 and 16 are GeForce, TITAN and their RTX lines (nvml.h, nvmlBrandType_t).
    consumer = [gpu for gpu in reading.answering_gpus(snapshot) if gpu.brand in (5, 6, 15, 16)]
    if consumer:
        reasons.append(f"{consumer[0].name} is no data centre GPU")
    if code in (None, 0) and not reasons:
        return
    if code == 0 or code not in (None, 803, 804):
        return
    yield Complaint(
        Severity.ERROR,
        "A cuda-compat libcuda is used where it cannot work",
        (
            f"Forward compatibility does not hold here: {'; '.join(reasons)}."
            if reasons
            else "The driver refuses this pair of versions."
        ),
        (
            *_found(snapshot),
            Evidence(
                f"kernel module {module}",
                snapshot.kernel.driver.source if isinstance(snapshot.kernel.driver, Seen) else "",
            ),
            *(
                [
                    Evidence(
                        f"made for CUDA {note.cuda}, host branches {', '.join(map(str, note.drivers))}",
                        f"ELF note of {note.path}",
                    )
                ]
                if note
                else []
            ),
            *reading.calls(snapshot),
        ),
        "Take it off the linker's path: rm /etc/ld.so.conf.d/*compat*.conf && ldconfig (and out of LD_LIBRARY_PATH), "
        "or update the host's driver",
        decisive=code in (803, 804),
    )


@rule(Layer.USER_DRIVER)
def libcuda_unloadable(snapshot: Snapshot) -> Iterator[Complaint]:
    """libcuda.so.1 is found, but cannot be loaded.

    A library that it needs is missing (a half-installed driver: libcuda of the branches 390 to 440 needs
    libnvidia-fatbinaryloader, which some distributions package apart), the file is 32-bit or for another architecture, or it
    is cut off.

    Confirm: `ldd /path/to/libcuda.so.1`.
    Remedy: install the driver's packages completely, for this architecture; all their libraries must be of one version.
    Reference: ld.so(8)
    """
    chosen = snapshot.libcuda
    if isinstance(snapshot.cuda, Seen):
        return
    if chosen.path is None and (chosen.skipped or chosen.fatal):
        _comes_from_host(snapshot)
        yield _passed_over(snapshot)
        return
    failed = snapshot.cuda.why is Why.ABSENT
    if not failed and (not chosen.fatal or reading.no_kernel(snapshot)):
        need(snapshot.cuda)
    if chosen.path is None:
        return
    said = (snapshot.cuda.detail if failed else "") or chosen.fatal
    lacking = re.match(r"(?!libcuda\.so)(\S+): cannot open shared object file", said)
    yield Complaint(
        Severity.ERROR,
        f"libcuda.so.1 cannot be loaded: it needs {lacking[1]}, which is not found"
        if lacking
        else f"{chosen.path} is found, but cannot be loaded",
        "The driver's packages are not all installed, or the folder of one is not where the linker looks."
        if lacking
        else "The dynamic linker gives the reason in the evidence.",
        (Evidence(said, "dlopen in a child process" if failed else "the files' headers"), *_found(snapshot)),
        f"Install the package of the same version that brings {lacking[1]}; then look at: ldd {chosen.path}"
        if lacking
        else f"Reinstall the driver's packages as a whole; look at: ldd {chosen.path}",
        decisive=True,
    )


def _passed_over(snapshot: Snapshot) -> Complaint:
    """For a libcuda.so.1 that is where the linker looks, and that it does not take."""
    chosen = snapshot.libcuda
    (path, why), *others = chosen.skipped or ((chosen.fatal.partition(": ")[0], chosen.fatal.partition(": ")[2]),)
    foreign = why.endswith("-bit") or why.startswith("for ")
    return Complaint(
        Severity.ERROR,
        f"libcuda.so.1 is there, but cannot be loaded: it is {why}" if foreign else f"{path} cannot be loaded: {why}",
        f"Programs here are for {snapshot.host.architecture}; the dynamic linker passes over libraries for others."
        if foreign
        else "The dynamic linker comes by this file and finds no other.",
        tuple(Evidence(f"{file}: {reason}", "the file's headers") for file, reason in ((path, why), *others)),
        f"Install the driver's libraries for {snapshot.host.architecture} (Debian, Ubuntu: libcuda1 or libnvidia-compute-* "
        "without an architecture suffix), and take the folder of the others off LD_LIBRARY_PATH"
        if foreign
        else "Reinstall the driver's packages as a whole; then: sudo ldconfig",
        decisive=True,
    )


@rule(Layer.USER_DRIVER)
def libcuda_in_image(snapshot: Snapshot) -> Iterator[Complaint]:
    """The image carries driver libraries of its own.

    libcuda and libnvidia-ml must be of the host's version, so the container engine mounts them. Copies in the image
    collide with the mounted ones ("file exists") or win over them and fail on every other driver.

    Confirm: `find / -name 'libcuda.so.*'` in the image.
    Remedy: remove the driver's packages from the image; toolkit libraries and wheels are all it needs.
    Reference: https://github.com/NVIDIA/nvidia-container-toolkit/issues/289
    """
    if not reading.no_kernel(snapshot):
        return
    copies: list[Library] = [
        copy for copy in (*snapshot.libcuda_copies, *snapshot.nvml_copies) if copy.kind == "driver" and copy.version
    ]
    if not copies:
        return
    yield Complaint(
        Severity.WARNING,
        f"The image carries libraries of driver {copies[0].version}",
        "They must come from the host; these collide with the mounted ones or fail on any other driver.",
        tuple(Evidence(f"{copy.soname} {copy.version}", copy.real) for copy in copies),
        "Remove them in the Dockerfile: apt-get purge -y 'libnvidia-*' 'libcuda1*'",
    )


@rule(Layer.USER_DRIVER)
def driver_does_not_answer(snapshot: Snapshot) -> Iterator[Complaint]:
    """A call into the driver hung or crashed the process that made it.

    A GPU under an error storm, a dying device or a broken installation blocks calls for minutes or ends in a signal.

    Confirm: `time nvidia-smi`; `sudo dmesg | grep -i xid`.
    Remedy: look for Xid errors; drain the machine and reset the GPU or reboot.
    Reference: https://github.com/NVIDIA/DCGM/issues/313
    """
    for fact in (snapshot.cuda, snapshot.nvml):
        trouble = fact.value.trouble if isinstance(fact, Seen) else fact.detail if fact.why is Why.UNREADABLE else ""
        if trouble:
            source = fact.source if isinstance(fact, Seen) else fact.tried[0]
            yield Complaint(
                Severity.ERROR,
                f"The driver does not answer: {trouble}",
                "The call was made in a child process, which was ended.",
                (Evidence(trouble, source), *reading.kernel_lines(snapshot, "Xid")),
                "Look for Xid errors (sudo dmesg | grep -i xid), then reset the GPU (sudo nvidia-smi --gpu-reset) or reboot",
                decisive=True,
            )
    if isinstance(snapshot.cuda, Unseen) and snapshot.cuda.why is Why.NOT_APPLICABLE:
        need(snapshot.cuda)


@rule(
    Layer.USER_DRIVER,
    follows=(
        *BELOW, "gpu-lost", "gpu-needs-reset", "driver-version-mismatch", "hmm-breaks-cuda", "uvm-not-working", "fabric-not-ready",
        "compute-capability-not-granted", "device-node-missing", "device-permission-denied", "device-refused-by-cgroup",
        "device-without-driver", "libcuda-off-loader-path", "libcuda-is-stub", "wsl-libcuda-shadowed", "cuda-compat-refused",
        "libcuda-unloadable", "libcuda-missing", "driver-does-not-answer", "visible-devices-hides-gpus", "compute-mode-exclusive", "gpu-memory-full", "mig-without-instances", "mps-unreachable",
    ),
)  # fmt: skip
def gpu_unreached(snapshot: Snapshot) -> Iterator[Complaint]:
    """CUDA reaches no GPU here: cuInit fails or counts none.

    This is the symptom; where a cause was found, this is folded under it. Alone, it says what the code means.

    Confirm: `python -c "import ctypes; print(ctypes.CDLL('libcuda.so.1').cuInit(0))"` prints the code.
    Remedy: by the code, see the finding's text.
    Reference: https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__TYPES.html
    """
    severity = reading.absence(snapshot)
    if isinstance(snapshot.cuda, Unseen):
        if snapshot.cuda.why is not Why.ABSENT:
            need(snapshot.cuda)
        yield Complaint(
            severity,
            "No program here reaches a GPU: libcuda.so.1 cannot be loaded",
            "Without it no CUDA call is possible.",
            (Evidence(snapshot.cuda.detail, "dlopen in a child process"),),
            "Follow the cause named above; without one, install the NVIDIA driver.",
        )
        return
    failed = next((call for call in snapshot.cuda.value.calls if call.code), None)
    if failed is None and (snapshot.cuda.value.gpus or snapshot.cuda.value.trouble):
        return
    if failed is None:
        yield Complaint(
            severity,
            "CUDA is initialised, but lists no GPU",
            "cuDeviceGetCount gives 0.",
            reading.calls(snapshot),
            "Look at CUDA_VISIBLE_DEVICES and at MIG: nvidia-smi -L",
        )
        return
    if snapshot.cuda.value.gpus and failed.name not in ("cuInit", "cuDevicePrimaryCtxRetain", "cuDeviceGetCount"):
        return
    row = kb.cuda_codes().get(failed.code)
    yield Complaint(
        severity,
        f"CUDA reaches no GPU: {reading.spell(failed)}",
        (row.meaning[0].upper() + row.meaning[1:] + ".") if row else "The knowledge base has no meaning for this code.",
        (Evidence(reading.spell(failed), snapshot.cuda.source), *reading.calls(snapshot)[1:]),
        "Follow the cause named above; without one, look at: sudo dmesg | grep -iE 'nvrm|xid' and nvidia-smi -q",
    )
