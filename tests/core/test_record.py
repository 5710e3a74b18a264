"""Records behave as frozen, slotted dataclasses do."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest

from gpucheck.record import dataclass, replace


@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: int = 2


@dataclass(frozen=True, slots=True)
class Solid(Point):
    z: int = 3


@dataclass(frozen=True, slots=True, order=True)
class Level:
    major: int
    minor: int


@dataclasses.dataclass(frozen=True)
class Standard:
    x: int
    y: int = 2


@pytest.mark.parametrize("kind", [Point, Standard])
def test_both_kinds_agree(kind: type) -> None:
    assert kind(1) == kind(1, 2) == kind(x=1, y=2)
    assert kind(1) != kind(2)
    assert hash(kind(1)) == hash(kind(1, 2))
    assert repr(kind(1)).endswith("(x=1, y=2)")
    for wrong in ({}, {"x": 1, "z": 2}):
        with pytest.raises(TypeError):
            kind(**wrong)
    with pytest.raises(TypeError):
        kind(1, 2, 3)
    with pytest.raises(TypeError):
        kind(1, x=1)
    with pytest.raises(AttributeError):
        kind(1).x = 5
    with pytest.raises(AttributeError):
        del kind(1).x


def test_no_attribute_can_be_added() -> None:
    with pytest.raises(AttributeError):
        Point(1).z = 1  # type: ignore[attr-defined]
    assert not hasattr(Point(1), "__dict__")


def test_fields_are_inherited_in_order() -> None:
    assert repr(Solid(1)) == "Solid(x=1, y=2, z=3)"
    assert Solid(1) != Point(1)


def test_order_replacement_copies_and_patterns() -> None:
    assert sorted([Level(2, 0), Level(1, 9)]) == [Level(1, 9), Level(2, 0)]
    assert replace(Point(1), y=5) == Point(1, 5)
    assert copy.deepcopy(Solid(7)) == pickle.loads(pickle.dumps(Solid(7))) == Solid(7)
    match Point(3, 4):
        case Point(3, y):
            assert y == 4
