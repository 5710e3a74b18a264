"""Dynamic string tokens and path lists: ld.so(8), "Dynamic string tokens", and glibc's elf/dl-load.c."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

from gpucheck.elf.linker import Linker

# is_dst: the longest name wins, so $ORIGINAL is none; in braces the name must be complete.
TOKEN = re.compile(r"\$(?:\{(ORIGIN|PLATFORM|LIB)\}|(ORIGIN|PLATFORM|LIB)(?![A-Za-z0-9_]))")


def expand(text: str, origin: str | None, linker: Linker, *, secure: bool = False, main: bool = False) -> str | None:
    """Replace the tokens of one path (``_dl_dst_substitute``); None when ld.so discards the path.

    ``secure``: in a set-user-ID program $ORIGIN counts only at the front, followed by a slash or nothing, and for
    the program itself (``main``) only when the result is below a default directory.
    """
    if "$" not in text:
        return text
    values = {"ORIGIN": origin, "PLATFORM": linker.platform, "LIB": linker.lib}
    parts = []
    end = 0
    trust = False
    for token in TOKEN.finditer(text):
        name = token[1] or token[2]
        if name == "ORIGIN" and secure:
            if token.start() != 0 or text[token.end() : token.end() + 1] not in ("", "/"):
                return None
            trust = main
        value = values[name]
        if value is None:
            return None
        parts += [text[end : token.start()], value]
        end = token.end()
    expanded = "".join(parts) + text[end:]
    if trust:
        normal = posixpath.normpath(expanded) + "/"
        if not any(normal.startswith(directory + "/") for directory in linker.directories):
            return None
    return expanded


def directories(elements: Iterable[str | None], cwd: str) -> tuple[str, ...]:
    """What ``fillin_rpath`` makes of the expanded elements of a list: no trailing slashes, no second occurrence.

    An empty element is the current directory, and so is the start of a relative one. None elements are dropped.
    """
    found: dict[str, None] = {}
    for element in elements:
        if element is None:
            continue
        if not element:
            found[cwd] = None
        else:
            found[absolute(element.rstrip("/") or "/", cwd)] = None
    return tuple(found)


def absolute(path: str, cwd: str) -> str:
    """The path without a change but for the current directory in front of a relative one."""
    return path if path.startswith("/") else f"{cwd.rstrip('/')}/{path}"
