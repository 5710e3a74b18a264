"""Watching the calls into the CUDA driver, the CUDA runtime and NVML: ``docs/calls.md``.

``prepare`` before the command, ``read`` after it, then ``diagnose`` and ``summarise``; ``text`` prints it.
"""

from gpucheck.trace.calls.diagnosis import Diagnosis, diagnose
from gpucheck.trace.calls.library import Refusal, obstacle, prepare
from gpucheck.trace.calls.log import read
from gpucheck.trace.calls.records import Call, CallTrace, Function, Process
from gpucheck.trace.calls.summary import Total, summarise

__all__ = [
    "Call",
    "CallTrace",
    "Diagnosis",
    "Function",
    "Process",
    "Refusal",
    "Total",
    "diagnose",
    "obstacle",
    "prepare",
    "read",
    "summarise",
]
