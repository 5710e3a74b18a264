"""``/etc/ld.so.conf``: the directories that ldconfig(8) puts into the cache."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from gpucheck.system.protocol import NotKept, System

PATH = "/etc/ld.so.conf"
#: ldconfig itself has no limit and recurses for ever on a file that includes itself.
MAX_FILES = 256


def read_configuration(system: System, path: str = PATH) -> tuple[tuple[str, str], ...]:
    """(directory, file that names it) in ldconfig's order, without duplicates; a missing file is an empty one.

    The rules are ``parse_conf`` and ``add_dir_1`` of glibc's elf/ldconfig.c: one directory a line, ``#`` starts a
    comment, ``include`` takes glob patterns relative to the file, ``hwcap`` lines are ignored, ``DIR=TYPE`` is
    accepted.
    """
    found: dict[str, str] = {}
    for directory, where in _lines(system, path, [MAX_FILES]):
        found.setdefault(directory, where)
    return tuple(found.items())


def _lines(system: System, path: str, left: list[int]) -> Iterator[tuple[str, str]]:
    if left[0] <= 0:
        return
    left[0] -= 1
    try:
        text = system.read(path).decode("utf-8", "surrogateescape")
    except NotKept:
        raise
    except OSError:
        return
    for line in text.split("\n"):
        words = line.partition("#")[0].strip()
        if words.startswith(("include ", "include\t")):
            for pattern in words[8:].split():
                for included in system.glob(posixpath.join(posixpath.dirname(path), pattern)):
                    yield from _lines(system, included, left)
        elif words[:5].lower() == "hwcap" and words[5:6] in (" ", "\t"):
            continue
        else:
            directory = words.partition("=")[0].rstrip().rstrip("/")
            if directory:
                yield directory, path
