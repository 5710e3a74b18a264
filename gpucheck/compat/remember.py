"""Answers remembered by who asks: a large matrix asks the same thousands of times, and to compare records costs more than to judge."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from functools import cache
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T", bound=Hashable)

_CLEARS: list[Callable[[], None]] = []


def remembered(function: F) -> F:
    """Remember what a pure function answered, by the identity of its arguments until ``forget``; equal ones are only asked again."""
    known: dict[tuple[int, ...], tuple[Any, tuple[Any, ...]]] = {}
    _CLEARS.append(known.clear)

    def ask(*arguments: Any) -> Any:
        key = tuple(map(id, arguments))
        found = known.get(key)
        if found is None:
            # The arguments are kept, so that no other object gets their identity.
            found = known[key] = (function(*arguments), arguments)
        return found[0]

    return ask  # type: ignore[return-value]


def remembered_by_value(function: F) -> F:
    """The same for few and small arguments, of which equal ones come as many objects."""
    ask = cache(function)
    _CLEARS.append(ask.cache_clear)
    return ask  # type: ignore[return-value]


def forget() -> None:
    """Let go of all answers."""
    for clear in _CLEARS:
        clear()


def shared(values: Iterable[T]) -> list[T]:
    """The same values, equal ones as one object."""
    first: dict[T, T] = {}
    return [first.setdefault(value, value) for value in values]
