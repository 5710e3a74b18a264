"""A fact that is known, or why it is not."""

from __future__ import annotations

from enum import Enum
from typing import Generic, TypeVar

from gpucheck.record import dataclass

T = TypeVar("T")


class Why(str, Enum):
    """Why a fact is not known."""

    ABSENT = "absent"
    """Looked in all the places named: it is not there."""
    UNREADABLE = "unreadable"
    """It may be there, but could not be looked at (permission, a broken file, no answer in time)."""
    NOT_APPLICABLE = "not-applicable"
    """It cannot be seen from here: an image has no kernel, files answer no driver call."""


@dataclass(frozen=True, slots=True)
class Seen(Generic[T]):
    """A fact and where it came from."""

    value: T
    source: str


@dataclass(frozen=True, slots=True)
class Unseen:
    """A fact that is not known. Never a pass."""

    why: Why
    tried: tuple[str, ...]
    """The files read, the calls made."""
    detail: str = ""
