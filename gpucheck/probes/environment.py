"""The environment variables that decide about GPUs."""

from __future__ import annotations

import re
from typing import Final

from gpucheck.system import System

#: By name or beginning. Others are not recorded: a snapshot is passed on, and secrets live in environments.
TELLING: Final = re.compile(
    r"CUDA_.*|NVIDIA_.*|NVBLAS_.*|LD_(LIBRARY_PATH|PRELOAD|AUDIT)|CUDA|CUDNN_PATH|NCCL_.*|TRITON_.*|TORCH_CUDA_.*|PYTORCH_(CUDA|NVML)_.*"
    r"|TF_(FORCE|CPP|XLA|GPU)_.*|XLA_.*|JAX_.*|VIRTUAL_ENV|CONDA_PREFIX|PYTHONPATH|NUMBA_.*|CUPY_.*|ROCR_VISIBLE_DEVICES|HIP_VISIBLE_DEVICES"
    r"|NODE_NAME|KUBERNETES_SERVICE_HOST|SLURM_(JOB_GPUS|GPUS.*|STEP_GPUS)|GPU_DEVICE_ORDINAL"
)
#: Names that hold a secret in spite of their beginning.
SECRET: Final = re.compile(r".*(TOKEN|SECRET|PASSWORD|API_?KEY|CREDENTIAL).*")


def environment(system: System) -> tuple[tuple[str, str], ...]:
    """The variables that matter, sorted by name."""
    return tuple(
        (name, value)
        for name, value in sorted(system.env.items())
        if TELLING.fullmatch(name) and not SECRET.fullmatch(name)
    )
