"""``NVIDIA_REQUIRE_*``: what an image asks of a node, as the two engines that check it read it.

The engine of nvidia-container-cli (``legacy``) decides for ``docker run --gpus`` and every runtime in legacy mode; the one of the
toolkit itself (``csv``) on Jetsons. With CDI nobody checks (NVIDIA/nvidia-container-toolkit#1470). In a value a space is OR and a comma is
AND, all variables together are AND, and the first engine is the reference:

https://github.com/NVIDIA/libnvidia-container/blob/main/src/cli/dsl.c
https://github.com/NVIDIA/nvidia-container-toolkit/tree/main/internal/requirements
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache

from gpucheck.record import dataclass

PREFIX = "NVIDIA_REQUIRE_"
CUDA = PREFIX + "CUDA"
DISABLE = "NVIDIA_DISABLE_REQUIRE"
#: Of Jetson's base images, read as a request for files and not as a requirement.
JETPACK = PREFIX + "JETPACK"
LEGACY = "CUDA_VERSION"

#: strconv.ParseBool. NVIDIA_DISABLE_REQUIRES, which is often recommended, is another name and does nothing.
TRUE = ("1", "t", "T", "TRUE", "true", "True")


class Invalid(ValueError):
    """An engine does not understand the requirement: the container does not start."""


@dataclass(frozen=True, slots=True)
class Host:
    """What a requirement is compared with. '' is a fact that is not known here; None one that the engine does not look at."""

    cuda: str | None
    """The CUDA that the host's NVML reports: ``12.4``."""
    driver: str | None
    arch: str | None = None
    brand: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """An alternative of a requirement that does not hold, and the first term in it that does not."""

    alternative: str
    term: str

    @property
    def property(self) -> str:
        """What the term speaks of: ``cuda``, ``driver``, ``arch`` or ``brand``."""
        return re.split("[<>=!]", self.term)[0].lower()


@dataclass(frozen=True, slots=True)
class Answer:
    """How a requirement ended."""

    holds: bool | None
    """None: a fact that it compares is not known."""
    failures: tuple[Failure, ...] = ()
    """Of each alternative, in order, when it does not hold."""


def requirements(variables: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """(variable, value) of all that is checked, sorted; none when the image or its user switched the check off.

    An image of before 2017 has ``CUDA_VERSION`` and no ``NVIDIA_REQUIRE_CUDA``: it requires that CUDA. Raises ``Invalid``.
    """
    if variables.get(DISABLE) in TRUE:
        return ()
    found = [
        (name, value)
        for name, value in sorted(variables.items())
        if name.startswith(PREFIX) and not name.startswith(JETPACK)
    ]
    if is_legacy(variables):
        # golang.org/x/mod/semver: up to three numbers without leading zeros, a pre-release and a build.
        number = r"(?:0|[1-9]\d*)"
        version = re.fullmatch(rf"v?({number})(?:\.({number})(?:\.{number}(?:[-+].*)?)?)?", variables[LEGACY])
        if version is None:
            raise Invalid(f"{LEGACY}={variables[LEGACY]} is no version")
        found.append((LEGACY, f"cuda>={version[1]}.{version[2] or 0}"))
    return tuple(found)


def is_legacy(variables: Mapping[str, str]) -> bool:
    """Whether the toolkit takes an image for one of before ``NVIDIA_REQUIRE_CUDA``."""
    return bool(variables.get(LEGACY)) and not variables.get(CUDA)


# -- the engine of nvidia-container-cli --------------------------------------------------------------------------------

#: In this order: what was written is compared over its own length, so a lone ! is !=.
_OPERATORS = ("=", "!=", "<", "<=", ">", ">=")
_LARGEST = 2**64 - 1
#: Of the text of a term that fails.
_LONGEST = 128


def legacy(expression: str, host: Host) -> Answer:
    """The answer of nvidia-container-cli for one requirement and one GPU. Raises ``Invalid``.

    What comes after the alternative that holds is never read, so an invalid term there does no harm.
    """
    last, doubt = True, False
    failures: list[Failure] = []
    for alternative in expression.split(" "):
        if not alternative:
            continue
        unknown = False
        for term in alternative.split(","):
            if not term:
                continue
            try:
                held = _term(term, host)
            except Invalid:
                if doubt or unknown:
                    return Answer(None, tuple(failures))
                raise
            if held is None:
                unknown = True
                continue
            last = held
            if not held:
                failures.append(Failure(alternative, term))
                break
        else:
            if not unknown:
                break
            last, doubt = False, True
    if last:
        return Answer(True)
    return Answer(None if doubt else False, tuple(failures))


@lru_cache(1024)
def _parts(term: str) -> tuple[str, str, str]:
    match = re.fullmatch(r"([^<>=!]+)([<>=!]+)([^<>=!].*)", term, re.DOTALL)
    operator = next((known for known in _OPERATORS if known[: len(match[2])] == match[2]), None) if match else None
    if match is None or operator is None:
        raise Invalid(f"{term!r} is no comparison")
    return match[1], operator, match[3]


def _term(term: str, host: Host) -> bool | None:
    name, operator, value = _parts(term)
    known = {"cuda": host.cuda, "driver": host.driver, "arch": host.arch, "brand": host.brand}
    if name.lower() not in known:
        raise Invalid(f"{term!r}: there is no {name}")
    mine = known[name.lower()]
    if mine is None:
        return True
    held = _same_word(mine, operator, value) if name.lower() == "brand" else compare(mine, operator, value)
    if held is False and len(f"{name} {operator} {value}") >= _LONGEST:
        raise Invalid(f"{term!r} is too long")
    return held


def _same_word(mine: str, operator: str, value: str) -> bool | None:
    if operator not in ("=", "!="):
        raise Invalid(f"a brand is not {operator} another")
    return None if not mine else (mine.lower() == value.lower()) == (operator == "=")


def compare(mine: str, operator: str, other: str) -> bool | None:
    """``mine operator other``, number by number, a missing number being 0; None for '' or when a branch alone cannot tell.

    Raises ``Invalid`` for what is no version.
    """
    left, right = _numbers(mine or "0"), _numbers(other)
    if not mine:
        return None
    # A driver of which only the branch is known, against a version inside of this branch.
    if len(left) == 1 and left[0] > 99 and right[:1] == left and any(right[1:]):
        return None
    width = max(len(left), len(right))
    left, right = (numbers + (0,) * (width - len(numbers)) for numbers in (left, right))
    return {
        "=": left == right,
        "!=": left != right,
        "<": left < right,
        "<=": left <= right,
        ">": left > right,
        ">=": left >= right,
    }[operator]


@lru_cache(1024)
def _numbers(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\d[\d.]*", text, re.ASCII):
        raise Invalid(f"{text!r} is no version")
    found = tuple(int(part[:25]) for part in text.split(".") if part)
    if any(number >= _LARGEST for number in found):
        raise Invalid(f"{text!r} is no version")
    return found


# -- the engine of the toolkit -----------------------------------------------------------------------------------------

_SEMVER = (
    r"(?a)v?(0|[1-9]\d*)(?:\.(0|[1-9]\d*)(?:\.(0|[1-9]\d*)"
    r"(?:-(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)(?:\.(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*))*)?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?)?)?"
)


def csv(expression: str, cuda: str, arch: str) -> Answer:
    """The answer of the toolkit's own engine, which it asks on Jetsons only, for one requirement. Raises ``Invalid``.

    It differs: names are compared with case, a property that it does not know is skipped, versions are semantic versions (535.05 is
    none), and as it is given neither driver nor brand these are compared as nothing, which is below every version.
    """
    own = {"cuda": cuda, "arch": arch, "driver": "", "brand": ""}
    alternatives = [
        (written, terms)
        for written in expression.split(" ")
        if (terms := [term for word in written.split(",") if (term := _semantic(word, own))])
    ]
    failures = []
    for written, terms in alternatives:
        failed = next((word for word, holds in terms if not holds()), None)
        if failed is None:
            return Answer(True)
        failures.append(Failure(written, failed))
    return Answer(not alternatives, tuple(failures))


def _semantic(word: str, own: Mapping[str, str]) -> tuple[str, Callable[[], bool]] | None:
    """The term and how to ask it; None for one that is skipped. Every term is understood before the first is asked."""
    if not word.strip():
        return None
    match = re.fullmatch(r"([^<>=!]*)([<>=!].*)", word, re.DOTALL)
    if match is None:
        raise Invalid(f"{word!r} is no comparison")
    name, rest = match[1], match[2]
    if name not in own:
        return None
    operator = next((known for known in ("!=", "<=", ">=", "=", "<", ">") if rest.startswith(known)), "")
    value = rest.removeprefix(operator)
    if name != "brand" and not re.fullmatch(_SEMVER, value):
        raise Invalid(f"{word!r}: {value!r} is no semantic version")

    def holds() -> bool:
        mine = own[name]
        order = (mine > value) - (mine < value) if name == "brand" else _order(mine, value)
        return {
            "=": order == 0, "!=": order != 0, "<": order < 0, "<=": order <= 0, ">": order > 0, ">=": order >= 0
        }.get(operator, False)  # fmt: skip

    return word, holds


def _order(mine: str, other: str) -> int:
    """golang.org/x/mod/semver.Compare without pre-releases, which no requirement has: what is no version is below all."""
    left, right = (
        tuple(int(part or 0) for part in match.groups()) if (match := re.fullmatch(_SEMVER, text)) else ()
        for text in (mine, other)
    )
    return (left > right) - (left < right)
