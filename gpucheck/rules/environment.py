"""Environment variables that lead the loader or CUDA astray, or that nothing reads."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpucheck.facts import Seen, Snapshot
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.rules import reading
from gpucheck.rules.rule import Layer, need, rule


@rule(Layer.ENVIRONMENT, follows=("libcuda-is-stub",))
def stubs_on_library_path(snapshot: Snapshot) -> Iterator[Complaint]:
    """LD_LIBRARY_PATH names a stubs folder of the CUDA toolkit.

    Stubs are for linking programs on machines without a driver. On the search path of running programs they can be loaded
    instead of the driver's library.

    Confirm: `echo $LD_LIBRARY_PATH`.
    Remedy: remove the entry; give it to the compiler with -L instead.
    Reference: https://docs.nvidia.com/cuda/cuda-compiler-driver-nvcc/index.html
    """
    entries = [
        part for part in (snapshot.variable("LD_LIBRARY_PATH") or "").split(":") if re.search(r"/stubs/?$", part)
    ]
    if entries:
        yield Complaint(
            Severity.WARNING,
            "LD_LIBRARY_PATH names a stubs folder",
            "Programs can get the toolkit's stub instead of the driver's library.",
            tuple(Evidence(entry, "LD_LIBRARY_PATH") for entry in entries),
            f"Remove {entries[0]} from LD_LIBRARY_PATH",
        )


@rule(Layer.ENVIRONMENT)
def library_path_has_empty_element(snapshot: Snapshot) -> Iterator[Complaint]:
    """LD_LIBRARY_PATH has an empty element, which means the current directory.

    A leading, trailing or doubled colon comes from appending to an unset variable. The linker then looks for libraries
    wherever the program happens to be started.

    Confirm: `echo $LD_LIBRARY_PATH` starts or ends with a colon or has two in a row.
    Remedy: append with `${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}`.
    Reference: ld.so(8)
    """
    value = snapshot.variable("LD_LIBRARY_PATH")
    if value and "" in re.split("[:;]", value):
        yield Complaint(
            Severity.NOTE,
            "LD_LIBRARY_PATH has an empty element: libraries are also taken from the current directory",
            "A leading, trailing or doubled colon does that.",
            (Evidence(f"LD_LIBRARY_PATH={value}", "environment"),),
            "export LD_LIBRARY_PATH=<folder>${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}",
        )


#: Variables that the container toolkit, CUDA and its libraries read.
KNOWN = (
    "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CUDA_LAUNCH_BLOCKING", "CUDA_MODULE_LOADING", "CUDA_CACHE_DISABLE",
    "CUDA_CACHE_PATH", "CUDA_FORCE_PTX_JIT", "CUDA_DISABLE_PTX_JIT", "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY",
    "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_DISABLE_REQUIRE",
    "NVIDIA_MIG_CONFIG_DEVICES", "NVIDIA_MIG_MONITOR_DEVICES",
)  # fmt: skip
#: How alike two names are by difflib's ratio: one letter wrong in twenty. ROCR_VISIBLE_DEVICES is 0.8 like CUDA's.
ALIKE = 0.92


def _meant(name: str) -> str:
    """The known variable that a name is a misspelling of; '' when it is none."""
    if name in KNOWN:
        return ""
    if name.upper() in KNOWN:
        return name.upper()
    if not name.upper().startswith(("CUDA_", "NVIDIA_", "NVIDA_")) and not name.upper().endswith("_VISIBLE_DEVICES"):
        return ""
    from difflib import get_close_matches

    return next(iter(get_close_matches(name.upper(), KNOWN, 1, ALIKE)), "")


@rule(Layer.ENVIRONMENT)
def variable_misspelt(snapshot: Snapshot) -> Iterator[Complaint]:
    """A variable is spelt in a way that nothing reads.

    The container toolkit reads NVIDIA_DISABLE_REQUIRE; threads advise NVIDIA_DISABLE_REQUIRES, which has no effect. One
    letter too many in CUDA_VISIBLE_DEVICES, or small letters, and every GPU is used.

    Confirm: `env | grep -iE 'nvidia|cuda'`.
    Remedy: use the name that the finding gives.
    Reference: https://github.com/NVIDIA/nvidia-container-toolkit/issues/152
    """
    for name, value in snapshot.environment:
        meant = _meant(name)
        if meant and snapshot.variable(meant) is None:
            yield Complaint(
                Severity.WARNING,
                f"{name} has no effect: the name is {meant}",
                "Nothing reads the name as it is spelt.",
                (Evidence(f"{name}={value}", "environment"),),
                f"Rename it to {meant}",
            )


@rule(Layer.ENVIRONMENT)
def mps_unreachable(snapshot: Snapshot) -> Iterator[Complaint]:
    """CUDA tries to use the multi-process service and cannot reach it: errors 805 to 807.

    A process becomes an MPS client when the control daemon's pipe directory is there: $CUDA_MPS_PIPE_DIRECTORY, else
    /tmp/nvidia-mps. In a container the directory must be mounted and the IPC namespace shared; the daemon must be of the
    same user, and running.

    Confirm: `ls -ld ${CUDA_MPS_PIPE_DIRECTORY:-/tmp/nvidia-mps}`; `echo get_server_list | nvidia-cuda-mps-control`.
    Remedy: start the daemon, or mount its directory with --ipc=host, or stop using MPS.
    Reference: https://docs.nvidia.com/deploy/mps/index.html
    """
    code = reading.cuda_code(snapshot)
    if code not in (805, 806, 807):
        need(snapshot.cuda)
        return
    named = snapshot.variable("CUDA_MPS_PIPE_DIRECTORY")
    where = named or "/tmp/nvidia-mps"
    container = reading.in_container(snapshot)
    seen = snapshot.mps.value if isinstance(snapshot.mps, Seen) else None
    shown = []
    if seen and seen.blocked:
        cause = f"This user may not enter {seen.blocked}, so the daemon's directory cannot be reached."
        remedy = f"sudo chmod 0755 {seen.blocked} (on the host, where it is mounted from there)"
        shown.append(Evidence("permission denied (EACCES)", seen.blocked))
    elif seen and seen.uid not in (0, snapshot.host.uid) and snapshot.host.uid is not None:
        cause = f"The daemon's directory belongs to user {seen.uid}, and this is user {snapshot.host.uid}: the server takes one user at a time."
        remedy = f"Start a daemon of your own (nvidia-cuda-mps-control -d with another CUDA_MPS_PIPE_DIRECTORY), or go without: remove {where}"
        shown.append(Evidence(f"belongs to user {seen.uid}", where))
    elif container:
        cause = "Its pipe directory is half visible in this container."
        remedy = f"docker run --ipc=host -v {where}:{where} -e CUDA_MPS_PIPE_DIRECTORY={where} ..., or unmount it to go without MPS"
    else:
        cause = "The daemon is not running, or is another user's."
        remedy = f"nvidia-cuda-mps-control -d (as the user who runs the code), or remove {where} to go without MPS"
    if seen and not seen.control and not seen.blocked:
        shown.append(Evidence("no control socket", where))
    yield Complaint(
        Severity.ERROR,
        f"CUDA cannot reach the MPS control daemon at {where} ({code})",
        cause,
        (
            *reading.calls(snapshot),
            Evidence(
                f"CUDA_MPS_PIPE_DIRECTORY={named}" if named is not None else "CUDA_MPS_PIPE_DIRECTORY is not set",
                "environment",
            ),
            *shown,
        ),
        remedy,
        decisive=True,
    )
