"""Python distributions among themselves: what they require, which files two of them own, what is lost. Only files are read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache, partial
from itertools import combinations
from typing import Final

from gpucheck.facts import Distributed, Host, Lost, Need, Overlap, Packages, Python, Seen, Unseen, Wheel, Why
from gpucheck.markers import holds
from gpucheck.probes.python import canonical, search_path, telling
from gpucheck.system import NotKept, System

#: Requirements stand in the head of METADATA, before the description.
MAX_HEAD: Final = 256 << 10
#: torch's list of files has 2 MB.
MAX_LIST: Final = 32 << 20
#: Files of this size are compared by their hash; larger ones by their size alone.
MAX_HASHED: Final = 8 << 20
#: Extras that bring CUDA libraries: tensorflow[and-cuda], the plugins of jax, cupy-cuda12x[ctk], onnxruntime-gpu[cuda,cudnn].
GPU_EXTRAS: Final = (
    "and-cuda",
    "with-cuda",
    "ctk",
    "cuda",
    "cudnn",
    "cuda12",
    "cuda13",
    "cuda12-local",
    "cuda13-local",
)
#: What tells names of one library's distributions apart: they are builds of the same files.
VARIANT: Final = r"-(?:gpu|cpu|rocm|nightly|headless|contrib|directml|openvino|qnn|cuda\d+x?|cu\d+|rocm-\d+-\d+)"


def packages(
    system: System, environments: Sequence[Python], installed: tuple[Distributed, ...], host: Host
) -> Seen[Packages] | Unseen:
    """The distributions that matter here among themselves; ABSENT when there is none."""
    known = telling(installed)
    if not known:
        return Unseen(
            Why.ABSENT, tuple(path for each in environments for path in each.packages), "no GPU package is installed"
        )
    unread: list[str] = []
    folders = {dist: folder for dist in known if (folder := _folder(system, dist))}
    try:
        together = Packages(
            tuple(_wheel(system, dist, folder) for dist, folder in folders.items()),
            tuple(_needs(system, environments, installed, folders, host, unread)),
            tuple(_overlaps(system, folders)),
            tuple(_lost(system, folders)),
            tuple(unread),
        )
    except NotKept as error:
        return Unseen(Why.UNREADABLE, tuple(folders.values()), str(error))
    return Seen(together, "the .dist-info folders")


def _folder(system: System, dist: Distributed) -> str:
    """Its .dist-info folder; '' for an egg-info of Debian or of an old installer."""
    for name in (dist.name.replace("-", "_"), dist.name, "*"):
        for path in system.glob(f"{dist.location}/{name}-{dist.version}.dist-info"):
            if canonical(path.rsplit("/", 1)[1].rsplit("-" + dist.version, 1)[0]) == dist.name:
                return path
    return ""


def _wheel(system: System, dist: Distributed, folder: str) -> Wheel:
    installer = _read(system, f"{folder}/INSTALLER", 100).strip()[:40]
    tags = re.findall(r"^Tag:\s*(\S+)\s*$", _read(system, f"{folder}/WHEEL", 64 << 10), re.MULTILINE)
    return Wheel(dist.name, dist.version, dist.location, installer, tuple(tags))


def _read(system: System, path: str, limit: int) -> str:
    try:
        return system.read(path, limit).decode("utf-8", "replace")
    except NotKept:
        raise
    except OSError:
        return ""


# -- what they require -------------------------------------------------------------------------------------------------


def _needs(
    system: System,
    environments: Sequence[Python],
    installed: tuple[Distributed, ...],
    folders: dict[Distributed, str],
    host: Host,
    unread: list[str],
) -> Iterator[Need]:
    """Requirements between distributions that matter here, as far as their conditions hold here."""
    written: dict[Distributed, list[tuple[str, tuple[str, ...], str, str]]] = {}
    for dist, folder in folders.items():
        head = _read(system, f"{folder}/METADATA", MAX_HEAD).split("\n\n", 1)[0]
        if not head:
            unread.append(f"{folder}/METADATA")
        lines = re.findall(r"^Requires-Dist:\s*(.+?)\s*$", head, re.MULTILINE)
        written[dist] = [found for line in lines if (found := _requirement(line))]
    for environment in environments:
        order = {folder: place for place, folder in enumerate(search_path(environment, environments))}
        reached = sorted((dist for dist in installed if dist.location in order), key=lambda dist: -order[dist.location])
        here = {dist.name: dist for dist in reached}
        # The lists of cuda-toolkit repeat a few long conditions.
        true_here = cache(partial(holds, python=environment.version, machine=host.architecture))
        valid = [
            (dist, name, extras, specifier, _extra(marker))
            for dist, requirements in written.items()
            if dist.location in environment.packages
            for name, extras, specifier, marker in requirements
            if true_here(_without_extra(marker))
        ]
        asked: set[tuple[str, str]] = set()
        while True:
            more = {
                (name, wanted)
                for dist, name, extras, _, extra in valid
                for wanted in extras
                if not extra or (dist.name, extra) in asked
            }
            if more <= asked:
                break
            asked |= more
        # An extra that an installed distribution asks for is a need like any other.
        yield from dict.fromkeys(
            Need(
                f"{dist.name} {dist.version}",
                dist.location,
                name,
                specifier,
                "" if (dist.name, extra) in asked else extra,
                here[name].version if name in here else "",
            )
            for dist, name, _, specifier, extra in valid
            if not extra or extra in GPU_EXTRAS or (dist.name, extra) in asked
        )


def _requirement(line: str) -> tuple[str, tuple[str, ...], str, str] | None:
    """(name, extras, specifier, marker) of a requirement on something that matters here (PEP 508)."""
    text, _, marker = line.partition(";")
    match = re.match(r"\s*([A-Za-z0-9][\w.-]*)\s*(?:\[([^\]]*)\])?\s*\(?([^()]*)\)?\s*$", text)
    if not match or not telling((Distributed(canonical(match[1]), "", ""),)):
        return None
    extras = tuple(canonical(part.strip()) for part in (match[2] or "").split(",") if part.strip())
    return canonical(match[1]), extras, match[3].strip(), marker.strip()


_EXTRA: Final = r"""extra\s*==\s*["']([\w.-]+)["']"""


def _extra(marker: str) -> str:
    found = re.search(_EXTRA, marker)
    return canonical(found[1]) if found else ""


def _without_extra(marker: str) -> str:
    """The condition with its part about extras taken as true."""
    return re.sub(_EXTRA, "os_name == 'posix'", marker)


# -- who owns which files ----------------------------------------------------------------------------------------------


def _overlaps(system: System, folders: dict[Distributed, str]) -> Iterator[Overlap]:
    """Builds of one library side by side that own the same files with other contents (RECORD, PEP 376)."""
    families: dict[tuple[str, str], list[Distributed]] = {}
    for dist in folders:
        families.setdefault((dist.location, re.sub(f"{VARIANT}+$", "", dist.name)), []).append(dist)
    for (location, _), family in families.items():
        for one, other in combinations(sorted(family, key=lambda dist: dist.name), 2):
            first, second = (_record(system, folders[dist]) for dist in (one, other))
            shared = sorted(
                path
                for path in first.keys() & second.keys()
                if first[path] != second[path] and all((first[path][0], second[path][0]))
            )
            if not shared:
                continue
            owners = (f"{one.name} {one.version}", f"{other.name} {other.version}")
            won = {_winner(system, f"{location}/{path}", first[path], second[path]) for path in shared[:20]} - {None}
            winner = owners[won.pop() or 0] if len(won) == 1 else ""
            yield Overlap(location, owners, winner, len(shared), _likeliest(shared))


def _likeliest(paths: Sequence[str]) -> str:
    """A library or a module tells more than a text."""
    return next((path for path in paths if re.search(r"\.so(\.|$)", path)), paths[0])


def _record(system: System, folder: str) -> dict[str, tuple[str, str]]:
    """(hash, size) by path; of what its installer wrote, without compiled Python."""
    found = {}
    for line in _read(system, f"{folder}/RECORD", MAX_LIST).splitlines():
        path, _, rest = line.rpartition(",")[0].rpartition(",")
        if path and not path.endswith(".pyc") and ".dist-info/" not in path and not path.startswith(("/", "..")):
            found[path.strip('"')] = (rest, line.rpartition(",")[2])
    return found


def _winner(system: System, path: str, first: tuple[str, str], second: tuple[str, str]) -> int | None:
    """Whose content is on disk: 0 or 1; None when that cannot be told."""
    import base64
    import hashlib

    try:
        size = system.status(path).size
        if first[1] != second[1]:
            return [first[1], second[1]].index(str(size)) if str(size) in (first[1], second[1]) else None
        if size > MAX_HASHED:
            return None
        digest = base64.urlsafe_b64encode(hashlib.sha256(system.read(path, MAX_HASHED)).digest()).decode().rstrip("=")
    except OSError:
        return None
    hashes = [first[0].rpartition("=")[2], second[0].rpartition("=")[2]]
    return hashes.index(digest) if digest in hashes else None


def _lost(system: System, folders: dict[Distributed, str]) -> Iterator[Lost]:
    """Shared objects that RECORD names and that are not on disk. Their folders are listed, one call each."""
    listed: dict[str, frozenset[str]] = {}
    for dist, folder in folders.items():
        try:
            record = system.read(f"{folder}/RECORD", MAX_LIST)
        except NotKept:
            raise
        except OSError:
            continue
        paths = _shared_objects(record)
        lost = []
        for path in paths:
            if path.startswith(("/", "..")):
                continue
            parent, _, name = f"{dist.location}/{path}".rpartition("/")
            if parent not in listed:
                try:
                    listed[parent] = frozenset(system.names(parent))
                except OSError:
                    listed[parent] = frozenset()
            if name not in listed[parent]:
                lost.append(path)
        if lost:
            yield Lost(f"{dist.name} {dist.version}", dist.location, lost[0], len(lost))


def _shared_objects(record: bytes) -> Iterator[str]:
    """The shared objects in a list of files; most lines of torch's are headers, so only those that matter are taken apart."""
    for found in re.finditer(rb"\.so(?:\.\d[\d.]*)?\"?,", record):
        start = record.rfind(b"\n", 0, found.start()) + 1
        yield record[start : found.end()].decode("utf-8", "surrogateescape").strip('",')
