"""What strace -f writes of open, openat, execve and execveat: strace(1). Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from gpucheck.record import dataclass

#: Bounds for a file that is not what it should be.
MAX_LINE = 1 << 16
MAX_CALLS = 50_000
MAX_UNFINISHED = 10_000


@dataclass(frozen=True, slots=True)
class SystemCall:
    """A file that was opened or executed, or not."""

    thread: int
    name: str
    """``open`` or ``exec``."""
    path: str
    """As given, when it is absolute or relative to the current directory."""
    error: str
    """'' or the errno's name, ``ENOENT``; ``?`` when the process ended in the call."""


_CALL = re.compile(
    r'\s*(\d+)\s+(open|openat|execve|execveat)\((?:(AT_FDCWD|\d+)(?:<[^"]*>)?, )?"((?:[^"\\]|\\.)*)"(\.\.\.)?'
)
_RESULT = re.compile(r"(-?\d+|\?)(?: ([A-Z][A-Z0-9]+)\b)?")
_RESUMED = re.compile(r"\s*(\d+)\s+<\.\.\. (open|openat|execve|execveat) resumed>")
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|(.))", re.DOTALL)
_NAMED = {"n": "\n", "t": "\t", "r": "\r", "v": "\v", "f": "\f"}


def parse(lines: Iterable[str], relevant: Callable[[str, str], bool]) -> tuple[SystemCall, ...]:
    """The calls for which ``relevant(name, path)``, in the order in which they ended. Never raises for what the lines
    are; a line that is cut off is passed over.
    """
    found: list[SystemCall] = []
    unfinished: dict[int, tuple[str, str]] = {}
    for line in lines:
        if len(found) >= MAX_CALLS:
            break
        if match := _CALL.match(line):
            thread, name = int(match[1]), "exec" if match[2].startswith("exec") else "open"
            path = unescape(match[4])
            # Relative to an open directory: which one is not known here.
            if match[5] or (match[3] not in (None, "AT_FDCWD") and not path.startswith("/")):
                continue
            if not relevant(name, path):
                continue
            if line.rstrip().endswith("<unfinished ...>"):
                if len(unfinished) < MAX_UNFINISHED:
                    unfinished[thread] = (name, path)
                continue
        elif match := _RESUMED.match(line):
            thread = int(match[1])
            if thread not in unfinished:
                continue
            name, path = unfinished.pop(thread)
        else:
            continue
        arguments, equals, result = line[match.end() :].rpartition(" = ")
        value = _RESULT.match(result) if equals and arguments.rstrip().endswith(")") else None
        if value:
            error = "?" if value[1] == "?" else value[2] or "" if value[1] == "-1" else ""
            found.append(SystemCall(thread, name, path, error))
    found += [SystemCall(thread, name, path, "?") for thread, (name, path) in unfinished.items()]
    return tuple(found)


def unescape(text: str) -> str:
    """A string as strace quotes it: C escapes, other bytes in octal (``\\303\\244``) or hexadecimal."""
    if "\\" not in text:
        return text

    def value(match: re.Match[str]) -> str:
        if match[1]:
            return chr(int(match[1], 8) & 0xFF)
        if match[2]:
            return chr(int(match[2], 16))
        return _NAMED.get(match[3], match[3])

    raw = _ESCAPE.sub(value, text)
    try:
        return raw.encode("latin-1").decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return raw
