"""libcuda and NVML: what they answer, and copies that must not be used."""

from __future__ import annotations

from collections.abc import Iterator

from gpucheck import kb
from gpucheck.facts import Call, Cuda, Library, Nvml, Seen, Snapshot, Unseen, Why
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.rules import reading
from gpucheck.rules.causes import REFUSING
from gpucheck.rules.libcuda import comes_from_host, found
from gpucheck.rules.rule import Layer, need, rule
from gpucheck.versions import DriverVersion


@rule(Layer.USER_DRIVER)
def libcuda_is_stub(snapshot: Snapshot) -> Iterator[Complaint]:
    """The toolkit's link-time stub is loaded instead of the driver's libcuda: cuInit = 34.

    The toolkit ships stubs/libcuda.so so that programs can be linked on machines without a driver. On LD_LIBRARY_PATH or
    in /etc/ld.so.conf.d it wins over the real one at run time. Build tools set the variable for what they run (`xmake run`): start
    gpucheck the same way to see what they set.

    Confirm: `echo $LD_LIBRARY_PATH | tr : '\\n' | grep stubs`; cuInit gives 34 (CUDA_ERROR_STUB_LIBRARY).
    Remedy: remove every */stubs entry; stubs belong to the linker's -L option only.
    Reference: https://github.com/numba/numba/issues/9732
    """
    library = reading.chosen_libcuda(snapshot)
    code = reading.cuda_code(snapshot)
    if code != 34 and (library is None or library.kind != "stub"):
        comes_from_host(snapshot)
        return
    path = snapshot.variable("LD_LIBRARY_PATH") or ""
    entries = [part for part in path.split(":") if "stubs" in part]
    yield Complaint(
        Severity.ERROR,
        "The toolkit's stub of libcuda is loaded instead of the driver's",
        "Stubs are for linking only: they answer every call with error 34.",
        (
            *found(snapshot),
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
        comes_from_host(snapshot)
        return
    module = need(snapshot.kernel.driver).version
    code = reading.cuda_code(snapshot)
    places = (library.path, library.real) if library else ()
    note = next((note for note in snapshot.compat if note.path in places), None)
    own = DriverVersion.parse(library.version) if library else None
    reasons: list[str] = []
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
            *found(snapshot),
            *([Evidence(f"libcuda {own}", library.real)] if library and own else []),
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
def driver_answers_nonsense(snapshot: Snapshot) -> Iterator[Complaint]:
    """The driver's answers make no sense: names that are no text, absurd counts, impossible sizes.

    A library of another driver, a shim that pretends to be one, or damaged memory answers like that. Nothing that rests
    on such answers can be trusted.

    Confirm: `nvidia-smi -q | head -30`; `ldconfig -p | grep -E 'libcuda|libnvidia-ml'`.
    Remedy: install the driver's packages again as a whole; take shims (LD_PRELOAD, LD_LIBRARY_PATH) away.
    Reference: https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__DEVICE.html
    """
    seen = [(fact.value, fact.source) for fact in (snapshot.cuda, snapshot.nvml) if isinstance(fact, Seen)]
    if not seen:
        need(snapshot.cuda)
    for value, source in seen:
        wrong = list(_nonsense(value))
        if wrong:
            yield Complaint(
                Severity.ERROR,
                f"{value.library.rsplit('/', 1)[-1]} answers what cannot be: {wrong[0]}",
                "It is damaged, of another driver than the module, or not NVIDIA's.",
                tuple(Evidence(fact, source) for fact in wrong[:4]),
                "Install the driver's packages again as a whole and reboot; look at what stands before it: echo $LD_PRELOAD $LD_LIBRARY_PATH",
                decisive=True,
            )


#: No machine has more GPUs, no GPU more memory (16 TiB), no capability a larger major.
MOST, MEMORY, MAJOR = 128, 1 << 44, 20


def _nonsense(answer: Cuda | Nvml) -> Iterator[str]:
    if answer.count is not None and not 0 <= answer.count <= MOST:
        yield f"{answer.count} GPUs"
    for gpu in answer.gpus:
        for what, text in (("name", gpu.name), ("UUID", gpu.uuid), ("PCI address", gpu.bus)):
            if "\ufffd" in text:
                yield f"the {what} of GPU {gpu.index} is no text"
        if gpu.memory is not None and gpu.memory > MEMORY:
            yield f"GPU {gpu.index} has {gpu.memory >> 40} TiB of memory"
        if gpu.capability is not None and gpu.capability.major > MAJOR:
            yield f"GPU {gpu.index} has compute capability {gpu.capability}"


@rule(Layer.USER_DRIVER, follows=("gpu-lost", "gpu-needs-reset", "gpu-reported-fault"))
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
            source = fact.source if isinstance(fact, Seen) else ", ".join(fact.tried) or "the driver"
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


@rule(Layer.USER_DRIVER, follows=REFUSING)
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
    nvml = kb.nvml_codes().get(reading.nvml_code(snapshot) or 0)
    yield Complaint(
        severity,
        f"CUDA reaches no GPU: {reading.spell(failed)}",
        (
            (row.meaning[0].upper() + row.meaning[1:] + ".")
            if row
            else "The knowledge base has no meaning for this code."
        )
        + (f" NVML fails as well: {nvml.meaning}." if nvml and nvml.code else ""),
        (Evidence(reading.spell(failed), snapshot.cuda.source), *reading.calls(snapshot)[1:]),
        "Follow the cause named above; without one, look at: sudo dmesg | grep -iE 'nvrm|xid' and nvidia-smi -q",
    )


#: What a failing nvmlInit tells, where CUDA works.
NVML_CAUSES = {
    4: "This process may not open the node that NVML uses (EACCES), or a security module forbids it.",
    9: "NVML does not find the driver: /proc/driver/nvidia or /dev/nvidiactl is hidden from this process.",
    12: "NVML does not find a library of its own.",
    18: "NVML is of another version than the loaded kernel module.",
    999: "NVML may not open a device that it asks for, as after a cgroup's rules were rewritten.",
}


@rule(
    Layer.USER_DRIVER,
    follows=(
        "driver-version-mismatch",
        "device-permission-denied",
        "device-refused-by-cgroup",
        "gpu-lost",
        "gpu-needs-reset",
    ),
)
def nvml_fails(snapshot: Snapshot) -> Iterator[Complaint]:
    """CUDA works and NVML does not: nvidia-smi, monitoring and NCCL fail.

    NVML (libnvidia-ml.so.1) is a second way to the driver. Programs that only compute do not need it; NCCL, nvidia-smi,
    DCGM and PyTorch's memory reports do. Containers get it with the `utility` capability.

    Confirm: `nvidia-smi`; `ldconfig -p | grep libnvidia-ml`.
    Remedy: by the code; in a container NVIDIA_DRIVER_CAPABILITIES=compute,utility.
    Reference: https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceEnumvs.html
    """
    if not reading.reached(snapshot) or isinstance(snapshot.host.tegra, Seen):
        return
    several = len(reading.answering_gpus(snapshot)) > 1
    if isinstance(snapshot.nvml, Unseen):
        if snapshot.nvml.why is not Why.ABSENT or snapshot.nvml_copies or "libnvidia-ml" not in snapshot.nvml.detail:
            need(snapshot.nvml)
        yield Complaint(
            Severity.WARNING if several else Severity.NOTE,
            "libnvidia-ml.so.1 is not here: nvidia-smi and NCCL cannot work",
            "The container was given the compute capability without utility."
            if reading.in_container(snapshot)
            else "The driver's package that brings NVML is not installed.",
            (Evidence(snapshot.nvml.detail, "dlopen in a child process"),),
            "Set NVIDIA_DRIVER_CAPABILITIES=compute,utility and create the container again"
            if reading.in_container(snapshot)
            else "Install it (Debian: sudo apt install libnvidia-ml1; elsewhere it is in the package of nvidia-smi)",
        )
        return
    code = reading.nvml_code(snapshot)
    if code in (None, 0):
        return
    yield Complaint(
        Severity.WARNING,
        f"CUDA works, NVML does not: {reading.spell(Call('nvmlInit_v2', code or 0))}",
        NVML_CAUSES.get(code or 0, "NVML and CUDA reach the driver by different nodes and calls; only NVML's fail."),
        reading.calls(snapshot),
        "Look at ls -l /dev/nvidia* and at the containers' settings; nvidia-smi, DCGM and NCCL need NVML",
    )
