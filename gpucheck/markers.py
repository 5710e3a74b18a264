"""Environment markers (PEP 508) for Linux, in three values: what is not known here decides nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping

#: https://packaging.python.org/en/latest/specifications/dependency-specifiers/#environment-markers
LINUX = {
    "os_name": "posix",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "implementation_name": "cpython",
}

_TOKEN = (
    r"""\s*(?:(?P<open>\()|(?P<close>\))|(?P<text>'[^']*'|"[^"]*")"""
    r"""|(?P<operator>===|==|!=|<=|>=|~=|<|>|not\s+in\b|in\b)|(?P<word>[A-Za-z_][\w.]*))"""
)
#: uv writes markers of some thousand characters where extras exclude each other.
LONGEST = 50_000
#: Deeper nesting than any tool writes is not followed.
DEPTH = 50


def holds(marker: str, python: str = "", machine: str = "x86_64") -> bool | None:
    """Whether a marker is true on Linux with a Python such as ``3.13``; None when that cannot be told."""
    if not marker.strip():
        return True
    if len(marker) > LONGEST:
        return None
    tokens = [(match.lastgroup or "", match[match.lastgroup or ""]) for match in re.finditer(_TOKEN, marker)]
    try:
        value, rest = _either(tokens, {**LINUX, "platform_machine": machine, "python": python}, 0)
    except (IndexError, ValueError):
        return None
    return None if rest else value


_Tokens = list[tuple[str, str]]
Facts = Mapping[str, str]


def _either(tokens: _Tokens, facts: Facts, depth: int) -> tuple[bool | None, _Tokens]:
    value, tokens = _both(tokens, facts, depth)
    while tokens and tokens[0] == ("word", "or"):
        other, tokens = _both(tokens[1:], facts, depth)
        value = True if True in (value, other) else None if None in (value, other) else False
    return value, tokens


def _both(tokens: _Tokens, facts: Facts, depth: int) -> tuple[bool | None, _Tokens]:
    value, tokens = _one(tokens, facts, depth)
    while tokens and tokens[0] == ("word", "and"):
        other, tokens = _one(tokens[1:], facts, depth)
        value = False if False in (value, other) else None if None in (value, other) else True
    return value, tokens


def _one(tokens: _Tokens, facts: Facts, depth: int) -> tuple[bool | None, _Tokens]:
    if tokens[0][0] == "open":
        if depth > DEPTH:
            raise ValueError("too deep")
        value, tokens = _either(tokens[1:], facts, depth + 1)
        if tokens[0][0] != "close":
            raise ValueError("no closing bracket")
        return value, tokens[1:]
    (left_kind, left), (kind, operator), (right_kind, right) = tokens[:3]
    if kind != "operator" or {left_kind, right_kind} != {"word", "text"}:
        raise ValueError("not a comparison")
    return _compare(left, " ".join(operator.split()), right, facts), tokens[3:]


_MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}


def _compare(left: str, operator: str, right: str, facts: Facts) -> bool | None:
    if left[0] in "'\"":
        if operator in ("in", "not in"):
            value = facts.get(right)
            return None if value is None else (left[1:-1] in value) is (operator == "in")
        left, operator, right = right, _MIRRORED.get(operator, operator), left
    wanted = right[1:-1]
    if left in ("python_version", "python_full_version"):
        return satisfies(facts["python"], operator + wanted) if facts["python"] else None
    value = facts.get(left)
    if value is None or operator not in ("==", "!=", "in", "not in"):
        return None
    found = value == wanted if operator in ("==", "!=") else value in wanted
    return found is (operator in ("==", "in"))


# -- versions ----------------------------------------------------------------------------------------------------------


def release(version: str) -> tuple[int, ...]:
    """The numbers of a version (PEP 440): (2, 9, 1) of ``2.9.1+cu128``; () when it starts with none."""
    match = re.match(r"v?(\d{1,9}(?:\.\d{1,9})*)", version.strip())
    return tuple(int(part) for part in match[1].split(".")) if match else ()


#: What comes after the numbers of a version, in PEP 440's order; nothing is a release.
_PHASES = {"dev": -4, "a": -3, "alpha": -3, "b": -2, "beta": -2, "c": -1, "rc": -1, "pre": -1, "preview": -1, "post": 1}


def _phase(version: str) -> tuple[int, int]:
    """Where a version stands among those with its numbers: ``14.0.0rc1`` before ``14.0.0``."""
    match = re.match(
        r"v?\d[\d.]*?[-_.]?(dev|alpha|a|beta|b|rc|c|preview|pre|post)[-_.]?(\d*)", version.strip(), re.IGNORECASE
    )
    return (_PHASES[match[1].lower()], int(match[2] or 0)) if match else (0, 0)


def satisfies(version: str, specifier: str) -> bool | None:
    """Whether a version is in a specifier set such as ``>=3.2,<3.4``; None for what PEP 440 does not know.

    By their numbers: a pre-release counts as its release, which it nearly is. A clause that names a pre-release itself
    (``==14.0.0rc1``) tells them apart.
    """
    results = [_clause(version, clause.strip()) for clause in specifier.split(",") if clause.strip()]
    return False if False in results else None if None in results else True


def _clause(given: str, clause: str) -> bool | None:
    match = re.fullmatch(r"(===|==|!=|<=|>=|~=|<|>)\s*(\S+)", clause)
    version = release(given)
    if not match or not version:
        return None
    operator, text = match[1], match[2]
    wanted = release(text)
    if not wanted:
        return None
    if text.endswith(".*") or operator == "~=":
        prefix = wanted[:-1] if operator == "~=" else wanted
        alike = version[: len(prefix)] == prefix
        if operator == "~=":
            return alike and version >= wanted
        return alike is (operator == "==") if operator in ("==", "!=") else None
    length = max(len(version), len(wanted))
    have, want = (numbers + (0,) * (length - len(numbers)) for numbers in (version, wanted))
    if _phase(text)[0] < 0:
        have, want = (*have, *_phase(given)), (*want, *_phase(text))
    return {
        "===": have == want,
        "==": have == want,
        "!=": have != want,
        "<=": have <= want,
        ">=": have >= want,
        "<": have < want,
        ">": have > want,
    }[operator]
