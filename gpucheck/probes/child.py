"""Runs in a child process, with the standard library alone: calls the driver and says what it answers.

Questions come one a line on standard input, as four fields between tabs: id, what to ask, the library, the folder of pynvml.
Each is answered in a process of its own, so that a hang or a crash in one keeps no other from its answer. On standard
output, one Python literal a line, a dict with the question's ``id``: ``{"calling": NAME}`` before each call, so that the reader
knows in which one a process hung or died, ``{"call": NAME, "code": N}`` after it, ``{"fact": NAME, "value": ...}`` for what
was learned, and ``{"status": N}`` at the end of the question's process. (Literals and not JSON: json costs a third of the
start-up.)
"""

from __future__ import annotations

import ctypes
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

question = ""
#: A driver that counts more GPUs than this answers nonsense: the largest machines have 16, of 7 MIG instances each.
MOST = 128
#: Seconds. Questions about a GPU that is already open take milliseconds.
SLOW = 5.0


def say(**line: object) -> None:
    # One write a line, below PIPE_BUF: lines of several processes do not mix (pipe(7)).
    os.write(1, (ascii({"id": question, **line}) + "\n").encode())


def call(library: ctypes.CDLL, name: str, *arguments: Any) -> int | None:
    """Call a function that returns a result code; None when the library does not have it."""
    function = getattr(library, name, None)
    if function is None:
        say(missing=name)
        return None
    say(calling=name)
    code: int = function(*arguments)
    say(call=name, code=code)
    return code


def number(library: ctypes.CDLL, name: str, *arguments: Any) -> int | None:
    """Call a function whose first argument receives an int."""
    found = ctypes.c_int(0)
    return found.value if call(library, name, ctypes.byref(found), *arguments) == 0 else None


def open_library(name: str, stem: str) -> ctypes.CDLL | None:
    say(calling="dlopen " + name)
    try:
        library = ctypes.CDLL(name)
    except OSError as error:
        say(fact="dlopen-error", value=str(error))
        return None
    say(fact="library", value=mapped(stem) or name)
    return library


def mapped(stem: str) -> str | None:
    """The file of a library as this process has it mapped."""
    with open("/proc/self/maps") as maps:
        for line in maps:
            path = line.split(None, 5)[5:]
            if path and path[0].strip().rsplit("/", 1)[-1].startswith(stem):
                return path[0].strip()
    return None


def ask_cuda(task: dict[str, str]) -> None:
    library = open_library(task["library"], "libcuda.so")
    if library is None:
        return
    say(fact="cuda", value=number(library, "cuDriverGetVersion"))
    if call(library, "cuInit", 0) != 0:
        return
    count = number(library, "cuDeviceGetCount")
    say(fact="count", value=count)
    for index in range(min(count or 0, MOST)):
        device = number(library, "cuDeviceGet", index)
        if device is None:
            continue
        name = ctypes.create_string_buffer(256)
        call(library, "cuDeviceGetName", name, 256, device)
        uuid = ctypes.create_string_buffer(16)
        # _v2, where there is one, gives the UUID of the MIG instance instead of its GPU's.
        if call(library, "cuDeviceGetUuid_v2", uuid, device) is None:
            call(library, "cuDeviceGetUuid", uuid, device)
        memory = ctypes.c_size_t(0)
        call(library, "cuDeviceTotalMem_v2", ctypes.byref(memory), device)
        # CUdevice_attribute in cuda.h: COMPUTE_CAPABILITY_MAJOR is 75, _MINOR is 76.
        major = number(library, "cuDeviceGetAttribute", 75, device)
        minor = number(library, "cuDeviceGetAttribute", 76, device)
        say(
            fact="gpu",
            value={
                "index": index,
                "name": name.value.decode(errors="replace"),
                "uuid": "GPU-" + hex_uuid(uuid.raw),
                "capability": None if major is None or minor is None else f"{major}.{minor}",
                "memory": memory.value or None,
            },
        )
        context = ctypes.c_void_p()
        code = call(library, "cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        say(fact="context", value={"index": index, "code": code})
        if code == 0:
            call(library, "cuDevicePrimaryCtxRelease_v2", device)


def hex_uuid(raw: bytes) -> str:
    text = raw.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def ask_cudart(task: dict[str, str]) -> None:
    library = open_library(task["library"], "libcudart.so")
    if library is None:
        return
    say(fact="cuda", value=number(library, "cudaRuntimeGetVersion"))
    say(fact="driver", value=number(library, "cudaDriverGetVersion"))
    number(library, "cudaGetDeviceCount")


def ask_nvml(task: dict[str, str]) -> None:
    if open_library(task["library"], "libnvidia-ml.so") is None:
        return
    sys.path.insert(0, task["pynvml"])
    import pynvml

    def ask(name: str, *arguments: Any) -> Any:
        say(calling=name)
        began = time.monotonic()
        try:
            value = getattr(pynvml, name)(*arguments)
        except pynvml.NVMLError as error:
            say(call=name, code=error.value)
            return None
        except UnicodeDecodeError:
            value = NOISE
        say(call=name, code=0)
        # Opening a GPU (GetHandleByIndex) initialises it where persistence mode is off: that takes its time.
        if time.monotonic() - began > SLOW and name.startswith("nvmlDevice") and "Handle" not in name:
            say(fact="slow", value=name)
        return value.decode(errors="replace") if isinstance(value, bytes) else value

    say(calling="nvmlInit_v2")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        say(call="nvmlInit_v2", code=error.value)
        return
    say(call="nvmlInit_v2", code=0)
    say(fact="driver", value=ask("nvmlSystemGetDriverVersion"))
    say(fact="cuda", value=ask("nvmlSystemGetCudaDriverVersion_v2"))
    confidential = ask("nvmlSystemGetConfComputeState")
    if confidential is not None and confidential.ccFeature:
        say(fact="confidential", value=True)
        ready = ask("nvmlSystemGetConfComputeGpusReadyState")
        say(fact="ready", value=None if ready is None else bool(ready))
    count = ask("nvmlDeviceGetCount")
    say(fact="count", value=count)
    for index in range(min(count or 0, MOST)):
        device = ask("nvmlDeviceGetHandleByIndex", index)
        if device is None:
            continue
        capability = ask("nvmlDeviceGetCudaComputeCapability", device)
        memory = ask("nvmlDeviceGetMemoryInfo", device)
        mig = ask("nvmlDeviceGetMigMode", device)
        processes = ask("nvmlDeviceGetComputeRunningProcesses", device)
        rows = ask("nvmlDeviceGetRemappedRows", device)
        virtualization = ask("nvmlDeviceGetVirtualizationMode", device)
        fabric = pynvml.c_nvmlGpuFabricInfo_t()
        joined = ask("nvmlDeviceGetGpuFabricInfo", device, ctypes.byref(fabric))
        pci = ask("nvmlDeviceGetPciInfo", device)
        say(
            fact="gpu",
            value={
                "index": index,
                "name": ask("nvmlDeviceGetName", device) or "",
                "uuid": ask("nvmlDeviceGetUUID", device) or "",
                "capability": None if capability is None else f"{capability[0]}.{capability[1]}",
                "memory": None if memory is None else memory.total,
                "brand": ask("nvmlDeviceGetBrand", device),
                "mig": None if mig is None else bool(mig[0]),
                "mig_pending": None if mig is None else bool(mig[1]),
                "compute_mode": ask("nvmlDeviceGetComputeMode", device),
                "processes": None if processes is None else len(processes),
                "holders": [(each.pid, each.usedGpuMemory) for each in (processes or [])[:8]],
                # nvmlMemoryErrorType_t and nvmlEccCounterType_t in nvml.h: uncorrected is 1, volatile is 0.
                "ecc_errors": ask("nvmlDeviceGetTotalEccErrors", device, 1, 0),
                "remap_pending": None if rows is None else bool(rows[2]),
                "remap_failed": None if rows is None else bool(rows[3]),
                "virtualization": virtualization,
                "licensed": licensed(ask, device) if virtualization == VGPU else None,
                "fabric": None if joined is None else fabric.state,
                "instances": instances(ask, device) if mig and mig[0] else None,
                "bus": "" if pci is None else address(pci),
            },
        )


#: For bytes that are no text.
NOISE = "\ufffd"


def address(pci: Any) -> str:
    try:
        return str(pci.busId)
    except UnicodeDecodeError:
        return NOISE


#: nvmlGpuVirtualizationMode_t in nvml.h: the GPU of a guest that has a part of it.
VGPU = 2


def licensed(ask: Any, device: Any) -> bool | None:
    """Whether a virtual GPU has one of its licences (nvmlGridLicensableFeature_t.featureState)."""
    found = ask("nvmlDeviceGetGridLicensableFeatures", device)
    if found is None or not found.isGridLicenseSupported:
        return None
    features = found.gridLicensableFeatures[: found.licensableFeaturesCount]
    return any(feature.featureState for feature in features)


def instances(ask: Any, device: Any) -> int:
    """How many MIG compute instances a GPU has: the slots up to the maximum that hold one."""
    most = ask("nvmlDeviceGetMaxMigDeviceCount", device) or 0
    return sum(ask("nvmlDeviceGetMigDeviceHandleByIndex", device, slot) is not None for slot in range(min(most, MOST)))


TASKS = {"cuda": ask_cuda, "cudart": ask_cudart, "nvml": ask_nvml}


def main() -> None:
    global question
    running = {}
    for line in sys.stdin:
        id, ask, library, pynvml = line.rstrip("\n").split("\t")
        pid = os.fork()
        if pid == 0:
            question = id
            status = 1
            try:
                TASKS[ask]({"library": library, "pynvml": pynvml})
                status = 0
            finally:
                os._exit(status)
        running[pid] = id
    while running:
        pid, status = os.wait()
        question = running.pop(pid, "")
        say(status=os.waitstatus_to_exitcode(status))


main()
