"""Reading small text files as facts."""

from __future__ import annotations

from gpucheck.facts import Seen, Unseen, Why
from gpucheck.system import System

#: For facts about a kernel, seen from files that have none.
NO_KERNEL = Unseen(Why.NOT_APPLICABLE, (), "no kernel is visible from these files")


def read_text(system: System, path: str, limit: int = 1 << 20) -> Seen[str] | Unseen:
    """A text file; ABSENT when it is not there, UNREADABLE for any other error."""
    try:
        return Seen(system.read(path, limit).decode(errors="replace"), path)
    except (FileNotFoundError, NotADirectoryError):
        return Unseen(Why.ABSENT, (path,), f"{path} does not exist")
    except OSError as error:
        return Unseen(Why.UNREADABLE, (path,), f"{path}: {error.strerror}")


def sees_kernel(system: System) -> bool:
    """Whether /proc is there: an image's is empty, a node's root has its host's."""
    return system.resolve("/proc/version") is not None
