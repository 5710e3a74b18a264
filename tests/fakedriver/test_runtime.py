"""Real libcudart on the fake driver."""

from __future__ import annotations

import pytest

from tests.fakedriver.drivers import RUNTIMES, run, runtime

#: CUDA 13.5: a driver that all three runtimes accept.
DRIVER = "driver = 615.20\ncuda = 13.5\n"

OPEN = """
cudart = ctypes.CDLL(sys.argv[1])
def call(name, *arguments):
    return getattr(cudart, name)(*arguments)
"""

WORK = (
    OPEN
    + """
number = c_int()
say(["driver", call("cudaDriverGetVersion", byref(number)), number.value])
say(["count", call("cudaGetDeviceCount", byref(number)), number.value])
properties = create_string_buffer(8192)
name = "cudaGetDeviceProperties_v2" if hasattr(cudart, "cudaGetDeviceProperties_v2") else "cudaGetDeviceProperties"
say(["properties", call(name, properties, 1), properties.value.decode()])
capability = []
for attribute in (75, 76, 16):
    call("cudaDeviceGetAttribute", byref(number), attribute, 1)
    capability.append(number.value)
say(["capability", capability])
memory, size = c_void_p(), 1 << 20
say(["malloc", call("cudaMalloc", byref(memory), c_size_t(size))])
sent, got = create_string_buffer(bytes(range(256)) * (size // 256), size), create_string_buffer(size)
say(["to", call("cudaMemcpy", memory, sent, c_size_t(size), 1)])
say(["from", call("cudaMemcpy", got, memory, c_size_t(size), 2), got.raw == sent.raw])
call("cudaMemset", memory, 0x41, c_size_t(8))
call("cudaMemcpy", got, memory, c_size_t(size), 4)
say(["memset", got.raw[:10] == b"A" * 8 + sent.raw[8:10]])
free, total = c_size_t(), c_size_t()
call("cudaMemGetInfo", byref(free), byref(total))
say(["memory", total.value - free.value, total.value >> 20])
stream, event = c_void_p(), c_void_p()
say(["stream", call("cudaStreamCreate", byref(stream)), call("cudaEventCreate", byref(event)), call("cudaEventRecord", event, stream),
     call("cudaStreamSynchronize", stream), call("cudaEventDestroy", event), call("cudaStreamDestroy", stream)])
say(["free", call("cudaFree", memory)])
say(["wrong", call("cudaFree", c_void_p(12345 << 12)), call("cudaSetDevice", 5), call("cudaStreamSynchronize", c_void_p(0xbad000))])
call("cudaGetLastError")
say(["end", call("cudaDeviceSynchronize"), call("cudaDeviceReset")])
say(["again", call("cudaMalloc", byref(memory), c_size_t(16))])
"""
)


@pytest.mark.parametrize("version", RUNTIMES)
def test_a_real_runtime_works(version: str) -> None:
    said = {line[0]: line[1:] for line in run(DRIVER + "gpu = H100, T4\n", WORK, runtime(version))}
    assert said == {
        "driver": [0, 13050],
        "count": [0, 2],
        "properties": [0, "Tesla T4"],
        "capability": [[7, 5, 40]],
        "malloc": [0],
        "to": [0],
        "from": [0, True],
        "memset": [True],
        "memory": [1 << 20, 81559],
        "stream": [0, 0, 0, 0, 0, 0],
        "free": [0],
        # cudaErrorInvalidValue, cudaErrorInvalidDevice, cudaErrorInvalidResourceHandle
        "wrong": [1, 101, 400],
        "end": [0, 0],
        "again": [0],
    }


COUNT = (
    OPEN
    + """
number, memory = c_int(-1), c_void_p()
say([call("cudaGetDeviceCount", byref(number)), call("cudaMalloc", byref(memory), c_size_t(64))])
"""
)


@pytest.mark.parametrize("version", RUNTIMES)
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("cuInit = 100", [100, 100]),
        ("cuInit = 803", [803, 803]),
        ("cuInit = 804", [804, 804]),
        ("cuInit = 802", [802, 802]),
        ("cuInit = 999", [999, 999]),
        ("cuInit = 3", [3, 3]),
        ("cuInit = 34", [34, 34]),
        ("gpu0.fabric = in-progress", [802, 802]),
        ("cuDevicePrimaryCtxRetain = 46", [0, 46]),
        ("gpu0.compute_mode = prohibited", [0, 46]),
        ("cuMemAlloc = 2", [0, 2]),
        ("cuMemAlloc#2 = 2", [0, 0]),
        ("gpu0.memory = 64KiB\ngpu0.used = 65500", [0, 2]),
        ("cuDriverGetVersion = slow 1", [0, 0]),
    ],
)
def test_codes_come_through_the_runtime(version: str, line: str, expected: list[int]) -> None:
    (said,) = run(f"{DRIVER}gpu = H100\n{line}\n", COUNT, runtime(version))
    assert said == expected


@pytest.mark.parametrize(
    ("driver", "version", "code"),
    [
        ("535.161.08", "11.8.89", 0),
        ("535.161.08", "12.9.79", 0),
        ("535.161.08", "13.5.37", 35),
        ("470.256.02", "12.9.79", 35),
        ("580.95.05", "13.5.37", 0),
    ],
)
def test_the_runtime_judges_the_fake_as_it_judges_real_drivers(driver: str, version: str, code: int) -> None:
    # The same pairs with real drivers: tests/real/test_drivers.py, with 100 for 0 where there is no GPU.
    ((count, _),) = run(f"driver = {driver}\ngpu = T4\n", COUNT, runtime(version))
    assert count == code
