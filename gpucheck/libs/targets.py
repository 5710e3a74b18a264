"""What the TARGET of ``gpucheck libs`` names: a file, a library's name, something that Python imports, a program."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from gpucheck.elf.search import working_directory
from gpucheck.elf.tokens import absolute
from gpucheck.facts import Python
from gpucheck.probes.python import canonical, distributions
from gpucheck.record import dataclass
from gpucheck.system import NotKept, System

#: torch's list of files has 2 MB.
MAX_LIST: Final = 32 << 20
#: For folders without a list of files.
MAX_FOLDERS: Final = 5000


class NoTarget(Exception):
    """The target is not there, or cannot be what it names. ``str()`` is one line with the next step."""


@dataclass(frozen=True, slots=True)
class File:
    """A library or program by its path."""

    path: str


@dataclass(frozen=True, slots=True)
class Name:
    """A library as programs ask for it: ``libcuda.so.1``."""

    soname: str


@dataclass(frozen=True, slots=True)
class Installed:
    """An installed Python distribution, or a module that none claims."""

    name: str
    version: str
    """'' when no distribution claims it."""
    location: str
    """The folder of ``sys.path`` that it is in."""
    environment: Python
    libraries: tuple[str, ...]
    """Its shared objects, by their paths."""
    source: str
    """Where the list of them is from."""


Target = File | Name | Installed


def find_target(system: System, text: str, environments: Sequence[Python]) -> Target:
    """The target that a word of the command line means. Raises ``NoTarget``.

    A path (with a slash, or a file of the current directory) comes first, then the name of a library, then what the Python
    environments have, then a program on PATH.
    """
    if not text:
        raise NoTarget("the target is empty; name a file, a Python distribution or module, or leave it out")
    path = absolute(text, working_directory(system))
    if "/" in text or (system.resolve(path) is not None and not _is_directory(system, path)):
        return File(_check(system, path, text))
    if re.search(r"\.so(\.|$)", text):
        return Name(text)
    found = find_distribution(system, text, environments) or find_module(system, text.partition(".")[0], environments)
    if found is not None:
        return found
    for folder in system.env.get("PATH", "").split(":"):
        if (
            folder.startswith("/")
            and system.resolve(f"{folder}/{text}")
            and not _is_directory(system, f"{folder}/{text}")
        ):
            return File(_check(system, f"{folder}/{text}", f"{folder}/{text}"))
    raise NoTarget(_unknown(system, text, environments))


def find_distribution(system: System, name: str, environments: Sequence[Python]) -> Installed | None:
    """An installed distribution by its name, in any spelling (PEP 503)."""
    wanted = canonical(name)
    for environment in environments:
        for each in distributions(system, (environment,)):
            if each.name == wanted:
                return _installed(system, environment, each.location, each.name, each.version, name)
    return None


def find_module(system: System, name: str, environments: Sequence[Python]) -> Installed | None:
    """What a module comes with: the first distribution whose list of files has it, else the module by itself."""
    for environment in environments:
        for location in environment.packages:
            if not any(system.resolve(f"{location}/{name}{end}") for end in ("", ".py", ".abi3.so", ".so")) and not (
                system.glob(f"{location}/{name}.cpython-*.so")
            ):
                continue
            here = [each for each in distributions(system, (environment,)) if each.location == location]
            # cupy is in cupy-cuda12x: what has the name in its own is asked first.
            here.sort(key=lambda each: (not each.name.startswith(canonical(name)), each.name))
            for each in here:
                record = _record(system, location, each.name)
                files = _listed(system, f"{record}/RECORD") if record else ()
                if any(file.startswith((f"{name}/", f"{name}.")) for file in files):
                    return _installed(system, environment, location, each.name, each.version, name)
            return Installed(
                name, "", location, environment, tuple(_walk(system, f"{location}/{name}")), f"{location}/{name}"
            )
    return None


def find_all(system: System, environments: Sequence[Python]) -> Iterator[Installed]:
    """Every installed distribution."""
    for environment in environments:
        for each in distributions(system, (environment,)):
            yield _installed(system, environment, each.location, each.name, each.version, each.name)


def _installed(system: System, environment: Python, location: str, name: str, version: str, asked: str) -> Installed:
    record = _record(system, location, name)
    if record and (files := _listed(system, f"{record}/RECORD")):
        paths = tuple(f"{location}/{file}" for file in files if _is_library(file) and not file.startswith(("/", "..")))
        return Installed(name, version, location, environment, paths, f"{record}/RECORD")
    # Debian's packages and old installers keep no RECORD.
    module = asked if system.resolve(f"{location}/{asked}") else name.replace("-", "_")
    return Installed(
        name, version, location, environment, tuple(_walk(system, f"{location}/{module}")), f"{location}/{module}"
    )


def _record(system: System, location: str, name: str) -> str | None:
    """The .dist-info folder of a distribution (PEP 376)."""
    try:
        names = system.names(location)
    except OSError:
        return None
    for entry in names:
        match = re.fullmatch(r"(.+?)-(\d[^-]*)\.dist-info", entry)
        if match and canonical(match[1]) == name:
            return f"{location}/{entry}"
    return None


def _listed(system: System, record: str) -> tuple[str, ...]:
    """The files in a RECORD, which is CSV; none when there is no such list."""
    try:
        text = system.read(record, MAX_LIST).decode("utf-8", "surrogateescape")
    except NotKept:
        raise
    except OSError:
        return ()
    text = text.replace("\0", "")
    if '"' not in text:
        return tuple(line.split(",", 1)[0] for line in text.splitlines() if line)
    import csv

    try:
        return tuple(row[0] for row in csv.reader(text.splitlines()) if row)
    except csv.Error:
        return ()


def _walk(system: System, folder: str) -> Iterator[str]:
    """The shared objects below a folder; links to folders are not followed."""
    todo = [folder]
    for count, here in enumerate(todo):
        if count > MAX_FOLDERS:
            return
        try:
            names = system.names(here)
        except OSError:
            continue
        for name in names:
            path = f"{here}/{name}"
            if _is_library(name):
                yield path
            elif "." not in name and _is_directory(system, path, follow=False):
                todo.append(path)


def _is_library(path: str) -> bool:
    return re.search(r"\.so(\.\d[\d.]*)?$", path) is not None


def _is_directory(system: System, path: str, *, follow: bool = True) -> bool:
    try:
        return system.status(path, follow=follow).kind == "directory"
    except OSError:
        return False


def _check(system: System, path: str, text: str) -> str:
    """Refuse what is no readable file."""
    try:
        kind = system.status(path).kind
    except OSError as error:
        raise NoTarget(f"{text}: {error.strerror}") from None
    if kind == "directory":
        raise NoTarget(f"{text}: is a directory; name a library or program in it, or without a target: gpucheck libs")
    if kind != "file":
        raise NoTarget(f"{text}: is no regular file")
    try:
        start = system.read(path, 128)
    except OSError as error:
        raise NoTarget(f"{text}: {error.strerror}") from None
    if start.startswith(b"#!"):
        line = start[2:].split(b"\n")[0].decode(errors="replace").strip()
        raise NoTarget(f"{text}: is a script; name the program that runs it: {line}")
    return path


def _unknown(system: System, text: str, environments: Sequence[Python]) -> str:
    import difflib

    known = {each.name for each in distributions(system, tuple(environments))}
    known |= {
        name
        for environment in environments
        for location in environment.packages
        for name in _names(system, location)
        if re.fullmatch(r"[A-Za-z]\w*", name)
    }
    close = difflib.get_close_matches(text, sorted(known), 1, cutoff=0.75)
    where = ", ".join(dict.fromkeys(each.prefix for each in environments)) or "no Python environment was found"
    hint = f"; did you mean {close[0]}?" if close else "; name a file, or another environment with --python"
    return f"{text}: no file, Python distribution, module or program of this name ({where}){hint}"


def _names(system: System, folder: str) -> tuple[str, ...]:
    try:
        return system.names(folder)
    except OSError:
        return ()
