"""Reading a project's files: bounded, as UTF-8, with line numbers, without secrets."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

from gpucheck.facts import Seen, Unseen, Why
from gpucheck.system import System

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: Bytes of a file that people write.
LIMIT = 1 << 20
#: Bytes of a lock file: that of a project with 500 packages has 2 MB.
LOCK_LIMIT = 16 << 20


def read_lines(system: System, path: str, limit: int = LIMIT) -> Seen[str] | Unseen:
    """A text file of at most ``limit`` bytes; ABSENT when it is not there, UNREADABLE when it cannot be read as text."""
    shown = path.lstrip("/")
    try:
        data = system.read(path, limit + 1)
    except (FileNotFoundError, NotADirectoryError):
        return Unseen(Why.ABSENT, (shown,), f"{shown} does not exist")
    except OSError as error:
        return Unseen(Why.UNREADABLE, (shown,), f"{shown}: {error.strerror}")
    if len(data) > limit:
        return Unseen(Why.UNREADABLE, (shown,), f"{shown}: larger than {limit >> 20} MiB")
    try:
        return Seen(data.decode("utf-8-sig"), shown)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return Unseen(Why.UNREADABLE, (f"{shown}:{line}",), f"{shown}:{line}: not UTF-8")


def parse_toml(text: Seen[str]) -> Seen[Mapping[str, Any]] | Unseen:
    """A TOML document; UNREADABLE with the line of the first mistake."""
    try:
        return Seen(tomllib.loads(text.value), text.source)
    except tomllib.TOMLDecodeError as error:
        match = re.fullmatch(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", str(error), re.DOTALL)
        place = f"{text.source}:{match[2] or text.value.count(chr(10)) + 1}" if match else text.source
        return Unseen(Why.UNREADABLE, (place,), f"{place}: not TOML: {match[1] if match else error}")
    except RecursionError:
        return Unseen(Why.UNREADABLE, (text.source,), f"{text.source}: not TOML that anyone wrote: nested too deeply")


def place(text: Seen[str], *wanted: str) -> str:
    """``file:line`` of the first line that holds all the words, the file alone when none does."""
    for number, line in enumerate(text.value.splitlines(), 1):
        if all(word in line for word in wanted) and not line.lstrip().startswith("#"):
            return f"{text.source}:{number}"
    return text.source


def without_credentials(url: str) -> str:
    """A URL without user and password: snapshots are passed on."""
    return re.sub(r"^([a-z+]+://)[^/@]*@", r"\1", url.strip("'\""))


def table(value: object) -> Mapping[str, Any]:
    """A TOML table; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def array(value: object) -> tuple[Any, ...]:
    """A TOML array; an empty one for anything else."""
    return tuple(value) if isinstance(value, list) else ()


def string(value: object) -> str:
    """A TOML string; '' for anything else."""
    return value if isinstance(value, str) else ""
