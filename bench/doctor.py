"""doctor on a driver with eight GPUs against a reading of NVML alone, as nvidia-smi does it; the driver is the fake one.

doctor asks the same of NVML, and beside it CUDA, the files, the kernel and the packages.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.pairs import python_of, ratio, say_missing
from bench.startup import ROOT
from gpucheck.fakedriver import library

#: What nvidia-smi's table shows of each GPU.
READING = """
import pynvml as n
n.nvmlInit()
print(n.nvmlSystemGetDriverVersion(), n.nvmlSystemGetCudaDriverVersion_v2())
for index in range(n.nvmlDeviceGetCount()):
    device = n.nvmlDeviceGetHandleByIndex(index)
    shown = [n.nvmlDeviceGetName(device), n.nvmlDeviceGetUUID(device), n.nvmlDeviceGetPciInfo(device).busId]
    for ask in (n.nvmlDeviceGetMemoryInfo, n.nvmlDeviceGetPersistenceMode, n.nvmlDeviceGetComputeMode, n.nvmlDeviceGetMigMode,
                n.nvmlDeviceGetTemperature, n.nvmlDeviceGetPowerUsage, n.nvmlDeviceGetUtilizationRates,
                n.nvmlDeviceGetComputeRunningProcesses):
        try:
            shown.append(ask(device, 0) if ask is n.nvmlDeviceGetTemperature else ask(device))
        except n.NVMLError as error:
            shown.append(error)
    print(*shown)
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        uv = [sys.executable, "-m", "uv"]
        environment = os.path.join(folder, "venv")
        subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, environment], check=True)
        python = python_of(environment)
        install = [
            *uv,
            "pip",
            "install",
            "--quiet",
            "--compile-bytecode",
            "--python",
            python,
            str(ROOT),
            "nvidia-ml-py",
        ]
        subprocess.run(install, check=True)
        try:
            added = library.lay_out(Path(folder, "driver"), "gpu = H100:8\n")
        except library.CannotBuild as error:
            say_missing("doctor on eight GPUs", str(error))
            return
        os.environ.update(library.environment(added))
        gpucheck = os.path.join(environment, "bin", "gpucheck")
        ratio("gpucheck doctor, eight GPUs", [gpucheck, "doctor"], "NVML alone", [python, "-c", READING], "none")


if __name__ == "__main__":
    main()
