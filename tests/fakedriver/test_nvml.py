"""NVML, through the real nvidia-ml-py."""

from __future__ import annotations

import pytest

from tests.fakedriver.drivers import run

#: each(NAME) says what pynvml gives for each device, or the code of its error.
OPEN = """
import pynvml
def attempt(function, *arguments):
    try:
        value = function(*arguments)
    except pynvml.NVMLError as error:
        return error.value
    if isinstance(value, list):
        return [vars(part) if hasattr(part, "__dict__") else part for part in value]
    return value.value if isinstance(value, ctypes._SimpleCData) else value
say(attempt(pynvml.nvmlInit))
devices = [attempt(pynvml.nvmlDeviceGetHandleByIndex, i) for i in range(pynvml.nvmlDeviceGetCount())]
def each(name, *arguments):
    return [attempt(getattr(pynvml, "nvmlDeviceGet" + name), device, *arguments) for device in devices]
"""


def ask(script: str, what: str, **variables: str) -> list[object]:
    """What pynvml says on a driver with this script."""
    code, *said = run(script, OPEN + what, **variables)
    assert code is None
    return said


def test_what_a_gpu_is() -> None:
    script = "driver = 535.161.08\ngpu = H100, GTX-1080-Ti\ngpu1.uuid = GPU-3f0e6f2c-1111-2222-3333-444455556666\ngpu1.pci = 0001:81:00.0\n"
    said = ask(
        script,
        """
say([pynvml.nvmlSystemGetDriverVersion(), pynvml.nvmlSystemGetCudaDriverVersion_v2(), pynvml.nvmlSystemGetNVMLVersion()])
for name in ("Name", "UUID", "CudaComputeCapability", "Brand", "Index", "MinorNumber", "Architecture", "NumGpuCores", "ComputeMode"):
    say(each(name))
say([(memory.total >> 20, memory.free >> 20, memory.used) for memory in each("MemoryInfo")])
say([(pci.busId, hex(pci.pciDeviceId)) for pci in each("PciInfo")])
say([attempt(pynvml.nvmlDeviceGetMemoryInfo, device, pynvml.nvmlMemory_v2).total >> 20 for device in devices])
""",
    )
    assert said == [
        ["535.161.08", 12020, "12.535.161.08"],
        ["NVIDIA H100 80GB HBM3", "NVIDIA GeForce GTX 1080 Ti"],
        ["GPU-10171e25-2c33-4a41-884f-565d646b7279", "GPU-3f0e6f2c-1111-2222-3333-444455556666"],
        [[9, 0], [6, 1]],
        [2, 5],
        [0, 1],
        [0, 1],
        [9, 4],
        [16896, 3584],
        [0, 0],
        [[81559, 81559, 0], [11264, 11264, 0]],
        [["00000000:01:00.0", "0x233010de"], ["00000001:81:00.0", "0x1b0610de"]],
        [81559, 11264],
    ]


def test_health_and_processes() -> None:
    script = """
gpu = A100, T4, RTX-3090
gpu0.remapped = 3, 1, 1, 0
gpu0.ecc_uncorrected = 5
gpu0.ecc_corrected_ever = 70
gpu0.processes = 1234:1GiB, 99
gpu0.compute_mode = exclusive-process
gpu1.ecc = off
"""
    said = ask(
        script,
        """
for name in ("EccMode", "RemappedRows", "MigMode", "ComputeRunningProcesses", "GraphicsRunningProcesses", "ComputeMode"):
    say(each(name))
say(each("TotalEccErrors", 1, 0))
say(each("TotalEccErrors", 0, 1))
say(each("MemoryErrorCounter", 1, 0, 2))
say([memory.used >> 20 for memory in each("MemoryInfo")])
""",
    )
    nobody = {"gpuInstanceId": 0xFFFFFFFF, "computeInstanceId": 0xFFFFFFFF}
    assert said == [
        [[1, 1], [0, 0], 3],
        [[3, 1, 1, 0], 3, 3],
        [[0, 0], 3, 3],
        [[{"pid": 1234, "usedGpuMemory": 1 << 30, **nobody}, {"pid": 99, "usedGpuMemory": 0, **nobody}], [], []],
        [[], [], []],
        [3, 0, 0],
        [5, 3, 3],
        [70, 3, 3],
        [5, 3, 3],
        [1024, 0, 0],
    ]


def test_mig_devices() -> None:
    said = ask(
        "gpu = H100\ngpu0.mig = on\ngpu0.mig_instances = 1g.10gb, 3g.40gb\n",
        """
say(each("MigMode") + each("MaxMigDeviceCount"))
for index in range(3):
    mig = attempt(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, devices[0], index)
    if mig == 6:
        say(mig)
        continue
    say([attempt(getattr(pynvml, "nvmlDevice" + name), mig) for name in
        ("GetName", "GetUUID", "IsMigDeviceHandle", "GetGpuInstanceId", "GetComputeInstanceId", "GetMigMode")]
        + [pynvml.nvmlDeviceGetMemoryInfo(mig).total >> 30, pynvml.nvmlDeviceGetAttributes(mig).gpuInstanceSliceCount,
           pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(mig))])
""",
    )
    gpu = "GPU-10171e25-2c33-4a41-884f-565d646b7279"
    name = "NVIDIA H100 80GB HBM3 MIG"
    assert said == [
        [[1, 1], 7],
        [f"{name} 1g.10gb", "MIG-5d171e25-2c33-4a41-884f-565d646b727a", 1, 1, 0, 3, 10, 1, gpu],
        [f"{name} 3g.40gb", "MIG-5d171e25-2c33-4a41-884f-565d646b727b", 1, 2, 0, 3, 40, 3, gpu],
        6,
    ]


def test_fabric() -> None:
    said = ask(
        "gpu = H100, A100\ngpu0.fabric = in-progress\n",
        """
info = pynvml.c_nvmlGpuFabricInfoV_t()
for device in devices:
    say([attempt(pynvml.nvmlDeviceGetGpuFabricInfoV, device, byref(info)), info.state])
""",
    )
    # NVML_GPU_FABRIC_STATE_IN_PROGRESS is 2; before Hopper: NVML_ERROR_NOT_SUPPORTED.
    assert said == [[0, 2], [3, 2]]


def test_nvml_and_cuda_see_what_they_are_told_to_see() -> None:
    said = ask(
        "gpu = T4:3\ncuda.gpus = 2\nnvml.gpus = 0, 1\n",
        """
say([handle for handle in each("MinorNumber")])
number, cuda = c_int(), ctypes.CDLL("libcuda.so.1")
cuda.cuInit(0)
cuda.cuDeviceGetCount(byref(number))
bus = c_int()
cuda.cuDeviceGetAttribute(byref(bus), 33, 0)
say([number.value, bus.value])
""",
        CUDA_VISIBLE_DEVICES="0",
    )
    assert said == [[0, 1], [1, 3]]


@pytest.mark.parametrize("code", [4, 9, 12, 18, 999])
def test_the_start_fails(code: int) -> None:
    program = """
import pynvml
try:
    pynvml.nvmlInit()
except pynvml.NVMLError as error:
    say(error.value)
"""
    (said,) = run(f"gpu = H100\nnvmlInit_v2 = {code}\n", program)
    assert said == code


def test_a_gpu_is_lost() -> None:
    said = ask(
        "gpu = T4:2\nnvmlDeviceGetHandleByIndex@1 = 15\nnvmlDeviceGetName@0 = 16\n",
        "say(each('Name')[0])\nsay(devices[1])",
    )
    assert said == [16, 15]
