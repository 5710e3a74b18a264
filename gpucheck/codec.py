"""Frozen dataclasses to JSON and back, strictly: what does not fit is refused with its place."""

from __future__ import annotations

import types
from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from gpucheck.record import fields, is_record
from gpucheck.versions import ComputeCapability, CudaVersion, DriverVersion

T = TypeVar("T")

#: Versions are strings in JSON: "535.261.03", "12.2", "9.0".
_VERSIONS = (DriverVersion, CudaVersion, ComputeCapability)


class Malformed(ValueError):
    """A document that is not what it should be; the message names the place."""


def encode(value: object) -> Any:
    """A JSON-able value: objects for dataclasses, arrays for tuples, strings for versions and enums."""
    if isinstance(value, _VERSIONS):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if is_record(type(value)):
        return {name: encode(getattr(value, name)) for name in fields(type(value))}
    if isinstance(value, tuple):
        return [encode(part) for part in value]
    return value


def decode(kind: type[T], data: object, place: str = "") -> T:
    """The inverse of ``encode`` for a dataclass. Raises ``Malformed``."""
    result: T = _decode(kind, data, place or kind.__name__.lower())
    return result


@cache
def _hints(kind: Any) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _decode(kind: Any, data: object, place: str) -> Any:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _decode_union(get_args(kind), data, place)
    if origin is tuple:
        return _decode_tuple(get_args(kind), data, place)
    if kind in _VERSIONS:
        version = kind.parse(data) if isinstance(data, str) else None
        if version is None:
            raise Malformed(f"{place}: expected a version, not {data!r:.80}")
        return version
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(data)
        except ValueError:
            known = ", ".join(str(member.value) for member in kind)
            raise Malformed(f"{place}: expected one of {known}, not {data!r:.80}") from None
    if is_record(origin or kind):
        return _decode_fields(kind, origin or kind, data, place)
    # bool is an int in Python, never in JSON.
    if not isinstance(data, kind) or (kind is int and isinstance(data, bool)):
        raise Malformed(f"{place}: expected {kind.__name__}, not {data!r:.80}")
    return data


def _decode_union(kinds: tuple[Any, ...], data: object, place: str) -> Any:
    if data is None and type(None) in kinds:
        return None
    rest = [kind for kind in kinds if kind is not type(None)]
    if len(rest) > 1 and isinstance(data, dict):
        # Seen has a value, Unseen has not; every other union here is "or None".
        rest = [kind for kind in rest if ("value" in data) == ("value" in _hints(get_origin(kind) or kind))]
    if len(rest) != 1:
        raise Malformed(f"{place}: not a fact: {data!r:.80}")
    return _decode(rest[0], data, place)


def _decode_tuple(kinds: tuple[Any, ...], data: object, place: str) -> tuple[Any, ...]:
    if not isinstance(data, list):
        raise Malformed(f"{place}: expected a list, not {data!r:.80}")
    if kinds[-1] is not Ellipsis and len(kinds) != len(data):
        raise Malformed(f"{place}: expected {len(kinds)} parts, not {len(data)}")
    each = kinds if kinds[-1] is not Ellipsis else kinds[:1] * len(data)
    return tuple(_decode(kind, part, f"{place}[{index}]") for index, (kind, part) in enumerate(zip(each, data)))


def _decode_fields(kind: Any, cls: Any, data: object, place: str) -> Any:
    if not isinstance(data, dict):
        raise Malformed(f"{place}: expected an object, not {data!r:.80}")
    parameter = get_args(kind)
    hints = _hints(cls)
    values = {}
    for name, optional in fields(cls).items():
        if name in data:
            # Seen[X] is the one generic here: its field "value" is the X.
            hint = parameter[0] if parameter and name == "value" else hints[name]
            values[name] = _decode(hint, data[name], f"{place}.{name}")
        elif not optional:
            raise Malformed(f"{place}: no {name!r}")
    for name in data:
        if name not in hints:
            raise Malformed(f"{place}: unknown field {name!r}")
    return cls(**values)
