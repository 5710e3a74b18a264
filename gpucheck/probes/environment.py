"""The environment variables that decide about GPUs."""

from __future__ import annotations

from typing import Final

from gpucheck.system import System

#: By name or beginning. Others are not recorded: a snapshot is passed on, and secrets live in environments.
BEGINNINGS: Final = (
    "BNB_CUDA_VERSION", "CUDA_", "CUDNN_", "CUPY_", "GPU_DEVICE_ORDINAL", "HIP_VISIBLE_DEVICES", "JAX_", "NCCL_", "NUMBA_", "NVBLAS_", "NVCC_", "NVIDIA_",
    "NVIDA_", "PYTORCH_", "ROCR_VISIBLE_DEVICES", "SLURM_GPUS", "SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "TF_", "TORCH_CUDA_", "TRITON_",
    "XLA_",
)  # fmt: skip
NAMES: Final = (
    "CUDA", "CONDA_PREFIX", "DS_SKIP_CUDA_CHECK", "GLIBC_TUNABLES", "KUBERNETES_SERVICE_HOST", "LD_AUDIT", "LD_LIBRARY_PATH", "LD_PRELOAD",
    "NODE_NAME", "PBS_JOBID", "PYTHONNOUSERSITE", "PYTHONPATH", "SLURM_JOB_ID", "VIRTUAL_ENV",
)  # fmt: skip
#: Words in the names of variables that hold a secret in spite of their beginning.
SECRETS: Final = ("TOKEN", "SECRET", "PASSWORD", "APIKEY", "API_KEY", "CREDENTIAL")


def environment(system: System) -> tuple[tuple[str, str], ...]:
    """The variables that matter, sorted by name."""
    return tuple(
        (name, value)
        for name, value in sorted(system.env.items())
        if (name in NAMES or name.startswith(BEGINNINGS) or name.upper().endswith("_VISIBLE_DEVICES"))
        and not any(word in name.upper() for word in SECRETS)
    )
