"""What was seen of a command's calls."""

from __future__ import annotations

from gpucheck.record import dataclass


@dataclass(frozen=True, slots=True)
class Call:
    """A call that was noted by itself."""

    function: str
    """As the caller asked for it: cuGetProcAddress gives the newest fitting version of ``cuCtxCreate`` under that name."""
    library: str
    """The path of the library that answered; for what cuGetProcAddress handed out, the library that handed it out."""
    thread: int
    start: int
    """CLOCK_MONOTONIC, in ns."""
    duration: int | None
    """In ns; None: it had not returned when the process ended."""
    result: int | None
    """The result code; None: not returned, or the function returns something else."""
    value: int | None
    """The number that it gave (a version, a count); for a function that hands out functions the CUDA version asked for."""
    asked: str
    """The function that it was to hand out, '' for other calls."""
    depth: int
    """Within how many other calls that were noted it was made, in its thread."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function that was handed out to the program, and all its calls, also those that were not noted one by one."""

    name: str
    library: str
    calls: int
    """0: the program got its address and never called it."""
    returned: int
    nanoseconds: int
    """In all its calls together, with what they called."""
    errors: int
    codes: tuple[tuple[int, int], ...]
    """(result code, how often) of the first few codes other than 0."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process that opened one of the libraries."""

    id: int
    parent: int
    command: tuple[str, ...]
    opened: int
    """When it opened the first of them: CLOCK_MONOTONIC, in ns."""
    libraries: tuple[str, ...]
    """libcuda, libcudart and libnvidia-ml as they were opened, in order."""
    calls: tuple[Call, ...]
    """In order of their start: of each function the first 64, and the first failure with each code."""
    functions: tuple[Function, ...]
    unwatched: int
    """How many functions were handed out without being watched: the table was full."""


@dataclass(frozen=True, slots=True)
class CallTrace:
    """All that was written into a folder."""

    watched: tuple[int, ...]
    """The processes that loaded the auditing library; a forked child that executed nothing is not among them."""
    processes: tuple[Process, ...]
    """In order of time."""
    trouble: tuple[str, ...]
    """Files that could not be read, each with the reason."""
