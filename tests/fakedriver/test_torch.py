"""Real torch on the fake driver."""

from __future__ import annotations

import pytest

from tests.cache import cache
from tests.fakedriver.drivers import run
from tests.needs import missing

pytestmark = pytest.mark.xdist_group("torch")


def torch() -> str:
    """The interpreter of an environment with torch."""
    place = cache() / "torch"
    if not (place / "complete").exists():
        missing("torch on the fake driver", "run: ci/setup/torch.sh")
    return str(place / "bin/python")


#: A driver for torch's CUDA 13 wheels.
DRIVER = "driver = 595.71.05\ncuda = 13.2\n"

WHAT = """
import warnings
warnings.simplefilter("ignore")
import torch
say([torch.cuda.is_available(), torch.cuda.device_count()])
"""

WORK = (
    WHAT
    + """
say([torch.cuda.get_device_name(i) for i in range(2)])
say([torch.cuda.get_device_capability(i) for i in range(2)])
properties = torch.cuda.get_device_properties(0)
say([properties.multi_processor_count, properties.total_memory >> 20, str(properties.uuid)])
say(torch.zeros(4, device="cuda:1").cpu().tolist())
say(torch.tensor([1.0, 2.0, 3.0]).cuda().cpu().tolist())
torch.cuda.synchronize()
free, total = torch.cuda.mem_get_info()
say([torch.cuda.memory_allocated() < total - free, total >> 20])
# Kernels are launched and do nothing: only shapes can be known.
square = torch.empty(8, 8, device="cuda")
say(list((square @ square + 1).shape))
say(list(torch.nn.Conv2d(3, 4, 3).cuda()(torch.zeros(1, 3, 8, 8, device="cuda")).shape))
stream, event = torch.cuda.Stream(), torch.cuda.Event(enable_timing=True)
with torch.cuda.stream(stream):
    event.record()
event.synchronize()
say(event.query())
"""
)


def test_torch_works_on_the_fake() -> None:
    said = run(DRIVER + "gpu = H100, T4\n", WORK, python=torch())
    assert said == [
        [True, 2],
        ["NVIDIA H100 80GB HBM3", "Tesla T4"],
        [[9, 0], [7, 5]],
        [132, 81559, "10171e25-2c33-4a41-884f-565d646b7279"],
        [0.0, 0.0, 0.0, 0.0],
        [1.0, 2.0, 3.0],
        [True, 81559],
        [8, 8],
        [1, 4, 6, 6],
        True,
    ]


FAIL = (
    WHAT
    + """
try:
    (torch.zeros(4, device="cuda") + 1).cpu()
    say("works")
except Exception as error:
    say(str(error).splitlines()[0])
"""
)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            "driver = 535.161.08\ngpu = H100\n",
            [[False, 1], "The NVIDIA driver on your system is too old (found version 12020)."],
        ),
        (
            DRIVER + "gpu = H100\ncuInit = 803\n",
            [[False, 1], "Error 803: system has unsupported display driver / cuda driver"],
        ),
        (
            DRIVER + "gpu = H100\ncuInit = 999\n",
            [[False, 1], "CUDA unknown error - this may be due to an incorrectly set up"],
        ),
        (DRIVER + "gpu = none\n", [[False, 0], "No CUDA GPUs are available"]),
        (
            DRIVER + "gpu = H100\ngpu0.compute_mode = prohibited\n",
            [[True, 1], "CUDA-capable device(s) is/are busy or unavailable"],
        ),
        # torch 2.15 has code for 7.5 and above: nothing for Pascal.
        (DRIVER + "gpu = GTX-1080-Ti\n", [[True, 1], "no kernel image is available for execution on the device"]),
        (DRIVER + "gpu = RTX-5090\n", [[True, 1], "works"]),
        (DRIVER + "gpu = T4\ngpu0.memory = 1MiB\n", [[True, 1], "CUDA out of memory. Tried to allocate 2.00 MiB."]),
        (DRIVER + "gpu = T4\ncuLaunchKernel = 700\n", [[True, 1], "an illegal memory access was encountered"]),
    ],
)
def test_torch_says_what_users_see(lines: str, expected: list[object]) -> None:
    available, message = run(lines, FAIL, python=torch())
    assert available == expected[0]
    assert str(expected[1]) in message
