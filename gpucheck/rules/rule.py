"""What a rule is. To add one, see docs/adding.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import TypeVar

from gpucheck.facts import Seen, Snapshot, Unseen, Why
from gpucheck.finding import Complaint
from gpucheck.record import dataclass

T = TypeVar("T")


class Layer(Enum):
    """The stack from the bottom up. Causes are sought from below."""

    HARDWARE = "GPU"
    KERNEL = "kernel driver"
    CONTAINER = "container"
    DEVICES = "device nodes"
    USER_DRIVER = "user driver"
    RUNTIME = "CUDA runtime"
    LIBRARIES = "CUDA libraries"
    FRAMEWORK = "frameworks"
    ENVIRONMENT = "environment"
    PROJECT = "project"


class CannotTell(Exception):
    """A fact that the rule needs is not known: the outcome is UNKNOWN, never a pass."""

    def __init__(self, reason: str, tried: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.tried = tried


def need(fact: Seen[T] | Unseen) -> T:
    """The value of a fact. Raises ``CannotTell`` when it was not seen."""
    if isinstance(fact, Unseen):
        raise CannotTell(fact.detail or fact.why.value, fact.tried)
    return fact.value


def seen(fact: Seen[T] | Unseen, otherwise: T | None) -> T | None:
    """The value of a fact; ``otherwise`` when it is known to be absent. Raises ``CannotTell`` when it could not be looked at."""
    if isinstance(fact, Unseen) and fact.why is Why.ABSENT:
        return otherwise
    return need(fact)


Judge = Callable[[Snapshot], Iterator[Complaint]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One complaint that can be made of a system."""

    id: str
    layer: Layer
    judge: Judge
    follows: tuple[str, ...]
    """Rules that, when they fire, are the cause of this one; the first that fired is taken."""

    @property
    def documentation(self) -> str:
        """The docstring: what it means, why it happens, how to confirm, the remedy, a reference."""
        lines = (self.judge.__doc__ or "").strip().splitlines()
        return "\n".join(line.removeprefix("    ") for line in lines)


def rule(layer: Layer, follows: tuple[str, ...] = ()) -> Callable[[Judge], Rule]:
    """Make a rule of a generator of complaints; its id is the function's name in kebab-case."""

    def make(judge: Judge) -> Rule:
        return Rule(judge.__name__.replace("_", "-"), layer, judge, follows)

    return make
